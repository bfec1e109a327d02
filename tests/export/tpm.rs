//! A TPM's own judgement: swtpm, through tpm2-tools.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::documents::{Doc, exported, folder, text};
use crate::support::tpm::Tpm;
use crate::support::{skipped_without, tool};

const TOOLS: &[&str] = &["swtpm", "tpm2_startup", "tpm2_pcrextend", "tpm2_unseal", "tpm2_verifysignature"];

/// Extends what the predicted log has for PCR 11, up to and including a word.
fn boot(tpm: &Tpm, until: &str) {
    let log: Value =
        serde_json::from_slice(&exported(&[Doc::Tiny257], &["--format", "cel-json"])).expect("JSON");
    for record in log.as_array().expect("a list").iter().filter(|record| record["pcr"] == 11) {
        let digests = record["digests"].as_array().expect("a list").iter();
        let digests: Vec<String> = digests
            .map(|digest| {
                format!(
                    "{}={}",
                    digest["hashAlg"].as_str().expect("name"),
                    digest["digest"].as_str().expect("hex")
                )
            })
            .collect();
        tpm.run("tpm2_pcrextend", &[&format!("11:{}", digests.join(","))]);
        if record["content"]["string"] == until {
            return;
        }
    }
    panic!("the log has no word {until}");
}

/// An object sealed to the exported PolicyPCR digest unseals when PCR 11 is as predicted, and not one word later.
#[test]
fn an_object_sealed_to_a_policy_digest_unseals_only_in_the_right_state() {
    if skipped_without(TOOLS) {
        return;
    }
    for bank in ["sha256", "sha384"] {
        let tpm = Tpm::start(&format!("tpm-seal-{bank}"));
        let policies = exported(&[Doc::Tiny257], &["--format", "policy-digest", "--stage", "enter-initrd"]);
        let policies: Value = serde_json::from_slice(&policies).expect("JSON");
        let digest = policies[bank][0]["pol"].as_str().expect("a digest");
        std::fs::write(tpm.folder.join("policy"), hex::decode(digest).expect("hex")).expect("writable");
        seal(&tpm, "policy");
        let unseal = ["-c", "sealed.ctx", "-p", &format!("pcr:{bank}:11")];
        assert!(tpm.fails("tpm2_unseal", &unseal), "{bank}: unsealed before the boot");
        boot(&tpm, "enter-initrd");
        assert_eq!(tpm.run("tpm2_unseal", &unseal), "secret", "{bank}");
        let further = format!("11:sha256={},sha384={}", "00".repeat(32), "00".repeat(48));
        tpm.run("tpm2_pcrextend", &[&further]);
        assert!(tpm.fails("tpm2_unseal", &unseal), "{bank}: unsealed in another state");
    }
}

/// Seals the word `secret` to a policy's digest; the object is `sealed.ctx`.
fn seal(tpm: &Tpm, policy: &str) {
    std::fs::write(tpm.folder.join("secret"), "secret").expect("writable");
    tpm.run("tpm2_createprimary", &["-C", "o", "-c", "primary.ctx", "-Q"]);
    let parent_and_content = ["-C", "primary.ctx", "-i", "secret", "-L", policy];
    let attributes = ["-u", "pub", "-r", "priv", "-a", "fixedtpm|fixedparent|noda", "-Q"];
    tpm.run("tpm2_create", &[&parent_and_content[..], &attributes].concat());
    tpm.run("tpm2_load", &["-C", "primary.ctx", "-u", "pub", "-r", "priv", "-c", "sealed.ctx", "-Q"]);
}

/// What systemd does with `.pcrsig`: the TPM verifies the signature of the policy, and PolicyAuthorize opens the object.
#[test]
fn an_object_sealed_to_the_key_unseals_with_the_signed_policy() {
    if skipped_without(TOOLS) {
        return;
    }
    let tpm = Tpm::start("tpm-pcrsig");
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/export/keys");
    let (private, public) = (keys.join("rsa-2048.pem"), keys.join("rsa-2048.pub"));
    for bank in ["sha256", "sha384"] {
        let signed = exported(&[Doc::Tiny257], &["--format", "pcrsig", "--key", text(&private)]);
        let signed: Value = serde_json::from_slice(&signed).expect("JSON");
        assert_eq!(signed[bank].as_array().expect("a list").len(), 4);
        let entry = &signed[bank][0];
        let policy = hex::decode(entry["pol"].as_str().expect("hex")).expect("hex");
        std::fs::write(tpm.folder.join("policy"), &policy).expect("writable");
        std::fs::write(tpm.folder.join("signature.b64"), entry["sig"].as_str().expect("base64"))
            .expect("writable");
        tpm.run("openssl", &["base64", "-d", "-A", "-in", "signature.b64", "-out", "signature"]);
        tpm.run(
            "tpm2_loadexternal",
            &["-C", "o", "-G", "rsa", "-u", text(&public), "-c", "key.ctx", "-n", "key.name", "-Q"],
        );
        // The policy of the object: whatever the key authorizes.
        tpm.run("tpm2_startauthsession", &["-S", "trial.ctx"]);
        tpm.run(
            "tpm2_policyauthorize",
            &["-S", "trial.ctx", "-L", "authorized", "-n", "key.name", "-i", "policy", "-Q"],
        );
        tpm.run("tpm2_flushcontext", &["trial.ctx"]);
        seal(&tpm, "authorized");
        tpm.run(
            "tpm2_loadexternal",
            &["-C", "o", "-G", "rsa", "-u", text(&public), "-c", "key.ctx", "-n", "key.name", "-Q"],
        );
        tpm.run(
            "tpm2_verifysignature",
            &[
                "-c",
                "key.ctx",
                "-g",
                "sha256",
                "-m",
                "policy",
                "-s",
                "signature",
                "-t",
                "ticket",
                "-f",
                "rsassa",
            ],
        );
        let opens = |tpm: &Tpm| {
            tpm.run("tpm2_startauthsession", &["--policy-session", "-S", "session.ctx"]);
            tpm.run("tpm2_policypcr", &["-S", "session.ctx", "-l", &format!("{bank}:11"), "-Q"]);
            let authorized = !tpm.fails(
                "tpm2_policyauthorize",
                &["-S", "session.ctx", "-i", "policy", "-n", "key.name", "-t", "ticket", "-Q"],
            );
            let unsealed =
                authorized && !tpm.fails("tpm2_unseal", &["-c", "sealed.ctx", "-p", "session:session.ctx"]);
            tpm.run("tpm2_flushcontext", &["session.ctx"]);
            unsealed
        };
        if bank == "sha256" {
            assert!(!opens(&tpm), "{bank}: unsealed before the boot");
            boot(&tpm, "enter-initrd");
        }
        assert!(opens(&tpm), "{bank}: not unsealed after enter-initrd");
    }
}

/// Digests out, signatures in: an offline signer (OpenSSL) gives what the key at hand gives, and a wrong signature is noticed.
#[test]
fn an_offline_signer_gives_the_same_pcrsig() {
    if skipped_without(&["openssl"]) {
        return;
    }
    let folder = folder("pcrsig-offline");
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/export/keys");
    let (private, public) = (keys.join("rsa-2048.pem"), keys.join("rsa-2048.pub"));
    let digests: Value =
        serde_json::from_slice(&exported(&[Doc::Tiny257], &["--format", "policy-digest"])).expect("JSON");
    let mut signatures = serde_json::Map::new();
    let (message, signature) = (folder.join("message"), folder.join("signature"));
    for entry in
        digests.as_object().expect("banks").values().flat_map(|bank| bank.as_array().expect("a list"))
    {
        let digest = entry["pol"].as_str().expect("hex");
        std::fs::write(&message, hex::decode(digest).expect("hex")).expect("writable");
        tool(Command::new("openssl").args([
            "dgst",
            "-sha256",
            "-sign",
            text(&private),
            "-out",
            text(&signature),
            text(&message),
        ]));
        let base64 = tool(Command::new("openssl").args(["base64", "-A", "-in", text(&signature)]));
        signatures.insert(digest.to_owned(), base64.trim().into());
    }
    let file = folder.join("signatures.json");
    std::fs::write(&file, Value::from(signatures.clone()).to_string()).expect("writable");
    let offline = ["--format", "pcrsig", "--signatures", text(&file), "--public-key", text(&public)];
    assert_eq!(
        exported(&[Doc::Tiny257], &offline),
        exported(&[Doc::Tiny257], &["--format", "pcrsig", "--key", text(&private)])
    );
    let one = signatures.values().next().expect("a signature").clone();
    signatures.values_mut().for_each(|signature| *signature = one.clone());
    std::fs::write(&file, Value::from(signatures).to_string()).expect("writable");
    let run = crate::documents::export(&[Doc::Tiny257], &offline);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("not valid"), "{}", run.stderr);
}
