//! Nothing that a log holds, not even its name, drives a terminal: on any stream, in any output, of any command.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::command::premeasure;
use crate::fixtures::boots;

/// Bytes that text becomes: ESC (which begins sequences), BEL, U+009B in Latin-1 (its one-byte form), the override of
/// reading order in UTF-8 and in UTF-16.
const HOSTILE: [&[u8]; 4] = [b"\x1b[2J", b"\x07\x7f\x08", "\u{9b}2J\u{202e}".as_bytes(), b"\x2e\x20\x9b\x00"];

/// The logs of our boots and the fuzzers' seeds, with every run of letters overwritten.
fn hostile_logs(folder: &Path) -> Vec<PathBuf> {
    let mut sources: Vec<PathBuf> = Vec::new();
    for boot in boots().into_iter().filter(|boot| {
        ["k-mkosi-trixie", "j-shim-grub-bookworm", "f-secureboot-257"].iter().any(|name| boot.ends_with(name))
    }) {
        for file in ["eventlog.bin", "guest/tpm2-measure.log", "guest/ima_runtime_measurements"] {
            sources.extend(Some(boot.join(file)).filter(|path| path.exists()));
        }
    }
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for format in ["cel_cbor", "cel_tlv", "cel_json", "ima"] {
        let entries = fs::read_dir(seeds.join(format)).expect("seeds");
        sources.extend(entries.map(|entry| entry.expect("an entry").path()));
    }
    let mut logs = Vec::new();
    for source in sources {
        let bytes = fs::read(&source).expect("a log");
        for (number, hostile) in HOSTILE.iter().enumerate() {
            let path = folder.join(format!("{}-\u{1b}[2J\u{9b}\u{202e}{number}.bin", logs.len()));
            fs::write(&path, overwritten(&bytes, hostile)).expect("written");
            logs.push(path);
        }
    }
    logs.push(one_event(folder));
    logs
}

/// Every second run of at least as many letters and digits is overwritten: what a reader needs to go on (signatures of
/// structures, names of types) stays in some place.
fn overwritten(bytes: &[u8], hostile: &[u8]) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    let (mut at, mut runs) = (64, 0);
    while at + hostile.len() <= bytes.len() {
        if bytes[at..at + hostile.len()].iter().all(u8::is_ascii_alphanumeric) {
            runs += 1;
            if runs % 2 == 0 {
                changed[at..at + hostile.len()].copy_from_slice(hostile);
            }
            at += hostile.len() * 3;
        } else {
            at += 1;
        }
    }
    changed
}

/// A SHA-1 log of one EV_ACTION in PCR 4 whose text clears the screen.
fn one_event(folder: &Path) -> PathBuf {
    let text = b"\x1b[2J\x07\xe2\x80\xaeevil\xc2\x9b31m";
    let log = [
        &[4, 0, 0, 0][..],                                    // PCRIndex
        &[5, 0, 0, 0],                                        // EventType: EV_ACTION
        &[0xAA; 20],                                          // Digest
        &[u8::try_from(text.len()).expect("small"), 0, 0, 0], // EventSize
        text,                                                 // Event
    ]
    .concat();
    let path = folder.join("evil\u{1b}[2J.bin");
    fs::write(&path, log).expect("written");
    path
}

fn assert_plain(stream: &[u8], what: &str) {
    let text = std::str::from_utf8(stream).unwrap_or_else(|error| panic!("{what}: {error}"));
    let bad = text.chars().find(|character| {
        (character.is_control() && *character != '\n')
            || matches!(character, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}')
    });
    assert_eq!(bad, None, "{what}");
}

#[test]
fn no_log_drives_the_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let logs = hostile_logs(folder.path());
    let pcrs = boots()[0].join("pcrs.json");
    let commands: [&[&str]; 10] = [
        &["show"],
        &["show", "--verbose"],
        &["show", "--json"],
        &["check"],
        &["check", "--json"],
        &["replay"],
        &["replay", "--json"],
        &["replay", "--strict"],
        &["convert"],
        &["show", "--against"],
    ];
    let mut shown = 0;
    for log in &logs {
        for options in commands {
            let mut arguments: Vec<&dyn AsRef<OsStr>> = vec![&"log"];
            arguments.extend(options.iter().map(|option| option as &dyn AsRef<OsStr>));
            if options.contains(&"--against") {
                arguments.push(&pcrs);
            }
            arguments.push(log);
            let output = premeasure(&arguments);
            assert_ne!(output.status.code(), None, "{options:?} {log:?} was killed");
            let what = format!("{options:?} {log:?}");
            assert_plain(&output.stdout, &what);
            assert_plain(&output.stderr, &what);
            shown += output.stdout.len();
        }
    }
    assert!(shown > 1_000_000, "only {shown} bytes were shown");
    for options in [&["replay", "--json-lines"][..], &["replay"]] {
        let mut arguments: Vec<&dyn AsRef<OsStr>> = vec![&"log"];
        arguments.extend(options.iter().map(|option| option as &dyn AsRef<OsStr>));
        let path = folder.path();
        arguments.push(&path);
        let output = premeasure(&arguments);
        assert_plain(&output.stdout, "folder");
        assert_plain(&output.stderr, "folder");
    }
    let missing = folder.path().join("none\u{1b}[2J\u{9b}");
    assert_plain(&premeasure(&[&"log", &"show", &missing]).stderr, "a name that is not there");
    assert_plain(&premeasure(&[&"log", &"show", &logs[0], &"--against", &missing]).stderr, "values");
}
