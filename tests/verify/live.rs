//! The feature `tpm`: quotes that the program makes itself, judged by the program and by `tpm2_checkquote`.

use std::process::Command;

use serde_json::{Value, json};

use crate::captures::machine;
use crate::forge::{document, log};
use crate::support::tpm::Tpm;
use crate::support::{premeasure, read_json, scratch, skipped_without, tool};
use crate::swtpm::boot;

const NONCE: &str = "00112233445566778899aabbccddeeff";

#[test]
fn a_live_tpm_is_quoted_and_not_extended() {
    if skipped_without(&["swtpm", "tpm2_pcrextend", "tpm2_pcrread", "tpm2_checkquote", "tpm2_print"]) {
        return;
    }
    let tpm = Tpm::on_tcp("verify-live");
    let tools = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        tool(command.args(arguments).env("TPM2TOOLS_TCTI", &tpm.tcti).env("TSS2_LOG", "all+none"))
    };
    tools("tpm2_pcrextend", &[&format!("11:sha256={},sha384={}", "ab".repeat(32), "cd".repeat(48))]);
    let before = tools("tpm2_pcrread", &[]);
    for key in ["rsa", "ecc"] {
        let folder = scratch().join(format!("verify-live-{key}"));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = |name: &str| folder.join(name).to_str().expect("text").to_owned();
        // More than eight PCRs of a bank, which a TPM does not give at once.
        let pcrs = "sha256:0,1,2,3,4,5,6,7,8,9,10,11,12+sha384:4,11";
        let quoted = premeasure([
            "quote",
            "--nonce",
            NONCE,
            "--pcrs",
            pcrs,
            "--tcti",
            &tpm.tcti,
            "--key",
            key,
            "-o",
            folder.to_str().expect("text"),
        ]);
        assert_eq!(quoted.code, Some(0), "{}", quoted.stderr);
        let values = tools("tpm2_pcrread", &["sha256:4,11+sha384:11"]);
        std::fs::write(path("policy"), &values).expect("writable");
        let verify = |nonce: &str| {
            premeasure([
                "verify",
                "--policy",
                &path("policy"),
                "--quote",
                &path("quote.msg"),
                "--signature",
                &path("quote.sig"),
                "--pcrs",
                &path("pcrs.json"),
                "--ak",
                &path("ak.pub"),
                "--nonce",
                nonce,
                "--json",
            ])
        };
        let accepted = verify(NONCE);
        assert_eq!(accepted.code, Some(0), "{}{}", accepted.text(), accepted.stderr);
        let result: serde_json::Value = accepted.json();
        assert_eq!(result["submods"]["tpm"]["premeasure"]["signer"]["primary_of"], "null");
        assert_eq!(verify("00").code, Some(1));
        // Witness: tpm2-tools' own verifier.
        let print = ["-t", "TPMT_PUBLIC", "-f", "pem", &path("ak.pub")].map(str::to_owned);
        let pem = Command::new("tpm2_print").args(&print).output().expect("it starts").stdout;
        let pem = String::from_utf8_lossy(&pem).into_owned();
        let at = pem.find("-----BEGIN").expect("tpm2_print writes PEM");
        std::fs::write(path("ak.pem"), &pem[at..]).expect("writable");
        let check = ["-u", &path("ak.pem"), "-m", &path("quote.msg"), "-s", &path("quote.sig"), "-q", NONCE];
        tool(Command::new("tpm2_checkquote").args(check));
    }
    assert_eq!(tools("tpm2_pcrread", &[]), before, "quoting changes no PCR");
}

#[test]
fn a_tpm_that_is_not_there_is_an_error() {
    let folder = scratch().to_str().expect("text").to_owned();
    let run = premeasure([
        "quote",
        "--nonce",
        NONCE,
        "--pcrs",
        "sha256:4",
        "--tcti",
        "device:/nonexistent",
        "-o",
        &folder,
    ]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("/nonexistent"), "{}", run.stderr);
}

/// One command on the machine, one file, one command of the verifier.
#[test]
fn a_capture_takes_a_quote_along() {
    if skipped_without(&["swtpm", "tpm2_pcrextend", "tpm2_pcrread"]) {
        return;
    }
    let tpm = Tpm::on_tcp("verify-live-capture");
    boot(&tpm, &log());
    let root = machine(&tpm);
    let before = tpm.run("tpm2_pcrread", &[]);
    let file = tpm.folder.join("capture.json");
    for key in ["rsa", "ecc"] {
        let mut arguments = vec!["capture".into(), "--root".into(), root.clone(), "-o".into(), file.clone()];
        arguments.extend(["--quote", "--nonce", NONCE, "--tcti", &tpm.tcti, "--key", key].map(Into::into));
        let run = premeasure(arguments);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(run.stderr.contains("the quote tells which TPM this is"), "{}", run.stderr);
        assert!(run.stderr.contains(&format!("(read by {})", tpm.tcti)), "{}", run.stderr);
        let written: Value = read_json(&file);
        let schema: Value = serde_json::from_str(premeasure::capture::SCHEMA).expect("a schema");
        assert!(jsonschema::validator_for(&schema).expect("a schema").is_valid(&written));
        // The key reaches the verifier by another way; here it is taken from the file.
        let ak = tpm.folder.join("ak.b64");
        std::fs::write(&ak, written["quote"]["key"].as_str().expect("a key")).expect("written");
        let key = Command::new("base64").arg("-d").arg(&ak).output().expect("coreutils").stdout;
        std::fs::write(&ak, key).expect("written");
        let verify = |nonce: &str| {
            let mut arguments: Vec<std::ffi::OsString> = vec!["verify".into(), "--policy".into()];
            arguments.extend([document().into(), "--evidence".into(), file.clone().into()]);
            arguments.extend([
                "--ak".into(),
                ak.clone().into(),
                "--nonce".into(),
                nonce.into(),
                "--json".into(),
            ]);
            premeasure(arguments)
        };
        let result: Value = verify(NONCE).json();
        let signer = &result["submods"]["tpm"]["premeasure"]["signer"];
        assert_eq!((&signer["primary_of"], &signer["attributes_checked"]), (&json!("null"), &json!(true)));
        assert_eq!(verify("ab").code, Some(1));
        // All banks of the TPM are in it, as tpm2-tools read them.
        for (bank, values) in written["pcrs"].as_object().expect("banks") {
            for line in tpm.run("tpm2_pcrread", &[bank]).lines() {
                if let Some((pcr, value)) =
                    line.trim().split_once(':').filter(|(_, value)| value.contains("0x"))
                {
                    let value = value.trim().trim_start_matches("0x").to_lowercase();
                    assert_eq!(values[pcr.trim()], json!(value), "{bank} {pcr}");
                }
            }
        }
        let banks: Vec<&String> = written["pcrs"].as_object().expect("banks").keys().collect();
        assert!(banks.contains(&&"sha256".to_owned()) && banks.len() >= 3, "{banks:?}");
    }
    assert_eq!(tpm.run("tpm2_pcrread", &[]), before, "capturing changes no PCR");
}

/// `--live --tcti` asks the TPM, not sysfs.
#[test]
fn a_live_tpm_is_compared() {
    if skipped_without(&["swtpm", "tpm2_pcrextend", "tpm2_pcrread"]) {
        return;
    }
    let tpm = Tpm::on_tcp("verify-live-compare");
    boot(&tpm, &log());
    let root = machine(&tpm);
    let compare = |more: &[&str]| {
        let mut arguments: Vec<std::ffi::OsString> =
            vec!["compare".into(), document().into(), "--live".into()];
        arguments.extend(["--live-root".into(), root.clone().into(), "--json".into()]);
        arguments.extend(more.iter().map(Into::into));
        premeasure(arguments)
    };
    let equal = compare(&["--tcti", &tpm.tcti]);
    assert_eq!(equal.code, Some(0), "{}{}", equal.text(), equal.stderr);
    // sysfs of the folder stays as it is; the TPM goes on.
    tpm.run("tpm2_pcrextend", &[&format!("12:sha256={}", "ab".repeat(32))]);
    assert_eq!(compare(&[]).code, Some(0));
    let differs = compare(&["--tcti", &tpm.tcti]);
    assert_eq!(differs.code, Some(1), "{}{}", differs.text(), differs.stderr);
    let gone = compare(&["--tcti", "device:/nonexistent"]);
    assert_eq!(gone.code, Some(2));
    assert!(gone.stderr.contains("/nonexistent"), "{}", gone.stderr);
    // Without sysfs there is still the TPM.
    std::fs::remove_dir_all(root.join("sys/class")).expect("removed");
    assert_eq!(compare(&["--tcti", &tpm.tcti]).code, Some(1));
    let nothing = compare(&[]);
    assert!(nothing.code == Some(2) && nothing.stderr.contains("--tcti"), "{}", nothing.stderr);
}
