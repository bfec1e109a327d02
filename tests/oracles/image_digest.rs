//! The image digest (Authenticode) of `inspect` against pesign, goblin, the `authenticode` crate and signers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use object_for_authenticode::read::pe::{PeFile32, PeFile64};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::support::boots::BOOTS;
use crate::support::document::with_banks;
use crate::support::pe_builder::{self, Pe, Section};
use crate::support::{disks, find_tool, fixture, premeasure, read, say, scratch, skipped_without, tool};

/// A digest by bank name.
type Digests = BTreeMap<String, String>;
/// Readers that are known to disagree, with the reason.
type Known = &'static [(&'static str, &'static str)];
/// An image, the bytes that a reader leaves for hashing.
type Reader = fn(&[u8]) -> Option<Vec<u8>>;

const READERS: [(&str, Reader); 2] = [("goblin", goblin_bytes), ("authenticode", authenticode_bytes)];

/// Why a reader's digest is not what EDK2 measures.
const PADS: &str = "pads an unsigned file to eight bytes, which EDK2's MeasurePeImageAndExtend does not";
const SKIPS_BEYOND_THE_DIRECTORIES: &str =
    "skips eight bytes for the certificate table although NumberOfRvaAndSizes leaves no entry for it";

/// Known disagreements over real images: (reader, file, reason). Both files booted, and OVMF measured our digest.
const REAL_DISAGREEMENTS: &[(&str, &str, &str)] = &[
    ("goblin", "a-uki-direct-252/EFI/BOOT/BOOTX64.EFI", PADS),
    ("goblin", "g2-type1-252/EFI/BOOT/BOOTX64.EFI", PADS),
];

#[test]
fn every_image_of_the_fixtures_has_the_digest_that_others_compute() {
    let mut disagreements = BTreeSet::new();
    let images = images();
    for (name, path) in &images {
        let ours = inspected(path);
        let image = read(path);
        for (reader, bytes) in READERS {
            if bytes(&image).map(|bytes| digests(&bytes)) != Some(ours.clone()) {
                disagreements.insert((reader, name.as_str()));
            }
        }
    }
    let listed = REAL_DISAGREEMENTS.iter().map(|(reader, file, _)| (*reader, *file));
    let listed: BTreeSet<(&str, &str)> = listed.filter(|(_, file)| images.contains_key(*file)).collect();
    assert_eq!(disagreements, listed, "readers that disagree with inspect, and those known to");
}

/// pesign 0.112 knows SHA-1 and SHA-256; it agrees on every image, also on those whose length is no multiple of eight.
#[test]
fn pesign_computes_the_same() {
    if skipped_without(&["pesign"]) {
        return;
    }
    for (name, path) in images() {
        let ours = inspected(&path);
        for bank in ["sha1", "sha256"] {
            let printed = tool(Command::new("pesign").args(["-h", "-d", bank, "-i"]).arg(&path));
            let theirs = printed.split_whitespace().find(|word| *word == ours[bank]);
            assert!(theirs.is_some(), "{name}: {bank}: inspect {}, pesign {printed}", ours[bank]);
        }
    }
}

/// Whoever signed an image hashed it first: the signer's digest is in the certificate table.
#[test]
fn every_signed_image_holds_our_digest_in_its_signature() {
    let mut signed = 0;
    for (name, path) in images() {
        let image = read(&path);
        let Some(table) = certificate_table(&image) else { continue };
        let digest = hex::decode(&inspected(&path)["sha256"]).expect("hex");
        assert!(
            table.windows(digest.len()).any(|bytes| bytes == digest),
            "{name}: not the digest that was signed"
        );
        signed += 1;
    }
    // shim, GRUB, Debian's kernel 6.1, and the loader and the UKI of f.
    assert!(signed >= 5 || find_tool("mcopy").is_none(), "{signed} signed images");
}

/// sbverify accepts the images of `f` by the certificate they were signed with: their signatures are over what was booted.
#[test]
fn sbverify_accepts_what_was_signed() {
    if skipped_without(&["sbverify"]) || skipped_without(&disks::TOOLS) {
        return;
    }
    let certificate = fixture("boots/f-secureboot-257/inputs/db.crt");
    for file in ["EFI/BOOT/BOOTX64.EFI", "EFI/Linux/rig-257.efi"] {
        let path = disks::esp("f-secureboot-257").join(file);
        tool(Command::new("sbverify").arg("--cert").arg(&certificate).arg(&path));
        let digest = hex::decode(&inspected(&path)["sha256"]).expect("hex");
        let image = read(&path);
        let table = certificate_table(&image).expect("a certificate table");
        assert!(table.windows(digest.len()).any(|bytes| bytes == digest), "{file}");
    }
}

/// Images that no build tool makes. What is right is what EDK2 does, written out here once more; the readers' known
/// deviations are listed.
#[test]
fn odd_images_have_the_digest_that_edk2_computes() {
    let payload = || Section::new(".data", [7; 700]);
    let odd: [(&str, Pe, Known); 6] = [
        ("plain", Pe::new().section(payload()), &[]),
        ("PE32", Pe::new().machine(pe_builder::I386).pe32().section(payload()), &[]),
        ("ARM64", Pe::new().machine(pe_builder::ARM64).section(payload()), &[]),
        ("three trailing bytes", Pe::new().section(payload()).trailing(b"abc"), &[("goblin", PADS)]),
        (
            "signed",
            Pe::new()
                .section(payload())
                .trailing(b"abc")
                .certificates(&pe_builder::win_certificate(&[9; 16])),
            &[],
        ),
        (
            "two data directories",
            Pe::new().section(payload()).directories(2),
            &[("goblin", SKIPS_BEYOND_THE_DIRECTORIES), ("authenticode", SKIPS_BEYOND_THE_DIRECTORIES)],
        ),
    ];
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    for (name, pe, known) in odd {
        let image = pe.build();
        let path = folder.path().join("odd.efi");
        std::fs::write(&path, &image).expect("the image");
        let ours = inspected(&path);
        assert_eq!(ours, digests(&edk2_bytes(&image)), "{name}");
        for (reader, bytes) in READERS {
            let agrees = bytes(&image).map(|bytes| digests(&bytes)) == Some(ours.clone());
            let reason = known.iter().find(|(who, _)| *who == reader).map(|(_, reason)| *reason);
            assert_eq!(
                agrees,
                reason.is_none(),
                "{name}: {reader}: {}",
                reason.unwrap_or("no disagreement known")
            );
        }
    }
}

/// Constellation's test image, with the digests that its own test and pesign give.
#[test]
fn the_corpus_image_has_the_published_digests() {
    let Some(corpus) = std::env::var_os("PREMEASURE_CORPUS") else {
        return say("SKIPPED the corpus's image: PREMEASURE_CORPUS is not set");
    };
    let folder = Path::new(&corpus).join("uki");
    let truth: serde_json::Value = crate::support::read_json(folder.join("constellation-fixture.json"));
    let ours = inspected(&folder.join("constellation-fixture.efi"));
    assert_eq!(truth["authenticode"]["upstream_test"]["sha256"], ours["sha256"]);
    for (bank, digest) in truth["authenticode"]["computed_here"].as_object().expect("digests by bank") {
        assert_eq!(*digest, ours[bank], "{bank}");
    }
}

/// Every PE of the fixtures once, however many disks it is on, by the first place where it is found.
fn images() -> BTreeMap<String, PathBuf> {
    let mut images = BTreeMap::new();
    for case in ["t-tiny-257", "t3-tiny-262"] {
        images.insert(format!("{case}/uki.efi"), fixture(case).join("uki.efi"));
    }
    if disks::TOOLS.iter().any(|tool| find_tool(tool).is_none()) {
        say("SKIPPED the images on the boots' disks: tar, zstd or mcopy is not installed");
        return images;
    }
    let mut seen = BTreeSet::new();
    let cases = BOOTS.iter().map(|boot| boot.case).chain(["g2-type1-252", "j-shim-grub-bookworm"]);
    for case in cases {
        for path in files_below(&disks::esp(case)) {
            let image = read(&path);
            if image.starts_with(b"MZ") && seen.insert(Sha256::digest(&image)) {
                let name = path.strip_prefix(disks::esp(case)).expect("below the ESP");
                images.insert(format!("{case}/{}", name.display()), path);
            }
        }
    }
    images
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// `image_digest` of `premeasure inspect --json`, in the banks that [`digests`] has.
fn inspected(path: &Path) -> Digests {
    let arguments = with_banks(["inspect".as_ref(), path.as_os_str(), "--json".as_ref()]);
    let document: serde_json::Value = premeasure(arguments).json();
    let digest = |bank: &str| {
        document["image_digest"][bank].as_str().map(|digest| (bank.to_owned(), digest.to_owned()))
    };
    let digests: Digests = crate::support::BANKS.iter().filter_map(|bank| digest(bank)).collect();
    assert_eq!(
        digests.len(),
        4,
        "{}: image_digest in four banks: {}",
        path.display(),
        document["image_digest"]
    );
    digests
}

fn digests(bytes: &[u8]) -> Digests {
    let pair = |bank: &str, digest: &[u8]| (bank.to_owned(), hex::encode(digest));
    Digests::from([
        pair("sha1", &Sha1::digest(bytes)),
        pair("sha256", &Sha256::digest(bytes)),
        pair("sha384", &Sha384::digest(bytes)),
        pair("sha512", &Sha512::digest(bytes)),
    ])
}

fn goblin_bytes(image: &[u8]) -> Option<Vec<u8>> {
    let pe = goblin::pe::PE::parse(image).ok()?;
    Some(pe.authenticode_ranges().collect::<Vec<&[u8]>>().concat())
}

fn authenticode_bytes(image: &[u8]) -> Option<Vec<u8>> {
    struct Collected(Vec<u8>);
    impl digest_for_authenticode::Update for Collected {
        fn update(&mut self, bytes: &[u8]) {
            self.0.extend(bytes);
        }
    }
    let mut collected = Collected(Vec::new());
    if let Ok(pe) = PeFile64::parse(image) {
        authenticode::authenticode_digest(&pe, &mut collected).ok()?;
    } else {
        authenticode::authenticode_digest(&PeFile32::parse(image).ok()?, &mut collected).ok()?;
    }
    Some(collected.0)
}

/// What EDK2 hashes (MeasurePeImageAndExtend in DxeTpm2MeasureBootLib), for images whose sections lie in order.
fn edk2_bytes(image: &[u8]) -> Vec<u8> {
    let layout = Layout::of(image);
    let mut bytes = image[..layout.checksum].to_vec();
    match layout.security {
        Some(entry) => {
            bytes.extend(&image[layout.checksum + 4..entry]);
            bytes.extend(&image[entry + 8..layout.headers_end]);
        }
        None => bytes.extend(&image[layout.checksum + 4..layout.headers_end]),
    }
    let certificates = layout.security.map_or(0, |entry| u32_at(image, entry + 4));
    bytes.extend(&image[layout.headers_end..image.len() - certificates]);
    bytes
}

fn certificate_table(image: &[u8]) -> Option<&[u8]> {
    let entry = Layout::of(image).security?;
    let (offset, size) = (u32_at(image, entry), u32_at(image, entry + 4));
    (size > 0).then(|| &image[offset..offset + size])
}

/// File offsets of a PE's optional header fields.
struct Layout {
    checksum: usize,
    /// The certificate table's entry among the data directories, if they reach that far.
    security: Option<usize>,
    headers_end: usize,
}

impl Layout {
    fn of(image: &[u8]) -> Self {
        let optional = u32_at(image, 0x3c) + 24;
        let count = optional + if image[optional..optional + 2] == [0x0b, 0x02] { 108 } else { 92 };
        let security = (u32_at(image, count) > 4).then_some(count + 4 + 4 * 8);
        Self { checksum: optional + 64, security, headers_end: u32_at(image, optional + 60) }
    }
}

fn u32_at(image: &[u8], at: usize) -> usize {
    u32::from_le_bytes(image[at..at + 4].try_into().expect("four bytes")) as usize
}
