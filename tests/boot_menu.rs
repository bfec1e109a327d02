//! The order of the boot menu, and the entry that is booted, against `bootctl list` and the boots themselves.

mod support;

use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use support::{disks, fixture, premeasure, say, scratch, skipped_without};

#[derive(Deserialize)]
struct Medium {
    boots: Vec<Boot>,
}

#[derive(Deserialize)]
struct Boot {
    id: String,
    chosen: bool,
}

/// Type #1 entries: name and lines.
const TYPE1: [(&str, &str); 9] = [
    ("old-1", ""),
    ("old-10", ""),
    ("old-2", ""),
    ("deb-a", "sort-key debian\nversion 6.1\nmachine-id 11111111111111111111111111111111\n"),
    ("deb-b", "sort-key debian\nversion 6.12~rc1\nmachine-id 11111111111111111111111111111111\n"),
    ("deb-c", "sort-key debian\nversion 6.12\nmachine-id 11111111111111111111111111111111\n"),
    ("deb-d", "sort-key debian\nversion 6.12\nmachine-id 00000000000000000000000000000000\n"),
    ("fed", "sort-key fedora\nversion 39\n"),
    ("new+2-1", "sort-key debian\nversion 99\n"),
];

/// UKIs, all with the same os-release: their names decide.
const TYPE2: [&str; 4] = ["linux-6.9.efi", "linux-6.12.efi", "linux-7.0+3.efi", "linux-8.0+0-3.efi"];

fn boot_partition(folder: &Path, loader_conf: &str) {
    for path in ["EFI/BOOT", "EFI/Linux", "loader/entries"] {
        std::fs::create_dir_all(folder.join(path)).expect("made");
    }
    let copy = |from: &Path, to: &str| {
        std::fs::copy(from, folder.join(to)).expect("copied");
    };
    copy(&disks::esp("c-sdboot-257").join("EFI/BOOT/BOOTX64.EFI"), "EFI/BOOT/BOOTX64.EFI");
    copy(&disks::esp("g2-type1-252").join("rig/vmlinuz"), "vmlinuz");
    for name in TYPE2 {
        copy(&fixture("t-tiny-257").join("uki.efi"), &format!("EFI/Linux/{name}"));
    }
    for (name, lines) in TYPE1 {
        let text = format!("linux /vmlinuz\n{lines}");
        std::fs::write(folder.join(format!("loader/entries/{name}.conf")), text).expect("written");
    }
    std::fs::write(folder.join("loader/loader.conf"), loader_conf).expect("written");
}

fn menu(folder: &Path) -> Vec<Boot> {
    let medium: Medium = premeasure(["inspect".as_ref(), folder.as_os_str(), "--json".as_ref()]).json();
    medium.boots
}

#[test]
fn the_menu_is_sorted_as_bootctl_does() {
    if skipped_without(&disks::TOOLS) || skipped_without(&["bootctl", "unshare"]) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    boot_partition(folder.path(), "");
    // bootctl wants the root of a file system: a tmpfs that only it sees.
    let script =
        "mount -t tmpfs tmpfs /mnt && cp -r \"$1\"/. /mnt && exec bootctl list --json=short --esp-path=/mnt";
    let mut bootctl = Command::new("unshare");
    bootctl
        .env("SYSTEMD_RELAX_ESP_CHECKS", "1")
        .args(["-r", "-m", "sh", "-c", script, "sh"])
        .arg(folder.path());
    let output = bootctl.output().expect("unshare starts");
    if !output.status.success() {
        say(&format!(
            "SKIPPED the_menu_is_sorted_as_bootctl_does: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
        return;
    }
    #[derive(Deserialize)]
    struct Listed {
        id: String,
    }
    // One array, or up to 252 one object after the other.
    let listed: Vec<Listed> = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
        let objects = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
        objects.collect::<Result<_, _>>().expect("bootctl's JSON")
    });
    let listed: Vec<&str> = listed.iter().map(|entry| entry.id.as_str()).collect();
    let own = menu(folder.path());
    // bootctl leaves out boot counters.
    let bare = |id: &str| match (id.rsplit_once('+'), id.rsplit_once('.')) {
        (Some((stem, _)), Some((_, suffix))) => format!("{stem}.{suffix}"),
        _ => id.to_owned(),
    };
    let own: Vec<String> = own.iter().map(|boot| bare(&boot.id)).collect();
    assert_eq!(own.len(), TYPE1.len() + TYPE2.len());
    assert_eq!(own, listed);
}

/// loader.conf(5): a glob over ids, the first match in the order of the menu; without a match the first entry.
#[test]
fn loader_conf_chooses_by_glob() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    for (conf, expected) in [
        ("", "new.conf"),
        ("default linux-*.efi\n", "linux-7.0.efi"),
        ("default LINUX-6.?.efi\n", "linux-6.9.efi"),
        ("default old-[0-9].conf\n", "old-2.conf"),
        ("default nothing-*\n", "new.conf"),
        ("default linux-8*\n", "linux-8.0.efi"),
    ] {
        let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
        boot_partition(folder.path(), conf);
        let chosen: Vec<String> =
            menu(folder.path()).into_iter().filter(|boot| boot.chosen).map(|boot| boot.id).collect();
        assert_eq!(chosen, [expected], "{conf}");
    }
}

/// A boot partition as those of the boots below had it: c's UKI, the same under `counted`, and entries for a kernel.
fn counted_partition(folder: &Path, loader: &Path, counted: &[&str], default: &str) {
    for path in ["EFI/BOOT", "EFI/Linux", "loader/entries", "rig"] {
        std::fs::create_dir_all(folder.join(path)).expect("made");
    }
    let uki = disks::esp("c-sdboot-257").join("EFI/Linux/rig-257.efi");
    let kernel = disks::esp("g2-type1-252").join("rig/vmlinuz");
    std::fs::copy(loader, folder.join("EFI/BOOT/BOOTX64.EFI")).expect("copied");
    std::fs::copy(&kernel, folder.join("rig/vmlinuz")).expect("copied");
    std::fs::copy(&uki, folder.join("EFI/Linux/rig-257.efi")).expect("copied");
    let entry = |name: &str, lines: &str| {
        let text = format!("title {name}\nlinux /rig/vmlinuz\n{lines}");
        std::fs::write(folder.join("loader/entries").join(name), text).expect("written");
    };
    entry("a-1.0.conf", "sort-key b\n");
    entry("b-2.0.conf", "version 5\n");
    entry("c-10~rc1.conf", "machine-id 0123\n");
    entry("d.conf", "sort-key rig\nversion 300\n");
    entry("auto-x.conf", "sort-key a\n");
    for name in counted {
        match name.ends_with(".conf") {
            true => entry(name, "sort-key rig\nversion 299\n"),
            false => drop(std::fs::copy(&uki, folder.join("EFI/Linux").join(name)).expect("copied")),
        }
    }
    let conf = format!("timeout 0\ndefault {default}\n");
    std::fs::write(folder.join("loader/loader.conf"), conf).expect("written");
}

/// The chosen entry and the menu's ids.
fn counted_menu(loader: &Path, counted: &[&str], default: &str) -> (Option<String>, Vec<String>) {
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    counted_partition(folder.path(), loader, counted, default);
    let menu = menu(folder.path());
    let chosen = menu.iter().find(|boot| boot.chosen).map(|boot| boot.id.clone());
    (chosen, menu.into_iter().map(|boot| boot.id).collect())
}

/// Boots under OVMF: their variables `LoaderEntries` (without the entry that is made up) and `LoaderEntrySelected`. Whether ids
/// have the boot counter depends on the version.
#[test]
fn ids_of_counted_entries_are_those_of_the_boots() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let loader = |case: &str| disks::esp(case).join("EFI/BOOT/BOOTX64.EFI");
    let (v254, v257, v262) = (loader("d3-sdboot-254"), loader("c-sdboot-257"), loader("h2-profile2-262"));
    let v252 = loader("g2-type1-252");
    let rest = ["rig-257.efi", "c-10~rc1.conf", "b-2.0.conf"];
    for (loader, counted, default, chosen, first, last) in [
        (&v257, &["zz+0-3.efi"][..], "zz.efi", "zz.efi", &["a-1.0.conf", "d.conf"][..], &["zz.efi"][..]),
        (&v257, &["zz+3.efi"], "zz+3.efi", "a-1.0.conf", &["a-1.0.conf", "d.conf", "zz.efi"], &[]),
        (
            &v257,
            &["zz+0-3.efi", "cc+2-1.conf"],
            "cc.conf",
            "cc.conf",
            &["a-1.0.conf", "d.conf", "cc.conf"],
            &["zz.efi"],
        ),
        (&v252, &["zz+3.efi"], "zz.efi", "a-1.0.conf", &["a-1.0.conf", "d.conf", "zz+3.efi"], &[]),
        (&v254, &["zz+3.efi"], "zz.efi", "a-1.0.conf", &["a-1.0.conf", "d.conf", "zz+3.efi"], &[]),
        (&v262, &["zz+3.efi"], "zz.efi", "zz.efi", &["a-1.0.conf", "d.conf", "zz.efi"], &[]),
    ] {
        let (own, ids) = counted_menu(loader, counted, default);
        assert_eq!(own.as_deref(), Some(chosen), "{counted:?} {default}");
        assert_eq!(ids, [first, &rest, last].concat(), "{counted:?} {default}");
    }
}

/// No boot of these versions was seen, and those around them differ.
#[test]
fn between_the_known_versions_a_choice_by_counted_ids_is_not_guessed() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let known = support::read(disks::esp("c-sdboot-257").join("EFI/BOOT/BOOTX64.EFI"));
    let mark = b"systemd-boot 257.13-";
    let places: Vec<usize> = known
        .windows(mark.len())
        .enumerate()
        .filter(|(_, bytes)| *bytes == mark)
        .map(|(at, _)| at + 13)
        .collect();
    assert!(!places.is_empty(), "its version");
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let loader = folder.path().join("loader.efi");
    for version in [b"255.99", b"256.01", b"257.12", b"258.02"] {
        let mut bytes = known.clone();
        for at in &places {
            bytes[*at..*at + 6].copy_from_slice(version);
        }
        std::fs::write(&loader, bytes).expect("written");
        for (default, chosen) in [
            ("zz.efi", None),
            ("zz+3.efi", None),
            ("zz*", Some("zz.efi")),
            ("d.conf", Some("d.conf")),
            ("nothing", Some("a-1.0.conf")),
        ] {
            let (own, _) = counted_menu(&loader, &["zz+3.efi"], default);
            assert_eq!(own.as_deref(), chosen, "{} {default}", String::from_utf8_lossy(version));
        }
    }
    let esp = folder.path().join("esp");
    counted_partition(&esp, &loader, &["zz+3.efi"], "zz.efi");
    let undecided = premeasure(["predict".as_ref(), esp.as_os_str()]);
    assert_eq!(undecided.code, Some(2));
    assert!(undecided.stderr.contains("it boots zz.efi, else a-1.0.conf"), "{}", undecided.stderr);
    for id in ["zz.efi", "zz+3.efi"] {
        let named = premeasure(["predict".as_ref(), esp.as_os_str(), "--entry".as_ref(), id.as_ref()]);
        assert_eq!(named.code, Some(0), "{id}: {}", named.stderr);
    }
}

/// An entry with both `linux` and `efi`, and one with dots in its paths: 257.13 booted each, and took the `linux` that stood last.
#[test]
fn an_entry_that_names_two_programs_is_taken_by_its_last_line_before_258() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let lines = "title both\nefi /EFI/Linux/rig-257.efi\nlinux /rig/vmlinuz\n";
    let menu_of = |case: &str| {
        let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
        counted_partition(folder.path(), &disks::esp(case).join("EFI/BOOT/BOOTX64.EFI"), &[], "e3.conf");
        std::fs::write(folder.path().join("loader/entries/e3.conf"), lines).expect("written");
        let medium: serde_json::Value =
            premeasure(["inspect".as_ref(), folder.path().as_os_str(), "--json".as_ref()]).json();
        medium["boots"].as_array().expect("boots").iter().find(|boot| boot["id"] == "e3.conf").cloned()
    };
    let boot = menu_of("c-sdboot-257").expect("an entry");
    assert_eq!(boot["chosen"], true);
    assert!(boot.to_string().contains("rig/vmlinuz"), "{boot}");
    assert!(menu_of("h2-profile2-262").is_none(), "boot.c from 258 on: LOADER_BAD");
}

/// loader.conf(5): without a word there keys are enrolled where that is safe.
#[test]
fn keys_to_enrol_are_noticed_without_loader_conf() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    counted_partition(folder.path(), &disks::esp("c-sdboot-257").join("EFI/BOOT/BOOTX64.EFI"), &[], "d.conf");
    std::fs::remove_file(folder.path().join("loader/loader.conf")).expect("removed");
    let warned = || {
        let run = premeasure(["predict".as_ref(), folder.path().as_os_str()]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        run.stderr.contains("loader/keys/auto")
    };
    assert!(!warned());
    std::fs::create_dir_all(folder.path().join("loader/keys/auto")).expect("made");
    assert!(warned());
}

/// Such an entry was booted: EDK2's FAT driver goes by the dots.
#[test]
fn paths_with_dots_name_the_files_that_were_booted() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    counted_partition(
        folder.path(),
        &disks::esp("c-sdboot-257").join("EFI/BOOT/BOOTX64.EFI"),
        &[],
        "e8.conf",
    );
    std::fs::write(folder.path().join("rig/initrd"), "initrd").expect("written");
    let values = |lines: &str, more: &[&str]| -> serde_json::Value {
        let text = format!("title dots\n{lines}options quiet\n");
        std::fs::write(folder.path().join("loader/entries/e8.conf"), text).expect("written");
        let mut arguments = vec!["predict".into(), folder.path().as_os_str().to_owned()];
        arguments.extend(["--format", "pcrs", "--bank", "sha256"].iter().chain(more).map(Into::into));
        premeasure(&arguments).json()
    };
    let plain = values("linux /rig/vmlinuz\ninitrd /rig/initrd\n", &[]);
    assert!(plain["sha256"]["9"].is_string(), "{plain}");
    for dotted in ["linux /EFI/../rig/vmlinuz\n", "linux /../../rig/./vmlinuz\n"] {
        assert_eq!(values(&format!("{dotted}initrd /rig/initrd\n"), &[]), plain, "{dotted}");
    }
    // The path of the initrd gets into the command line as it stands, and so into PCR 9 and 12.
    let initrd = values("linux /rig/vmlinuz\ninitrd /rig/./initrd\n", &[]);
    assert!(initrd["sha256"]["9"].is_string(), "{initrd}");
    assert_eq!(initrd["sha256"]["4"], plain["sha256"]["4"]);
    assert_ne!(initrd["sha256"]["12"], plain["sha256"]["12"]);
    let option = ["--boot-option", "/EFI/Linux/../BOOT/./BOOTX64.EFI"];
    assert_eq!(values("linux /rig/vmlinuz\ninitrd /rig/initrd\n", &option), plain);
}

/// All entries become one sound document, with an image for each.
#[test]
fn all_entries_are_alternatives_of_one_document() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let document = folder.path().join("reference.json");
    let mut arguments = vec!["predict".into(), disks::disk("h2-profile2-262").into_os_string()];
    arguments.extend(["--all-entries".into(), "--output".into(), document.clone().into_os_string()]);
    assert_eq!(premeasure(&arguments).code, Some(0));
    let validated = premeasure(["validate".as_ref(), document.as_os_str()]);
    assert_eq!(validated.code, Some(0), "{}{}", validated.text(), validated.stderr);
    let value: serde_json::Value = support::read_json(&document);
    let ids: Vec<&str> =
        value["images"].as_array().expect("images").iter().filter_map(|image| image["id"].as_str()).collect();
    assert_eq!(ids.len(), 3, "three profiles: {ids:?}");
}

fn stderr_of(folder: &Path, options: &[&str]) -> (Option<i32>, String) {
    let start = ["predict".as_ref(), folder.as_os_str()];
    let run = premeasure(start.into_iter().chain(options.iter().map(std::convert::AsRef::as_ref)));
    (run.code, run.stderr)
}

/// The comparison is no total order: entries without a counter equal those of their name that have one.
#[test]
fn many_entries_with_and_without_counters_are_sorted() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    boot_partition(folder.path(), "");
    let mut state = 7_u64;
    for number in 0..120 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let name = "_".repeat(1 + (state >> 60) as usize);
        let counter =
            if number % 2 == 0 { String::new() } else { format!("+{}-{}", (state >> 50) % 4, number) };
        let path = folder.path().join(format!("loader/entries/a{name}{counter}.conf"));
        std::fs::write(path, "linux /vmlinuz\n").expect("written");
    }
    let (code, text) = stderr_of(folder.path(), &["--entry", "fed.conf", "--pcr", "11"]);
    assert_eq!(code, Some(0), "{text}");
}

/// A UKI that is cut off still has its section table and .osrel: systemd-boot may list it, so nothing is chosen beside it.
#[test]
fn a_damaged_uki_leaves_the_choice_open() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    boot_partition(folder.path(), "");
    let whole = support::read(fixture("t-tiny-257").join("uki.efi"));
    let cut = whole.get(..4096).expect("the section table of it");
    std::fs::write(folder.path().join("EFI/Linux/z-cut.efi"), cut).expect("written");
    let (code, text) = stderr_of(folder.path(), &[]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("z-cut.efi may be what systemd-boot boots"), "{text}");
    // A default that it can't match decides.
    std::fs::write(folder.path().join("loader/loader.conf"), "default fed.conf\n").expect("written");
    let (code, text) = stderr_of(folder.path(), &["--pcr", "11"]);
    assert_eq!(code, Some(0), "{text}");
}

/// However the program's path is written, an entry for systemd-boot itself is passed over.
#[test]
fn systemd_boot_knows_its_own_path_in_every_spelling() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    boot_partition(folder.path(), "default self.conf\n");
    std::fs::write(folder.path().join("loader/entries/self.conf"), "efi /EFI/BOOT/BOOTX64.EFI\n")
        .expect("written");
    for path in ["EFI/BOOT/BOOTX64.EFI", "/efi/boot/bootx64.efi", "\\EFI\\BOOT\\BOOTX64.EFI"] {
        let (code, text) = stderr_of(folder.path(), &["--boot-option", path, "--pcr", "11"]);
        assert_eq!(code, Some(0), "{path}: {text}");
        assert!(text.contains("is systemd-boot itself"), "{path}: {text}");
    }
}
