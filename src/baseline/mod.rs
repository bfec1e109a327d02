//! Baselines: what a platform measured in recorded boots, to be kept when another image is predicted for it.
//!
//! A log holds two kinds of events. What the *platform* decides (firmware code, tables, boot variables, keys, how often
//! `ExitBootServices` was called) is kept as it was observed. What the *image* decides (images, partition table, command
//! lines, the authorities that let images start) is left out, and computed anew. Where the line runs is in
//! [`extract`](PlatformPart::from_log).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod describe;
mod extract;
mod extract_cc;
mod grub;
mod merge;
mod profile;

use std::collections::BTreeSet;

use crate::secure_boot::{LogVariableError, SecureBootVariables};
use crate::tcg::eventlog::{Pcr0Start, RegisterKind};
use crate::tcg::{DigestSet, EventType, HashAlgorithm, PcrIndex};

pub use extract::BaselineError;
pub use grub::{GrubEvent, GrubEventKind, RecordedGrub};
pub use merge::{MAX_PARTS, merge};
pub use profile::{KIND, MAX_SIZE, ProfileError, from_profile, to_profile};

/// The platform's share of one boot, or of several boots in which it was the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlatformPart {
    /// PCRs, or the measurement registers of a confidential guest. Events of these are under a PCR that shares their
    /// register: the log does not say which.
    pub kind: RegisterKind,
    /// The logs that it was seen in.
    pub logs: Vec<LogName>,
    /// Banks that every event has a digest of.
    pub banks: Vec<HashAlgorithm>,
    /// The platform's events, in the order of the log.
    pub events: Vec<PlatformEvent>,
    /// Why PCR 0 does not start at zeros.
    pub pcr0_start: Option<Pcr0Start>,
    /// The firmware measures images and partition table into PCR 2, as Google's of TDX guests does.
    pub images_in_pcr_2: bool,
    /// Registers in which the logs differ in more ways than are worth following.
    pub unstable: BTreeSet<PcrIndex>,
}

/// Names a log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogName {
    /// File name.
    pub name: String,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// One event that the platform decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformEvent {
    /// The register.
    pub pcr: PcrIndex,
    /// Type, as logged.
    pub event_type: EventType,
    /// What was extended.
    pub digests: DigestSet,
    /// Event data, where it is no secret of one machine: texts of the specification, and Secure Boot variables.
    pub data: Option<Vec<u8>>,
    /// One line for people.
    pub description: String,
    /// The kernel causes it: it comes when everything else is measured.
    pub at_exit: bool,
}

impl PlatformPart {
    /// The Secure Boot variables of the boot.
    ///
    /// # Errors
    /// When a variable's logged content is not what was measured.
    pub fn variables(&self) -> Result<SecureBootVariables, LogVariableError> {
        let events = self.events.iter().enumerate().filter(|(_, event)| {
            event.pcr.get() == 7 && event.event_type == EventType::EFI_VARIABLE_DRIVER_CONFIG
        });
        let logged = events.map(|(index, event)| {
            (u32::try_from(index).unwrap_or(u32::MAX), event.data.as_deref(), event.digests.clone())
        });
        SecureBootVariables::from_events(logged)
    }

    /// The platform's events of one register, in order.
    pub fn of(&self, pcr: PcrIndex) -> impl Iterator<Item = &PlatformEvent> {
        self.events.iter().filter(move |event| event.pcr == pcr)
    }
}
