//! Replaying a folder of logs: every core busy, memory flat, one line for each log.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::filter::unknown_bank;
use super::input::{is_sound, logs_of, read_log, unusable, with_registers};
use super::nv::{self, Indices, nv_indices};
use super::replay::{Incomplete, Registers, ReplayArgs, incomplete, registers, warnings};
use crate::cli::output::{self, EXIT_ERROR, plain_json, printable};
use crate::tcg::HashAlgorithm;
use crate::tcg::eventlog::{RegisterKind, Replay};
use crate::tcg::timeline::{self, BootLog};

/// Logs that are read before their lines are written: enough for every core, few enough to hold.
const BATCH: usize = 64;

/// One log.
#[derive(Serialize)]
struct Line<'l> {
    log: &'l str,
    format: String,
    registers: &'static str,
    events: usize,
    values: Registers,
    #[serde(skip_serializing_if = "Indices::is_empty")]
    nv: Indices,
    #[serde(skip_serializing_if = "Incomplete::is_empty")]
    incomplete: Incomplete,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Default)]
struct Outcome {
    text: String,
    error: Option<String>,
    /// What the logs have digests of.
    banks: Vec<HashAlgorithm>,
}

pub(super) fn run(args: &ReplayArgs, folder: &Path) -> anyhow::Result<ExitCode> {
    let mut paths = Vec::new();
    collect(folder, &mut paths)?;
    paths.sort();
    if paths.is_empty() {
        return Err(output::hinted(
            format!("{}: no files in it", folder.display()),
            "name a folder with logs",
        ));
    }
    let bar = bar(paths.len());
    let mut failed = 0_usize;
    let mut banks = BTreeSet::new();
    for batch in paths.chunks(BATCH) {
        for (path, outcome) in batch.iter().zip(replay_all(args, folder, batch)) {
            bar.inc(1);
            output::print(&outcome.text)?;
            banks.extend(outcome.banks);
            if let Some(error) = outcome.error {
                failed = failed.saturating_add(1);
                bar.suspend(|| output::warn(format!("{}: {error}", path.display())));
            }
        }
    }
    bar.finish_and_clear();
    if let Some(bank) = args.bank.iter().find(|bank| !banks.contains(bank)) {
        return Err(unknown_bank(*bank, &banks.into_iter().collect::<Vec<_>>()));
    }
    if failed > 0 {
        output::note(format!("{failed} of {} files are no sound logs", paths.len()));
        return Ok(ExitCode::from(EXIT_ERROR));
    }
    Ok(ExitCode::SUCCESS)
}

/// The line of one log.
pub(super) fn line(name: &str, log: &BootLog<'_>, banks: &[HashAlgorithm]) -> anyhow::Result<String> {
    line_of(name, std::slice::from_ref(log), banks)
}

/// The line of a machine with several logs.
fn line_of(name: &str, logs: &[BootLog<'_>], banks: &[HashAlgorithm]) -> anyhow::Result<String> {
    let (replay, kind) = timeline::replay(logs)?;
    let line = Line {
        log: name,
        format: formats(logs),
        registers: if kind == RegisterKind::Mr { "mr" } else { "pcr" },
        events: logs.iter().map(BootLog::len).fold(0, usize::saturating_add),
        values: registers(&replay.values(), banks),
        nv: nv::json(&nv_indices(logs)),
        incomplete: incomplete(&replay, banks),
        warnings: all_warnings(logs, &replay, banks),
        error: error_of(logs),
    };
    Ok(plain_json(&serde_json::to_string(&line)?).into_owned() + "\n")
}

fn formats(logs: &[BootLog<'_>]) -> String {
    logs.iter().map(|log| log.format.to_string()).collect::<Vec<_>>().join(", ")
}

fn error_of(logs: &[BootLog<'_>]) -> Option<String> {
    logs.iter().find_map(|log| log.error.as_ref()).map(ToString::to_string)
}

/// What is odd about logs and their values; nobody reads a warning on standard error of ten thousand logs.
fn all_warnings(logs: &[BootLog<'_>], replay: &Replay, wanted: &[HashAlgorithm]) -> Vec<String> {
    let junk = logs.iter().filter_map(BootLog::junk).map(|(offset, length)| {
        format!("{length} bytes at {offset:#x}, behind the last record, are no records")
    });
    let absent = wanted.iter().filter(|bank| !replay.banks().any(|other| other == **bank));
    let absent = absent.map(|bank| format!("the log has no {bank} digests"));
    warnings(replay).into_iter().chain(junk).chain(absent).collect()
}

/// Regular files of a folder and the folders in it. Links are not followed: a folder of captures has none, and a
/// hostile one must not lead elsewhere.
fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                paths.push(entry.path());
            }
        }
    }
    Ok(())
}

/// Replays a batch on all cores; the outcomes are in the order of the paths.
fn replay_all(args: &ReplayArgs, folder: &Path, batch: &[PathBuf]) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::with_capacity(batch.len()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(batch.len());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((index, path)) = take(&next, batch) {
                    let outcome = replay_one(args, folder, path);
                    if let Ok(mut outcomes) = outcomes.lock() {
                        outcomes.push((index, outcome));
                    }
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_default();
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn take<'b>(next: &AtomicUsize, batch: &'b [PathBuf]) -> Option<(usize, &'b PathBuf)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    batch.get(index).map(|path| (index, path))
}

fn replay_one(args: &ReplayArgs, folder: &Path, path: &Path) -> Outcome {
    let name = path.strip_prefix(folder).unwrap_or(path).display().to_string();
    replay_text(args, &name, path)
        .unwrap_or_else(|error| Outcome { error: Some(format!("{error:#}")), ..Outcome::default() })
}

fn replay_text(args: &ReplayArgs, name: &str, path: &Path) -> anyhow::Result<Outcome> {
    let files = logs_of(name, read_log(path)?, false)?;
    let logs: Vec<BootLog<'_>> =
        files.iter().map(|file| with_registers(BootLog::read(&file.bytes), args.input.registers)).collect();
    let error = error_of(&logs);
    if logs.iter().all(BootLog::is_empty) || (args.input.strict && !logs.iter().all(is_sound)) {
        // The caller names the file.
        let error = error.or_else(|| logs.iter().find(|log| !is_sound(log)).map(unusable));
        let error = error.or_else(|| Some("no records".to_owned()));
        return Ok(Outcome { error, ..Outcome::default() });
    }
    let banks = timeline::banks(&logs);
    if args.json_lines {
        return Ok(Outcome { text: line_of(name, &logs, &args.bank)?, error, banks });
    }
    let (replay, _) = timeline::replay(&logs)?;
    let warnings = all_warnings(&logs, &replay, &args.bank);
    let events = logs.iter().map(BootLog::len).fold(0, usize::saturating_add);
    let mut text = format!("{}: {}, {events} events\n", printable(name), formats(&logs));
    for (bank, registers) in registers(&replay.values(), &args.bank) {
        for (register, value) in registers {
            text.push_str(&format!("  {bank} {register:>2} {value}\n"));
        }
    }
    for warning in warnings {
        text.push_str(&format!("  warning: {}\n", printable(&warning)));
    }
    Ok(Outcome { text, error, banks })
}

fn bar(logs: usize) -> ProgressBar {
    // A bar for what is over in a moment would only flicker.
    if logs < 256 || !output::is_watched() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(logs as u64), ProgressDrawTarget::stderr_with_hz(10));
    match ProgressStyle::with_template("replaying {wide_bar} {pos}/{len} {per_sec}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
