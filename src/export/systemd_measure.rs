//! `systemd-measure calculate --json`: PCR 11 for each phase (`measure.c`, `verb_calculate`).

use super::exporter::{ExportError, Exporter, Output, StageRule};
use super::json::{list, object};
use super::phases::{DEFAULT_PHASES, KERNEL_BOOT, phases};
use super::release::Export;

/// `systemd-measure`.
pub(super) const EXPORTER: Exporter = Exporter {
    name: "systemd-measure",
    summary: "PCR 11 for each phase, as systemd-measure calculate and ukify --measure print it",
    reader: "scripts around systemd-measure and ukify",
    fed: "a file",
    limits: &["PCR 11 only", "one boot, so one profile of a UKI"],
    stage: StageRule::Several(DEFAULT_PHASES),
    pcrs: &[KERNEL_BOOT],
    write,
    ..Exporter::BASE
};

fn write(export: &Export<'_>) -> Result<Output, ExportError> {
    let phases = phases(export, export.one()?)?;
    let banks = export.banks.iter().map(|bank| {
        let entries = phases.iter().map(|phase| {
            let path = (!phase.path.is_empty()).then(|| ("phase", phase.path.as_str().into()));
            let hash = phase.digests.get(bank.name()).map(String::as_str).unwrap_or_default();
            object(path.into_iter().chain([("pcr", KERNEL_BOOT.into()), ("hash", hash.into())]))
        });
        (bank.name(), list(entries))
    });
    Ok(Output::single("systemd-measure.json", object(banks).pretty()))
}
