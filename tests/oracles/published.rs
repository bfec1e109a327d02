//! Test vectors: inputs small enough to write down, values from systemd's own programs.

use std::ffi::OsString;
use std::path::Path;

use crate::support::document::{EXIT_BOOT_SERVICES, Variant, predict};
use crate::support::pe_builder::Pe;
use crate::support::{read, scratch};

/// Stub versions with rules of their own; none of these vectors depends on them.
const VERSIONS: [&str; 9] =
    ["252.39", "254.26", "255.1", "256.9", "257.13", "258.1", "259.1", "260.1", "262.1"];

/// PCR 11 of `.linux` "KERNEL", `.osrel` "ID=test\n", `.cmdline` "quiet", `.initrd` "INITRD".
/// Witness: `systemd-measure calculate` of systemd 252 (Debian 12) over four files with these contents.
const PCR11: &[(&str, &str, &str)] = &[
    (EXIT_BOOT_SERVICES, "sha256", "6290aaa004669e164b33e135b45cb282e2327dffcbe3af393ba864de6a649f2e"),
    ("enter-initrd", "sha1", "c0cb8cebebb0e3240c868039590c59567c1cb5a3"),
    ("enter-initrd", "sha256", "9640e7e48e7a379b4ecd5be68545014f6848a9bd8ba5c8c4fdc370be320463c4"),
    ("leave-initrd", "sha256", "5704792423122c577d79d9b812c1ab33a69d40bb8e0a44118f466ba8f9d2dd88"),
    ("sysinit", "sha256", "6ee5915f05506429633375e1f43657eeda855ea31f151f9ed15599230c89f6df"),
    ("ready", "sha256", "12782112bcaf517b28a4317f0c98bfadafe40ed46a55f7fefbd60777e4c5ee8a"),
];

/// SHA-256 of the archive `.extra/credentials` with `a.cred` "hello" and `b.cred` "worldwide" (668 bytes).
/// Witness: systemd's `pack_cpio` (src/boot/cpio.c), compiled natively.
const CREDENTIALS: &str = "6c9e3cdd19ba734289d4cb05108ad121af3d17c087ad0f9a218ab37c7d9ee892";

/// SHA-256 of the archive with the single file `.extra/tpm2-pcr-signature.json` "{}" (392 bytes).
/// Witness: systemd's `pack_cpio_literal`, compiled natively.
const SIGNATURE_ARCHIVE: &str = "d61dc2ae972d07e66c8830e35aa4d9b027427beadf88662b452be1a7bc601414";

const SECTIONS: &[(&str, &[u8])] =
    &[(".linux", b"KERNEL"), (".osrel", b"ID=test\n"), (".cmdline", b"quiet"), (".initrd", b"INITRD")];

#[test]
fn pcr_11_of_four_small_sections() {
    for version in VERSIONS {
        let predicted = predict_built(&Pe::uki(version).sections(SECTIONS), &[]);
        for (stage, bank, value) in PCR11 {
            assert_eq!(predicted.value(11, stage, bank), Some(*value), "{version}: {stage} {bank}");
        }
    }
}

/// Section contents are `VirtualSize` bytes in memory: file padding behind them is not measured.
#[test]
fn pcr_11_is_the_same_at_another_file_alignment() {
    let predicted = predict_built(&Pe::uki("257.13").alignment(0x1000, 0x1000).sections(SECTIONS), &[]);
    for (stage, bank, value) in PCR11 {
        assert_eq!(predicted.value(11, stage, bank), Some(*value), "{stage} {bank}");
    }
}

#[test]
fn pcr_12_of_two_credentials() {
    for version in VERSIONS {
        let files = [("a.cred", "hello"), ("b.cred", "worldwide")];
        let predicted = predict_built(&Pe::uki(version).sections(SECTIONS), &files);
        assert_eq!(sha256(&predicted, 12), [CREDENTIALS], "{version}");
    }
}

/// Up to 255 a UKI without `.initrd` but with `.pcrsig` hands the kernel just the archive with the signature, which the kernel measures.
#[test]
fn pcr_9_of_an_initrd_that_is_only_the_signature() {
    let kernel = read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/boot/tiny/vmlinuz"));
    let pe = Pe::uki("252.39").sections(&[(".linux", &kernel), (".cmdline", b"quiet"), (".pcrsig", b"{}")]);
    let predicted = predict_built(&pe, &[]);
    assert_eq!(sha256(&predicted, 9).last().map(String::as_str), Some(SIGNATURE_ARCHIVE));
}

/// The SHA-256 digests measured into a PCR before the initrd starts.
fn sha256(predicted: &Variant, pcr: u32) -> Vec<String> {
    let measurements = predicted.measurements_before_the_initrd(pcr);
    measurements
        .iter()
        .map(|measurement| measurement.digests.get("sha256").cloned().unwrap_or_default())
        .collect()
}

/// Predicts a UKI made by the test, started by the firmware without Secure Boot, with credentials beside it.
fn predict_built(pe: &Pe, credentials: &[(&str, &str)]) -> Variant {
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let uki = folder.path().join("uki.efi");
    std::fs::write(&uki, pe.build()).expect("the UKI");
    let mut arguments: Vec<OsString> =
        vec!["predict".into(), uki.into(), "--secure-boot".into(), "off".into()];
    for (name, contents) in credentials {
        let file = folder.path().join(name);
        std::fs::write(&file, contents).expect("a credential");
        arguments.extend(["--credential".into(), file.into()]);
    }
    predict(arguments)
}
