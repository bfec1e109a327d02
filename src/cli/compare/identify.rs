//! What a file is, by its content.

use std::path::Path;

use anyhow::Context;

use crate::capture::{Capture, is_capture};
use crate::cli::input::open;
use crate::cli::output::hinted;
use crate::export::load;
use crate::import;
use crate::reference::{self, Document};
use crate::source::{Blob, parse_registers, read_registers};
use crate::tcg::timeline::BootLog;
use crate::tcg::{HashAlgorithm, PcrValues};

/// Largest file that is looked at as something else than an image, in bytes.
const MAX_TEXT: u64 = 64 << 20;

/// What a file is.
pub(super) enum Content {
    Document(Box<Document>),
    Registers(PcrValues),
    Policy(import::PolicyValues),
    Log(Vec<u8>),
    Capture(Box<Capture>),
    /// A program, disk or folder: to be predicted.
    Image,
}

/// Finds out what a file is. Policies are only looked for where they make sense.
pub(super) fn identify(path: &Path, format: Option<&str>, policies: bool) -> anyhow::Result<Content> {
    if policies && path.is_dir() && import::is_pcrlock_folder(path) {
        let format = format.filter(|format| *format != "pcrlock");
        if let Some(format) = format {
            let text =
                format!("{}: is a folder of .pcrlock components, not of format {format}", path.display());
            return Err(hinted(text, "leave --policy-format out"));
        }
        return Ok(Content::Policy(import::read_pcrlock_folder(path)?.0));
    }
    if path.is_dir() {
        return match HashAlgorithm::ALL.iter().any(|bank| path.join(format!("pcr-{bank}")).is_dir()) {
            true => Ok(Content::Registers(read_registers(path).with_context(|| path.display().to_string())?)),
            false => Ok(Content::Image),
        };
    }
    let bytes = match read(path)? {
        Some(bytes) => bytes,
        None => return Ok(Content::Image),
    };
    if let Some(format) = format {
        let policy = import::read(format, &bytes).with_context(|| path.display().to_string())?;
        return Ok(Content::Policy(policy));
    }
    content(path, bytes, policies)
}

/// The file's bytes, unless it is an image by its beginning or its size.
fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    // The kernel's files have no length.
    if path.as_os_str() != "-" && std::fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0) {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
        std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_TEXT), &mut bytes)
            .with_context(|| path.display().to_string())?;
        return Ok(Some(bytes));
    }
    let file: Blob = open(path)?;
    if file.len() > MAX_TEXT || file.read_prefix(8)?.starts_with(b"MZ") {
        return Ok(None);
    }
    Ok(Some(file.read(MAX_TEXT)?))
}

fn content(path: &Path, bytes: Vec<u8>, policies: bool) -> anyhow::Result<Content> {
    let is_json = matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'['));
    if is_json && is_document(&bytes) {
        let loaded = load(&path.display().to_string(), &bytes)
            .map_err(|error| hinted(error.to_string(), error.hint()))?;
        return Ok(Content::Document(Box::new(loaded.document)));
    }
    if is_capture(&bytes) {
        let capture = Capture::parse(&bytes).with_context(|| path.display().to_string())?;
        return Ok(Content::Capture(Box::new(capture)));
    }
    if let Some(values) = registers(path, &bytes)? {
        return Ok(Content::Registers(values));
    }
    let policy = import::detect(&bytes).ok().filter(|policy| policy.format != "cel-json");
    match policy {
        Some(policy) if policies || is_json => return Ok(Content::Policy(policy)),
        _ => {}
    }
    if bytes.is_empty() {
        return Err(hinted(format!("{}: is empty", path.display()), hint(policies)));
    }
    let log = BootLog::read(&bytes);
    if !log.is_empty() {
        return Ok(Content::Log(bytes));
    }
    if is_json || bytes.trim_ascii_start().first() == Some(&0x1E) {
        let why = log.error.map(|error| error.to_string()).unwrap_or_default();
        return Err(hinted(format!("{}: {why}", path.display()), hint(policies)));
    }
    Ok(Content::Image)
}

fn hint(policies: bool) -> &'static str {
    if policies {
        "expected a document, an image, a policy, PCR values or an event log"
    } else {
        "expected event logs, PCR values (JSON, output of tpm2_pcrread, sysfs) or a prediction"
    }
}

fn is_document(bytes: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Head {
        schema_version: Option<serde_json::Value>,
        kind: Option<String>,
    }
    let head = serde_json::from_slice::<Head>(bytes);
    head.is_ok_and(|head| head.schema_version.is_some() && head.kind.as_deref() == Some(reference::KIND))
}

/// PCR values, if the bytes are a listing of such.
fn registers(path: &Path, bytes: &[u8]) -> anyhow::Result<Option<PcrValues>> {
    if bytes.len() as u64 > 1 << 20 {
        return Ok(None);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return Ok(None) };
    let problem = match parse_registers(text) {
        Ok(values) if values.banks().next().is_some() => return Ok(Some(values)),
        Ok(_) => "it has no PCR values".to_owned(),
        Err(error) => error.to_string(),
    };
    match is_listing(text) {
        true => Err(hinted(
            format!("{}: {problem}", path.display()),
            "expected {\"sha256\": {\"4\": \"hexadecimal digest\"}}, one value for each PCR",
        )),
        false => Ok(None),
    }
}

/// An object with banks as its members can be nothing but a listing of PCR values.
fn is_listing(text: &str) -> bool {
    let object: Option<std::collections::BTreeMap<String, serde_json::Value>> =
        serde_json::from_str(text).ok();
    object.is_some_and(|object| {
        !object.is_empty() && object.keys().all(|bank| bank.parse::<HashAlgorithm>().is_ok())
    })
}
