//! `premeasure log replay`: what the registers hold if the log is true.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::against::{compare, print_comparison, print_comparison_json};
use super::filter::known_banks;
use super::folder;
use super::input::{AgainstArgs, InputArgs};
use super::nv::{self, Indices, nv_indices};
use crate::cli::output::{self, EXIT_DIFFERS, FAINT, STRONG, hinted, print, print_json, styled};
use crate::cli::table::{Align, Cell, Table};
use crate::tcg::eventlog::{MeasurementRegister, Pcr0Start, RegisterKind, Replay};
use crate::tcg::timeline::{BootLog, LogFormat};
use crate::tcg::{HashAlgorithm, PcrIndex, PcrValues, timeline};

/// Compute the registers that logs lead to.
///
/// Several FILEs are logs of one boot: firmware's, IMA's, systemd's. A folder is many machines: each file in it is a
/// log of its own.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  premeasure log replay /sys/kernel/security/tpm0/binary_bios_measurements --against /sys/class/tpm/tpm0
  premeasure log replay eventlog.bin tpm2-measure.log --json
  premeasure log replay eventlog.bin --against pcrs.json --machine-id 0123456789abcdef0123456789abcdef
  premeasure log replay logs/ --json-lines > registers.jsonl")]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    pub(super) input: InputArgs,

    /// As JSON: {"sha256": {"0": "hex"}}; registers of a confidential guest by their index in the log
    #[arg(long)]
    json: bool,

    /// One JSON object for each log of a folder, on a line of its own
    #[arg(long, conflicts_with_all = ["json", "against"])]
    pub(super) json_lines: bool,

    #[command(flatten)]
    against: AgainstArgs,

    /// Only these banks
    #[arg(long, value_name = "BANK", value_delimiter = ',')]
    pub(super) bank: Vec<HashAlgorithm>,
}

pub(super) fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    if let [folder] = args.input.files.as_slice()
        && folder.is_dir()
    {
        args.accept_folder(folder)?;
        return folder::run(args, folder);
    }
    let files = args.input.read()?;
    let logs = args.input.parse(&files)?;
    known_banks(&logs.logs, &args.bank)?;
    if args.json_lines {
        for (name, log) in logs.names.iter().zip(&logs.logs) {
            output::print(&folder::line(name, log, &args.bank)?)?;
        }
        return Ok(logs.report(ExitCode::SUCCESS));
    }
    let outcome = timeline::replay(&logs.logs)?;
    let indices = nv_indices(&logs.logs);
    let against = args.against.values()?;
    say(&logs.logs, &outcome.0);
    let code = match against {
        Some((given, machine_id)) => {
            let comparison = compare(&logs.logs, &outcome, &given, machine_id.as_deref(), &args.bank);
            if args.json {
                print_comparison_json(&comparison, logs.error())?;
            } else {
                print_comparison(&comparison)?;
            }
            if comparison.differs() { ExitCode::from(EXIT_DIFFERS) } else { ExitCode::SUCCESS }
        }
        None if args.json => {
            print_json(&Values {
                banks: json(&outcome.0, &args.bank),
                nv: nv::json(&indices),
                incomplete: incomplete(&outcome.0, &args.bank),
                error: logs.error(),
            })?;
            ExitCode::SUCCESS
        }
        None => {
            print(&(table(&outcome.0, outcome.1, &args.bank) + &nv::table(&indices)))?;
            ExitCode::SUCCESS
        }
    };
    Ok(logs.report(code))
}

impl ReplayArgs {
    /// A folder is many machines: what is about one machine does not fit.
    fn accept_folder(&self, folder: &Path) -> anyhow::Result<()> {
        let name = folder.display();
        if self.against.is_given() {
            let text = format!("{name}: is a folder, so many machines; --against has the values of one");
            return Err(hinted(text, "name the logs of that machine"));
        }
        if self.json {
            let text = format!("{name}: is a folder, and --json prints one object for one machine");
            return Err(hinted(text, "use --json-lines"));
        }
        Ok(())
    }
}

/// The document of `--json`.
#[derive(Serialize)]
struct Values {
    #[serde(flatten)]
    banks: Registers,
    #[serde(skip_serializing_if = "Indices::is_empty")]
    nv: Indices,
    #[serde(skip_serializing_if = "Incomplete::is_empty")]
    incomplete: Incomplete,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Registers by bank that have events without a digest of that bank.
pub(super) type Incomplete = BTreeMap<&'static str, Vec<u8>>;

pub(super) fn incomplete(replay: &Replay, banks: &[HashAlgorithm]) -> Incomplete {
    let registers = |bank| replay.incomplete(bank).into_iter().map(PcrIndex::get).collect();
    let rows = replay.banks().filter(|bank| wanted(*bank, banks)).map(|bank| (bank.name(), registers(bank)));
    rows.filter(|(_, registers): &(_, Vec<u8>)| !registers.is_empty()).collect()
}

/// Banks with their registers, by index: the shape of `--format pcrs`.
pub(super) type Registers = BTreeMap<&'static str, BTreeMap<u8, String>>;

fn json(replay: &Replay, banks: &[HashAlgorithm]) -> Registers {
    let mut registers = registers(&replay.values(), banks);
    // A bank that the log declares is there, even if nothing was extended.
    for bank in replay.banks().filter(|bank| wanted(*bank, banks)) {
        registers.entry(bank.name()).or_default();
    }
    registers
}

pub(super) fn registers(values: &PcrValues, banks: &[HashAlgorithm]) -> Registers {
    let wanted = values.banks().filter(|(bank, _)| wanted(*bank, banks));
    wanted
        .map(|(bank, values)| {
            (bank.name(), values.iter().map(|(pcr, value)| (pcr.get(), value.to_string())).collect())
        })
        .collect()
}

pub(super) fn wanted(bank: HashAlgorithm, banks: &[HashAlgorithm]) -> bool {
    banks.is_empty() || banks.contains(&bank)
}

/// The name of a register; of a confidential guest's, also the PCRs that share it.
pub(super) fn register_name(kind: RegisterKind, register: PcrIndex) -> String {
    match (kind, MeasurementRegister::try_from(u32::from(register.get()))) {
        (RegisterKind::Pcr, _) => register.name().to_owned(),
        (RegisterKind::Mr, Err(_)) => String::new(),
        (RegisterKind::Mr, Ok(register)) => {
            let pcrs: Vec<String> = register.pcrs().map(|pcr| pcr.to_string()).collect();
            match pcrs.as_slice() {
                [] => register.name().to_owned(),
                [..] => format!("{} (PCR {})", register.name(), pcrs.join(", ")),
            }
        }
    }
}

fn table(replay: &Replay, kind: RegisterKind, banks: &[HashAlgorithm]) -> String {
    let mut text = String::new();
    for (bank, values) in replay.values().banks().filter(|(bank, _)| wanted(*bank, banks)) {
        text.push_str(&styled(STRONG, bank));
        text.push('\n');
        let mut table = Table::new([("", Align::Right), ("", Align::Left), ("", Align::Left)]);
        for (pcr, value) in values {
            let name = Cell::styled(register_name(kind, *pcr), FAINT);
            table.row([Cell::from(pcr.to_string()), name, Cell::from(value.to_string())]);
        }
        text.push_str(&table.render(2));
    }
    text
}

/// What a reader of the values has to know.
fn say(logs: &[BootLog<'_>], replay: &Replay) {
    for warning in warnings(replay) {
        output::warn(warning);
    }
    let ima = logs.iter().any(|log| matches!(log.format, LogFormat::ImaBinary | LogFormat::ImaAscii));
    if ima {
        output::note(
            "PCR 10: other banks than sha1 are as Linux 5.8 and later extend them, with that hash built in",
        );
    }
    if let Some(start) = replay.pcr0_start() {
        output::note(format!("PCR 0 starts with {} in its last byte: {start}", start.last_byte()));
    }
}

/// Why values may not be those of the machine.
pub(super) fn warnings(replay: &Replay) -> Vec<String> {
    let mut warnings = Vec::new();
    for left_out in &replay.left_out {
        warnings.push(format!(
            "event {} names register {}, which can't be extended: left out",
            left_out.number, left_out.register
        ));
    }
    if let Some(locality) =
        replay.pcr0_start().map(Pcr0Start::last_byte).filter(|byte| !matches!(byte, 0 | 3 | 4))
    {
        warnings.push(format!("StartupLocality {locality}: a TPM is started from locality 0, 3 or 4"));
    }
    for algorithm in &replay.not_computed {
        warnings.push(format!("the log has digests of {algorithm}, which this program can't compute"));
    }
    for bank in replay.banks() {
        let missing = replay.missing(bank);
        if missing > 0 {
            let registers: Vec<String> =
                replay.incomplete(bank).iter().map(|register| register.get().to_string()).collect();
            warnings.push(format!(
                "{missing} events have no {bank} digest: that bank's registers are not complete ({})",
                registers.join(", ")
            ));
        }
    }
    warnings
}
