//! shim and what is stored for it: its variables, as a store or as the copies that a running system sees, and files beside it.
//!
//! The guest's own values say what holds without any of that; what shim does with each variable follows its source, `mok.c`
//! and `sbat.c`, and is measured by the rules that the guest's log shows.

mod support;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use premeasure::hashing::DigestPlan;
use premeasure::pe::{PeImage, authenticode_segments};
use premeasure::secure_boot::{Database, ShimDatabases, ShimVerdict, judge_by_shim};
use premeasure::source::Blob;
use premeasure::tcg::{Digest, DigestSet, HashAlgorithm};
use serde_json::Value;
use support::{BANKS, Pcrs, disks, fixture, premeasure, read, read_json, scratch, skipped_without};

const CASE: &str = "j-shim-grub-bookworm";
const SHIM_LOCK: &str = "605dab50-e046-4300-abb6-3dd810dd8b23";

/// A copy of the guest's variables, to be changed, and its boot partition.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { folder: tempfile::tempdir_in(scratch()).expect("a temporary folder") };
        for entry in fs::read_dir(fixture("boots").join(CASE).join("guest/efivar")).expect("variables") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let is_shims = name.starts_with("Mok") || name.starts_with("Sbat");
            // efivarfs names the vendor; copies of the others go without.
            let name = if is_shims { format!("{name}-{SHIM_LOCK}") } else { name };
            // The disk alone says what starts.
            if !name.starts_with("Boot") {
                fs::copy(&path, machine.variables().join(name)).expect("copied");
            }
        }
        machine
    }

    fn variables(&self) -> std::path::PathBuf {
        let folder = self.folder.path().join("efivars");
        fs::create_dir_all(&folder).expect("made");
        folder
    }

    /// Stores a variable of shim's that the system sees, too.
    fn set(self, name: &str, content: &[u8]) -> Self {
        self.with_attributes(7, name, content)
    }

    /// Stores one that only boot services see.
    fn hide(self, name: &str, content: &[u8]) -> Self {
        self.with_attributes(3, name, content)
    }

    fn with_attributes(self, attributes: u8, name: &str, content: &[u8]) -> Self {
        let file = self.variables().join(format!("{name}-{SHIM_LOCK}"));
        fs::write(file, [&[attributes, 0, 0, 0], content].concat()).expect("written");
        self
    }

    fn remove(self, name: &str) -> Self {
        fs::remove_file(self.variables().join(format!("{name}-{SHIM_LOCK}"))).expect("removed");
        self
    }

    fn without_secure_boot(self) -> Self {
        fs::write(self.variables().join("SecureBoot"), [6, 0, 0, 0, 0]).expect("written");
        self
    }

    fn document(&self, medium: &Path) -> Value {
        let mut arguments: Vec<OsString> = vec!["predict".into(), medium.into(), "--variables".into()];
        arguments.extend([self.variables().into_os_string(), "--json".into()]);
        arguments.extend(BANKS.iter().flat_map(|bank| ["--bank".into(), (*bank).into()]));
        premeasure(&arguments).json()
    }

    fn predict(&self) -> Value {
        self.document(&disks::disk(CASE))
    }
}

fn value(document: &Value, number: usize, bank: &str) -> Option<String> {
    let entry = &document["variants"][0]["pcrs"][number]["values"][0]["digests"][bank];
    entry.as_str().map(str::to_owned)
}

fn is_unknown(document: &Value, number: usize) -> bool {
    document["variants"][0]["pcrs"][number]["status"] == "unknown"
}

/// Digests of PCR 7's or 14's measurements, in SHA-256.
fn measured(document: &Value, number: u64) -> Vec<String> {
    let measurements = document["variants"][0]["measurements"].as_array().expect("measurements").iter();
    let of_pcr = measurements.filter(|m| m["pcr"] == number);
    of_pcr.filter_map(|m| m["digests"]["sha256"].as_str().map(str::to_owned)).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Digest::of(HashAlgorithm::Sha256, bytes).to_string()
}

/// The event of `SbatLevel` with this text.
fn level(text: &str) -> String {
    let shim_lock = hex::decode("50ab5d6046e00043abb63dd810dd8b23").expect("a GUID");
    let name: Vec<u8> = "SbatLevel".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let lengths = [9, text.len() as u64].map(u64::to_le_bytes).concat();
    sha256(&[shim_lock, lengths, name, text.as_bytes().to_vec()].concat())
}

/// The built-in texts of this shim, in their order in the file: what it stores by itself, and what it stores when asked.
fn built_in() -> [String; 2] {
    let shim = read(fixture("pe/shim-16.1.efi"));
    let starts = (0..shim.len()).filter(|at| shim[*at..].starts_with(b"sbat,1,2025"));
    let text = |at: usize| shim[at..].split(|byte| *byte == 0).next().expect("a text").to_vec();
    let texts: Vec<String> = starts.map(|at| String::from_utf8(text(at)).expect("ASCII")).collect();
    texts.try_into().expect("two")
}

/// What a running system sees of shim's variables is enough: PCR 7 and 14 are the guest's.
#[test]
fn copies_for_the_system_say_what_was_stored() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let observed: Pcrs = read_json(fixture("boots").join(CASE).join("pcrs.json"));
    let document = Machine::new().predict();
    for bank in BANKS {
        for number in [7, 14] {
            assert_eq!(
                value(&document, number, bank).as_ref(),
                observed[bank].get(&number.to_string()),
                "PCR {number} {bank}"
            );
        }
    }
    // Somebody enrolled a key: shim's copy has it behind the vendor's.
    let mut lists = read(Machine::new().variables().join(format!("MokListRT-{SHIM_LOCK}")))[4..].to_vec();
    lists.extend(read(fixture("boots/f-secureboot-257/inputs/db.esl")));
    let document = Machine::new().set("MokListRT", &lists).predict();
    assert_eq!(measured(&document, 14)[0], sha256(&lists));
    // Two ways to say it. shim deletes a list that the system might have written.
    let key = read(fixture("boots/f-secureboot-257/inputs/db.esl"));
    let stored = Machine::new().hide("MokList", &key).predict();
    assert_eq!(value(&stored, 14, "sha256"), value(&document, 14, "sha256"));
    let visible = Machine::new().set("MokList", &key).predict();
    assert_eq!(value(&visible, 14, "sha256").as_ref(), observed["sha256"].get("14"));
    // Another shim's copy, or one in parts, says nothing of what is stored.
    assert!(is_unknown(&Machine::new().set("MokListRT", &lists[1..]).predict(), 14));
    assert!(is_unknown(&Machine::new().set("MokListRT1", &lists).predict(), 14));
    // The variable exists where shim made no copy.
    let document = Machine::new().remove("MokListTrustedRT").predict();
    assert_eq!(measured(&document, 14).len(), 2, "no MokListTrusted");
}

/// `SbatLevel` is the stored one where that is as new; `SbatPolicy` chooses among the built-in ones.
#[test]
fn levels_follow_what_is_stored_and_asked_for() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let [automatic, latest] = built_in();
    let under_secure_boot = |stored: &str, policy: Option<u8>| {
        let mut machine = Machine::new().set("SbatLevelRT", stored.as_bytes());
        if let Some(policy) = policy {
            machine = machine.set("SbatPolicy", &[policy]);
        }
        measured(&machine.predict(), 7)
    };
    let old = "sbat,1,2023012900\nshim,2\ngrub,3\n";
    let same_day = "sbat,1,2025021800\nshim,4\n";
    let newer = "sbat,1,2027010100\nshim,5\n";
    for (stored, policy, expected) in [
        (old, None, automatic.as_str()),
        (same_day, None, same_day),
        (newer, None, newer),
        (old, Some(1), &latest),
        (newer, Some(1), newer),
        (old, Some(2), &automatic),
        // Not to be reset under Secure Boot.
        (newer, Some(3), newer),
        (old, Some(9), &automatic),
    ] {
        let found = under_secure_boot(stored, policy);
        assert!(found.contains(&level(expected)), "{stored:?} {policy:?}: {found:?}");
    }
    // Without Secure Boot shim resets it, unless it is asked for something for once.
    let off = |policy: u8| Machine::new().without_secure_boot().set("SbatPolicy", &[policy]).predict();
    for policy in [3, 9] {
        assert!(measured(&off(policy), 7).contains(&level("sbat,1,2021030218\n")), "{policy}");
    }
    for policy in [1, 2] {
        assert!(is_unknown(&off(policy), 7), "{policy}");
    }
}

/// What is not followed is unknown: requests for MokManager, verification switched off, files that shim reads.
#[test]
fn what_shim_does_otherwise_is_left_open() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    for request in ["MokNew", "MokAuth", "MokXDel", "MokListTrustedNew"] {
        let document = Machine::new().set(request, &[1]).predict();
        assert!([4, 7, 14].iter().all(|number| is_unknown(&document, *number)), "{request}");
        assert!(document.to_string().contains(&format!("which the variable {request} asks for")));
    }
    let insecure = Machine::new().set("MokSBStateRT", &[1]).predict();
    assert!(is_unknown(&insecure, 4) && is_unknown(&insecure, 7) && !is_unknown(&insecure, 14));
    assert_eq!(measured(&insecure, 14)[2], sha256(&[1]), "MokSBState");
    let ignoring = Machine::new().set("MokIgnoreDB", &[1]).predict();
    assert!(is_unknown(&ignoring, 7) && !is_unknown(&ignoring, 14));
    // Switched on: nothing of that.
    let observed: Pcrs = read_json(fixture("boots").join(CASE).join("pcrs.json"));
    let none = Machine::new().set("MokIgnoreDB", &[0]).predict();
    assert_eq!(value(&none, 7, "sha256").as_ref(), observed["sha256"].get("7"));

    let esp = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    copy(&disks::esp(CASE), esp.path());
    let boot = esp.path().join("EFI/BOOT");
    for (file, unknown) in [
        ("revocations_sbat.efi", [4, 7, 14]),
        ("SHIM_CERTIFICATE_0.EFI", [4, 7, 14]),
        ("options.csv", [4, 7, 14]),
    ] {
        fs::write(boot.join(file), b"x").expect("written");
        let document = Machine::new().document(esp.path());
        assert!(unknown.iter().all(|number| is_unknown(&document, *number)), "{file}");
        if file != "options.csv" {
            assert!(document.to_string().contains(&format!("shim measures {file}")), "{file}");
            // Without Secure Boot shim does not look for them.
            let document = Machine::new().without_secure_boot().document(esp.path());
            assert!(!is_unknown(&document, 7) && !is_unknown(&document, 14), "{file}");
        }
        fs::remove_file(boot.join(file)).expect("removed");
    }
}

/// The guest's ESP with its shim made another version or another vendor's: texts of the same length.
fn esp_with_shim(changes: &[(&str, &str)]) -> tempfile::TempDir {
    let esp = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    copy(&disks::esp(CASE), esp.path());
    let path = esp.path().join("EFI/BOOT/BOOTX64.EFI");
    let mut shim = read(&path);
    for (old, new) in changes {
        assert_eq!(old.len(), new.len());
        let at = shim.windows(old.len()).position(|window| window == old.as_bytes()).expect(old);
        shim[at..][..new.len()].copy_from_slice(new.as_bytes());
    }
    fs::write(path, shim).expect("written");
    esp
}

/// Without Secure Boot 15.7 stores its level as it does with it: logs of Ubuntu's 15.7 (corpus, hpe-u46-locality3 and
/// ccel-ubuntu-tdx-fallback) have `sbat,1,2022052400` there, where 15.8 resets it.
#[test]
fn shim_15_7_keeps_its_level_without_secure_boot() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let esp = esp_with_shim(&[("$Version: 16.1 $", "$Version: 15.7 $"), ("\nshim,4,UEFI", "\nshim,3,UEFI")]);
    let [automatic, latest] = built_in();
    let old = "sbat,1,2021030218\n";
    for (stored, policy, expected) in [
        (old, None, automatic.as_str()),
        ("sbat,1,2027010100\nshim,5\n", None, "sbat,1,2027010100\nshim,5\n"),
        (old, Some(1), &latest),
        (old, Some(2), &automatic),
        ("sbat,1,2027010100\nshim,5\n", Some(3), old),
    ] {
        let mut machine = Machine::new().set("SbatLevelRT", stored.as_bytes()).without_secure_boot();
        if let Some(policy) = policy {
            machine = machine.set("SbatPolicy", &[policy]);
        }
        let document = machine.document(esp.path());
        assert!(measured(&document, 7).contains(&level(expected)), "{stored:?} {policy:?}");
        assert!(document.to_string().contains("shim-15.7-as-read"), "nobody saw it boot");
    }
    let observed: Pcrs = read_json(fixture("boots").join(CASE).join("pcrs.json"));
    let document = Machine::new().without_secure_boot().document(esp.path());
    assert_eq!(value(&document, 14, "sha256").as_ref(), observed["sha256"].get("14"));
}

/// Other builds are not taken for one that is known: the reason names the version, or what the vendor may have changed. Ubuntu's have
/// the placeholder as `MokListX`, though they were built with revocations (corpus, gce-ubuntu-2404-amd-sevsnp).
#[test]
fn builds_that_nobody_saw_are_left_open() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    for (changes, unknown, says) in [
        (
            &[("$Version: 16.1 $", "$Version: 15.6 $"), ("\nshim,4,UEFI", "\nshim,2,UEFI")][..],
            &[7, 14][..],
            "shim 15.6 measures",
        ),
        (
            &[("$Version: 16.1 $", "$Version: 16.1 $"), ("\nshim,4,UEFI", "\nshim,3,UEFI")],
            &[7, 14],
            "depends on its version",
        ),
        (&[("\nshim.debian,", "\nshim.ubuntu,")], &[14], "revocations into MokListX"),
    ] {
        let esp = esp_with_shim(changes);
        let document = Machine::new().without_secure_boot().document(esp.path());
        for number in [7, 14] {
            assert_eq!(is_unknown(&document, number), unknown.contains(&number), "{says}: PCR {number}");
        }
        assert!(document.to_string().contains(says), "{says}");
    }
}

/// What lets an image start is looked for in shim's order: digests, then certificates; `db`, the vendor's lists, then `MokListRT`. A
/// recorded machine has `vendor_db` between `db` and `MokList` (hirs-laptop-centos-sb-on of the corpus).
#[test]
fn what_lets_an_image_start_is_found_in_shims_order() {
    let database = |bytes: &[u8]| Database::parse(bytes).expect("lists");
    let key = read(fixture("boots/f-secureboot-257/inputs/db.esl"));
    let signed = image("pe/systemd-boot-257-signed.efi");
    let digest = digest_list(&signed.1.get(HashAlgorithm::Sha256).expect("hashed"));
    let judge = |(image, digests): &(PeImage, DigestSet), lists: &ShimDatabases| match judge_by_shim(
        image, digests, lists,
    ) {
        Ok(ShimVerdict::Allowed { name, entry, .. }) => format!("{name} {}", entry.len()),
        Ok(ShimVerdict::Refused(refusal)) => refusal.to_string(),
        Ok(ShimVerdict::Undecided(why)) => why,
        Err(error) => panic!("{error}"),
    };
    let certificate = key.len() - 28;
    let none = ShimDatabases::default();
    let keys = ShimDatabases { keys: database(&key), ..none.clone() };
    let vendor = ShimDatabases { vendor_db: database(&key), ..keys.clone() };
    let db = ShimDatabases { db: database(&key), ..vendor.clone() };
    assert_eq!(judge(&signed, &keys), format!("MokListRT {certificate}"));
    assert_eq!(judge(&signed, &vendor), format!("vendor_db {certificate}"));
    assert_eq!(judge(&signed, &db), format!("db {certificate}"));
    assert_eq!(judge(&signed, &ShimDatabases { keys: database(&digest), ..db.clone() }), "MokListRT 48");
    let both = [key.clone(), digest.clone()].concat();
    assert_eq!(judge(&signed, &ShimDatabases { db: database(&both), ..db.clone() }), "db 48");
    let revoked = |list: &[u8]| judge(&signed, &ShimDatabases { revoked: database(list), ..db.clone() });
    assert!(revoked(&digest).contains("dbx lists its image digest"));
    assert!(revoked(&key).contains("which its signature leads to"));
    assert!(judge(&signed, &none).contains("no certificate in db accounts for it"));
    // Two signatures, each of which would be measured if it holds; its digest alone is clear.
    let twice = image("pe/shim-16.1.efi");
    assert!(judge(&twice, &db).contains("2 signatures"));
    let digest = digest_list(&twice.1.get(HashAlgorithm::Sha256).expect("hashed"));
    assert_eq!(judge(&twice, &ShimDatabases { keys: database(&digest), ..none.clone() }), "MokListRT 48");
    assert!(judge(&image("pe/systemd-boot-262.efi"), &db).contains("it is not signed"));
}

fn image(name: &str) -> (PeImage, DigestSet) {
    let image = PeImage::parse(&Blob::from_bytes(read(fixture(name)))).expect("an image");
    let mut plan = DigestPlan::new();
    let stream = plan.add(authenticode_segments(&image).expect("an image"));
    let banks = [HashAlgorithm::Sha1, HashAlgorithm::Sha256];
    let digests = plan.compute(&banks, &|_| ()).expect("in memory").get(stream).cloned().expect("computed");
    (image, digests)
}

/// A list of one SHA-256 digest (UEFI, section 32.4.1).
fn digest_list(digest: &Digest) -> Vec<u8> {
    let kind = hex::decode("2616c4c14c509240aca941f936934328").expect("a GUID");
    let sizes = [28 + 48, 0, 48_u32].map(u32::to_le_bytes).concat();
    [kind, sizes, vec![0x11; 16], digest.as_bytes().to_vec()].concat()
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            fs::create_dir_all(&target).expect("made");
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copied");
        }
    }
}
