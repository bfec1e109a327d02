//! Damaged and odd images: an answer or an error, never a panic, and what is wrong is said.

use proptest::prelude::*;

use super::*;
use crate::pe::testing::PeBuilder;
use crate::pe::{Machine, PeKind};

/// A real addon of systemd 257 with a real signature in SHA-384 and another one nested in it; see
/// `fixtures/pe/README.md`.
const ADDON: &[u8] = include_bytes!("../../fixtures/pe/signed-nested.addon.efi");

fn run(bytes: Vec<u8>) -> Result<Inspection, InspectError> {
    inspect(&Blob::from_bytes(bytes), "test.efi", &Options::default(), &|_| ())
}

fn codes(inspection: &Inspection) -> Vec<&'static str> {
    inspection.findings.iter().map(|finding| finding.code).collect()
}

fn findings_of(builder: &PeBuilder) -> (Inspection, Vec<&'static str>) {
    let inspection = run(builder.build()).expect("headers are readable");
    let codes = codes(&inspection);
    (inspection, codes)
}

fn uki() -> PeBuilder {
    PeBuilder::new()
        .section(".text", b"stub")
        .section(".sdmagic", b"#### LoaderInfo: systemd-stub 257.1 ####")
        .section(".osrel", b"ID=test\nVERSION_ID=\"1 2\"\n")
        .section(".cmdline", b"quiet roothash=abcd")
        .section(".linux", b"kernel")
}

#[test]
fn a_file_cut_off_anywhere_is_an_error_or_has_findings() {
    let whole = run(ADDON.to_vec()).expect("the whole file is fine");
    assert_eq!(codes(&whole), Vec::<&str>::new());
    // MZ header, PE header, 16 data directories and 4 sections end at 0x298.
    for length in 0..ADDON.len() {
        match run(ADDON[..length].to_vec()) {
            Err(_) => assert!(length < 0x298, "{length:#x}"),
            Ok(inspection) => assert!(!inspection.findings.is_empty(), "{length:#x}"),
        }
    }
}

/// Witness: `pesign -h` 0.112 and `osslsigncode` 2.9 over the files that this builder writes; they agree.
#[test]
fn image_digests_do_not_depend_on_machine_or_format() {
    let cases = [
        (
            Machine::AARCH64,
            PeKind::Pe32Plus,
            "c4501379e9565b5c246bde6a57151a066f83a94757f1dfa975a5ad63ee791275",
        ),
        (
            Machine::RISCV64,
            PeKind::Pe32Plus,
            "e3822c13ea6ef399102586b69052149544fa484a2d7952a0269e352a479145cc",
        ),
        (Machine::IA32, PeKind::Pe32, "555b706159c7f566585c6654a19f45107a400aea3e78f4c51b261dd677f7275d"),
        (
            Machine::X86_64,
            PeKind::Pe32Plus,
            "8741299b86a712843c90a1c3363b9ebd66f754e74d9565d55a2ad43c12a41089",
        ),
    ];
    for (machine, kind, expected) in cases {
        let (inspection, _) = findings_of(&uki().machine(machine).kind(kind));
        assert_eq!(inspection.image_digest.expect("a digest")["sha256"], expected, "{machine}");
    }
    let (inspection, codes) = findings_of(&uki().directories(5));
    assert_eq!(codes, Vec::<&str>::new());
    let expected = "ab72fa544ff2c28ed004324ea5029450083dec56055163a8b1c7653525c02533";
    assert_eq!(inspection.image_digest.expect("a digest")["sha256"], expected);
}

#[test]
fn every_machine_and_both_formats_are_read() {
    for (machine, name) in
        [(Machine::AARCH64, "aarch64"), (Machine::RISCV64, "riscv64"), (Machine::IA32, "i386")]
    {
        for kind in [PeKind::Pe32, PeKind::Pe32Plus] {
            let (inspection, codes) = findings_of(&uki().machine(machine).kind(kind));
            assert_eq!(inspection.headers.machine, name);
            assert_eq!(inspection.headers.kind, kind.to_string());
            assert_eq!(inspection.role, "uki");
            assert!(inspection.image_digest.is_some());
            assert_eq!(codes, Vec::<&str>::new());
            let base = inspection.uki.expect("a UKI").base;
            assert_eq!(base.os_release.expect(".osrel")[1].value, "1 2");
            assert_eq!(base.cmdline.expect(".cmdline").verity[0].value, "abcd");
        }
    }
}

#[test]
fn few_data_directories_leave_no_room_for_a_certificate_table() {
    for count in 0..=4 {
        let (inspection, codes) = findings_of(&uki().directories(count));
        assert_eq!(codes, ["data-directories-truncated"], "{count}");
        assert!(inspection.image_digest.is_some());
    }
}

#[test]
fn sections_outside_the_file_leave_the_rest_readable() {
    let (inspection, codes) = findings_of(&uki().section(".initrd", b"x").raw_offset(0x10_0000));
    assert!(codes.contains(&"section-outside-file") && codes.contains(&"no-image-digest"), "{codes:?}");
    assert!(inspection.image_digest.is_none());
    assert!(inspection.image_digest_error.expect("a reason").contains(".initrd"));
    assert_eq!(inspection.sections[5].remarks, ["outside the file"]);
    assert_eq!(inspection.sections[5].sha256, None);
    assert!(inspection.uki.expect("a UKI").base.cmdline.is_some());
}

#[test]
fn an_unreadable_magic_does_not_hide_the_rest() {
    let image =
        PeBuilder::new().section(".sdmagic", b"x").raw_offset(0x7FFF_FFFF).section(".cmdline", b"quiet");
    let (inspection, codes) = findings_of(&image);
    assert!(codes.contains(&"section-unreadable"), "{codes:?}");
    assert_eq!(inspection.program.map(|program| program.text), None);
}

#[test]
fn four_gigabytes_of_virtual_size_are_not_hashed() {
    let (inspection, codes) = findings_of(&uki().section(".initrd", b"x").virtual_size(u32::MAX));
    assert_eq!(codes, ["section-outside-image"]);
    assert_eq!(inspection.sections[5].sha256, None);
    assert_eq!(inspection.uki.expect("a UKI").base.parts[".initrd"], u64::from(u32::MAX));
}

#[test]
fn an_image_without_sections_is_still_an_image() {
    let (inspection, codes) = findings_of(&PeBuilder::new());
    assert_eq!(codes, ["entry-point-outside", "no-sections"]);
    assert_eq!(inspection.role, "other");
    assert!(inspection.image_digest.is_some());
}

#[test]
fn overlaps_gaps_and_permissions_are_found() {
    let cases: [(&str, PeBuilder); 7] = [
        ("section-overlap-file", uki().section(".a", b"x").raw_offset(0x400).raw_size(0x200)),
        ("section-overlap-memory", uki().section(".a", b"x").virtual_address(0x1000)),
        ("section-writable-executable", uki().characteristics(0xE000_0020)),
        ("section-misaligned", uki().section(".a", b"x").virtual_address(0x9001)),
        ("section-duplicate", uki().section(".cmdline", b"x")),
        ("section-outside-image", uki().size_of_image(0x2000)),
        ("trailing-data", uki().trailing(b"12345678")),
    ];
    for (code, builder) in cases {
        let found = findings_of(&builder).1;
        assert!(found.contains(&code), "{code}: {found:?}");
    }
    let gap = PeBuilder::new().section(".a", &[1; 512]).raw_size(0).section(".b", b"x");
    assert!(findings_of(&gap).1.contains(&"gap-in-file"));
}

#[test]
fn sections_of_one_name_are_fine_in_different_profiles() {
    let image = uki()
        .section(".profile", b"ID=one\nTITLE=First\n")
        .section(".cmdline", b"one")
        .section(".profile", b"ID=two\n")
        .section(".cmdline", b"two")
        .section(".dtbauto", b"a")
        .section(".dtbauto", b"b");
    let (inspection, codes) = findings_of(&image);
    assert_eq!(codes, Vec::<&str>::new());
    let uki = inspection.uki.expect("a UKI");
    let ids: Vec<Option<&str>> = uki.profiles.iter().map(|profile| profile.id.as_deref()).collect();
    assert_eq!(ids, [Some("one"), Some("two")]);
    assert_eq!(uki.profiles[1].contents.dtbauto, 2);
    assert_eq!(uki.profiles[0].contents.cmdline.as_ref().map(|line| line.text.as_str()), Some("one"));
    assert_eq!(inspection.sections[8].profile, Some(1));
}

#[test]
fn certificate_tables_in_odd_places_are_found() {
    let entry = [16, 0, 0, 0, 0, 2, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let (inspection, codes) = findings_of(&uki().certificates(&entry));
    assert_eq!(codes, ["signature-unreadable"]);
    assert_eq!(inspection.signatures.len(), 1);

    // A second table before the one that the headers name is part of what the firmware hashes.
    let (_, codes) = findings_of(&uki().trailing(&entry).certificates(&entry));
    assert!(codes.contains(&"second-certificate-table"), "{codes:?}");

    let mut longer = uki().certificates(&entry).build();
    longer.extend([0; 8]);
    assert!(codes_of(longer).contains(&"certificate-table-not-last"));

    let mut cut = uki().certificates(&entry).build();
    cut.truncate(cut.len() - 8);
    let codes = codes_of(cut);
    assert!(codes.contains(&"certificate-table-outside"), "{codes:?}");
}

fn codes_of(bytes: Vec<u8>) -> Vec<&'static str> {
    codes(&run(bytes).expect("headers are readable"))
}

#[test]
fn many_sections_over_one_range_cost_little() {
    let mut image = PeBuilder::new().section(".a", &[7; 60_000]);
    for _ in 0..2000 {
        image = image.section(".b", b"x").raw_offset(0x400).raw_size(60_000).virtual_size(60_000);
    }
    let (inspection, _) = findings_of(&image);
    assert!(inspection.image_digest.is_none());
    let hashed = inspection.sections.iter().filter(|section| section.sha256.is_some()).count();
    assert!((1..=512).contains(&hashed), "{hashed}");
    let overlaps = codes(&inspection).iter().filter(|code| **code == "section-overlap-file").count();
    assert_eq!(overlaps, 17, "sixteen, and a line that counts the others");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn mutations_of_a_signed_addon_never_panic(
        changes in prop::collection::vec((0..ADDON.len(), any::<u8>()), 1..8),
        length in 0..=ADDON.len(),
    ) {
        let mut bytes = ADDON.to_vec();
        for (at, value) in changes {
            bytes[at] = value;
        }
        bytes.truncate(length.max(ADDON.len() / 2));
        let _ = run(bytes);
    }

    #[test]
    fn mutations_of_headers_and_signature_never_panic(
        changes in prop::collection::vec((0..0x300_usize, any::<u8>()), 1..4),
        signature in prop::collection::vec((3072..ADDON.len(), any::<u8>()), 0..4),
    ) {
        let mut bytes = ADDON.to_vec();
        for (at, value) in changes.into_iter().chain(signature) {
            bytes[at] = value;
        }
        if let Ok(inspection) = run(bytes) {
            prop_assert!(serde_json::to_string(&inspection).is_ok());
        }
    }
}
