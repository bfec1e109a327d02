//! What was exported, what was left out, and why: for people on standard error, for programs as JSON.

use std::collections::BTreeMap;

use super::exporter::{Output, StageRule};
use super::json::{Json, list, object};
use super::release::{Export, Release};

/// The account of one export.
#[derive(Debug, Clone)]
pub struct Report {
    json: Json,
    /// Lines for people: what was left out.
    pub notes: Vec<String>,
    /// Lines for people: what the reader of the format may misunderstand.
    pub warnings: Vec<String>,
}

impl Report {
    /// The account of an export that produced `output`.
    pub(super) fn new(export: &Export<'_>, output: &Output) -> Self {
        let mut warnings: Vec<String> = super::alternatives::warnings(export).into_iter().collect();
        warnings.extend(output.warnings.iter().cloned());
        let left_out = output.dropped.iter().chain(&export.notes);
        let notes = default_stage(export).into_iter().chain(notes(export)).chain(left_out.clone().cloned());
        let notes = notes.chain(accepted_boots(export)).chain(untold(export)).collect();
        let json = object([
            ("format", export.exporter.name.into()),
            ("stages", list(export.stages.iter().map(|stage| stage.name()))),
            ("banks", list(export.banks.iter().map(|bank| bank.name()))),
            ("variants", list(export.releases.iter().map(|release| variant(export, release)))),
            ("files", list(output.parts.iter().map(|part| part.file.as_str()))),
            ("left_out", list(left_out.map(String::as_str))),
            ("warnings", list(warnings.iter().map(String::as_str))),
        ]);
        Self { json, notes, warnings }
    }

    /// The account as JSON, described by `schemas/export-report.schema.json`.
    #[must_use]
    pub fn json(&self) -> String {
        self.json.pretty()
    }
}

fn variant(export: &Export<'_>, release: &Release<'_>) -> Json {
    let values = release.values.iter().map(|(pcr, value)| {
        let digests =
            export.banks.iter().filter_map(|bank| Some((bank.name(), value.digests.get(bank.name())?)));
        object([
            ("pcr", (*pcr).into()),
            ("status", value.status.into()),
            ("enforced", value.enforced.into()),
            ("assumes", list(value.assumes)),
            ("digests", object(digests.map(|(bank, digest)| (bank, digest.into())))),
        ])
    });
    let dropped = release
        .dropped
        .iter()
        .map(|dropped| object([("pcr", dropped.pcr.into()), ("reason", dropped.reason.as_str().into())]));
    let assumptions = release.scenario.assumptions.iter().map(|assumption| {
        object([
            ("id", (&assumption.id).into()),
            ("statement", (&assumption.statement).into()),
            ("accepted", (export.accepted.all || export.accepted.ids.contains(&assumption.id)).into()),
            ("shown_by", list(release.enforced_under(&assumption.id))),
        ])
    });
    object([
        ("id", (&release.id).into()),
        ("document", release.file.into()),
        ("image", (&release.image.id).into()),
        ("scenario", (&release.scenario.id).into()),
        ("values", list(values)),
        ("dropped", list(dropped)),
        ("assumptions", list(assumptions)),
    ])
}

/// The moment that the values are of, where nobody chose it: most formats' files don't say.
fn default_stage(export: &Export<'_>) -> Option<String> {
    if export.chosen_stage {
        return None;
    }
    let stages = export.stages.iter().map(|stage| stage.name()).collect::<Vec<_>>().join(", ");
    Some(match export.exporter.stage {
        StageRule::One(_) => {
            format!("values at {stages} (--stage chooses another)")
        }
        StageRule::Several(_) => format!("values at {stages} (--stage chooses one)"),
        StageRule::Fixed(_) => {
            format!("values at {stages}, the only moment that {} speaks of", export.exporter.name)
        }
    })
}

/// Several boots are acceptable, which may be more than somebody meant who left a question open when predicting.
fn accepted_boots(export: &Export<'_>) -> Option<String> {
    let several =
        export.releases.iter().any(|release| export.releases.iter().any(|r| r.file != release.file));
    let boots: Vec<String> = export
        .distinct()
        .iter()
        .map(|release| match several {
            true => format!("{} ({})", release.id, release.file),
            false => release.id.clone(),
        })
        .collect();
    (boots.len() > 1).then(|| format!("{} boots are acceptable: {}", boots.len(), boots.join(", ")))
}

/// Assumptions that may fail without any enforced value being different.
fn untold(export: &Export<'_>) -> Option<String> {
    let mut ids: Vec<&str> = Vec::new();
    for release in &export.releases {
        for assumption in &release.scenario.assumptions {
            let id = assumption.id.as_str();
            if release.enforced_under(id).is_empty() && !ids.contains(&id) {
                ids.push(id);
            }
        }
    }
    (!ids.is_empty())
        .then(|| format!("no value that is enforced tells whether these hold: {}", ids.join(", ")))
}

/// One line for each reason, with the PCRs and variants that it concerns.
fn notes(export: &Export<'_>) -> Vec<String> {
    let mut by_reason: BTreeMap<(&str, Vec<u8>), Vec<&str>> = BTreeMap::new();
    for release in &export.releases {
        let mut reasons: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        for dropped in &release.dropped {
            reasons.entry(&dropped.reason).or_default().push(dropped.pcr);
        }
        for (reason, pcrs) in reasons {
            by_reason.entry((reason, pcrs)).or_default().push(&release.id);
        }
    }
    let mut lines: Vec<(Vec<u8>, String)> = by_reason
        .into_iter()
        .map(|((reason, pcrs), variants)| {
            let of = if variants.len() == export.releases.len() {
                String::new()
            } else {
                format!(" of {}", variants.join(", "))
            };
            let verb = if reason.starts_with("written") { "" } else { "left out: " };
            let numbers = pcrs.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
            let line = format!("PCR {numbers}{of} {verb}{reason}");
            (pcrs, line)
        })
        .collect();
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}
