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
    // bootctl leaves out boot counters, which systemd-boot's own ids have.
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
        ("", "new+2-1.conf"),
        ("default linux-*.efi\n", "linux-7.0+3.efi"),
        ("default LINUX-6.?.efi\n", "linux-6.9.efi"),
        ("default old-[0-9].conf\n", "old-2.conf"),
        ("default nothing-*\n", "new+2-1.conf"),
        ("default linux-8*\n", "linux-8.0+0-3.efi"),
    ] {
        let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
        boot_partition(folder.path(), conf);
        let chosen: Vec<String> =
            menu(folder.path()).into_iter().filter(|boot| boot.chosen).map(|boot| boot.id).collect();
        assert_eq!(chosen, [expected], "{conf}");
    }
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
