//! Writes the crypto-agile log format (PFP, section 10): what `binary_bios_measurements` holds.

use super::{Digest, EventType, HashAlgorithm, PcrIndex};

/// The record that opens a crypto-agile log: `TCG_EfiSpecIDEvent` in a `TCG_PCClientPCREvent`.
///
/// `platformClass` 0 (client), `uintnSize` 2 (64 bit), no vendor data, one entry for each of `banks`.
#[must_use]
pub fn spec_id_record(banks: &[HashAlgorithm]) -> Vec<u8> {
    let mut event = b"Spec ID Event03\0".to_vec();
    event.extend_from_slice(&0_u32.to_le_bytes()); // platformClass
    event.extend_from_slice(&[0, 2, 0, 2]); // specVersionMinor, specVersionMajor, specErrata, uintnSize
    event.extend_from_slice(&length32(banks.len()));
    for bank in banks {
        event.extend_from_slice(&bank.id().0.to_le_bytes());
        event.extend_from_slice(&u16::try_from(bank.size()).unwrap_or(u16::MAX).to_le_bytes());
    }
    event.push(0); // vendorInfoSize

    let mut record = 0_u32.to_le_bytes().to_vec(); // PCRIndex
    record.extend_from_slice(&EventType::NO_ACTION.0.to_le_bytes());
    record.extend_from_slice(&[0; 20]);
    record.extend_from_slice(&length32(event.len()));
    record.extend_from_slice(&event);
    record
}

/// The record that says what the last byte of PCR 0 is before the first extend: `TCG_EfiStartupLocalityEvent`.
#[must_use]
pub fn startup_locality_record(banks: &[HashAlgorithm], locality: u8) -> Vec<u8> {
    let data = [b"StartupLocality\0".as_slice(), &[locality]].concat();
    let zeros = banks.iter().map(|bank| Digest::zero(*bank));
    event2_record(PcrIndex::new(0), EventType::NO_ACTION, zeros, &data)
}

/// One `TCG_PCR_EVENT2`.
#[must_use]
pub fn event2_record(
    pcr: PcrIndex,
    event_type: EventType,
    digests: impl IntoIterator<Item = Digest>,
    data: &[u8],
) -> Vec<u8> {
    let digests: Vec<Digest> = digests.into_iter().collect();
    let mut record = u32::from(pcr.get()).to_le_bytes().to_vec();
    record.extend_from_slice(&event_type.0.to_le_bytes());
    record.extend_from_slice(&length32(digests.len()));
    for digest in digests {
        record.extend_from_slice(&digest.algorithm().id().0.to_le_bytes());
        record.extend_from_slice(digest.as_bytes());
    }
    record.extend_from_slice(&length32(data.len()));
    record.extend_from_slice(data);
    record
}

/// A length field. Nothing that we log comes near 4 GiB: event data is text and small structures.
fn length32(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}
