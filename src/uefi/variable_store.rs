//! EDK2's variable store: what `OVMF_VARS.fd` and other firmware images keep variables in.
//!
//! Sources: EDK2 `MdeModulePkg/Include/Guid/VariableFormat.h` (`VARIABLE_STORE_HEADER`,
//! `AUTHENTICATED_VARIABLE_HEADER`, states), `MdeModulePkg/Universal/Variable/RuntimeDxe/VariableParsing.c`
//! (`GetNextVariablePtr`, `FindVariableEx`), and `MdeModulePkg/Universal/FaultTolerantWriteDxe`.
//!
//! Flash can only clear bits, so a variable's state is written bit by bit, and a power cut leaves one of a few
//! states. The one that counts is found as the firmware finds it.

use super::guid::{self, Guid, guid};
use super::text;
use crate::bytes::{ParseError, ParseErrorKind, Reader};

/// Most bytes of a store: the largest flash parts hold 64 MiB, OVMF's store has 528 KiB.
pub const MAX_SIZE: u64 = 64 << 20;
/// Most variables that are read.
const MAX_VARIABLES: usize = 4096;

/// `gEfiSystemNvDataFvGuid`: a firmware volume that holds variables.
const NV_DATA_VOLUME: Guid = guid!("fff12b8d-7696-4c8b-a985-2747075b4f50");
/// `gEfiAuthenticatedVariableGuid`: a store of authenticated variables.
const AUTHENTICATED_STORE: Guid = guid!("aaf32c78-947b-439a-a180-2e144ec37792");
/// `gEfiVariableGuid`: a store without authentication.
const PLAIN_STORE: Guid = guid!("ddcf3616-3275-4164-98b6-fe85707ffe7d");
/// `gEdkiiWorkingBlockSignatureGuid`: fault tolerant writes are journalled behind it.
const WORKING_BLOCK: Guid = guid!("9e58292b-7c68-497d-a0ce-6500fd9f1b95");

/// `VAR_ADDED`: the variable is complete.
const ADDED: u8 = 0x3F;
/// `VAR_ADDED & VAR_IN_DELETED_TRANSITION`: complete, about to be replaced.
const BEING_DELETED: u8 = 0x3E;

/// A variable as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// `VendorGuid`.
    pub vendor: Guid,
    /// `VariableName`, without its NUL.
    pub name: String,
    /// `Attributes`: 1 non-volatile, 2 boot service, 4 runtime, 0x20 time-based authenticated.
    pub attributes: u32,
    /// Its content.
    pub data: Vec<u8>,
}

/// The bytes look like a firmware volume that holds variables.
#[must_use]
pub fn is_store(bytes: &[u8]) -> bool {
    bytes.get(16..32) == Some(&NV_DATA_VOLUME.to_bytes()[..]) && bytes.get(40..44) == Some(b"_FVH")
}

/// The variables of a firmware volume, as the firmware would find them at the next boot, in the order of the store.
///
/// # Errors
/// When a header is not what the format wants, a variable reaches behind the store, or a journalled write was
/// interrupted.
pub fn read(bytes: &[u8]) -> Result<Vec<Variable>, ParseError> {
    let mut reader = Reader::new(bytes);
    read_volume_header(&mut reader)?;
    check_journal(bytes)?;
    let (authenticated, mut store) = read_store_header(&mut reader)?;
    let mut found: Vec<(u8, Variable)> = Vec::new();
    while let Some((state, variable)) = next(&mut store, authenticated)? {
        let Some(variable) = variable else { continue };
        if found.len() >= MAX_VARIABLES {
            let kind = ParseErrorKind::TooLarge {
                found: (found.len() as u64).saturating_add(1),
                limit: MAX_VARIABLES as u64,
            };
            return Err(store.error("VARIABLE_STORE_HEADER", kind));
        }
        found.push((state, variable));
    }
    Ok(current(found))
}

/// Of two instances of a variable, the one that is not being deleted counts (EDK2 `FindVariableEx`); of two that
/// are complete, the first.
fn current(found: Vec<(u8, Variable)>) -> Vec<Variable> {
    let mut kept: Vec<(u8, Variable)> = Vec::new();
    for (state, variable) in found {
        let same =
            |(_, other): &&mut (u8, Variable)| other.vendor == variable.vendor && other.name == variable.name;
        match kept.iter_mut().find(same) {
            Some(known) if known.0 == BEING_DELETED && state == ADDED => *known = (state, variable),
            Some(_) => {}
            None => kept.push((state, variable)),
        }
    }
    kept.into_iter().map(|(_, variable)| variable).collect()
}

fn read_volume_header(reader: &mut Reader<'_>) -> Result<(), ParseError> {
    let start = *reader;
    let mut header = *reader;
    header.take(16, "EFI_FIRMWARE_VOLUME_HEADER.ZeroVector")?;
    let at_guid = header;
    if guid::read(&mut header, "EFI_FIRMWARE_VOLUME_HEADER.FileSystemGuid")? != NV_DATA_VOLUME {
        let kind = ParseErrorKind::Invalid("is not gEfiSystemNvDataFvGuid: no volume of variables");
        return Err(at_guid.error("EFI_FIRMWARE_VOLUME_HEADER.FileSystemGuid", kind));
    }
    let at_length = header;
    let length = header.u64("EFI_FIRMWARE_VOLUME_HEADER.FvLength")?;
    if length > start.remaining() as u64 {
        let kind = ParseErrorKind::Truncated { needed: length, left: start.remaining() as u64 };
        return Err(at_length.error("EFI_FIRMWARE_VOLUME_HEADER.FvLength", kind));
    }
    let at_signature = header;
    if &header.array::<4>("EFI_FIRMWARE_VOLUME_HEADER.Signature")? != b"_FVH" {
        let kind = ParseErrorKind::Invalid("is not _FVH");
        return Err(at_signature.error("EFI_FIRMWARE_VOLUME_HEADER.Signature", kind));
    }
    header.u32("EFI_FIRMWARE_VOLUME_HEADER.Attributes")?;
    let header_length = header.u16("EFI_FIRMWARE_VOLUME_HEADER.HeaderLength")?;
    reader.take(header_length.into(), "EFI_FIRMWARE_VOLUME_HEADER.HeaderLength")?;
    Ok(())
}

/// Says whether variables are authenticated, and where they stand.
fn read_store_header<'a>(reader: &mut Reader<'a>) -> Result<(bool, Reader<'a>), ParseError> {
    const SIZE: &str = "VARIABLE_STORE_HEADER.Size";
    let at_signature = *reader;
    let signature = guid::read(reader, "VARIABLE_STORE_HEADER.Signature")?;
    if signature != AUTHENTICATED_STORE && signature != PLAIN_STORE {
        let kind = ParseErrorKind::Invalid("is neither gEfiAuthenticatedVariableGuid nor gEfiVariableGuid");
        return Err(at_signature.error("VARIABLE_STORE_HEADER.Signature", kind));
    }
    let at_size = *reader;
    let size = reader.u32(SIZE)?;
    // Format, State, two reserved fields.
    reader.take(8, "VARIABLE_STORE_HEADER")?;
    let Some(body) = size.checked_sub(28) else {
        let expected = "28 bytes at least, its own header";
        return Err(at_size.error(SIZE, ParseErrorKind::Unexpected { found: size.into(), expected }));
    };
    Ok((signature == AUTHENTICATED_STORE, reader.sub(body.into(), SIZE)?))
}

/// The next variable with its state; `None` behind the last one. A variable whose write was cut off, or that is
/// deleted, has no content.
fn next(reader: &mut Reader<'_>, authenticated: bool) -> Result<Option<(u8, Option<Variable>)>, ParseError> {
    /// `VARIABLE_DATA`.
    const START_ID: [u8; 2] = [0xAA, 0x55];
    align(reader);
    if !reader.peek().starts_with(&START_ID) {
        return Ok(None);
    }
    reader.take(2, "StartId")?;
    let state = reader.u8("State")?;
    reader.u8("Reserved")?;
    let attributes = reader.u32("Attributes")?;
    if authenticated {
        // MonotonicCount, TimeStamp, PubKeyIndex.
        reader.take(8 + 16 + 4, "AUTHENTICATED_VARIABLE_HEADER")?;
    }
    let (name_size, data_size) = (reader.u32("NameSize")?, reader.u32("DataSize")?);
    let vendor = guid::read(reader, "VendorGuid")?;
    let unwritten = state == 0xFF || [attributes, name_size, data_size].contains(&u32::MAX);
    if unwritten {
        return Ok(Some((state, None)));
    }
    let name = reader.take(name_size.into(), "VARIABLE_HEADER.NameSize")?;
    let data = reader.take(data_size.into(), "VARIABLE_HEADER.DataSize")?;
    let complete = state == ADDED || state == BEING_DELETED;
    let variable = complete.then(|| Variable {
        vendor,
        name: text::utf16_to_nul(name),
        attributes,
        data: data.to_vec(),
    });
    Ok(Some((state, variable)))
}

/// Headers start at multiples of 4 (`HEADER_ALIGNMENT`), counted from the start of the volume.
fn align(reader: &mut Reader<'_>) {
    let odd = reader.offset().checked_rem(4).unwrap_or(0);
    if odd != 0 {
        // Behind the last byte there is nothing to align.
        let _ = reader.take(4_u64.saturating_sub(odd), "alignment");
    }
}

/// A write that reached the spare area and not yet its destination is finished by the firmware at the next boot, so the
/// store in this file is not the one that it will read.
fn check_journal(bytes: &[u8]) -> Result<(), ParseError> {
    const BLOCK: usize = 4096;
    let signature = WORKING_BLOCK.to_bytes();
    let Some(block) = bytes.chunks(BLOCK).position(|block| block.starts_with(&signature)) else {
        return Ok(());
    };
    let mut reader = Reader::new(bytes);
    reader.take((block as u64).saturating_mul(BLOCK as u64), "working block")?;
    let mut queue = reader.sub((BLOCK.min(reader.remaining())) as u64, "working block")?;
    // Signature, Crc, State, reserved bytes, WriteQueueSize.
    queue.take(16 + 4 + 4 + 8, "EFI_FAULT_TOLERANT_WORKING_BLOCK_HEADER")?;
    loop {
        let at_header = queue;
        // A bit that is set in the erased flash is cleared to say yes: allocated, writes allocated, complete.
        let Ok(state) = queue.u8("EFI_FAULT_TOLERANT_WRITE_HEADER.State") else { return Ok(()) };
        if state & 1 != 0 {
            return Ok(());
        }
        // Reserved bytes, CallerId, NumberOfWrites, PrivateDataSize.
        queue.take(7 + 16, "EFI_FAULT_TOLERANT_WRITE_HEADER")?;
        let writes = queue.u64("EFI_FAULT_TOLERANT_WRITE_HEADER.NumberOfWrites")?;
        let private = queue.u64("EFI_FAULT_TOLERANT_WRITE_HEADER.PrivateDataSize")?;
        for _ in 0..writes {
            let record = queue.u8("EFI_FAULT_TOLERANT_WRITE_RECORD.State")?;
            // Reserved bytes, Lba, Offset, Length, RelativeOffset.
            queue.take(7 + 32, "EFI_FAULT_TOLERANT_WRITE_RECORD")?;
            queue.take(private, "EFI_FAULT_TOLERANT_WRITE_RECORD")?;
            let (spare_complete, destination_complete) = (record & 2 == 0, record & 4 == 0);
            if state & 4 != 0 && spare_complete && !destination_complete {
                let why = "a write was interrupted, which the firmware finishes at the next boot: take the store after that";
                return Err(
                    at_header.error("EFI_FAULT_TOLERANT_WRITE_HEADER.State", ParseErrorKind::Invalid(why))
                );
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    /// A volume of one store with these variables: state, name, data.
    fn volume(variables: &[(u8, &str, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (state, name, data) in variables {
            body.resize(body.len().next_multiple_of(4), 0xFF);
            body.extend([0xAA, 0x55, *state, 0]);
            body.extend(7_u32.to_le_bytes());
            body.extend([0; 28]);
            let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
            body.extend(u32::try_from(name.len()).expect("small").to_le_bytes());
            body.extend(u32::try_from(data.len()).expect("small").to_le_bytes());
            body.extend(super::guid::GLOBAL_VARIABLE.to_bytes());
            body.extend(name);
            body.extend(*data);
        }
        body.resize(1024, 0xFF);
        let mut bytes = vec![0; 16];
        bytes.extend(NV_DATA_VOLUME.to_bytes());
        bytes.extend(0_u64.to_le_bytes());
        bytes.extend(b"_FVH");
        bytes.extend([0; 4]);
        bytes.extend(72_u16.to_le_bytes());
        bytes.resize(72, 0);
        bytes.extend(AUTHENTICATED_STORE.to_bytes());
        bytes.extend(u32::try_from(body.len() + 28).expect("small").to_le_bytes());
        bytes.extend([0x5A, 0xFE, 0, 0, 0, 0, 0, 0]);
        bytes.extend(body);
        let length = bytes.len() as u64;
        bytes[32..40].copy_from_slice(&length.to_le_bytes());
        bytes
    }

    fn names(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
        read(bytes).expect("a store").into_iter().map(|variable| (variable.name, variable.data)).collect()
    }

    #[test]
    fn a_torn_update_keeps_the_old_value_until_the_new_one_is_complete() {
        // Power was cut while the new value was written: header only (0x7f), then header and data.
        let torn = volume(&[(0x3E, "db", b"old"), (0x7F, "db", b"new")]);
        assert_eq!(names(&torn), [("db".to_owned(), b"old".to_vec())]);
        let done = volume(&[(0x3E, "db", b"old"), (0x3F, "db", b"new")]);
        assert_eq!(names(&done), [("db".to_owned(), b"new".to_vec())]);
        let deleted = volume(&[(0x3C, "db", b"old"), (0x3D, "db", b"new"), (0x3F, "PK", b"pk")]);
        assert_eq!(names(&deleted), [("PK".to_owned(), b"pk".to_vec())]);
    }

    #[test]
    fn an_unwritten_header_is_stepped_over() {
        let mut bytes = volume(&[(0xFF, "", b""), (0x3F, "PK", b"pk")]);
        // Between the two stands the NUL of the first name, which the firmware does not know of.
        bytes.copy_within(100 + 64.., 100 + 60);
        assert_eq!(names(&bytes), [("PK".to_owned(), b"pk".to_vec())]);
    }

    #[test]
    fn lying_sizes_are_errors_and_nothing_else() {
        let good = volume(&[(0x3F, "PK", b"pk")]);
        for (offset, what) in [
            (32, "EFI_FIRMWARE_VOLUME_HEADER.FvLength"),
            (88, "VARIABLE_STORE_HEADER.Size"),
            (136, "VARIABLE_HEADER.NameSize"),
            (140, "VARIABLE_HEADER.DataSize"),
        ] {
            let mut bad = good.clone();
            bad[offset + 3] = 0x7F;
            assert_eq!(read(&bad).expect_err("the size is a lie").what, what);
        }
        for length in 0..good.len() {
            assert!(read(&good[..length]).is_err(), "cut off at {length}");
        }
    }

    #[test]
    fn an_interrupted_write_of_the_journal_is_refused() {
        let mut bytes = volume(&[(0x3F, "PK", b"pk")]);
        bytes.resize(4096, 0xFF);
        bytes.extend(WORKING_BLOCK.to_bytes());
        bytes.extend([0; 16]);
        bytes.extend([0xF8 | 4, 0, 0, 0, 0, 0, 0, 0]); // allocated, writes allocated, not complete
        bytes.extend([0; 16]);
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(0_u64.to_le_bytes());
        let record = bytes.len();
        bytes.extend([!2_u8; 8]); // spare complete
        bytes.extend([0; 32]);
        bytes.resize(8192, 0xFF);
        let error = read(&bytes).expect_err("the write is not finished");
        assert!(error.to_string().contains("interrupted"), "{error}");
        bytes[record] &= !4; // destination complete
        assert!(read(&bytes).is_ok());
        bytes[4096 + 32 + 24..][..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(read(&bytes).is_err(), "more writes than the block has room for");
    }
}
