//! Consumers' own code, as far as it is installed, and independent decoders.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::documents::{Doc, exported, folder, text};
use crate::support::boots::boot;
use crate::support::{premeasure, say, skipped_without, tool};

const CLASS: &str = "2f6f8b1e-6d3c-4f57-9a1e-0c5d7a3b9e91";

/// The decoder of the `corim` crate, which shares no code with the writer.
#[test]
fn the_corim_decoder_reads_every_boot() {
    let arguments =
        ["--format", "corim", "--corim-id", "os-1", "--class-id", CLASS, "--accept-assumption", "all"];
    let bytes = exported(&[Doc::Tiny257, Doc::Tiny262], &arguments);
    let (corim, comids) =
        corim::validate::decode_and_validate(&bytes).unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(format!("{:?}", corim.id).matches("os-1").count(), 1, "{:?}", corim.id);
    assert_eq!(comids.len(), 1);
    let triples = comids[0].triples.reference_triples.as_ref().expect("reference triples");
    assert_eq!(triples.len(), 2, "one triple for each boot");
    let env = exported(&[Doc::Tiny257], &["--format", "env", "--bank", "sha256", "--pcr", "11"]);
    let env = String::from_utf8(env).expect("text");
    let value = hex::decode(env.trim().rsplit('=').next().expect("a value")).expect("hex");
    let printed = format!("{:?}", triples[0]);
    let expected = value.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    assert!(
        printed.contains(&expected) || printed.contains(&hex::encode(&value)),
        "PCR 11 is not in {printed}"
    );
}

/// Signed: the decoder reads the `COSE_Sign1`, OpenSSL verifies its signature over the structure put together here.
#[test]
fn a_signed_corim_is_a_good_cose_sign1() {
    if skipped_without(&["openssl"]) {
        return;
    }
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/export/keys");
    let folder = folder("corim");
    let (private, public) = (keys.join("rsa-2048.pem"), keys.join("rsa-2048.pub"));
    let arguments = ["--format", "corim", "--corim-id", "os-1", "--class-id", CLASS, "--key", text(&private)];
    let bytes = exported(&[Doc::Tiny257], &arguments);
    let value: ciborium::Value = ciborium::from_reader(bytes.as_slice()).expect("CBOR");
    let ciborium::Value::Tag(18, sign1) = value else { panic!("no COSE_Sign1") };
    let parts = sign1.into_array().expect("an array");
    let (protected, payload, signature) = (
        parts[0].as_bytes().expect("bytes").clone(),
        parts[2].as_bytes().expect("bytes").clone(),
        parts[3].as_bytes().expect("bytes").clone(),
    );
    corim::validate::decode_and_validate(&payload).unwrap_or_else(|error| panic!("{error:?}"));
    let structure = ciborium::Value::Array(vec![
        ciborium::Value::Text("Signature1".to_owned()),
        ciborium::Value::Bytes(protected),
        ciborium::Value::Bytes(Vec::new()),
        ciborium::Value::Bytes(payload),
    ]);
    let mut message = Vec::new();
    ciborium::into_writer(&structure, &mut message).expect("CBOR");
    std::fs::write(folder.join("message"), message).expect("writable");
    std::fs::write(folder.join("signature"), signature).expect("writable");
    tool(
        Command::new("openssl")
            .args(["dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"])
            .args([
                "-verify",
                text(&public),
                "-signature",
                text(&folder.join("signature")),
                text(&folder.join("message")),
            ]),
    );
}

/// dstack's reader is `ciborium`; the digest is computed here from another format of the same document.
#[test]
fn dstack_files_hold_the_uki_and_nothing_else() {
    let bytes = exported(&[Doc::Tiny257], &["--format", "dstack", "--part", "gcp"]);
    let value: ciborium::Value = ciborium::from_reader(bytes.as_slice()).expect("CBOR");
    let map = value.into_map().expect("a map");
    assert_eq!(map.len(), 2);
    assert_eq!(map[0], (ciborium::Value::Text("version".to_owned()), ciborium::Value::from(1)));
    let log: Value =
        serde_json::from_slice(&exported(&[Doc::Tiny257], &["--format", "cel-json", "--bank", "sha256"]))
            .expect("JSON");
    let load = log
        .as_array()
        .expect("a list")
        .iter()
        .find(|record| record["content"]["event_type"] == "EV_EFI_BOOT_SERVICES_APPLICATION");
    let digest = load.expect("an image load")["digests"][0]["digest"].as_str().expect("hex");
    assert_eq!(hex::encode(map[1].1.as_bytes().expect("bytes")), digest);
}

/// Python with Keylime, named by `PREMEASURE_KEYLIME_PYTHON`.
fn keylime(test: &str) -> Option<Command> {
    let Some(python) = std::env::var_os("PREMEASURE_KEYLIME_PYTHON") else {
        say(&format!(
            "SKIPPED {test}: PREMEASURE_KEYLIME_PYTHON is not set (see tests/export/check_keylime.py)"
        ));
        return None;
    };
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/export/check_keylime.py"));
    Some(command)
}

/// Keylime's own functions: the tenant's reader takes the policy, the verifier's check accepts the boot's PCRs and refuses
/// others.
#[test]
fn keylime_accepts_the_boot_and_refuses_others() {
    let Some(mut keylime) = keylime("keylime_accepts_the_boot_and_refuses_others") else { return };
    let folder = folder("keylime");
    keylime.arg("tpm").arg(&folder);
    for format in ["keylime", "flashbots"] {
        let file = folder.join(format);
        let arguments = ["--format", format, "--accept-assumption", "all"];
        std::fs::write(&file, exported(&[Doc::Tiny257, Doc::Tiny262], &arguments)).expect("writable");
        keylime.arg(file);
    }
    let output = tool(&mut keylime);
    assert_eq!(
        output.trim(),
        "accepted 2, refused altered, upper case, missing; accepted the mixture",
        "{output}"
    );
}

/// Keylime's measured-boot engine with our policy module, on the event logs and PCRs of real machines: those of the exported
/// boots are accepted; other boots, altered logs and quotes, and mixtures are refused.
#[test]
fn keylime_judges_real_event_logs() {
    let Some(mut keylime) = keylime("keylime_judges_real_event_logs") else { return };
    if skipped_without(&["tpm2_eventlog", "zstd", "mcopy"]) {
        return;
    }
    let folder = folder("keylime-mb");
    let other = folder.join("other.json");
    let mut predict = boot("c-sdboot-257").predict();
    predict.extend(["--output".into(), other.clone().into()]);
    let run = premeasure(predict);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let refstate = folder.join("mb_policy.json");
    let first = Doc::Tiny257.path();
    let run = premeasure([
        "export",
        text(&first),
        text(&other),
        "--format",
        "keylime-mb",
        "--accept-assumption",
        "all",
        "--output",
        text(&refstate),
    ]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("PCR 11 and 15 left out"), "{}", run.stderr);
    keylime.arg("mb").arg(&folder).arg(&refstate);
    for case in ["t-tiny-257", "c-sdboot-257", "t3-tiny-262", "e-addons-257"] {
        keylime.arg(boot(case).record("eventlog.bin")).arg(boot(case).record("pcrs.json"));
    }
    let output = tool(&mut keylime);
    assert!(output.starts_with("accepted 2 of 4, refused altered, missing, mixed;"), "{output}");
}

/// From 261 on systemd extends most registers where Keylime's replay does not see it.
#[test]
fn keylime_mb_says_nothing_of_systemd_262() {
    let run =
        crate::documents::export(&[Doc::Tiny262], &["--format", "keylime-mb", "--accept-assumption", "all"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("PCR 4 left out: 'os-separator' is extended after"), "{}", run.stderr);
}
