//! `premeasure verify`: the attestation verifier.

mod files;
mod render;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::input::{display_name, read_small};
use super::output::{EXIT_DIFFERS, hinted, print, print_json};
use super::tpm::{Nonce, parse_nonce};
use crate::attest::{
    Anchors, Appraisal, AttestationKey, Policy, PolicyError, Selection, Timestamp, Verifier, ear,
};
use crate::boot::Stage;
use crate::import;
use crate::tcg::{Digest, HashAlgorithm, PcrIndex};
use files::Files;

/// Largest key or certificate, in bytes.
const MAX_SMALL: u64 = 1 << 20;

/// Verify a machine's attestation: a quote of its TPM against reference values.
///
/// Everything that the machine sent is taken as hostile; trusted are only the policy, the key (--ak) or those who vouch
/// for one (--ca), and the nonce. Exit code 0 when the evidence is accepted, 1 when it is refused, 2 on errors of the
/// verifier's own inputs. Every refusal has a code; docs/verify.md lists them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  premeasure verify --policy reference.json --quote quote.msg --signature quote.sig --pcrs quote.pcrs \\
      --ak ak.pub --nonce 8f3a... --log eventlog.bin
  premeasure verify --policy reference.json --quote quote.msg --signature quote.sig --pcrs quote.pcrs \\
      --ak ak.pub --nonce 8f3a... --enforce 4,7,11 --stage ready --json
  premeasure verify --policy reference.json --evidence nitro.cose --ca aws-root.pem --at 2026-02-03T12:00:00Z \\
      --nonce 8f3a...
  premeasure verify --policy reference.json --evidence attestation.pb --ca gce-ek-ak-root.pem --nonce 8f3a...
  premeasure verify --policy reference.json --evidence capture.json --ak ak.pub --nonce 8f3a...")]
pub(super) struct VerifyArgs {
    /// What is accepted: a document of `premeasure predict -o`, or any format that is read as a policy
    #[arg(long, value_name = "DOC")]
    policy: PathBuf,
    /// Nonce that the quote has to be over, in hexadecimal
    #[arg(long, value_name = "HEX", value_parser = parse_nonce)]
    nonce: Nonce,
    /// The quote: TPMS_ATTEST, as tpm2_quote --message writes it
    #[arg(long, value_name = "MSG", requires = "signature", help_heading = "Evidence")]
    quote: Option<PathBuf>,
    /// Its signature: TPMT_SIGNATURE, or bare as tpm2_quote --format plain writes it
    #[arg(long, value_name = "SIG", requires = "quote", help_heading = "Evidence")]
    signature: Option<PathBuf>,
    /// Evidence in one file, its kind is detected: go-tpm-tools' attestation, AWS NitroTPM's document, JSON of Azure's and
    /// GCP's vTPMs, premeasure's capture
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quote", "signature", "pcrs"], help_heading = "Evidence")]
    evidence: Option<PathBuf>,
    /// PCR values under the quote: tpm2_quote --pcr in both formats, tpm2_pcrread, JSON; without them the log has to
    /// account for every quoted PCR
    #[arg(long, value_name = "FILE", requires = "quote", help_heading = "Evidence")]
    pcrs: Option<PathBuf>,
    /// Event log, repeatable: firmware's, systemd's
    #[arg(long = "log", value_name = "LOG", help_heading = "Evidence")]
    logs: Vec<PathBuf>,
    /// Attestation key that has to have signed: TPM2B_PUBLIC, TPMT_PUBLIC, PEM, certificate
    #[arg(long, value_name = "KEY", help_heading = "Trust")]
    ak: Option<PathBuf>,
    /// Certificates of those who may vouch for the key, repeatable; PEM or DER
    #[arg(long = "ca", value_name = "CERT", help_heading = "Trust")]
    anchors: Vec<PathBuf>,
    /// Certificates between the key's and those of --ca, repeatable; not trusted by themselves
    #[arg(long = "intermediate", value_name = "CERT", requires = "anchors", help_heading = "Trust")]
    intermediates: Vec<PathBuf>,
    /// When certificates have to be valid, RFC 3339 [default: now]
    #[arg(long, value_name = "TIME", help_heading = "Trust")]
    at: Option<Timestamp>,
    /// PCRs that have to be right [default: PCRs 0 to 15 that the policy knows in every boot]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = parse_pcr, help_heading = "Decision")]
    enforce: Vec<PcrIndex>,
    /// PCRs of which a deviation is only reported
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = parse_pcr, help_heading = "Decision")]
    warn: Vec<PcrIndex>,
    /// PCRs that don't count although the policy knows them
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = parse_pcr, help_heading = "Decision")]
    ignore: Vec<PcrIndex>,
    /// Moment of the boot at which the quote was made, repeatable [default: ready]
    #[arg(long = "stage", value_name = "STAGE", value_parser = super::predict::stage_parser(), help_heading = "Decision")]
    stages: Vec<Stage>,
    /// Let SHA-1 values decide
    #[arg(long, help_heading = "Decision")]
    allow_sha1: bool,
    /// Print the result as JSON, in the form of an EAT Attestation Result (schemas/verify.schema.json)
    #[arg(long, help_heading = "Output")]
    json: bool,
}

fn parse_pcr(text: &str) -> Result<PcrIndex, String> {
    let number = text.parse::<u32>().map_err(|error| error.to_string())?;
    PcrIndex::try_from(number).map_err(|error| error.to_string())
}

pub(super) fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let verifier = Verifier {
        policy: policy(args)?,
        pinned: args.ak.as_ref().map(|path| read_key(path)).transpose()?,
        anchors: read_anchors(&args.anchors)?,
        at: args.at.unwrap_or_else(Timestamp::now),
    };
    if verifier.pinned.is_none() && verifier.anchors.is_empty() {
        return Err(hinted(
            "nothing says whose quote it has to be",
            "--ak names the machine's attestation key, --ca who may vouch for one",
        ));
    }
    let files = Files::read(args)?;
    let appraisal = match files.evidence() {
        Ok(evidence) => verifier.appraise(&evidence, &args.nonce.0),
        Err(refusal) => verifier.refuse(refusal, &args.nonce.0),
    };
    show(&appraisal, args.json)?;
    Ok(if appraisal.is_affirming() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_DIFFERS) })
}

fn show(appraisal: &Appraisal, json: bool) -> anyhow::Result<()> {
    if json { print_json(&ear(appraisal, Timestamp::now())) } else { print(&render::text(appraisal)) }
}

fn read_key(path: &Path) -> anyhow::Result<AttestationKey> {
    let bytes = read_small(path, MAX_SMALL)?;
    AttestationKey::read(&bytes).with_context(|| path.display().to_string())
}

fn read_anchors(paths: &[PathBuf]) -> anyhow::Result<Anchors> {
    let mut anchors = Anchors::default();
    for path in paths {
        anchors.add(&read_small(path, MAX_SMALL)?).with_context(|| path.display().to_string())?;
    }
    Ok(anchors)
}

/// Reads the policy, of whatever format it is, and decides which PCRs count.
fn policy(args: &VerifyArgs) -> anyhow::Result<Policy> {
    let set = |pcrs: &[PcrIndex]| pcrs.iter().copied().collect::<BTreeSet<_>>();
    let selection = Selection {
        enforce: set(&args.enforce),
        warn: set(&args.warn),
        ignore: set(&args.ignore),
        stages: args.stages.clone(),
        allow_sha1: args.allow_sha1,
    };
    let name = args.policy.display().to_string();
    let explained = |error: PolicyError| {
        let remedy = error.remedy();
        hinted(format!("{name}: {error}"), remedy)
    };
    let of_one_moment = |format: &str| {
        hinted(
            format!("{name}: --stage is for documents, this is of format {format}"),
            "leave --stage out: the values were taken at one moment",
        )
    };
    if args.policy.is_dir() && import::is_pcrlock_folder(&args.policy) {
        let (values, digest) = import::read_pcrlock_folder(&args.policy)?;
        return match args.stages.as_slice() {
            [] => Policy::from_values(&values, digest, &selection).map_err(explained),
            _ => Err(of_one_moment(values.format)),
        };
    }
    let bytes = read_small(&args.policy, import::MAX_POLICY)?;
    let policy = if is_document(&bytes) {
        let loaded = crate::export::load(&display_name(&args.policy), &bytes).map_err(|error| {
            let hint = error.hint();
            hinted(error.to_string(), hint)
        })?;
        Policy::from_document(&loaded, &selection)
    } else {
        let values = import::detect(&bytes).map_err(|error| {
            hinted(format!("{name}: {error}"), "premeasure predict IMAGE -o reference.json makes a document")
        })?;
        if !args.stages.is_empty() {
            return Err(of_one_moment(values.format));
        }
        Policy::from_values(&values, Digest::of(HashAlgorithm::Sha256, &bytes), &selection)
    };
    policy.map_err(explained)
}

fn is_document(bytes: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Head {
        kind: String,
    }
    let looks_so =
        serde_json::from_slice::<Head>(bytes).is_ok_and(|head| head.kind == crate::reference::KIND);
    // An image is no policy; the loader says so best.
    looks_so || bytes.starts_with(b"MZ")
}
