//! One boot, stage by stage.

use super::cpio::FileTooLarge;
use super::recorder::{Recorder, Recording};
use super::{
    BootChain, Payload, Scenario, firmware, grub, linux, shim, systemd_boot, systemd_stub, type1, userspace,
};
use crate::hashing::DigestPlan;
use crate::pe::{AuthenticodeError, Machine, PeError};
use crate::secure_boot::Refusal;
use crate::uki::ProfileError;

/// A boot that would fail, or images that no firmware would load.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// An image that can't be loaded.
    #[error("{name}: {error}")]
    Image {
        /// The file's name, with the section when the image is in one.
        name: String,
        /// What is wrong with it.
        #[source]
        error: AuthenticodeError,
    },
    /// A profile that the UKI does not have: the stub refuses to boot.
    #[error("{name}: {error}")]
    Profile {
        /// The file's name.
        name: String,
        /// What is wrong.
        #[source]
        error: ProfileError,
    },
    /// An image that the firmware does not start under Secure Boot.
    #[error("{name}: Secure Boot refuses it: {refusal}")]
    Refused {
        /// The file's name.
        name: String,
        /// Why.
        refusal: Refusal,
    },
    /// A profile that the stub would not select: it knows none, or refuses the options that name it.
    #[error(
        "{name}: this stub does not select profile {profile}: it knows no profiles (before 257), or refuses the command line with it"
    )]
    ProfileIgnored {
        /// The file's name.
        name: String,
        /// The profile asked for.
        profile: u32,
    },
    /// A companion file that fits into no archive.
    #[error(transparent)]
    FileTooLarge(#[from] FileTooLarge),
}

impl BootError {
    pub(super) fn image(name: &str, error: impl Into<AuthenticodeError>) -> Self {
        Self::Image { name: name.to_owned(), error: error.into() }
    }

    /// The file could not be read, as opposed to its content being wrong.
    #[must_use]
    pub fn is_io(&self) -> bool {
        matches!(self, Self::Image { error: AuthenticodeError::Pe(PeError::Io(_)), .. })
    }
}

/// One boot. Reads like the machine runs; each line names the PCRs that it touches. The streams to be hashed go into
/// `plan`, which several boots of the same files share.
///
/// # Errors
/// [`BootError`] when this boot would fail.
pub fn replay(chain: &BootChain, scenario: &Scenario, plan: &mut DigestPlan) -> Result<Recording, BootError> {
    let mut recorder = Recorder::new(plan, scenario.cc.is_some());
    let recorder_ref = &mut recorder;
    firmware::power_on(chain, scenario, recorder_ref); // 0 to 7
    firmware::moved_images(chain, recorder_ref); // 2, 4
    firmware::partition_table(chain, recorder_ref); // 5
    firmware::earlier_options(chain, recorder_ref); // 4
    if let Some(shim) = &chain.shim {
        firmware::load_image(shim, None, "shim", recorder_ref)?; // 4, 7
        shim::run(chain, shim, scenario, recorder_ref); // 7, 14
    }
    let started = match &chain.loader {
        Some(loader) => {
            firmware::load_image(loader, None, "boot loader", recorder_ref)?; // 4, 7
            for driver in &chain.drivers {
                firmware::load_image(driver, None, "driver", recorder_ref)?; // 2, 4, 7
            }
            systemd_boot::run(chain, loader, scenario, recorder_ref)? // 1, 5, 12
        }
        None => systemd_boot::started_by_firmware(chain, scenario),
    };
    let what = match chain.payload {
        Payload::UnifiedKernelImage => "unified kernel image",
        Payload::Kernel => "kernel",
        Payload::Grub => "GRUB",
        Payload::Unknown => "program",
    };
    firmware::load_image(&chain.uki, None, what, recorder_ref)?; // 4, 7
    let handover = match chain.payload {
        Payload::UnifiedKernelImage => systemd_stub::run(chain, &started, scenario, recorder_ref)?, // 11, 12, 13, addons and kernel in 4
        Payload::Kernel => Some(type1::kernel(chain, &started, recorder_ref)?),
        Payload::Grub => grub::run(chain, scenario, recorder_ref)?, // 4, 7, 8, 9, 14
        Payload::Unknown => {
            type1::unknown_program(chain, recorder_ref); // 1, 2, 4, 5, 7, 8, 9, 11 to 15
            None
        }
    };
    if let Some(handover) = handover {
        linux::run(&handover, scenario, recorder_ref); // 9
    }
    firmware::exit_boot_services(scenario, recorder_ref); // 5
    recorder_ref.assume(
        "first-boot-option",
        "the first boot option starts: no earlier attempt, firmware application or driver from disk ran before it",
        &[2, 4],
        "",
    );
    if !matches!(chain.payload, Payload::Grub | Payload::Unknown) {
        assume_unused(chain.shim.is_some(), recorder_ref); // 8, 14
    }
    assume_architecture(chain, recorder_ref);
    userspace::run(chain, scenario, recorder_ref)?; // 11, 15, 9; from 261 on 0 to 7, 12 to 14
    Ok(recorder.finish())
}

/// Registers that other boot chains write and this one does not.
fn assume_unused(behind_shim: bool, recorder: &mut Recorder<'_>) {
    let statement =
        "nothing writes PCR 8: GRUB is not involved, and the stub is not built to measure for old policies";
    recorder.assume("pcr-8-unused", statement, &[8], "");
    if !behind_shim {
        recorder.assume("pcr-14-unused", "nothing writes PCR 14: shim is not involved", &[14], "");
    }
}

/// Every rule was compared with x86-64 machines only.
fn assume_architecture(chain: &BootChain, recorder: &mut Recorder<'_>) {
    let machine = chain.uki.image.machine;
    if machine != Machine::X86_64 {
        let statement =
            format!("a machine of {machine} boots as an x86_64 one does; no real boot of one was compared");
        recorder.warn(statement.clone());
        recorder.assume("architecture-not-observed", statement, &[4, 9, 11, 12, 13], "");
    }
}
