//! `premeasure inspect` over real files. Expected values come from the event logs of real boots and from other
//! tools, named where they stand.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn premeasure(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_premeasure")).args(arguments).output().expect("the program starts")
}

fn inspect(name: &str, more: &[&str]) -> Value {
    let path = fixture(name);
    let mut arguments = vec!["inspect", "--json", path.to_str().expect("a UTF-8 path")];
    arguments.extend(more);
    let output = premeasure(&arguments);
    assert_eq!(output.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let document = serde_json::from_slice(&output.stdout).expect("JSON");
    check_schema(&document);
    document
}

fn check_schema(document: &Value) {
    let schema = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/inspect.schema.json"));
    let schema: Value = serde_json::from_slice(&schema.expect("the schema is there")).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a valid schema");
    let errors: Vec<String> =
        validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

const FILES: [&str; 8] = [
    "pe/systemd-boot-252.efi",
    "pe/systemd-boot-254.efi",
    "pe/systemd-boot-257-signed.efi",
    "pe/systemd-boot-262.efi",
    "pe/shim-16.1.efi",
    "pe/global.addon.efi",
    "pe/signed-nested.addon.efi",
    "t-tiny-257/uki.efi",
];

/// The banks in which firmware logged digests.
const BANKS: [&str; 8] = ["--bank", "sha1", "--bank", "sha256", "--bank", "sha384", "--bank", "sha512"];

/// Witness: the event `EV_EFI_BOOT_SERVICES_APPLICATION` in PCR 4 that OVMF logged when it loaded these very files
/// (versions 2022.11, 2025.02 and 2026.08; boots g2, d3, f, h2, j, e and t). `pesign -h` of pesign 0.112 prints the
/// same SHA-1 and SHA-256 values; it knows no others.
#[test]
fn image_digests_are_those_that_firmware_measured() {
    let cases = [
        (
            "pe/systemd-boot-252.efi",
            [
                "0c3e7b565f81a57d1734e9bd815be308b7c4b66e",
                "7843e376e57323bcdfebcffc8d5109eb39721c83d8bedab1dfd6431596875c2c",
                "58ed6f28e9fb7dbb77e69c8f79653f47925412e4b0cc62713d57580891eaf734bde066f82405b23a1aeb388b4838418e",
                "58148e3f8d3e63f03895746428b37da13ffc3e4767966db8e39548b9d1743b7265ac5a573507931396e2662cb7cecfbe3fa74f5a349c6dac13e0c5677ca38377",
            ],
        ),
        (
            "pe/systemd-boot-254.efi",
            [
                "c418b83102bb669d8ad88e878b3b342a7920dc4a",
                "60e250a9ea71e7c29a4477c49553cd3a81259dc35771a85e3a389c45026d1e5f",
                "7e040b985fcedf8071a9c3c6b769f62028902142f5780ba873b994e586f9c1c071592fb378667d6ef7b95761cbed9204",
                "aa4d529dd988e3618c97265c02be6af25f2f995244e84df099194583adf37cf5fcaf23c462f20c195604235a76815b944f7a5f21ed927c7fdf1fc971767b8b5e",
            ],
        ),
        (
            "pe/systemd-boot-257-signed.efi",
            [
                "25ca37da1f6a566287e91ab2e22c2f40ee25965f",
                "937f1f3b0b3fed2034f1fddcc68c835f3e4ba190143f79693816e5a9d1718da5",
                "8a70b6e9284821d60aea6f8b9aafe27914ddca034fbd381002ab31e5758dc077122d1942727e615f3b76e550fbddfa47",
                "6c40f8dfb8c98752114dd3d22b582e93f03090f9ba5702a2d1d4fa2c1e046d9d3c2cbb442476bcb9ebb9097a547e0023ede28a753d373526a51a791c2431333a",
            ],
        ),
        (
            "pe/systemd-boot-262.efi",
            [
                "b39da55bd00c69de27ab8b14365679139d42d2e4",
                "31ff5f8b505a52fd88894274f87bf686dc588c9370fc160a293459d726f28326",
                "f29119539cfa5f20a827bd8e1f124565a949e645da9f199482d2a771350d4a3cb5b433224f45b26ee12724828edbadc4",
                "8ec53268cff5bb562b3d9d93c06c97a04f3569cc9f6af1d39f3aa21773a21927b4291c20a0a240834616c569f0f9217f175ac05800bea3f2b135b10d24cb6176",
            ],
        ),
        (
            "pe/shim-16.1.efi",
            [
                "04c4d45bd6e47fe0416305d56f4ec58c9cf1359a",
                "80a66d53a945d2286fcadd780fae1c225aa732079cd67b5225dc78aaab4e2ff8",
                "e6aeca317d23c019051c761a0a73820b0d7b4862e6f919455a68122b057431d652d9c6cc228853580332a8a9899c2f33",
                "2a89328eb5d63c9745ef63e13bc4be70a1ce6b549d687f507887488d2991d0ce424861cc24f7517a69d6ac7abe3e42d824f2596a7a67c4eb3964e7058002cd0e",
            ],
        ),
        (
            "pe/global.addon.efi",
            [
                "4278dc74614719113d0fedd6287fcc9c7e017c84",
                "cfd37a3d7ad12e098510f88dd4b0cd14a084ffb9f4550db1394565cb87100523",
                "12af6693a24796b29dae27fcb25dd0f5b20c9c5fc3fa522c714ec846ef86222588a68aeb45f085d148412f5370236a76",
                "f67a91e8fcf13f6bd2f569ea39f8b25ed857912eeaf8d5c04c4e65652be83a2b0898e1d1777d4a05fd204a41e321415e1110adae2d8d34a700cfa2b7b6dabedd",
            ],
        ),
        (
            "t-tiny-257/uki.efi",
            [
                "16292fdc6c2f0f142e96c5246cd41798fa33aa4a",
                "8b77fb8360a89270761b178c8db58840b4033ad8f3258109a87b153d2ab3d328",
                "249f246c132f8c88c7305aa906247fc2b4bb36de985ae3228daf2ec54db05ff6daabc5c117afa242f0fbb1bb4c1cc803",
                "adee2c7c51d0e84236e1eabf2bbd227254deeb9d7d230381e64ff0ebfeba2680a5ef01c0ee85bae96f3a25678d8c5ce9cea72620cc4a7c8bc89ff404b51f1760",
            ],
        ),
    ];
    for (name, [sha1, sha256, sha384, sha512]) in cases {
        let expected = json!({"sha1": sha1, "sha256": sha256, "sha384": sha384, "sha512": sha512});
        assert_eq!(inspect(name, &BANKS)["image_digest"], expected, "{name}");
    }
}

/// Without `--bank` there are two banks; all five have a name.
#[test]
fn banks_are_chosen_on_the_command_line() {
    let names = |document: &Value| -> Vec<String> {
        document["image_digest"].as_object().expect("an object").keys().cloned().collect()
    };
    assert_eq!(names(&inspect("pe/global.addon.efi", &[])), ["sha256", "sha384"]);
    assert_eq!(names(&inspect("pe/global.addon.efi", &["--bank", "sm3-256"])), ["sm3_256"]);
    let path = fixture("pe/global.addon.efi");
    let output = premeasure(&["inspect", path.to_str().expect("UTF-8"), "--bank", "md5"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("expected sha1, sha256"));
}

/// Witness: the digest that `sbsign` 0.9.4 put into the signature it made of this file (`osslsigncode verify` 2.9
/// prints it as "Current message digest").
#[test]
fn a_file_of_odd_length_has_another_digest_once_signed() {
    let document = inspect("pe/systemd-boot-252.efi", &["--bank", "sha256"]);
    let padded = "9bf2519c746ec66b569300e423127a9361b47af7f66783c7e1378fb055671ad4";
    assert_eq!(document["padded_image_digest"], json!({ "sha256": padded }));
    assert!(codes(&document).contains(&"length-unaligned".to_owned()));
    assert_eq!(inspect("pe/systemd-boot-254.efi", &[])["padded_image_digest"], Value::Null);
}

fn codes(document: &Value) -> Vec<String> {
    let findings = document["findings"].as_array().expect("a list");
    findings.iter().map(|finding| finding["code"].as_str().expect("a code").to_owned()).collect()
}

/// Witness: `openssl x509 -fingerprint -sha256 -serial -subject -issuer -dates -nameopt RFC2253` of OpenSSL 3.0.19
/// over the certificates that `openssl pkcs7 -print_certs` finds in the two entries.
#[test]
fn the_signers_of_shim_are_microsofts() {
    let document = inspect("pe/shim-16.1.efi", &[]);
    let uefi_2011 =
        "CN=Microsoft Corporation UEFI CA 2011,O=Microsoft Corporation,L=Redmond,ST=Washington,C=US";
    let expected = [
        json!({
            "subject":
                "CN=Microsoft Windows UEFI Driver Publisher,O=Microsoft Corporation,L=Redmond,ST=Washington,C=US",
            "issuer": uefi_2011,
            "serial": "33000000708cc364d7555a275e000100000070",
            "sha256": "9bb5d35801594fa0101e044fcc54c364d6e268daa0a07d9951f9eae5da7b6e79",
            "not_before": "2026-03-12T19:35:19Z",
            "not_after": "2026-06-26T19:35:19Z",
        }),
        json!({
            "subject": "CN=Microsoft UEFI CA 2023 signer,O=Microsoft Corporation,L=Redmond,ST=Washington,C=US",
            "issuer": "CN=Microsoft UEFI CA 2023,O=Microsoft Corporation,C=US",
            "serial": "33000000040a37c7dd9436a7cf000000000004",
            "sha256": "a538829c015ee28bf0c9a4ed9d2bb346e245c6bbab85724bad1a3265228ac271",
            "not_before": "2025-07-24T18:22:43Z",
            "not_after": "2026-07-23T18:22:43Z",
        }),
    ];
    let signatures = document["signatures"].as_array().expect("a list");
    assert_eq!(signatures.len(), 2);
    for (signature, certificate) in signatures.iter().zip(&expected) {
        assert_eq!(&signature["signers"][0]["certificate"], certificate);
        assert_eq!(signature["covers_image"], json!(true));
        assert_eq!(signature["signers"][0]["timestamp"], json!(true));
        assert_eq!(signature["certificates"].as_array().map(Vec::len), Some(2));
    }
    assert_eq!(signatures[0]["certificates"][1]["subject"], uefi_2011);
    let authority = "48e99b991f57fc52f76149599bff0a58c47154229b9f8d603ac40d3500248507";
    assert_eq!(signatures[0]["certificates"][1]["sha256"], authority);
}

/// Witness: `osslsigncode verify` 2.9 (serial, signing time) and `openssl x509 -fingerprint` 3.0.19.
#[test]
fn the_signer_of_a_loader_is_named() {
    let document = inspect("pe/systemd-boot-257-signed.efi", &[]);
    let signer = &document["signatures"][0]["signers"][0];
    assert_eq!(signer["certificate"]["subject"], "CN=rig db");
    assert_eq!(signer["certificate"]["serial"], "21437a658f54d31cbc3469c17330f362cd07e981");
    let fingerprint = "8eed6a74965e302a0752649925b2f0d9c24457c46d422ac8a797bcc030c42ee0";
    assert_eq!(signer["certificate"]["sha256"], fingerprint);
    assert_eq!(signer["signing_time"], "2026-11-24T08:21:36Z");
    assert_eq!(signer["covers_image"], json!(true));
}

/// Witness: `osslsigncode verify` 2.9, which calculates the same SHA-384 and finds the nested signature.
#[test]
fn a_signature_in_another_algorithm_is_judged_without_asking_for_that_bank() {
    let document = inspect("pe/signed-nested.addon.efi", &["--bank", "sha1"]);
    let signature = &document["signatures"][0];
    assert_eq!(signature["digest_algorithm"], "sha384");
    assert_eq!(signature["covers_image"], json!(true));
    assert_eq!(signature["signers"][0]["nested_signature"], json!(true));
    assert_eq!(document["image_digest"].as_object().map(|banks| banks.len()), Some(1));
}

#[test]
fn a_signature_does_not_cover_a_changed_image() {
    let mut bytes = std::fs::read(fixture("pe/systemd-boot-257-signed.efi")).expect("readable");
    bytes[0x1000] ^= 1;
    let document: Value =
        serde_json::from_slice(&inspect_stdin(&bytes, &["--json"]).stdout).expect("JSON on standard output");
    check_schema(&document);
    assert_eq!(document["file"]["name"], "stdin");
    assert_eq!(document["signatures"][0]["covers_image"], json!(false));
    assert!(codes(&document).contains(&"signature-not-about-image".to_owned()));
}

fn inspect_stdin(bytes: &[u8], more: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_premeasure"))
        .args(["inspect", "-"])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(bytes).expect("the program reads");
    child.wait_with_output().expect("the program ends")
}

#[test]
fn roles_and_programs_are_recognised() {
    let cases = [
        ("pe/systemd-boot-252.efi", "systemd-boot", "systemd-boot 252.39-1~deb12u2"),
        ("pe/systemd-boot-254.efi", "systemd-boot", "systemd-boot 254.26-1~bpo12+1"),
        ("pe/systemd-boot-257-signed.efi", "systemd-boot", "systemd-boot 257.13-1~deb13u1"),
        ("pe/systemd-boot-262.efi", "systemd-boot", "systemd-boot 262.1-1"),
        ("pe/global.addon.efi", "addon", "systemd-addon 257.13-1~deb13u1"),
        ("t-tiny-257/uki.efi", "uki", "systemd-stub 257.13-1~deb13u1"),
    ];
    for (name, role, program) in cases {
        let document = inspect(name, &[]);
        assert_eq!(document["role"], role, "{name}");
        assert_eq!(document["program"]["text"], program, "{name}");
    }
    let shim = inspect("pe/shim-16.1.efi", &[]);
    assert_eq!((&shim["role"], &shim["program"]), (&json!("shim"), &Value::Null));
    assert_eq!(shim["sections"][6]["long_name"], ".vendor_cert");
    assert_eq!(shim["sbat"][2]["component"], "shim.debian");
}

/// Witness: `/proc/cmdline` of the boot, and the files that `ukify` 257.13 was given.
#[test]
fn the_parts_of_a_uki_are_shown() {
    let document = inspect("t-tiny-257/uki.efi", &[]);
    let base = &document["uki"]["base"];
    assert_eq!(base["cmdline"]["text"], "console=ttyS0 quiet rig=257 tiny");
    assert_eq!(base["uname"], "6.12-rig-tiny");
    assert_eq!(base["parts"][".linux"], 996_352);
    assert_eq!(base["parts"][".initrd"], 9728);
    assert_eq!(document["kernel"]["format"], "bzImage");
    assert_eq!(document["kernel"]["signed"], json!(false));
    // The event log of the boot has this as the second `.linux` event of PCR 11.
    let linux = document["sections"].as_array().expect("a list").iter();
    let linux: Vec<&Value> = linux.filter(|section| section["name"] == ".linux").collect();
    let digest = "3bd71621892dd36dff677b310b871f0c61f4b156d2fbad5380de27dffc0a654c";
    assert_eq!(linux[0]["sha256"], digest);
    assert_eq!(document["findings"], json!([]));
}

/// The table for people names what matters, and holds nothing that could drive a terminal.
#[test]
fn the_table_is_plain_text() {
    for name in FILES {
        let path = fixture(name);
        for more in [&[][..], &["--verbose"]] {
            let output = premeasure(&[&["inspect", path.to_str().expect("UTF-8")], more].concat());
            assert_eq!(output.status.code(), Some(0), "{name}");
            let text = String::from_utf8(output.stdout).expect("UTF-8");
            assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{name}");
            assert!(text.lines().all(|line| line.trim_end() == line), "{name}");
            for heading in ["Image digest (Authenticode)", "PE headers", "Sections"] {
                assert!(text.contains(heading), "{name}: {heading}");
            }
        }
    }
}

#[test]
fn what_is_no_pe_image_is_an_error_with_a_hint() {
    let cases: [(&[u8], &str); 4] = [
        (b"", "e_magic at offset 0x0 is not MZ"),
        (
            b"#!/bin/sh\necho this is a script and not a PE image at all, long enough for a header\n",
            "is not MZ",
        ),
        (b"MZ", "IMAGE_DOS_HEADER at offset 0x0 needs 64 bytes, the file has 2"),
        (&[&b"MZ"[..], &[0xFF; 100]].concat(), "IMAGE_NT_HEADERS at offset 0xffffffff"),
    ];
    for (bytes, expected) in cases {
        let output = inspect_stdin(bytes, &[]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(expected) && error.contains("hint:"), "{error}");
        assert!(output.stdout.is_empty());
    }
    let folder = premeasure(&["inspect", env!("CARGO_MANIFEST_DIR")]);
    assert_eq!(folder.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&folder.stderr).contains("no boot partition"));
}
