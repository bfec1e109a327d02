//! Keylime's measured-boot reference state (`mb_policy`), for the policy module `contrib/keylime/premeasure_uki.py`.
//!
//! A reference state is read by a policy that the verifier names (`keylime.mba.elchecking`). The only one that comes with
//! Keylime, `example`, wants shim, GRUB and a command line in PCR 8, and refuses events that UKIs have ("unexpected
//! combination (11, 'EV_IPL')"), so there is no state with which it would accept one.

use super::exporter::{Alternatives, BankRule, Content, ExportError, Exporter, Output};
use super::json::{Json, list, object};
use super::release::{Export, Release};
use crate::boot::Stage;
use crate::tcg::HashAlgorithm;

/// Keylime, measured boot.
pub(super) const EXPORTER: Exporter = Exporter {
    name: "keylime-mb",
    summary: "mb_policy: the events of whole boots, for Keylime's measured-boot engine",
    reader: "Keylime's verifier with the policy contrib/keylime/premeasure_uki.py",
    fed: "keylime_tenant -c add --mb-policy FILE; measured_boot_policy_name = \"premeasure-uki\" in verifier.conf",
    limits: &[
        "Keylime's own policy `example` knows shim and GRUB only and refuses the log of every UKI",
        "PCR 11 and 15 can't be said: systemd extends them after the firmware's log, the only one that Keylime replays",
        "from systemd 261 on systemd extends most PCRs there: only tpm_policy (--format keylime) can be used",
        "not together with a tpm_policy for the same PCRs",
    ],
    bank: BankRule::Fixed(HashAlgorithm::Sha256),
    pcrs: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14],
    content: Content::Values,
    alternatives: Alternatives::Joint,
    write,
    ..Exporter::BASE
};

fn write(export: &Export<'_>) -> Result<Output, ExportError> {
    let mut boots: Vec<(&str, Json)> = Vec::new();
    let mut output = Output::default();
    for release in &export.releases {
        let mut registers = Vec::new();
        for pcr in release.values.keys() {
            match extends(export, release, *pcr) {
                Ok(digests) => registers.push((pcr.to_string(), list(digests))),
                Err(reason) => output.leave_out(std::slice::from_ref(release), *pcr, &reason),
            }
        }
        // Registers without an event tell no two boots apart.
        if registers.iter().all(|(_, digests)| *digests == list::<&str>([])) {
            let left_out = output.unwritten.iter().filter(|((id, _), _)| *id == release.id);
            let reasons = left_out.map(|((_, pcr), reason)| format!("PCR {pcr}: {reason}")).collect();
            return Err(ExportError::NothingEnforced { variant: release.id.clone(), reasons });
        }
        let registers = object(registers);
        if boots.iter().all(|(_, known)| *known != registers) {
            boots.push((&release.id, registers));
        }
    }
    let boots = boots.into_iter().map(|(name, pcrs)| object([("name", name.into()), ("pcrs", pcrs)]));
    let text = object([("boots", list(boots))]).pretty();
    output.dropped.push(
        "PCR 11 and 15 left out: systemd extends them after the firmware's log, the only one that Keylime replays"
            .to_owned(),
    );
    let warnings = vec![
        "Keylime's own policies can't read this: the verifier needs contrib/keylime/premeasure_uki.py"
            .to_owned(),
    ];
    output.add("", "mb_policy.json", text);
    Ok(Output { warnings, ..output })
}

/// What is extended into a register, in Keylime's notation; or who extends it without the log saying so.
fn extends(export: &Export<'_>, release: &Release<'_>, pcr: u8) -> Result<Vec<String>, String> {
    let mut digests = Vec::new();
    for measurement in export.measurements(release).filter(|measurement| measurement.pcr == pcr) {
        if measurement.stage != Stage::ExitBootServices.name() {
            return Err(format!(
                "'{}' is extended after the firmware's log, the only one that Keylime replays",
                measurement.description
            ));
        }
        let digest = measurement.digests.as_ref().and_then(|digests| digests.get("sha256"));
        digests.push(format!("0x{}", digest.ok_or("an event has no SHA-256 digest")?));
    }
    Ok(digests)
}
