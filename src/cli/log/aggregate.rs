//! IMA's first entry in PCR 10, computed from what the logs say of the PCRs before it.

use super::continuation::{Boot, Continuation, ended_boot_services};
use crate::tcg::boot_aggregate::{Template, boot_aggregate};
use crate::tcg::{Digest, HashAlgorithm, PcrIndex, PcrValues, extend, ima};

/// The entry that gives this value: any hash and template, from the replay or from the machine's own values.
pub(super) fn find(boot: &Boot<'_>, old: Digest, given: Digest) -> Option<Continuation> {
    // A log of IMA has the entry already.
    if !old.is_zero() {
        return None;
    }
    for bank in HashAlgorithm::ALL {
        for aggregate in aggregates(boot, bank) {
            for template in Template::ALL {
                let Some(data) = template.data(aggregate) else { continue };
                if let Some(remark) = reproduces(&data, old, given) {
                    let last = if bank == HashAlgorithm::Sha1 { 7 } else { 9 };
                    let name = template.name();
                    return Some(Continuation::After(vec![format!(
                        "IMA's boot_aggregate ({name}, {bank} of PCRs 0 to {last}){remark}"
                    )]));
                }
            }
        }
    }
    None
}

/// What the kernel may have read from the TPM: what the logs lead to, also with the events of ExitBootServices that
/// some lose, or what the machine holds.
fn aggregates(boot: &Boot<'_>, bank: HashAlgorithm) -> Vec<Digest> {
    let has = |values: &PcrValues| values.banks().any(|(other, values)| other == bank && !values.is_empty());
    let value =
        |values: &PcrValues, pcr: PcrIndex| values.get(bank, pcr).unwrap_or_else(|| pcr.start_value(bank));
    let pcr5 = PcrIndex::new(5);
    let mut aggregates = Vec::new();
    if has(boot.replayed) {
        let log = |pcr| value(boot.replayed, pcr);
        aggregates.push(boot_aggregate(bank, log));
        for ended in ended_boot_services(log(pcr5)) {
            aggregates.push(boot_aggregate(bank, |pcr| if pcr == pcr5 { ended } else { log(pcr) }));
        }
    }
    if has(boot.given) {
        aggregates.push(boot_aggregate(bank, |pcr| value(boot.given, pcr)));
    }
    aggregates
}

/// Whether an entry of this data makes the register what it is; with a remark when the kernel lacked the hash.
fn reproduces(data: &[u8], old: Digest, given: Digest) -> Option<&'static str> {
    let bank = given.algorithm();
    if extend(old, Digest::of(bank, data)) == given {
        return Some("");
    }
    let padded = ima::pad(Digest::of(HashAlgorithm::Sha1, data), bank)?;
    (extend(old, padded) == given).then_some(", its SHA-1 digest with zeros behind it")
}
