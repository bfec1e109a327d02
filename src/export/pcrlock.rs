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
        "a register that nothing extends can't be stated, and one that only some boots extend is left out",
        "650-uki also holds a kernel without stub (Type #1 entries, GRUB) and 630-boot-loader all that comes before it",
        "the firmware's own records and systemd's words come from systemd-pcrlock on the machine",
        "at most 8 variants for each component",
        "banks sha1, sha256, sha384 and sha512",
    ],
    stage: StageRule::Fixed(Stage::ExitBootServices),
    pcrs: &[4, 9, 11, 12, 13],
    content: Content::Events,
    alternatives: Alternatives::PerComponent,
    parts: &["boot-loader", "uki", "kernel-cmdline", "kernel-initrd"],
    owner,
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

/// The part of `NNN-name.pcrlock`, or of a variant `NNN-name.pcrlock.d/N-boot.pcrlock`.
fn owner(file: &str) -> Option<&'static str> {
    let (component, variant) = match file.split_once(".pcrlock.d/") {
        Some((component, variant)) => (component, Some(variant)),
        None => (file.strip_suffix(".pcrlock")?, None),
    };
    let ours = variant.is_none_or(|variant| {
        let number = variant.split_once('-').map_or("", |(number, _)| number);
        variant.ends_with(".pcrlock")
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    COMPONENTS.iter().find(|(_, name)| ours && *name == component).map(|(part, _)| *part)
}

fn write(export: &Export<'_>) -> Result<Output, ExportError> {
    if export.banks.iter().all(|bank| *bank == HashAlgorithm::Sm3_256) {
        return Err(export.inexpressible("sm3_256 is no bank that systemd-pcrlock knows"));
    }
    let mut output = Output::default();
    let stated = stated(export, &mut output);
    let mut numbers = Vec::new();
    let mut boots: Vec<Vec<Option<String>>> = vec![Vec::new(); export.releases.len()];
    for (place, (part, file)) in COMPONENTS.iter().enumerate() {
        let texts: Vec<(&str, Option<String>)> = export
            .releases
            .iter()
            .map(|release| (release.id.as_str(), component(export, release, place, &stated)))
            .collect();
        boots.iter_mut().zip(&texts).for_each(|(boot, (_, text))| boot.push(text.clone()));
        if texts.iter().all(|(_, text)| text.is_none()) {
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
        numbers.push(variants.len());
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
    boots.sort();
    boots.dedup();
    if super::alternatives::more_than(numbers.into_iter(), boots.len()) {
        output.warnings.push(
            "several components have variants: systemd-pcrlock also accepts the command line or initrd of one boot with the \
             UKI of another"
                .to_owned(),
        );
    }
    Ok(output)
}

/// The registers that the components state in full, for every boot; the others are left out of all components, as one that is
/// stated in part would be predicted wrong.
fn stated(export: &Export<'_>, output: &mut Output) -> Vec<u8> {
    let mut stated = Vec::new();
    for pcr in &export.pcrs {
        if !export.releases.iter().all(|release| release.values.contains_key(pcr)) {
            let reason = "only some of the boots have a value that components can state";
            output.leave_out(&export.releases, *pcr, reason);
        } else if !export.releases.iter().all(|release| in_order(&placed(export, release), *pcr)) {
            let reason = "its records come in another order than systemd-pcrlock's components";
            output.leave_out(&export.releases, *pcr, reason);
        } else {
            stated.push(*pcr);
        }
    }
    stated
}

/// Every record of the boot with the place of its component in [`COMPONENTS`]; none for those of the firmware, which systemd ships
/// components for.
fn placed<'r>(export: &Export<'_>, release: &'r Release<'_>) -> Vec<(Option<usize>, &'r MeasurementEntry)> {
    let last = export.stage();
    let reached = |m: &&MeasurementEntry| m.stage.parse::<Stage>().is_ok_and(|stage| stage <= last);
    let mut kernel_started = false;
    let measurements = release.variant.measurements.iter().filter(reached);
    measurements
        .map(|measurement| {
            // The UKI, or the kernel that a boot loader starts without one.
            kernel_started |=
                release.is_load_of(measurement, "uki") || release.is_load_of(measurement, "kernel");
            let firmware =
                matches!(measurement.event_type.as_deref(), Some("EV_SEPARATOR" | "EV_EFI_ACTION"));
            let place = match measurement.rule.as_str() {
                "kernel-load-options" => 2,
                "kernel-initrd" => 3,
                _ if kernel_started => 1,
                _ => 0,
            };
            ((!firmware).then_some(place), measurement)
        })
        .collect()
}

/// Components follow each other in the order of their numbers, after what the firmware measures into the same register.
fn in_order(records: &[(Option<usize>, &MeasurementEntry)], pcr: u8) -> bool {
    let places = records.iter().filter(|(_, measurement)| measurement.pcr == pcr).map(|(place, _)| *place);
    places.is_sorted()
}

/// The records of one component; `None` when the boot has none.
fn component(export: &Export<'_>, release: &Release<'_>, place: usize, stated: &[u8]) -> Option<String> {
    let records: Vec<_> = placed(export, release)
        .into_iter()
        .filter(|(of, measurement)| *of == Some(place) && stated.contains(&measurement.pcr))
        .map(|(_, measurement)| {
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
