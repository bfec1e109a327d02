//! `premeasure sign` and `premeasure verify-document`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::export::load_document;
use super::input::read_small;
use super::output::{EXIT_DIFFERS, hinted, note, print, refuse_overwriting, report, write_to};
use crate::export::load;
use crate::sign::{PublicKey, SignError, dsse, sigstore};

/// Largest file that is signed or verified, in bytes.
const MAX_SIGNED: u64 = 256 << 20;

/// Sign a document, or what was exported from it, with a key at hand.
///
/// The signature is a file of its own; nothing is uploaded, and no clock is read. Documents are checked before they are
/// signed: one that was altered is refused.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  premeasure sign reference.json --key release.pem -o reference.dsse.json
  premeasure sign measurements.json --as cosign --key release.pem -o measurements.json.sig
  premeasure sign reference.json --as bundle --key release.pem -o reference.sigstore.json")]
pub(super) struct SignArgs {
    /// The file to sign; `-` for standard input
    #[arg(value_name = "DOC")]
    file: PathBuf,
    /// Form of the signature
    #[arg(long = "as", value_enum, default_value_t = Form::Dsse, value_name = "FORM")]
    form: Form,
    /// Where to write the signature; `-` for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    #[command(flatten)]
    key: super::key::KeyArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// DSSE envelope with the file inside; in-toto statements get their payload type
    Dsse,
    /// Detached signature in base64, as of cosign sign-blob
    Cosign,
    /// Sigstore bundle with a detached signature
    Bundle,
    /// Sigstore bundle with a DSSE envelope
    BundleDsse,
}

/// Verify the signature of a document.
///
/// Exit code 0 when the key signed exactly this file (and, of a document, its values follow from its measurements), 1
/// when the signature is not good, 2 when something could not be read.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The signed file; may be left out for a DSSE envelope, which has it inside
    #[arg(value_name = "DOC", required_unless_present = "extract")]
    file: Option<PathBuf>,
    /// The signature: DSSE envelope, cosign signature or Sigstore bundle
    #[arg(long, value_name = "FILE")]
    signature: PathBuf,
    /// Public key, in PEM
    #[arg(long, value_name = "PEM")]
    key: PathBuf,
    /// Write the verified content of a DSSE envelope to FILE
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    extract: Option<PathBuf>,
}

pub(super) fn run(args: &SignArgs) -> anyhow::Result<ExitCode> {
    let signer = args
        .key
        .signer()?
        .ok_or_else(|| hinted("--key is needed", "--key release.pem names the private key"))?;
    refuse_overwriting([args.output.as_path()], [args.file.as_path()].into_iter().chain(args.key.file()))?;
    let bytes = read_small(&args.file, MAX_SIGNED)?;
    if is_document(&bytes) {
        load_checked(&bytes, &args.file)?;
    }
    let signer = signer.as_ref();
    let text = match args.form {
        Form::Dsse => dsse::sign(&bytes, signer),
        Form::Cosign => sigstore::sign_blob(&bytes, signer),
        Form::Bundle => sigstore::sign_bundle(&bytes, sigstore::Content::Message, signer),
        Form::BundleDsse => sigstore::sign_bundle(&bytes, sigstore::Content::Dsse, signer),
    }?;
    write_to(&args.output, text.as_bytes())?;
    let key = signer.public_key()?;
    note(format!("signed with {}, key sha256:{}", key.algorithm().name(), key.fingerprint()?));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    refuse_overwriting(args.extract.as_deref(), [args.signature.as_path(), args.key.as_path()])?;
    let key = read_small(&args.key, 1 << 20)?;
    let key = PublicKey::from_pem(&key).with_context(|| args.key.display().to_string())?;
    let signature = read_small(&args.signature, MAX_SIGNED)?;
    let file = args.file.as_ref().map(|path| read_small(path, MAX_SIGNED)).transpose()?;
    let content = match check(&signature, file.as_deref(), &key) {
        Ok(content) => content,
        Err(error @ SignError::Invalid) => {
            report(&anyhow::Error::new(error).context(args.signature.display().to_string()));
            return Ok(ExitCode::from(EXIT_DIFFERS));
        }
        Err(error) => return Err(anyhow::Error::new(error).context(args.signature.display().to_string())),
    };
    let what = if is_document(&content) {
        match &args.file {
            Some(path) => drop(load_document(path)?),
            None => load_checked(&content, &args.signature)?,
        }
        "the document's values follow from its measurements"
    } else {
        "the content is no reference document and was not looked at"
    };
    match &args.extract {
        Some(path) => write_to(path, &content)?,
        None => print("good signature\n")?,
    }
    note(format!("{}, key sha256:{}; {what}", key.algorithm().name(), key.fingerprint()?));
    Ok(ExitCode::SUCCESS)
}

/// The content that the key signed.
fn check(signature: &[u8], file: Option<&[u8]>, key: &PublicKey) -> Result<Vec<u8>, SignError> {
    let missing =
        || SignError::Envelope { what: "signature", problem: "is detached: name the signed file".to_owned() };
    if let Ok(bundle) = sigstore::Bundle::parse(signature) {
        let file = file.ok_or_else(missing)?;
        return bundle.verify(file, key).map(|()| file.to_vec());
    }
    if signature.trim_ascii_start().starts_with(b"{") {
        let payload = dsse::Envelope::parse(signature)?.verify(key)?;
        if file.is_some_and(|file| file != payload) {
            let problem = "is validly signed, but is another file than the one given".to_owned();
            return Err(SignError::Envelope { what: "DSSE payload", problem });
        }
        return Ok(payload);
    }
    let file = file.ok_or_else(missing)?;
    sigstore::verify_blob(file, signature, key).map(|()| file.to_vec())
}

fn is_document(bytes: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Head {
        kind: String,
    }
    serde_json::from_slice::<Head>(bytes).is_ok_and(|head| head.kind == crate::reference::KIND)
}

fn load_checked(bytes: &[u8], path: &std::path::Path) -> anyhow::Result<()> {
    let loaded = load(&super::input::display_name(path), bytes);
    loaded.map(drop).map_err(|error| {
        let hint = error.hint();
        hinted(error.to_string(), hint)
    })
}
