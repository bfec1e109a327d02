//! `.pcrlock` components for systemd-pcrlock (`pcrlock.c`, `pcrlock(8)`).
//!
//! A component is a sequence of records; a folder `NNN-name.pcrlock.d` holds its variants, of which exactly one happens.
//! What the firmware and systemd's own services measure comes with systemd itself (350, 400, 500, 700, 750, 800, ...).

use super::exporter::{Alternatives, Content, ExportError, Exporter, Output, StageRule};
use super::json::{list, object};
use super::release::{Export, Release};
use crate::boot::Stage;
use crate::reference::MeasurementEntry;
use crate::tcg::HashAlgorithm;

/// systemd-pcrlock multiplies the variants of all components, and refuses more for one.
const MAX_VARIANTS: usize = 8;

/// Components.
pub(super) const EXPORTER: Exporter = Exporter {
    name: "pcrlock",
    summary: "components for boot loader, UKI, command line and initrd, with variants",
    reader: "systemd-pcrlock (systemd 255 and later)",
    fed: "copy the folder to /var/lib/pcrlock.d, then systemd-pcrlock make-policy",
    limits: &[
        "variants are alternatives within a component; systemd combines the variants of different components freely",
        "a register that nothing extends can't be stated",
        "the firmware's own records and systemd's words come from systemd-pcrlock on the machine",
        "at most 8 variants for each component",
        "banks sha1, sha256, sha384 and sha512",
    ],
    stage: StageRule::Fixed(Stage::ExitBootServices),
    pcrs: &[4, 9, 11, 12, 13],
    content: Content::Events,
    alternatives: Alternatives::PerComponent,
    parts: &["boot-loader", "uki", "kernel-cmdline", "kernel-initrd"],
    write,
    ..Exporter::BASE
};

/// A component: its part's name, and its file name, whose number is its place in the boot.
const COMPONENTS: &[(&str, &str)] = &[
    ("boot-loader", "630-boot-loader"),
    ("uki", "650-uki"),
    ("kernel-cmdline", "710-kernel-cmdline"),
    ("kernel-initrd", "720-kernel-initrd"),
];

fn write(export: &Export<'_>) -> Result<Output, ExportError> {
    if export.banks.iter().all(|bank| *bank == HashAlgorithm::Sm3_256) {
        return Err(export.inexpressible("sm3_256 is no bank that systemd-pcrlock knows"));
    }
    let mut output = Output::default();
    let mut several = 0_usize;
    for (part, file) in COMPONENTS {
        let texts: Vec<(&str, Option<String>)> = export
            .releases
            .iter()
            .map(|release| (release.id.as_str(), component(export, release, part)))
            .collect();
        if texts.iter().all(|(_, text)| text.is_none()) {
            continue;
        }
        if part.starts_with("kernel") && texts.iter().any(|(_, text)| text.is_none()) {
            output.dropped.push(format!("{file} left out: not every boot has a known PCR 9"));
            continue;
        }
        let mut variants: Vec<(&str, String)> = Vec::new();
        for (id, text) in texts {
            // A boot without this part is a variant without records, which always fits.
            let text = text.unwrap_or_else(|| object([("records", list::<&str>([]))]).pretty());
            if variants.iter().all(|(_, known)| *known != text) {
                variants.push((id, text));
            }
        }
        if variants.len() > MAX_VARIANTS {
            let problem = format!(
                "{file} would have {} variants, systemd-pcrlock takes {MAX_VARIANTS}",
                variants.len()
            );
            return Err(export.inexpressible(problem));
        }
        several = several.saturating_add(usize::from(variants.len() > 1));
        match variants.as_slice() {
            [(_, text)] => output.add(part, format!("{file}.pcrlock"), text.as_str()),
            _ => {
                for (number, (id, text)) in variants.iter().enumerate() {
                    let id = super::file_name(id);
                    output.add(part, format!("{file}.pcrlock.d/{number}-{id}.pcrlock"), text.as_str());
                }
            }
        }
    }
    if several > 1 {
        output.warnings.push(
            "several components have variants: systemd-pcrlock also accepts the command line or initrd of one boot with the \
             UKI of another"
                .to_owned(),
        );
    }
    Ok(output)
}

/// The records of one component; `None` when the boot has none.
fn component(export: &Export<'_>, release: &Release<'_>, part: &str) -> Option<String> {
    let uki = release.variant.measurements.iter().position(|m| release.is_load_of(m, "uki"));
    let all: Vec<&MeasurementEntry> = export.measurements(release).collect();
    let place = |wanted: &MeasurementEntry| {
        release.variant.measurements.iter().position(|measurement| std::ptr::eq(measurement, wanted))
    };
    let belongs = |measurement: &MeasurementEntry| match part {
        "boot-loader" => release.is_load_of(measurement, "boot-loader"),
        "uki" => {
            measurement.pcr != 9
                && place(measurement) >= uki
                && uki.is_some()
                // Firmware records, which systemd ships components for, are constants of their own types.
                && !matches!(measurement.event_type.as_deref(), Some("EV_SEPARATOR" | "EV_EFI_ACTION"))
        }
        "kernel-cmdline" => measurement.rule == "kernel-load-options",
        _ => measurement.rule == "kernel-initrd",
    };
    let records: Vec<_> = all
        .into_iter()
        .filter(|measurement| belongs(measurement))
        .map(|measurement| {
            let digests =
                export.banks.iter().filter(|bank| **bank != HashAlgorithm::Sm3_256).filter_map(|bank| {
                    let digest = measurement.digests.as_ref()?.get(bank.name())?;
                    Some(object([("hashAlg", bank.name().into()), ("digest", digest.into())]))
                });
            object([("pcr", measurement.pcr.into()), ("digests", list(digests))])
        })
        .collect();
    (!records.is_empty()).then(|| object([("records", list(records))]).pretty())
}
