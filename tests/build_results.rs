//! A folder as mkosi writes it: the image, parts of it, and lists; and what `check` says of images that lie about themselves.

mod support;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::{Run, disks, fixture, premeasure, read, read_json, scratch, skipped_without, tool};

fn run(arguments: &[&dyn AsRef<OsStr>]) -> Run {
    premeasure(arguments.iter().map(|part| part.as_ref().to_os_string()).collect::<Vec<OsString>>())
}

fn sums(folder: &Path) {
    let script = "cd \"$1\" && rm -f rig_1.SHA256SUMS && sha256sum -b rig_1.* > sums.txt && mv sums.txt rig_1.SHA256SUMS";
    tool(Command::new("sh").args(["-c", script, "sh"]).arg(folder));
}

/// Image, UKI, a manifest that a real mkosi wrote, and sums.
fn results(folder: &Path) -> PathBuf {
    let target = folder.join("mkosi.output");
    fs::create_dir_all(&target).expect("made");
    tool(
        Command::new("cp")
            .arg("--sparse=always")
            .arg(disks::disk("c-sdboot-257"))
            .arg(target.join("rig_1.raw")),
    );
    fs::copy(disks::esp("c-sdboot-257").join("EFI/Linux/rig-257.efi"), target.join("rig_1.efi"))
        .expect("copied");
    fs::copy(fixture("boots/k-mkosi-trixie/inputs/rig_1.manifest"), target.join("rig_1.manifest"))
        .expect("copied");
    sums(&target);
    target
}

fn findings(path: &Path, options: &[&dyn AsRef<OsStr>]) -> Vec<(String, String)> {
    let base: [&dyn AsRef<OsStr>; 3] = [&"check", &path, &"--json"];
    let run = run(&[&base[..], options].concat());
    let report: Value =
        serde_json::from_slice(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stderr));
    let all = report["findings"].as_array().expect("findings").iter();
    let text = |finding: &Value, name: &str| finding[name].as_str().expect("a text").to_owned();
    all.map(|finding| (text(finding, "code"), text(finding, "place"))).collect()
}

fn has(findings: &[(String, String)], code: &str, place: &str) -> bool {
    findings.iter().any(|(found, at)| found == code && at == place)
}

/// `inspect` and `check` of a medium print what their schemas say.
#[test]
fn reports_follow_their_schemas() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    for (command, schema) in [("inspect", "medium"), ("check", "check")] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{schema}.schema.json"));
        let validator = jsonschema::validator_for(&read_json::<Value>(path)).expect("a schema");
        for case in ["c-sdboot-257", "f-secureboot-257", "h2-profile2-262", "j-shim-grub-bookworm"] {
            let run = run(&[&command, &disks::disk(case), &"--json"]);
            let value: Value = serde_json::from_slice(&run.stdout).expect("JSON");
            let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{command} {case}: {errors:?}");
        }
    }
}

/// OVMF found nothing to boot on a disk without the protective record, `sgdisk -v` complains of the others.
#[test]
fn damage_around_the_partition_table_is_found() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    use std::os::unix::fs::FileExt as _;
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let copy = folder.path().join("disk.img");
    let damaged = |damage: &dyn Fn(&fs::File)| {
        tool(Command::new("cp").arg("--sparse=always").arg(disks::disk("c-sdboot-257")).arg(&copy));
        damage(&fs::OpenOptions::new().write(true).open(&copy).expect("opened"));
        let table = |(code, place): (String, String)| (place == "partition table").then_some(code);
        let codes: Vec<String> = findings(&copy, &[]).into_iter().filter_map(table).collect();
        (codes, run(&[&"predict", &copy, &"--pcr", &"5"]))
    };
    let length = fs::metadata(disks::disk("c-sdboot-257")).expect("there").len();
    let (codes, predicted) = damaged(&|_| ());
    assert!(codes.is_empty(), "{codes:?}");
    assert!(!predicted.stderr.contains("partition table"), "{}", predicted.stderr);

    let (codes, predicted) = damaged(&|file| file.write_all_at(&[0; 512], 0).expect("written"));
    assert_eq!(codes, ["no-protective-mbr"]);
    assert!(predicted.stderr.contains("the disk does not boot"), "{}", predicted.stderr);

    let (codes, predicted) = damaged(&|file| file.set_len(length - 728).expect("cut"));
    assert_eq!(codes, ["backup-table-damaged"]);
    assert!(predicted.stderr.contains("backup partition table"), "{}", predicted.stderr);

    let (codes, predicted) = damaged(&|file| file.write_all_at(&[0; 512], 512).expect("written"));
    assert_eq!(codes, ["primary-table-damaged"]);
    let text = predicted.text();
    assert!(text.contains("sgdisk -e"), "{text}");
}

#[test]
fn the_document_links_the_bill_of_materials() {
    if skipped_without(&disks::TOOLS) || skipped_without(&["sha256sum"]) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let target = results(folder.path());
    let sbom = folder.path().join("rig.spdx.json");
    let text =
        r#"{"spdxVersion":"SPDX-2.3","documentNamespace":"https://example.com/rig-1","packages":[{},{}]}"#;
    fs::write(&sbom, text).expect("written");
    let document = folder.path().join("reference.json");
    let predicted = run(&[&"predict", &target, &"--sbom", &sbom, &"-o", &document]);
    assert_eq!(predicted.code, Some(0), "{}", predicted.stderr);
    assert!(!predicted.stderr.contains("SHA-256"), "{}", predicted.stderr);
    let value: Value = read_json(&document);
    let sum = |path: &Path| -> String {
        tool(Command::new("sha256sum").arg(path)).split(' ').next().expect("a sum").to_owned()
    };
    let manifest: Value = read_json(target.join("rig_1.manifest"));
    let packages = manifest["packages"].as_array().expect("packages").len();
    let expected = json!([
        { "name": "rig.spdx.json", "format": "spdx-json", "identifier": "https://example.com/rig-1", "sha256": sum(&sbom), "packages": 2 },
        { "name": "rig_1.manifest", "format": "mkosi-manifest", "identifier": "rig 1", "sha256": sum(&target.join("rig_1.manifest")), "packages": packages },
    ]);
    assert_eq!(value["materials"], expected);
    assert_eq!(run(&[&"validate", &document]).code, Some(0));
    // The values are those of the disk.
    let of = |path: &Path| run(&[&"predict", &path, &"--format", &"pcrs"]).json::<Value>();
    assert_eq!(of(&target), of(&disks::disk("c-sdboot-257")));
    // They are subjects of an in-toto statement.
    let statement = folder.path().join("statement.json");
    let accept = ["--accept-assumption", "all"];
    let exported =
        run(&[&"export", &document, &"--format", &"in-toto", &"-o", &statement, &accept[0], &accept[1]]);
    let exported = if exported.code == Some(0) {
        exported
    } else {
        run(&[&"export", &document, &"--format", &"in-toto", &"-o", &statement])
    };
    assert_eq!(exported.code, Some(0), "{}", exported.stderr);
    let statement: Value = read_json(&statement);
    let subjects = statement["subject"].as_array().expect("subjects");
    for material in expected.as_array().expect("two") {
        let digest = &material["sha256"];
        assert!(subjects.iter().any(|subject| subject["digest"]["sha256"] == *digest), "{digest}");
    }
    let wrong = run(&[&"predict", &target, &"--sbom", &fixture("boots/c-sdboot-257/boot.json")]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("neither SPDX"), "{}", wrong.stderr);
}

#[test]
fn lists_that_do_not_fit_are_found() {
    if skipped_without(&disks::TOOLS) || skipped_without(&["sha256sum"]) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let target = results(folder.path());
    let sound = findings(&target, &[]);
    for code in ["sha256sums", "split-uki-differs", "roothash-file-differs"] {
        assert!(!sound.iter().any(|(found, _)| found == code), "{sound:?}");
    }
    let hash = "ab".repeat(32);
    fs::write(target.join("rig_1.roothash"), format!("{hash}\n")).expect("written");
    let mut uki = read(target.join("rig_1.efi"));
    uki.push(0);
    fs::write(target.join("rig_1.efi"), uki).expect("written");
    let found = findings(&target, &[]);
    assert!(has(&found, "sha256sums", "rig_1.efi"), "{found:?}");
    assert!(has(&found, "split-uki-differs", "rig_1.efi"), "{found:?}");
    assert!(has(&found, "roothash-file-differs", "rig_1.roothash"), "{found:?}");
    let predicted = run(&[&"predict", &target]);
    assert!(predicted.stderr.contains("rig_1.efi: its SHA-256 is"), "{}", predicted.stderr);
    assert!(predicted.text().contains("Check without hashing:"), "{}", predicted.text());
}

/// Kernel and initrd as binutils take them out of the UKI's sections, and a byte of them changed.
#[test]
fn split_kernels_and_initrds_are_those_of_the_image() {
    if skipped_without(&disks::TOOLS) || skipped_without(&["objcopy"]) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let target = results(folder.path());
    let uki = disks::esp("c-sdboot-257").join("EFI/Linux/rig-257.efi");
    for (section, suffix) in [(".linux", "vmlinuz"), (".initrd", "initrd")] {
        let part = target.join(format!("rig_1.{suffix}"));
        let dump = format!("{section}={}", part.display());
        tool(
            Command::new("objcopy").arg("--dump-section").arg(dump).arg(&uki).arg(folder.path().join("copy")),
        );
    }
    let found = findings(&target, &[]);
    assert!(!found.iter().any(|(code, _)| code.starts_with("split-")), "{found:?}");
    let predicted = run(&[&"predict", &target, &"--pcr", &"11"]);
    assert!(!predicted.stderr.contains("of any entry"), "{}", predicted.stderr);
    for (suffix, code) in [("vmlinuz", "split-kernel-differs"), ("initrd", "split-initrd-differs")] {
        let name = format!("rig_1.{suffix}");
        let mut part = read(target.join(&name));
        let middle = part.len() / 2;
        part[middle] ^= 1;
        fs::write(target.join(&name), part).expect("written");
        assert!(has(&findings(&target, &[]), code, &name));
        let predicted = run(&[&"predict", &target, &"--pcr", &"11"]);
        assert!(predicted.stderr.contains(&format!("{name}: is not the")), "{}", predicted.stderr);
    }
    fs::write(target.join("rig_1.roothash"), format!("{}\n", "ab".repeat(32))).expect("written");
    let predicted = run(&[&"predict", &target, &"--pcr", &"11"]);
    assert!(predicted.stderr.contains("rig_1.roothash: no command line has"), "{}", predicted.stderr);
}

/// The modules of the kernel that booted, by what `uname` said in the guest.
#[test]
fn the_kernels_modules_have_to_be_there() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("usr/lib/modules/5.0.0-other")).expect("made");
    tool(Command::new("cp").arg("-r").arg(disks::esp("c-sdboot-257")).arg(root.join("efi")));
    let found = findings(&root, &[]);
    assert!(has(&found, "modules-missing", "rig-257.efi"), "{found:?}");
    let uname = fs::read_to_string(fixture("boots/c-sdboot-257/guest/uname")).expect("a text");
    let release = uname.split_whitespace().find(|word| word.starts_with("6.")).expect("a release");
    fs::create_dir_all(root.join("usr/lib/modules").join(release)).expect("made");
    let found = findings(&root, &[]);
    assert!(!found.iter().any(|(code, _)| code == "modules-missing"), "{found:?}");
}

/// Keys of openssl, signatures of sbsign: the programs have to be by a given certificate.
#[test]
fn certificates_account_for_programs() {
    if skipped_without(&disks::TOOLS) || skipped_without(&["openssl", "sbsign"]) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    for name in ["one", "two"] {
        let mut request = Command::new("openssl");
        request.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", &format!("/CN={name}/")]);
        tool(request.arg("-keyout").arg(at(name)).arg("-out").arg(at(&format!("{name}.pem"))));
    }
    let esp = at("esp");
    tool(Command::new("cp").arg("-r").arg(disks::esp("c-sdboot-257")).arg(&esp));
    for file in ["EFI/BOOT/BOOTX64.EFI", "EFI/Linux/rig-257.efi"] {
        let mut sign = Command::new("sbsign");
        sign.arg("--key").arg(at("one")).arg("--cert").arg(at("one.pem")).arg("--output").arg(esp.join(file));
        tool(sign.arg(disks::esp("c-sdboot-257").join(file)));
    }
    let of = |certificate: &str| {
        let found = findings(&esp, &[&"--certificate", &at(certificate)]);
        let mut places: Vec<String> =
            found.into_iter().filter(|(code, _)| code == "certificate").map(|(_, place)| place).collect();
        places.sort();
        places
    };
    assert_eq!(of("one.pem"), [""; 0]);
    assert_eq!(of("two.pem"), ["EFI/BOOT/BOOTX64.EFI", "EFI/Linux/rig-257.efi"]);
    // Changed after signing: no certificate helps.
    let path = esp.join("EFI/Linux/rig-257.efi");
    let mut bytes = read(&path);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).expect("written");
    assert_eq!(of("one.pem"), ["EFI/Linux/rig-257.efi"]);
}
