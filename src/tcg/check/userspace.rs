//! Digests and content of systemd's and IMA's records that contradict each other.

use crate::tcg::cel::{Content, Record, Systemd};
use crate::tcg::{Digest, HashAlgorithm, ima};

use super::{Facts, Finding, Findings, Level};

pub(super) fn check(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    for (record, number) in facts.events.iter().zip(0_u64..) {
        let Some(agreement) = agreement(record) else { continue };
        let (level, code, text) = match agreement {
            Agreement::Whole => continue,
            Agreement::No(bank) => {
                let text = format!("the {bank} digest is not the hash of the record's content");
                (Level::Error, "digest-mismatch", text)
            }
            Agreement::CantBeTold(why) => (Level::Note, "digest-not-provable", why.to_owned()),
        };
        findings.push(Finding { level, code, event: Some(number), register: Some(record.register), text });
    }
}

enum Agreement {
    Whole,
    No(HashAlgorithm),
    CantBeTold(&'static str),
}

/// `None` for content of other kinds.
fn agreement(record: &Record<'_>) -> Option<Agreement> {
    let agreement = match &record.content {
        Content::Systemd(systemd) => {
            let agreement = hashes(record, &[systemd.string.as_bytes()]);
            match (&agreement, shortened(systemd)) {
                (Agreement::No(_), Some(why)) => Agreement::CantBeTold(why),
                _ => agreement,
            }
        }
        Content::ImaTemplate { .. } if is_violation(record) => Agreement::Whole,
        Content::ImaTemplate { name, data } => {
            let agreement = match (name.as_ref(), data.split_at_checked(20)) {
                ("ima", Some((hash, file))) => hashes(record, &[data, &ima::legacy(hash, file)]),
                _ => hashes(record, &[data]),
            };
            match agreement {
                // From IMA's text, fields of other templates can't be put together again.
                Agreement::No(_) if !is_known(name) && ima::describe(name, data).is_none() => {
                    Agreement::CantBeTold("the text of this template does not say what was hashed")
                }
                _ => agreement,
            }
        }
        Content::PcClient { .. } | Content::Management(_) | Content::Other(..) => return None,
    };
    Some(agreement)
}

/// Why a string is not what was measured (systemd `tpm2_userspace_log`, `tpm2_pcr_extend_bytes`).
fn shortened(systemd: &Systemd) -> Option<&'static str> {
    if systemd.event_type.as_deref() == Some("volume-key") {
        return Some("the digest is an HMAC with a secret key: the string can't be held against it");
    }
    (systemd.string.len() >= 1024 || systemd.string.contains('\\'))
        .then_some("the string is shortened or escaped: it can't be held against the digest")
}

fn hashes(record: &Record<'_>, candidates: &[&[u8]]) -> Agreement {
    let agrees = |data: &[u8], bank, digest: Digest| {
        // Kernels without a bank's hash extend it with the SHA-1 digest and zeros.
        digest == Digest::of(bank, data)
            || (matches!(record.content, Content::ImaTemplate { .. })
                && ima::pad(Digest::of(HashAlgorithm::Sha1, data), bank) == Some(digest))
    };
    for bank in record.digests.banks() {
        let Some(digest) = record.digests.get(bank) else { continue };
        if !candidates.iter().any(|data| agrees(data, bank, digest)) {
            return Agreement::No(bank);
        }
    }
    Agreement::Whole
}

/// A file was open for writing when it was measured: extended with ones, logged with zeros.
fn is_violation(record: &Record<'_>) -> bool {
    let mut digests = record.digests.iter();
    digests.all(|(_, digest)| digest.iter().all(|byte| *byte == 0xFF) || digest.iter().all(|byte| *byte == 0))
}

/// Templates whose text has all that was hashed.
fn is_known(name: &str) -> bool {
    matches!(name, "ima" | "ima-ng" | "ima-sig" | "ima-buf")
}
