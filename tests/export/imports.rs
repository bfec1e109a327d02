//! Reading policies back: what was written is what is read, and odd files are refused.

use std::collections::BTreeMap;

use premeasure::import::{Accepts, IMPORTERS, ImportError, detect, read, read_pcrlock_folder};
use premeasure::tcg::{HashAlgorithm, PcrIndex};

use crate::documents::{Doc, export, exported, folder, text};
use crate::support::{fixture, premeasure};

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
    assert_eq!(with("in-toto", &bank), flashbots);
    assert_eq!(with("azure-maa", &[]), flashbots);
    let class = ["--class-id", "2f6f8b1e-6d3c-4f57-9a1e-0c5d7a3b9e91", "--corim-id", "os-1"];
    let corim = [&bank[..], &class[..]].concat();
    assert_eq!(with("corim", &corim), flashbots);
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/export/keys/p256.pem");
    assert_eq!(with("corim", &[&corim[..], &["--key", key]].concat()), flashbots, "signed");
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
    let kms =
        with("aws-kms", &["--principal", "arn:aws:iam::111122223333:role/x", "--admin", "111122223333"]);
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
    let cloud = ["--csp", "QEMU", "--attestation-variant", "qemu-vtpm", "--stage", "ready"];
    let joined = values(&of("constellation-join-config", &cloud));
    assert_eq!(joined[0][&11], twelve[..1]);
    // Events that extend to the values.
    let events = values(&of("keylime-mb", &["--accept-assumption", "all"]));
    assert_eq!(events[0][&12], ["00".repeat(32)]);
    assert!(events[0].len() > 3);
    for (pcr, value) in events[0].iter().filter(|(pcr, _)| env[0].contains_key(pcr)) {
        assert_eq!(value[..], env[0][pcr][..1], "PCR {pcr}");
    }
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

/// `--format pcrlock -o FOLDER` holds all that a machine extends up to the firmware's hand-over, apart from the firmware's own
/// records, which systemd ships: a real boot's log and TPM fit, those of another release don't.
#[test]
fn a_folder_of_components_is_compared_with_a_log() {
    let folder = folder("import-pcrlock").join("components");
    let run = export(TWO, &["--format", "pcrlock", "-o", text(&folder)]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let (policy, _) = read_pcrlock_folder(&folder).expect("a folder of components");
    let Accepts::Components(components) = &policy.accepts else { panic!("components expected") };
    let names: Vec<&str> = components.iter().map(|component| component.name.as_str()).collect();
    assert_eq!(names[..2], ["350-action-efi-application", "500-separator"]);
    assert!(names.contains(&"650-uki"), "{names:?}");
    let uki = components.iter().find(|component| component.name == "650-uki").expect("650-uki");
    assert_eq!(uki.variants.len(), 2);
    for (case, code) in [("t-tiny-257", 0), ("j-shim-grub-bookworm", 1)] {
        let log = fixture("boots").join(case).join("eventlog.bin");
        let run = premeasure([
            "compare",
            text(&folder),
            text(&log),
            "--pcr",
            "4,9",
            "--stage",
            "exit-boot-services",
        ]);
        assert_eq!(run.code, Some(code), "{case}: {}{}", run.text(), run.stderr);
    }
    // The verifier takes the folder too, as a policy of one moment: it goes on to ask whose quote it has to be.
    let verify = ["verify", "--policy", text(&folder), "--nonce", "00", "--quote", "q", "--signature", "s"];
    let run = premeasure(verify);
    assert!(run.stderr.contains("nothing says whose quote it has to be"), "{}", run.stderr);
    let run = premeasure([&verify[..], &["--stage", "ready"]].concat());
    assert!(run.stderr.contains("--stage is for documents, this is of format pcrlock"), "{}", run.stderr);
    // An empty file masks; a file that is no component is named.
    std::fs::write(folder.join("100-masked.pcrlock"), "").expect("writable");
    std::fs::write(folder.join("README"), "no component").expect("writable");
    assert_eq!(read_pcrlock_folder(&folder).expect("a folder").0, policy);
    std::fs::write(folder.join("100-odd.pcrlock"), "[]").expect("writable");
    let error = read_pcrlock_folder(&folder).expect_err("no component").to_string();
    assert!(error.contains("100-odd.pcrlock"), "{error}");
}

/// The operator's ConfigMap holds what the message holds.
#[test]
fn trustees_config_map_is_read() {
    let of = |part: &str| {
        let bytes = exported(TWO, &["--format", "trustee", "--accept-assumption", "all", "--part", part]);
        let policy = detect(&bytes).expect("detected");
        assert_eq!(policy.format, "trustee");
        policy.accepts
    };
    assert_eq!(of("configmap"), of("message"));
    // As the operator of Trusted Execution Clusters writes it, with its names.
    let (one, other) = ("ab".repeat(32), "cd".repeat(32));
    let records = format!(
        r#"[{{"version":"0.1.0","name":"tpm_pcr4","expiration":"2028-01-01T00:00:00Z","value":["{one}","{other}"]}},{{"version":"0.1.0","name":"tpm_svn","expiration":"2028-01-01T00:00:00Z","value":["1"]}}]"#
    );
    let map = format!("apiVersion: v1\ndata:\n  reference-values.json: '{records}'\nkind: ConfigMap\n");
    let policy = detect(map.as_bytes()).expect("detected");
    assert_eq!(policy.format, "trustee");
    assert_eq!(values(&policy.accepts), [BTreeMap::from([(4, vec![one, other])])]);
}

/// What the operator of Trusted Execution Clusters makes of the labels of two releases: each PCR has the values of both boots and
/// no other, as the UKI and the kernel inside have the words of one part. With the word of the kernel there would be values
/// that no machine can have.
#[test]
fn images_of_trusted_execution_clusters_combine_to_their_boots() {
    let image = format!("registry.example.org/os@sha256:{}", "0".repeat(64));
    let map = |documents: &[Doc], name: &str| -> serde_json::Value {
        let arguments =
            ["--format", "tec", "--image", &image, "--approved-image", name, "--part", "configmap"];
        let yaml = String::from_utf8(exported(documents, &arguments)).expect("text");
        serde_json::from_str(yaml.split_once("|\n").expect("a block").1).expect("JSON")
    };
    let lists = |images: &serde_json::Value| {
        let data = serde_json::json!({ "image-pcrs.json": images.to_string() });
        let config_map = serde_json::json!({ "kind": "ConfigMap", "data": data }).to_string();
        let policy = detect(config_map.as_bytes()).expect("detected");
        assert_eq!(policy.format, "tec");
        policy.accepts
    };
    let boot = |document: Doc| {
        let stage = ["--format", "env", "--bank", "sha256", "--stage", "exit-boot-services", "--pcr", "4,11"];
        values(&read("env", &exported(&[document], &stage)).expect("env").accepts).remove(0)
    };
    // One image: its events, as in the label.
    let one = map(&[Doc::Tiny257], "one");
    assert!(matches!(lists(&one), Accepts::Components(_)));
    // 262 no longer lets the firmware measure the kernel inside, so one has an event that the other lacks.
    let mut two = one.clone();
    two["two"] = map(&[Doc::Tiny262], "two")["two"].clone();
    let mut expected: BTreeMap<u8, Vec<String>> = BTreeMap::new();
    for boot in [boot(Doc::Tiny257), boot(Doc::Tiny262)] {
        boot.into_iter().for_each(|(pcr, value)| expected.entry(pcr).or_default().extend(value));
    }
    expected.values_mut().for_each(|values| values.sort());
    assert_eq!(values(&lists(&two)), [expected]);
    // Two releases that both measure it: two boots, or with the other word four combinations.
    let release = |word: &str| {
        let (mut first, mut second) = (one["one"].clone(), one["one"].clone());
        for (image, digit) in [(&mut first, "a"), (&mut second, "b")] {
            for event in image["pcrs"][0]["events"].as_array_mut().expect("a list") {
                let images = ["Pcr4Shim", "Pcr4Grub"].iter().position(|word| event["id"] == *word);
                if let Some(number) = images {
                    event["hash"] = [digit, &number.to_string()].concat().repeat(32).into();
                }
                if event["id"] == "Pcr4Grub" {
                    event["id"] = word.into();
                }
            }
        }
        let four = PcrIndex::new(4);
        let Accepts::PerPcr(lists) = lists(&serde_json::json!({ "a": first, "b": second })) else {
            panic!("lists expected")
        };
        lists[&four].len()
    };
    assert_eq!((release("Pcr4Grub"), release("Pcr4Vmlinuz")), (2, 4));
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
        ("keylime-mb", r#"{"boots":[{"name":"x","pcrs":{"17":[]}}]}"#.to_owned(), "no PCR of a firmware log"),
        ("keylime-mb", r#"{"boots":[{"name":"x","pcrs":{}}]}"#.to_owned(), "would accept any machine"),
        ("in-toto", r#"{"_type":"x","predicate":{"variants":[]}}"#.to_owned(), "expected https://in-toto.io"),
        ("corim", "x".to_owned(), "CoRIM"),
        ("azure-maa", "version=1.2;\n".to_owned(), "would accept any machine"),
        ("constellation-join-config", "kind: ConfigMap\n".to_owned(), "is missing"),
        (
            "tec",
            format!(r#"{{"pcrs":[{{"id":4,"events":[{{"pcr":4,"hash":"{sixty_four}","id":"Pcr4Uki"}}]}}]}}"#),
            "is no word of the label's closed list",
        ),
        (
            "trustee",
            "data:\n  reference_value: '{\"tpm_pcr11\": \"!\"}'\nkind: ConfigMap\n".to_owned(),
            "is not base64url",
        ),
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

/// The fuzz target's seeds, what it once found, and every golden file: whole, cut short, and with small damages.
/// `PREMEASURE_MUTATIONS` sets how many damages of each (20 without it).
#[test]
fn inputs_of_the_fuzz_target_find_nothing() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = ["fuzz/seeds/import", "fuzz/regressions/import", "tests/export/golden"]
        .map(|f| root.join(f))
        .to_vec();
    let mut inputs = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => inputs.push(std::fs::read(path).expect("readable")),
            }
        }
    }
    assert!(inputs.len() > 30, "{} inputs", inputs.len());
    let mutations =
        std::env::var("PREMEASURE_MUTATIONS").map_or(20, |number| number.parse().expect("a number"));
    let mut random = random();
    for bytes in inputs.iter().filter(|bytes| !bytes.is_empty()) {
        policies::import(bytes);
        policies::import(&bytes[..bytes.len() / 2]);
        for _ in 0..mutations {
            policies::import(&damaged(bytes, &mut random));
        }
    }
}

/// One to four bytes changed, doubled or left out, rather those with a meaning in JSON, YAML and CBOR.
fn damaged(bytes: &[u8], random: &mut impl FnMut() -> usize) -> Vec<u8> {
    const TELLING: &[u8] = b"{}[]\",:0129-.eE\\'|`\n\x00\x1b\x7f\x9f\xbf\xd9\xff";
    let mut bytes = bytes.to_vec();
    for _ in 0..=random() % 4 {
        let place = random() % bytes.len().max(1);
        match random() % 4 {
            0 if bytes.len() > 1 => drop(bytes.remove(place)),
            1 => bytes.insert(place, TELLING[random() % TELLING.len()]),
            2 => bytes.truncate(place.max(1)),
            _ => bytes[place] = TELLING[random() % TELLING.len()],
        }
    }
    bytes
}

/// Numbers that look random and are the same each time (Knuth's generator).
fn random() -> impl FnMut() -> usize {
    let mut state = 1_u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("31 bits")
    }
}

/// Every reader, on bytes that mean nothing: an error, not a panic.
#[test]
fn no_reader_panics() {
    let mut random = random();
    for length in 0..400_usize {
        let bytes: Vec<u8> =
            (0..length).map(|_| b"{}[]\":,0123456789abcdefPCR_=pcr\n \xff"[random() % 34]).collect();
        for importer in IMPORTERS {
            let _ = (importer.read)(&bytes);
        }
    }
}
