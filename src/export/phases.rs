//! PCR 11 along the boot: what systemd's tools compute for each phase.

use super::exporter::ExportError;
use super::release::{Export, Release};
use crate::boot::Stage;
use crate::reference::BankDigests;

/// The phases for which `systemd-measure` computes values without being told (`measure.c`, `arg_phase`).
pub(super) const DEFAULT_PHASES: &[Stage] =
    &[Stage::EnterInitrd, Stage::LeaveInitrd, Stage::Sysinit, Stage::Ready];

/// The register of the stub's sections and of the phases.
pub(super) const KERNEL_BOOT: u8 = 11;

/// PCR 11 after some words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Phase<'d> {
    /// The words that were extended, joined by colons; empty before the first one.
    pub(super) path: String,
    /// The value in each bank.
    pub(super) digests: &'d BankDigests,
}

/// PCR 11 of a boot at each stage asked for. Stages that extend no further word are the previous one again and left out.
pub(super) fn phases<'d>(export: &Export<'_>, release: &Release<'d>) -> Result<Vec<Phase<'d>>, ExportError> {
    release.need(export.exporter.name, KERNEL_BOOT, export.bank())?;
    let mut phases: Vec<Phase<'d>> = Vec::new();
    for stage in &export.stages {
        let value = release
            .pcr(KERNEL_BOOT)
            .and_then(|pcr| pcr.values.iter().find(|value| value.stage == stage.name()));
        let value = value.filter(|value| matches!(value.status.as_str(), "computed" | "observed"));
        let Some(value) = value else { continue };
        let path = words(export, release, *stage)?.join(":");
        if phases.iter().all(|known| known.path != path) {
            phases.push(Phase { path, digests: &value.digests });
        }
    }
    if phases.is_empty() {
        return Err(export.inexpressible(format!(
            "PCR 11 of {} is computed or observed at none of the stages: there is no phase to write",
            release.id
        )));
    }
    Ok(phases)
}

/// The words that user space extends up to a stage.
fn words(export: &Export<'_>, release: &Release<'_>, until: Stage) -> Result<Vec<String>, ExportError> {
    let measured = release.variant.measurements.iter();
    let of_userspace = measured.filter(|m| m.pcr == KERNEL_BOOT && m.event_type.is_none());
    let reached = of_userspace.filter(|m| m.stage.parse::<Stage>().is_ok_and(|stage| stage <= until));
    reached
        .map(|measurement| {
            let bytes = measurement.event_data.as_deref().and_then(|data| hex::decode(data).ok());
            bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| {
                export.inexpressible(format!(
                    "'{}' is extended into PCR 11, which is no phase",
                    measurement.description
                ))
            })
        })
        .collect()
}
