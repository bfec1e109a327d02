//! [`VerifiedLog`]: the events of registers whose replay equals what the machine reported.

use std::collections::BTreeSet;

use crate::tcg::{Digest, EventType, HashAlgorithm, PcrIndex, PcrValues};

use super::log::EventLog;
use super::record::Event;

/// A log that was replayed against register values from elsewhere (a quote, a TDREPORT, the TPM).
///
/// That proves the *digests* of its events and their order within a register; nothing else. Hence
/// [`VerifiedEvent`] hands out its type and data under names that say so, unless a digest covers the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedLog<'a> {
    log: EventLog<'a>,
    bank: HashAlgorithm,
    registers: BTreeSet<PcrIndex>,
}

/// An event of a [`VerifiedLog`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedEvent<'l> {
    event: Event<'l>,
    bank: HashAlgorithm,
    digest: Digest,
}

/// Why a log does not account for the given values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The log or the values lack the bank.
    #[error("no values of bank {0} to compare")]
    BankAbsent(HashAlgorithm),
    /// Registers do not agree.
    #[error("{} of the registers differ, the first is {}", .0.len(), .0.first().map_or(0, |first| first.register.get()))]
    Mismatch(Vec<RegisterMismatch>),
}

/// A register whose replay is not the given value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisterMismatch {
    /// The PCR, or the index of the measurement register.
    pub register: PcrIndex,
    /// What the log replays to; the start value when the log has no event for it.
    pub replayed: Digest,
    /// What was given.
    pub given: Digest,
}

impl<'a> EventLog<'a> {
    /// Compares the replay of one bank with every value that `given` has for it. A register that the log does
    /// not extend must hold its start value.
    ///
    /// # Errors
    /// When the bank is absent on either side, or a register differs.
    pub fn verify(self, bank: HashAlgorithm, given: &PcrValues) -> Result<VerifiedLog<'a>, VerifyError> {
        let (verified, mismatches) = self.verify_registers(bank, given)?;
        if mismatches.is_empty() { Ok(verified) } else { Err(VerifyError::Mismatch(mismatches)) }
    }

    /// As [`verify`](Self::verify), but registers that differ only take themselves out: the verified log has the
    /// events of those that agree. For a log that ended before the values were read.
    ///
    /// # Errors
    /// When the bank is absent on either side.
    pub fn verify_registers(
        self,
        bank: HashAlgorithm,
        given: &PcrValues,
    ) -> Result<(VerifiedLog<'a>, Vec<RegisterMismatch>), VerifyError> {
        let absent = VerifyError::BankAbsent(bank);
        let Some((_, values)) = given.banks().find(|(other, _)| *other == bank) else { return Err(absent) };
        if !self.banks().any(|other| other == bank) {
            return Err(absent);
        }
        let replay = self.replay();
        let replayed = replay.values();
        let mut registers = BTreeSet::new();
        let mut mismatches = Vec::new();
        for (register, given) in values {
            let unextended = match replay.pcr0_start() {
                Some(start) if register.get() == 0 => start.value(bank),
                _ => register.start_value(bank),
            };
            let replayed = replayed.get(bank, *register).unwrap_or(unextended);
            if replayed == *given {
                registers.insert(*register);
            } else {
                mismatches.push(RegisterMismatch { register: *register, replayed, given: *given });
            }
        }
        Ok((VerifiedLog { log: self, bank, registers }, mismatches))
    }
}

impl VerifiedLog<'_> {
    /// The bank that was compared.
    #[must_use]
    pub fn bank(&self) -> HashAlgorithm {
        self.bank
    }

    /// The registers that were compared, and agreed.
    pub fn registers(&self) -> impl Iterator<Item = PcrIndex> + '_ {
        self.registers.iter().copied()
    }

    /// The extended events of those registers, in order.
    pub fn events(&self) -> impl Iterator<Item = VerifiedEvent<'_>> {
        self.log.events().filter_map(|event| {
            let slot = self.log.register(event.register).slot()?;
            let extended = event.event_type != EventType::NO_ACTION && self.registers.contains(&slot);
            let digest = event.digest(self.bank).filter(|_| extended)?;
            Some(VerifiedEvent { event, bank: self.bank, digest })
        })
    }

    /// The log, as unverified as it was.
    #[must_use]
    pub fn unverified(&self) -> &EventLog<'_> {
        &self.log
    }
}

impl<'l> VerifiedEvent<'l> {
    /// Proven: this digest was extended at this place.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The index of the register, as in the log. Proven by the replay.
    #[must_use]
    pub fn register(&self) -> u32 {
        self.event.register
    }

    /// The claimed type: no digest covers it.
    #[must_use]
    pub fn untrusted_type(&self) -> EventType {
        self.event.event_type
    }

    /// The data, if it is what was measured: its hash is the digest.
    #[must_use]
    pub fn verified_data(&self) -> Option<&'l [u8]> {
        (Digest::of(self.bank, self.event.data) == self.digest).then_some(self.event.data)
    }

    /// The data as written, whether or not the digest covers it.
    #[must_use]
    pub fn untrusted_data(&self) -> &'l [u8] {
        self.event.data
    }
}
