//! Which program starts by the machine's EFI variables, against real machines' variables and against logs of boots.

mod support;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use support::{Pcrs, disks, fixture, premeasure, read, read_json, scratch, skipped_without, tcg2, tool};

const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
const SECURITY: &str = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";
const SHIM: &str = "605dab50-e046-4300-abb6-3dd810dd8b23";
const LOADER: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
const SHIM_BYTES: [u8; 16] = *b"\x50\xab\x5d\x60\x46\xe0\x00\x43\xab\xb6\x3d\xd8\x10\xdd\x8b\x23";

fn arguments(parts: &[&dyn AsRef<OsStr>]) -> Vec<OsString> {
    parts.iter().map(|part| part.as_ref().to_os_string()).collect()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

/// A file as efivarfs has it.
fn variable(folder: &Path, name: &str, vendor: &str, data: &[u8]) {
    fs::create_dir_all(folder).expect("made");
    // shim's own are none of the system's business: it deletes those that the system may write.
    let attributes = if vendor == SHIM { 3 } else { 7 };
    let bytes = [&[attributes, 0, 0, 0], data].concat();
    fs::write(folder.join(format!("{name}-{vendor}")), bytes).expect("written");
}

fn node(kind: u8, subtype: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 4).expect("short");
    [&[kind, subtype][..], &length.to_le_bytes(), body].concat()
}

/// `HD(...)` of a partition with this GUID, and a file on it (UEFI section 10.3.5).
fn on_partition(guid: &[u8], file: &str) -> Vec<Vec<u8>> {
    let body = [&[1, 0, 0, 0][..], &[0; 16], guid, &[2, 2]].concat();
    vec![node(4, 1, &body), node(4, 4, &utf16(file))]
}

/// `EFI_LOAD_OPTION` (UEFI section 3.1.3).
fn option(attributes: u32, nodes: &[Vec<u8>], data: &[u8]) -> Vec<u8> {
    let path = [nodes.concat(), node(0x7F, 0xFF, b"")].concat();
    let length = u16::try_from(path.len()).expect("short").to_le_bytes();
    [&attributes.to_le_bytes()[..], &length, &utf16("test"), &path, data].concat()
}

fn pcrs(arguments: Vec<OsString>) -> (Value, String) {
    let run = premeasure([vec!["predict".into()], arguments, arguments_of_form()].concat());
    let stderr = run.stderr.clone();
    (run.json(), stderr)
}

fn arguments_of_form() -> Vec<OsString> {
    ["--secure-boot", "off", "--exit-boot-services", "success", "--format", "pcrs", "--bank", "sha256"]
        .map(OsString::from)
        .to_vec()
}

/// UniquePartitionGUID of the first partition, as stored (UEFI section 5.3.3).
fn partition_guid(disk: &Path) -> Vec<u8> {
    read(disk)[1024 + 16..1024 + 32].to_vec()
}

/// The variables that guests had after their boots, OVMF's own boot options among them: its setup program, which is no part of
/// a boot, and one for each device, whose optional data nobody sees.
#[test]
fn the_variables_of_real_machines_lead_to_what_they_booted() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    for case in ["a-uki-direct-252", "c-sdboot-257", "d2-uki-direct-262", "d3-sdboot-254", "g2-type1-252"] {
        let variables = fixture("boots").join(case).join("guest/efivar");
        let (predicted, warnings) = pcrs(arguments(&[&disks::disk(case), &"--variables", &variables]));
        let observed: Pcrs = read_json(fixture("boots").join(case).join("pcrs.json"));
        for pcr in ["4", "11", "12"] {
            assert_eq!(
                predicted["sha256"][pcr],
                Value::from(observed["sha256"][pcr].as_str()),
                "{case} {pcr}"
            );
        }
        assert!(!warnings.contains("tries"), "{case}: {warnings}");
    }
}

/// Numbers and contents of `Boot####`.
type Options = Vec<(u16, Vec<u8>)>;

/// What an option names is what `--boot-option` and `--cmdline` name.
#[test]
fn an_option_is_followed_with_its_data() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let disk = disks::disk("c-sdboot-257");
    let guid = partition_guid(&disk);
    let file = "\\EFI\\Linux\\rig-257.efi";
    let expected = |more: &[&dyn AsRef<OsStr>]| {
        let named = arguments(&[&disk, &"--boot-option", &file]);
        pcrs([named, arguments(more)].concat()).0
    };
    let direct = expected(&[]);
    let with_text = expected(&[&"--cmdline", &"one two"]);
    assert_ne!(direct["sha256"]["12"], with_text["sha256"]["12"]);
    let removable = pcrs(arguments(&[&disk])).0;
    assert_ne!(direct["sha256"]["4"], removable["sha256"]["4"]);

    let elsewhere = [0x55; 16];
    let cases: [(&str, Options, Option<u16>, &Value); 7] = [
        ("in the order", vec![(1, option(1, &on_partition(&guid, file), b""))], None, &direct),
        ("with data", vec![(1, option(1, &on_partition(&guid, file), &utf16("one two")))], None, &with_text),
        ("short", vec![(1, option(1, &[node(4, 4, &utf16(file))], b""))], None, &direct),
        ("not active", vec![(1, option(0, &on_partition(&guid, file), b""))], None, &removable),
        ("an application", vec![(1, option(0x101, &on_partition(&guid, file), b""))], None, &removable),
        ("next, though not active", vec![(2, option(0, &on_partition(&guid, file), b""))], Some(2), &direct),
        (
            "next before the order",
            vec![
                (1, option(1, &on_partition(&guid, "\\EFI\\BOOT\\BOOTX64.EFI"), b"")),
                (3, option(1, &on_partition(&guid, file), b"")),
            ],
            Some(3),
            &direct,
        ),
    ];
    for (index, (what, options, next, expected)) in cases.into_iter().enumerate() {
        let variables = folder.path().join(index.to_string());
        let order: Vec<u8> = options.iter().flat_map(|(number, _)| number.to_le_bytes()).collect();
        for (number, bytes) in &options {
            variable(&variables, &format!("Boot{number:04X}"), GLOBAL, bytes);
        }
        match next {
            Some(next) => variable(&variables, "BootNext", GLOBAL, &next.to_le_bytes()),
            None => variable(&variables, "BootOrder", GLOBAL, &order),
        }
        let (found, warnings) = pcrs(arguments(&[&disk, &"--variables", &variables]));
        assert_eq!(found["sha256"]["4"], expected["sha256"]["4"], "{what}: {warnings}");
        assert_eq!(found["sha256"]["12"], expected["sha256"]["12"], "{what}: {warnings}");
        // The caller's word counts for more.
        let named = [&disk as &dyn AsRef<OsStr>, &"--variables", &variables, &"--boot-option", &file];
        assert_eq!(pcrs(arguments(&named)).0["sha256"]["4"], direct["sha256"]["4"], "{what}");
    }

    // An attempt that comes before leaves traces in PCR 4 that nobody can tell.
    let variables = folder.path().join("before");
    variable(&variables, "Boot0001", GLOBAL, &option(1, &on_partition(&elsewhere, file), b""));
    variable(&variables, "Boot0002", GLOBAL, &option(1, &on_partition(&guid, file), b""));
    variable(&variables, "BootOrder", GLOBAL, &[1, 0, 2, 0]);
    let (found, warnings) = pcrs(arguments(&[&disk, &"--variables", &variables]));
    assert_eq!(found["sha256"]["4"], Value::Null);
    assert_eq!(found["sha256"]["11"], direct["sha256"]["11"]);
    assert!(warnings.contains("Boot0001"), "{warnings}");
}

fn chosen(folder: &Path, more: &[OsString]) -> String {
    let base = vec!["inspect".into(), folder.into(), "--json".into()];
    let medium: Value = premeasure([base, more.to_vec()].concat()).json();
    let boots = medium["boots"].as_array().expect("boots");
    let chosen: Vec<&str> =
        boots.iter().filter(|boot| boot["chosen"] == true).filter_map(|boot| boot["id"].as_str()).collect();
    chosen.join(",")
}

/// systemd's `config_select_default_entry`; of 260 and later loader.conf(5) and the Boot Loader Interface: preferred comes
/// before default and passes over entries whose tries are used up.
#[test]
fn variables_of_systemd_boot_choose_before_loader_conf() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let one_shot = "LoaderEntryOneShot=B.conf";
    let default = "LoaderEntryDefault=c*";
    let preferred = "LoaderEntryPreferred=d.conf";
    let dead = "LoaderEntryPreferred=x*.conf";
    let saved = "LoaderEntryDefault=@saved";
    let last = "LoaderEntryLastBooted=b.conf";
    // Version of systemd-boot, loader.conf, variables, what is booted.
    let table: &[(&str, &str, &[&str], &str)] = &[
        ("257", "default a.conf\n", &[], "a.conf"),
        ("257", "default a.conf\n", &[default], "c.conf"),
        ("257", "default a.conf\n", &[default, one_shot], "b.conf"),
        ("257", "default a.conf\n", &["LoaderEntryOneShot=nothing"], "a.conf"),
        ("257", "default a.conf\n", &[preferred], "a.conf"),
        ("262", "default a.conf\n", &[preferred], "d.conf"),
        ("262", "default a.conf\n", &[preferred, default], "d.conf"),
        ("262", "default a.conf\npreferred b.conf\n", &[default], "b.conf"),
        ("262", "default a.conf\n", &[dead, default], "c.conf"),
        ("257", "default a.conf\n", &[saved, last], "b.conf"),
        ("257", "default a.conf\n", &[saved], "a.conf"),
        ("257", "default @saved\n", &[last], "b.conf"),
        ("257", "default @saved\n", &[one_shot], "b.conf"),
        ("262", "default @saved\npreferred c*\n", &[], "c.conf"),
        // Boots of 257.13 and 262.1: their ids have no boot counter.
        ("257", "default x.conf\n", &[], "x.conf"),
        ("262", "default x.conf\n", &[], "x.conf"),
        ("257", "default x+0-3.conf\n", &[], "d.conf"),
    ];
    for (version, conf, variables, expected) in table {
        let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
        let root = folder.path().join("esp");
        for path in ["EFI/BOOT", "loader/entries"] {
            fs::create_dir_all(root.join(path)).expect("made");
        }
        fs::copy(fixture(format!("pe/systemd-boot-{version}.efi")), root.join("EFI/BOOT/BOOTX64.EFI"))
            .or_else(|_| {
                fs::copy(fixture("pe/systemd-boot-257-signed.efi"), root.join("EFI/BOOT/BOOTX64.EFI"))
            })
            .expect("copied");
        fs::copy(disks::esp("g2-type1-252").join("rig/vmlinuz"), root.join("vmlinuz")).expect("copied");
        for name in ["a", "b", "c", "d", "x+0-3"] {
            fs::write(root.join(format!("loader/entries/{name}.conf")), "linux /vmlinuz\n").expect("written");
        }
        fs::write(root.join("loader/loader.conf"), conf).expect("written");
        let flags = variables.iter().flat_map(|text| ["--loader-variable".into(), OsString::from(text)]);
        assert_eq!(chosen(&root, &flags.collect::<Vec<_>>()), *expected, "{version} {conf} {variables:?}");
        // The same as variables of a machine.
        let store = folder.path().join("variables");
        variable(&store, "Timeout", GLOBAL, &[0, 0]);
        variable(&store, "SetupMode", GLOBAL, &[1]);
        for text in *variables {
            let (name, value) = text.split_once('=').expect("a value");
            variable(&store, name, LOADER, &utf16(value));
        }
        let from_store = chosen(&root, &["--variables".into(), store.into_os_string()]);
        assert_eq!(from_store, *expected, "{version} {conf} {variables:?}");
    }
}

/// Entries that the machine brings along in SMBIOS (systemd `config_load_smbios_entries`).
#[test]
fn smbios_brings_entries() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    for (version, expected) in [("262", "extra.conf"), ("254", "plain.conf")] {
        let root = folder.path().join(version);
        for path in ["EFI/BOOT", "loader/entries"] {
            fs::create_dir_all(root.join(path)).expect("made");
        }
        let loader = fixture(format!("pe/systemd-boot-{version}.efi"));
        fs::copy(loader, root.join("EFI/BOOT/BOOTX64.EFI")).expect("copied");
        fs::copy(disks::esp("g2-type1-252").join("rig/vmlinuz"), root.join("vmlinuz")).expect("copied");
        fs::write(root.join("loader/entries/plain.conf"), "linux /vmlinuz\noptions x\n").expect("written");
        fs::write(root.join("loader/loader.conf"), "default extra*\n").expect("written");
        let string = "io.systemd.boot.entries-extra:Extra.conf=title x\nlinux /vmlinuz\noptions y";
        let run = premeasure(arguments(&[&"predict", &root, &"--smbios-string", &string]));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(run.text().contains(&format!("boots entry {expected}")), "{}", run.text());
    }
}

/// An entry that boots over the network is one of the menu (systemd `LOADER_UKI_URL`, from 258), and may be the one that is
/// booted; older ones see a line that they don't know.
#[test]
fn entries_of_the_network_are_seen() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    for (version, url, expected) in [
        ("262", "https://x/y.efi", "net.conf"),
        ("262", ":y.efi", "disk.conf"),
        ("254", "https://x/y.efi", "disk.conf"),
    ] {
        let root = folder.path().join(format!("{version}-{}", url.len()));
        for path in ["EFI/BOOT", "loader/entries"] {
            fs::create_dir_all(root.join(path)).expect("made");
        }
        let loader = fixture(format!("pe/systemd-boot-{version}.efi"));
        fs::copy(loader, root.join("EFI/BOOT/BOOTX64.EFI")).expect("copied");
        fs::copy(disks::esp("g2-type1-252").join("rig/vmlinuz"), root.join("vmlinuz")).expect("copied");
        fs::write(root.join("loader/entries/disk.conf"), "linux /vmlinuz\n").expect("written");
        fs::write(root.join("loader/entries/net.conf"), format!("uki-url {url}\n")).expect("written");
        assert_eq!(chosen(&root, &[]), expected, "{version} {url}");
        let run = premeasure(arguments(&[&"predict", &root]));
        assert_eq!(run.code, Some(if expected == "net.conf" { 2 } else { 0 }), "{}", run.stderr);
        assert_eq!(run.stderr.contains("over the network"), expected == "net.conf", "{}", run.stderr);
    }
}

/// shim 16.1, systemd-boot 257 and a UKI, signed with two keys of `MokList`: as in a real boot (OVMF 2025.02, September 2026;
/// there systemd-boot had the vendor's signature), PCR 4 has three images and no kernel, and PCR 7 behind the separator the
/// entry of db for shim, `SbatLevel`, and the keys of systemd-boot and the UKI. The first two are those that a boot with the
/// same shim and GRUB logged.
#[test]
fn a_uki_behind_shim_and_systemd_boot() {
    let case = "j-shim-grub-bookworm";
    if skipped_without(&disks::TOOLS) || skipped_without(&["openssl", "sbsign"]) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    // The key as it stands in the list: owner and certificate.
    let key = |name: &str| -> Vec<u8> {
        let (key, pem, der) = (at(name), at(&format!("{name}.pem")), at(&format!("{name}.der")));
        let mut request = Command::new("openssl");
        request.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj"]);
        tool(request.arg(format!("/CN={name}/")).arg("-keyout").arg(&key).arg("-out").arg(&pem));
        tool(
            Command::new("openssl").args(["x509", "-outform", "DER", "-in"]).arg(&pem).arg("-out").arg(&der),
        );
        [&SHIM_BYTES[..], &read(&der)].concat()
    };
    let entries = [key("one"), key("two")];
    let sign = |name: &str, from: &Path, to: &Path| {
        let mut sign = Command::new("sbsign");
        sign.arg("--key").arg(at(name)).arg("--cert").arg(at(&format!("{name}.pem")));
        tool(sign.arg("--output").arg(to).arg(from));
    };
    let esp = at("esp");
    for path in ["EFI/BOOT", "EFI/Linux"] {
        fs::create_dir_all(esp.join(path)).expect("made");
    }
    let log = tcg2::parse(&read(fixture("boots").join(case).join("eventlog.bin")));
    fs::copy(disks::esp(case).join("EFI/BOOT/BOOTX64.EFI"), esp.join("EFI/BOOT/BOOTX64.EFI"))
        .expect("copied");
    let loader = esp.join("EFI/BOOT/grubx64.efi");
    sign("one", &disks::esp("c-sdboot-257").join("EFI/BOOT/BOOTX64.EFI"), &loader);
    let uki = esp.join("EFI/Linux/linux.efi");
    sign("two", &fixture("t-tiny-257/uki.efi"), &uki);

    // The machine's variables, as the other boot measured them, and the owner's key.
    let variables = at("variables");
    for event in log.iter().filter(|event| event.event_type == 0x8000_0001) {
        let number = |at: usize| {
            usize::try_from(u64::from_le_bytes(event.data[at..at + 8].try_into().expect("8"))).expect("small")
        };
        let (name, data) = event.data[32..].split_at(number(16) * 2);
        let name = String::from_utf8(name.iter().step_by(2).copied().collect()).expect("ASCII");
        let vendor = if name.starts_with("db") { SECURITY } else { GLOBAL };
        variable(&variables, &name, vendor, data);
    }
    const X509: [u8; 16] = *b"\xa1\x59\xc0\xa5\xe4\x94\xa7\x4a\x87\xb5\xab\x15\x5c\x2b\xf0\x72";
    let list = |entry: &Vec<u8>| {
        let size = u32::try_from(entry.len()).expect("small");
        [&X509[..], &(size + 28).to_le_bytes(), &[0; 4], &size.to_le_bytes(), entry].concat()
    };
    variable(&variables, "MokList", SHIM, &entries.iter().flat_map(list).collect::<Vec<_>>());

    let predict = |more: &[&dyn AsRef<OsStr>]| -> Value {
        let base =
            arguments(&[&"predict", &esp, &"--json", &"--bank", &"sha256", &"--variables", &variables]);
        premeasure([base, arguments(more)].concat()).json()
    };
    let document = predict(&[]);
    let variant = &document["variants"][0];
    let of = |pcr: u64| -> Vec<String> {
        let all = variant["measurements"].as_array().expect("measurements").iter();
        let of = all.filter(|m| m["pcr"] == pcr && m["stage"] == "exit-boot-services");
        of.map(|m| m["digests"]["sha256"].as_str().expect("a digest").to_owned()).collect()
    };
    let logged = |pcr: u32| {
        log.iter().filter(move |event| event.pcr == pcr).map(|event| event.digests["sha256"].clone())
    };
    // PCR 4: action, separator and shim as logged, then the two others.
    let images = of(4);
    assert_eq!(images[..3], logged(4).take(3).collect::<Vec<_>>());
    assert_eq!(images.len(), 5);
    let digest = |path: &Path| {
        let inspected: Value = premeasure(arguments(&[&"inspect", &path, &"--json"])).json();
        inspected.to_string()
    };
    assert!(digest(&loader).contains(&images[3]) && digest(&uki).contains(&images[4]));

    // PCR 7: as logged up to SbatLevel, then the keys.
    let authority = 0x8000_00E0;
    let first = log.iter().filter(|event| event.pcr == 7).position(|event| event.event_type == authority);
    let common = first.expect("an authority") + 2;
    let expected = entries.iter().map(|entry| {
        let name = "MokListRT";
        let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let lengths = [(name.len() as u64).to_le_bytes(), (entry.len() as u64).to_le_bytes()].concat();
        hex::encode(Sha256::digest([&SHIM_BYTES[..], &lengths, &units, entry].concat()))
    });
    assert_eq!(of(7), logged(7).take(common).chain(expected).collect::<Vec<_>>());

    // Without these keys shim refuses its second stage.
    fs::remove_file(variables.join(format!("MokList-{SHIM}"))).expect("removed");
    let run = premeasure(arguments(&[&"predict", &esp, &"--variables", &variables]));
    assert_eq!(run.code, Some(2), "{}", run.text());
    assert!(run.stderr.contains("grubx64.efi") && run.stderr.contains("refuses"), "{}", run.stderr);
    // Nobody decided about Secure Boot: with it off the firmware measures the kernel of this stub, too.
    let run = premeasure(arguments(&[&"predict", &esp, &"--format", &"pcrs", &"--bank", &"sha256"]));
    let values: Value = run.json();
    assert_eq!(values["sha256"]["4"].as_array().map(Vec::len), Some(2), "{values}");
}

/// Of two EFI System Partitions the boot order decides, by the partition's GUID.
#[test]
fn of_two_boot_partitions_the_boot_order_decides() {
    let sbin = |name: &str| support::find_tool(name).unwrap_or_else(|| Path::new("/usr/sbin").join(name));
    if skipped_without(&["mcopy"]) || !sbin("sgdisk").is_file() || !sbin("mkfs.vfat").is_file() {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let disk = folder.path().join("disk.img");
    fs::File::create(&disk).and_then(|file| file.set_len(90 << 20)).expect("an empty image");
    let mut sgdisk = Command::new(sbin("sgdisk"));
    sgdisk.args(["-n", "1:1M:+40M", "-t", "1:ef00", "-n", "2:41M:+40M", "-t", "2:ef00"]);
    tool(sgdisk.arg(&disk));
    for (number, uki) in [(0_u64, "t-tiny-257"), (1, "t3-tiny-262")] {
        let esp = folder.path().join("esp");
        fs::File::create(&esp).and_then(|file| file.set_len(40 << 20)).expect("an empty image");
        tool(Command::new(sbin("mkfs.vfat")).args(["-F", "32"]).arg(&esp));
        tool(Command::new("mmd").arg("-i").arg(&esp).args(["::/EFI", "::/EFI/BOOT"]));
        let mut copy = Command::new("mcopy");
        copy.arg("-i").arg(&esp).arg(fixture(uki).join("uki.efi")).arg("::/EFI/BOOT/BOOTX64.EFI");
        tool(&mut copy);
        let mut bytes = read(&disk);
        let start = usize::try_from((1 + number * 40) << 20).expect("small");
        bytes[start..start + (40 << 20)].copy_from_slice(&read(&esp));
        fs::write(&disk, bytes).expect("written");
    }
    let undecided = premeasure(arguments(&[&"predict", &disk]));
    assert_eq!(undecided.code, Some(2));
    assert!(undecided.stderr.contains("--partition"), "{}", undecided.stderr);
    for (number, entry) in [("1", 0), ("2", 1)] {
        let guid = read(&disk)[1024 + entry * 128 + 16..][..16].to_vec();
        let body = [&[1, 0, 0, 0][..], &[0; 16], &guid, &[2, 2]].concat();
        let variables = folder.path().join(number);
        variable(&variables, "Boot0007", GLOBAL, &option(1, &[node(4, 1, &body)], b""));
        variable(&variables, "BootOrder", GLOBAL, &[7, 0]);
        let (found, warnings) = pcrs(arguments(&[&disk, &"--variables", &variables]));
        let expected = pcrs(arguments(&[&disk, &"--partition", &number])).0;
        assert_eq!(found, expected, "{number}: {warnings}");
    }
}

/// fallback makes a boot option of each CSV file and restarts: what the first of them names is what boots later (shim
/// `fallback.c`).
#[test]
fn boots_after_fallback_are_followed() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let esp = folder.path();
    for path in ["EFI/BOOT", "EFI/os", "EFI/Linux"] {
        fs::create_dir_all(esp.join(path)).expect("made");
    }
    let shim = fixture("pe/shim-16.1.efi");
    fs::copy(&shim, esp.join("EFI/BOOT/BOOTX64.EFI")).expect("copied");
    fs::copy(&shim, esp.join("EFI/BOOT/fbx64.efi")).expect("copied");
    fs::copy(&shim, esp.join("EFI/os/shimx64.efi")).expect("copied");
    fs::copy(disks::esp("c-sdboot-257").join("EFI/BOOT/BOOTX64.EFI"), esp.join("EFI/os/grubx64.efi"))
        .expect("copied");
    fs::copy(fixture("t-tiny-257/uki.efi"), esp.join("EFI/Linux/linux.efi")).expect("copied");
    let predict = |path: &Path| premeasure(arguments(&[&"predict", &path, &"--secure-boot", &"off"]));
    let lost = predict(esp);
    assert!(lost.stderr.contains("BOOTX64.CSV"), "{}", lost.stderr);
    let line = [b"\xFF\xFE".to_vec(), utf16("shimx64.efi,os,,the system\n")].concat();
    fs::write(esp.join("EFI/os/BOOTX64.CSV"), line).expect("written");
    let run = predict(esp);
    assert!(run.stderr.contains("the boots after"), "{}", run.stderr);
    for step in ["starts EFI/os/shimx64.efi", "shim starts EFI/os/grubx64.efi: systemd-boot 257", "linux.efi"]
    {
        assert!(run.text().contains(step), "{step}: {}", run.text());
    }
    // The same as without fallback, from that folder.
    let direct = ["--boot-option", "EFI/os/shimx64.efi", "--format", "pcrs", "--secure-boot", "off"];
    let values = |more: &[&str]| -> Value {
        let base = [OsString::from("predict"), esp.into()];
        premeasure(base.into_iter().chain(more.iter().map(OsString::from))).json()
    };
    assert_eq!(values(&direct[2..]), values(&direct));
}
