//! dm-verity: from the hash on a command line to the partitions that have to match it (DPS).

use serde::{Deserialize, Serialize};

use super::command_line::WantedHash;
use super::{AuditOptions, Finding, Report, Severity};
use crate::disk::partition_type::{VERITY, VerityTypes};
use crate::disk::{Gpt, Partition};
use crate::secure_boot::verify_detached;
use crate::source::Blob;
use crate::verity::{Superblock, check_tree};
use crate::walk::Medium;

/// Most bytes of a signature partition's JSON.
const MAX_SIGNATURE: u64 = 1 << 20;

/// A hash tree that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerityFacts {
    /// `roothash` or `usrhash`.
    pub parameter: &'static str,
    /// The hash on the command line.
    pub expected: String,
    /// The hash of the data.
    pub computed: String,
    /// The data partition.
    pub data: String,
    /// The partition with the hash tree.
    pub hashes: String,
    /// Bytes of data.
    pub size: u64,
    /// Blocks of the tree that do not match the data.
    pub wrong_blocks: u64,
    /// Holder of the given certificate whose key signed the root hash.
    pub signed_by: Option<String>,
    /// Entries that ask for it.
    pub entries: Vec<String>,
}

/// The JSON of a signature partition (DPS, "verity signature partition").
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignaturePartition {
    root_hash: String,
    signature: Option<String>,
    certificate_fingerprint: Option<String>,
}

pub(super) fn check(
    medium: &Medium,
    wanted: Vec<WantedHash>,
    options: &AuditOptions,
    report: &mut Report,
    total: &dyn Fn(u64),
    progress: &(dyn Fn(u64) + Sync),
) {
    // One hash may be wanted by several entries.
    let mut distinct: Vec<(WantedHash, Vec<String>)> = Vec::new();
    for hash in wanted {
        match distinct.iter_mut().find(|(known, _)| (known.is_usr, &known.hash) == (hash.is_usr, &hash.hash))
        {
            Some((_, places)) => places.push(hash.place),
            None => {
                let places = vec![hash.place.clone()];
                distinct.push((hash, places));
            }
        }
    }
    let Some(table) = &medium.table else {
        for (hash, _) in distinct {
            let text = "the disk around the boot partition is missing, so the hash can't be checked";
            report.findings.push(Finding::new(Severity::Note, "verity-not-checked", &hash.place, text));
        }
        return;
    };
    let mut pairs = Vec::new();
    for (hash, places) in distinct {
        match find_pair(table, &hash, &mut report.findings) {
            Some(pair) => pairs.push((hash, places, pair)),
            None => {
                let text = format!(
                    "{} on the command line, but no partition of that type has a hash tree",
                    parameter(hash.is_usr)
                );
                report.findings.push(Finding::new(Severity::Error, "verity-no-partition", &hash.place, text));
            }
        }
    }
    if options.quick {
        return;
    }
    total(pairs.iter().map(|(.., pair)| pair.data_size(table)).fold(0, u64::saturating_add));
    for (hash, places, pair) in pairs {
        check_pair(table, (&hash, places), &pair, options, report, progress);
    }
}

fn parameter(is_usr: bool) -> &'static str {
    if is_usr { "usrhash" } else { "roothash" }
}

struct Pair<'a> {
    types: &'static VerityTypes,
    data: &'a Partition,
    hashes: &'a Partition,
}

impl Pair<'_> {
    fn data_size(&self, table: &Gpt) -> u64 {
        let superblock = table.content(self.hashes).and_then(|blob| Superblock::parse(&blob).ok());
        superblock.map_or(0, |block| block.data_blocks.saturating_mul(block.data_block_size.into()))
    }
}

/// The UUIDs that the DPS derives from a root hash: the data partition's is its first half, the hash partition's its last.
fn derived_uuids(hash: &[u8]) -> Option<(String, String)> {
    let first: &[u8; 16] = hash.first_chunk()?;
    let last: &[u8; 16] = hash.last_chunk()?;
    (hash.len() >= 32).then(|| (crate::verity::uuid_text(first), crate::verity::uuid_text(last)))
}

/// The partitions of a hash: those with the derived UUIDs, else the only ones of their types.
fn find_pair<'t>(table: &'t Gpt, hash: &WantedHash, findings: &mut Vec<Finding>) -> Option<Pair<'t>> {
    let uuids = derived_uuids(&hash.hash);
    let mut by_type = None;
    for types in VERITY.iter().filter(|types| types.is_usr == hash.is_usr) {
        let data: Vec<&Partition> = table.of_type(types.data).collect();
        let hashes: Vec<&Partition> = table.of_type(types.verity).collect();
        if let Some((data_uuid, hash_uuid)) = &uuids {
            let with = |partitions: &[&'t Partition], uuid: &str| {
                partitions.iter().copied().find(|partition| partition.unique_guid.to_string() == uuid)
            };
            if let (Some(data), Some(hashes)) = (with(&data, data_uuid), with(&hashes, hash_uuid)) {
                return Some(Pair { types, data, hashes });
            }
        }
        if let ([data, ..], [hashes, ..]) = (data.as_slice(), hashes.as_slice()) {
            by_type = by_type.or(Some(Pair { types, data, hashes }));
        }
    }
    let pair = by_type?;
    let text = format!(
        "its UUID and that of {} are not derived from {} of entry {}: systemd finds them only by other means than the hash",
        pair.hashes,
        parameter(hash.is_usr),
        hash.place
    );
    findings.push(Finding::new(Severity::Warning, "verity-partition-uuid", &pair.data.to_string(), text));
    Some(pair)
}

fn check_pair(
    table: &Gpt,
    (hash, entries): (&WantedHash, Vec<String>),
    pair: &Pair<'_>,
    options: &AuditOptions,
    report: &mut Report,
    progress: &(dyn Fn(u64) + Sync),
) {
    let place = pair.hashes.to_string();
    let expected = hex::encode(&hash.hash);
    let (Some(data), Some(hashes)) = (table.content(pair.data), table.content(pair.hashes)) else { return };
    let checked = Superblock::parse(&hashes).map_err(|error| error.to_string()).and_then(|superblock| {
        let check = check_tree(&superblock, &data, &hashes, progress).map_err(|error| error.to_string())?;
        Ok((superblock, check))
    });
    let (superblock, check) = match checked {
        Ok(checked) => checked,
        Err(problem) => {
            report.findings.push(Finding::new(Severity::Error, "verity-unreadable", &place, problem));
            return;
        }
    };
    let computed = check.root.to_string();
    if computed != expected {
        let text =
            format!("the data's root hash is {computed}, the command line of {} says {expected}", hash.place);
        let data = pair.data.to_string();
        report.findings.push(Finding::new(Severity::Error, "verity-root-mismatch", &data, text));
    }
    if check.wrong_blocks > 0 {
        let text = format!(
            "{} of {} blocks of the hash tree do not match the data, the first one at offset {:#x}: the kernel fails where it \
             reads them",
            check.wrong_blocks,
            check.hash_blocks,
            check.first_wrong.unwrap_or(0)
        );
        report.findings.push(Finding::new(Severity::Error, "verity-tree-mismatch", &place, text));
    }
    let signature = check_signature(table, pair, &expected, options, &mut report.findings);
    report.verity.push(VerityFacts {
        parameter: parameter(hash.is_usr),
        expected,
        computed,
        data: pair.data.to_string(),
        hashes: place,
        size: superblock.data_blocks.saturating_mul(superblock.data_block_size.into()),
        wrong_blocks: check.wrong_blocks,
        signed_by: signature,
        entries,
    });
}

/// The signature partition, where there is one, has to be about this hash, and by a given certificate where some are. Says who
/// signed.
fn check_signature(
    table: &Gpt,
    pair: &Pair<'_>,
    expected: &str,
    options: &AuditOptions,
    findings: &mut Vec<Finding>,
) -> Option<String> {
    let mut about_other = None;
    for partition in table.of_type(pair.types.signature) {
        let place = partition.to_string();
        let mut add = |code, text: String| findings.push(Finding::new(Severity::Error, code, &place, text));
        let Some(content) = table.content(partition) else { continue };
        match read_signature(&content) {
            Ok(signature) if signature.root_hash.eq_ignore_ascii_case(expected) => {
                return match verify_signature(&signature, options) {
                    Ok(signer) => signer,
                    Err((code, problem)) => {
                        add(code, problem);
                        None
                    }
                };
            }
            Ok(signature) => about_other = Some((place, signature.root_hash)),
            Err(problem) => {
                add("verity-signature-unreadable", problem);
                return None;
            }
        }
    }
    match about_other {
        Some((place, other)) => {
            let text = format!("signs the root hash {other}, not {expected}");
            findings.push(Finding::new(Severity::Error, "verity-signature-mismatch", &place, text));
        }
        None if options.certificates.is_some() => {
            let text = format!("no signature partition is about the root hash {expected}");
            let data = pair.data.to_string();
            findings.push(Finding::new(Severity::Warning, "verity-signature-missing", &data, text));
        }
        None => {}
    }
    None
}

/// The signature is PKCS#7 over the root hash as text (DPS; systemd `verity_dissect_and_validate`, Linux
/// `dm-verity-verify-sig.c`).
fn verify_signature(
    signature: &SignaturePartition,
    options: &AuditOptions,
) -> Result<Option<String>, (&'static str, String)> {
    let text = signature.signature.as_deref().filter(|text| !text.is_empty());
    let text = text.ok_or(("verity-signature-empty", "has no signature in it".to_owned()))?;
    let message = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text)
        .map_err(|error| ("verity-signature-unreadable", format!("its signature is no base64: {error}")))?;
    let Some(certificates) = &options.certificates else { return Ok(None) };
    let wrong = |why: String| ("verity-signature-invalid", why);
    let account = verify_detached(&message, signature.root_hash.as_bytes(), certificates)
        .map_err(|error| wrong(format!("its signature can't be checked: {error}")))?
        .ok_or_else(|| wrong("its signature is not by any of the given certificates".to_owned()))?;
    match &signature.certificate_fingerprint {
        Some(named) if !named.eq_ignore_ascii_case(&account.fingerprint) => Err(wrong(format!(
            "its certificateFingerprint is {named}, but the signature is by {} ({})",
            account.fingerprint, account.name
        ))),
        _ => Ok(Some(account.name)),
    }
}

fn read_signature(content: &Blob) -> Result<SignaturePartition, String> {
    let bytes = content.read_prefix(MAX_SIGNATURE).map_err(|error| error.to_string())?;
    let json = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    serde_json::from_slice(json).map_err(|error| format!("its JSON is damaged: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the DPS's text: first and last 128 bits, in the order of the hash's text.
    #[test]
    fn uuids_are_halves_of_the_hash() {
        let hash =
            hex::decode("0123456789abcdef0123456789abcdefaabbccddeeff00112233445566778899").expect("hex");
        let (data, hashes) = derived_uuids(&hash).expect("32 bytes");
        assert_eq!(data, "01234567-89ab-cdef-0123-456789abcdef");
        assert_eq!(hashes, "aabbccdd-eeff-0011-2233-445566778899");
    }
}
