//! Fraunhofer CMC: reference values as components, one for each event.

use super::exporter::{Content, ExportError, Exporter, Output};
use super::json::{Json, list, object};
use super::release::Export;
use crate::tcg::HashAlgorithm;

/// CMC.
pub(super) const EXPORTER: Exporter = Exporter {
    name: "cmc",
    summary: "components with the digest of each event, in the order of the boot",
    reader: "Fraunhofer's CMC (Connected Machine Core)",
    fed: "metatool create manifest --components FILE, which wraps and signs it",
    limits: &[
        "one boot: alternatives would have to be optional, and then no longer hang together; make a manifest for each",
        "every measured event needs a component: those of the firmware have to come from elsewhere",
        "what systemd extends (phases, separators) is optional: the firmware's log, which CMC replays, does not have it",
        "a register that nothing extends can't be stated",
        "banks sha256, sha384 and sha512",
    ],
    content: Content::Events,
    write,
    ..Exporter::BASE
};

fn write(export: &Export<'_>) -> Result<Output, ExportError> {
    let release = export.one_log()?;
    if !export.banks.contains(&HashAlgorithm::Sha256) {
        return Err(export.inexpressible("CMC compares SHA-256 digests"));
    }
    let components = export.measurements(release).map(|measurement| {
        let hashes = export.banks.iter().filter_map(|bank| {
            let digest = measurement.digests.as_ref()?.get(bank.name())?;
            Some(object([("alg", cyclonedx(*bank)?.into()), ("content", digest.into())]))
        });
        // CMC replays the firmware's log, which has nothing of user space: what a component without `optional` demands has to
        // stand there.
        let optional = measurement.event_type.is_none().then_some(("optional", true.into()));
        let members = [
            ("type", component_type(measurement.pcr).into()),
            ("name", measurement.event_type.as_deref().unwrap_or("userspace").into()),
            ("hashes", list(hashes)),
            ("description", (&measurement.description).into()),
            (
                "properties",
                list([property("cmc.ta", "TPM"), property("cmc.index", &measurement.pcr.to_string())]),
            ),
        ];
        object(members.into_iter().chain(optional))
    });
    Ok(Output::single("components.json", list(components).pretty()))
}

fn property(name: &str, value: &str) -> Json {
    object([("name", name.into()), ("value", value.into())])
}

/// CMC's own mapping of registers to CycloneDX component types.
fn component_type(pcr: u8) -> &'static str {
    match pcr {
        0..=3 => "firmware",
        4 | 5 | 8 | 9 => "operating-system",
        6 | 7 => "platform",
        _ => "application",
    }
}

/// CycloneDX's names; it has none for SM3, and SHA-1 is of no use here.
fn cyclonedx(bank: HashAlgorithm) -> Option<&'static str> {
    match bank {
        HashAlgorithm::Sha256 => Some("SHA-256"),
        HashAlgorithm::Sha384 => Some("SHA-384"),
        HashAlgorithm::Sha512 => Some("SHA-512"),
        HashAlgorithm::Sha1 | HashAlgorithm::Sm3_256 => None,
    }
}
