//! PCR 0 and 7 from the firmware's image and the variable store alone, against the real boots whose firmware is at hand: as
//! Debian's package `ovmf` installs it, or in a folder of `PREMEASURE_OVMF` (a list like `PATH`).

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use support::{disks, fixture, premeasure, read, read_json, say, skipped_without};

const BANKS: [&str; 4] = ["sha1", "sha256", "sha384", "sha512"];

/// The boots; all on a machine of two processors and 1 GiB, in QEMU 7.2.
const BOOTS: [&str; 15] = [
    "a-uki-direct-252",
    "c-sdboot-257",
    "d2-uki-direct-262",
    "d3-sdboot-254",
    "e-addons-257",
    "f-secureboot-257",
    "f4-setup-mode-257",
    "g2-type1-252",
    "h0-profile0-257",
    "h2-profile2-262",
    "i-pcrsig-ucode-257",
    "j-shim-grub-bookworm",
    "m-smbios-257",
    "t-tiny-257",
    "t3-tiny-262",
];

/// Firmware images that are installed, by SHA-256.
fn images() -> BTreeMap<String, PathBuf> {
    let own = std::env::var_os("PREMEASURE_OVMF").unwrap_or_default();
    let folders = std::env::split_paths(&own).chain(["/usr/share/OVMF".into(), "/usr/share/ovmf".into()]);
    let files = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let images = files.map(|entry| entry.path()).filter(|path| path.to_string_lossy().contains("CODE"));
    images
        .filter(|path| path.is_file())
        .map(|path| (hex::encode(Sha256::digest(read(&path))), path))
        .collect()
}

#[test]
fn firmware_images_that_are_at_hand_predict_pcr_0_and_7() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let images = images();
    let mut compared = 0;
    for boot in BOOTS {
        let folder = fixture("boots").join(boot);
        let record: Value = read_json(folder.join("boot.json"));
        let Some(image) = images.get(record["ovmf_code_sha256"].as_str().expect("a digest")) else {
            continue;
        };
        let run = premeasure([
            "predict".into(),
            disks::disk(boot).into_os_string(),
            "--firmware".into(),
            image.into(),
            "--machine".into(),
            "cpus=2,mem=1024,qemu=7.2".into(),
            "--variables".into(),
            disks::variables(boot).into_os_string(),
            "--bank".into(),
            BANKS.join(",").into(),
            "--format".into(),
            "pcrs".into(),
        ]);
        assert_eq!(run.code, Some(0), "{boot}: {}", run.stderr);
        let predicted: BTreeMap<String, BTreeMap<String, Value>> = run.json();
        let observed: BTreeMap<String, BTreeMap<String, String>> = read_json(folder.join("pcrs.json"));
        for bank in BANKS {
            for pcr in ["0", "7"] {
                assert_eq!(
                    predicted[bank][pcr],
                    Value::from(observed[bank][pcr].as_str()),
                    "{boot} PCR {pcr} {bank}"
                );
            }
        }
        compared += 1;
    }
    say(&format!("firmware images: {compared} of {} boots compared\n", BOOTS.len()));
}

/// The build of 2022.11 with Secure Boot copies two bytes of a store with Microsoft's keys. With other keys the volume's
/// digest is that which a boot logged (Debian 12's ovmf 2022.11-6+deb12u2, own keys; the digest's first half was kept).
#[test]
fn whose_keys_the_store_holds_shows_in_pcr_0() {
    const BUILD: &str = "d50189a486d22af418198226a3a5bcb6ddac775590f6a808bd629474ee034d62";
    let images = images();
    let Some(image) = images.get(BUILD).filter(|_| !skipped_without(&disks::TOOLS)) else { return };
    let arguments = |variables: &[&str]| {
        let mut arguments: Vec<String> =
            vec!["predict".into(), fixture("t-tiny-257/uki.efi").display().to_string()];
        arguments.extend(["--firmware".into(), image.display().to_string()]);
        arguments.extend(["--machine", "cpus=2,mem=1024", "--json"].map(String::from));
        arguments.extend(variables.iter().map(ToString::to_string));
        premeasure(arguments).json::<Value>()
    };
    let own = disks::variables("f4-setup-mode-257").display().to_string();
    let document = arguments(&["--variables", &own]);
    let measurements = document["variants"][0]["measurements"].as_array().expect("measurements").iter();
    let volume = measurements
        .filter(|m| m["event_type"] == "EV_EFI_PLATFORM_FIRMWARE_BLOB")
        .map(|m| m["digests"]["sha256"].as_str().expect("a digest"))
        .next();
    assert!(volume.is_some_and(|digest| digest.starts_with("6e7102b4f4f15f5b")), "{volume:?}");
    // Without the variables nobody can tell.
    let document = arguments(&[]);
    assert_eq!(document["variants"][0]["pcrs"][0]["status"], "unknown");
}
