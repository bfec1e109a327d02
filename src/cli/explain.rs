//! `premeasure explain`: the measurements as a story.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::input::open;
use super::output::{CAUTION, FAINT, GOOD, STRONG, hinted, print, printable, styled};
use super::predict::{BootArgs, predictions};
use super::validate::MAX_DOCUMENT;
use crate::reference::{BankDigests, Document, MeasurementEntry, RegisterEntry, VariantEntry, check, parse};
use crate::tcg::eventlog::MeasurementRegister;
use crate::tcg::{Digest, HashAlgorithm, PcrIndex, extend};

/// Tell how the PCR values come about, measurement by measurement.
///
/// Takes a unified kernel image, a disk image, a boot partition or a folder, which are predicted with the same options as
/// `predict` has, or a document that `predict` wrote. Each measurement is shown with who makes it, from which bytes, why we know, and what the PCR holds afterwards.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  premeasure explain uki.efi --pcr 11
  premeasure explain reference.json --pcr 4 --bank sha384")]
pub(super) struct ExplainArgs {
    /// A unified kernel image, a disk image, a boot partition, a folder, or a document; `-` for standard input
    file: PathBuf,
    #[command(flatten)]
    boot: BootArgs,
    /// PCR to explain, repeatable or separated by commas [default: all]
    #[arg(long = "pcr", value_name = "N", value_delimiter = ',')]
    pcrs: Vec<u32>,
}

pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let pcrs: Vec<PcrIndex> =
        args.pcrs.iter().map(|pcr| PcrIndex::try_from(*pcr)).collect::<Result<_, _>>()?;
    let document = document(&args.file, &args.boot)?;
    let bank = bank(&document, &args.boot)?;
    let mut text = String::new();
    for variant in &document.variants {
        tell(&document, variant, bank, &pcrs, &mut text);
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Reads a document, or predicts an image; told apart by the first byte.
fn document(path: &Path, boot: &BootArgs) -> anyhow::Result<Document> {
    let name = || path.display().to_string();
    if path.is_dir() {
        let predictions = predictions(path, boot, true)?;
        predictions.warn();
        return predictions.document();
    }
    if path.as_os_str() != "-" {
        let file = open(path)?;
        let start = file.read_prefix(64).with_context(name)?;
        if start.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            let predictions = predictions(path, boot, true)?;
            predictions.warn();
            return predictions.document();
        }
    }
    let bytes = super::input::read_small(path, MAX_DOCUMENT)?;
    let document = parse(&bytes).map_err(|error| {
        hinted(
            format!("{}: {error}", name()),
            "name a UKI, or a document that premeasure predict -o FILE wrote",
        )
    })?;
    if let Some(finding) = check(&document).first() {
        return Err(hinted(
            format!("{}: {finding}", name()),
            "premeasure validate lists all that is wrong with it",
        ));
    }
    Ok(document)
}

/// The bank that is shown: the one asked for, else SHA-256 if there, else the first.
fn bank(document: &Document, boot: &BootArgs) -> anyhow::Result<HashAlgorithm> {
    let banks: Vec<HashAlgorithm> = document.banks.iter().filter_map(|name| name.parse().ok()).collect();
    let wanted = boot.banks().first().copied();
    let chosen = match wanted {
        Some(wanted) => banks.iter().find(|bank| **bank == wanted),
        None => banks.iter().find(|bank| **bank == HashAlgorithm::Sha256).or(banks.first()),
    };
    chosen.copied().ok_or_else(|| {
        hinted("the document does not have that bank", format!("it has {}", document.banks.join(", ")))
    })
}

fn tell(
    document: &Document,
    variant: &VariantEntry,
    bank: HashAlgorithm,
    only: &[PcrIndex],
    text: &mut String,
) {
    let _ = writeln!(text, "{}", styled(STRONG, printable(&title(document, variant))));
    let starts = PcrIndex::all().map(|pcr| (format!("PCR {pcr}"), start_value(variant, pcr, bank)));
    let wanted = |of: &MeasurementEntry| only.is_empty() || only.iter().any(|pcr| pcr.get() == of.pcr);
    tell_boot(document, variant, &variant.measurements, (bank, starts.collect()), &wanted, text);
    if let Some(guest) = &variant.guest {
        let bank = MeasurementRegister::BANK;
        let start = |of: &RegisterEntry| of.start.as_ref().and_then(|start| digest(start, bank));
        let starts = guest.registers.iter();
        let starts = starts.map(|of| (of.name.clone(), Some(start(of).unwrap_or(Digest::zero(bank)))));
        let _ = writeln!(text, "\n{}", styled(STRONG, "Registers of the confidential guest"));
        tell_boot(document, variant, &guest.measurements, (bank, starts.collect()), &wanted, text);
    }
    text.push('\n');
}

/// A bank, and the values that registers start from in it.
type Start = (HashAlgorithm, BTreeMap<String, Option<Digest>>);

fn tell_boot(
    document: &Document,
    variant: &VariantEntry,
    measurements: &[MeasurementEntry],
    (bank, mut values): Start,
    wanted: &dyn Fn(&MeasurementEntry) -> bool,
    text: &mut String,
) {
    let mut stage = "";
    let mut number = 0;
    for measurement in measurements {
        let register = register(measurement);
        let Some(value) = values.get_mut(&register) else { continue };
        *value = after(*value, measurement, bank);
        if !wanted(measurement) {
            continue;
        }
        if stage != measurement.stage {
            stage = &measurement.stage;
            let described = document.stages.iter().find(|entry| entry.id == stage);
            let description = described.map(|entry| entry.description.as_str()).unwrap_or_default();
            let _ = writeln!(
                text,
                "\n{}  {}",
                styled(STRONG, printable(stage)),
                styled(FAINT, format!("up to: {}", printable(description)))
            );
        }
        number += 1;
        tell_measurement(document, variant, measurement, number, *value, bank, text);
    }
}

/// The register that is extended, in words.
fn register(measurement: &MeasurementEntry) -> String {
    measurement.register.clone().unwrap_or_else(|| format!("PCR {}", measurement.pcr))
}

fn title(document: &Document, variant: &VariantEntry) -> String {
    let image = document.images.iter().find(|image| image.id == variant.image);
    let name = image.map_or(variant.image.as_str(), |image| image.name.as_str());
    format!("{name}: {}", variant.scenario)
}

fn start_value(variant: &VariantEntry, pcr: PcrIndex, bank: HashAlgorithm) -> Option<Digest> {
    let entry = variant.pcrs.iter().find(|entry| entry.index == pcr.get());
    entry.map_or_else(|| Some(pcr.start_value(bank)), |entry| entry.start_value(bank))
}

fn after(value: Option<Digest>, measurement: &MeasurementEntry, bank: HashAlgorithm) -> Option<Digest> {
    let digest = digest(measurement.digests.as_ref()?, bank)?;
    Some(extend(value?, digest))
}

fn digest(digests: &BankDigests, bank: HashAlgorithm) -> Option<Digest> {
    Digest::from_bytes(bank, &hex::decode(digests.get(bank.name())?).ok()?)
}

fn tell_measurement(
    document: &Document,
    variant: &VariantEntry,
    measurement: &MeasurementEntry,
    number: usize,
    value: Option<Digest>,
    bank: HashAlgorithm,
    text: &mut String,
) {
    let register = printable(&register(measurement)).to_string();
    let description = printable(&measurement.description);
    let rule = document.rules.iter().find(|rule| rule.id == measurement.rule);
    let digest = measurement.digests.as_ref().and_then(|digests| digest(digests, bank));
    let title = match digest {
        Some(_) => {
            let kind = measurement.event_type.as_deref().unwrap_or("by user space");
            format!("{}  {description}  {}", styled(STRONG, &register), styled(FAINT, printable(kind)))
        }
        None => {
            format!("{}  {}", styled(STRONG, &register), styled(CAUTION, format!("not known: {description}")))
        }
    };
    let _ = writeln!(text, "\n{number:>4}. {title}");
    let mut line = |label: &str, content: String| {
        let _ = writeln!(text, "      {label:<8}{content}");
    };
    if let Some(digest) = digest {
        line("digest", format!("{bank}:{digest}"));
        line("from", printable(&source_text(document, variant, measurement)));
    }
    if let Some(rule) = rule {
        line("why", printable(&rule.statement));
        line("", styled(FAINT, printable(&rule.source)));
    }
    match value {
        Some(value) => line("now", styled(GOOD, format!("{register} = {value}"))),
        None => line("now", styled(CAUTION, format!("{register} is not known from here on"))),
    }
}

/// Where the bytes come from, in words.
fn source_text(document: &Document, variant: &VariantEntry, measurement: &MeasurementEntry) -> String {
    let source = &measurement.source;
    let image = document.images.iter().find(|image| image.id == variant.image);
    let names: Vec<&str> = source
        .inputs
        .iter()
        .map(|id| {
            let input = image.and_then(|image| image.inputs.iter().find(|input| input.id == *id));
            input.map_or(id.as_str(), |input| input.name.as_str())
        })
        .collect();
    let names = names.join(", ");
    let place = || {
        let section = source.section.as_deref().unwrap_or_default();
        let (offset, length) = (source.offset.unwrap_or(0), source.length.unwrap_or(0));
        format!("section {section} of {names}: {length} bytes as loaded, at file offset {offset:#x}")
    };
    match source.kind.as_str() {
        "constant" => "a constant".to_owned(),
        "image" => format!("{names}, hashed as Authenticode does"),
        "section" => place(),
        "section-image" => format!("the image in {}, hashed as Authenticode does", place()),
        "observed" => format!("observed in {names}"),
        "derived" if names.is_empty() => "made at boot".to_owned(),
        "derived" => format!("made at boot from {names}"),
        "option" => format!("given as {}", source.option.as_deref().unwrap_or_default()),
        _ => "not known".to_owned(),
    }
}
