//! Quotes made now: swtpm's, by `tpm2_quote`, with each kind of key and over each bank.

use std::fs;

use crate::forge::{Forge, boundaries, document, log, record};
use crate::support::tpm::Tpm;
use crate::support::{Run, premeasure, skipped_without};

const TOOLS: &[&str] =
    &["swtpm", "tpm2_quote", "tpm2_createprimary", "tpm2_pcrextend", "tpm2_readpublic", "tpm2_createek"];

pub(crate) const NONCE: &str = "0a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223242526272829";

const KEYS: &[&str] = &[
    "rsa2048:rsassa-sha256",
    "rsa2048:rsassa-sha384",
    "rsa2048:rsassa-sha512",
    "rsa2048:rsapss-sha256",
    "rsa2048:rsapss-sha384",
    "rsa2048:rsapss-sha512",
    "ecc256:ecdsa-sha256",
    "ecc256:ecdsa-sha384",
    "ecc256:ecdsa-sha512",
    "ecc384:ecdsa-sha256",
    "ecc384:ecdsa-sha384",
    "ecc384:ecdsa-sha512",
];

/// Extends what a log says, in all banks.
pub(crate) fn boot(tpm: &Tpm, bytes: &[u8]) {
    let log = premeasure::tcg::eventlog::EventLog::parse(bytes).expect("sound");
    for event in log.events().filter(|event| event.event_type.0 != 3) {
        let digests: Vec<String> =
            log.banks().filter_map(|bank| Some(format!("{bank}={}", event.digest(bank)?))).collect();
        tpm.run("tpm2_pcrextend", &[&format!("{}:{}", event.register, digests.join(","))]);
    }
}

pub(crate) fn create_key(tpm: &Tpm, kind: &str) {
    let kind = format!("{kind}:null");
    let attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign";
    tpm.run("tpm2_createprimary", &["-C", "e", "-G", &kind, "-a", attributes, "-c", "ak.ctx", "-Q"]);
    tpm.run("tpm2_readpublic", &["-c", "ak.ctx", "-f", "tss", "-o", "ak.pub", "-Q"]);
    tpm.run("tpm2_readpublic", &["-c", "ak.ctx", "-f", "pem", "-o", "ak.pem", "-Q"]);
}

pub(crate) fn quote(tpm: &Tpm, kind: &str, pcrs: &str, more: &[&str]) {
    let (scheme, hash) = kind.split_once(':').and_then(|(_, scheme)| scheme.split_once('-')).expect("a kind");
    let mut arguments = vec!["-c", "ak.ctx", "-l", pcrs, "-q", NONCE, "-m", "msg", "-s", "sig", "-o", "pcrs"];
    arguments.extend(["-g", hash, "--scheme", scheme, "-Q"]);
    arguments.extend(more);
    tpm.run("tpm2_quote", &arguments);
}

fn verify(tpm: &Tpm, key: &str, more: &[&str]) -> Run {
    let document = document();
    let folder = |name: &str| tpm.folder.join(name).to_str().expect("text").to_owned();
    let mut arguments =
        vec!["verify".to_owned(), "--policy".to_owned(), document.to_str().expect("text").to_owned()];
    for (option, value) in [("--quote", folder("msg")), ("--signature", folder("sig")), ("--ak", folder(key))]
    {
        arguments.extend([option.to_owned(), value]);
    }
    arguments.extend(["--nonce".to_owned(), NONCE.to_owned()]);
    arguments.extend(more.iter().map(|word| word.replace("TPM", tpm.folder.to_str().expect("text"))));
    premeasure(arguments)
}

#[track_caller]
fn accepted(run: &Run) {
    assert_eq!(run.code, Some(0), "{}{}", run.text(), run.stderr);
}

#[track_caller]
fn refused(run: &Run, code: &str) {
    assert_eq!(run.code, Some(1), "{}{}", run.text(), run.stderr);
    assert!(run.text().contains(code), "{code}: {}", run.text());
}

#[test]
fn quotes_of_every_kind_of_key_and_bank() {
    if skipped_without(TOOLS) {
        return;
    }
    let tpm = Tpm::start("verify-keys");
    boot(&tpm, &log());
    fs::write(tpm.folder.join("log"), log()).expect("writable");
    for kind in KEYS {
        create_key(&tpm, kind);
        quote(&tpm, kind, "sha1:0,4+sha256:4,8,9,11,12,13,14,15+sha384:0,9,11", &[]);
        for key in ["ak.pub", "ak.pem"] {
            accepted(&verify(&tpm, key, &["--pcrs", "TPM/pcrs", "--log", "TPM/log"]));
            accepted(&verify(&tpm, key, &["--pcrs", "TPM/pcrs"]));
            accepted(&verify(&tpm, key, &["--log", "TPM/log"]));
        }
        refused(&verify(&tpm, "ak.pub", &[]), "pcrs-missing");
        for bank in ["sha256", "sha384"] {
            quote(&tpm, kind, &format!("{bank}:4,9,11"), &["-f", "plain", "-F", "values"]);
            for key in ["ak.pub", "ak.pem"] {
                accepted(&verify(&tpm, key, &["--pcrs", "TPM/pcrs", "--enforce", "4,9,11"]));
            }
        }
        quote(&tpm, kind, "sha1:4,9,11", &[]);
        refused(&verify(&tpm, "ak.pub", &["--pcrs", "TPM/pcrs", "--enforce", "4,9,11"]), "bank-weak");
        quote(&tpm, kind, "sha512:4,9,11", &[]);
        refused(
            &verify(&tpm, "ak.pub", &["--pcrs", "TPM/pcrs", "--enforce", "4,9,11"]),
            "bank-not-in-policy",
        );
    }
}

/// An attestation key below an endorsement key, as tpm2_createak makes it.
#[test]
fn a_key_below_the_endorsement_key() {
    if skipped_without(TOOLS) {
        return;
    }
    let tpm = Tpm::start("verify-createak");
    boot(&tpm, &log());
    tpm.run("tpm2_createek", &["-c", "ek.ctx", "-G", "rsa", "-u", "ek.pub", "-Q"]);
    let made = [
        "-C", "ek.ctx", "-c", "ak.ctx", "-G", "ecc", "-g", "sha256", "-s", "ecdsa", "-u", "ak.pub", "-n",
        "ak.name", "-Q",
    ];
    tpm.run("tpm2_createak", &made);
    quote(&tpm, "ecc256:ecdsa-sha256", "sha256:4,8,9,11,12,13,14,15", &[]);
    let run = verify(&tpm, "ak.pub", &["--pcrs", "TPM/pcrs", "--json"]);
    accepted(&run);
    let result: serde_json::Value = run.json();
    let signer = &result["submods"]["tpm"]["premeasure"]["signer"];
    // Witness: the name as the TPM computed it.
    let name = fs::read(tpm.folder.join("ak.name")).expect("a name");
    assert_eq!(signer["name"], hex::encode(name));
    assert_eq!(signer["attributes_checked"], true);
    assert_eq!(signer["primary_of"], serde_json::Value::Null);
}

/// Machines that booted something else, with genuine quotes.
#[test]
fn genuine_quotes_of_other_machines() {
    if skipped_without(TOOLS) {
        return;
    }
    let honest = log();
    let first = boundaries(&honest)[1];
    let tampered = [
        ("an-event-more", [&honest[..], &record(11, 13, b"evil", b"")].concat()),
        (
            "an-unknown-type",
            [&honest[..first], &record(4, 0x8000_7777, b"bootkit", b""), &honest[first..]].concat(),
        ),
        ("an-addon", [&honest[..], &record(12, 13, b"addon", b"")].concat()),
    ];
    for (name, bytes) in tampered {
        let tpm = Tpm::start(&format!("verify-{name}"));
        boot(&tpm, &bytes);
        create_key(&tpm, "ecc256:ecdsa-sha256");
        quote(&tpm, "ecc256:ecdsa-sha256", "sha256:4,8,9,11,12,13,14,15", &[]);
        fs::write(tpm.folder.join("log"), &bytes).expect("writable");
        fs::write(tpm.folder.join("honest"), &honest).expect("writable");
        refused(&verify(&tpm, "ak.pub", &["--pcrs", "TPM/pcrs", "--log", "TPM/log"]), "pcr-mismatch");
        // The honest log does not help, neither do the honest values.
        refused(&verify(&tpm, "ak.pub", &["--pcrs", "TPM/pcrs", "--log", "TPM/honest"]), "log-mismatch");
        refused(&verify(&tpm, "ak.pub", &["--log", "TPM/honest"]), "log-mismatch");
        fs::write(tpm.folder.join("fake"), values_of(&Forge::honest())).expect("writable");
        refused(
            &verify(&tpm, "ak.pub", &["--pcrs", "TPM/fake", "--log", "TPM/honest"]),
            "pcr-digest-mismatch",
        );
        let nonce = verify(&tpm, "ak.pub", &["--pcrs", "TPM/pcrs"]);
        assert_eq!(nonce.code, Some(1), "{}", nonce.text());
    }
}

/// PCR values as `tpm2_pcrread` prints them.
fn values_of(forge: &Forge) -> String {
    let mut text = String::new();
    for (bank, values) in forge.values.banks() {
        text += &format!("{bank}:\n");
        for (pcr, value) in values {
            text += &format!("  {pcr} : 0x{value}\n");
        }
    }
    text
}
