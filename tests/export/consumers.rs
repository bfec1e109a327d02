//! Consumers' own code, as far as it is installed, and independent decoders.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::documents::{Doc, exported, folder, text};
use crate::support::boots::boot;
use crate::support::{disks, fixture, premeasure, read, say, skipped_without, tcg2, tool};

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

/// What AWS' verifier hashes: PCR 4, 7 and 12 as `nitro-tpm-pcr-compute` prints them. PCR 7 without keys is a constant of
/// AWS' documentation.
#[test]
fn dstack_hashes_what_aws_attests() {
    let without_keys =
        "98441c7f7625d10058c47683aec486ce311c633235eb555593a7ee791121e3578ae72d04ecef661f272d59058b77af35";
    let all = ["--accept-assumption", "all"];
    let of = |arguments: &[&str]| exported(&[Doc::Aws257], &[arguments, &all].concat());
    let pcrs: Value =
        serde_json::from_slice(&of(&["--format", "dstack", "--part", "aws-pcrs"])).expect("JSON");
    assert_eq!(pcrs, serde_json::from_slice::<Value>(&of(&["--format", "aws"])).expect("JSON"));
    assert_eq!(pcrs["Measurements"]["PCR7"], without_keys);
    let mut hash = sha2::Sha256::default();
    for name in ["PCR4", "PCR7", "PCR12"] {
        sha2::Digest::update(
            &mut hash,
            hex::decode(pcrs["Measurements"][name].as_str().expect("hex")).expect("hex"),
        );
    }
    let value: ciborium::Value =
        ciborium::from_reader(of(&["--format", "dstack", "--part", "aws"]).as_slice()).expect("CBOR");
    let map = value.into_map().expect("a map");
    assert_eq!(map.len(), 1);
    assert_eq!(map[0].0, ciborium::Value::Text("boot_pcr_digest".to_owned()));
    assert_eq!(map[0].1.as_bytes().expect("bytes"), sha2::Digest::finalize(hash).as_slice());
}

/// The names of Trusted Execution Clusters for a boot through shim, as `compute-pcrs` gives them (a vendor certificate is
/// measured as MokListRT); the machine's own log is the witness for every event of PCR 7 and 14.
#[test]
fn tec_names_what_shim_measures() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let case = "j-shim-grub-bookworm";
    let folder = folder("tec-shim");
    let document = folder.join("document.json");
    let (disk, variables) = (disks::disk(case), disks::variables(case));
    let run = premeasure(["predict", text(&disk), "--variables", text(&variables), "-o", text(&document)]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let run = premeasure(["export", text(&document), "--format", "tec", "--pcr", "7,14", "--part", "label"]);
    let label: Value = run.json();
    let events = label["pcrs"]
        .as_array()
        .expect("a list")
        .iter()
        .flat_map(|pcr| pcr["events"].as_array().expect("a list"));
    let events: Vec<&Value> = events.collect();
    let words: Vec<&str> = events.iter().map(|event| event["id"].as_str().expect("a word")).collect();
    assert_eq!(
        words,
        [
            "Pcr7SecureBoot",
            "Pcr7Pk",
            "Pcr7Kek",
            "Pcr7Db",
            "Pcr7Dbx",
            "Pcr7Separator",
            "Pcr7ShimCert",
            "Pcr7SbatLevel",
            "Pcr7GrubMokListCert",
            "Pcr14MokList",
            "Pcr14MokListX",
            "Pcr14MokListTrusted"
        ]
    );
    let log = tcg2::parse(&read(fixture("boots").join(case).join("eventlog.bin")));
    let logged: Vec<&String> = [7, 14]
        .iter()
        .flat_map(|pcr| log.iter().filter(move |event| event.pcr == *pcr))
        .map(|event| &event.digests["sha256"])
        .collect();
    let hashes: Vec<&str> = events.iter().map(|event| event["hash"].as_str().expect("hex")).collect();
    assert_eq!(hashes, logged);
}

/// Azure's claim `pcrs`, as its documentation shows it: each rule's expression, by the `jmespath` crate, is true for its boot
/// in both encodings of digests, and false for the other boot, a mixture and a missing PCR.
#[test]
fn azure_rules_accept_whole_boots() {
    let all = ["--accept-assumption", "all"];
    let policy = exported(&[Doc::Tiny257, Doc::Tiny262], &[&["--format", "azure-maa"], &all[..]].concat());
    let policy = String::from_utf8(policy).expect("text");
    let rules = azure_rules(&policy);
    assert_eq!(rules.len(), 2);
    // Claims that the policy adds itself have this issuer, a client's own claims "CustomClaim" (Azure's claim rule grammar).
    assert!(azure_permits(&policy, ("boot1", "AttestationPolicy", true)));
    assert!(!azure_permits(&policy, ("boot1", "AttestationPolicy", false)));
    assert!(!azure_permits(&policy, ("boot1", "CustomClaim", true)));
    assert!(!azure_permits(&policy, ("boot2", "AttestationPolicy", true)));
    let boots: Value = serde_json::from_slice(&exported(
        &[Doc::Tiny257, Doc::Tiny262],
        &[&["--format", "flashbots"], &all[..]].concat(),
    ))
    .expect("JSON");
    let boot = |number: usize| boots[number]["measurements"].as_object().expect("an object").clone();
    let claim = |boot: &serde_json::Map<String, Value>, encode: &dyn Fn(&str) -> String| {
        let pcrs = boot.iter().map(|(pcr, value)| {
            let index: u32 = pcr.parse().expect("a PCR");
            let digest = encode(value["expected"].as_str().expect("hex"));
            serde_json::json!({ "Index": index, "Digests": { "SHA1": "", "SHA256": digest } })
        });
        serde_json::json!({ "PCRs": pcrs.collect::<Vec<_>>() }).to_string()
    };
    let holds = |rule: &str, claim: &str| {
        let expression = jmespath::compile(rule).unwrap_or_else(|error| panic!("{rule}: {error}"));
        let data = jmespath::Variable::from_json(claim).expect("JSON");
        *expression.search(data).expect("a result") == jmespath::Variable::Bool(true)
    };
    let hexadecimal = |hex: &str| hex.to_owned();
    let base64url = |hex: &str| {
        base64::Engine::encode(
            &base64::engine::general_purpose::URL_SAFE_NO_PAD,
            hex::decode(hex).expect("hex"),
        )
    };
    for encode in [&hexadecimal as &dyn Fn(&str) -> String, &base64url] {
        for (number, rule) in rules.iter().enumerate() {
            assert!(holds(rule, &claim(&boot(number), encode)), "boot {number}");
            assert!(!holds(rule, &claim(&boot(1 - number), encode)), "the other boot");
            let mut mixture = boot(number);
            mixture["11"] = boot(1 - number)["11"].clone();
            assert!(!holds(rule, &claim(&mixture, encode)), "a mixture");
            let mut missing = boot(number);
            missing.remove("4").expect("PCR 4");
            assert!(!holds(rule, &claim(&missing, encode)), "without PCR 4");
        }
    }
}

/// The JMESPath of each rule that adds a claim. What is around it has to have the shape that the service's documentation of
/// policy version 1.2 gives: three blocks in this order, rules `condition => action;`, and a permit for each claim.
fn azure_rules(policy: &str) -> Vec<String> {
    let rest = policy.strip_prefix("version=1.2;").expect("the version comes first");
    let mut blocks = Vec::new();
    let mut rest = rest.trim_start();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('{').expect("a block");
        let (body, after) = after.split_once("\n};").expect("the end of a block");
        blocks.push((
            name.trim(),
            body.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>(),
        ));
        rest = after.trim_start();
    }
    let names: Vec<&str> = blocks.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["configurationrules", "authorizationrules", "issuancerules"]);
    for line in &blocks[0].1 {
        assert!(line.starts_with("=> issueproperty(type=\"") && line.ends_with(");"), "{line}");
    }
    assert!(blocks[2].1.is_empty());
    let (mut added, mut permitted) = (Vec::new(), Vec::new());
    for line in &blocks[1].1 {
        if let Some(rule) =
            line.strip_prefix("c:[type==\"pcrs\", issuer==\"AttestationService\"] => add(type=\"")
        {
            let (name, rule) =
                rule.split_once("\", value=JsonToClaimValue(JmesPath(c.value, \"").expect("a claim");
            let rule = rule.strip_suffix("\")));").expect("the end of a rule");
            assert!(!rule.contains('"'), "the expression ends early");
            added.push((name, rule.to_owned()));
        } else {
            let claim = line
                .strip_prefix("[type==\"")
                .and_then(|rest| rest.split_once("\", issuer=="))
                .map(|(claim, _)| claim);
            permitted.push(claim.unwrap_or_else(|| panic!("{line}")));
        }
    }
    assert_eq!(added.iter().map(|(name, _)| *name).collect::<Vec<_>>(), permitted);
    added.into_iter().map(|(_, rule)| rule).collect()
}

/// A permit whose every condition holds for a claim of this type, issuer and value.
fn azure_permits(policy: &str, (kind, issuer, value): (&str, &str, bool)) -> bool {
    let conditions = policy.lines().filter_map(|line| line.trim().strip_suffix("] => permit();"));
    let mut permits = conditions.map(|line| {
        line.trim_start_matches('[').split(", ").all(|condition| match condition.split_once("==") {
            Some(("type", wanted)) => wanted == format!("\"{kind}\""),
            Some(("issuer", wanted)) => wanted == format!("\"{issuer}\""),
            Some(("value", wanted)) => wanted == value.to_string(),
            _ => panic!("{condition}"),
        })
    });
    permits.any(|permit| permit)
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
    assert!(run.stderr.contains("PCR 4: 'os-separator' is extended after"), "{}", run.stderr);
}
