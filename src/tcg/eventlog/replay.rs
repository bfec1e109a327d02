//! Replay: what the registers hold if every record of a log was extended, in order.

use std::fmt;

use crate::tcg::{AlgorithmId, Digest, EventType, HashAlgorithm, PcrIndex, PcrValues, extend};

use super::ccel::MeasurementRegister;
use super::log::{EventLog, RegisterKind};
use super::record::Event;

/// What an index of a log names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Register {
    /// A PCR of the TPM.
    Pcr(PcrIndex),
    /// A measurement register of a confidential guest.
    Mr(MeasurementRegister),
    /// A TPM NV index of type "extend" (CEL, `nv_index`); systemd calls its own NvPCRs.
    Nv(u32),
    /// No register has this index: the record extends nothing.
    None(u32),
}

impl Register {
    /// The register that an index of a log means.
    #[must_use]
    pub fn of(kind: RegisterKind, index: u32) -> Self {
        match kind {
            RegisterKind::Pcr => PcrIndex::try_from(index).map_or(Self::None(index), Self::Pcr),
            RegisterKind::Mr => MeasurementRegister::try_from(index).map_or(Self::None(index), Self::Mr),
        }
    }

    /// The index as it stands in a log.
    #[must_use]
    pub fn index(self) -> u32 {
        match self {
            Self::Pcr(pcr) => pcr.get().into(),
            Self::Mr(register) => register.get().into(),
            Self::Nv(index) | Self::None(index) => index,
        }
    }

    /// The slot in [`PcrValues`] that a replay keeps it under; `None` when a log can't extend it.
    #[must_use]
    pub fn slot(self) -> Option<PcrIndex> {
        match self {
            Self::Pcr(pcr) => Some(pcr),
            Self::Mr(MeasurementRegister::MRTD) => None,
            Self::Mr(register) => PcrIndex::try_from(u32::from(register.get())).ok(),
            Self::Nv(_) | Self::None(_) => None,
        }
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pcr(pcr) => f.pad(&pcr.to_string()),
            Self::Mr(register) => f.pad(&register.to_string()),
            Self::Nv(index) => f.pad(&format!("nv {index:#010x}")),
            Self::None(index) => f.pad(&format!("{index:#x}")),
        }
    }
}

/// Why PCR 0 does not start at zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pcr0Start {
    /// `StartupLocality`: the TPM was started from this locality (PFP, section 10.4.5.3).
    StartupLocality(u8),
    /// An H-CRTM measured before the TPM was started: as locality 4.
    HCrtm,
}

impl Pcr0Start {
    /// What the last byte of PCR 0 is before the first extend.
    #[must_use]
    pub fn last_byte(self) -> u8 {
        match self {
            Self::StartupLocality(locality) => locality,
            Self::HCrtm => 4,
        }
    }

    /// PCR 0 before the first extend.
    #[must_use]
    pub fn value(self, bank: HashAlgorithm) -> Digest {
        let mut bytes = [0; HashAlgorithm::MAX_SIZE];
        let size = bank.size();
        if let Some(last) = size.checked_sub(1).and_then(|last| bytes.get_mut(last)) {
            *last = self.last_byte();
        }
        bytes
            .get(..size)
            .and_then(|bytes| Digest::from_bytes(bank, bytes))
            .unwrap_or_else(|| Digest::zero(bank))
    }
}

impl fmt::Display for Pcr0Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartupLocality(locality) => write!(f, "the TPM was started from locality {locality}"),
            Self::HCrtm => f.write_str("an H-CRTM measured before the TPM was started"),
        }
    }
}

/// The locality of an `EV_NO_ACTION` event that says from where the TPM was started.
#[must_use]
pub fn startup_locality(event_type: EventType, data: &[u8]) -> Option<u8> {
    match data.strip_prefix(b"StartupLocality\0") {
        Some([locality]) if event_type == EventType::NO_ACTION => Some(*locality),
        _ => None,
    }
}

/// The outcome of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    banks: Vec<BankReplay>,
    start: Option<Pcr0Start>,
    /// The first event, if any, that names a register which does not exist or can't be extended.
    pub left_out: Vec<LeftOut>,
    /// Banks that are declared but that we can't compute.
    pub not_computed: Vec<AlgorithmId>,
}

/// An event that a replay could not extend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut {
    /// Its number in the log.
    pub number: u64,
    /// Its register.
    pub register: Register,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct BankReplay {
    algorithm: HashAlgorithm,
    values: [Option<Digest>; PcrIndex::COUNT as usize],
    /// Events that were extended elsewhere but have no digest of this bank.
    missing: u32,
    /// The registers of those events.
    incomplete: [bool; PcrIndex::COUNT as usize],
}

impl EventLog<'_> {
    /// Computes every register of every bank. `EV_NO_ACTION` records extend nothing.
    #[must_use]
    pub fn replay(&self) -> Replay {
        let mut replay = Replay::new(self.banks());
        replay.not_computed = self.algorithms().filter(|algorithm| algorithm.known().is_none()).collect();
        for event in self.events() {
            replay.event(self.register(event.register), &event);
        }
        replay
    }
}

impl Replay {
    /// Nothing extended yet.
    #[must_use]
    pub fn new(banks: impl IntoIterator<Item = HashAlgorithm>) -> Self {
        let banks = banks.into_iter().map(BankReplay::new).collect();
        Self { banks, start: None, left_out: Vec::new(), not_computed: Vec::new() }
    }

    fn event(&mut self, register: Register, event: &Event<'_>) {
        self.prepare(register, event.event_type, event.data);
        if event.event_type == EventType::NO_ACTION {
            return;
        }
        self.extend(event.number.into(), register, |bank| event.digest(bank));
    }

    /// Takes notice of an event that decides how PCR 0 starts. The first one counts, and only before PCR 0 was
    /// extended.
    pub fn prepare(&mut self, register: Register, event_type: EventType, data: &[u8]) {
        if register != Register::Pcr(PcrIndex::new(0)) || self.start.is_some() || self.has_pcr0() {
            return;
        }
        self.start = match startup_locality(event_type, data) {
            Some(locality) => Some(Pcr0Start::StartupLocality(locality)),
            None if event_type == EventType::EFI_HCRTM_EVENT => Some(Pcr0Start::HCrtm),
            None => None,
        };
    }

    /// Extends one register in every bank that `digest` knows. NV indices are no registers of a bank: see
    /// [`nvpcr`](crate::tcg::nvpcr).
    pub fn extend(
        &mut self,
        number: u64,
        register: Register,
        digest: impl Fn(HashAlgorithm) -> Option<Digest>,
    ) {
        let Some(slot) = register.slot() else {
            if let Register::Nv(_) = register {
                return;
            }
            // A log of a million such events must not cost a million entries: the first few are enough to say so.
            if self.left_out.len() < 16 {
                self.left_out.push(LeftOut { number, register });
            }
            return;
        };
        let start = self.start.filter(|_| register == Register::Pcr(PcrIndex::new(0)));
        for bank in &mut self.banks {
            bank.extend(slot, digest(bank.algorithm), start);
        }
    }

    /// Why PCR 0 does not start at zeros, if it does not.
    #[must_use]
    pub fn pcr0_start(&self) -> Option<Pcr0Start> {
        self.start
    }

    /// Events without a digest for `bank`: its registers can't be complete when there are any.
    #[must_use]
    pub fn missing(&self, bank: HashAlgorithm) -> u32 {
        self.banks.iter().find(|other| other.algorithm == bank).map_or(0, |bank| bank.missing)
    }

    /// The banks that were replayed.
    pub fn banks(&self) -> impl Iterator<Item = HashAlgorithm> + '_ {
        self.banks.iter().map(|bank| bank.algorithm)
    }

    /// Registers that an event without a digest for `bank` names: what they hold does not follow from the log.
    #[must_use]
    pub fn incomplete(&self, bank: HashAlgorithm) -> Vec<PcrIndex> {
        let Some(bank) = self.banks.iter().find(|other| other.algorithm == bank) else { return Vec::new() };
        PcrIndex::all()
            .zip(bank.incomplete)
            .filter(|(_, incomplete)| *incomplete)
            .map(|(pcr, _)| pcr)
            .collect()
    }

    /// The registers that were extended, by bank. Measurement registers are under their index in the log.
    #[must_use]
    pub fn values(&self) -> PcrValues {
        let mut values = PcrValues::default();
        for bank in &self.banks {
            for (pcr, value) in PcrIndex::all().zip(bank.values) {
                if let Some(value) = value {
                    values.set(pcr, value);
                }
            }
        }
        values
    }

    fn has_pcr0(&self) -> bool {
        self.banks.iter().any(|bank| bank.values.first().is_some_and(Option::is_some))
    }
}

impl BankReplay {
    fn new(algorithm: HashAlgorithm) -> Self {
        Self {
            algorithm,
            values: [None; PcrIndex::COUNT as usize],
            missing: 0,
            incomplete: [false; PcrIndex::COUNT as usize],
        }
    }

    fn extend(&mut self, slot: PcrIndex, digest: Option<Digest>, start: Option<Pcr0Start>) {
        let Some(digest) = digest else {
            self.missing = self.missing.saturating_add(1);
            if let Some(incomplete) = self.incomplete.get_mut(usize::from(slot.get())) {
                *incomplete = true;
            }
            return;
        };
        let Some(value) = self.values.get_mut(usize::from(slot.get())) else { return };
        // A log that extends PCRs 17 to 22 was written after a dynamic launch, which resets them to zeros
        // (Library part 1, section "Dynamic Root of Trust Measurement").
        let old = value.unwrap_or_else(|| match start {
            Some(start) => start.value(self.algorithm),
            None => Digest::zero(self.algorithm),
        });
        *value = Some(extend(old, digest));
    }
}
