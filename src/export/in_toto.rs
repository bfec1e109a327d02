//! in-toto statement: the PCRs as predicate, the image's files as subjects.

use super::exporter::{Alternatives, ExportError, Exporter, Output};
use super::forms::Form;
use super::json::{Json, list, object};
use super::options::{OptionKind, OptionSpec};
use super::release::{Export, Release};
use crate::reference::SCHEMA_VERSION;
use crate::sign::dsse;
use crate::tcg::HashAlgorithm;

const SUBJECT: OptionSpec = OptionSpec::text(
    "subject",
    "NAME=sha256:HEX",
    "further subject, such as the OCI image or the SBOM, repeatable",
)
.form(Form::Subject)
.kind(OptionKind::Texts);
const PREDICATE_TYPE: OptionSpec = OptionSpec::text("predicate-type", "URI", "type of the predicate")
    .form(Form::Uri)
    .default("urn:premeasure:pcr-reference:v1");

/// in-toto.
pub(super) const EXPORTER: Exporter = Exporter {
    name: "in-toto",
    summary: "in-toto statement: the image's files and bills of materials as subjects, the boots as predicate",
    reader: "supply-chain tools (cosign, policy engines), which look up what belongs to an image",
    fed: "premeasure sign makes the DSSE envelope; then oras attach, cosign attach attestation",
    limits: &[
        "the predicate type is premeasure's own: no consumer compares PCRs from it without being taught",
        "PCRs are no subjects: in-toto has no digest algorithm for them",
    ],
    alternatives: Alternatives::Joint,
    options: &[SUBJECT, PREDICATE_TYPE],
    write,
    ..Exporter::BASE
};

fn write(export: &Export<'_>) -> Result<Output, ExportError> {
    let mut subjects: Vec<(String, String)> = Vec::new();
    for release in &export.releases {
        for input in &release.image.inputs {
            // Nothing replays these digests, so at least they have to be some.
            if super::release::digest(HashAlgorithm::Sha256, &input.sha256).is_none() {
                return Err(export.inexpressible(format!("the document has no SHA-256 of {}", input.name)));
            }
            let subject = (input.name.clone(), input.sha256.to_ascii_lowercase());
            if !subjects.contains(&subject) {
                subjects.push(subject);
            }
        }
    }
    for material in export.releases.iter().flat_map(|release| &release.document.materials) {
        let subject = (material.name.clone(), material.sha256.to_ascii_lowercase());
        if !subjects.contains(&subject) {
            subjects.push(subject);
        }
    }
    for value in export.options.values("subject") {
        // The option's form was checked.
        if let Some((name, hex)) = value.text.rsplit_once("=sha256:") {
            subjects.push((name.to_owned(), hex.to_ascii_lowercase()));
        }
    }
    let subjects = subjects.into_iter().map(|(name, sha256)| descriptor(&name, sha256));
    let mut documents: Vec<(&str, String)> =
        export.releases.iter().map(|release| (release.file, release.sha256.to_string())).collect();
    documents.dedup();
    let documents = documents.into_iter().map(|(name, sha256)| {
        object([
            ("name", name.into()),
            ("mediaType", dsse::REFERENCE.into()),
            ("digest", object([("sha256", sha256.into())])),
        ])
    });
    let predicate = object([
        ("schema_version", SCHEMA_VERSION.into()),
        ("generator", object([("name", "premeasure".into()), ("version", env!("CARGO_PKG_VERSION").into())])),
        ("stage", export.stage().name().into()),
        ("banks", list(export.banks.iter().map(|bank| bank.name()))),
        ("combination", "any-of-variants".into()),
        ("variants", list(export.releases.iter().map(|release| variant(export, release)))),
        ("documents", list(documents)),
    ]);
    let statement = object([
        ("_type", "https://in-toto.io/Statement/v1".into()),
        ("subject", list(subjects)),
        ("predicateType", export.option("predicate-type")?.into()),
        ("predicate", predicate),
    ]);
    Ok(Output::single("statement.intoto.json", statement.pretty()))
}

fn descriptor(name: &str, sha256: String) -> Json {
    object([("name", name.into()), ("digest", object([("sha256", sha256.into())]))])
}

fn variant(export: &Export<'_>, release: &Release<'_>) -> Json {
    let values = release.values.iter().filter(|(_, value)| value.enforced).map(|(pcr, value)| {
        let digests = export
            .banks
            .iter()
            .filter_map(|bank| Some((bank.name(), value.digests.get(bank.name())?.into())));
        object([
            ("index", (*pcr).into()),
            ("status", value.status.into()),
            ("assumes", list(value.assumes)),
            ("digests", object(digests)),
        ])
    });
    object([
        ("id", (&release.id).into()),
        ("image", (&release.image.name).into()),
        ("scenario", (&release.scenario.id).into()),
        ("values", list(values)),
    ])
}
