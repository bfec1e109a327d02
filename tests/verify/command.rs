//! The command: its files, exit codes and outputs.

use std::path::PathBuf;

use crate::forge::{Forge, NONCE, document};
use crate::support::{Run, premeasure, scratch};

/// Writes evidence where the command can read it.
fn run(name: &str, forge: &Forge, more: &[&str]) -> Run {
    let folder = scratch().join(format!("verify-command-{name}"));
    std::fs::create_dir_all(&folder).expect("a folder");
    let write = |file: &str, bytes: &[u8]| -> PathBuf {
        let path = folder.join(file);
        std::fs::write(&path, bytes).expect("writable");
        path
    };
    let message = forge.message();
    let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).expect("a scalar");
    let mut spki = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").expect("hexadecimal");
    spki.extend_from_slice(key.verifying_key().to_sec1_point(false).as_bytes());
    let mut pcrs: std::collections::BTreeMap<String, std::collections::BTreeMap<String, String>> =
        Default::default();
    for (bank, values) in forge.claimed.as_ref().expect("values").banks() {
        let values = values.iter().map(|(pcr, value)| (pcr.to_string(), value.to_string()));
        pcrs.insert(bank.name().to_owned(), values.collect());
    }
    let files = [
        ("--policy", if more.contains(&"--policy") { PathBuf::new() } else { document() }),
        ("--quote", write("quote.msg", &message)),
        ("--signature", write("quote.sig", &forge.sign(&message))),
        ("--pcrs", write("pcrs.json", &serde_json::to_vec(&pcrs).expect("JSON"))),
        ("--log", write("log.bin", forge.log.as_ref().expect("a log"))),
        ("--ak", write("ak.der", &spki)),
    ];
    let mut arguments: Vec<std::ffi::OsString> = vec!["verify".into()];
    arguments.extend(
        files
            .into_iter()
            .filter(|(_, path)| !path.as_os_str().is_empty())
            .flat_map(|(option, path)| [option.into(), path.into()]),
    );
    if !more.contains(&"--nonce") {
        arguments.extend(["--nonce".into(), hex::encode(NONCE).into()]);
    }
    arguments.extend(more.iter().map(Into::into));
    premeasure(arguments)
}

fn schema() -> jsonschema::Validator {
    let schema = crate::support::read_json::<serde_json::Value>(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/verify.schema.json"),
    );
    jsonschema::validator_for(&schema).expect("a schema")
}

#[track_caller]
fn json(run: &Run) -> serde_json::Value {
    let value: serde_json::Value =
        serde_json::from_slice(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stderr));
    let errors: Vec<String> =
        schema().iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    value
}

#[test]
fn an_accepted_machine_gives_exit_code_0() {
    let accepted = run("good", &Forge::honest(), &[]);
    assert_eq!(accepted.code, Some(0), "{}{}", accepted.text(), accepted.stderr);
    assert!(accepted.text().starts_with("ACCEPTED"), "{}", accepted.text());
    let value = json(&run("good", &Forge::honest(), &["--json", "--at", "2026-02-03T00:00:00Z"]));
    let tpm = &value["submods"]["tpm"];
    assert_eq!(tpm["ear_status"], "affirming");
    assert_eq!(tpm["ear_trustworthiness_vector"]["executables"], 3);
    assert_eq!(tpm["ear_trustworthiness_vector"]["hardware"], 0);
    assert_eq!(tpm["premeasure"]["certificates_valid_at"], "2026-02-03T00:00:00Z");
}

#[test]
fn a_refused_machine_gives_exit_code_1_and_its_codes() {
    let mut forge = Forge::honest();
    forge.nonce = vec![1; 32];
    let refused = run("nonce", &forge, &["--json"]);
    assert_eq!(refused.code, Some(1));
    let value = json(&refused);
    let tpm = &value["submods"]["tpm"];
    assert_eq!(tpm["ear_status"], "contraindicated");
    assert_eq!(tpm["ear_trustworthiness_vector"]["instance-identity"], 99);
    assert_eq!(tpm["premeasure"]["refusals"][0]["code"], "nonce-mismatch");
    let text = run("nonce", &forge, &[]);
    assert!(text.text().starts_with("REFUSED"), "{}", text.text());
}

#[test]
fn the_verifiers_own_mistakes_give_exit_code_2() {
    for (more, expected) in [
        (&["--enforce", "7"][..], "--variables"),
        (&["--ignore", "4,8,9,11,12,13,14,15"], "--enforce"),
        (&["--enforce", "4", "--warn", "4"], "once"),
        (&["--nonce", ""], "expected 1 to 64"),
        (&["--at", "tomorrow"], "RFC 3339"),
    ] {
        let error = run("mistakes", &Forge::honest(), more);
        assert_eq!(error.code, Some(2), "{more:?}: {}", error.text());
        assert!(error.stderr.contains(expected), "{more:?}: {}", error.stderr);
    }
}

/// Files without an end: the machine sent them, so that it is refused, by what is read of them and no more.
#[test]
fn endless_files_are_refused() {
    let good = crate::support::scratch().join("verify-command-endless");
    assert_eq!(run("endless", &Forge::honest(), &[]).code, Some(0));
    for (option, code) in [
        ("--quote", "quote-malformed"),
        ("--signature", "signature-malformed"),
        ("--pcrs", "pcrs-malformed"),
        ("--log", "log-malformed"),
    ] {
        let mut arguments = vec!["verify".to_owned(), "--json".to_owned()];
        let text = |path: PathBuf| path.to_str().expect("text").to_owned();
        for (name, value) in [
            ("--policy", text(document())),
            ("--quote", text(good.join("quote.msg"))),
            ("--signature", text(good.join("quote.sig"))),
            ("--pcrs", text(good.join("pcrs.json"))),
            ("--log", text(good.join("log.bin"))),
            ("--ak", text(good.join("ak.der"))),
            ("--nonce", hex::encode(NONCE)),
        ] {
            let value = if name == option { "/dev/zero".to_owned() } else { value };
            arguments.extend([name.to_owned(), value]);
        }
        refused_for(&premeasure(arguments), code);
    }
    let key = good.join("ak.der");
    let evidence = [
        "verify".as_ref(),
        "--json".as_ref(),
        "--policy".as_ref(),
        document().as_os_str(),
        "--evidence".as_ref(),
        "/dev/zero".as_ref(),
        "--ak".as_ref(),
        key.as_os_str(),
        "--nonce".as_ref(),
        "00".as_ref(),
    ]
    .map(std::ffi::OsString::from);
    refused_for(&premeasure(evidence), "evidence-malformed");
    // One that is not there was named wrongly: the verifier's mistake.
    assert_eq!(run("endless", &Forge::honest(), &["--log", "/nonexistent"]).code, Some(2));
    assert_eq!(run("endless", &Forge::honest(), &["--log", "/"]).code, Some(2));
}

#[track_caller]
fn refused_for(run: &Run, code: &str) {
    assert_eq!(run.code, Some(1), "{code}: {}", run.stderr);
    let value = json(run);
    let tpm = &value["submods"]["tpm"];
    assert_eq!(tpm["premeasure"]["refusals"][0]["code"], code);
    assert_eq!(tpm["ear_status"], "contraindicated");
}

/// Values, wholes and events alike.
#[test]
fn policies_in_other_formats_are_read() {
    let folder = scratch().join("verify-policies");
    std::fs::create_dir_all(&folder).expect("a folder");
    for (format, enforce) in
        [("tpm2-yaml", "4,9,11"), ("constellation-raw", "4,9,11"), ("csv", "4,9,11"), ("cel-json", "4,9,11")]
    {
        let path = folder.join(format);
        let exported = premeasure([
            "export".as_ref(),
            document().as_os_str(),
            "--format".as_ref(),
            format.as_ref(),
            "--accept-assumption".as_ref(),
            "all".as_ref(),
            "-o".as_ref(),
            path.as_os_str(),
        ]);
        assert_eq!(exported.code, Some(0), "{format}: {}", exported.stderr);
        let path = path.to_str().expect("text").to_owned();
        let accepted = run(format, &Forge::honest(), &["--policy", &path, "--enforce", enforce]);
        assert_eq!(accepted.code, Some(0), "{format}: {}{}", accepted.text(), accepted.stderr);
        let longer = [crate::forge::log(), crate::forge::record(4, 3000, b"evil", b"")].concat();
        let refused = run(format, &Forge::of_log(longer), &["--policy", &path, "--enforce", enforce]);
        assert_eq!(refused.code, Some(1), "{format}: {}{}", refused.text(), refused.stderr);
    }
}
