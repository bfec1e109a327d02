//! Reading the logs that the command line names, and saying what is wrong with them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};

use crate::capture::{Capture, is_capture};
use crate::cli::input::display_name;
use crate::cli::output::{self, EXIT_ERROR, hinted};
use crate::cli::predict::machine_id;
use crate::source::read_registers;
use crate::tcg::PcrValues;
use crate::tcg::eventlog::{CcelTable, RegisterKind};
use crate::tcg::timeline::{BootLog, overlaps};

/// Bytes of a log. Firmware's areas have up to a mebibyte; IMA logs of busy servers have tens.
pub(in crate::cli) const MAX_LOG: u64 = 64 << 20;

/// What all commands of this group take.
#[derive(Debug, Args)]
pub(super) struct InputArgs {
    /// Logs of one boot; `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,

    /// Print nothing when a log is not sound to its end
    #[arg(long)]
    pub(super) strict: bool,

    /// What the indices of a firmware log mean, where its header does not tell: `pcr` of a TPM, `mr` of a
    /// confidential guest
    #[arg(long, value_name = "KIND")]
    pub(super) registers: Option<Registers>,
}

/// Values of the machine that logs are held against.
#[derive(Debug, Args)]
pub(super) struct AgainstArgs {
    /// Compare with values from the machine: JSON, output of tpm2_pcrread, or a folder like /sys/class/tpm/tpm0
    #[arg(long, value_name = "PATH")]
    against: Option<PathBuf>,

    /// The machine's id, or the file that holds it: tried where PCR 15 went on after the log
    #[arg(long, value_name = "ID", requires = "against")]
    machine_id: Option<String>,
}

impl AgainstArgs {
    pub(super) fn is_given(&self) -> bool {
        self.against.is_some()
    }

    /// The values, and the machine id.
    pub(super) fn values(&self) -> anyhow::Result<Option<(PcrValues, Option<String>)>> {
        let Some(path) = &self.against else { return Ok(None) };
        let given = given(path).with_context(|| path.display().to_string())?;
        let id = self.machine_id.as_deref().map(read_machine_id).transpose()?;
        Ok(Some((given, id)))
    }
}

/// Values of a listing, or of a capture.
fn given(path: &Path) -> anyhow::Result<PcrValues> {
    if path.is_file() {
        let bytes = read_log(path)?;
        if is_capture(&bytes) {
            let values = Capture::parse(&bytes)?.values()?;
            return values.ok_or_else(|| anyhow::anyhow!("no register values in it"));
        }
    }
    Ok(read_registers(path)?)
}

/// 32 hexadecimal digits, or a file with them, as /etc/machine-id.
fn read_machine_id(id: &str) -> anyhow::Result<String> {
    let path = Path::new(id);
    if path.is_file() {
        let mut text = String::new();
        File::open(path)?.take(64).read_to_string(&mut text).with_context(|| id.to_owned())?;
        return machine_id(text.trim());
    }
    machine_id(id)
}

/// [`RegisterKind`] on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Registers {
    Pcr,
    Mr,
}

/// The bytes of the logs, with the names to call them.
pub(super) struct Files(Vec<LogFile>);

/// The bytes of a log.
pub(super) struct LogFile {
    name: String,
    pub(super) bytes: Vec<u8>,
    /// Events whose data was masked, as a capture says.
    masked: Vec<u64>,
}

/// The logs, and what must be said about them.
pub(super) struct Logs<'f> {
    pub(super) names: Vec<&'f str>,
    pub(super) logs: Vec<BootLog<'f>>,
    /// Of each log, the events whose data was masked.
    pub(super) masked: Vec<&'f [u64]>,
}

impl InputArgs {
    pub(super) fn read(&self) -> anyhow::Result<Files> {
        let mut files = Vec::new();
        for path in &self.files {
            files.extend(logs_of(&display_name(path), read_log(path)?, true)?);
        }
        Ok(Files(files))
    }

    /// Reads the logs and reports where they end early. An error when there is nothing to work with.
    pub(super) fn parse<'f>(&self, files: &'f Files) -> anyhow::Result<Logs<'f>> {
        let mut names = Vec::new();
        let mut logs = Vec::new();
        let mut masked = Vec::new();
        for LogFile { name, bytes, masked: events } in &files.0 {
            let log = with_registers(BootLog::read(bytes), self.registers);
            if log.is_empty() || (self.strict && !is_sound(&log)) {
                return Err(unusable_file(name, &log, bytes));
            }
            names.push(name.as_str());
            logs.push(log);
            masked.push(events.as_slice());
        }
        let logs = Logs { names, logs, masked };
        logs.say_overlaps();
        Ok(logs)
    }
}

/// The logs of a file: those of a capture, or the one that it is.
pub(super) fn logs_of(name: &str, bytes: Vec<u8>, remark: bool) -> anyhow::Result<Vec<LogFile>> {
    if !is_capture(&bytes) {
        return Ok(vec![LogFile { name: name.to_owned(), bytes, masked: Vec::new() }]);
    }
    let capture = Capture::parse(&bytes).with_context(|| name.to_owned())?;
    let logs = capture.log_bytes().with_context(|| name.to_owned())?;
    if logs.is_empty() {
        return Err(hinted(format!("{name}: no log is in this capture"), "compare reads its PCR values"));
    }
    if let Some(text) = capture.remark().filter(|_| remark) {
        output::note(format!("{name}: {text}"));
    }
    let file = |(log, bytes): (&str, Vec<u8>)| {
        let masked = capture.logs.get(log).map(|log| log.masked_events.clone()).unwrap_or_default();
        LogFile { name: format!("{name}: {log}"), bytes, masked }
    };
    Ok(logs.into_iter().map(file).collect())
}

/// Reads a log by `--registers`.
pub(super) fn with_registers(log: BootLog<'_>, registers: Option<Registers>) -> BootLog<'_> {
    match registers {
        Some(Registers::Pcr) => log.with_register_kind(RegisterKind::Pcr),
        Some(Registers::Mr) => log.with_register_kind(RegisterKind::Mr),
        None => log,
    }
}

impl Logs<'_> {
    /// Says which records are taken once although two logs have them.
    fn say_overlaps(&self) {
        let name = |index: usize| self.names.get(index).copied().unwrap_or_default();
        for overlap in overlaps(&self.logs) {
            output::note(format!(
                "{}: its first {} records are those that {} ends with: taken once",
                name(overlap.log),
                overlap.records,
                name(overlap.earlier)
            ));
        }
    }

    /// Why a log ends early, for documents: the first that does, by its name when there are several.
    pub(super) fn error(&self) -> Option<String> {
        let mut broken =
            self.names.iter().zip(&self.logs).filter_map(|(name, log)| Some((name, log.error.as_ref()?)));
        broken.next().map(
            |(name, error)| {
                if self.logs.len() > 1 { format!("{name}: {error}") } else { error.to_string() }
            },
        )
    }

    /// Says on standard error where logs end early, and gives the exit code that follows from it.
    pub(super) fn report(&self, code: ExitCode) -> ExitCode {
        let mut broken = false;
        for (name, log) in self.names.iter().zip(&self.logs) {
            if let Some(error) = &log.error {
                broken = true;
                let records = log.len();
                let text = format!("{name}: {error}; the {records} records before it are sound");
                output::report(&hinted(
                    text,
                    "take the log again, or use --strict to accept sound logs only",
                ));
            }
            if let Some((offset, length)) = log.junk() {
                output::warn(format!(
                    "{name}: {length} bytes at {offset:#x}, behind the last record, are no records"
                ));
            }
        }
        if broken { ExitCode::from(EXIT_ERROR) } else { code }
    }
}

/// Read to its end, and nothing behind it.
pub(super) fn is_sound(log: &BootLog<'_>) -> bool {
    log.error.is_none() && log.junk().is_none()
}

/// Why a log can't be used.
pub(super) fn unusable(log: &BootLog<'_>) -> String {
    match (&log.error, log.junk()) {
        (Some(error), _) => error.to_string(),
        (None, Some((offset, length))) => format!("{length} bytes at {offset:#x} behind the last record"),
        (None, None) => "no records".to_owned(),
    }
}

fn unusable_file(name: &str, log: &BootLog<'_>, bytes: &[u8]) -> anyhow::Error {
    let text = format!("{name}: {}", unusable(log));
    if log.is_empty() && bytes.starts_with(b"CCEL") && bytes.len() as u64 <= u64::from(CcelTable::SIZE) {
        return hinted(
            format!("{name}: is the ACPI table CCEL alone, which only says where the log lies"),
            "name the log: Linux has it as /sys/firmware/acpi/tables/data/CCEL",
        );
    }
    hinted(
        text,
        match &log.error {
            Some(_) if log.is_empty() => {
                "expected an event log: TCG (SHA-1, crypto-agile, CCEL), CEL (JSON, CBOR, TLV), IMA, or systemd's tpm2-measure.log"
            }
            Some(_) => "without --strict the records before it are read",
            None => "without --strict they are ignored",
        },
    )
}

/// Reads a file to its end: the kernel's pseudo-files claim to have no length.
pub(super) fn read_log(path: &Path) -> anyhow::Result<Vec<u8>> {
    let read = || -> anyhow::Result<Vec<u8>> {
        if path.as_os_str() == "-" {
            return read_bounded(&mut io::stdin().lock());
        }
        let mut file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(hinted("is a directory", "name its files; `log replay` reads a directory of logs"));
        }
        read_bounded(&mut file)
    };
    read().with_context(|| path.display().to_string())
}

fn read_bounded(reader: &mut impl Read) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_LOG.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_LOG {
        return Err(hinted(format!("more than {MAX_LOG} bytes"), "an event log is smaller: is this one?"));
    }
    Ok(bytes)
}
