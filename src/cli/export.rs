//! `premeasure export`: from documents to what a consumer reads.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::format_options::FormatOptions;
use super::input::display_name;
use super::output::{hinted, note, print, print_bytes, refuse_overwriting, warn, write_to};
use super::table::{Align, Cell, Table};
use crate::boot::Stage;
use crate::export::{
    Accepted, Alternatives, BankRule, EXPORTERS, ExportError, Exporter, Loaded, Part, Request, StageRule,
    export, load,
};
use crate::sign::Signer;
use crate::tcg::{HashAlgorithm, PcrIndex};

/// Largest document that is read, in bytes.
const MAX_DOCUMENT: u64 = 256 << 20;

/// Write reference values in the form that an attestation service, a TPM tool or a script takes.
///
/// Takes documents of `premeasure predict -o`; several are merged (releases, slots, clouds). Only PCRs whose value is
/// known at the stage are written. One that is untouched only by assumption is written as enforced once every
/// assumption it rests on was accepted. What is left out, and why, is said on standard error and in --report.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  premeasure export --list-formats
  premeasure export reference.json --format keylime
  premeasure export a.json b.json --format trustee --accept-assumption all -o trustee/
  premeasure export reference.json --format trustee --part policy
  premeasure export reference.json --format pcrsig --key tpm2-pcr-private.pem -o tpm2-pcr-signature.json")]
pub(super) struct ExportArgs {
    /// Documents of `premeasure predict -o`; `-` for standard input
    #[arg(required_unless_present = "list_formats", value_name = "DOC")]
    documents: Vec<PathBuf>,
    /// Format to write; --list-formats describes them
    #[arg(long, value_name = "NAME", value_parser = format_parser(), required_unless_present = "list_formats")]
    format: Option<&'static Exporter>,
    /// List the formats: who reads them, how they are fed, what they can't say
    #[arg(long, conflicts_with_all = ["documents", "format"])]
    list_formats: bool,
    /// With --list-formats: as JSON
    #[arg(long, requires = "list_formats")]
    json: bool,
    /// Moment of the boot that the consumer sees [default: the format's]
    #[arg(long, value_name = "STAGE", value_parser = super::predict::stage_parser(), help_heading = "Selection")]
    stage: Option<Stage>,
    /// Bank [default: the format's]
    #[arg(long, value_name = "BANK", value_parser = super::predict::parse_bank, help_heading = "Selection")]
    bank: Option<HashAlgorithm>,
    /// Variant to export, repeatable [default: all of all documents]
    #[arg(long = "variant", value_name = "ID", help_heading = "Selection")]
    variants: Vec<String>,
    /// PCR to export, repeatable or separated by commas [default: all that the format carries]
    #[arg(long = "pcr", value_name = "N", value_delimiter = ',', help_heading = "Selection")]
    pcrs: Vec<u32>,
    /// Assumption that holds, repeatable or separated by commas; `all` accepts every one
    #[arg(long = "accept-assumption", value_name = "ID", value_delimiter = ',', help_heading = "Selection")]
    accepted: Vec<String>,
    /// Where to write: a file, a folder where the format has several files, or - for standard output
    #[arg(short, long, value_name = "PATH", help_heading = "Output")]
    output: Option<PathBuf>,
    /// Write only this file of a format that has several
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    part: Option<String>,
    /// Write to FILE, as JSON, what was exported, what was left out, and why
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    report: Option<PathBuf>,
    #[command(flatten)]
    key: super::key::KeyArgs,
    #[command(flatten)]
    options: FormatOptions,
}

pub(super) fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let Some(exporter) = args.format else { return list(args.json) };
    let signer = args.key.signer()?;
    if signer.is_some() && !exporter.signs {
        return Err(hinted(
            format!("--key is no option of {}", exporter.name),
            "premeasure sign signs what was exported",
        ));
    }
    let documents: Vec<Loaded> =
        args.documents.iter().map(|path| load_document(path)).collect::<Result<_, _>>()?;
    let request = request(args, signer.as_deref())?;
    let (output, report) = export(exporter, &documents, &request).map_err(explain)?;
    spare_inputs(args, &output.parts)?;
    report.notes.iter().for_each(note);
    report.warnings.iter().for_each(warn);
    write(exporter, &output.parts, args)?;
    if let Some(path) = &args.report {
        write_to(path, report.json().as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads and checks a document.
pub(super) fn load_document(path: &Path) -> anyhow::Result<Loaded> {
    let blob = super::input::open(path)?;
    // An image may be larger than any document; its first bytes say enough.
    let bytes = match blob.read_prefix(2)?.as_slice() {
        magic @ b"MZ" => magic.to_vec(),
        _ => blob.read(MAX_DOCUMENT).with_context(|| path.display().to_string())?,
    };
    load(&display_name(path), &bytes).map_err(|error| {
        let hint = error.hint();
        hinted(error.to_string(), hint)
    })
}

fn request<'a>(args: &ExportArgs, signer: Option<&'a dyn Signer>) -> anyhow::Result<Request<'a>> {
    let pcrs =
        args.pcrs.iter().map(|pcr| Ok(PcrIndex::try_from(*pcr)?.get())).collect::<anyhow::Result<_>>()?;
    let all = args.accepted.iter().any(|id| id == "all");
    let ids = args.accepted.iter().filter(|id| *id != "all").cloned().collect();
    Ok(Request {
        stage: args.stage,
        bank: args.bank,
        variants: args.variants.clone(),
        pcrs,
        accepted: Accepted { all, ids },
        options: args.options.read()?,
        signer,
        part: args.part.clone(),
    })
}

fn explain(error: ExportError) -> anyhow::Error {
    match error.hint() {
        Some(hint) => hinted(error.to_string(), hint),
        None => error.into(),
    }
}

/// What is read must not be overwritten: a policy in the place of its document could not be made again.
fn spare_inputs(args: &ExportArgs, parts: &[Part]) -> anyhow::Result<()> {
    let mut outputs: Vec<PathBuf> = args.report.iter().cloned().collect();
    if let Some(output) = &args.output {
        outputs.push(output.clone());
        outputs.extend(parts.iter().map(|part| output.join(&part.file)));
    }
    let inputs =
        args.documents.iter().map(PathBuf::as_path).chain(args.options.files()).chain(args.key.file());
    refuse_overwriting(outputs.iter().map(PathBuf::as_path), inputs)?;
    if args.report.is_some() && args.report == args.output {
        return Err(hinted("--report and --output name the same file", "write the report to another file"));
    }
    Ok(())
}

fn write(exporter: &Exporter, parts: &[Part], args: &ExportArgs) -> anyhow::Result<()> {
    let several = parts.len() > 1 || (!exporter.parts.is_empty() && args.part.is_none());
    match (&args.output, parts) {
        (Some(path), _) if several && path.as_os_str() != "-" => {
            write_folder(path, parts)?;
            remove_stale(exporter, path, parts, args.part.as_deref())
        }
        (Some(path), [part]) if !several => write_to(path, &part.bytes),
        (None, [part]) if !several => print_bytes(&part.bytes),
        _ => Err(hinted(
            format!("{} may consist of several files: {}", exporter.name, exporter.parts.join(", ")),
            "name a folder with -o DIR, or one file with --part NAME",
        )),
    }
}

/// Each file is replaced as a whole.
fn write_folder(folder: &Path, parts: &[Part]) -> anyhow::Result<()> {
    for part in parts {
        let path = folder.join(&part.file);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        }
        crate::source::write_atomically(&path, &part.bytes)?;
    }
    Ok(())
}

/// Removes what an earlier export left under names that this format writes: a variant of an old release would stay accepted.
fn remove_stale(
    exporter: &Exporter,
    folder: &Path,
    parts: &[Part],
    part: Option<&str>,
) -> anyhow::Result<()> {
    let entries = |folder: &Path| -> anyhow::Result<Vec<std::fs::DirEntry>> {
        let entries = std::fs::read_dir(folder).and_then(Iterator::collect);
        entries.with_context(|| folder.display().to_string())
    };
    let stale = |file: &str| {
        let owner = (exporter.owner)(file);
        owner.is_some_and(|owner| part.is_none_or(|part| part == owner))
            && !parts.iter().any(|written| written.file == file)
    };
    let remove = |entry: &std::fs::DirEntry| -> anyhow::Result<()> {
        let path = entry.path();
        std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
        note(format!("removed {}, which an earlier export left", path.display()));
        Ok(())
    };
    for entry in entries(folder)? {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type()?.is_dir() {
            if stale(&name) {
                remove(&entry)?;
            }
            continue;
        }
        // Other folders may be anybody's, and need not be readable.
        if !name.ends_with(".pcrlock.d") {
            continue;
        }
        let inside = entries(&entry.path())?;
        let file = |entry: &std::fs::DirEntry| format!("{name}/{}", entry.file_name().to_string_lossy());
        let old: Vec<_> = inside.iter().filter(|entry| stale(&file(entry))).collect();
        for entry in &old {
            remove(entry)?;
        }
        if !old.is_empty() && old.len() == inside.len() {
            std::fs::remove_dir(entry.path()).with_context(|| name.clone())?;
        }
    }
    Ok(())
}

fn list(json: bool) -> anyhow::Result<ExitCode> {
    if json {
        let formats: Vec<FormatEntry> = EXPORTERS.iter().map(|exporter| FormatEntry::of(exporter)).collect();
        super::output::print_json(&formats)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new([
        ("format", Align::Left),
        ("stage", Align::Left),
        ("bank", Align::Left),
        ("several boots", Align::Left),
        ("what", Align::Left),
    ]);
    for exporter in EXPORTERS {
        table.row([
            Cell::from(exporter.name),
            Cell::from(stage_words(exporter.stage)),
            Cell::from(bank_word(exporter.bank)),
            Cell::from(alternatives_word(exporter.alternatives)),
            Cell::from(exporter.summary),
        ]);
    }
    let mut text = table.render(0);
    for exporter in EXPORTERS {
        text.push_str(&format!(
            "\n{}: {}\n",
            super::output::styled(super::output::STRONG, exporter.name),
            exporter.summary
        ));
        text.push_str(&format!("  read by   {}\n  fed by    {}\n", exporter.reader, exporter.fed));
        for limit in exporter.limits {
            text.push_str(&format!("  mind      {limit}\n"));
        }
        if !exporter.parts.is_empty() {
            text.push_str(&format!("  parts     {}\n", exporter.parts.join(", ")));
        }
        for option in exporter.options {
            let need = if option.required { " (needed)" } else { "" };
            let default = option.default.map(|value| format!(" [default: {value}]")).unwrap_or_default();
            text.push_str(&format!(
                "  option    --{} {}{need}: {}{default}\n",
                option.name, option.value, option.help
            ));
        }
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

#[derive(serde::Serialize)]
struct FormatEntry {
    name: &'static str,
    summary: &'static str,
    reader: &'static str,
    fed: &'static str,
    limits: &'static [&'static str],
    stages: Vec<&'static str>,
    bank: &'static str,
    pcrs: &'static [u8],
    alternatives: &'static str,
    parts: &'static [&'static str],
    signs: bool,
    options: Vec<OptionEntry>,
}

#[derive(serde::Serialize)]
struct OptionEntry {
    name: &'static str,
    value: &'static str,
    help: &'static str,
    required: bool,
    default: Option<&'static str>,
}

impl FormatEntry {
    fn of(exporter: &Exporter) -> Self {
        let options = exporter.options.iter().map(|option| OptionEntry {
            name: option.name,
            value: option.value,
            help: option.help,
            required: option.required,
            default: option.default,
        });
        Self {
            name: exporter.name,
            summary: exporter.summary,
            reader: exporter.reader,
            fed: exporter.fed,
            limits: exporter.limits,
            stages: exporter.stage.default_stages().into_iter().map(Stage::name).collect(),
            bank: bank_word(exporter.bank),
            pcrs: exporter.pcrs,
            alternatives: alternatives_word(exporter.alternatives),
            parts: exporter.parts,
            signs: exporter.signs,
            options: options.collect(),
        }
    }
}

fn stage_words(rule: StageRule) -> String {
    match rule {
        StageRule::One(stage) => stage.name().to_owned(),
        StageRule::Fixed(stage) => format!("{stage} only"),
        StageRule::Several(_) => "each phase".to_owned(),
    }
}

fn bank_word(rule: BankRule) -> &'static str {
    match rule {
        BankRule::One(bank) | BankRule::Fixed(bank) => bank.name(),
        BankRule::All => "all",
    }
}

fn alternatives_word(alternatives: Alternatives) -> &'static str {
    match alternatives {
        Alternatives::Joint => "as wholes",
        Alternatives::PerPcr => "mixed",
        Alternatives::PerComponent => "part by part",
        Alternatives::None => "no",
    }
}

fn format_parser() -> impl clap::builder::TypedValueParser<Value = &'static Exporter> {
    use clap::builder::TypedValueParser;
    clap::builder::PossibleValuesParser::new(EXPORTERS.iter().map(|exporter| exporter.name)).try_map(|name| {
        EXPORTERS.iter().copied().find(|exporter| exporter.name == name).ok_or("unknown format")
    })
}
