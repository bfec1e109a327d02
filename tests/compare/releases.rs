//! `diff`: two releases, as text, JSON and Markdown.

use std::ffi::OsString;

use serde_json::Value;

use crate::outcome::{check_schema, document};
use crate::support::boots::boot;
use crate::support::{fixture, premeasure};

fn diff(arguments: &[&std::ffi::OsStr]) -> Value {
    let mut all: Vec<OsString> = vec!["diff".into()];
    all.extend(arguments.iter().map(|argument| argument.into()));
    all.push("--json".into());
    let run = premeasure(&all);
    assert!(matches!(run.code, Some(0 | 1)), "{}", run.stderr);
    let json: Value = serde_json::from_slice(&run.stdout).expect("JSON");
    check_schema(&json, premeasure::compare::release::SCHEMA);
    assert_eq!(run.code == Some(0), json["equal"] == true);
    json
}

/// The two tiny images differ in stub and command line; kernel and initrd are the same files (`case.json`).
#[test]
fn each_pcr_is_put_down_to_its_components() {
    let (old, new) = (fixture("t-tiny-257/uki.efi"), fixture("t3-tiny-262/uki.efi"));
    let json = diff(&[old.as_os_str(), new.as_os_str(), "--secure-boot".as_ref(), "off".as_ref()]);
    let components: Vec<&str> = json["images"][0]["components"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|component| component["component"].as_str())
        .collect();
    for wanted in ["stub", "command line", "os-release"] {
        assert!(components.contains(&wanted), "{wanted}: {components:?}");
    }
    assert!(!components.contains(&"initrd"), "{components:?}");
    let stub = &json["images"][0]["components"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|c| c["component"] == "stub");
    let stub = stub.expect("the stub");
    assert!(stub["old"].as_str().expect("a version").contains("257.13"), "{stub}");
    assert!(stub["new"].as_str().expect("a version").contains("262.1"), "{stub}");
    let pcrs = json["images"][0]["scenarios"][0]["pcrs"].as_array().expect("a list");
    let eleven = pcrs.iter().find(|pcr| pcr["index"] == 11).expect("PCR 11");
    assert_eq!(eleven["change"], "changed");
    // What the two TPMs held.
    for (side, case) in [("old", "t-tiny-257"), ("new", "t3-tiny-262")] {
        assert_eq!(eleven[side]["sha256"], boot(case).observed_pcrs()["sha256"]["11"]);
    }
    let nine = pcrs.iter().find(|pcr| pcr["index"] == 9).expect("PCR 9");
    assert_eq!(nine["change"], "no-longer-known", "the new stub needs the machine's boot secret");
}

#[test]
fn the_same_release_twice_is_equal() {
    let document = document("same", boot("t-tiny-257").predict());
    let json = diff(&[document.as_os_str(), document.as_os_str()]);
    assert_eq!(json["equal"], true);
    let run = premeasure(["diff".as_ref(), document.as_os_str(), document.as_os_str()]);
    assert_eq!(run.code, Some(0));
    assert!(run.text().contains("no PCR changes"), "{}", run.text());
}

#[test]
fn markdown_has_a_row_for_each_component_and_register() {
    let old = document("old", boot("t-tiny-257").predict());
    let new = document("new", boot("t3-tiny-262").predict());
    let run = premeasure([
        "diff".as_ref(),
        old.as_os_str(),
        new.as_os_str(),
        "--format".as_ref(),
        "markdown".as_ref(),
    ]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let text = run.text();
    assert!(text.starts_with("## PCR changes from old.json to new.json\n"), "{text}");
    assert!(text.contains("| command line | "), "{text}");
    let value = &boot("t3-tiny-262").observed_pcrs()["sha256"]["11"];
    let row = text.lines().find(|line| line.starts_with("| 11 | ") && line.contains(value));
    assert!(row.is_some_and(|row| row.contains("os-release")), "{text}");
}

#[test]
fn what_is_no_release_is_refused() {
    let log = boot("t-tiny-257").record("eventlog.bin");
    let run = premeasure(["diff".as_ref(), log.as_os_str(), log.as_os_str()]);
    assert_eq!((run.code, run.text().as_str()), (Some(2), ""), "{}", run.stderr);
    assert!(run.stderr.contains("hint:"), "{}", run.stderr);
}
