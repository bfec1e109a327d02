//! One boot, stage by stage.

use super::cpio::FileTooLarge;
use super::recorder::{Recorder, Recording};
use super::{
    BootChain, Payload, Scenario, firmware, grub, linux, systemd_boot, systemd_stub, type1, userspace,
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
    let mut recorder = Recorder::new(plan);
    let recorder_ref = &mut recorder;
    firmware::power_on(scenario, recorder_ref); // 0 to 7
    firmware::partition_table(chain, recorder_ref); // 5
    let started = match &chain.loader {
        Some(shim) if chain.payload == Payload::Grub => {
            firmware::load_image(shim, None, "shim", recorder_ref)?; // 4
            systemd_boot::started_by_firmware(scenario)
        }
        Some(loader) => {
            firmware::load_image(loader, None, "boot loader", recorder_ref)?; // 4
            for driver in &chain.drivers {
                firmware::load_image(driver, None, "driver", recorder_ref)?; // 2, 4
            }
            systemd_boot::run(chain, loader, scenario, recorder_ref)? // 1, 5, 12
        }
        None => systemd_boot::started_by_firmware(scenario),
    };
    let handover = match chain.payload {
        Payload::UnifiedKernelImage => {
            firmware::load_image(&chain.uki, None, "unified kernel image", recorder_ref)?; // 4
            systemd_stub::run(chain, &started, scenario, recorder_ref)? // 11, 12, 13, addons and kernel in 4
        }
        Payload::Kernel => {
            firmware::load_image(&chain.uki, None, "kernel", recorder_ref)?; // 4
            Some(type1::kernel(chain, &started, recorder_ref)?)
        }
        Payload::Grub => {
            firmware::load_image(&chain.uki, None, "GRUB", recorder_ref)?; // 4
            grub::run(chain, recorder_ref); // 4, 8, 9, 14
            None
        }
        Payload::Unknown => {
            firmware::load_image(&chain.uki, None, "program", recorder_ref)?; // 4
            type1::unknown_program(chain, recorder_ref); // 4, 5, 8, 9, 11 to 14
            None
        }
    };
    if let Some(handover) = handover {
        linux::run(&handover, scenario, recorder_ref); // 9
    }
    firmware::exit_boot_services(scenario, recorder_ref); // 5
    if !matches!(chain.payload, Payload::Grub | Payload::Unknown) {
        assume_unused(recorder_ref); // 8, 14
    }
    assume_architecture(chain, recorder_ref);
    userspace::run(chain, scenario, recorder_ref)?; // 11, 15, 9; from 261 on 0 to 7, 12 to 14
    Ok(recorder.finish())
}

/// Registers that other boot chains write and this one does not.
fn assume_unused(recorder: &mut Recorder<'_>) {
    let statement =
        "nothing writes PCR 8: GRUB is not involved, and the stub is not built to measure for old policies";
    recorder.assume("pcr-8-unused", statement, &[8], "");
    recorder.assume("pcr-14-unused", "nothing writes PCR 14: shim is not involved", &[14], "");
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
