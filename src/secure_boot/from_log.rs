//! Secure Boot variables out of a recorded event log: the firmware logs their content.

use super::variables::{Content, Key, SecureBootVariables};
use crate::bytes::Reader;
use crate::tcg::eventlog::{Event, EventLog};
use crate::tcg::{Digest, DigestSet, EventType};
use crate::uefi::guid::GLOBAL_VARIABLE;
use crate::uefi::variable::{Uintn, VariableData};

/// A log that does not tell the variables.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogVariableError {
    /// It has none of them.
    #[error("the log has no Secure Boot variable in PCR 7")]
    None,
    /// What stands beside a digest is not what was measured.
    #[error("event {number}: the digest is not that of the logged content of {name}")]
    Digest {
        /// The event's number in the log.
        number: u32,
        /// The variable.
        name: String,
    },
}

impl SecureBootVariables {
    /// The variables as the firmware measured them. Each content is checked against its digest, so that they are as
    /// trustworthy as the log's digests are. A variable that was written during the boot is logged again; the last
    /// content counts.
    ///
    /// # Errors
    /// [`LogVariableError`].
    pub fn from_log(log: &EventLog<'_>) -> Result<Self, LogVariableError> {
        let events = log
            .events()
            .filter(|event| event.register == 7 && event.event_type == EventType::EFI_VARIABLE_DRIVER_CONFIG);
        let variables = Self::from_events(events.map(|event| {
            let known = event.digests.iter().filter_map(|(algorithm, bytes)| {
                algorithm.known().and_then(|bank| Digest::from_bytes(bank, bytes))
            });
            (event.number, Some(event.data), known.collect())
        }))?;
        Ok(Self { beside: beside(log), ..variables })
    }

    /// The same from `EV_EFI_VARIABLE_DRIVER_CONFIG` events of PCR 7: number, data, digests.
    ///
    /// # Errors
    /// [`LogVariableError`].
    pub fn from_events<'e>(
        events: impl Iterator<Item = (u32, Option<&'e [u8]>, DigestSet)>,
    ) -> Result<Self, LogVariableError> {
        let mut variables = Self::default();
        for (number, data, digests) in events {
            let Some(data) = data else { continue };
            let Ok(variable) = VariableData::read(Reader::new(data), Uintn::Bits64) else { continue };
            if digests.iter().any(|digest| Digest::of(digest.algorithm(), data) != digest) {
                return Err(LogVariableError::Digest { number, name: variable.name });
            }
            variables.take(&variable);
        }
        if variables.is_unknown() {
            return Err(LogVariableError::None);
        }
        if variables.dbt == Content::Unknown {
            // The firmware measures it where it exists.
            variables.dbt = Content::Absent;
        }
        Ok(variables)
    }

    fn take(&mut self, variable: &VariableData<'_>) {
        let place = if variable.guid == GLOBAL_VARIABLE && variable.name == "SecureBoot" {
            &mut self.secure_boot
        } else {
            let key =
                Key::ALL.into_iter().find(|key| key.vendor() == variable.guid && key.name() == variable.name);
            let Some(key) = key else { return };
            self.key_mut(key)
        };
        *place = variable.data.to_vec().into();
    }
}

/// The first event of PCR 7 that is none of the variables in their order, a separator behind them, and authorities behind
/// that; `None` where there is no such event, so that the firmware measures as EDK2 does.
fn beside(log: &EventLog<'_>) -> Option<String> {
    let mut keys = ["SecureBoot"].into_iter().chain(Key::ALL.into_iter().map(Key::name)).peekable();
    let mut separated = false;
    let extended = |event: &Event<'_>| event.register == 7 && event.event_type != EventType::NO_ACTION;
    for event in log.events().filter(extended) {
        match event.event_type {
            EventType::SEPARATOR if !separated => {
                separated = true;
                // dbt is measured only where it exists.
                keys.next_if_eq(&Key::Dbt.name());
                if let Some(missing) = keys.next() {
                    return Some(format!("no variable {missing}"));
                }
            }
            EventType::EFI_VARIABLE_AUTHORITY if separated => {}
            EventType::EFI_VARIABLE_DRIVER_CONFIG => {
                let name = VariableData::read(Reader::new(event.data), Uintn::Bits64).ok()?.name;
                // Behind the separator: written while the machine booted, or shim's.
                if !separated && keys.next_if_eq(&name.as_str()).is_none() {
                    return Some(format!("variable {name}"));
                }
            }
            EventType::EFI_ACTION => return Some(format!("'{}'", String::from_utf8_lossy(event.data))),
            other => return Some(format!("an event of type {other}")),
        }
    }
    None
}
