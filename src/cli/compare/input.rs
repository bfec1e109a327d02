//! What the two sides are, by their content.

use std::path::Path;

use anyhow::Context;

use super::CompareArgs;
use crate::capture::{Capture, is_capture};
use crate::cli::input::{display_name, open};
use crate::cli::output::{hinted, note, report, warn};
use crate::cli::predict::{other_requests, predict_all, requests};
use crate::cli::tpm;
use crate::compare::hypotheses::{Evidence, image::evidence};
use crate::compare::{
    Candidate, Expectation, ExpectedPcr, ExpectedValue, Kind, Observation, Options, expectation_of_document,
    expectation_of_logs, expectation_of_policy, observation_of_logs, observations_of_document,
};
use crate::export::load;
use crate::import;
use crate::prediction::{Registers, Request};
use crate::reference::{self, Document};
use crate::source::{Blob, parse_registers, read_registers};
use crate::tcg::eventlog::RegisterKind;
use crate::tcg::timeline::BootLog;
use crate::tcg::{DigestSet, HashAlgorithm, PcrIndex, PcrValues};

/// Largest file that is looked at as something else than an image, in bytes.
const MAX_TEXT: u64 = 64 << 20;

/// The expected side.
pub(super) struct Expected {
    pub(super) expectation: Expectation,
    /// What was predicted, where it was an image.
    requests: Vec<Request>,
}

impl Expected {
    /// What the image says about other boots of it.
    pub(super) fn evidence(
        &self,
        args: &CompareArgs,
        candidate: &Candidate,
        observation: &Observation,
        options: &Options,
    ) -> Evidence {
        let images = self.expectation.candidates.iter().map(|candidate| &candidate.image);
        let mut names: Vec<&String> = Vec::new();
        images.for_each(|image| {
            if !names.contains(&image) {
                names.push(image);
            }
        });
        let at = names.iter().position(|image| **image == candidate.image).unwrap_or(0);
        let Some(request) = self.requests.get(at) else { return Evidence::default() };
        let others = match self.requests.as_slice() {
            [_] => other_requests(&args.expected, &args.boot).unwrap_or_default(),
            // The entries of the menu are variants of the document.
            _ => Vec::new(),
        };
        evidence(request, &others, candidate, observation, options)
    }
}

/// The observed side.
pub(super) struct Observed {
    pub(super) observations: Vec<Observation>,
    /// A log ended early.
    pub(super) broken: bool,
}

/// What a file is.
enum Content {
    Document(Box<Document>),
    Registers(PcrValues),
    Policy(import::PolicyValues),
    Log(Vec<u8>),
    Capture(Box<Capture>),
    /// A program, disk or folder: to be predicted.
    Image,
}

/// Reads the expected side. What was observed decides between the alternatives of a policy that has very many, and which
/// registers are compared; of values alone, the expected side tells which registers they are.
pub(super) fn expected(args: &CompareArgs, observations: &mut [Observation]) -> anyhow::Result<Expected> {
    let name = display_name(&args.expected);
    let mut requests = Vec::new();
    let expectation = match identify(&args.expected, args.policy_format.as_deref(), true)? {
        Content::Document(document) => {
            let registers = settle(args, Some(&document), observations);
            expectation_of_document(&name, &document, registers)
        }
        Content::Registers(values) => of_registers(&name, &values),
        Content::Policy(policy) => expectation_of_policy(&name, &policy, observations.first()),
        Content::Log(bytes) => {
            let log = BootLog::read(&bytes);
            if let Some(error) = &log.error {
                return Err(hinted(format!("{name}: {error}"), "a log that is expected has to be whole"));
            }
            expectation_of_logs(&name, std::slice::from_ref(&log))?
        }
        Content::Capture(capture) => of_capture(&name, &capture)?,
        Content::Image => {
            let (document, predicted) = predicted(&args.expected, args, observations.first())?;
            requests = predicted;
            let registers = settle(args, Some(&document), observations);
            expectation_of_document(&name, &document, registers)
        }
    };
    Ok(Expected { expectation, requests })
}

/// Which registers are compared. Numbers in a list of values mean either kind.
fn settle(args: &CompareArgs, document: Option<&Document>, observations: &mut [Observation]) -> RegisterKind {
    let of_guest = args.boot.guest.registers() == Registers::Rtmr
        || document.is_some_and(|document| !document.has_pcrs());
    if of_guest {
        let values = observations.iter_mut().filter(|observed| observed.kind == Kind::Registers);
        values.for_each(|observed| observed.registers = RegisterKind::Mr);
    }
    let observed = observations.first().map(|observed| observed.registers).unwrap_or_default();
    match document {
        Some(document) if !document.has_pcrs() => RegisterKind::Mr,
        Some(document) if document.variants.iter().all(|variant| variant.guest.is_none()) => {
            RegisterKind::Pcr
        }
        _ => observed,
    }
}

/// Predicts an image, in the banks that the other side has unless some are named.
fn predicted(
    path: &Path,
    args: &CompareArgs,
    observed: Option<&Observation>,
) -> anyhow::Result<(Document, Vec<Request>)> {
    let (mut requests, mut predictions) = requests(path, &args.boot)?;
    if args.boot.banks().is_empty() && args.boot.guest.registers() == Registers::Pcr {
        let banks: Vec<HashAlgorithm> =
            observed.into_iter().flat_map(|observed| observed.values.banks()).map(|(bank, _)| bank).collect();
        let in_common = |request: &Request| request.banks.iter().any(|bank| banks.contains(bank));
        let fits = |request: &Request| banks.is_empty() || in_common(request);
        requests
            .iter_mut()
            .filter(|request| !fits(request))
            .for_each(|request| request.banks.clone_from(&banks));
    }
    predict_all(requests.clone(), path, &mut predictions)?;
    predictions.warn();
    Ok((predictions.document()?, requests))
}

/// Reads the observed side.
pub(super) fn observed(args: &CompareArgs, options: &Options) -> anyhow::Result<Observed> {
    let mut sides = Sides::default();
    if args.live {
        live(args, &mut sides)?;
    }
    for path in &args.observed {
        match identify(path, None, false)? {
            Content::Document(document) => sides.predictions.push((display_name(path), *document)),
            Content::Image => sides.predictions.push((display_name(path), predicted(path, args, None)?.0)),
            Content::Registers(values) => sides.add_registers(path, values)?,
            Content::Log(bytes) => sides.logs.push((display_name(path), bytes)),
            Content::Capture(capture) => sides.add_capture(path, &capture)?,
            Content::Policy(policy) => {
                let text =
                    format!("{}: is a policy ({}), not what a machine shows", path.display(), policy.format);
                return Err(hinted(text, "a policy is the first argument"));
            }
        }
    }
    sides.observed(options)
}

/// What was named as observed.
#[derive(Default)]
struct Sides {
    logs: Vec<(String, Vec<u8>)>,
    registers: Option<(String, PcrValues)>,
    predictions: Vec<(String, Document)>,
}

impl Sides {
    fn add_registers(&mut self, path: &Path, values: PcrValues) -> anyhow::Result<()> {
        if let Some((other, _)) = &self.registers {
            let text = format!("{}: PCR values are given twice, also in {other}", path.display());
            return Err(hinted(text, "name one of them"));
        }
        self.registers = Some((display_name(path), values));
        Ok(())
    }

    fn add_capture(&mut self, path: &Path, capture: &Capture) -> anyhow::Result<()> {
        let name = display_name(path);
        if let Some(values) = capture.values().with_context(|| name.clone())? {
            self.add_registers(path, values)?;
        }
        for (log, bytes) in capture.log_bytes().with_context(|| name.clone())? {
            self.logs.push((format!("{name}: {log}"), bytes));
        }
        if let Some(remark) = capture.remark() {
            note(format!("{name}: {remark}"));
        }
        if self.registers.is_none() && self.logs.is_empty() {
            return Err(hinted(
                format!("{name}: has neither logs nor PCR values"),
                "capture the machine again",
            ));
        }
        Ok(())
    }

    fn observed(self, options: &Options) -> anyhow::Result<Observed> {
        let machine = self.registers.is_some() || !self.logs.is_empty();
        match self.predictions.as_slice() {
            [] => self.machine(),
            [(name, document)] if !machine => {
                let observations = observations_of_document(name, document, options);
                Ok(Observed { observations, broken: false })
            }
            [_] => Err(hinted(
                "a prediction and a machine's data can't be observed together",
                "name one of them",
            )),
            _ => Err(hinted("several predictions are given to compare with", "name one of them")),
        }
    }

    fn machine(self) -> anyhow::Result<Observed> {
        let logs: Vec<BootLog<'_>> = self.logs.iter().map(|(_, bytes)| BootLog::read(bytes)).collect();
        let mut names: Vec<String> = self.logs.iter().map(|(name, _)| name.clone()).collect();
        let mut broken = false;
        for (name, log) in names.iter().zip(&logs) {
            if let Some(error) = &log.error {
                broken = true;
                let text = format!("{name}: {error}; the {} records before it are compared", log.len());
                report(&hinted(text, "take the log again: what is missing shows as missing"));
            }
        }
        let registers = self.registers.map(|(name, values)| {
            names.push(name);
            values
        });
        Ok(Observed { observations: vec![observation_of_logs(names, &logs, registers)?], broken })
    }
}

/// The machine that this runs on: sysfs needs no library and no privileges, the log needs the latter. Another TPM is asked
/// where --tcti names one.
fn live(args: &CompareArgs, sides: &mut Sides) -> anyhow::Result<()> {
    let root = &args.live_root;
    sides.registers = Some(match tpm::values(args.tcti.as_deref(), root)? {
        Some(asked_for) => asked_for,
        None => {
            let folder = root.join("sys/class/tpm/tpm0");
            let values = read_registers(&folder).map_err(|error| {
                hinted(
                    format!("{}: {error}", folder.display()),
                    "--live reads PCR values that Linux from 5.12 on has in sysfs; elsewhere use --tcti (in a build with the \
                     feature tpm), or give the output of tpm2_pcrread",
                )
            })?;
            (folder.display().to_string(), values)
        }
    });
    let logs = ["sys/kernel/security/tpm0/binary_bios_measurements", "run/log/systemd/tpm2-measure.log"];
    for (number, path) in logs.iter().enumerate() {
        let path = root.join(path);
        match std::fs::read(&path) {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => sides.logs.push((display_name(&path), bytes)),
            Err(error) if number == 0 => {
                warn(format!("{}: {error}; values are compared without the log", path.display()));
            }
            // Only some systems have systemd's log.
            Err(_) => {}
        }
    }
    Ok(())
}

/// Finds out what a file is. Policies are only looked for where they make sense.
fn identify(path: &Path, format: Option<&str>, policies: bool) -> anyhow::Result<Content> {
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
    if let Some(values) = registers(&bytes)? {
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
fn registers(bytes: &[u8]) -> anyhow::Result<Option<PcrValues>> {
    if bytes.len() as u64 > 1 << 20 {
        return Ok(None);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return Ok(None) };
    let values = parse_registers(text).ok();
    Ok(values.filter(|values| values.banks().next().is_some()))
}

/// What a machine did before: its logs, or the values alone where it has no log.
fn of_capture(name: &str, capture: &Capture) -> anyhow::Result<Expectation> {
    let bytes = capture.log_bytes().with_context(|| name.to_owned())?;
    let logs: Vec<BootLog<'_>> = bytes.iter().map(|(_, bytes)| BootLog::read(bytes)).collect();
    if let Some(error) = logs.iter().find_map(|log| log.error.as_ref()) {
        return Err(hinted(format!("{name}: {error}"), "a log that is expected has to be whole"));
    }
    match capture.values().with_context(|| name.to_owned())? {
        _ if !logs.is_empty() => Ok(expectation_of_logs(name, &logs)?),
        Some(values) => Ok(of_registers(name, &values)),
        None => Err(hinted(format!("{name}: has neither logs nor PCR values"), "capture the machine again")),
    }
}

/// Values that a machine had before are what is expected of it.
fn of_registers(name: &str, values: &PcrValues) -> Expectation {
    let pcrs = PcrIndex::all().filter_map(|pcr| {
        let digests: DigestSet = values.banks().filter_map(|(bank, _)| values.get(bank, pcr)).collect();
        let value = ExpectedValue { stage: None, digests };
        (!value.digests.is_empty())
            .then(|| (pcr, ExpectedPcr { values: vec![value], ..ExpectedPcr::default() }))
    });
    let candidates = vec![Candidate { pcrs: pcrs.collect(), ..Candidate::default() }];
    let registers = RegisterKind::Pcr;
    Expectation {
        name: name.to_owned(),
        kind: Kind::Registers,
        format: "registers".to_owned(),
        registers,
        candidates,
    }
}
