//! Trusted Execution Clusters: the image label `org.coreos.pcrs`, and the objects around it.
//!
//! The operator (`compute-pcrs-lib`, `Part` and `combine_images`) ignores the values and computes them again from the
//! events of all approved images; an event's `id` is a closed enumeration, and one unknown word makes the label fail.

use super::exporter::{BankRule, Content, ExportError, Exporter, Output, StageRule, part_of};
use super::forms::Form;
use super::json::{Json, list, object};
use super::options::OptionSpec;
use super::release::{Export, Release};
use crate::boot::Stage;
use crate::reference::MeasurementEntry;
use crate::tcg::HashAlgorithm;

const IMAGE: OptionSpec = OptionSpec::text(
    "image",
    "REF@sha256:HEX",
    "image reference with digest; without it only the label is written",
)
.form(Form::ImageDigest);
const NAME: OptionSpec = OptionSpec::text("approved-image", "NAME", "name of the ApprovedImage")
    .form(Form::ObjectName(0))
    .default("image");
const NAMESPACE: OptionSpec = super::options::NAMESPACE.default("trusted-execution-clusters");
const FIRST_SEEN: OptionSpec =
    OptionSpec::text("first-seen", "TIME", "first_seen in the ConfigMap (RFC 3339)")
        .form(Form::Time)
        .default("1970-01-01T00:00:00Z");

/// Trusted Execution Clusters.
pub(super) const EXPORTER: Exporter = Exporter {
    name: "tec",
    summary: "image label org.coreos.pcrs, ApprovedImage, and ConfigMap image-pcrs",
    reader: "the operator of Trusted Execution Clusters",
    fed: "label of the OCI image's configuration, set when it is built; kubectl apply for the ApprovedImage",
    limits: &[
        "events of PCR 4, 7, 11 and 14 with names from a closed list: no boot loader beside shim and GRUB, no .ucode, .splash, .dtb, .profile",
        "the first two images of PCR 4 take the names of shim and GRUB, so that the operator combines them as one part",
        "a register that nothing extends can't be stated; the operator's built-in policy wants PCR 14, which only shim extends",
        "newer compute-pcrs has Pcr4Uki; it is not written, as operators built before refuse the label for it",
        "one boot for each image: the label belongs to the image",
        "the operator writes the ConfigMap itself; set the label instead where you can",
    ],
    stage: StageRule::Fixed(Stage::ExitBootServices),
    bank: BankRule::Fixed(HashAlgorithm::Sha256),
    pcrs: &[4, 7, 11, 14],
    content: Content::Events,
    options: &[IMAGE, NAME, NAMESPACE, FIRST_SEEN],
    parts: &["label", "approvedimage", "configmap"],
    owner: |file| part_of(FILES, file),
    write,
    ..Exporter::BASE
};

/// Part and file.
const FILES: &[(&str, &str)] = &[
    ("label", "org.coreos.pcrs.json"),
    ("approvedimage", "approvedimage.yaml"),
    ("configmap", "image-pcrs-configmap.yaml"),
];

fn write(export: &Export<'_>) -> Result<Output, ExportError> {
    let release = export.one_log()?;
    let mut output = Output::default();
    let mut pcrs = Vec::new();
    for pcr in release.values.keys() {
        match register(export, release, *pcr) {
            Ok(value) => pcrs.push(value),
            Err(reason) => output.leave_out(&export.releases, *pcr, &reason),
        }
    }
    if pcrs.is_empty() {
        let reasons = output.unwritten.iter().map(|((_, pcr), reason)| format!("PCR {pcr}: {reason}"));
        return Err(ExportError::NothingEnforced { variant: release.id.clone(), reasons: reasons.collect() });
    }
    output.warnings.extend(lacks_demanded(&pcrs_of(release, &output)));
    output.warnings.extend(super::later_changes(export, &output));
    output.add("label", "org.coreos.pcrs.json", object([("pcrs", Json::List(pcrs.clone()))]).compact());
    let Some(image) = export.options.get("image") else { return Ok(output) };
    let (name, namespace) = (export.option("approved-image")?, export.option("namespace")?);
    output.add(
        "approvedimage",
        "approvedimage.yaml",
        format!(
            "apiVersion: trusted-execution-clusters.io/v1alpha1\nkind: ApprovedImage\nmetadata:\n  name: \"{name}\"\n  namespace: \
             \"{namespace}\"\nspec:\n  image: \"{image}\"\n"
        ),
    );
    let entry = object([
        ("first_seen", export.option("first-seen")?.into()),
        ("pcrs", Json::List(pcrs)),
        ("reference", image.into()),
    ]);
    let content = super::indent(&object([(name, entry)]).pretty(), 4);
    output.add(
        "configmap",
        "image-pcrs-configmap.yaml",
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: image-pcrs\n  namespace: \"{namespace}\"\ndata:\n  image-pcrs.json: \
             |\n{content}"
        ),
    );
    Ok(output)
}

/// The registers that stand in the label.
fn pcrs_of(release: &Release<'_>, output: &Output) -> Vec<u8> {
    let written = |pcr: &u8| !output.unwritten.contains_key(&(release.id.clone(), *pcr));
    release.values.keys().copied().filter(written).collect()
}

/// The operator's built-in policy asks for `tpm_pcr4` and `tpm_pcr14`, and for nothing else of the label.
fn lacks_demanded(written: &[u8]) -> Option<String> {
    const DEMANDED: [u8; 2] = [4, 14];
    let missing: Vec<String> =
        DEMANDED.iter().filter(|pcr| !written.contains(pcr)).map(u8::to_string).collect();
    (!missing.is_empty()).then(|| {
        format!(
            "the operator's built-in policy demands PCR 4 and 14, the label lacks PCR {}: no machine with this image passes \
             that policy, it takes another one",
            missing.join(" and ")
        )
    })
}

/// One register with its events, or why it can't be said.
fn register(export: &Export<'_>, release: &Release<'_>, pcr: u8) -> Result<Json, String> {
    let mut seen = Seen::default();
    let mut events = Vec::new();
    for measurement in export.measurements(release).filter(|measurement| measurement.pcr == pcr) {
        let id = event_id(measurement, &mut seen)
            .ok_or_else(|| format!("the label has no name for '{}'", measurement.description))?;
        let digest = measurement.digests.as_ref().and_then(|digests| digests.get("sha256"));
        events.push(object([
            ("name", measurement.event_type.as_deref().unwrap_or_default().into()),
            ("pcr", pcr.into()),
            ("hash", digest.map(String::as_str).unwrap_or_default().into()),
            ("id", id.into()),
        ]));
    }
    let value = release.hex(pcr, HashAlgorithm::Sha256).unwrap_or_default();
    Ok(object([("id", pcr.into()), ("value", value.into()), ("events", list(events))]))
}

/// What came before in the same register.
#[derive(Default)]
struct Seen {
    /// Images of PCR 4.
    images: usize,
    /// Keys of db in PCR 7.
    authorities: usize,
}

/// The word for an event.
fn event_id(measurement: &MeasurementEntry, seen: &mut Seen) -> Option<String> {
    let kind = measurement.event_type.as_deref()?;
    let word = match (measurement.pcr, kind) {
        (4, "EV_EFI_ACTION") if measurement.description == "Calling EFI Application from Boot Option" => {
            "Pcr4EfiCall"
        }
        (4, "EV_SEPARATOR") => "Pcr4Separator",
        (4, "EV_EFI_BOOT_SERVICES_APPLICATION") => {
            seen.images = seen.images.saturating_add(1);
            match seen.images {
                1 => "Pcr4Shim",
                2 => "Pcr4Grub",
                3 => "Pcr4Vmlinuz",
                _ => return None,
            }
        }
        (7, "EV_SEPARATOR") => "Pcr7Separator",
        (7, "EV_EFI_VARIABLE_DRIVER_CONFIG") => match variable_name(measurement)?.as_str() {
            "SecureBoot" => "Pcr7SecureBoot",
            "PK" => "Pcr7Pk",
            "KEK" => "Pcr7Kek",
            "db" => "Pcr7Db",
            "dbx" => "Pcr7Dbx",
            _ => return None,
        },
        (7, "EV_EFI_VARIABLE_AUTHORITY") => match variable_name(measurement)?.as_str() {
            // The key that let the first image start: shim's, or the UKI's that stands in its place.
            "db" => {
                seen.authorities = seen.authorities.saturating_add(1);
                match seen.authorities {
                    1 => "Pcr7ShimCert",
                    2 => "Pcr7GrubDbCert",
                    _ => return None,
                }
            }
            "SbatLevel" => "Pcr7SbatLevel",
            "vendor_db" => "Pcr7GrubVendorDbCert",
            "MokListRT" => "Pcr7GrubMokListCert",
            _ => return None,
        },
        (11, "EV_IPL") => return section_id(measurement),
        (14, "EV_IPL") => match shim_variable(measurement)?.as_str() {
            "MokList" => "Pcr14MokList",
            "MokListX" => "Pcr14MokListX",
            "MokListTrusted" => "Pcr14MokListTrusted",
            _ => return None,
        },
        _ => return None,
    };
    Some(word.to_owned())
}

/// `UEFI_VARIABLE_DATA`: a GUID, the lengths of name and data (64 bits, little-endian; the name's in characters), the name.
fn variable_name(measurement: &MeasurementEntry) -> Option<String> {
    let data = hex::decode(measurement.event_data.as_deref()?).ok()?;
    let length = u64::from_le_bytes(data.get(16..24)?.try_into().ok()?);
    let bytes = usize::try_from(length).ok()?.checked_mul(2)?;
    utf16(data.get(32..32_usize.checked_add(bytes)?)?)
}

/// shim writes the variable's name as ASCII into the log (`mok.c`).
fn shim_variable(measurement: &MeasurementEntry) -> Option<String> {
    let data = hex::decode(measurement.event_data.as_deref()?).ok()?;
    String::from_utf8(data).ok().map(|text| text.trim_end_matches('\0').to_owned())
}

/// Sections by the name that the stub writes into the log; the content's event has the section as its source.
fn section_id(measurement: &MeasurementEntry) -> Option<String> {
    let name = utf16(&hex::decode(measurement.event_data.as_deref()?).ok()?)?;
    let word = match name.trim_end_matches('\0') {
        ".linux" => "Linux",
        ".osrel" => "Osrel",
        ".cmdline" => "Cmdline",
        ".initrd" => "Initrd",
        ".uname" => "Uname",
        ".sbat" => "Sbat",
        _ => return None,
    };
    let content = if measurement.source.section.is_some() { "Content" } else { "" };
    Some(format!("Pcr11{word}{content}"))
}

fn utf16(bytes: &[u8]) -> Option<String> {
    let units = bytes.chunks_exact(2).map(|unit| unit.try_into().map(u16::from_le_bytes));
    String::from_utf16(&units.collect::<Result<Vec<_>, _>>().ok()?).ok()
}
