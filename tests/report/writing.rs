//! The file: written beside the normal output, as a whole or not at all.

use std::fs;
use std::path::Path;

use crate::support::boots::boot;
use crate::support::{premeasure, scratch};

#[test]
fn the_report_replaces_a_file_and_leaves_no_other() {
    let folder = scratch().join("report-folder");
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("report.html");
    fs::write(&file, "old").expect("written");
    let log = boot("t-tiny-257").record("eventlog.bin");
    let run =
        premeasure(["log".as_ref(), "show".as_ref(), log.as_os_str(), "--html".as_ref(), file.as_os_str()]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(fs::read_to_string(&file).expect("readable").ends_with("</html>"));
    assert_eq!(fs::read_dir(&folder).expect("readable").count(), 1);
}

#[test]
fn a_report_that_cannot_be_written_is_an_error() {
    let log = boot("t-tiny-257").record("eventlog.bin");
    let file = Path::new("/nowhere/at/all/report.html");
    let run = premeasure([
        "compare".as_ref(),
        log.as_os_str(),
        log.as_os_str(),
        "--html".as_ref(),
        file.as_os_str(),
    ]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("/nowhere/at/all"), "{}", run.stderr);
}

#[test]
fn standard_output_is_taken() {
    for command in [&["compare", "a", "b"][..], &["predict", "a"], &["diff", "a", "b"], &["log", "show", "a"]]
    {
        let run = premeasure(command.iter().chain(&["--html", "-"]));
        assert_eq!(run.code, Some(2));
        assert!(run.stderr.contains("name a file"), "{}", run.stderr);
    }
}
