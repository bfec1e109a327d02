//! What providers' firmware measures of facts that can be declared, against logs and quotes of their machines, which are not
//! part of the repository (`PREMEASURE_CORPUS`), and against values published in the open.

mod support;

use std::path::PathBuf;

use premeasure::tcg::eventlog::EventLog;
use serde_json::Value;
use support::{Run, fixture, premeasure, read, read_json, say};

fn corpus(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("PREMEASURE_CORPUS").map(PathBuf::from);
    if folder.is_none() {
        say(&format!("SKIPPED {test}: PREMEASURE_CORPUS is not set"));
    }
    folder
}

fn predict(words: &str) -> Run {
    let uki = fixture("t-tiny-257/uki.efi").display().to_string();
    let words = words.split_ascii_whitespace().map(str::to_owned);
    premeasure(["predict".to_owned(), uki].into_iter().chain(words))
}

fn pcr(words: &str, bank: &str, number: u8) -> Value {
    let words = format!("{words} --secure-boot off --bank {bank} --pcr {number} --format pcrs");
    predict(&words).json::<Value>()[bank][number.to_string()].clone()
}

/// PCR 0 of Google's machines as their quotes show it: lockboot/vaportpm, 2026-02-02 and 2026-02-03 (SEV, TDX), Google's endorsement
/// and Constellation for the others.
#[test]
fn googles_pcr_0_follows_from_the_technology() {
    for (facts, bank, value) in [
        ("technology=sev", "sha256", "a0b5ff3383a1116bd7dc6df177c0c2d433b9ee1813ea958fa5d166a202cb2a85"),
        ("technology=tdx", "sha256", "0cca9ec161b09288802e5a112255d21340ed5b797f5fe29cecccfd8f67b9f802"),
        ("technology=sev-snp", "sha256", "50597a27846e91d025eef597abbc89f72bff9af849094db97b0684d8bc4c515e"),
        ("technology=none", "sha256", "d0c70a9310cd0b55767084333022ce53f42befbb69c059ee6c0a32766f160783"),
        (
            "technology=sev-snp",
            "sha384",
            "99df1a2dd3bb13aeb3eb4067e3081d58ec884ff31f15cd1e1998ec192abf43acb3406bd0a9a8c26f3e930ed6da80de66",
        ),
        (
            "technology=sev --declare firmware=v1",
            "sha256",
            "0f35c214608d93c7a6e68ae7359b4a8be5a0e99eea9107ece427c4dea4e439cf",
        ),
    ] {
        let words = format!("--platform gce --declare {facts}");
        assert_eq!(pcr(&words, bank, 0), value, "{facts}");
    }
    // Nobody said.
    assert_eq!(pcr("--platform gce", "sha256", 0), Value::Null);
}

/// Each machine's own log: version and technology as it logged them, PCR 0 as its TPM had it.
#[test]
fn pcr_0_of_googles_recorded_machines_is_computed() {
    let Some(corpus) = corpus("pcr_0_of_googles_recorded_machines_is_computed") else { return };
    let mut compared = Vec::new();
    for file in std::fs::read_dir(corpus.join("truth")).expect("truth") {
        let truth: Value = read_json(file.expect("an entry").path());
        let name = truth["log"].as_str().expect("a name").to_owned();
        let Some(version) = truth["firmware_version"].as_str().filter(|text| text.starts_with("GCE Virtual"))
        else {
            continue;
        };
        let bytes = read(corpus.join("logs").join(&name));
        let log = EventLog::parse(&bytes[..]).expect("a log");
        let info = log.events().find(|event| event.register == 0 && event.event_type.0 == 0x11);
        let technology =
            ["none", "sev", "sev-es", "tdx", "sev-snp"][usize::from(info.expect("logged").data[16])];
        let number = version.rsplit(' ').next().expect("v1 or v2");
        let facts = format!("--platform gce --declare technology={technology} --declare firmware={number}");
        for (bank, registers) in truth["banks"].as_object().expect("banks") {
            assert_eq!(pcr(&facts, bank, 0), registers["0"], "{name} {bank}: {facts}");
        }
        compared.push(name);
    }
    assert!(compared.len() >= 10, "{compared:?}");
}

/// A TDX guest's firmware has images and partition table in PCR 2, whoever declares it: the order is that of a recorded guest.
#[test]
fn tdx_guests_of_google_have_their_images_in_pcr_2() {
    let order = |words: &str| -> Vec<(u64, String)> {
        let document: Value = predict(&format!("{words} --secure-boot off --bank sha256 --json")).json();
        let measurements = document["variants"][0]["measurements"].as_array().expect("measurements").clone();
        let of_firmware = |m: &&Value| {
            m["stage"] == "exit-boot-services" && [2, 4, 5].contains(&m["pcr"].as_u64().expect("a number"))
        };
        let text = |m: &Value| m["event_type"].as_str().unwrap_or("GPT, not given").to_owned();
        measurements
            .iter()
            .filter(of_firmware)
            .map(|m| (m["pcr"].as_u64().expect("a number"), text(m)))
            .collect()
    };
    let application = |pcr: u64| (pcr, "EV_EFI_BOOT_SERVICES_APPLICATION".to_owned());
    for words in ["--platform gce --declare technology=tdx", "--platform gce --registers both"] {
        let found = order(words);
        assert_eq!(found.iter().filter(|event| **event == application(2)).count(), 2, "{words}: {found:?}");
        assert!(!found.contains(&application(4)), "{words}");
    }
    let elsewhere = order("--platform gce --declare technology=sev-snp");
    assert!(elsewhere.contains(&application(4)) && !elsewhere.contains(&application(2)));

    let Some(corpus) = corpus("tdx_guests_of_google_have_their_images_in_pcr_2") else { return };
    let bytes = read(corpus.join("logs/gce-tdx-uki.bin"));
    let log = EventLog::parse(&bytes[..]).expect("a log");
    let events = log.events().filter(|event| [2, 4, 5].contains(&event.register) && event.event_type.0 != 3);
    let logged: Vec<(u64, String)> = events
        .map(|event| match event.event_type.0 {
            0x8000_0006 => (event.register.into(), "GPT, not given".to_owned()),
            _ => (event.register.into(), event.event_type.to_string()),
        })
        .collect();
    assert_eq!(order("--platform gce --declare technology=tdx"), logged);
}

/// PCR 6 of eight confidential VMs of Azure's, from the id in the report that their quote is bound to.
#[test]
fn pcr_6_of_azures_machines_follows_from_their_id() {
    let Some(corpus) = corpus("pcr_6_of_azures_machines_follows_from_their_id") else { return };
    let mut machines = 0;
    for file in std::fs::read_dir(corpus.join("cloud")).expect("a folder") {
        let path = file.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if !name.starts_with("azure-") || path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let evidence: Value = read_json(&path);
        let report =
            ["hcl_report", "report"].iter().find_map(|key| member(&evidence, key)).expect("a report");
        let report = String::from_utf8_lossy(&bytes_of(report)).into_owned();
        let (_, id) = report.split_once("\"vmUniqueId\":\"").expect("an id");
        let id = id.split('"').next().expect("closed");
        let observed = hex::encode(bytes_of(&member(&evidence, "pcrs").expect("PCRs")[6]));
        let words = format!("--platform azure --declare vm-id={id} --secure-boot off --bank sha256 --json");
        let document: Value = predict(&words).json();
        let variants = document["variants"].as_array().expect("variants");
        let values: Vec<&Value> =
            variants.iter().map(|variant| &variant["pcrs"][6]["values"][0]["digests"]["sha256"]).collect();
        assert_eq!(values.len(), 2, "{name}: with and without architecture");
        assert_eq!(values[0], &Value::from(observed), "{name}");
        machines += 1;
    }
    assert!(machines >= 8, "{machines}");
}

/// The first member of that name, however deep.
fn member<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Object(members) => {
            members.get(key).or_else(|| members.values().find_map(|value| member(value, key)))
        }
        Value::Array(values) => values.iter().find_map(|value| member(value, key)),
        _ => None,
    }
}

/// Bytes as the collectors of evidence write them: an array of numbers, hexadecimal, or base64 of either alphabet.
fn bytes_of(value: &Value) -> Vec<u8> {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
    if let Some(numbers) = value.as_array() {
        return numbers.iter().map(|n| u8::try_from(n.as_u64().expect("a byte")).expect("a byte")).collect();
    }
    let text = value.as_str().expect("a text");
    let decoders = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD];
    hex::decode(text).ok().or_else(|| decoders.iter().find_map(|d| d.decode(text).ok())).expect("bytes")
}

/// What is declared has to fit the platform and what else is known.
#[test]
fn facts_that_do_not_fit_are_refused() {
    let baseline = fixture("boots/c-sdboot-257/eventlog.bin").display().to_string();
    for (words, says) in [
        ("--platform ovmf --declare technology=sev".to_owned(), "platform ovmf does not measure that"),
        (
            "--platform gce --declare vm-id=12345678-1234-1234-1234-123456789abc".to_owned(),
            "--platform azure",
        ),
        ("--platform azure --declare vm-id=12345678".to_owned(), "no id of a VM"),
        ("--platform gce --declare technology=sgx".to_owned(), "none, sev, sev-es, tdx, sev-snp"),
        ("--platform gce --declare firmware=v1".to_owned(), "PCR 0 depends on the technology"),
        ("--platform gce --declare technology=sev --registers rtmr".to_owned(), "only guests of TDX"),
        (format!("--platform gce --declare technology=sev --baseline {baseline}"), "the log has it"),
        ("--platform gce --declare technology=sev --declare technology=tdx".to_owned(), "given twice"),
        ("--declare mrtd=00".to_owned(), "no register"),
    ] {
        let run = predict(&words);
        assert_eq!(run.code, Some(2), "{words}");
        assert!(run.stderr.contains(says), "{words}: {}", run.stderr);
    }
}
