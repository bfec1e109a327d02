//! Pages of real boots show what the JSON holds, and the values that the boots' TPMs had.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::page::Page;
use crate::support::boots::boot;
use crate::support::{fixture, scratch};

fn file(name: &str) -> PathBuf {
    scratch().join(format!("report-{name}.html"))
}

fn log(case: &str) -> PathBuf {
    boot(case).record("eventlog.bin")
}

fn list<'j>(json: &'j Json, name: &str) -> &'j [Json] {
    json[name].as_array().unwrap_or_else(|| panic!("no list {name}"))
}

/// The same boot with one SMBIOS string more (`fixtures/README.md`): PCR 12 has it, and PCR 9 the longer command line.
#[test]
fn a_comparison_begins_with_the_first_difference_and_has_every_event() {
    let page = Page::of(&["compare".as_ref(), &log("c-sdboot-257"), &log("m-smbios-257")], &file("compare"));
    let first = page.by_id("first");
    assert!(first.text.contains("PCR 12") && first.text.contains("smbios_stub=1"), "{}", first.text);
    let timeline = page.position("b0-timeline");
    assert!(page.position("first") < timeline && page.position("causes") < timeline);
    assert!(page.by_id("causes").text.contains("smbios-options"));
    let json = page.json();
    let events = page.with_class("event");
    assert_eq!(events.len(), list(&json, "events").len());
    for row in list(&json, "events") {
        let side = row.get("observed").or(row.get("expected")).expect("a side");
        let (what, digest) = (side["what"].as_str().expect("text"), side["digest"].as_str().expect("text"));
        let shown = |text: &str| text.contains(what) && text.contains(digest);
        assert!(events.iter().any(|event| shown(&event.text)), "{what}");
    }
    let flagged: Vec<&str> =
        page.with_class("flagged").iter().map(|event| event.attribute("data-register")).collect();
    assert_eq!(flagged, ["PCR 12", "PCR 9"]);
    let stages: Vec<&str> = page.with_class("stage").iter().map(|stage| stage.attribute("id")).collect();
    assert_eq!(stages, ["b0-firmware", "b0-boot-loader", "b0-stub", "b0-kernel"]);
}

#[test]
fn a_comparison_of_values_alone_has_no_timeline_and_says_why() {
    let page = Page::of(
        &["compare".as_ref(), &boot("t-tiny-257").uki(), &boot("t3-tiny-262").record("pcrs.json")],
        &file("values"),
    );
    assert!(page.with_class("event").is_empty());
    assert!(page.with_class("remark")[0].text.contains("one of the sides has values only"));
}

/// The values are those that the machine's TPM had.
#[test]
fn a_prediction_shows_the_values_and_every_measurement() {
    let arguments: Vec<PathBuf> = ["predict", "--secure-boot", "off"].map(PathBuf::from).to_vec();
    let mut arguments: Vec<&Path> = arguments.iter().map(PathBuf::as_path).collect();
    let uki = boot("t-tiny-257").uki();
    arguments.push(&uki);
    let page = Page::of(&arguments, &file("predict"));
    let observed = boot("t-tiny-257").observed_pcrs();
    for pcr in ["4", "9", "11"] {
        let value = &observed["sha256"][pcr];
        assert!(page.all("td").iter().any(|cell| cell.text == *value), "PCR {pcr}: {value}");
    }
    let json = page.json();
    let measured = list(&list(&json, "variants")[0], "measurements").iter();
    let measured = measured.filter(|entry| entry.get("gap").is_none() || entry["pcr"].as_u64() < Some(16));
    let measured: Vec<&str> = measured.map(|entry| entry["description"].as_str().expect("text")).collect();
    let events = page.with_class("event");
    assert_eq!(events.len(), measured.len());
    measured.iter().zip(&events).for_each(|(what, event)| assert!(event.text.contains(what), "{what}"));
    let stages: Vec<&str> = page.with_class("stage").iter().map(|stage| stage.attribute("id")).collect();
    assert_eq!(stages, ["b0-firmware", "b0-stub", "b0-kernel", "b0-initrd", "b0-system", "b0-shutdown"]);
}

/// Variants are alternatives: each has its registers and its timeline.
#[test]
fn variants_are_shown_one_by_one() {
    let page = Page::of(&["predict".as_ref(), &boot("t-tiny-257").uki()], &file("variants"));
    let variants = list(&page.json(), "variants").len();
    assert!(variants > 1);
    assert_eq!(page.with_class("boot").len(), variants);
    assert_eq!(page.with_class("timeline").len(), variants);
}

#[test]
fn a_release_shows_components_and_both_boots() {
    let (old, new) = (fixture("t-tiny-257/uki.efi"), fixture("t3-tiny-262/uki.efi"));
    let off = ["--secure-boot", "off"].map(PathBuf::from);
    let page = Page::of(&["diff".as_ref(), &old, &new, &off[0], &off[1]], &file("diff"));
    let json = page.json();
    let changed = page.by_id("causes");
    for component in list(&list(&json, "images")[0], "components") {
        let name = component["component"].as_str().expect("text");
        assert!(changed.text.contains(name), "{name}");
    }
    assert!(page.all("ins").iter().any(|word| word.text.ends_with("rig=262")));
    assert!(page.all("del").iter().any(|word| word.text.ends_with("rig=257")));
    assert!(page.with_class("flagged").iter().any(|event| event.text.contains(".cmdline")));
    assert!(page.all("h2")[0].text.starts_with("PCR 4, 9, 11"), "{}", page.all("h2")[0].text);
}

/// The registers' values are those of the TPM, and each event is there with its marks.
#[test]
fn a_log_shows_registers_and_events() {
    let against = [PathBuf::from("--against"), boot("c-sdboot-257").record("pcrs.json")];
    let page = Page::of(
        &["log".as_ref(), "show".as_ref(), &log("c-sdboot-257"), &against[0], &against[1]],
        &file("log"),
    );
    let observed = boot("c-sdboot-257").observed_pcrs();
    for bank in ["sha1", "sha256"] {
        for pcr in ["0", "4", "7", "11"] {
            let value = &observed[bank][pcr];
            assert!(page.all("td").iter().any(|cell| cell.text == *value), "PCR {pcr}: {value}");
        }
    }
    let json = page.json();
    let events = page.with_class("event");
    assert_eq!(events.len(), list(&json, "events").len());
    for (event, shown) in list(&json, "events").iter().zip(&events) {
        let parts =
            [&event["summary"], &event["data"], &event["type"]].map(|part| part.as_str().expect("text"));
        parts.iter().for_each(|part| assert!(shown.text.contains(part), "{part}: {}", shown.text));
    }
    assert!(page.with_class("good").iter().any(|mark| mark.text.contains("the machine has this value")));
}

#[test]
fn a_log_that_does_not_lead_to_the_values_says_so() {
    let against = [PathBuf::from("--against"), boot("t-tiny-257").record("pcrs.json")];
    let arguments: [&Path; 5] =
        ["log".as_ref(), "show".as_ref(), &log("c-sdboot-257"), &against[0], &against[1]];
    let page = Page::of(&arguments, &file("against"));
    let banner = &page.with_class("banner")[0];
    assert!(banner.has_class("bad") && banner.text.contains("PCR 4"), "{}", banner.text);
}
