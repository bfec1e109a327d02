//! Constellation's maps and AWS' policies: which PCRs are enforced where, what is merged, and what is refused.

use serde_json::{Value, json};

use crate::documents::{Doc, export, exported, folder, text};
use crate::support::{premeasure, read_json};

/// Something that is done to a file before it is given.
type Change<'a> = &'a dyn Fn(&mut Value);

/// Sets and enforcement as in Constellation's own tables (`internal/attestation/measurements`): seven PCRs are enforced
/// everywhere, PCR 14 is compared without refusing everywhere but on QEMU. Firmware PCRs are not known here.
#[test]
fn constellation_enforces_the_same_on_every_cloud() {
    let clouds: &[(&str, &[&str])] = &[
        ("AWS", &["aws-nitro-tpm", "aws-sev-snp"]),
        ("Azure", &["azure-sev-snp", "azure-tdx", "azure-trustedlaunch"]),
        ("GCP", &["gcp-sev-es", "gcp-sev-snp"]),
        ("OpenStack", &["qemu-vtpm"]),
        ("QEMU", &["qemu-vtpm"]),
    ];
    for (csp, variant) in clouds.iter().flat_map(|(csp, variants)| variants.iter().map(move |v| (*csp, *v))) {
        let mut arguments =
            vec!["--format", "constellation", "--image-version", "v1.0.0", "--accept-assumption", "all"];
        arguments.extend(["--csp", csp, "--attestation-variant", variant]);
        let envelope: Value = serde_json::from_slice(&exported(&[Doc::Tiny257], &arguments)).expect("JSON");
        let entry = &envelope["list"][0];
        assert_eq!((&entry["csp"], &entry["attestationVariant"]), (&json!(csp), &json!(variant)));
        let map = entry["measurements"].as_object().expect("an object");
        let of = |warn_only: bool| -> Vec<u32> {
            let chosen = map.iter().filter(|(_, value)| value["warnOnly"] == warn_only);
            let mut pcrs: Vec<u32> = chosen.map(|(pcr, _)| pcr.parse().expect("a PCR")).collect();
            pcrs.sort_unstable();
            pcrs
        };
        assert_eq!(of(false), [4, 8, 9, 11, 12, 13, 15], "{csp} {variant}");
        assert_eq!(of(true), if csp == "QEMU" { vec![] } else { vec![14] }, "{csp} {variant}");
    }
    let wrong = [
        "--format",
        "constellation",
        "--image-version",
        "v1.0.0",
        "--csp",
        "GCP",
        "--attestation-variant",
        "azure-tdx",
    ];
    assert_eq!(export(&[Doc::Tiny257], &wrong).code, Some(2));
}

#[test]
fn constellation_merges_the_clouds_of_one_release_only() {
    let folder = folder("merge");
    let (aws, both) = (folder.join("aws.json"), folder.join("both.json"));
    let base = ["--format", "constellation", "--accept-assumption", "all", "--image-version"];
    let run = |more: &[&str]| export(&[Doc::Tiny257], &[&base[..], more].concat());
    let first = run(&["v1.2.3", "--csp", "AWS", "--attestation-variant", "aws-sev-snp", "-o", text(&aws)]);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    let second = run(&[
        "v1.2.3",
        "--csp",
        "GCP",
        "--attestation-variant",
        "gcp-sev-snp",
        "--merge",
        text(&aws),
        "-o",
        text(&both),
    ]);
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    let envelope: Value = read_json(&both);
    let clouds: Vec<&str> = envelope["list"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|entry| entry["csp"].as_str())
        .collect();
    assert_eq!(clouds, ["AWS", "GCP"]);
    let again =
        run(&["v1.2.3", "--csp", "AWS", "--attestation-variant", "aws-sev-snp", "--merge", text(&aws)]);
    assert_eq!(again.code, Some(2), "the same cloud twice");
    let other =
        run(&["v1.2.4", "--csp", "GCP", "--attestation-variant", "gcp-sev-snp", "--merge", text(&aws)]);
    assert_eq!(other.code, Some(2));
    assert!(other.stderr.contains("only entries of the same release"), "{}", other.stderr);
}

/// Constellation's reader finds an entry without looking at the case, and takes the first.
#[test]
fn constellation_merges_no_odd_entries() {
    let folder = folder("merge-odd");
    let arguments = |csp, variant| {
        ["--format", "constellation", "--accept-assumption", "all", "--image-version", "v1.2.3", "--csp", csp]
            .into_iter()
            .chain(["--attestation-variant", variant])
            .collect::<Vec<_>>()
    };
    let aws: Value =
        serde_json::from_slice(&exported(&[Doc::Tiny257], &arguments("AWS", "aws-sev-snp"))).expect("JSON");
    let merged = |change: &dyn Fn(&mut Value)| {
        let mut other = aws.clone();
        change(&mut other["list"]);
        let path = folder.join("other.json");
        std::fs::write(&path, other.to_string()).expect("writable");
        let mut all = arguments("GCP", "gcp-sev-snp");
        all.extend(["--merge", text(&path)]);
        export(&[Doc::Tiny257], &all)
    };
    let spelt: Value =
        serde_json::from_slice(&merged(&|list| list[0]["csp"] = json!("aws")).stdout).expect("JSON");
    assert_eq!(spelt["list"][0]["csp"], "AWS");
    let refused: [(Change<'_>, &str); 6] = [
        (
            &|list| {
                list[0]["csp"] = json!("gcp");
                list[0]["attestationVariant"] = json!("GCP-SEV-SNP");
            },
            "is there already",
        ),
        (
            &|list| {
                let mut again = list[0].clone();
                again["csp"] = json!("Aws");
                list.as_array_mut().expect("a list").push(again);
            },
            "is there already",
        ),
        (&|list| list[0]["csp"] = json!("Elsewhere"), "has no attestation variant"),
        (&|list| list[0]["attestationVariant"] = json!("azure-tdx"), "has no attestation variant"),
        (&|list| list[0]["measurements"] = json!({}), "enforces nothing"),
        (
            &|list| {
                let map = list[0]["measurements"].as_object_mut().expect("an object");
                map.values_mut().for_each(|value| value["warnOnly"] = json!(true));
            },
            "enforces nothing",
        ),
    ];
    for (change, reason) in refused {
        let run = merged(change);
        assert_eq!(run.code, Some(2), "{reason}");
        assert!(run.stdout.is_empty() && run.stderr.contains(reason), "{}", run.stderr);
    }
}

#[test]
fn where_the_format_can_warn_an_assumption_is_only_warned_about() {
    let stdout = exported(
        &[Doc::Tiny257],
        &[
            "--format",
            "constellation",
            "--csp",
            "Azure",
            "--attestation-variant",
            "azure-tdx",
            "--image-version",
            "v1.0.0",
        ],
    );
    let envelope: Value = serde_json::from_slice(&stdout).expect("JSON");
    let map = &envelope["list"][0]["measurements"];
    assert_eq!(map["12"]["warnOnly"], json!(true));
    assert_eq!(map["11"]["warnOnly"], json!(false));
    assert!(map.get("7").is_none() && map.get("0").is_none(), "a PCR that is not known was written");
}

/// Without Secure Boot PCR 7 is the same for every image.
#[test]
fn aws_takes_pcr_7_alone_with_secure_boot_only() {
    let kms = ["--format", "aws-kms", "--principal", "arn:aws:iam::111122223333:role/os"];
    for format in [&["--format", "aws"][..], &kms] {
        let run = export(&[Doc::Aws257], &[format, &["--pcr", "7"]].concat());
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stdout.is_empty() && run.stderr.contains("unless Secure Boot is on"), "{}", run.stderr);
        exported(&[Doc::Aws257], &[format, &["--pcr", "4,7"]].concat());
        let mut document: Value = read_json(Doc::Aws257.path());
        document["scenarios"][0]["secure_boot"] = json!(true);
        let path = folder("aws-secure-boot").join("document.json");
        std::fs::write(&path, document.to_string()).expect("writable");
        let run = premeasure([&["export", text(&path), "--pcr", "7"], format].concat());
        assert_eq!(run.code, Some(0), "{}", run.stderr);
    }
}

/// 32 KiB is what KMS takes; more is refused before AWS does. What no longer fits in a readable form is written in one line.
#[test]
fn key_policies_beyond_the_limit_are_refused() {
    let folder = folder("kms-limit");
    let arguments = ["--format", "aws-kms", "--principal", "arn:aws:iam::111122223333:role/os"];
    let boots = |count: usize| {
        let mut documents = Vec::new();
        for number in 0..count {
            let mut document: Value = read_json(Doc::Aws257.path());
            // Another release: other files, and another inner kernel in PCR 4.
            release(&mut document, number);
            let path = folder.join(format!("{number}.json"));
            std::fs::write(&path, document.to_string()).expect("writable");
            documents.push(path);
        }
        let paths: Vec<&str> = documents.iter().map(|path| text(path)).collect();
        premeasure([&["export"], &paths[..], &arguments].concat())
    };
    let run = boots(48);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.len() <= 32768, "{}", run.stdout.len());
    assert_eq!(run.json::<Value>()["Statement"].as_array().expect("statements").len(), 48);
    let run = boots(80);
    assert_eq!(run.code, Some(2));
    assert!(run.stdout.is_empty() && run.stderr.contains("KMS takes 32768"), "{}", run.stderr);
}

/// The document of another release: the last load of PCR 4 has other digests, and the PCR the values that follow.
fn release(document: &mut Value, number: usize) {
    use sha2::Digest as _;
    let hash = |bank: &str, bytes: &[u8]| match bank {
        "sha256" => hex::encode(sha2::Sha256::digest(bytes)),
        _ => hex::encode(sha2::Sha384::digest(bytes)),
    };
    let image = hash("sha256", number.to_string().as_bytes());
    document["images"][0]["inputs"][0]["sha256"] = json!(image);
    let variant = &mut document["variants"][0];
    let events = variant["measurements"].as_array_mut().expect("a list");
    let last = events.iter_mut().rfind(|event| event["pcr"] == 4).expect("an event of PCR 4");
    for bank in ["sha256", "sha384"] {
        last["digests"][bank] = json!(hash(bank, number.to_string().as_bytes()));
    }
    for bank in ["sha256", "sha384"] {
        let zero = if bank == "sha256" { 32 } else { 48 };
        let mut held = vec![0; zero];
        for event in
            variant["measurements"].as_array().expect("a list").iter().filter(|event| event["pcr"] == 4)
        {
            held.extend(hex::decode(event["digests"][bank].as_str().expect("hex")).expect("hex"));
            held = hex::decode(hash(bank, &held)).expect("hex");
        }
        for value in variant["pcrs"][4]["values"].as_array_mut().expect("a list") {
            value["digests"][bank] = json!(hex::encode(&held));
        }
    }
}

/// A grant lets somebody use the key whose request carries no attestation document.
#[test]
fn no_administrator_may_grant_the_key() {
    let policy: Value = read_json(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/export/golden/aws-kms/out"));
    let actions = policy["Statement"][0]["Action"].as_array().expect("a list");
    let words: Vec<&str> = actions.iter().map(|action| action.as_str().expect("a word")).collect();
    assert_eq!(policy["Statement"][0]["Sid"], "Administration");
    assert!(words.contains(&"kms:PutKeyPolicy"));
    for word in words {
        assert!(!word.contains('*') && word != "kms:CreateGrant" && word != "kms:Decrypt", "{word}");
    }
}
