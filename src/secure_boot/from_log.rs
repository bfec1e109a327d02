//! Secure Boot variables out of a recorded event log: the firmware logs their content.

use super::variables::{Content, Key, SecureBootVariables};
use crate::bytes::Reader;
use crate::tcg::eventlog::EventLog;
use crate::tcg::{Digest, EventType};
use crate::uefi::guid::{GLOBAL_VARIABLE, Guid};
use crate::uefi::variable::{Uintn, VariableData};
use crate::uefi::variable_store::Variable;

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
        let mut variables = Self::default();
        for variable in logged_variables(log)? {
            let place = if variable.vendor == GLOBAL_VARIABLE && variable.name == "SecureBoot" {
                &mut variables.secure_boot
            } else {
                let key = Key::ALL
                    .into_iter()
                    .find(|key| key.vendor() == variable.vendor && key.name() == variable.name);
                let Some(key) = key else { continue };
                variables.key_mut(key)
            };
            *place = variable.data.into();
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
}

/// The variables of `EV_EFI_VARIABLE_DRIVER_CONFIG` events in PCR 7, in order.
fn logged_variables(log: &EventLog<'_>) -> Result<Vec<Variable>, LogVariableError> {
    let mut found = Vec::new();
    for event in log.events() {
        if event.register != 7 || event.event_type != EventType::EFI_VARIABLE_DRIVER_CONFIG {
            continue;
        }
        let reader = Reader::at(event.data, event.data_offset);
        let Ok(variable) = VariableData::read(reader, Uintn::Bits64) else { continue };
        let (vendor, name): (Guid, String) = (variable.guid, variable.name);
        let covered = event.digests.iter().all(|(algorithm, digest)| {
            algorithm.known().is_none_or(|bank| Digest::of(bank, event.data).as_bytes() == digest)
        });
        if !covered {
            return Err(LogVariableError::Digest { number: event.number, name });
        }
        found.push(Variable { vendor, name, attributes: 0, data: variable.data.to_vec() });
    }
    Ok(found)
}
