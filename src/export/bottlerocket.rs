//! Bottlerocket's `pcr-predictions.json` (twoliter's `pcrsys`): plain lists.

use super::exporter::{Alternatives, ExportError, Exporter, Output, StageRule};
use super::json::{list, object};
use super::keylime::leave_out_partly_known;
use super::phases::KERNEL_BOOT;
use super::release::{Export, Release};
use crate::boot::Stage;

/// Bottlerocket.
pub(super) const EXPORTER: Exporter = Exporter {
    name: "bottlerocket",
    summary: "pcr-predictions.json: a list for each PCR, of PCR 11 one value for each stage",
    reader: "whoever publishes or compares build output; the least common denominator",
    fed: "a file beside the image",
    limits: &[
        "a list for each PCR: with several boots it also accepts their mixtures",
        "which value of PCR 11 belongs to which stage is said by its place only",
    ],
    stage: StageRule::Several(&Stage::ALL),
    alternatives: Alternatives::PerPcr,
    write,
    ..Exporter::BASE
};

fn write(export: &Export<'_>) -> Result<Output, ExportError> {
    let known = |pcr: &&u8| export.releases.iter().all(|release| release.values.contains_key(pcr));
    let pcrs = export.pcrs.iter().filter(known).map(|pcr| {
        let banks = export.banks.iter().map(|bank| {
            let mut values: Vec<&str> = Vec::new();
            for release in &export.releases {
                for value in along_the_boot(export, release, *pcr, bank.name()) {
                    if !values.contains(&value) {
                        values.push(value);
                    }
                }
            }
            (bank.name(), list(values))
        });
        (pcr.to_string(), object(banks))
    });
    let text = object([("pcrs", object(pcrs))]).pretty();
    let mut output = Output::single("pcr-predictions.json", text);
    leave_out_partly_known(export, &mut output);
    Ok(output)
}

/// PCR 11 at each stage, in order; of the others the value at the last.
fn along_the_boot<'d>(export: &Export<'_>, release: &Release<'d>, pcr: u8, bank: &str) -> Vec<&'d str> {
    let values = release.pcr(pcr).into_iter().flat_map(|entry| &entry.values);
    let asked = |stage: &str| match pcr {
        KERNEL_BOOT => export.stages.iter().any(|known| known.name() == stage),
        _ => stage == export.stage().name(),
    };
    values
        .filter(|value| asked(&value.stage))
        .filter_map(|value| Some(value.digests.get(bank)?.as_str()))
        .collect()
}
