//! Signatures: made here, verified by OpenSSL and here; spoilt ones refused.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::documents::{Doc, folder, text};
use crate::support::{Run, premeasure, read, read_json, skipped_without, tool};

const KEYS: &[&str] = &["p256", "p384", "ed25519", "rsa-2048"];

pub(crate) fn key(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/export/keys").join(name)
}

fn sign(file: &Path, form: &str, private: &str, output: &Path) {
    let private = key(private);
    let run = premeasure(["sign", text(file), "--as", form, "--key", text(&private), "-o", text(output)]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

pub(crate) fn verify(file: &Path, signature: &Path, public: &str) -> Run {
    premeasure(["verify-document", text(file), "--signature", text(signature), "--key", text(&key(public))])
}

#[test]
fn every_form_and_key_verifies_here() {
    let folder = folder("sign");
    let document = Doc::Tiny257.path();
    for name in KEYS {
        for form in ["dsse", "cosign", "bundle", "bundle-dsse"] {
            let signature = folder.join(format!("{name}-{form}"));
            sign(&document, form, &format!("{name}.pem"), &signature);
            check_layout(form, &signature);
            let good = verify(&document, &signature, &format!("{name}.pub"));
            assert_eq!(good.code, Some(0), "{name} {form}: {}", good.stderr);
            let other = if *name == "p256" { "ed25519.pub" } else { "p256.pub" };
            assert_eq!(verify(&document, &signature, other).code, Some(1), "{name} {form}: another key");
            let elsewhere = verify(&Doc::Tiny262.path(), &signature, &format!("{name}.pub"));
            assert_ne!(elsewhere.code, Some(0), "{name} {form}: another document");
            assert!(elsewhere.stdout.is_empty());
        }
    }
}

/// Envelopes and bundles have the layout that `schemas/` describes, and the schemas notice what is missing.
fn check_layout(form: &str, signature: &Path) {
    let schema = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{name}.schema.json"));
        jsonschema::draft202012::new(&read_json(path)).expect("a schema")
    };
    let fits = |name: &str, value: &Value| {
        let schema = schema(name);
        assert!(schema.is_valid(value), "{name}: {value}");
        for member in value.as_object().expect("an object").keys() {
            let mut value = value.clone();
            value.as_object_mut().expect("an object").remove(member).expect("a member");
            assert!(!schema.is_valid(&value), "{name} without {member} is valid");
        }
    };
    match form {
        "cosign" => {}
        "dsse" => fits("dsse", &read_json(signature)),
        _ => {
            let bundle: Value = read_json(signature);
            fits("sigstore-bundle", &bundle);
            if form == "bundle-dsse" {
                fits("dsse", &bundle["dsseEnvelope"]);
            }
        }
    }
}

/// A policy is no document and no statement, and its envelope does not say so.
#[test]
fn a_payload_is_called_what_it_is() {
    let folder = folder("payload-types");
    let policy = crate::documents::exported(&[Doc::Tiny257], &["--format", "keylime"]);
    let cases: [(&str, &[u8], &str); 2] =
        [("policy.json", &policy, "application/json"), ("text", b"version=1.2;", "application/octet-stream")];
    for (name, bytes, kind) in cases {
        let (file, envelope) = (folder.join(name), folder.join(format!("{name}.dsse")));
        std::fs::write(&file, bytes).expect("writable");
        sign(&file, "dsse", "p256.pem", &envelope);
        assert_eq!(read_json::<Value>(&envelope)["payloadType"], kind);
        check_layout("dsse", &envelope);
        assert_eq!(verify(&file, &envelope, "p256.pub").code, Some(0));
    }
}

/// Witness: OpenSSL verifies what cosign's `.sig` file holds, over the file's bytes.
#[test]
fn openssl_verifies_detached_signatures() {
    if skipped_without(&["openssl"]) {
        return;
    }
    let folder = folder("sign-openssl");
    let document = Doc::Tiny257.path();
    for name in KEYS {
        let signature = folder.join(format!("{name}.sig"));
        sign(&document, "cosign", &format!("{name}.pem"), &signature);
        openssl_verify(name, &document, &signature);
    }
}

/// Witness: OpenSSL verifies the DSSE signature over the encoding that the specification gives, put together here.
#[test]
fn openssl_verifies_dsse_envelopes() {
    if skipped_without(&["openssl"]) {
        return;
    }
    let folder = folder("sign-dsse");
    let document = Doc::Tiny257.path();
    for name in KEYS {
        let envelope = folder.join(format!("{name}.json"));
        sign(&document, "dsse", &format!("{name}.pem"), &envelope);
        let value: Value = read_json(&envelope);
        let kind = value["payloadType"].as_str().expect("a type");
        let content = read(&document);
        let mut message = format!("DSSEv1 {} {kind} {} ", kind.len(), content.len()).into_bytes();
        message.extend_from_slice(&content);
        let (encoded, base64) = (folder.join("message"), folder.join(format!("{name}.b64")));
        std::fs::write(&encoded, message).expect("writable");
        std::fs::write(&base64, value["signatures"][0]["sig"].as_str().expect("a signature"))
            .expect("writable");
        openssl_verify(name, &encoded, &base64);
    }
}

/// OpenSSL verifies a signature in base64 with the public key of this name.
pub(crate) fn openssl_verify(name: &str, message: &Path, base64: &Path) {
    let signature = &base64.with_extension("raw");
    tool(Command::new("openssl").args(["base64", "-d", "-A", "-in", text(base64), "-out", text(signature)]));
    let public = key(&format!("{name}.pub"));
    let mut command = Command::new("openssl");
    if name == "ed25519" {
        command.args([
            "pkeyutl",
            "-verify",
            "-pubin",
            "-inkey",
            text(&public),
            "-rawin",
            "-in",
            text(message),
        ]);
        command.args(["-sigfile", text(signature)]);
    } else {
        let hash = if name == "p384" { "-sha384" } else { "-sha256" };
        command.args(["dgst", hash, "-verify", text(&public), "-signature", text(signature)]);
        if name == "rsa-2048" {
            command.args(["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"]);
        }
        command.arg(message);
    }
    tool(&mut command);
}

/// cosign's payload type for statements, so that attestation tools recognise them.
#[test]
fn an_in_toto_statement_gets_its_own_payload_type() {
    let folder = folder("sign-in-toto");
    let (statement, envelope) = (folder.join("statement.json"), folder.join("envelope.json"));
    let run =
        premeasure(["export", text(&Doc::Tiny257.path()), "--format", "in-toto", "-o", text(&statement)]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    sign(&statement, "dsse", "p256.pem", &envelope);
    assert_eq!(read_json::<Value>(&envelope)["payloadType"], "application/vnd.in-toto+json");
    assert_eq!(verify(&statement, &envelope, "p256.pub").code, Some(0));
}

#[test]
fn a_spoilt_envelope_is_not_good() {
    let folder = folder("sign-spoilt");
    let envelope = folder.join("envelope.json");
    sign(&Doc::Tiny257.path(), "dsse", "p256.pem", &envelope);
    let extract = |envelope: &Path, to: &Path| {
        let (public, envelope, to) = (key("p256.pub"), envelope.to_owned(), to.to_owned());
        premeasure([
            "verify-document",
            "--signature",
            text(&envelope),
            "--key",
            text(&public),
            "--extract",
            text(&to),
        ])
    };
    let extracted = folder.join("extracted.json");
    assert_eq!(extract(&envelope, &extracted).code, Some(0));
    assert_eq!(read(&extracted), read(Doc::Tiny257.path()));
    let mut value: Value = read_json(&envelope);
    value["payloadType"] = "application/json".into();
    let spoilt = folder.join("spoilt.json");
    std::fs::write(&spoilt, value.to_string()).expect("writable");
    let to = folder.join("never");
    assert_eq!(extract(&spoilt, &to).code, Some(1));
    assert!(!to.exists());
}

#[test]
fn an_altered_document_is_not_signed() {
    let path = folder("sign-altered").join("altered.json");
    let mut value: Value = read_json(Doc::Tiny257.path());
    value["variants"][0]["pcrs"][4]["values"][0]["digests"]["sha256"] = "00".repeat(32).into();
    std::fs::write(&path, value.to_string()).expect("writable");
    let run = premeasure(["sign", text(&path), "--key", text(&key("p256.pem"))]);
    assert_eq!(run.code, Some(2));
    assert!(run.stdout.is_empty() && run.stderr.contains("altered"), "{}", run.stderr);
}

#[test]
fn keys_in_other_forms_and_with_passphrases_sign() {
    let folder = folder("sign-keys");
    let document = Doc::Tiny257.path();
    for (private, public) in [("p256-sec1.pem", "p256.pub"), ("rsa-2048-pkcs1.pem", "rsa-2048.pub")] {
        let signature = folder.join(private);
        sign(&document, "cosign", private, &signature);
        assert_eq!(verify(&document, &signature, public).code, Some(0), "{private}");
    }
    for (private, public) in [("p256-encrypted.pem", "p256.pub"), ("rsa-2048-encrypted.pem", "rsa-2048.pub")]
    {
        let signature = folder.join(private);
        let with = |passphrase: &str| {
            Command::new(env!("CARGO_BIN_EXE_premeasure"))
                .args([
                    "sign",
                    text(&document),
                    "--as",
                    "cosign",
                    "--key",
                    text(&key(private)),
                    "-o",
                    text(&signature),
                ])
                .args(["--passphrase-env", "TEST_PASSPHRASE"])
                .env("TEST_PASSPHRASE", passphrase)
                .output()
                .expect("the binary starts")
        };
        let wrong = with("wrong");
        assert_eq!(wrong.status.code(), Some(2), "{private}");
        assert!(String::from_utf8_lossy(&wrong.stderr).contains("wrong passphrase"));
        assert!(!signature.exists());
        assert_eq!(with("correct").status.code(), Some(0), "{private}");
        assert_eq!(verify(&document, &signature, public).code, Some(0), "{private}");
        let passphrase = folder.join("passphrase");
        std::fs::write(&passphrase, "correct\n").expect("writable");
        let script = "exec \"$0\" sign \"$1\" --as cosign --key \"$2\" -o \"$3\" --passphrase-fd 3 3<\"$4\"";
        let run = Command::new("sh")
            .args([
                "-c",
                script,
                env!("CARGO_BIN_EXE_premeasure"),
                text(&document),
                text(&key(private)),
                text(&signature),
                text(&passphrase),
            ])
            .output()
            .expect("sh starts");
        assert_eq!(run.status.code(), Some(0), "{private}: {}", String::from_utf8_lossy(&run.stderr));
    }
}

#[test]
fn what_is_no_key_is_refused() {
    let document = Doc::Tiny257.path();
    let run = premeasure(["sign", text(&document), "--key", text(&key("p256.pub"))]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("found PUBLIC KEY"), "{}", run.stderr);
    let run = premeasure(["sign", text(&document), "--key", text(&key("p256-encrypted.pem"))]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("--passphrase-env"), "{}", run.stderr);
}

#[cfg(not(feature = "pkcs11"))]
#[test]
fn a_build_without_tokens_says_so() {
    let run = premeasure(["sign", text(&Doc::Tiny257.path()), "--key", "pkcs11:object=key"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("--features pkcs11"), "{}", run.stderr);
}
