//! What the integration tests share: the binary under test, the fixtures, and readers of their own that serve as oracles.
#![allow(dead_code, reason = "each test binary uses its own part of this module")]

pub(crate) mod boots;
pub(crate) mod disks;
pub(crate) mod document;
pub(crate) mod fuzz_inputs;
pub(crate) mod pe_builder;
pub(crate) mod tcg2;
pub(crate) mod tpm;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// PCR values by bank and index, as `pcrs.json` and `--format pcrs` have them.
pub(crate) type Pcrs = BTreeMap<String, BTreeMap<String, String>>;

/// All banks of the fixtures' TPM.
pub(crate) const BANKS: [&str; 4] = ["sha1", "sha256", "sha384", "sha512"];

/// A finished run of the binary.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Run {
    /// Standard output as JSON of a run that has to succeed.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("not the JSON that was expected: {error}\n{}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Runs `premeasure` without a terminal and without standard input.
pub(crate) fn premeasure(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_premeasure"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Run { code: output.status.code(), stdout: output.stdout, stderr }
}

/// A file or folder below `fixtures/`.
pub(crate) fn fixture(path: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path)
}

/// The folder for what tests write, inside `target`.
pub(crate) fn scratch() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

pub(crate) fn read(path: impl AsRef<Path>) -> Vec<u8> {
    let path = path.as_ref();
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: impl AsRef<Path>) -> T {
    let path = path.as_ref();
    serde_json::from_slice(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Prints past the test harness, which hides the output of tests that pass.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// True, and says so, when one of `tools` is not installed. A tool named in `PREMEASURE_REQUIRE_TOOLS` must not be missing: a
/// run that is meant to be complete does not skip silently.
pub(crate) fn skipped_without(tools: &[&str]) -> bool {
    let missing: Vec<&str> = tools.iter().copied().filter(|tool| find_tool(tool).is_none()).collect();
    if missing.is_empty() {
        return false;
    }
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let message = format!("SKIPPED {test}: not installed: {}", missing.join(", "));
    let required = std::env::var("PREMEASURE_REQUIRE_TOOLS").unwrap_or_default();
    assert!(!required.split_whitespace().any(|tool| missing.contains(&tool)), "{message}");
    say(&message);
    true
}

/// Full path of a program in `PATH`, or `tool` itself if it is an absolute path that exists.
pub(crate) fn find_tool(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(tool)).find(|program| program.is_file())
}

/// Runs a tool that has to succeed and returns its standard output.
pub(crate) fn tool(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
