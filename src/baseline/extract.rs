//! Which events of a log are the platform's.

use super::describe::{data, description};
use super::{LogName, PlatformEvent, PlatformPart};
use crate::tcg::eventlog::{Event, EventLog, RegisterKind};
use crate::tcg::{Digest, DigestSet, EventType, HashAlgorithm, PcrIndex};

/// A log that is no baseline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BaselineError {
    /// It does not begin at the start of the machine.
    #[error("the log has no event in PCR 0: the firmware's part is not in it")]
    NoFirmware,
    /// The same, of a confidential guest.
    #[error("the log has no event in RTMR0: the firmware's part is not in it")]
    NoGuestFirmware,
    /// An event lacks digests.
    #[error("event {number} lacks the digest of bank {bank}")]
    Digest {
        /// The event's number in the log.
        number: u32,
        /// The bank.
        bank: HashAlgorithm,
    },
    /// None of its banks can be computed.
    #[error("the log has no bank that can be computed")]
    NoBank,
}

/// What was seen of the log so far.
#[derive(Debug, Default)]
struct Position {
    /// Registers whose separator has come.
    separated: [bool; 8],
    /// The firmware began to try boot options.
    boot_option: bool,
}

impl PlatformPart {
    /// Takes the platform's events out of a log.
    ///
    /// # Errors
    /// [`BaselineError`].
    pub fn from_log(log: &EventLog<'_>, name: &str, bytes: &[u8]) -> Result<Self, BaselineError> {
        let banks: Vec<HashAlgorithm> = log.banks().collect();
        if banks.is_empty() {
            return Err(BaselineError::NoBank);
        }
        let sha256 = Digest::of(HashAlgorithm::Sha256, bytes).to_string();
        let mut part = Self {
            logs: vec![LogName { name: name.to_owned(), sha256 }],
            pcr0_start: log.replay().pcr0_start(),
            ..Self::default()
        };
        if log.register_kind() == RegisterKind::Mr {
            part.kind = RegisterKind::Mr;
            super::extract_cc::events(log, &banks, &mut part)?;
            part.banks = banks;
            return Ok(part);
        }
        let mut position = Position::default();
        for event in log.events().filter(|event| event.event_type != EventType::NO_ACTION) {
            let Ok(pcr) = PcrIndex::try_from(event.register) else { continue };
            part.images_in_pcr_2 |= position.is_moved_image(pcr, &event);
            if position.is_platform(pcr, &event) {
                part.events.push(platform_event(pcr, &event, &banks)?);
            }
            position.pass(pcr, &event);
        }
        part.banks = banks;
        if part.of(PcrIndex::new(0)).next().is_none() {
            return Err(BaselineError::NoFirmware);
        }
        Ok(part)
    }
}

impl Position {
    /// The event does not depend on the image that was booted.
    fn is_platform(&self, pcr: PcrIndex, event: &Event<'_>) -> bool {
        let separated = self.separated.get(usize::from(pcr.get())).copied().unwrap_or(true);
        match pcr.get() {
            0 | 3 | 6 => true,
            // systemd-stub measures SMBIOS structures as tagged events; boot variables and tables are the firmware's,
            // and some firmware measures them behind the separator.
            1 => event.event_type != EventType::EVENT_TAG,
            // Behind the separator come drivers that the boot loader or an image of the boot partition started.
            2 => !separated,
            // Applications of the firmware's own volumes come before the separator, the boot option's image after it.
            4 => !separated,
            // The partition table and loader.conf belong to the image, the outcome of ExitBootServices does not.
            5 => !separated || event.event_type == EventType::EFI_ACTION,
            // Before the boot option, authorities are those of option ROMs. Behind it come the image's, and variables that
            // shim measures or that were written while the machine booted. Some firmware separates PCR 7 only then.
            7 => !self.boot_option || (event.event_type != EventType::EFI_VARIABLE_AUTHORITY && !separated),
            _ => false,
        }
    }

    /// What belongs into PCR 4 and 5 stands in PCR 2. Before the separator it would be a driver's business.
    fn is_moved_image(&self, pcr: PcrIndex, event: &Event<'_>) -> bool {
        let kinds = [EventType::EFI_GPT_EVENT, EventType::EFI_BOOT_SERVICES_APPLICATION];
        pcr.get() == 2 && self.boot_option && kinds.contains(&event.event_type)
    }

    fn pass(&mut self, pcr: PcrIndex, event: &Event<'_>) {
        if event.event_type == EventType::SEPARATOR {
            if let Some(separated) = self.separated.get_mut(usize::from(pcr.get())) {
                *separated = true;
            }
            // EDK2 measures the separators of PCR 0 to 6 when the first boot option is about to be tried; that of PCR 7
            // comes before.
            self.boot_option |= pcr.get() != 7;
        }
        self.boot_option |= pcr.get() == 4;
    }
}

pub(super) fn platform_event(
    pcr: PcrIndex,
    event: &Event<'_>,
    banks: &[HashAlgorithm],
) -> Result<PlatformEvent, BaselineError> {
    let digest = |bank: &HashAlgorithm| {
        event.digest(*bank).ok_or(BaselineError::Digest { number: event.number, bank: *bank })
    };
    Ok(PlatformEvent {
        pcr,
        event_type: event.event_type,
        digests: banks.iter().map(digest).collect::<Result<DigestSet, _>>()?,
        data: data(pcr, event),
        description: description(event),
        at_exit: pcr.get() == 5
            && event.event_type == EventType::EFI_ACTION
            && event.data.starts_with(b"Exit Boot"),
    })
}
