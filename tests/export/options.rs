//! What the formats' options take, and what several boots, parts and files do to an export.

use serde_json::{Value, json};

use crate::documents::{Doc, export, exported, folder, text};
use crate::support::{fixture, premeasure, read, read_json};

const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/export/keys/rsa-2048.pem");
const HASH: &str = "0000000000000000000000000000000000000000000000000000000000000003";

/// Slips that a cluster or cloud would refuse, or take for something else, are refused here with what is expected.
#[test]
fn values_of_options_are_checked() {
    let cases: &[(&[&str], &str)] = &[
        (&["--format", "trustee", "--part", "message", "--name", "_x"], "lower case letters, digits, _ or -"),
        (&["--format", "trustee", "--part", "message", "--expiration", "soon"], "RFC 3339"),
        (
            &["--format", "trustee", "--part", "message", "--namespace", "a.b"],
            "at most 63 lower case letters",
        ),
        (&["--format", "tec", "--part", "label", "--first-seen", "2026-02-30"], "RFC 3339"),
        (&["--format", "tec", "--part", "label", "--approved-image", "Image"], "names of Kubernetes objects"),
        (
            &["--format", "tec", "--part", "label", "--image", "os:latest"],
            "@sha256: and 64 hexadecimal digits",
        ),
        (&["--format", "kairos", "--tpm-hash", "abc"], "64 hexadecimal digits"),
        (&["--format", "kairos", "--tpm-hash", HASH, "--partition-label", ""], "not empty"),
        (&["--format", "kairos", "--tpm-hash", HASH, "--name", "a..b"], "names of Kubernetes objects"),
        (&["--format", "aws-kms", "--principal", "*"], "an account of 12 digits, or an ARN"),
        (
            &["--format", "aws-kms", "--principal", "111122223333", "--admin", "root"],
            "an account of 12 digits",
        ),
        (&["--format", "aws-kms", "--principal", "111122223333", "--key-arn", "alias/os"], "a key's ARN"),
        (
            &["--format", "aws-kms", "--principal", "111122223333", "--action", "kms:CreateGrant"],
            "kms:Decrypt",
        ),
        (&["--format", "corim", "--corim-id", "", "--class-id", "x"], "not empty"),
        (&["--format", "corim", "--corim-id", "x", "--class-id", "x"], "a UUID"),
        (&["--format", "in-toto", "--predicate-type", "plain"], "a URI"),
        (&["--format", "in-toto", "--subject", "sbom.json"], "NAME=sha256:"),
        (&["--format", "flashbots", "--attestation-type", "dcap-tdx"], "expected one of azure-tdx"),
        (
            &["--format", "constellation-join-config", "--csp", "AWS", "--attestation-variant", "x"],
            "one of aws-nitro-tpm",
        ),
    ];
    for (arguments, expected) in cases {
        let run = export(&[Doc::Tiny257], arguments);
        assert_eq!(run.code, Some(2), "{arguments:?}: {}", run.stderr);
        assert!(run.stdout.is_empty() && run.stderr.contains(expected), "{arguments:?}: {}", run.stderr);
    }
    for version in ["1.4.0", "v1.4", "v1.4.0+x", "v01.0.0"] {
        let cloud = ["--csp", "AWS", "--attestation-variant", "aws-sev-snp", "--image-version", version];
        let run = export(&[Doc::Tiny257], &[&["--format", "constellation"], &cloud[..]].concat());
        assert_eq!(run.code, Some(2));
        assert!(run.stderr.contains("a semantic version"), "{version}: {}", run.stderr);
    }
}

/// Two boots that differ in one PCR are all that the lists allow; where two PCRs differ, mixtures are accepted too.
#[test]
fn mixtures_are_named_only_where_lists_allow_them() {
    let two = [Doc::Tiny257, Doc::Tiny262];
    let warning = "also accepts PCRs of one boot";
    for format in ["keylime", "bottlerocket"] {
        let run = export(&two, &["--format", format, "--pcr", "4,11"]);
        assert!(run.stderr.contains(warning), "{format}: {}", run.stderr);
        for arguments in [&["--format", format, "--pcr", "11"][..], &["--format", format, "--pcr", "4"]] {
            let run = export(&two, arguments);
            assert_eq!(run.code, Some(0), "{}", run.stderr);
            assert!(!run.stderr.contains(warning), "{arguments:?}: {}", run.stderr);
        }
        let run = export(&[Doc::Tiny257], &["--format", format, "--pcr", "4,11"]);
        assert!(!run.stderr.contains(warning), "{format}: {}", run.stderr);
        // Only PCR 4 depends on Secure Boot.
        let run = export(&[Doc::Tiny257, Doc::Tiny257SecureBoot], &["--format", format, "--pcr", "4,11"]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(!run.stderr.contains(warning), "{format}: {}", run.stderr);
    }
}

/// Where each boot has to agree as a whole, the one that demands least decides: systemd 262 extends PCR 12 and 13, which 257
/// leaves to assumptions.
#[test]
fn joint_policies_name_the_boot_that_demands_less() {
    let two = [Doc::Tiny257, Doc::Tiny262];
    let kms = ["--principal", "arn:aws:iam::111122223333:role/os", "--pcr", "4,12"];
    for (format, options) in
        [("flashbots", &["--pcr", "4,11,12,13"][..]), ("azure-maa", &["--pcr", "4,12"]), ("aws-kms", &kms)]
    {
        let arguments = [&["--format", format], options].concat();
        let run = export(&two, &arguments);
        assert_eq!(run.code, Some(0), "{format}: {}", run.stderr);
        let line = run.stderr.lines().find(|line| line.contains("do not demand the same PCRs"));
        let line = line.unwrap_or_else(|| panic!("{format}: {}", run.stderr));
        assert!(line.contains("warning:") && line.contains("PCR 12"), "{line}");
        let run = export(&two, &[&arguments[..], &["--accept-assumption", "all"]].concat());
        assert!(!run.stderr.contains("the same PCRs"), "{format}: {}", run.stderr);
    }
}

/// The operator's built-in policy asks for PCR 4 and 14, whatever else is in the label.
#[test]
fn tec_says_what_the_operators_policy_misses() {
    let run = export(&[Doc::Tiny257], &["--format", "tec", "--part", "label"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("the label lacks PCR 14:"), "{}", run.stderr);
    let run = export(&[Doc::Tiny257], &["--format", "tec", "--part", "label", "--pcr", "11"]);
    assert!(run.stderr.contains("the label lacks PCR 4 and 14:"), "{}", run.stderr);
}

/// What is sealed for one profile must not open in another unless somebody asked for it, who is told what that means.
#[test]
fn pcrsig_of_several_profiles_has_to_be_asked_for() {
    let first: Value = read_json(Doc::Tiny257.path());
    let mut document = first.clone();
    document["variants"][0]["id"] = json!("other-profile");
    document["scenarios"][0]["profile"] = json!(1);
    let path = folder("profiles").join("document.json");
    std::fs::write(&path, document.to_string()).expect("writable");
    let run = |variants: &[&str]| {
        let mut arguments = vec!["--format", "pcrsig", "--key", KEY, text(&path)];
        variants.iter().for_each(|variant| arguments.extend(["--variant", variant]));
        export(&[Doc::Tiny257], &arguments)
    };
    let both = run(&[]);
    assert_eq!(both.code, Some(2), "{}", both.stderr);
    assert!(
        both.stdout.is_empty() && both.stderr.contains("of different profiles (0, 1)"),
        "{}",
        both.stderr
    );
    let one = run(&["other-profile"]);
    assert_eq!(one.code, Some(0), "{}", one.stderr);
    assert!(!one.stderr.contains("in one file"), "{}", one.stderr);
    let chosen = run(&["other-profile", first["variants"][0]["id"].as_str().expect("an id")]);
    assert_eq!(chosen.code, Some(0), "{}", chosen.stderr);
    assert!(chosen.stderr.contains("profiles 0, 1 stand in one file"), "{}", chosen.stderr);
}

/// One image on two machines: declared otherwise, and with other values; declared otherwise, with the same.
#[test]
fn machines_that_were_declared_otherwise_are_other_boots() {
    let folder = folder("declared");
    let uki = fixture("t-tiny-257/uki.efi");
    let credential = folder.join("a.cred");
    std::fs::write(&credential, "a").expect("writable");
    let predict = |name: &str, more: &[&str]| {
        let path = folder.join(name);
        let base = ["predict", text(&uki), "--secure-boot", "off", "-o", text(&path)];
        let run = premeasure([&base[..], more].concat());
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        path
    };
    let plain = predict("plain.json", &[]);
    // What nothing of systemd 257 measures changes no value.
    let secret = predict("secret.json", &["--boot-secret", "none"]);
    let other = predict("other.json", &["--smbios-string", "io.systemd.stub.kernel-cmdline-extra=quiet"]);
    let run = |documents: &[&std::path::Path]| {
        let paths: Vec<&str> = documents.iter().map(|path| text(path)).collect();
        premeasure([&["export"], &paths[..], &["--format", "flashbots", "--pcr", "4,11,12"]].concat())
    };
    let both = run(&[&plain, &other]);
    assert_eq!(both.code, Some(0), "{}", both.stderr);
    let list: Value = both.json();
    assert_eq!(list.as_array().expect("a list").len(), 2, "{list}");
    assert_ne!(list[0]["measurement_id"], list[1]["measurement_id"]);
    assert!(both.stderr.contains("plain.json") && both.stderr.contains("other.json"), "{}", both.stderr);
    let once = run(&[&plain, &secret]);
    assert_eq!(once.code, Some(0), "{}", once.stderr);
    assert_eq!(once.json::<Value>().as_array().expect("a list").len(), 1);
    let twice = run(&[&plain, &plain]);
    assert_eq!(twice.code, Some(2));
    assert!(twice.stderr.contains("for the same files and the same machine"), "{}", twice.stderr);
}

/// The name that tells two releases apart may already be that of a third.
#[test]
fn names_that_can_not_be_told_apart_are_refused() {
    let list = exported(&[Doc::Tiny257, Doc::Tiny262], &["--format", "flashbots", "--pcr", "4"]);
    let list: Value = serde_json::from_slice(&list).expect("JSON");
    let mut document: Value = read_json(Doc::Aws257.path());
    document["variants"][0]["id"] = list[0]["measurement_id"].clone();
    let path = folder("same-name").join("document.json");
    std::fs::write(&path, document.to_string()).expect("writable");
    let run = export(&[Doc::Tiny257, Doc::Tiny262], &["--format", "flashbots", text(&path)]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("would both be called"), "{}", run.stderr);
}

/// Event data that says something else than what was hashed is refused, whatever the event: each in turn gets another first, last
/// or middle byte, and nothing else is changed.
#[test]
fn altered_event_data_is_refused() {
    let document: Value = read_json(Doc::Tiny262.path());
    let events = document["variants"][0]["measurements"].as_array().expect("a list").len();
    let mut altered = 0;
    for index in 0..events {
        let Some(data) = document["variants"][0]["measurements"][index]["event_data"].as_str() else {
            continue;
        };
        let bytes = hex::decode(data).expect("hex");
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let mut document = document.clone();
            document["variants"][0]["measurements"][index]["event_data"] = json!(hex::encode(changed));
            let loaded = premeasure::export::load("altered.json", document.to_string().as_bytes());
            let error = loaded.expect_err("event data was altered").to_string();
            let place = format!("was altered or damaged: variants[0].measurements[{index}].event_data");
            assert!(error.contains(&place), "{error}");
            altered += 1;
        }
    }
    assert!(altered > 60, "{altered}");
    let mut document = document;
    let event = &mut document["variants"][0]["measurements"];
    let named =
        event.as_array_mut().expect("a list").iter_mut().find(|event| event["description"] == "name .linux");
    named.expect("the name of .linux")["event_data"] = json!(hex::encode(".\0o\0s\0r\0e\0l\0\0\0"));
    let path = folder("event-data").join("document.json");
    std::fs::write(&path, document.to_string()).expect("writable");
    let run = premeasure(["export", text(&path), "--format", "cel-json"]);
    assert_eq!(run.code, Some(2));
    assert!(
        run.stdout.is_empty() && run.stderr.contains("is not the name that was hashed"),
        "{}",
        run.stderr
    );
}

/// The moment is never silent: who does not choose it is told which it is.
#[test]
fn the_stage_is_said_where_nobody_chose_it() {
    for (format, said) in [
        ("keylime", "values at ready (--stage chooses another)"),
        ("constellation-raw", "values at exit-boot-services (--stage chooses another)"),
        ("tec", "values at exit-boot-services, the only moment that tec speaks of"),
        ("systemd-measure", "values at enter-initrd, leave-initrd, sysinit, ready"),
    ] {
        let part: &[&str] = if format == "tec" { &["--part", "label"] } else { &[] };
        let arguments = [&["--format", format, "--accept-assumption", "all"], part].concat();
        let run = export(&[Doc::Tiny257], &arguments);
        assert_eq!(run.code, Some(0), "{format}: {}", run.stderr);
        assert!(run.stderr.contains(said), "{format}: {}", run.stderr);
        let chosen = export(&[Doc::Tiny257], &[&arguments[..], &["--stage", "exit-boot-services"]].concat());
        assert!(!chosen.stderr.contains("values at"), "{format}: {}", chosen.stderr);
    }
}

/// A file that the command reads stays as it is, under whatever name it is written to.
#[test]
fn what_is_read_is_not_overwritten() {
    let folder = folder("overwrite");
    let document = folder.join("document.json");
    std::fs::copy(Doc::Tiny257.path(), &document).expect("writable");
    let link = folder.join("link.json");
    std::os::unix::fs::symlink(&document, &link).expect("a link");
    let before = read(&document);
    let base = ["export", text(&document), "--format", "keylime"];
    let key = folder.join("key.pem");
    std::fs::copy(KEY, &key).expect("writable");
    let dot = folder.join(".").join("document.json");
    let elsewhere = folder.join("elsewhere");
    for (arguments, expected) in [
        (vec!["-o", text(&document)], "would be overwritten"),
        (vec!["-o", text(&dot)], "would be overwritten"),
        (vec!["-o", text(&link)], "would be overwritten"),
        (vec!["--report", text(&document)], "would be overwritten"),
        (vec!["-o", text(&elsewhere), "--report", text(&elsewhere)], "name the same file"),
    ] {
        let run = premeasure([&base[..], &arguments].concat());
        assert_eq!(run.code, Some(2), "{arguments:?}: {}", run.stderr);
        assert!(run.stdout.is_empty() && run.stderr.contains(expected), "{arguments:?}: {}", run.stderr);
    }
    for output in [&document, &key] {
        let run = premeasure(["sign", text(&document), "--key", text(&key), "-o", text(output)]);
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains("would be overwritten"), "{}", run.stderr);
    }
    // A format of several files writes them by name into the folder.
    let payload = folder.join("rvps-payload.json");
    std::fs::copy(&document, &payload).expect("writable");
    let run = premeasure(["export", text(&payload), "--format", "trustee", "-o", text(&folder)]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert_eq!(read(&document), before);
    assert_eq!(read(&payload), before);
    assert!(!elsewhere.exists() && read(&key) == read(KEY));
}

/// dstack's file for Google holds the UKI's digest and no register: the report counts none as enforced, and only files that were
/// written.
#[test]
fn the_report_of_a_part_speaks_of_that_part() {
    let folder = folder("report-part");
    let report = |documents: &[Doc], arguments: &[&str]| -> Value {
        let path = folder.join("report.json");
        let out = folder.join(arguments.join("-"));
        let run = export(documents, &[&["--report", text(&path), "-o", text(&out)], arguments].concat());
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        read_json(&path)
    };
    let dstack = ["--format", "dstack", "--accept-assumption", "all", "--part"];
    let gcp = report(&[Doc::Aws257], &[&dstack[..], &["gcp"]].concat());
    assert_eq!(gcp["files"], json!(["measurement.gcp.cbor"]));
    assert_eq!(gcp["variants"][0]["values"], json!([]));
    let dropped = gcp["variants"][0]["dropped"].as_array().expect("a list");
    assert!(
        dropped
            .iter()
            .any(|entry| entry["pcr"] == 4 && entry["reason"].to_string().contains("the UKI alone"))
    );
    let aws = report(&[Doc::Aws257], &[&dstack[..], &["aws"]].concat());
    assert_eq!(aws["files"], json!(["measurement.aws.cbor"]));
    let pcrs: Vec<&Value> =
        aws["variants"][0]["values"].as_array().expect("a list").iter().map(|value| &value["pcr"]).collect();
    assert_eq!(pcrs, [4, 7, 12]);
    let both = report(&[Doc::Aws257], &["--format", "dstack", "--accept-assumption", "all"]);
    assert_eq!(both["files"].as_array().expect("a list").len(), 3);
    assert!(both["warnings"].to_string().contains("on GCP only the UKI's digest"), "{both}");
    let run = export(&[Doc::Tiny257], &["--format", "dstack", "--part", "aws"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("dstack needs PCR 7"), "{}", run.stderr);
}
