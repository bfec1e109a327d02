//! Which events of a confidential guest's log are the platform's.

use super::extract::{BaselineError, platform_event};
use super::{PlatformEvent, PlatformPart};
use crate::tcg::eventlog::{Event, EventLog, MeasurementRegister};
use crate::tcg::{EventType, HashAlgorithm, PcrIndex};

/// What was seen of the log so far.
#[derive(Debug, Default)]
struct Position {
    /// The firmware began to try boot options.
    boot_option: bool,
    /// The separator of that moment has come, in whichever register.
    separated: bool,
    /// An image started before: QEMU's -kernel, or a program in the firmware.
    started_early: bool,
}

/// Takes the platform's events out of `log` into `part`, each under a PCR that shares its register.
pub(super) fn events(
    log: &EventLog<'_>,
    banks: &[HashAlgorithm],
    part: &mut PlatformPart,
) -> Result<(), BaselineError> {
    let mut position = Position::default();
    for event in log.events().filter(|event| event.event_type != EventType::NO_ACTION) {
        let Ok(register) = MeasurementRegister::try_from(event.register) else { continue };
        if let Some(pcr) = position.platform_pcr(register, &event) {
            part.events.push(with_exit(platform_event(pcr, &event, banks)?));
        }
        position.pass(register, &event);
    }
    if part
        .events
        .iter()
        .all(|event| MeasurementRegister::of_pcr(event.pcr) != Some(MeasurementRegister::RTMR0))
    {
        return Err(BaselineError::NoGuestFirmware);
    }
    if position.started_early {
        part.unstable.insert(PcrIndex::new(4));
    }
    Ok(())
}

fn with_exit(event: PlatformEvent) -> PlatformEvent {
    let at_exit = event.event_type == EventType::EFI_ACTION
        && event.data.as_deref().is_some_and(|data| data.starts_with(b"Exit Boot"));
    PlatformEvent { at_exit, ..event }
}

impl Position {
    /// The PCR to keep the event under; `None` where the image decides it. Events of RTMR2 and RTMR3 are never the
    /// platform's.
    fn platform_pcr(&self, register: MeasurementRegister, event: &Event<'_>) -> Option<PcrIndex> {
        match (register, event.event_type) {
            // Behind the first boot option, authorities are those of images.
            (MeasurementRegister::RTMR0, EventType::EFI_VARIABLE_AUTHORITY) => {
                (!self.boot_option).then_some(PcrIndex::new(7))
            }
            (MeasurementRegister::RTMR0, EventType::EFI_VARIABLE_DRIVER_CONFIG) => Some(PcrIndex::new(7)),
            // systemd's SMBIOS structures.
            (MeasurementRegister::RTMR0, EventType::EVENT_TAG | EventType::IPL) => None,
            (MeasurementRegister::RTMR0, _) => Some(PcrIndex::new(1)),
            (MeasurementRegister::RTMR1, EventType::EFI_ACTION) => {
                (!self.separated || event.data.starts_with(b"Exit Boot")).then_some(PcrIndex::new(5))
            }
            (MeasurementRegister::RTMR1, EventType::EFI_BOOT_SERVICES_APPLICATION) => None,
            (MeasurementRegister::RTMR1, _) => (!self.separated).then_some(PcrIndex::new(4)),
            _ => None,
        }
    }

    fn pass(&mut self, register: MeasurementRegister, event: &Event<'_>) {
        let calls = event.event_type == EventType::EFI_ACTION && event.data.starts_with(b"Calling EFI");
        match (register, event.event_type) {
            // The first separator of RTMR0 ends the Secure Boot variables; behind the call of the boot option, EDK2 before
            // 2024.11 has that of RTMR1 there.
            (MeasurementRegister::RTMR0, EventType::SEPARATOR) => self.separated |= self.boot_option,
            (MeasurementRegister::RTMR1, EventType::SEPARATOR) => self.separated = true,
            (MeasurementRegister::RTMR1, EventType::EFI_GPT_EVENT) => self.separated = true,
            (MeasurementRegister::RTMR1, EventType::EFI_BOOT_SERVICES_APPLICATION) => {
                self.started_early |= !self.separated;
            }
            _ => {}
        }
        self.boot_option |= calls || self.separated;
    }
}
