//! The parts of a comparison's JSON that tests read, and the documents and values that they compare.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::support::{premeasure, scratch};

#[derive(Debug, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) equal: bool,
    pub(crate) expected: Expected,
    pub(crate) pcrs: Vec<Pcr>,
    pub(crate) causes: Vec<Cause>,
    pub(crate) unexplained: Vec<u32>,
    pub(crate) notes: Vec<String>,
    #[serde(default)]
    pub(crate) first_divergence: Option<Divergence>,
    pub(crate) events: Vec<Row>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Expected {
    pub(crate) variant: String,
    pub(crate) kind: String,
    pub(crate) format: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Pcr {
    pub(crate) index: u32,
    pub(crate) verdict: String,
    #[serde(default)]
    pub(crate) later_stage: Option<String>,
    #[serde(default)]
    pub(crate) later_words: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Cause {
    pub(crate) code: String,
    pub(crate) pcrs: Vec<u32>,
    pub(crate) explains_exactly: bool,
    pub(crate) detail: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Divergence {
    pub(crate) pcr: u32,
    pub(crate) status: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Row {
    pub(crate) pcr: u32,
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) changes: Vec<Change>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Change {
    pub(crate) field: String,
    #[serde(default)]
    pub(crate) expected: Option<String>,
    #[serde(default)]
    pub(crate) observed: Option<String>,
    #[serde(default)]
    pub(crate) words: Vec<Word>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Word {
    pub(crate) change: String,
    pub(crate) text: String,
}

impl Outcome {
    /// Registers with this verdict.
    pub(crate) fn with_verdict(&self, verdict: &str) -> Vec<u32> {
        self.pcrs.iter().filter(|pcr| pcr.verdict == verdict).map(|pcr| pcr.index).collect()
    }

    pub(crate) fn codes(&self) -> BTreeSet<&str> {
        self.causes.iter().map(|cause| cause.code.as_str()).collect()
    }

    /// The registers of all causes of a code.
    pub(crate) fn moved_by(&self, code: &str) -> Vec<u32> {
        let causes = self.causes.iter().filter(|cause| cause.code == code);
        let pcrs: BTreeSet<u32> = causes.flat_map(|cause| cause.pcrs.iter().copied()).collect();
        pcrs.into_iter().collect()
    }

    pub(crate) fn detail(&self, code: &str) -> &str {
        let cause = self.causes.iter().find(|cause| cause.code == code);
        cause.map_or("", |cause| cause.detail.as_str())
    }
}

/// Runs `compare` and reads its JSON, which has to be of its schema.
pub(crate) fn compare(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Outcome {
    let mut all: Vec<OsString> = vec!["compare".into()];
    all.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
    all.push("--json".into());
    let run = premeasure(&all);
    assert!(matches!(run.code, Some(0 | 1)), "{all:?}: {:?}: {}", run.code, run.stderr);
    let json: serde_json::Value = serde_json::from_slice(&run.stdout).expect("JSON");
    check_schema(&json, premeasure::compare::SCHEMA);
    let outcome: Outcome = serde_json::from_value(json).expect("a comparison");
    assert_eq!(run.code == Some(0), outcome.equal, "{all:?}");
    outcome
}

pub(crate) fn check_schema(json: &serde_json::Value, schema: &'static str) {
    thread_local! {
        static VALIDATORS: std::cell::RefCell<BTreeMap<&'static str, jsonschema::Validator>> = const {
            std::cell::RefCell::new(BTreeMap::new())
        };
    }
    VALIDATORS.with_borrow_mut(|validators| {
        let validator = validators.entry(schema).or_insert_with(|| {
            let schema = serde_json::from_str(schema).expect("a schema");
            jsonschema::validator_for(&schema).expect("a usable schema")
        });
        let errors: Vec<String> =
            validator.iter_errors(json).take(3).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "not of its schema: {errors:?}");
    });
}

/// The document of these arguments of `predict`, in the banks that machines have.
pub(crate) fn document(name: &str, arguments: Vec<OsString>) -> PathBuf {
    let path = folder().join(format!("{name}.json"));
    predict(arguments, &["-o".as_ref(), path.as_os_str()]);
    path
}

/// PCR values that these arguments of `predict` lead to, as a machine that boots so would have them.
pub(crate) fn values(name: &str, arguments: Vec<OsString>) -> PathBuf {
    let path = folder().join(format!("{name}.pcrs.json"));
    let text = predict(arguments, &["--format".as_ref(), "pcrs".as_ref()]);
    std::fs::write(&path, text).expect("written");
    path
}

fn predict(mut arguments: Vec<OsString>, more: &[&OsStr]) -> Vec<u8> {
    arguments.extend(["--bank".into(), "sha256".into()]);
    arguments.extend(more.iter().map(|argument| argument.into()));
    let run = premeasure(&arguments);
    assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.stderr);
    run.stdout
}

/// Values by bank and register, written to a file.
pub(crate) fn write_values(name: &str, values: &BTreeMap<&str, BTreeMap<String, String>>) -> PathBuf {
    let path = folder().join(format!("{name}.values.json"));
    std::fs::write(&path, serde_json::to_vec(values).expect("JSON")).expect("written");
    path
}

/// A folder of this process: tests of one binary run side by side in processes of their own.
pub(crate) fn folder() -> &'static Path {
    static FOLDER: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir_in(scratch()).expect("a temporary folder")).path()
}
