//! What the two sides are, by their content.

use std::path::Path;

use anyhow::Context;

use super::CompareArgs;
use super::identify::{Content, identify};
use crate::capture::Capture;
use crate::cli::input::display_name;
use crate::cli::output::{hinted, note, report, warn};
use crate::cli::predict::{other_requests, predict_all, requests};
use crate::cli::tpm;
use crate::compare::hypotheses::{Evidence, image::evidence};
use crate::compare::{
    Candidate, Expectation, ExpectedPcr, ExpectedValue, Kind, Observation, Options, expectation_of_document,
    expectation_of_logs, expectation_of_policy, observation_of_logs, observations_of_document,
};
use crate::prediction::{Registers, Request};
use crate::reference::Document;
use crate::source::read_registers;
use crate::tcg::eventlog::RegisterKind;
use crate::tcg::timeline::BootLog;
use crate::tcg::{DigestSet, HashAlgorithm, PcrIndex, PcrValues};

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
