//! Every format: written, valid by its schema, the same as last time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use premeasure::export::EXPORTERS;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::documents::{Doc, export, folder, text};
use crate::support::{Pcrs, fixture, read, read_json, say};

/// What a format is exported from, and with which options.
struct Example {
    format: &'static str,
    documents: &'static [Doc],
    arguments: &'static [&'static str],
}

const fn example(
    format: &'static str,
    documents: &'static [Doc],
    arguments: &'static [&'static str],
) -> Example {
    Example { format, documents, arguments }
}

const ONE: &[Doc] = &[Doc::Tiny257];
const TWO: &[Doc] = &[Doc::Tiny257, Doc::Tiny262];
const AWS: &[Doc] = &[Doc::Aws257];
const ALL: &[&str] = &["--accept-assumption", "all"];
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/export/keys/rsa-2048.pem");
const EC_KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/export/keys/p256.pem");
const IMAGE: &str =
    "registry.example.org/os@sha256:0000000000000000000000000000000000000000000000000000000000000001";

/// One for each format, and more where a format has more to show.
const EXAMPLES: &[Example] = &[
    example(
        "constellation",
        ONE,
        &[
            "--csp",
            "AWS",
            "--attestation-variant",
            "aws-sev-snp",
            "--image-version",
            "v1.4.0",
            "--accept-assumption",
            "all",
        ],
    ),
    example("constellation-raw", ONE, ALL),
    example("constellation-join-config", ONE, &["--csp", "QEMU", "--attestation-variant", "qemu-vtpm"]),
    example("trustee", TWO, ALL),
    example("tec", AWS, &["--image", IMAGE]),
    example("keylime", TWO, ALL),
    example("keylime-mb", ONE, ALL),
    example("aws", ONE, ALL),
    example(
        "aws-kms",
        TWO,
        &[
            "--principal",
            "arn:aws:iam::111122223333:role/os",
            "--admin",
            "arn:aws:iam::111122223333:root",
            "--accept-assumption",
            "all",
        ],
    ),
    example("pcrlock", TWO, &[]),
    example("pcrsig", ONE, &["--key", KEY]),
    example("systemd-measure", ONE, &[]),
    example("policy-digest", TWO, &[]),
    example("cmc", ONE, &[]),
    example(
        "corim",
        TWO,
        &[
            "--corim-id",
            "os-1",
            "--class-id",
            "2f6f8b1e-6d3c-4f57-9a1e-0c5d7a3b9e91",
            "--accept-assumption",
            "all",
        ],
    ),
    example(
        "in-toto",
        ONE,
        &["--subject", "sbom.json=sha256:0000000000000000000000000000000000000000000000000000000000000002"],
    ),
    example("cel-json", ONE, &[]),
    example("azure-maa", TWO, ALL),
    example(
        "kairos",
        ONE,
        &["--tpm-hash", "0000000000000000000000000000000000000000000000000000000000000003"],
    ),
    example("bottlerocket", TWO, &[]),
    example("dstack", AWS, ALL),
    example("flashbots", TWO, ALL),
    example("csv", TWO, &[]),
    example("env", ONE, &[]),
    example("tpm2-yaml", ONE, &[]),
];

#[test]
fn every_format_has_an_example_and_a_description() {
    let examples: BTreeSet<&str> = EXAMPLES.iter().map(|example| example.format).collect();
    let formats: BTreeSet<&str> = EXPORTERS.iter().map(|exporter| exporter.name).collect();
    assert_eq!(examples, formats);
    let readme = String::from_utf8(read(schemas().join("README.md"))).expect("UTF-8");
    for exporter in EXPORTERS {
        let names: Vec<String> =
            [String::new()].into_iter().chain(exporter.parts.iter().map(|part| format!("-{part}"))).collect();
        let has = |suffix: &str| {
            names.iter().any(|part| schemas().join(format!("{}{part}{suffix}", exporter.name)).is_file())
        };
        let described =
            has(".schema.json") || has(".cddl") || readme.contains(&format!("- **{}**", exporter.name));
        assert!(described, "schemas/ says nothing about {}", exporter.name);
        assert!(
            !exporter.limits.is_empty() && !exporter.reader.is_empty() && !exporter.fed.is_empty(),
            "{}",
            exporter.name
        );
    }
}

/// With `PREMEASURE_BLESS=1` the golden files are written instead of compared.
#[test]
fn every_format_writes_what_it_wrote_before() {
    let bless = std::env::var_os("PREMEASURE_BLESS").is_some();
    for example in EXAMPLES {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/export/golden").join(example.format);
        let files = write(example);
        if bless {
            let _ = std::fs::remove_dir_all(&golden);
            for (name, bytes) in &files {
                let path = golden.join(name);
                std::fs::create_dir_all(path.parent().expect("below golden")).expect("writable");
                std::fs::write(path, bytes).expect("writable");
            }
        }
        let names: BTreeSet<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, list(&golden).iter().map(String::as_str).collect(), "{}", example.format);
        for (name, bytes) in &files {
            let expected = read(golden.join(name));
            assert!(
                expected == *bytes,
                "{} {name} differs:\n{}",
                example.format,
                String::from_utf8_lossy(bytes)
            );
        }
    }
}

#[test]
fn every_json_file_is_valid_by_its_schema() {
    let mut checked = BTreeSet::new();
    for example in EXAMPLES {
        for (name, bytes) in write(example) {
            let part = part_of(example.format, &name);
            let suffix = if part.is_empty() { String::new() } else { format!("-{part}") };
            let schema = match schemas().join(format!("{}{suffix}.schema.json", example.format)) {
                path if path.is_file() => path,
                // One schema for all parts of a format that are alike.
                _ => schemas().join(format!("{}.schema.json", example.format)),
            };
            if !schema.is_file() {
                continue;
            }
            let value = json_in(&name, &bytes);
            validate(&schema, &value);
            checked.insert(schema.file_name().expect("a file").to_string_lossy().into_owned());
            // A schema that accepts anything would prove nothing.
            assert!(!valid(&schema, &with_upper_case_digest(&value)), "{name}: upper case was accepted");
        }
    }
    for schema in list(&schemas()) {
        let of_format = EXPORTERS.iter().any(|exporter| {
            schema
                .strip_prefix(exporter.name)
                .is_some_and(|rest| rest.starts_with('.') || rest.starts_with('-'))
        });
        if schema.ends_with(".schema.json") && of_format {
            assert!(checked.contains(&schema), "no example was checked against {schema}");
        }
    }
}

/// CBOR against its CDDL, by PyPI's `cddl-verifier` 1.5.3 in the Python of `PREMEASURE_KEYLIME_PYTHON`. Cut short, with a value
/// that is too short, or by another rule it does not fit.
#[test]
fn every_cbor_file_is_valid_by_its_cddl() {
    let Some(python) = std::env::var_os("PREMEASURE_KEYLIME_PYTHON") else {
        say("SKIPPED every_cbor_file_is_valid_by_its_cddl: PREMEASURE_KEYLIME_PYTHON is not set");
        return;
    };
    let of = |format: &str| EXAMPLES.iter().find(|example| example.format == format).expect("an example");
    let (corim, dstack) = (of("corim"), write(of("dstack")));
    let signed = [&["--format", "corim", "--key", EC_KEY], corim.arguments].concat();
    let file = |name: &str| dstack.iter().find(|(file, _)| file == name).expect("a file").1.clone();
    let files = [
        ("corim", "corim", "cose-sign1", write(corim).remove(0).1),
        ("corim", "cose-sign1", "corim", crate::documents::exported(ONE, &signed)),
        ("dstack", "aws", "gcp", file("measurement.aws.cbor")),
        ("dstack", "gcp", "aws", file("measurement.gcp.cbor")),
    ];
    let path = folder("cddl").join("file.cbor");
    for (schema, rule, other, bytes) in files {
        let fits = |rule: &str, bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("writable");
            let mut verify = Command::new(&python);
            verify.args(["-m", "cddl_verifier", "--require-deterministic", "-t", rule]);
            let output = verify
                .arg(schemas().join(format!("{schema}.cddl")))
                .arg(&path)
                .output()
                .expect("Python starts");
            let text = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8_lossy(&text).into_owned())
        };
        let (good, text) = fits(rule, &bytes);
        assert!(good, "{schema} {rule}: {text}");
        assert!(!fits(other, &bytes).0, "{rule} passes for {other}");
        assert!(!fits(rule, &bytes[..bytes.len() - 1]).0, "{rule} cut short");
        let mut value: ciborium::Value = ciborium::from_reader(bytes.as_slice()).expect("CBOR");
        assert!(shorten(&mut value), "{rule} has nothing to spoil");
        let mut spoilt = Vec::new();
        ciborium::into_writer(&value, &mut spoilt).expect("CBOR");
        assert!(!fits(rule, &spoilt).0, "{rule} with a value that is too short");
    }
}

/// The first byte string, one byte shorter.
fn shorten(value: &mut ciborium::Value) -> bool {
    match value {
        ciborium::Value::Bytes(bytes) => bytes.pop().is_some(),
        ciborium::Value::Array(items) => items.iter_mut().any(shorten),
        ciborium::Value::Map(entries) => entries.iter_mut().any(|(_, value)| shorten(value)),
        ciborium::Value::Tag(_, value) => shorten(value),
        _ => false,
    }
}

/// The witness is the TPM of the machines that booted these images: at the stage that the firmware's log reaches, an exported
/// value is what the TPM held.
#[test]
fn values_are_those_of_the_real_machines() {
    // The machine that booted 262 had a boot secret, which the document declares absent: PCR 9 is not compared.
    let cases = [
        (Doc::Tiny257, "t-tiny-257", "4,9,11,12,13,14", 12),
        (Doc::Tiny262, "t3-tiny-262", "4,11,12,13,14", 10),
    ];
    for (document, case, pcrs, count) in cases {
        let held: Pcrs = read_json(fixture("boots").join(case).join("pcrs.json"));
        let stdout = crate::documents::exported(
            &[document],
            &[
                "--format",
                "env",
                "--stage",
                "exit-boot-services",
                "--accept-assumption",
                "all",
                "--pcr",
                pcrs,
            ],
        );
        let lines = String::from_utf8(stdout).expect("text");
        assert_eq!(lines.lines().count(), count, "{lines}");
        for line in lines.lines() {
            let (name, value) = line.split_once('=').expect("NAME=value");
            let (pcr, bank) =
                name.strip_prefix("PCR").and_then(|rest| rest.split_once('_')).expect("PCRn_BANK");
            assert_eq!(value, held[&bank.to_lowercase()][pcr], "{case} {name}");
        }
    }
}

#[test]
fn the_report_is_valid_and_names_what_was_left_out() {
    let folder = folder("report");
    let report = folder.join("report.json");
    let run = export(
        TWO,
        &["--format", "keylime", "--report", text(&report), "-o", text(&folder.join("policy.json"))],
    );
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let value: Value = read_json(&report);
    validate(&schemas().join("export-report.schema.json"), &value);
    let dropped = value["variants"][0]["dropped"].as_array().expect("a list");
    let reason =
        |pcr: u64| dropped.iter().find(|entry| entry["pcr"] == pcr).map(|entry| entry["reason"].to_string());
    assert!(reason(7).expect("PCR 7").contains("not known"));
    assert!(reason(12).expect("PCR 12").contains("no-load-options"));
    assert!(run.stderr.contains("warning: keylime has a list for each PCR"), "{}", run.stderr);
}

fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

fn validate(schema: &Path, value: &Value) {
    let schema_value: Value = read_json(schema);
    let validator = jsonschema::draft202012::new(&schema_value)
        .unwrap_or_else(|error| panic!("{}: {error}", schema.display()));
    let errors: Vec<String> =
        validator.iter_errors(value).map(|error| format!("{} at {}", error, error.instance_path())).collect();
    assert!(errors.is_empty(), "{}: {errors:#?}", schema.display());
}

fn valid(schema: &Path, value: &Value) -> bool {
    jsonschema::draft202012::new(&read_json(schema)).expect("a schema").is_valid(value)
}

/// The first long hexadecimal or base64 text, spoilt.
fn with_upper_case_digest(value: &Value) -> Value {
    fn spoil(value: &mut Value) -> bool {
        match value {
            Value::String(text)
                if text.len() >= 40
                    && !text.contains(' ')
                    && !text.contains("://")
                    && !text.starts_with("arn:")
                    && !text.starts_with("application/") =>
            {
                text.insert(0, '!');
                true
            }
            Value::Array(items) => items.iter_mut().any(spoil),
            Value::Object(members) => members.values_mut().any(spoil),
            _ => false,
        }
    }
    let mut value = value.clone();
    assert!(spoil(&mut value), "there is no digest to spoil");
    value
}

/// The JSON of a file; in YAML it is the block below the last `|`.
fn json_in(name: &str, bytes: &[u8]) -> Value {
    let text = std::str::from_utf8(bytes).expect("text");
    let json = if text.starts_with("apiVersion:") {
        text.rsplit_once("|\n").expect("a block scalar").1
    } else {
        text
    };
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The part that a file belongs to.
fn part_of(format: &str, file: &str) -> &'static str {
    match (format, file) {
        ("trustee", "rvps-payload.json") => "payload",
        ("trustee", "rvps-message.json") => "message",
        ("trustee", "attestation-policy-request.json") => "policy-request",
        ("trustee", "resource-policy-request.json") => "resource-policy-request",
        ("trustee", "reference-values-configmap.yaml") => "configmap",
        ("trustee", _) => "text",
        ("tec", "org.coreos.pcrs.json") => "label",
        ("tec", _) => "text",
        ("dstack", "aws-pcrs.json") => "aws-pcrs",
        _ => "",
    }
}

/// Writes an example and returns its files. The version of the program is not part of a format.
fn write(example: &Example) -> Vec<(String, Vec<u8>)> {
    let exporter = EXPORTERS.iter().find(|exporter| exporter.name == example.format).expect("a format");
    // Tests run beside each other, as threads or as processes: each has folders of its own.
    let test = std::thread::current().name().unwrap_or("test").replace("::", "-");
    let folder = folder(&format!("{test}-{}", example.format));
    let output = if exporter.parts.is_empty() { folder.join("out") } else { folder.clone() };
    let mut arguments = vec!["--format", example.format, "--output", text(&output)];
    arguments.extend(example.arguments);
    let report = crate::documents::folder(&format!("{test}-{}-report", example.format)).join("report.json");
    arguments.extend(["--report", text(&report)]);
    let run = export(example.documents, &arguments);
    assert_eq!(run.code, Some(0), "{}: {}", example.format, run.stderr);
    validate(&schemas().join("export-report.schema.json"), &read_json(&report));
    let version = concat!("\"version\": \"", env!("CARGO_PKG_VERSION"), "\"");
    let redact = |bytes: Vec<u8>| match example.format {
        "in-toto" => {
            let text = String::from_utf8(bytes).expect("UTF-8");
            // The document names its generator's version and the rules' wording, so its digest is no property of the format.
            let document = hex::encode(Sha256::digest(read(example.documents[0].path())));
            let text = text.replace(version, "\"version\": \"[VERSION]\"");
            text.replace(&document, &"0".repeat(64)).into_bytes()
        }
        _ => bytes,
    };
    list(&folder).into_iter().map(|name| (name.clone(), redact(read(folder.join(name))))).collect()
}

/// Files below a folder, by their path within.
fn list(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path.strip_prefix(folder).expect("below").to_string_lossy().into_owned());
            }
        }
    }
    files.sort();
    files
}

/// A signed CoRIM is not deterministic for every key; its decoding is tested with the consumers.
#[test]
fn a_key_is_refused_where_nothing_is_signed() {
    let run = export(ONE, &["--format", "keylime", "--key", EC_KEY]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("--key is no option of keylime"), "{}", run.stderr);
}
