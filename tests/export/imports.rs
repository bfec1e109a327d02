//! Reading policies back: what was written is what is read, and odd files are refused.

use std::collections::BTreeMap;

use premeasure::import::{Accepts, IMPORTERS, ImportError, detect, read};
use premeasure::tcg::{HashAlgorithm, PcrIndex};

use crate::documents::{Doc, exported};

const TWO: &[Doc] = &[Doc::Tiny257, Doc::Tiny262];

/// PCR to SHA-256 (or the only bank), of one boot or from lists.
fn values(accepts: &Accepts) -> Vec<BTreeMap<u8, Vec<String>>> {
    match accepts {
        Accepts::Boots(boots) => boots
            .iter()
            .map(|boot| {
                let values = boot.values.iter();
                values
                    .map(|(pcr, value)| (pcr.get(), value.digests.iter().map(|d| d.to_string()).collect()))
                    .collect()
            })
            .collect(),
        Accepts::PerPcr(lists) => {
            vec![
                lists
                    .iter()
                    .map(|(pcr, list)| (pcr.get(), list.iter().map(ToString::to_string).collect()))
                    .collect(),
            ]
        }
        Accepts::Components(_) => Vec::new(),
    }
}

/// The witness is another format: all of them come from the same two boots.
#[test]
fn what_was_written_is_read_back() {
    let bank = ["--bank", "sha256", "--stage", "ready"];
    let with = |format: &'static str, more: &[&str]| {
        let mut arguments = vec!["--format", format, "--accept-assumption", "all"];
        arguments.extend(more);
        let policy =
            read(format, &exported(TWO, &arguments)).unwrap_or_else(|error| panic!("{format}: {error}"));
        assert_eq!(policy.format, format);
        values(&policy.accepts)
    };
    let flashbots = with("flashbots", &[]);
    assert_eq!(flashbots.len(), 2);
    assert_eq!(with("csv", &bank), flashbots);
    // Trustee leaves PCR 8 to the guest's components.
    let mut without_eight = flashbots.clone();
    without_eight.iter_mut().for_each(|boot| drop(boot.remove(&8)));
    assert_eq!(with("trustee", &["--part", "payload"]), without_eight);
    assert_eq!(with("trustee", &["--part", "message"]), without_eight);
    let lists = with("keylime", &[]);
    for boot in &flashbots {
        for (pcr, value) in boot.iter().filter(|(pcr, _)| lists[0].contains_key(pcr)) {
            assert!(lists[0][pcr].contains(&value[0]), "PCR {pcr}");
        }
    }
    assert_eq!(with("bottlerocket", &bank), lists);
    let kms = with("aws-kms", &["--principal", "arn:aws:iam::1:role/x", "--admin", "arn:aws:iam::1:root"]);
    assert_eq!(kms.len(), 2);
    assert_eq!(kms[0][&4][0].len(), 96);
}

#[test]
fn formats_of_one_boot_are_read_back() {
    let of = |format: &str, more: &[&str]| {
        let mut arguments = vec!["--format", format];
        arguments.extend(more);
        let bytes = exported(&[Doc::Tiny257], &arguments);
        let policy = read(format, &bytes).unwrap_or_else(|error| panic!("{format}: {error}"));
        assert_eq!(detect(&bytes).expect("detected").format, format);
        policy.accepts
    };
    let env = values(&of("env", &[]));
    assert_eq!(values(&of("tpm2-yaml", &[])), env);
    let twelve = env[0].get(&11).expect("PCR 11").clone();
    let Accepts::Boots(phases) = of("systemd-measure", &[]) else { panic!("boots expected") };
    assert_eq!(phases.len(), 4);
    let ready = phases.iter().find(|phase| phase.name.ends_with(":ready")).expect("ready");
    let digests: Vec<String> =
        ready.values[&PcrIndex::new(11)].digests.iter().map(|d| d.to_string()).collect();
    assert_eq!(digests, twelve);
    let hash = "0000000000000000000000000000000000000000000000000000000000000003";
    let kairos = values(&of("kairos", &["--tpm-hash", hash, "--stage", "ready"]));
    assert_eq!(kairos[0][&11], twelve[..1]);
    values(&of("aws", &[]));
}

/// Events of a log extend to the values that the same document has for them.
#[test]
fn records_extend_to_the_values() {
    let env = exported(&[Doc::Tiny257], &["--format", "env", "--bank", "sha256"]);
    let env = values(&read("env", &env).expect("env").accepts);
    for format in ["cel-json", "cmc"] {
        let bytes = exported(&[Doc::Tiny257], &["--format", format]);
        let Accepts::Components(components) = read(format, &bytes).expect(format).accepts else {
            panic!("components expected")
        };
        let mut held = premeasure::tcg::PcrValues::default();
        for record in components.iter().flat_map(|component| component.variants[0].iter()) {
            held.extend(record.pcr, record.digests.get(HashAlgorithm::Sha256).expect("SHA-256"));
        }
        for (pcr, value) in env[0].iter() {
            let index = PcrIndex::try_from(u32::from(*pcr)).expect("a PCR");
            assert_eq!(
                held.get(HashAlgorithm::Sha256, index).expect("extended").to_string(),
                value[0],
                "{format} PCR {pcr}"
            );
        }
    }
}

#[test]
fn odd_files_are_refused_with_the_place() {
    let sixty_four = "ab".repeat(32);
    let cases: &[(&str, String, &str)] = &[
        ("keylime", "{}".to_owned(), "would accept any machine"),
        ("keylime", r#"{"4":["xyz"]}"#.to_owned(), "is not hexadecimal"),
        ("keylime", r#"{"4":["00"]}"#.to_owned(), "has 1 bytes"),
        ("keylime", format!(r#"{{"24":["{sixty_four}"]}}"#), "is no PCR"),
        ("flashbots", r#"[{"measurement_id":"x","measurements":{}}]"#.to_owned(), "would accept any machine"),
        (
            "constellation-raw",
            format!(r#"{{"measurements":{{"4":{{"expected":"{sixty_four}"}},"9":{{"expected":"abcd"}}}}}}"#),
            "has 2 bytes",
        ),
        (
            "constellation-raw",
            format!(r#"{{"measurements":{{"4":"{}"}}}}"#, "1234".repeat(16)),
            "placeholder",
        ),
        (
            "aws",
            format!(r#"{{"Measurements":{{"HashAlgorithm":"SHA384","PCR4":"{sixty_four}"}}}}"#),
            "is no sha384 digest",
        ),
        ("pcrlock", r#"[{"pcr":4,"digests":[]}]"#.to_owned(), "invalid type"),
        ("pcrlock", r#"{"records":[{"pcr":4,"digests":[]}]}"#.to_owned(), "no digest of a known algorithm"),
        ("tpm2-yaml", "    4 : 0x00\n".to_owned(), "before any bank"),
        ("csv", "a,b\n".to_owned(), "line 1"),
        ("env", format!("PCR4_SHA256={sixty_four}\nPCR4_SHA256={}\n", "cd".repeat(32)), "has two values"),
        ("tpm2-yaml", format!("sha256:\n 4: 0x{sixty_four}\n 4: 0x{}\n", "cd".repeat(32)), "has two values"),
        ("kairos", "kind: SealedVolume\n".to_owned(), "is missing"),
    ];
    for (format, text, expected) in cases {
        let error = read(format, text.as_bytes()).expect_err(text).to_string();
        assert!(error.contains(expected), "{format} {text}: {error}");
    }
    assert!(matches!(detect(b"no policy"), Err(ImportError::Unknown { .. })));
}

// The fuzz target and this test run the same code.
#[path = "../../fuzz/targets/policies.rs"]
mod policies;

/// The fuzz target's seeds and what it once found, and every golden file, whole and cut short.
#[test]
fn inputs_of_the_fuzz_target_find_nothing() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    let mut folders = ["fuzz/seeds/import", "fuzz/regressions/import", "tests/export/golden"]
        .map(|f| root.join(f))
        .to_vec();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
                continue;
            }
            let bytes = std::fs::read(entry.path()).expect("readable");
            policies::import(&bytes);
            policies::import(&bytes[..bytes.len() / 2]);
            count += 1;
        }
    }
    assert!(count > 30, "{count} inputs");
}

/// Every reader, on bytes that mean nothing: an error, not a panic.
#[test]
fn no_reader_panics() {
    let mut state = 1_u64;
    for length in 0..400_usize {
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                b"{}[]\":,0123456789abcdefPCR_=pcr\n \xff"[(state >> 33) as usize % 34]
            })
            .collect();
        for importer in IMPORTERS {
            let _ = (importer.read)(&bytes);
        }
    }
}
