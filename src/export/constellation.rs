//! Constellation: `measurements.json` (envelope version 2), the raw pre-calculation, the running cluster's ConfigMap.
//!
//! Rules as in Edgeless Constellation's `internal/attestation/measurements` and `measurement-reader`: hexadecimal
//! SHA-256, one tuple, `warnOnly` for each PCR. A PCR of the quote that the map lacks is ignored; one of the map that the
//! quote lacks fails when it is enforced.

use super::exporter::{BankRule, ExportError, Exporter, Output, StageRule};
use super::forms::Form;
use super::json::{Json, list, object};
use super::options::{OptionError, OptionKind, OptionSpec};
use super::release::Export;
use crate::boot::Stage;
use crate::import::ImportError;
use crate::import::constellation::{Entry, Envelope};
use crate::tcg::HashAlgorithm;

/// PCRs that `upload measurements envelope` enforces on every cloud; it refuses a raw file that lacks one.
const ENFORCED: &[u8] = &[4, 8, 9, 11, 12, 13, 15];

/// A cloud's attestation variant, and the PCRs that it compares without refusing.
struct Cloud {
    csp: &'static str,
    variants: &'static [&'static str],
    warn_only: &'static [u8],
}

/// `measurements.go`, the default tables by cloud. Their constants for firmware PCRs are Constellation's observations, not
/// predictions, so they are not written; PCR 14 is, where the document vouches for it.
const CLOUDS: &[Cloud] = &[
    Cloud { csp: "AWS", variants: &["aws-nitro-tpm", "aws-sev-snp"], warn_only: &[0, 2, 3, 6, 14] },
    Cloud {
        csp: "Azure",
        variants: &["azure-sev-snp", "azure-tdx", "azure-trustedlaunch"],
        warn_only: &[1, 2, 3, 14],
    },
    Cloud { csp: "GCP", variants: &["gcp-sev-es", "gcp-sev-snp"], warn_only: &[1, 2, 3, 6, 14] },
    Cloud { csp: "OpenStack", variants: &["qemu-vtpm"], warn_only: &[14] },
    Cloud { csp: "QEMU", variants: &["qemu-vtpm"], warn_only: &[] },
];

const CSPS: &[&str] = &["AWS", "Azure", "GCP", "OpenStack", "QEMU"];
const VARIANTS: &[&str] = &[
    "aws-nitro-tpm",
    "aws-sev-snp",
    "azure-sev-snp",
    "azure-tdx",
    "azure-trustedlaunch",
    "gcp-sev-es",
    "gcp-sev-snp",
    "qemu-vtpm",
];

const CSP: OptionSpec =
    OptionSpec::text("csp", "CLOUD", "cloud that the image is for: AWS, Azure, GCP, OpenStack, QEMU")
        .kind(OptionKind::Choice(CSPS))
        .required();
const VARIANT: OptionSpec =
    OptionSpec::text("attestation-variant", "NAME", "attestation variant of the cloud, such as aws-sev-snp")
        .kind(OptionKind::Choice(VARIANTS))
        .required();
const IMAGE_VERSION: OptionSpec = OptionSpec::text(
    "image-version",
    "VERSION",
    "version of the OS image, semantic with a leading v, such as v1.4.0",
)
.form(Form::Version)
.required();
const IMAGE_REF: OptionSpec =
    OptionSpec::text("image-ref", "REF", "branch that the image was built from; - for releases")
        .form(Form::Branch)
        .default("-");
const IMAGE_STREAM: OptionSpec =
    OptionSpec::text("image-stream", "STREAM", "stream of the image: stable, nightly, console or debug")
        .kind(OptionKind::Choice(&["stable", "nightly", "console", "debug"]))
        .default("stable");
const MERGE: OptionSpec = OptionSpec::text(
    "merge",
    "FILE",
    "measurements.json whose entries are kept, repeatable (other clouds of the release)",
)
.kind(OptionKind::Files);

/// The envelope.
pub(super) const ENVELOPE: Exporter = Exporter {
    name: "constellation",
    summary: "measurements.json, envelope v2",
    reader: "Constellation's CLI, Terraform provider and `upload measurements`",
    fed: "HTTPS beside its signature measurements.json.sig (premeasure sign --as cosign)",
    limits: &[
        "one boot for each cloud and attestation variant: an update replaces the map",
        "the quote is taken before user space extends PCR 11 and 15, as Constellation masks systemd's units",
        "the command line names the cloud, so each cloud needs a document of its own (--merge joins them)",
        "the constants that Constellation's own tables have for firmware PCRs (0 to 3, 6) are not written, only what the document knows",
    ],
    stage: StageRule::One(Stage::ExitBootServices),
    bank: BankRule::Fixed(HashAlgorithm::Sha256),
    pcrs: &[0, 1, 2, 3, 4, 6, 8, 9, 11, 12, 13, 14, 15],
    options: &[CSP, VARIANT, IMAGE_VERSION, IMAGE_REF, IMAGE_STREAM, MERGE],
    warns: true,
    write: envelope,
    ..Exporter::BASE
};

/// The raw pre-calculation.
pub(super) const RAW: Exporter = Exporter {
    name: "constellation-raw",
    summary: "pre-calculated measurements and event log, before the envelope",
    reader: "Constellation's `upload measurements envelope`",
    fed: "--in FILE; the tool adds each cloud's tables and enforcement",
    limits: &[
        "every PCR of 4, 8, 9, 11, 12, 13, 15 has to be there, and the envelope enforces all of them",
        "one boot",
    ],
    stage: StageRule::One(Stage::ExitBootServices),
    bank: BankRule::Fixed(HashAlgorithm::Sha256),
    pcrs: ENFORCED,
    write: raw,
    ..Exporter::BASE
};

/// The running cluster's ConfigMap.
pub(super) const JOIN_CONFIG: Exporter = Exporter {
    name: "constellation-join-config",
    summary: "ConfigMap join-config of a running cluster",
    reader: "Constellation's join service",
    fed: "kubectl apply, after the measurements were merged into the cluster's own attestationConfig",
    limits: &[
        "attestationConfig is one JSON text that also holds the variant's other settings, which applying this file would drop",
        "one boot: nodes of the old image can't join any more",
    ],
    options: &[CSP, VARIANT],
    write: join_config,
    ..ENVELOPE
};

fn envelope(export: &Export<'_>) -> Result<Output, ExportError> {
    let (cloud, variant) = cloud(export)?;
    let (measurements, mut output) = measurements(export, cloud)?;
    let (version, reference, stream) = coordinates(export)?;
    let mut entries = vec![(cloud.csp.to_owned(), variant.to_owned(), measurements)];
    for file in export.options.values("merge") {
        let bad =
            |problem: String| ExportError::OptionFile { option: "merge", file: file.text.clone(), problem };
        let other = Envelope::parse(&file.content).map_err(|error: ImportError| bad(error.to_string()))?;
        if (other.version.as_str(), other.reference.as_str(), other.stream.as_str())
            != (version, reference, stream)
        {
            return Err(bad(format!(
                "is of version {}, ref {}, stream {}: only entries of the same release can be merged",
                other.version, other.reference, other.stream
            )));
        }
        for entry in other.list {
            let (csp, variant) = known(&entry).ok_or_else(|| {
                let (csp, variant) = (&entry.csp, &entry.attestation_variant);
                bad(format!("Constellation has no attestation variant {variant} on {csp}"))
            })?;
            if entries.iter().any(|(other, known, _)| (other.as_str(), known.as_str()) == (csp, variant)) {
                return Err(bad(format!("{csp} {variant} is there already")));
            }
            if entry.measurements.values().all(|value| value.warn_only) {
                return Err(bad(format!("{csp} {variant} enforces nothing: it would accept any machine")));
            }
            let map = entry.measurements.into_iter();
            let map = map.map(|(pcr, value)| {
                (pcr.to_string(), measurement(&value.expected.to_ascii_lowercase(), value.warn_only))
            });
            let mut map: Vec<_> = map.collect();
            map.sort_by(|(one, _), (other, _)| one.cmp(other));
            entries.push((csp.to_owned(), variant.to_owned(), Json::Object(map)));
        }
    }
    let place = |csp: &str| CSPS.iter().position(|known| *known == csp);
    entries.sort_by(|one, other| (place(&one.0), &one.1).cmp(&(place(&other.0), &other.1)));
    let entries = entries.into_iter().map(|(csp, variant, measurements)| {
        object([("csp", csp.into()), ("attestationVariant", variant.into()), ("measurements", measurements)])
    });
    let text = object([
        ("version", version.into()),
        ("ref", reference.into()),
        ("stream", stream.into()),
        ("list", list(entries)),
    ]);
    output.add("", "measurements.json", text.pretty());
    Ok(output)
}

/// The cloud and variant of an entry as Constellation's tables spell them; its reader does not look at the case.
fn known(entry: &Entry) -> Option<(&'static str, &'static str)> {
    let cloud = CLOUDS.iter().find(|cloud| cloud.csp.eq_ignore_ascii_case(&entry.csp))?;
    let mut variants = cloud.variants.iter();
    let variant = variants.find(|variant| variant.eq_ignore_ascii_case(&entry.attestation_variant))?;
    Some((cloud.csp, variant))
}

/// Version, ref and stream, which the reader compares and which become part of a URL.
fn coordinates<'d>(export: &Export<'d>) -> Result<(&'d str, &'d str, &'d str), OptionError> {
    let (version, reference) = (export.option("image-version")?, export.option("image-ref")?);
    let stream = export.option("image-stream")?;
    let wrong = if reference == "-" { "nightly" } else { "stable" };
    if stream == wrong {
        let problem = format!("the ref {reference} has no stream of that name");
        return Err(OptionError::Bad { name: "image-stream", value: stream.to_owned(), problem });
    }
    Ok((version, reference, stream))
}

fn cloud<'d>(export: &Export<'d>) -> Result<(&'static Cloud, &'d str), ExportError> {
    let (csp, variant) = (export.option("csp")?, export.option("attestation-variant")?);
    let cloud = CLOUDS.iter().find(|cloud| cloud.csp == csp && cloud.variants.contains(&variant));
    let cloud = cloud.ok_or_else(|| OptionError::Bad {
        name: "attestation-variant",
        value: variant.to_owned(),
        problem: format!("{csp} does not have it"),
    })?;
    Ok((cloud, variant))
}

/// The map of one boot. Members are in the order of their text, as Go writes a map.
fn measurements(export: &Export<'_>, cloud: &Cloud) -> Result<(Json, Output), ExportError> {
    let release = export.one()?;
    let mut output = Output::default();
    for pcr in release.values.keys().filter(|pcr| !ENFORCED.contains(pcr)) {
        output.unenforced.insert(*pcr);
        if !cloud.warn_only.contains(pcr) {
            let reason = format!("Constellation does not compare it on {}", cloud.csp);
            output.leave_out(&export.releases, *pcr, &reason);
        }
    }
    let missing: Vec<String> = ENFORCED
        .iter()
        .filter(|pcr| !release.values.get(pcr).is_some_and(|value| value.enforced))
        .map(u8::to_string)
        .collect();
    if missing.len() == ENFORCED.len() {
        return Err(ExportError::NothingEnforced { variant: release.id.clone(), reasons: missing });
    }
    if !missing.is_empty() {
        output.warnings.push(format!(
            "not enforced: PCR {}, although Constellation's own measurements always enforce it",
            missing.join(", ")
        ));
    }
    let mut map: Vec<(String, Json)> = release
        .values
        .iter()
        .filter(|(pcr, _)| ENFORCED.contains(pcr) || cloud.warn_only.contains(pcr))
        .filter_map(|(pcr, value)| {
            let warn_only = !value.enforced || !ENFORCED.contains(pcr);
            let expected = release.hex(*pcr, HashAlgorithm::Sha256)?;
            Some((pcr.to_string(), measurement(expected, warn_only)))
        })
        .collect();
    map.sort_by(|(one, _), (other, _)| one.cmp(other));
    output.warnings.extend(super::later_changes(export, &output));
    Ok((Json::Object(map), output))
}

fn measurement(expected: &str, warn_only: bool) -> Json {
    object([("expected", expected.into()), ("warnOnly", warn_only.into())])
}

fn raw(export: &Export<'_>) -> Result<Output, ExportError> {
    let release = export.one_log()?;
    let mut map = Vec::new();
    for pcr in ENFORCED {
        let expected = release.need(export.exporter.name, *pcr, HashAlgorithm::Sha256)?;
        map.push((pcr.to_string(), measurement(expected, false)));
    }
    map.sort_by(|(one, _), (other, _)| one.cmp(other));
    let events = export.measurements(release).map(|event| {
        let digest = event.digests.as_ref().and_then(|digests| digests.get("sha256"));
        let mut members = vec![
            ("PCRIndex", event.pcr.into()),
            ("Digest", digest.map(String::as_str).unwrap_or_default().into()),
        ];
        if let Some(data) =
            event.event_data.as_deref().and_then(|data| hex::decode(data).ok()).filter(|d| !d.is_empty())
        {
            members.push(("Data", super::base64(&data).into()));
        }
        members.push(("Description", (&event.description).into()));
        object(members)
    });
    let text =
        object([("measurements", Json::Object(map)), ("EventLog", object([("Events", list(events))]))]);
    Ok(Output::single("measurements-raw.json", text.pretty()))
}

fn join_config(export: &Export<'_>) -> Result<Output, ExportError> {
    let (cloud, _) = cloud(export)?;
    let (measurements, mut output) = measurements(export, cloud)?;
    let config = object([("measurements", measurements)]).compact();
    let text = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: join-config\n  namespace: kube-system\ndata:\n  \
         attestationConfig: |\n    {config}\n"
    );
    output.add("", "join-config.yaml", text);
    Ok(output)
}
