//! What must not be exported, and how that is said.

use serde_json::{Value, json};

use crate::documents::{Doc, export, exported, folder, text};
use crate::support::boots::boot;
use crate::support::{disks, fixture, premeasure, read, read_json, skipped_without};

/// Something that is done to a file before it is given.
type Change<'a> = &'a dyn Fn(&mut Value);

/// Runs an export of one altered document.
fn altered(name: &str, change: impl FnOnce(&mut Value)) -> (Option<i32>, String) {
    let mut document: Value = read_json(Doc::Tiny257.path());
    change(&mut document);
    let path = folder(&format!("altered-{name}")).join(name);
    std::fs::write(&path, document.to_string()).expect("writable");
    let run = premeasure(["export", text(&path), "--format", "keylime"]);
    assert!(run.stdout.is_empty(), "{name}: something was written");
    (run.code, run.stderr)
}

#[test]
fn a_document_of_a_newer_schema_is_refused() {
    let (code, stderr) = altered("newer.json", |document| {
        document["schema_version"] = json!("2.0.0");
        document["something_new"] = json!(true);
    });
    assert_eq!(code, Some(2));
    assert!(stderr.contains("schema version 2.0.0"), "{stderr}");
}

#[test]
fn altered_measurements_and_values_are_refused() {
    let (code, stderr) = altered("event.json", |document| {
        let measurements = document["variants"][0]["measurements"].as_array_mut().expect("a list");
        let load = measurements.iter_mut().find(|m| m["source"]["kind"] == "image").expect("an image load");
        load["digests"]["sha256"] = json!("00".repeat(32));
    });
    assert_eq!(code, Some(2));
    assert!(stderr.contains("was altered or damaged: variants[0].pcrs[4]"), "{stderr}");
    let (code, stderr) = altered("value.json", |document| {
        document["variants"][0]["pcrs"][11]["values"][0]["digests"]["sha384"] = json!("11".repeat(48));
    });
    assert_eq!(code, Some(2));
    assert!(stderr.contains("variants[0].pcrs[11]"), "{stderr}");
}

/// A boot without a name would be an entry without a name in a policy.
#[test]
fn a_variant_without_a_name_is_refused() {
    let (code, stderr) = altered("nameless.json", |document| document["variants"][0]["id"] = json!(""));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("variants: has a member without a name"), "{stderr}");
}

/// One word turns "nobody is known to extend it" into a value that seems to be measured; so does taking away what it rests on.
#[test]
fn an_assumption_that_passes_for_a_value_is_refused_everywhere() {
    let twelve = |document: &mut Value, change: &dyn Fn(&mut Value)| {
        change(&mut document["variants"][0]["pcrs"][12]);
    };
    let all = |pcr: &mut Value, status: &str| {
        pcr["status"] = json!(status);
        pcr["values"].as_array_mut().expect("values").iter_mut().for_each(|v| v["status"] = json!(status));
    };
    let changes: [(&str, Change<'_>); 5] = [
        ("one", &|pcr| pcr["values"][4]["status"] = json!("computed")),
        ("computed", &|pcr| all(pcr, "computed")),
        ("observed", &|pcr| all(pcr, "observed")),
        ("assumes", &|pcr| {
            pcr["assumes"].as_array_mut().expect("a list").retain(|id| id != "no-load-options");
        }),
        ("all-assumes", &|pcr| {
            pcr.as_object_mut().expect("an object").remove("assumes").expect("assumptions");
        }),
    ];
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/export/keys/p256.pem");
    for (name, change) in changes {
        let mut document: Value = read_json(Doc::Tiny257.path());
        assert_eq!(document["variants"][0]["pcrs"][12]["values"][4]["status"], "assumed-unused");
        twelve(&mut document, change);
        let path = folder(&format!("status-{name}")).join("document.json");
        std::fs::write(&path, document.to_string()).expect("writable");
        for (arguments, code) in [
            (vec!["export", text(&path), "--format", "keylime"], 2),
            (vec!["sign", text(&path), "--key", key], 2),
            (vec!["validate", text(&path)], 1),
        ] {
            let run = premeasure(&arguments);
            assert_eq!(run.code, Some(code), "{name} {arguments:?}: {}", run.stderr);
            assert!(
                [run.text(), run.stderr].concat().contains("variants[0].pcrs[12]"),
                "{name} {arguments:?}"
            );
        }
    }
}

#[test]
fn other_files_are_refused_with_the_way_to_a_document() {
    let list = fixture("boots/t-tiny-257/pcrs.json");
    let run = premeasure(["export", text(&list), "--format", "keylime"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("is no reference document"), "{}", run.stderr);
    let image = fixture("t-tiny-257/uki.efi");
    let run = premeasure(["export", text(&image), "--format", "keylime"]);
    assert_eq!(run.code, Some(2));
    assert!(
        run.stderr.contains("is an image") && run.stderr.contains("premeasure predict"),
        "{}",
        run.stderr
    );
}

#[test]
fn the_same_variant_twice_and_other_banks_are_refused() {
    let run = export(&[Doc::Tiny257, Doc::Tiny257], &["--format", "keylime"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("for the same files"), "{}", run.stderr);
    let other = folder("banks").join("sha1.json");
    let uki = fixture("t3-tiny-262/uki.efi");
    let run = premeasure(["predict", text(&uki), "--bank", "sha1,sha256", "-o", text(&other)]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let run = premeasure(["export", text(&Doc::Tiny257.path()), text(&other), "--format", "keylime"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("values of different banks can't be merged"), "{}", run.stderr);
}

/// Both tiny UKIs are called `uki.efi`: that must not make one of two releases vanish.
#[test]
fn releases_of_the_same_name_are_told_apart() {
    let stdout = exported(&[Doc::Tiny257, Doc::Tiny262], &["--format", "flashbots"]);
    let list: Value = serde_json::from_slice(&stdout).expect("JSON");
    let names: Vec<&str> =
        list.as_array().expect("a list").iter().filter_map(|item| item["measurement_id"].as_str()).collect();
    assert_eq!(names.len(), 2);
    assert_ne!(names[0], names[1]);
}

/// One image, two states of Secure Boot: stub 257 lets the firmware measure the kernel in one of them.
#[test]
fn two_ways_to_boot_one_image_are_two_boots() {
    let list: Value = serde_json::from_slice(&exported(
        &[Doc::Tiny257, Doc::Tiny257SecureBoot],
        &["--format", "flashbots"],
    ))
    .expect("JSON");
    assert_eq!(list.as_array().expect("a list").len(), 2);
    assert_ne!(list[0]["measurements"]["4"], list[1]["measurements"]["4"]);
    assert_eq!(list[0]["measurements"]["11"], list[1]["measurements"]["11"]);
    // What both have in common is one value, so formats of one boot take it.
    exported(&[Doc::Tiny257, Doc::Tiny257SecureBoot], &["--format", "systemd-measure"]);
}

#[test]
fn a_register_is_untouched_only_for_those_who_accept_it() {
    let list = |arguments: &[&str]| -> Value {
        let mut all = vec!["--format", "keylime"];
        all.extend(arguments);
        serde_json::from_slice(&exported(&[Doc::Tiny257], &all)).expect("JSON")
    };
    assert!(list(&[]).get("8").is_none());
    assert_eq!(list(&["--accept-assumption", "pcr-8-unused"])["8"], json!(["00".repeat(32)]));
    // PCR 13 rests on two assumptions: one is not enough.
    assert!(list(&["--accept-assumption", "no-companions"]).get("13").is_none());
    assert_eq!(
        list(&["--accept-assumption", "no-companions,initrd-systemd"])["13"],
        json!(["00".repeat(32)])
    );
    let run = export(&[Doc::Tiny257], &["--format", "keylime", "--accept-assumption", "no-such-thing"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("no selected variant assumes 'no-such-thing'"), "{}", run.stderr);
}

/// Computed values rest on assumptions too, and need nobody's word: machines where one fails measured something else. The
/// witnesses are real boots of the same files with what the assumption rules out.
#[test]
fn a_machine_where_an_assumption_fails_is_refused() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let folder = folder("failed-assumption");
    let (document, report) = (folder.join("document.json"), folder.join("report.json"));
    let mut predict = boot("c-sdboot-257").predict();
    predict.extend(["--output".into(), document.clone().into()]);
    assert_eq!(premeasure(predict).code, Some(0));
    let run = premeasure([
        "export",
        text(&document),
        "--format",
        "env",
        "--bank",
        "sha256",
        "--stage",
        "exit-boot-services",
        "--report",
        text(&report),
    ]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let report: Value = read_json(&report);
    let variant = &report["variants"][0];
    let accepts = |case: &str, pcrs: &Value| {
        let held = boot(case).observed_pcrs();
        variant["values"].as_array().expect("values").iter().all(|value| {
            let asked = pcrs.as_array().expect("a list").contains(&value["pcr"]);
            !asked || value["digests"]["sha256"] == held["sha256"][&value["pcr"].to_string()]
        })
    };
    for (assumption, failed) in [("no-companions", "e-addons-257"), ("no-smbios-cmdline", "m-smbios-257")] {
        let assumptions = variant["assumptions"].as_array().expect("a list");
        let entry = assumptions.iter().find(|entry| entry["id"] == assumption).expect(assumption);
        assert_eq!(entry["accepted"], json!(false));
        assert!(!entry["shown_by"].as_array().expect("a list").is_empty(), "{entry}");
        assert!(accepts("c-sdboot-257", &entry["shown_by"]), "{assumption}: the boot itself");
        assert!(!accepts(failed, &entry["shown_by"]), "{failed} fits, although {assumption} fails there");
    }
}

/// PCR 11 alone says nothing of what lies beside the UKI.
#[test]
fn assumptions_that_nothing_enforced_would_show_are_named() {
    let run = export(&[Doc::Tiny257], &["--format", "keylime", "--pcr", "11"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let line =
        run.stderr.lines().find(|line| line.contains("no value that is enforced tells")).expect("a note");
    assert!(line.contains("no-companions") && !line.contains("no-load-options"), "{line}");
}

#[test]
fn a_question_left_open_is_named_when_every_answer_is_accepted() {
    let run = export(&[Doc::Tiny257, Doc::Tiny257SecureBoot], &["--format", "flashbots"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("2 boots are acceptable: "), "{}", run.stderr);
}

#[test]
fn nothing_enforced_is_an_error() {
    let run = export(&[Doc::Tiny257], &["--format", "keylime", "--pcr", "7,12"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stdout.is_empty());
    assert!(run.stderr.contains("would be enforced") && run.stderr.contains("hint:"), "{}", run.stderr);
    // Start values are those of any machine: accepting the assumptions does not make a policy of them.
    for format in
        ["keylime", "csv", "corim", "azure-maa", "flashbots", "trustee", "constellation-join-config"]
    {
        let mut arguments = vec!["--format", format, "--pcr", "12,13", "--accept-assumption", "all"];
        match format {
            "corim" => {
                arguments.extend(["--corim-id", "x", "--class-id", "2f6f8b1e-6d3c-4f57-9a1e-0c5d7a3b9e91"])
            }
            "constellation-join-config" => {
                arguments.extend(["--csp", "QEMU", "--attestation-variant", "qemu-vtpm"]);
            }
            "trustee" => arguments.extend(["--part", "payload"]),
            _ => {}
        }
        let run = export(&[Doc::Tiny257], &arguments);
        assert_eq!(run.code, Some(2), "{format}");
        assert!(run.stdout.is_empty() && run.stderr.contains("PCR 12: a start value"), "{}", run.stderr);
    }
    let run = export(
        &[Doc::Tiny257],
        &[
            "--format",
            "constellation",
            "--csp",
            "AWS",
            "--attestation-variant",
            "aws-sev-snp",
            "--image-version",
            "v1.0.0",
            "--pcr",
            "14",
            "--accept-assumption",
            "all",
        ],
    );
    assert_eq!(run.code, Some(2), "PCR 14 is never enforced by Constellation");
}

/// Named Information has neither SHA-1 nor SM3: measurements without digests would match anything.
#[test]
fn a_corim_without_digests_is_refused() {
    let document = folder("corim-banks").join("document.json");
    let uki = fixture("t-tiny-257/uki.efi");
    let predict =
        ["predict", text(&uki), "--secure-boot", "off", "--bank", "sha1,sm3_256", "-o", text(&document)];
    assert_eq!(premeasure(predict).code, Some(0));
    let class = "2f6f8b1e-6d3c-4f57-9a1e-0c5d7a3b9e91";
    let run =
        premeasure(["export", text(&document), "--format", "corim", "--corim-id", "x", "--class-id", class]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stdout.is_empty() && run.stderr.contains("sha256, sha384 or sha512"), "{}", run.stderr);
}

/// No stub, no phases: `{"sha256":[]}` is no policy.
#[test]
fn formats_of_phases_refuse_an_untouched_pcr_11() {
    let document = folder("no-phases").join("document.json");
    let mut value: Value = read_json(Doc::Tiny257.path());
    crate::rego::without_pcr_11(&mut value);
    std::fs::write(&document, value.to_string()).expect("writable");
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/export/keys/rsa-2048.pem");
    for format in ["systemd-measure", "policy-digest", "pcrsig"] {
        let mut arguments = vec!["export", text(&document), "--format", format, "--accept-assumption", "all"];
        if format == "pcrsig" {
            arguments.extend(["--key", key]);
        }
        let run = premeasure(arguments);
        assert_eq!(run.code, Some(2), "{format}: {}", run.stderr);
        assert!(run.stdout.is_empty(), "{format}");
    }
}

#[test]
fn a_format_of_one_boot_does_not_take_two() {
    for format in ["aws", "env", "systemd-measure", "cel-json", "cmc", "tec", "dstack", "kairos"] {
        let mut arguments = vec!["--format", format, "--part", ""];
        arguments.truncate(2);
        if format == "kairos" {
            arguments
                .extend(["--tpm-hash", "0000000000000000000000000000000000000000000000000000000000000003"]);
        }
        let folder = folder(&format!("one-{format}"));
        let output = folder.join("out");
        arguments.extend(["-o", text(&output)]);
        let run = export(&[Doc::Tiny257, Doc::Tiny262], &arguments);
        assert_eq!(run.code, Some(2), "{format}: {}", run.stderr);
        assert!(run.stderr.contains("takes one boot only"), "{format}: {}", run.stderr);
        assert!(!output.exists(), "{format}: something was written");
    }
}

/// systemd-pcrlock takes eight variants of a component: eight releases are written, nine are refused.
#[test]
fn pcrlock_takes_eight_variants() {
    let folder = folder("eight");
    let uki = fixture("t-tiny-257/uki.efi");
    let mut documents = Vec::new();
    for number in 0..9 {
        let (credential, document) =
            (folder.join(format!("{number}.cred")), folder.join(format!("{number}.json")));
        std::fs::write(&credential, number.to_string()).expect("writable");
        let mut arguments = vec!["predict", text(&uki), "--secure-boot", "off", "--bank", "sha256"];
        arguments.extend(["--credential", text(&credential), "-o", text(&document)]);
        let run = premeasure(arguments);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        documents.push(document);
    }
    let write = |documents: &[std::path::PathBuf], to: &str| {
        let output = folder.join(to);
        let mut arguments = vec!["export", "--format", "pcrlock", "-o", text(&output)];
        arguments.extend(documents.iter().map(|document| text(document)));
        premeasure(arguments)
    };
    let run = write(&documents[..8], "eight");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(std::fs::read_dir(folder.join("eight/650-uki.pcrlock.d")).expect("a folder").count(), 8);
    let run = write(&documents, "nine");
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("650-uki would have 9 variants, systemd-pcrlock takes 8"), "{}", run.stderr);
    assert!(!folder.join("nine").exists(), "something was written");
}

/// kbs-client stores one value for a name: two releases have to go as a message, and that is said.
#[test]
fn trustee_says_that_kbs_client_stores_one_value() {
    let arguments = ["--format", "trustee", "--part", "message"];
    let run = export(&[Doc::Tiny257, Doc::Tiny262], &arguments);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("kbs-client's set-sample-reference-value stores one"), "{}", run.stderr);
    let run = export(&[Doc::Tiny257], &arguments);
    assert!(!run.stderr.contains("kbs-client"), "{}", run.stderr);
}

#[test]
fn options_of_other_formats_and_missing_ones_are_named() {
    let run = export(&[Doc::Tiny257], &["--format", "keylime", "--csp", "AWS"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("--csp is no option of keylime"), "{}", run.stderr);
    let run = export(&[Doc::Tiny257], &["--format", "aws-kms"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("aws-kms needs --principal"), "{}", run.stderr);
    let run = export(&[Doc::Tiny257], &["--format", "aws", "--bank", "sha256"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("with bank sha384 only"), "{}", run.stderr);
}

#[test]
fn a_failed_export_leaves_the_old_file_alone() {
    let path = folder("atomic").join("policy.json");
    std::fs::write(&path, "old").expect("writable");
    let run = export(&[Doc::Tiny257], &["--format", "keylime", "--pcr", "7", "-o", text(&path)]);
    assert_eq!(run.code, Some(2));
    assert_eq!(read(&path), b"old");
}

/// Names in a document are anybody's: they may not lead out of the folder that was asked for.
#[test]
fn a_hostile_name_stays_in_the_folder() {
    let folder = folder("hostile");
    let mut paths = Vec::new();
    for (number, doc) in [Doc::Tiny257, Doc::Tiny262].into_iter().enumerate() {
        let mut document: Value = read_json(doc.path());
        document["variants"][0]["id"] = json!(format!("../../../../escaped-{number}\n"));
        paths.push(folder.join(format!("{number}.json")));
        std::fs::write(&paths[number], document.to_string()).expect("writable");
    }
    let output = folder.join("a/b/c");
    let arguments = ["export", text(&paths[0]), text(&paths[1]), "--format", "pcrlock", "-o", text(&output)];
    let run = premeasure(arguments);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let names: Vec<String> = std::fs::read_dir(output.join("650-uki.pcrlock.d"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.iter().all(|name| name.contains("escaped")), "{names:?}");
    let beside = std::fs::read_dir(&folder).expect("readable").count();
    assert_eq!(beside, 3, "something was written beside the folder");
    assert!(!run.stderr.contains("escaped-0\n"), "a line break of a document reached the terminal");
}

/// systemd 261 and later extend most PCRs when the initrd begins.
#[test]
fn values_that_change_after_the_exported_stage_are_named() {
    let constellation = ["--csp", "QEMU", "--attestation-variant", "qemu-vtpm", "--accept-assumption", "all"];
    for format in ["constellation", "constellation-join-config", "tec"] {
        let mut arguments = vec!["--format", format];
        match format {
            "tec" => arguments.extend(["--part", "label"]),
            _ => arguments.extend(constellation),
        }
        if format == "constellation" {
            arguments.extend(["--image-version", "v1.0.0"]);
        }
        let (old, new) = (export(&[Doc::Tiny257], &arguments), export(&[Doc::Tiny262], &arguments));
        assert_eq!((old.code, new.code), (Some(0), Some(0)), "{format}: {}", new.stderr);
        let warning = "change after exit-boot-services";
        assert!(!old.stderr.contains(warning), "{format}: {}", old.stderr);
        let line = new.stderr.lines().find(|line| line.contains(warning));
        let line = line.unwrap_or_else(|| panic!("{format}: {}", new.stderr));
        assert!(line.contains("PCR 4") && !line.contains("11"), "{line}");
    }
}

/// What a reader does not get, or only warns about, must not be counted on.
#[test]
fn the_report_counts_only_what_was_written_and_is_enforced() {
    let folder = folder("report-counts");
    let values = |documents: &[Doc], arguments: &[&str]| -> Vec<(u64, bool)> {
        let (report, output) = (folder.join("report.json"), folder.join("output"));
        let run = export(documents, &[arguments, &["--report", text(&report), "-o", text(&output)]].concat());
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let report: Value = read_json(&report);
        let variants = report["variants"].as_array().expect("a list");
        for variant in variants {
            let shown = variant["assumptions"].as_array().expect("a list").iter();
            let shown = shown.flat_map(|assumption| assumption["shown_by"].as_array().expect("a list"));
            let enforced: Vec<&Value> = variant["values"]
                .as_array()
                .expect("a list")
                .iter()
                .filter(|value| value["enforced"] == true)
                .map(|value| &value["pcr"])
                .collect();
            shown.for_each(|pcr| assert!(enforced.contains(&pcr), "{pcr} shows nothing"));
        }
        let of_one = |variant: &Value| -> Vec<(u64, bool)> {
            let values = variant["values"].as_array().expect("a list").iter();
            values
                .map(|v| (v["pcr"].as_u64().expect("a PCR"), v["enforced"].as_bool().expect("a truth")))
                .collect()
        };
        let lists: Vec<_> = variants.iter().map(of_one).collect();
        assert!(lists.iter().all(|list| *list == lists[0]), "{lists:?}");
        lists[0].clone()
    };
    // systemd 262 extends PCR 12; 257 leaves it to assumptions, so that Keylime's list is of neither.
    let two = [Doc::Tiny257, Doc::Tiny262];
    assert_eq!(values(&two, &["--format", "keylime", "--pcr", "4,12"]), [(4, true)]);
    let cloud = |csp, variant| {
        let base = ["--format", "constellation-join-config", "--accept-assumption", "all", "--pcr", "4,14"];
        [&base[..], &["--csp", csp, "--attestation-variant", variant]].concat()
    };
    assert_eq!(values(&[Doc::Tiny257], &cloud("Azure", "azure-tdx")), [(4, true), (14, false)]);
    assert_eq!(values(&[Doc::Tiny257], &cloud("QEMU", "qemu-vtpm")), [(4, true)]);
}

/// YAML takes plain 1e3 for a number, true for a truth value and ~ for nothing.
#[test]
fn texts_in_yaml_are_quoted() {
    let hash = "0000000000000000000000000000000000000000000000000000000000000003";
    let kairos = ["--format", "kairos", "--tpm-hash", hash, "--name", "1e3", "--namespace", "true"];
    let yaml = exported(&[Doc::Tiny257], &[&kairos[..], &["--partition-label", "null"]].concat());
    let yaml = String::from_utf8(yaml).expect("text");
    for line in ["name: \"1e3\"", "namespace: \"true\"", "label: \"null\"", "name: \"1e3-passphrase\""] {
        assert!(yaml.contains(line), "{line}: {yaml}");
    }
    let image = format!("123@sha256:{hash}");
    let tec = ["--format", "tec", "--image", &image, "--approved-image", "0x1f", "--namespace", "no"];
    let yaml = |part| {
        let yaml = exported(&[Doc::Aws257], &[&tec[..], &["--part", part]].concat());
        String::from_utf8(yaml).expect("text")
    };
    let approved = yaml("approvedimage");
    for line in ["name: \"0x1f\"", "namespace: \"no\"", &format!("image: \"{image}\"")] {
        assert!(approved.contains(line), "{line}: {approved}");
    }
    assert!(yaml("configmap").contains("namespace: \"no\""));
}
