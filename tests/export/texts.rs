//! The examples of `docs/exports.md` do what it says they do.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::documents::{Doc, folder, text};
use crate::support::{fixture, premeasure, read, skipped_without};

/// A command of the text, and what it shows below; `exit code N` comes last when N is not 0.
struct Example {
    command: String,
    shown: Vec<String>,
}

/// The commands of all `console` blocks, in order: they build on each other.
fn examples(text: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for block in text.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap_or_default().lines() {
            match (line.strip_prefix("$ "), examples.last_mut()) {
                (Some(command), _) => {
                    examples.push(Example { command: command.to_owned(), shown: Vec::new() })
                }
                (None, Some(last)) => last.shown.push(line.to_owned()),
                (None, None) => panic!("output before any command: {line}"),
            }
        }
    }
    examples
}

/// What a command prints: standard error and standard output, in either order.
fn run(example: &Example, folder: &Path) -> [Vec<String>; 2] {
    let programs = Path::new(env!("CARGO_BIN_EXE_premeasure")).parent().expect("a folder");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("bash")
        .args(["-c", &example.command])
        .current_dir(folder)
        .env("PATH", path)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .expect("bash starts");
    let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect::<Vec<_>>();
    let (stdout, stderr) = (lines(&output.stdout), lines(&output.stderr));
    let code = output.status.code().filter(|code| *code != 0).map(|code| format!("exit code {code}"));
    let code: Vec<String> = code.into_iter().collect();
    [[stderr.clone(), stdout.clone(), code.clone()].concat(), [stdout, stderr, code].concat()]
}

#[test]
fn examples_of_the_text_print_what_it_shows() {
    if skipped_without(&["bash", "openssl"]) {
        return;
    }
    let folder = folder("texts");
    let copy = |from: PathBuf, to: &str| {
        std::fs::copy(from, folder.join(to)).expect("a copy");
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    copy(fixture("t-tiny-257").join("uki.efi"), "uki.efi");
    copy(Doc::Tiny262.path(), "next.json");
    copy(root.join("tests/export/keys/p256.pem"), "release.pem");
    copy(root.join("tests/export/keys/p256.pub"), "release.pub");
    let examples = examples(&String::from_utf8(read(root.join("docs/exports.md"))).expect("UTF-8"));
    assert!(examples.len() >= 8, "{} examples", examples.len());
    let mut wrong = Vec::new();
    for example in &examples {
        let [one, other] = run(example, &folder);
        let failed = one.last().is_some_and(|last| last.starts_with("exit code "));
        // A command that shows nothing has to succeed; what it says besides is another example's matter.
        if if example.shown.is_empty() { failed } else { example.shown != one && example.shown != other } {
            wrong.push(format!("$ {}\n{}\n", example.command, one.join("\n")));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} says otherwise:\n{}",
        text(&root.join("docs/exports.md")),
        wrong.join("\n")
    );
}

/// The table of formats says what `--list-formats --json` says.
#[test]
fn the_table_of_formats_is_that_of_the_program() {
    let formats: Vec<Value> = premeasure(["export", "--list-formats", "--json"]).json();
    let page = String::from_utf8(read(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/exports.md")))
        .expect("UTF-8");
    let rows: Vec<Vec<String>> = page
        .lines()
        .skip_while(|line| !line.starts_with("| format |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').map(|cell| cell.trim().replace('`', "")).collect())
        .collect();
    assert_eq!(rows.len(), formats.len());
    for (row, format) in rows.iter().zip(&formats) {
        let stages = format["stages"].as_array().expect("a list");
        let stage = if stages.len() == 1 { stages[0].as_str().expect("a stage") } else { "each phase" };
        let of = |name: &str| format[name].as_str().expect("a text");
        let said = [of("name"), &of("reader").replace('`', ""), stage, of("bank"), of("alternatives")];
        assert_eq!(row[1..6], said);
    }
}
