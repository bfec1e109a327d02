//! CoRIM (draft-ietf-rats-corim-11): a CoMID with a reference triple for each boot, for Veraison's TPM profile.
//!
//! Deterministic CBOR. Alternatives are separate triples, each of which has to agree as a whole.

use ciborium::Value as Cbor;

use super::exporter::{Alternatives, ExportError, Exporter, Output};
use super::forms::Form;
use super::options::OptionSpec;
use super::release::{Export, Release};
use crate::sign::{SignError, SignatureAlgorithm, Signer};
use crate::tcg::HashAlgorithm;

const ID: OptionSpec =
    OptionSpec::text("corim-id", "TEXT", "id of the manifest, also of its CoMID").required();
const CLASS_ID: OptionSpec =
    OptionSpec::text("class-id", "UUID", "class of the attester, by which the verifier finds the values")
        .form(Form::Uuid)
        .required();
const VENDOR: OptionSpec = OptionSpec::text("vendor", "TEXT", "vendor of the attester").default("premeasure");
const MODEL: OptionSpec = OptionSpec::text("model", "TEXT", "model of the attester").default("uki");
const PROFILE: OptionSpec =
    OptionSpec::text("profile-uri", "URI", "profile that says how the verifier reads it")
        .form(Form::Uri)
        .default("tag:github.com/parallaxsecond,2023-03-03:tpm");
const SIGNER: OptionSpec =
    OptionSpec::text("signer-name", "TEXT", "name of the signer, with --key").default("premeasure");

/// CoRIM.
pub(super) const EXPORTER: Exporter = Exporter {
    name: "corim",
    summary: "CoRIM with one reference triple for each boot, plain or signed (COSE_Sign1) with --key",
    reader: "Veraison (Parsec TPM profile), Trustee's corim extractor",
    fed: "POST /endorsement-provisioning/v1/submit; RVPS message of type corim",
    limits: &[
        "Trustee's extractor keeps only the last of several boots: use --format trustee for them",
        "Veraison's profile takes an unsigned mkey as PCR, any hash; a quote agrees with boots of the PCRs that it selects",
        "SM3 and SHA-1 have no place: Named Information has SHA-256, SHA-384 and SHA-512",
    ],
    alternatives: Alternatives::Joint,
    options: &[ID, CLASS_ID, VENDOR, MODEL, PROFILE, SIGNER],
    signs: true,
    write,
    ..Exporter::BASE
};

/// CBOR tags of the draft.
mod tag {
    pub(super) const UUID: u64 = 37;
    pub(super) const URI: u64 = 32;
    pub(super) const COSE_SIGN1: u64 = 18;
    pub(super) const CORIM: u64 = 501;
    pub(super) const COMID: u64 = 506;
}

/// COSE header parameters (RFC 9052, draft-ietf-rats-corim section "Signed CoRIM").
mod header {
    pub(super) const ALG: i64 = 1;
    pub(super) const CONTENT_TYPE: i64 = 3;
    pub(super) const CORIM_META: i64 = 8;
}

fn write(export: &Export<'_>) -> Result<Output, ExportError> {
    let id = export.option("corim-id")?;
    if !export.banks.iter().any(|bank| named_information(*bank).is_some()) {
        return Err(export.inexpressible(
            "a measurement needs a digest in sha256, sha384 or sha512: predict with one of these banks",
        ));
    }
    let environment = map([(
        0,
        map([
            (0, Cbor::Tag(tag::UUID, Box::new(Cbor::Bytes(uuid(export.option("class-id")?))))),
            (1, text(export.option("vendor")?)),
            (2, text(export.option("model")?)),
        ]),
    )]);
    let releases = export.distinct();
    let triples = releases
        .iter()
        .map(|release| Cbor::Array(vec![environment.clone(), Cbor::Array(measurements(export, release))]));
    let comid = map([(1, map([(0, text(id))])), (4, map([(0, Cbor::Array(triples.collect()))]))]);
    let corim = map([
        (0, text(id)),
        (1, Cbor::Array(vec![Cbor::Tag(tag::COMID, Box::new(Cbor::Bytes(super::cbor(&comid))))])),
        (3, Cbor::Tag(tag::URI, Box::new(text(export.option("profile-uri")?)))),
    ]);
    let corim = Cbor::Tag(tag::CORIM, Box::new(corim));
    let mut output = match export.signer {
        None => Output::single("reference.corim", super::cbor(&corim)),
        Some(signer) => Output::single("reference.signed.corim", sign(export, &corim, signer)?),
    };
    if releases.len() > 1 {
        output
            .warnings
            .push("Trustee's corim extractor keeps only the last boot; Veraison accepts each".to_owned());
    }
    Ok(output)
}

fn measurements(export: &Export<'_>, release: &Release<'_>) -> Vec<Cbor> {
    let enforced = release.values.iter().filter(|(_, value)| value.enforced);
    enforced
        .map(|(pcr, _)| {
            let digests = export.banks.iter().filter_map(|bank| {
                let digest = release.digest(*pcr, *bank)?;
                let number = named_information(*bank)?;
                Some(Cbor::Array(vec![Cbor::from(number), Cbor::Bytes(digest.as_bytes().to_vec())]))
            });
            map([(0, Cbor::from(*pcr)), (1, map([(2, Cbor::Array(digests.collect()))]))])
        })
        .collect()
}

/// IANA, Named Information Hash Algorithm Registry.
fn named_information(bank: HashAlgorithm) -> Option<u8> {
    match bank {
        HashAlgorithm::Sha256 => Some(1),
        HashAlgorithm::Sha384 => Some(7),
        HashAlgorithm::Sha512 => Some(8),
        HashAlgorithm::Sha1 | HashAlgorithm::Sm3_256 => None,
    }
}

/// `COSE_Sign1` (RFC 9052, section 4.4) around the tagged CoRIM.
fn sign(export: &Export<'_>, corim: &Cbor, signer: &dyn Signer) -> Result<Vec<u8>, ExportError> {
    let meta = map([(0, map([(0, text(export.option("signer-name")?))]))]);
    let protected = Cbor::Map(vec![
        (Cbor::from(header::ALG), Cbor::from(cose_algorithm(signer.algorithm()))),
        (Cbor::from(header::CONTENT_TYPE), text("application/rim+cbor")),
        (Cbor::from(header::CORIM_META), Cbor::Bytes(super::cbor(&meta))),
    ]);
    let (protected, payload) = (super::cbor(&protected), super::cbor(corim));
    let to_sign = Cbor::Array(vec![
        text("Signature1"),
        Cbor::Bytes(protected.clone()),
        Cbor::Bytes(Vec::new()),
        Cbor::Bytes(payload.clone()),
    ]);
    let signature = signer.sign(&super::cbor(&to_sign))?;
    let signature = fixed_length(signer.algorithm(), &signature)?;
    let sign1 = Cbor::Array(vec![
        Cbor::Bytes(protected),
        Cbor::Map(Vec::new()),
        Cbor::Bytes(payload),
        Cbor::Bytes(signature),
    ]);
    Ok(super::cbor(&Cbor::Tag(tag::COSE_SIGN1, Box::new(sign1))))
}

/// IANA, COSE Algorithms.
fn cose_algorithm(algorithm: SignatureAlgorithm) -> i64 {
    match algorithm {
        SignatureAlgorithm::EcdsaP256Sha256 => -7,
        SignatureAlgorithm::Ed25519 => -8,
        SignatureAlgorithm::EcdsaP384Sha384 => -35,
        SignatureAlgorithm::RsaPssSha256 => -37,
    }
}

/// COSE wants `r || s` where X.509 has DER (RFC 9053, section 2.1).
fn fixed_length(algorithm: SignatureAlgorithm, signature: &[u8]) -> Result<Vec<u8>, SignError> {
    let failed = |error: p256::ecdsa::Error| SignError::Failed(error.to_string());
    Ok(match algorithm {
        SignatureAlgorithm::EcdsaP256Sha256 => {
            p256::ecdsa::Signature::from_der(signature).map_err(failed)?.to_bytes().to_vec()
        }
        SignatureAlgorithm::EcdsaP384Sha384 => {
            p384::ecdsa::Signature::from_der(signature).map_err(failed)?.to_bytes().to_vec()
        }
        _ => signature.to_vec(),
    })
}

fn uuid(text: &str) -> Vec<u8> {
    // The option's form was checked.
    hex::decode(text.replace('-', "")).unwrap_or_default()
}

fn map<const N: usize>(members: [(u8, Cbor); N]) -> Cbor {
    Cbor::Map(members.into_iter().map(|(key, value)| (Cbor::from(key), value)).collect())
}

fn text(text: &str) -> Cbor {
    Cbor::Text(text.to_owned())
}
