//! Linux IMA: `binary_runtime_measurements` and `ascii_runtime_measurements` (PCR 10).
//!
//! The kernel extends SHA-1 banks with the template hash of the entry and, since Linux 5.8, every other bank with
//! its own hash of the template data, if that hash function was there when IMA started; else with the SHA-1 hash
//! and zeros behind it, as before (`security/integrity/ima/ima_queue.c`, `ima_pcr_extend`; `ima_crypto.c`,
//! `ima_init_crypto`). The log does not say which. Records here have the first; [`padded`] gives the second. A
//! violation is logged with a hash of zeros and extended with ones.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::borrow::Cow;

use crate::bytes::{ParseError, ParseErrorKind, Reader};

use super::boot_aggregate::field;
use super::cel::{Content, MAX_RECORDS, Record, RecordDigests, Records};
use super::eventlog::Register;
use super::{Digest, HashAlgorithm, PcrIndex};

/// Bytes of a template's name (`TCG_EVENT_NAME_LEN_MAX`).
const MAX_NAME: u32 = 255;
/// Bytes of an entry's data: a path, a digest and a signature have some thousand at most.
const MAX_DATA: u32 = 1 << 20;

/// The first bytes are those of a binary IMA log: PCR 10 (or another), a hash, the name of a template.
pub(crate) fn looks_like_binary(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    read_head(&mut reader).is_ok_and(|(_, _, name)| name.starts_with("ima") || name.contains("d-ng"))
}

/// The first line is that of an ASCII IMA log: `10 HASH TEMPLATE …`.
pub(crate) fn looks_like_ascii(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else { return false };
    let mut words = line.split_ascii_whitespace();
    let pcr = words.next().and_then(|word| word.parse::<u32>().ok());
    let hash =
        words.next().is_some_and(|word| hash_algorithm(word.len()).is_some() && hex::decode(word).is_ok());
    pcr.is_some_and(|pcr| pcr < 24) && hash && words.next().is_some()
}

/// Reads a binary log.
#[must_use]
pub fn read_binary(bytes: &[u8]) -> Records<'_> {
    let mut reader = Reader::new(bytes);
    let mut records = Vec::new();
    while !reader.is_empty() {
        let start = reader;
        let record = if records.len() < MAX_RECORDS { read_entry(&mut reader) } else { Err(too_many(start)) };
        match record {
            Ok(record) => records.push(record),
            Err(error) => return Records { records, error: Some(error.into()) },
        }
    }
    Records { records, error: None }
}

fn too_many(reader: Reader<'_>) -> ParseError {
    let kind = ParseErrorKind::TooLarge { found: MAX_RECORDS as u64, limit: MAX_RECORDS as u64 };
    reader.error("ima_template_entry", kind)
}

fn read_head<'a>(reader: &mut Reader<'a>) -> Result<(Register, [u8; 20], &'a str), ParseError> {
    let at_pcr = *reader;
    let pcr = reader.u32("ima_template_entry.pcr")?;
    let Ok(pcr) = PcrIndex::try_from(pcr) else {
        let kind = ParseErrorKind::Unexpected { found: pcr.into(), expected: "a PCR, 0 to 23" };
        return Err(at_pcr.error("ima_template_entry.pcr", kind));
    };
    let hash = reader.array::<20>("ima_template_entry.digest")?;
    let length = bounded(reader, "ima_template_entry.template_name_len", MAX_NAME)?;
    let at_name = *reader;
    let name = reader.take(length.into(), "ima_template_entry.template_name")?;
    match std::str::from_utf8(name) {
        Ok(name) => Ok((Register::Pcr(pcr), hash, name)),
        Err(_) => {
            let kind = ParseErrorKind::Invalid("is no text");
            Err(at_name.error("ima_template_entry.template_name", kind))
        }
    }
}

fn read_entry<'a>(reader: &mut Reader<'a>) -> Result<Record<'a>, ParseError> {
    let offset = reader.offset();
    let (register, hash, name) = read_head(reader)?;
    let (measured, data) = if name == "ima" {
        let file_hash = reader.take(20, "ima_template_data.digest")?;
        let length = bounded(reader, "ima_template_data.file_name_len", MAX_NAME)?;
        let file = reader.take(length.into(), "ima_template_data.file_name")?;
        (Cow::Owned(legacy(file_hash, file)), Cow::Owned([file_hash, file].concat()))
    } else {
        let length = bounded(reader, "ima_template_entry.template_data_len", MAX_DATA)?;
        let data = reader.take(length.into(), "ima_template_entry.template_data")?;
        (Cow::Borrowed(data), Cow::Borrowed(data))
    };
    let digests = digests(HashAlgorithm::Sha1, &hash, Some(&measured));
    let content = Content::ImaTemplate { name: Cow::Borrowed(name), data };
    Ok(Record { recnum: None, register, digests, content, offset })
}

fn bounded(reader: &mut Reader<'_>, what: &'static str, limit: u32) -> Result<u32, ParseError> {
    let at_length = *reader;
    let length = reader.u32(what)?;
    if length > limit {
        let kind = ParseErrorKind::TooLarge { found: length.into(), limit: limit.into() };
        return Err(at_length.error(what, kind));
    }
    Ok(length)
}

/// The oldest template hashes the name in a buffer of 256 bytes.
pub(super) fn legacy(file_hash: &[u8], name: &[u8]) -> Vec<u8> {
    let mut measured = file_hash.to_vec();
    measured.extend_from_slice(name);
    measured.resize(file_hash.len().saturating_add(256), 0);
    measured
}

/// The digests that the kernel extended: the logged one, and those of the other banks when the data is the logged
/// one's.
fn digests(bank: HashAlgorithm, hash: &[u8], measured: Option<&[u8]>) -> RecordDigests<'static> {
    let mut digests = RecordDigests::default();
    let violation = hash.iter().all(|byte| *byte == 0);
    let proven = measured.filter(|data| Digest::of(bank, data).as_bytes() == hash);
    for other in HashAlgorithm::ALL {
        let digest = match proven {
            _ if violation => vec![0xFF; other.size()],
            _ if other == bank => hash.to_vec(),
            Some(data) => Digest::of(other, data).as_bytes().to_vec(),
            None => continue,
        };
        // One digest of each algorithm, of its own length.
        let _ = digests.push(other.id(), &digest);
    }
    digests
}

/// Reads an ASCII log.
#[must_use]
pub fn read_ascii(bytes: &[u8]) -> Records<'static> {
    let mut records = Vec::new();
    let mut reader = Reader::new(bytes);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let start = reader;
        let record = if records.len() < MAX_RECORDS { read_line(line, start) } else { Err(too_many(start)) };
        match record {
            Ok(Some(record)) => records.push(record),
            Ok(None) => {}
            Err(error) => return Records { records, error: Some(error.into()) },
        }
        // The line was cut from these bytes, so it is there.
        let _ = reader.take(line.len() as u64, "line");
    }
    Records { records, error: None }
}

fn read_line(line: &[u8], start: Reader<'_>) -> Result<Option<Record<'static>>, ParseError> {
    const WHAT: &str = "ascii_runtime_measurements";
    let invalid = |why| start.error(WHAT, ParseErrorKind::Invalid(why));
    let Some(line) = line.strip_suffix(b"\n") else {
        return Err(invalid("the last line has no end"));
    };
    let line = String::from_utf8_lossy(line);
    if line.trim().is_empty() {
        return Ok(None);
    }
    let mut words = line.trim_start().splitn(4, ' ');
    let pcr = words.next().and_then(|word| word.parse::<u32>().ok());
    let pcr = pcr
        .and_then(|pcr| PcrIndex::try_from(pcr).ok())
        .ok_or_else(|| invalid("does not begin with a PCR"))?;
    let hash = words.next().and_then(|word| hex::decode(word).ok()).unwrap_or_default();
    let bank = hash_algorithm(hash.len().saturating_mul(2)).ok_or_else(|| invalid("has no template hash"))?;
    let name = words.next().ok_or_else(|| invalid("has no template name"))?;
    let fields = words.next().unwrap_or_default();
    let candidates = template_data(name, fields);
    let measured = candidates.iter().find(|data| Digest::of(bank, data).as_bytes() == hash);
    let digests = digests(bank, &hash, measured.map(Vec::as_slice));
    let data = measured.cloned().unwrap_or_else(|| fields.as_bytes().to_vec());
    let content = Content::ImaTemplate { name: Cow::Owned(name.to_owned()), data: Cow::Owned(data) };
    Ok(Some(Record { recnum: None, register: Register::Pcr(pcr), digests, content, offset: start.offset() }))
}

/// The algorithm of a template hash, by the length of its hexadecimal form: the kernel has a file for each bank.
fn hash_algorithm(digits: usize) -> Option<HashAlgorithm> {
    match digits {
        40 => Some(HashAlgorithm::Sha1),
        64 => Some(HashAlgorithm::Sha256),
        96 => Some(HashAlgorithm::Sha384),
        128 => Some(HashAlgorithm::Sha512),
        _ => None,
    }
}

/// What the text of an entry may have been made from. The text does not say where a path with blanks ends, so
/// there may be several; the template hash decides.
fn template_data(name: &str, fields: &str) -> Vec<Vec<u8>> {
    let Some((digest, rest)) = fields.split_once(' ') else { return Vec::new() };
    if name == "ima" {
        let hash = hex::decode(digest).unwrap_or_default();
        return vec![legacy(&hash, rest.as_bytes())];
    }
    let Some((algorithm, value)) = digest.rsplit_once(':') else { return Vec::new() };
    let Ok(value) = hex::decode(value) else { return Vec::new() };
    let digest = [algorithm.as_bytes(), b":\0", &value].concat();
    let with = |path: &str, more: &[&[u8]]| {
        let path = [path.as_bytes(), b"\0"].concat();
        let mut data = field(&digest);
        data.extend_from_slice(&field(&path));
        for part in more {
            data.extend_from_slice(&field(part));
        }
        data
    };
    let unsigned = rest.strip_suffix(' ').unwrap_or(rest);
    let mut candidates = vec![with(rest, &[]), with(rest, &[&[]]), with(unsigned, &[&[]])];
    if let Some((path, signature)) = rest.rsplit_once(' ')
        && let Ok(signature) = hex::decode(signature)
    {
        candidates.push(with(path, &[&signature]));
    }
    candidates
}

/// What a kernel extends a bank with whose hash function it lacks: the SHA-1 digest, zeros behind it. Linux 6.1 of
/// Debian 12 does so in its SHA-384 and SHA-512 banks.
#[must_use]
pub fn padded(record: &Record<'_>, bank: HashAlgorithm) -> Option<Digest> {
    pad(record.digests.get(HashAlgorithm::Sha1)?, bank)
}

/// A SHA-1 digest as such a kernel extends it into another bank.
#[must_use]
pub fn pad(sha1: Digest, bank: HashAlgorithm) -> Option<Digest> {
    let filler =
        sha1.as_bytes().first().copied().filter(|_| sha1.as_bytes().iter().all(|byte| *byte == 0xFF));
    let mut bytes = sha1.as_bytes().to_vec();
    bytes.resize(bank.size(), filler.unwrap_or(0));
    Digest::from_bytes(bank, &bytes)
}

/// The file that an entry is about, and its hash, as `sha256:…`.
#[must_use]
pub fn describe(name: &str, data: &[u8]) -> Option<(String, String)> {
    if name == "ima" {
        let (hash, file) = data.split_at_checked(20)?;
        let file = file.split(|byte| *byte == 0).next().unwrap_or_default();
        return Some((String::from_utf8_lossy(file).into_owned(), format!("sha1:{}", hex::encode(hash))));
    }
    let mut reader = Reader::new(data);
    let length = reader.u32("d-ng").ok()?;
    let digest = reader.take(length.into(), "d-ng").ok()?;
    let length = reader.u32("n-ng").ok()?;
    let path = reader.take(length.into(), "n-ng").ok()?;
    let end = digest.iter().position(|byte| *byte == 0)?;
    let algorithm = String::from_utf8_lossy(digest.get(..end)?);
    let value = hex::encode(digest.get(end.checked_add(1)?..)?);
    let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
    Some((String::from_utf8_lossy(path).into_owned(), format!("{algorithm}{value}")))
}
