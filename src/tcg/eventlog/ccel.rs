//! The CC event log of confidential guests: its ACPI table and its registers.

use std::fmt;

use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::tcg::{HashAlgorithm, PcrIndex};

/// A measurement register of a confidential guest (`EFI_CC_MR_INDEX`; Intel TDX Virtual Firmware Design Guide,
/// table "TD measurement registers").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeasurementRegister(u8);

impl MeasurementRegister {
    /// `TDX_MR_INDEX_MRTD`: fixed at build time of the guest, can't be extended.
    pub const MRTD: Self = Self(0);
    /// The firmware's configuration and Secure Boot.
    pub const RTMR0: Self = Self(1);
    /// What the firmware starts.
    pub const RTMR1: Self = Self(2);
    /// What programs measure before the kernel runs.
    pub const RTMR2: Self = Self(3);
    /// What the running system measures.
    pub const RTMR3: Self = Self(4);
    /// All of them, ascending.
    pub const ALL: [Self; 5] = [Self::MRTD, Self::RTMR0, Self::RTMR1, Self::RTMR2, Self::RTMR3];
    /// The bank that they are.
    pub const BANK: HashAlgorithm = HashAlgorithm::Sha384;

    /// The index as it stands in the log.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }

    /// The register that OVMF measures into instead of a PCR (EDK2 `TdxDxe`/`SecTpmMeasurementLibTdx`,
    /// `MapPcrToMrIndex`): PCR 0 would be MRTD, 1 and 7 are RTMR0, 2 to 6 RTMR1, 8 to 15 RTMR2.
    #[must_use]
    pub fn of_pcr(pcr: PcrIndex) -> Option<Self> {
        match pcr.get() {
            0 => Some(Self::MRTD),
            1 | 7 => Some(Self(1)),
            2..=6 => Some(Self(2)),
            8..=15 => Some(Self(3)),
            _ => None,
        }
    }

    /// The PCRs that share this register.
    pub fn pcrs(self) -> impl Iterator<Item = PcrIndex> {
        PcrIndex::all().filter(move |pcr| Self::of_pcr(*pcr) == Some(self))
    }

    /// The name of the TDX register.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            0 => "MRTD",
            1 => "RTMR0",
            2 => "RTMR1",
            3 => "RTMR2",
            _ => "RTMR3",
        }
    }
}

impl TryFrom<u32> for MeasurementRegister {
    type Error = u32;

    fn try_from(index: u32) -> Result<Self, u32> {
        match u8::try_from(index) {
            Ok(small @ 0..=4) => Ok(Self(small)),
            _ => Err(index),
        }
    }
}

impl fmt::Display for MeasurementRegister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The ACPI table `CCEL` (ACPI 6.5, section 5.2.34): says where the log lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CcelTable {
    /// `CC Type`: 1 AMD SEV, 2 Intel TDX.
    pub cc_type: u8,
    /// `CC Subtype`.
    pub cc_subtype: u8,
    /// `Log Area Minimum Length`, in bytes.
    pub log_area_length: u64,
    /// `Log Area Start Address`, physical.
    pub log_area_start: u64,
}

impl CcelTable {
    /// Its length in bytes.
    pub const SIZE: u32 = 56;

    /// Takes the table off the front of `reader`, if the bytes begin with one.
    ///
    /// # Errors
    /// When they begin with its signature, but the table is cut off or has another length.
    pub(super) fn read_in_front(reader: &mut Reader<'_>) -> Result<Option<Self>, ParseError> {
        if !reader.peek().starts_with(b"CCEL") {
            return Ok(None);
        }
        let mut table = reader.sub(Self::SIZE.into(), "CCEL")?;
        table.array::<4>("CCEL.Signature")?;
        let at_length = table;
        let length = table.u32("CCEL.Length")?;
        if length != Self::SIZE {
            let kind = ParseErrorKind::Unexpected { found: length.into(), expected: "56 bytes" };
            return Err(at_length.error("CCEL.Length", kind));
        }
        table.take(28, "CCEL")?; // Revision to Creator Revision
        let cc_type = table.u8("CCEL.CC Type")?;
        let cc_subtype = table.u8("CCEL.CC Subtype")?;
        table.u16("CCEL.Reserved")?;
        let log_area_length = table.u64("CCEL.Log Area Minimum Length")?;
        let log_area_start = table.u64("CCEL.Log Area Start Address")?;
        Ok(Some(Self { cc_type, cc_subtype, log_area_length, log_area_start }))
    }
}
