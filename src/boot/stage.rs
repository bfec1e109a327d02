//! Moments of a boot at which PCR values are of interest.

use std::fmt;
use std::str::FromStr;

/// A moment of the boot. A stage's value is the one right after its word is extended, with everything that is
/// ordered before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Stage {
    /// The firmware handed over to the kernel: what the initrd finds before it extends anything.
    #[default]
    ExitBootServices,
    /// systemd in the initrd began (`enter-initrd`).
    EnterInitrd,
    /// systemd in the initrd is about to switch to the host (`leave-initrd`).
    LeaveInitrd,
    /// The host's basic set-up is done (`sysinit`).
    Sysinit,
    /// The host is up, users may log in (`ready`).
    Ready,
    /// Shutdown began (`shutdown`).
    Shutdown,
    /// File systems are gone (`final`).
    Final,
}

impl Stage {
    /// All stages, in the order in which a machine passes them.
    pub const ALL: [Self; 7] = [
        Self::ExitBootServices,
        Self::EnterInitrd,
        Self::LeaveInitrd,
        Self::Sysinit,
        Self::Ready,
        Self::Shutdown,
        Self::Final,
    ];

    /// The stage's name; from `enter-initrd` on it is the word that systemd extends.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ExitBootServices => "exit-boot-services",
            Self::EnterInitrd => "enter-initrd",
            Self::LeaveInitrd => "leave-initrd",
            Self::Sysinit => "sysinit",
            Self::Ready => "ready",
            Self::Shutdown => "shutdown",
            Self::Final => "final",
        }
    }

    /// What happens then, in words.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::ExitBootServices => "the firmware handed over to the kernel; nothing in user space ran yet",
            Self::EnterInitrd => "systemd in the initrd extended enter-initrd",
            Self::LeaveInitrd => "systemd in the initrd extended leave-initrd, before switching to the host",
            Self::Sysinit => "systemd on the host extended sysinit",
            Self::Ready => "systemd on the host extended ready, before user sessions",
            Self::Shutdown => "shutdown began",
            Self::Final => "shutdown is nearly done",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown stage '{0}'")]
pub struct UnknownStage(pub String);

impl FromStr for Stage {
    type Err = UnknownStage;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|stage| stage.name() == name).ok_or_else(|| UnknownStage(name.to_owned()))
    }
}
