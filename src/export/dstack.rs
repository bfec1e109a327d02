//! dstack: the measurement files of a release, in CBOR (`dstack-mr`).

use ciborium::Value as Cbor;

use super::exporter::{BankRule, ExportError, Exporter, Output, part_of};
use super::release::{Export, Release, digest};
use crate::tcg::{Digest, HashAlgorithm};

/// dstack.
pub(super) const EXPORTER: Exporter = Exporter {
    name: "dstack",
    summary: "measurement.aws.cbor (SHA-256 over PCR 4, 7, 12) and measurement.gcp.cbor (the UKI's image digest)",
    reader: "dstack's verifier",
    fed: "listed in the release's sha256sum.txt, whose digest is the image's id",
    limits: &[
        "one boot",
        "AWS needs PCR 4, 7 and 12 in SHA-384, all of them",
        "on GCP the UKI's event is looked for in PCR 2 of the log, not in a PCR value",
    ],
    bank: BankRule::Fixed(HashAlgorithm::Sha384),
    pcrs: PCRS,
    parts: &["aws", "aws-pcrs", "gcp"],
    owner: |file| part_of(FILES, file),
    write,
    ..Exporter::BASE
};

/// Part and file.
const FILES: &[(&str, &str)] =
    &[("aws", "measurement.aws.cbor"), ("aws-pcrs", "aws-pcrs.json"), ("gcp", "measurement.gcp.cbor")];

/// In the order in which they are concatenated.
const PCRS: &[u8] = &[4, 7, 12];

fn write(export: &Export<'_>) -> Result<Output, ExportError> {
    let release = export.one()?;
    let mut output = Output::default();
    if export.wants("aws") || export.wants("aws-pcrs") {
        aws(release, &mut output);
    }
    if export.wants("gcp") {
        gcp(export, release, &mut output);
    }
    let has = |name: &str| output.parts.iter().any(|part| part.name == name);
    match (has("aws"), has("gcp")) {
        (false, false) => return Err(export.inexpressible(output.dropped.join("; "))),
        (false, true) => {
            output.single_events = true;
            for pcr in PCRS {
                let reason =
                    "measurement.gcp.cbor holds the digest of the UKI alone, one of the events of PCR 4";
                output.leave_out(&export.releases, *pcr, reason);
            }
        }
        (true, true) => output.warnings.push(
            "on GCP only the UKI's digest is compared (measurement.gcp.cbor), not PCR 4, 7 and 12 as on AWS"
                .to_owned(),
        ),
        (true, false) => {}
    }
    Ok(output)
}

fn aws(release: &Release<'_>, output: &mut Output) {
    let values: Result<Vec<Digest>, ExportError> = PCRS
        .iter()
        .map(|pcr| {
            release.need(EXPORTER.name, *pcr, HashAlgorithm::Sha384)?;
            release.digest(*pcr, HashAlgorithm::Sha384).ok_or(ExportError::NoDocument)
        })
        .collect();
    match values {
        Ok(values) => {
            let all: Vec<u8> = values.iter().flat_map(|value| value.as_bytes().to_vec()).collect();
            let all = Digest::of(HashAlgorithm::Sha256, &all);
            let map = Cbor::Map(vec![(text("boot_pcr_digest"), Cbor::Bytes(all.as_bytes().to_vec()))]);
            output.add("aws", "measurement.aws.cbor", super::cbor(&map));
            output.add("aws-pcrs", "aws-pcrs.json", super::aws::measurements_json(release).pretty());
        }
        Err(error) => output.dropped.push(format!("measurement.aws.cbor left out: {error}")),
    }
}

/// From the measurement, which the values vouch for, and not from the list of files, which nothing does.
fn gcp(export: &Export<'_>, release: &Release<'_>, output: &mut Output) {
    let load = export.measurements(release).find(|measurement| release.is_load_of(measurement, "uki"));
    match load.and_then(|load| digest(HashAlgorithm::Sha256, load.digests.as_ref()?.get("sha256")?)) {
        Some(digest) => {
            let map = Cbor::Map(vec![
                (text("version"), Cbor::from(1)),
                (text("uki_auth"), Cbor::Bytes(digest.as_bytes().to_vec())),
            ]);
            output.add("gcp", "measurement.gcp.cbor", super::cbor(&map));
        }
        None => output.dropped.push(
            "measurement.gcp.cbor left out: it needs the UKI's load in a known PCR 4, with SHA-256"
                .to_owned(),
        ),
    }
}

fn text(text: &str) -> Cbor {
    Cbor::Text(text.to_owned())
}
