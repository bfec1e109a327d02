//! The examples of `docs/logs.md` are what the program prints.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Commands with what the text says that they print. `…` alone on a line stands for any lines, at the end of
/// a line or of a word for more of it.
fn examples(text: &str) -> Vec<(String, Vec<String>)> {
    let blocks = text.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    blocks
        .map(|block| {
            let mut lines = block.lines();
            let command = lines.next().and_then(|line| line.strip_prefix("$ ")).expect("a command");
            (command.to_owned(), lines.map(str::to_owned).collect())
        })
        .collect()
}

fn matches(wanted: &str, line: &str) -> bool {
    match wanted.split_once('…') {
        None => wanted == line,
        Some((start, end)) => {
            line.len() >= start.len() + end.len() && line.starts_with(start) && line.ends_with(end)
        }
    }
}

/// The lines of the example, in order; after `…` they may come later.
fn compare(wanted: &[String], printed: &[&str]) -> Result<(), String> {
    let mut printed = printed.iter();
    let mut gap = false;
    for line in wanted {
        if line.trim() == "…" {
            gap = true;
            continue;
        }
        let found = if gap {
            printed.by_ref().any(|other| matches(line, other))
        } else {
            printed.next().is_some_and(|other| matches(line, other))
        };
        if !found {
            return Err(format!("not printed, or not here: {line}"));
        }
        gap = false;
    }
    match printed.next() {
        Some(more) if !gap => Err(format!("also printed: {more}")),
        _ => Ok(()),
    }
}

#[test]
fn the_examples_of_the_documentation_are_what_is_printed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/logs.md")).expect("docs/logs.md");
    let program = Path::new(env!("CARGO_BIN_EXE_premeasure")).parent().expect("a folder");
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let examples = examples(&text);
    assert!(examples.len() >= 5, "{}", examples.len());
    for (command, wanted) in examples {
        let output = Command::new("sh")
            .args(["-c", &format!("exec 2>&1; {command}")])
            .current_dir(root)
            .env("PATH", &path)
            .output()
            .expect("a shell");
        let printed = String::from_utf8(output.stdout).expect("UTF-8");
        let lines: Vec<&str> = printed.trim_end().lines().collect();
        if let Err(why) = compare(&wanted, &lines) {
            panic!("$ {command}\n{why}\n--- printed:\n{printed}");
        }
    }
}
