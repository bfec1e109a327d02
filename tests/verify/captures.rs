//! Captures with a quote as evidence: quotes of swtpm by `tpm2_quote`, put into a capture, and what is done to such a file.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::forge::{document, log};
use crate::support::tpm::Tpm;
use crate::support::{Run, fixture, premeasure, read, read_json, skipped_without};
use crate::swtpm::{NONCE, boot, create_key, quote};

const TOOLS: &[&str] = &["swtpm", "tpm2_quote", "tpm2_createprimary", "tpm2_pcrextend", "tpm2_readpublic"];
const PCRS: &str = "sha256:0,4,5,7,8,9,11,12,13,14,15";

/// The folder of a machine whose TPM this is, as Linux shows it.
pub(crate) fn machine(tpm: &Tpm) -> PathBuf {
    let root = tpm.folder.join("machine");
    let put = |path: &str, bytes: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, bytes).expect("written");
    };
    put("sys/kernel/security/tpm0/binary_bios_measurements", &log());
    // Witness: what tpm2-tools read.
    for line in tpm.run("tpm2_pcrread", &["sha256"]).lines() {
        if let Some((pcr, value)) = line.trim().split_once(':').filter(|(_, value)| value.contains("0x")) {
            let value = value.trim().trim_start_matches("0x");
            put(&format!("sys/class/tpm/tpm0/pcr-sha256/{}", pcr.trim()), value.as_bytes());
        }
    }
    put("etc/machine-id", b"0123456789abcdef0123456789abcdef\n");
    root
}

/// A TPM that booted, and a quote of it in its folder.
fn quoted(name: &str) -> Option<(Tpm, PathBuf)> {
    if skipped_without(TOOLS) {
        return None;
    }
    let tpm = Tpm::start(name);
    boot(&tpm, &log());
    create_key(&tpm, "ecc256:ecdsa-sha256");
    quote(&tpm, "ecc256:ecdsa-sha256", PCRS, &[]);
    let root = machine(&tpm);
    Some((tpm, root))
}

fn capture(tpm: &Tpm, root: &PathBuf, files: &[&str], more: &[&str]) -> (Run, PathBuf) {
    let output = tpm.folder.join("capture.json");
    let _ = fs::remove_file(&output);
    let mut arguments: Vec<std::ffi::OsString> =
        vec!["capture".into(), "--root".into(), root.into(), "-o".into(), output.clone().into()];
    arguments.extend(more.iter().map(Into::into));
    if !files.is_empty() {
        arguments.push("--quote-files".into());
        arguments.extend(files.iter().map(|name| tpm.folder.join(name).into()));
    }
    (premeasure(arguments), output)
}

fn verify(evidence: &PathBuf, key: PathBuf, nonce: &str, more: &[&str]) -> Run {
    let mut arguments: Vec<std::ffi::OsString> = vec!["verify".into(), "--policy".into(), document().into()];
    arguments.extend(["--evidence".into(), evidence.into(), "--ak".into(), key.into()]);
    arguments.extend(["--nonce".into(), nonce.into()]);
    arguments.extend(more.iter().map(Into::into));
    premeasure(arguments)
}

#[track_caller]
fn refused(run: &Run, code: &str) {
    assert_eq!(run.code, Some(1), "{}{}", run.text(), run.stderr);
    assert!(run.text().contains(code), "{code}: {}", run.text());
}

#[test]
fn a_capture_with_a_quote_is_evidence() {
    let Some((tpm, root)) = quoted("verify-capture") else { return };
    let (run, file) = capture(&tpm, &root, &["msg", "sig", "ak.pub", "pcrs"], &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    // What of it tells which machine it is, is said before it is written.
    for words in [
        &format!("a quote of {PCRS}, over the nonce {NONCE}")[..],
        "the quote tells which TPM this is",
        "resets (",
    ] {
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
    }
    let written: Value = read_json(&file);
    let schema: Value = serde_json::from_str(premeasure::capture::SCHEMA).expect("a schema");
    assert!(jsonschema::validator_for(&schema).expect("a schema").is_valid(&written));
    assert!(!String::from_utf8(read(&file)).expect("text").contains("0123456789abcdef0123456789abcdef"));

    let run = verify(&file, tpm.folder.join("ak.pub"), NONCE, &["--json"]);
    assert_eq!(run.code, Some(0), "{}{}", run.text(), run.stderr);
    let result: Value = run.json();
    let result = &result["submods"]["tpm"]["premeasure"];
    assert_eq!((&result["evidence"], &result["logs"]), (&json!("premeasure-capture"), &json!(1)));
    assert_eq!(result["signer"]["primary_of"], "endorsement");
    let pcr =
        result["pcrs"].as_array().expect("PCRs").iter().find(|entry| entry["pcr"] == 11).expect("PCR 11");
    assert_eq!((&pcr["verdict"], &pcr["replayed"]), (&json!("match"), &json!(true)));
    // By PEM the attributes are those of the public area in the capture.
    assert_eq!(verify(&file, tpm.folder.join("ak.pem"), NONCE, &[]).code, Some(0));

    // It is a capture as before for everything else.
    let compared = premeasure(["compare".as_ref(), document().as_os_str(), file.as_os_str()]);
    assert_eq!(compared.code, Some(0), "{}{}", compared.text(), compared.stderr);
    let shown = premeasure(["log".as_ref(), "show".as_ref(), file.as_os_str()]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    let against = premeasure(["log".as_ref(), "replay".as_ref(), file.as_os_str()]);
    assert_eq!(against.code, Some(0), "{}", against.stderr);
}

/// Each of the three files in every form that has one, and values that are the machine's own.
#[test]
fn the_files_of_a_quote_in_other_forms() {
    let Some((tpm, root)) = quoted("verify-capture-forms") else { return };
    for files in [&["msg", "sig", "ak.pub"][..], &["msg", "sig", "ak.pem"], &["msg", "sig", "ak.pem", "pcrs"]]
    {
        let (run, file) = capture(&tpm, &root, files, &["--full"]);
        assert_eq!(run.code, Some(0), "{files:?}: {}", run.stderr);
        assert_eq!(verify(&file, tpm.folder.join("ak.pub"), NONCE, &[]).code, Some(0), "{files:?}");
    }
    // The machine went on: its values are no longer those under the quote.
    fs::write(root.join("sys/class/tpm/tpm0/pcr-sha256/12"), "ab".repeat(32)).expect("written");
    let (run, file) = capture(&tpm, &root, &["msg", "sig", "ak.pub"], &[]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("pcr-digest-mismatch") && !file.exists(), "{}", run.stderr);
    let (run, file) = capture(&tpm, &root, &["msg", "sig", "ak.pub", "pcrs"], &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(verify(&file, tpm.folder.join("ak.pub"), NONCE, &[]).code, Some(0));
    let (run, _) = capture(&tpm, &root, &["msg", "sig", "ak.pub"], &["--pcrs", "sha256:4"]);
    assert!(run.code == Some(2) && run.stderr.contains("--quote"), "{}", run.stderr);
    // Files in another order, and of another run.
    let (run, _) = capture(&tpm, &root, &["msg", "ak.pub", "sig"], &[]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("MSG SIG AK"), "{}", run.stderr);
    fs::copy(tpm.folder.join("sig"), tpm.folder.join("old")).expect("copied");
    quote(&tpm, "ecc256:ecdsa-sha256", "sha256:4", &[]);
    let (run, _) = capture(&tpm, &root, &["msg", "old", "ak.pub", "pcrs"], &[]);
    assert!(run.code == Some(2) && run.stderr.contains("signature-invalid"), "{}", run.stderr);
}

#[test]
fn captures_that_were_tampered_with_are_refused() {
    let Some((tpm, root)) = quoted("verify-capture-forged") else { return };
    let (run, file) = capture(&tpm, &root, &["msg", "sig", "ak.pub", "pcrs"], &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let honest: Value = read_json(&file);
    let key = || tpm.folder.join("ak.pub");
    let forged = tpm.folder.join("forged.json");
    let altered = |change: &dyn Fn(&mut Value)| {
        let mut document = honest.clone();
        change(&mut document);
        fs::write(&forged, document.to_string()).expect("written");
        verify(&forged, key(), NONCE, &[])
    };
    assert_eq!(altered(&|_| {}).code, Some(0));
    refused(&verify(&file, key(), &"ab".repeat(32), &[]), "nonce-mismatch");
    refused(
        &altered(&|document| drop(document.as_object_mut().expect("an object").remove("quote"))),
        "quote-missing",
    );
    refused(
        &altered(&|document| document["quote"]["pcrs"]["sha256"]["11"] = json!("00".repeat(32))),
        "pcr-digest-mismatch",
    );
    refused(&altered(&|document| document["quote"]["pcrs"]["sha256"] = json!({})), "pcrs-missing");
    refused(&altered(&|document| document["quote"]["message"] = json!("AAAA")), "quote-malformed");
    refused(
        &altered(&|document| document["quote"]["signature"] = document["quote"]["message"].clone()),
        "signature-",
    );
    refused(&altered(&|document| document["quote"]["key"] = json!("AAAA")), "evidence-malformed");
    refused(&altered(&|document| document["quote"]["key"] = json!("!")), "evidence-malformed");
    refused(&altered(&|document| document["logs"]["firmware"]["data"] = json!("AAAA")), "log-malformed");
    let other = fixture("boots/t3-tiny-262/eventlog.bin");
    let other =
        std::process::Command::new("base64").arg("-w0").arg(other).output().expect("coreutils").stdout;
    let other = String::from_utf8(other).expect("text");
    refused(&altered(&|document| document["logs"]["firmware"]["data"] = json!(other)), "log-mismatch");
    // The values beside the quote decide nothing, neither does what the file says of itself.
    assert_eq!(
        altered(&|document| document["pcrs"] = json!({"sha256": {"11": "00".repeat(32)}})).code,
        Some(0)
    );
    // A quote by a key that somebody made and put in.
    fs::copy(key(), tpm.folder.join("pinned.pub")).expect("copied");
    create_key(&tpm, "ecc384:ecdsa-sha384");
    quote(&tpm, "ecc384:ecdsa-sha384", PCRS, &[]);
    let (run, file) = capture(&tpm, &root, &["msg", "sig", "ak.pub", "pcrs"], &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    refused(&verify(&file, tpm.folder.join("pinned.pub"), NONCE, &[]), "evidence-unbound");
    // Twice the same member: two readers would see two values.
    let text = honest.to_string().replacen("{", "{\"quote\":null,", 1);
    fs::write(&forged, text).expect("written");
    refused(&verify(&forged, tpm.folder.join("pinned.pub"), NONCE, &[]), "evidence-malformed");
}

#[cfg(not(feature = "tpm"))]
#[test]
fn without_the_feature_it_says_what_it_can_not_do() {
    let folder = crate::support::scratch();
    let output = folder.join("never.json").to_str().expect("text").to_owned();
    let quote = premeasure(["capture", "-o", &output, "--quote", "--nonce", NONCE]);
    assert_eq!(quote.code, Some(2));
    assert!(
        quote.stderr.contains("--features tpm")
            && quote.stderr.contains(&format!("-l sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15 -q {NONCE}")),
        "{}",
        quote.stderr
    );
    for arguments in [&["quote"][..], &["quote", "--nonce", NONCE, "--pcrs", "sha256:4", "-o", &output]] {
        let quote = premeasure(arguments);
        assert_eq!(quote.code, Some(2));
        assert!(
            quote.stderr.contains("--features tpm") && quote.stderr.contains("tpm2_quote"),
            "{}",
            quote.stderr
        );
    }
    let help = premeasure(["quote", "--help"]);
    assert_eq!(help.code, Some(0));
    assert!(help.text().contains("--features tpm"));
    assert!(premeasure(["--help"]).text().contains("takes a build with the feature tpm"));
    let tcti = premeasure(["capture", "-o", &output, "--tcti", "swtpm:port=2321"]);
    assert_eq!(tcti.code, Some(2));
    assert!(tcti.stderr.contains("sysfs only") && tcti.stderr.contains("--features tpm"), "{}", tcti.stderr);
    let document = document().to_str().expect("text").to_owned();
    let live = premeasure(["compare", &document, "--live", "--tcti", "swtpm:port=2321"]);
    assert_eq!(live.code, Some(2));
    assert!(live.stderr.contains("--features tpm"), "{}", live.stderr);
}
