//! Keylime's `tpm_policy`: a list of values for each PCR.
//!
//! `keylime.tpm.tpm_main` compares strings, in lower case; `keylime.cmd.tenant` adds the mask itself and refuses a policy
//! that has one, PCR 10 (IMA) and PCR 16 (key binding).

use super::exporter::{Alternatives, BankRule, ExportError, Exporter, Output};
use super::json::{list, object};
use super::release::Export;
use crate::tcg::HashAlgorithm;

/// Keylime.
pub(super) const EXPORTER: Exporter = Exporter {
    name: "keylime",
    summary: "tpm_policy: accepted values for each PCR",
    reader: "Keylime's verifier, through keylime_tenant or its REST interface",
    fed: "keylime_tenant -c add --tpm_policy \"$(cat FILE)\"; REST wants it as a string with a mask added",
    limits: &[
        "a list for each PCR: with several boots it also accepts their mixtures",
        "no bank is named: the agent has to quote the bank that the values are of",
        "may not be combined with a measured-boot policy that covers the same PCRs",
        "a PCR that is quoted but not listed is accepted with a warning",
    ],
    bank: BankRule::One(HashAlgorithm::Sha256),
    pcrs: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 22, 23],
    default_pcrs: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15],
    alternatives: Alternatives::PerPcr,
    write,
    ..Exporter::BASE
};

fn write(export: &Export<'_>) -> Result<Output, ExportError> {
    let policy = per_pcr(export).into_iter().map(|(pcr, values)| (pcr.to_string(), list(values)));
    let mut output = Output::single("tpm_policy.json", object(policy).pretty());
    leave_out_partly_known(export, &mut output);
    Ok(output)
}

/// The accepted values of each PCR. A PCR that some boot does not vouch for is left out for all: its list would refuse
/// that boot.
pub(super) fn per_pcr<'d>(export: &Export<'d>) -> Vec<(u8, Vec<&'d str>)> {
    let bank = export.bank();
    let mut lists = Vec::new();
    for pcr in &export.pcrs {
        let values: Option<Vec<&str>> =
            export.releases.iter().map(|release| release.hex(*pcr, bank)).collect();
        if let Some(mut values) = values {
            values.sort_unstable();
            values.dedup();
            lists.push((*pcr, values));
        }
    }
    lists
}

/// PCRs that only some of the boots vouch for.
pub(super) fn leave_out_partly_known(export: &Export<'_>, output: &mut Output) {
    let reason = "only some of the boots have a value, and its list would refuse the others";
    for pcr in &export.pcrs {
        if !export.releases.iter().all(|release| release.values.contains_key(pcr)) {
            output.leave_out(&export.releases, *pcr, reason);
        }
    }
}
