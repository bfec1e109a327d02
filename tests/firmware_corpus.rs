//! The firmware's share against logs of other people's machines and against another project's expected values. None of them
//! is part of this repository: the tests read them where `PREMEASURE_CORPUS` says, and say so when they don't.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use premeasure::boot::{
    BootChain, Content, Input, InputId, InputRole, NamedImage, Payload, Platform, Scenario, SecureBootPolicy,
    SecureBootSupport, replay,
};
use premeasure::hashing::DigestPlan;
use premeasure::pe::PeImage;
use premeasure::secure_boot::{Content as Variable, Database, SecureBootVariables, read_template};
use premeasure::source::Blob;
use premeasure::tcg::eventlog::EventLog;
use premeasure::tcg::{Digest, DigestSet, HashAlgorithm, PcrIndex, PcrValues};
use premeasure::uefi::guid::{IMAGE_SECURITY_DATABASE, SHIM_LOCK};
use premeasure::uefi::variable::variable_data;
use serde_json::Value;
use support::pe_builder::{Pe, Section};
use support::{fixture, premeasure, read, read_json, say, scratch};

const APPLICATION: u32 = 0x8000_0003;
const ACTION: u32 = 0x8000_0007;
const AUTHORITY: u32 = 0x8000_00E0;
const SEPARATOR: u32 = 4;

/// Machines whose PCR 7 is more than their variables, and what it is: the prediction has to leave it open.
const BESIDE: &[(&str, &str)] = &[
    ("gdc-host-locality3.bin", "DMA Protection Disabled"),
    ("hpe-u46-locality3.bin", "DMA Protection Disabled"),
    ("intel-sdv-debian-mok.bin", "AuditMode"),
    ("intel-sdv-debian-shim.bin", "AuditMode"),
    // An authority, of an option ROM, before the separator.
    ("lenovo-sr635-two-boots.bin", "EV_EFI_VARIABLE_AUTHORITY"),
    // One variable and nothing else.
    ("synthetic-uefivar.bin", ""),
];

/// What the variables say, then the authorities as they were logged, gives PCR 7 of each machine in each bank; each authority is
/// an entry of the machine's db. Where a vendor's firmware measures more, PCR 7 is left open and says so.
#[test]
fn pcr_7_of_recorded_machines_follows_from_their_variables() {
    let Some(corpus) = corpus("pcr_7_of_recorded_machines_follows_from_their_variables") else { return };
    let (mut machines, mut values, mut entries) = (0, 0, 0);
    let mut beside = BTreeSet::new();
    for (name, bytes, truth) in pcr_logs(&corpus) {
        let log = EventLog::parse(&bytes[..]).expect("a log");
        let Ok(variables) = SecureBootVariables::from_log(&log) else { continue };
        if let Some((_, what)) = BESIDE.iter().find(|(known, _)| *known == name) {
            let found = variables.beside.clone().unwrap_or_default();
            assert!(found.contains(what), "{name}: {found}");
            assert!(!is_known_without_images(&variables), "{name}");
            beside.insert(name);
            continue;
        }
        assert_eq!(variables.beside, None, "{name}");
        let db = variables.db.bytes().expect("logged").to_vec();
        let mut extended = up_to_separator(&variables, &log.banks().collect::<Vec<_>>());
        let authorities = log.events().filter(|event| event.register == 7 && event.event_type.0 == AUTHORITY);
        for event in authorities {
            let digests: DigestSet = log.banks().filter_map(|bank| event.digest(bank)).collect();
            // shim before 15.3 logs one byte more than it measures.
            let is_plain = digests.iter().all(|digest| Digest::of(digest.algorithm(), event.data) == digest);
            if is_plain && variable_name(event.data) == "db" {
                assert!(is_entry(&db, &event.data[36..]), "{name}: event {}", event.number);
                entries += 1;
            }
            extended.push(digests);
        }
        for (bank, registers) in truth["banks"].as_object().expect("banks") {
            let Some(expected) = registers["7"].as_str() else { continue };
            let bank: HashAlgorithm = bank.parse().expect("a bank");
            assert_eq!(extend_all(bank, 7, &extended), expected, "{name} {bank}");
            values += 1;
        }
        machines += 1;
    }
    say(&format!("PCR 7 of {machines} machines, {values} values, {entries} authorities out of db"));
    assert_eq!(beside.len(), BESIDE.len(), "{beside:?}");
    assert!(machines >= 40 && values >= 70 && entries >= 15, "{machines} {values} {entries}");
}

/// A machine that was started from another locality is a baseline, too: PCR 0 to 3 and 6 of the next image there are its own.
#[test]
fn recorded_machines_are_baselines_whatever_pcr_0_starts_with() {
    let Some(corpus) = corpus("recorded_machines_are_baselines_whatever_pcr_0_starts_with") else { return };
    let (mut machines, mut elsewhere) = (0, 0);
    for (name, bytes, truth) in pcr_logs(&corpus) {
        let log = EventLog::parse(&bytes[..]).expect("a log");
        let known = SecureBootVariables::from_log(&log).ok().and_then(|variables| variables.state());
        if known != Some(false) || log.banks().next().is_none() {
            continue;
        }
        let banks: Vec<String> =
            log.banks().flat_map(|bank| ["--bank".to_owned(), bank.name().replace('_', "-")]).collect();
        let log_file = corpus.join("logs").join(&name);
        let predict = |baseline: &Path, format: &[&str]| {
            let mut arguments =
                vec!["predict".to_owned(), fixture("t-tiny-257/uki.efi").display().to_string()];
            arguments.extend(["--baseline".to_owned(), baseline.display().to_string()]);
            arguments.extend(banks.iter().cloned());
            arguments.extend(format.iter().map(|word| (*word).to_owned()));
            premeasure(&arguments)
        };
        let run = predict(&log_file, &["--format", "pcrs"]);
        if run.code != Some(0) {
            // The two upstream altered.
            assert!(
                name.contains("altered") || run.stderr.contains("lacks the digest"),
                "{name}: {}",
                run.stderr
            );
            continue;
        }
        let predicted: BTreeMap<String, BTreeMap<String, Value>> = run.json();
        let mut numbers = vec!["0", "3", "6"];
        if !extends_pcr_2_later(&log) {
            numbers.push("2");
        }
        for (bank, registers) in truth["banks"].as_object().expect("banks") {
            for number in &numbers {
                let Some(expected) = registers.get(*number) else { continue };
                assert_eq!(predicted[bank].get(*number), Some(expected), "{name} {bank} PCR {number}");
            }
        }
        machines += 1;
        let start = truth["pcr0_start"]["last_byte"].as_u64();
        if let Some(start) = start.filter(|start| *start != 0) {
            elsewhere += 1;
            let run = predict(&log_file, &["--json"]);
            let document: Value = run.json();
            let entry = &document["variants"][0]["pcrs"][0];
            assert_eq!(entry["startup_locality"], start, "{name}");
            assert_eq!(entry["status"], "observed", "{name}");
            let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
            survives(&name, &run.stdout, folder.path(), &predicted);
            predicted_log_replays(&name, folder.path(), &predict, &log_file, &predicted);
        }
    }
    say(&format!("{machines} baselines, {elsewhere} of them started from another locality"));
    assert!(machines >= 15 && elsewhere >= 4, "{machines} {elsewhere}");
}

/// The document is sound by our own check, and a profile made of the log predicts the same.
fn survives(
    name: &str,
    document: &[u8],
    folder: &Path,
    predicted: &BTreeMap<String, BTreeMap<String, Value>>,
) {
    let file = folder.join("document.json");
    fs::write(&file, document).expect("written");
    let run = premeasure(["validate".as_ref(), file.as_os_str()]);
    assert_eq!(run.code, Some(0), "{name}: {}{}", run.text(), run.stderr);
    let bank = predicted.keys().next().expect("a bank");
    let run =
        premeasure(["explain", &file.display().to_string(), "--bank", &bank.replace('_', "-"), "--pcr", "0"]);
    let value = predicted[bank]["0"].as_str().expect("a value");
    assert!(run.text().contains(value), "{name}: {}", run.text());
}

/// The predicted log says where PCR 0 starts, so that it replays to the predicted value.
fn predicted_log_replays(
    name: &str,
    folder: &Path,
    predict: &dyn Fn(&Path, &[&str]) -> support::Run,
    baseline: &Path,
    predicted: &BTreeMap<String, BTreeMap<String, Value>>,
) {
    let file = folder.join("log.bin");
    let path = file.display().to_string();
    let outcome = ["--event-log", path.as_str(), "--secure-boot", "off", "--exit-boot-services", "success"];
    let run = predict(baseline, &outcome);
    assert_eq!(run.code, Some(0), "{name}: {}", run.stderr);
    let bytes = read(&file);
    let log = EventLog::parse(&bytes[..]).expect("a log");
    for (bank, registers) in log.replay().values().banks() {
        let value = registers[&PcrIndex::new(0)].to_string();
        assert_eq!(predicted[bank.name()]["0"], Value::from(value), "{name} {bank}");
    }
}

/// Google's firmware of TDX guests measures what it loads, and the partition table, into PCR 2. With such a log as baseline PCR 4 and 5
/// of another image are those of the log, and PCR 2 has the images.
#[test]
fn images_stay_in_the_register_where_a_baseline_has_them() {
    let Some(corpus) = corpus("images_stay_in_the_register_where_a_baseline_has_them") else { return };
    let log = corpus.join("logs/gce-tdx-uki.bin").display().to_string();
    let truth: Value = read_json(corpus.join("truth/gce-tdx-uki.json"));
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let profile = folder.path().join("profile.json").display().to_string();
    assert_eq!(premeasure(["baseline", "make", &log, "-o", &profile]).code, Some(0));
    let uki = fixture("t-tiny-257/uki.efi").display().to_string();
    for baseline in [&log, &profile] {
        let arguments =
            ["predict", &uki, "--baseline", baseline, "--bank", "sha384", "--bank", "sha256", "--json"];
        let document: Value = premeasure(arguments).json();
        let variant = &document["variants"][0];
        for bank in ["sha256", "sha384"] {
            for number in [0, 3, 4, 5, 6, 7] {
                let value = &variant["pcrs"][number]["values"][0]["digests"][bank];
                assert_eq!(*value, truth["banks"][bank][number.to_string()], "PCR {number} {bank}");
            }
        }
        let measurements = variant["measurements"].as_array().expect("measurements").iter();
        let kinds: Vec<&str> = measurements
            .filter(|m| m["pcr"] == 2 && m["stage"] == "exit-boot-services")
            .map(|m| m["event_type"].as_str().unwrap_or("the partition table, which was not given"))
            .collect();
        let application = "EV_EFI_BOOT_SERVICES_APPLICATION";
        assert_eq!(kinds[0], "EV_SEPARATOR");
        assert_eq!(kinds[2..], [application, application]);
        assert_eq!(variant["pcrs"][2]["status"], "unknown");
    }
}

/// In clouds that start images by the book, PCR 4 is the text, the separator, and then images only; PCR 5 begins with its
/// separator and the partition table, before the first image.
#[test]
fn clouds_measure_pcr_4_in_our_order() {
    let Some(corpus) = corpus("clouds_measure_pcr_4_in_our_order") else { return };
    let ours = predicted_order();
    let mut compared = BTreeSet::new();
    for (name, bytes, _) in pcr_logs(&corpus).into_iter().filter(|(name, ..)| name.starts_with("gce-")) {
        let log = EventLog::parse(&bytes[..]).expect("a log");
        let events = log.events().filter(|event| [4, 5].contains(&event.register) && event.event_type.0 != 3);
        let mut order: Vec<(u32, u32)> = events.map(|event| (event.register, event.event_type.0)).collect();
        let images = order.iter().filter(|event| **event == (4, APPLICATION)).count();
        // However many images there are, and however often ExitBootServices was tried.
        order.dedup();
        match name.as_str() {
            // Parts of logs: the first firmware of 2018 logs no text and no separators of PCR 0 to 6.
            "gce-sb-cert-partial.bin" | "gce-windows-sha1.bin" => continue,
            // The firmware of TDX guests measures the partition table and the images into PCR 2.
            "gce-tdx-uki.bin" => {
                assert_eq!(order, [(4, ACTION), (4, SEPARATOR), (5, SEPARATOR), (5, ACTION)]);
                continue;
            }
            // Kernels of that time did not pass the end of the log on.
            "gce-debian10-sha1-sb-on.bin" => order.push((5, ACTION)),
            _ => {}
        }
        assert_eq!(order, ours, "{name}");
        assert!(images >= 2, "{name}: {images}");
        compared.insert(name);
    }
    assert!(compared.len() >= 9, "{compared:?}");
}

/// The stubs of two guests at Google measured what our rules say of a stub of that time, in our order: each section of
/// the image by its name and its content, then the kernel, then its options and initrd.
#[test]
fn unified_kernel_images_in_clouds_are_measured_by_our_rules() {
    let Some(corpus) = corpus("unified_kernel_images_in_clouds_are_measured_by_our_rules") else { return };
    for (name, register) in [("gce-tdx-uki.bin", 11), ("ccel-gke-tdx-uki.bin", 3)] {
        let bytes = read(corpus.join("logs").join(name));
        let log = EventLog::parse(&bytes[..]).expect("a log");
        let bank = HashAlgorithm::Sha384;
        let of_stub = |event: &premeasure::tcg::eventlog::Event<'_>| {
            event.register == register && event.event_type.0 == 13 || event.event_type.0 == APPLICATION
        };
        let names: Vec<String> = log
            .events()
            .filter(|event| event.register == register && event.event_type.0 == 13)
            .map(|event| utf16(event.data))
            .collect();
        let sections: Vec<String> = names.iter().step_by(2).cloned().collect();
        assert_eq!(sections.len() * 2, names.len(), "{name}: each name, then its content");
        let logged: Vec<_> = log.events().filter(of_stub).collect();
        let mut fitting = Vec::new();
        for stub in ["252.39", "254.26", "255.4", "256.1", "257.13", "258.1", "259.1", "260.1", "262.1"] {
            let measurements = predict_stub(&sections, stub);
            let predicted: Vec<&Value> = measurements.iter().filter(of_stub_here).collect();
            let same =
                |(index, (ours, theirs)): (usize, (&&Value, &premeasure::tcg::eventlog::Event<'_>))| {
                    let is_section = theirs.event_type.0 == 13;
                    // The names' digests are known without the image.
                    let digest = theirs.digest(bank).expect("SHA-384").to_string();
                    ours["event_type"] == theirs.event_type.to_string()
                        && (!is_section || ours["event_data"] == hex::encode(theirs.data))
                        && (!is_section || index % 2 == 0 || ours["digests"]["sha384"] == digest)
                };
            if predicted.len() == logged.len() && predicted.iter().zip(&logged).enumerate().all(same) {
                fitting.push(stub);
            }
        }
        say(&format!("{name}: {sections:?} as stubs {fitting:?} measure them"));
        assert!(!fitting.is_empty(), "{name}");
        // The kernel's own: the tag of its options, then that of the initrd, and no command line of the stub's in PCR 12.
        if register == 11 {
            let tags: Vec<u32> =
                log.events().filter(|event| event.register == 9).map(|e| e.event_type.0).collect();
            assert_eq!(tags, [6, 6], "{name}");
            let measurements = predict_stub(&sections, fitting[0]);
            let ours: Vec<&Value> = measurements.iter().filter(|m| m["pcr"] == 9).collect();
            assert_eq!(ours.len(), 2, "{ours:?}");
            let tag = log.events().find(|event| event.register == 9).expect("a tag");
            assert_eq!(ours[0]["event_data"], Value::from(hex::encode(tag.data)), "{name}");
            assert!(log.events().all(|event| event.register != 12), "{name}");
        }
    }
}

fn of_stub_here(m: &&Value) -> bool {
    m["stage"] == "exit-boot-services"
        && (m["pcr"] == 11 || m["event_type"] == "EV_EFI_BOOT_SERVICES_APPLICATION")
}

/// What we predict of a UKI with these sections, started by the firmware.
fn predict_stub(sections: &[String], stub: &str) -> Vec<Value> {
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let file = folder.path().join("uki.efi");
    fs::write(&file, with_sections(sections, stub)).expect("written");
    let uki = file.display().to_string();
    let document: Value =
        premeasure(["predict", &uki, "--secure-boot", "off", "--bank", "sha384", "--json"]).json();
    document["variants"][0]["measurements"].as_array().expect("measurements").clone()
}

/// Keys as Hyper-V and Azure write them into a new machine, and Fedora CoreOS's shim: compute-pcrs expects the same events in the
/// same order, and its values are what these extend to.
#[test]
fn compute_pcrs_expects_the_same_of_fedora_coreos() {
    let Some(corpus) = corpus("compute_pcrs_expects_the_same_of_fedora_coreos") else { return };
    let azure = corpus.join("peers/compute-pcrs/azure/20251013/fedora-42.20250929.3.0");
    let qemu = corpus.join("peers/compute-pcrs/qemu-ovmf/fedora-42/fedora-42.20250929.3.0");
    let sha256 = HashAlgorithm::Sha256;

    let keys = template(&corpus, "2024-10-03-x64-MicrosoftUEFICertificateAuthority.json");
    let peer = peer_events(&azure.join("pcr7-sb-enabled.json"));
    let ours = up_to_separator(&keys, &[sha256]);
    assert_eq!(texts(&ours), digests_of(&peer[..6]), "Azure's variables");
    let ca = microsoft_ca(&keys);
    let ca = variable_data(IMAGE_SECURITY_DATABASE, "db", &ca);
    assert_eq!(Digest::of(sha256, &ca).to_string(), peer[6].1, "the certificate that lets shim start");

    // No keys: PCR 7 is known entirely, shim's level included.
    let absent = SecureBootVariables {
        pk: Variable::Absent,
        kek: Variable::Absent,
        db: Variable::Absent,
        dbx: Variable::Absent,
        dbt: Variable::Absent,
        secure_boot: Variable::Is(vec![0]),
        ..SecureBootVariables::default()
    };
    let disabled = qemu.join("pcr7-sb-disabled.json");
    let mut ours = up_to_separator(&absent, &[sha256]);
    let level = variable_data(SHIM_LOCK, "SbatLevel", b"sbat,1,2021030218\n");
    ours.push([Digest::of(sha256, &level)].into_iter().collect());
    assert_eq!(texts(&ours), digests_of(&peer_events(&disabled)));
    assert_eq!(
        extend_all(sha256, 7, &ours),
        read_json::<Value>(&disabled)["value"].as_str().expect("a value")
    );

    for folder in [azure, qemu] {
        let pcr4 = peer_events(&folder.join("pcr4.json"));
        let kinds: Vec<&str> = pcr4.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(kinds[..2], ["EV_EFI_ACTION", "EV_SEPARATOR"]);
        assert!(kinds[2..].iter().all(|kind| *kind == "EV_EFI_BOOT_SERVICES_APPLICATION"));
        let text = b"Calling EFI Application from Boot Option";
        assert_eq!(pcr4[0].1, Digest::of(sha256, text).to_string());
        let pcr14 = peer_events(&folder.join("pcr14.json"));
        assert_eq!(pcr14[2].1, Digest::of(sha256, &[1]).to_string(), "MokListTrusted");
        for file in fs::read_dir(&folder).expect("a folder") {
            let path = file.expect("an entry").path();
            if path.ends_with("all-pcrs.json") {
                continue;
            }
            let document: Value = read_json(&path);
            let number = u8::try_from(document["id"].as_u64().expect("id")).expect("a PCR");
            let events: Vec<DigestSet> = peer_events(&path)
                .iter()
                .map(|(_, digest)| {
                    let bytes = hex::decode(digest).expect("hexadecimal");
                    Digest::from_bytes(sha256, &bytes).into_iter().collect()
                })
                .collect();
            assert_eq!(extend_all(sha256, number, &events), document["value"].as_str().expect("a value"));
        }
    }
}

/// PCR 7 without Secure Boot, from each of the templates as Microsoft publishes them: values that the reference of this corpus computed from them on its own.
#[test]
fn azure_templates_give_their_pcr_7() {
    let Some(corpus) = corpus("azure_templates_give_their_pcr_7") else { return };
    for (file, expected) in [
        (
            "2024-10-03-x64-MicrosoftUEFICertificateAuthority",
            "124daf47b4d67179a77dc3c1bcca198ae1ee1d094a2a879974842e44ab98bb06",
        ),
        (
            "2025-04-04-x64-MicrosoftUEFICertificateAuthority",
            "881728b21fadf884114e60e0028fa310024dae208656f62a6c5978d1dcfbba7c",
        ),
        (
            "2025-11-07-x64-MicrosoftUEFICertificateAuthority",
            "62ec300b01d6516c776a7edd861878326745e7b9d27605542e7d9eae51e6be98",
        ),
        ("2026-03-09-x64-MicrosoftUEFI", "00596cc1512b063c798b9ecbab030138e10b3d40ac0a9cc8452d84aeb515d73e"),
        (
            "2026-03-09-x64-MicrosoftUEFI_Confidential",
            "4cdc32eb672f7d2ed1bd87e7804d1223c512c87b1ad3196c0869825d9fd91365",
        ),
        (
            "2026-03-09-x64-MicrosoftWindows",
            "db3d5004f7dba6daa0e45253358f80cd61067dea58e50f6c15458c1c50cf34fa",
        ),
        (
            "2024-10-03-aarch64-MicrosoftUEFI",
            "176e74c1e9e7d58b98cb9eff15e84c020b212e20567c0693506f0d0ce1b77724",
        ),
    ] {
        let uki = fixture("t-tiny-257/uki.efi").display().to_string();
        let json = corpus.join(format!("cloud/hyperv-secure-boot-templates/{file}.json"));
        let mut arguments =
            vec!["predict".to_owned(), uki, "--variables".to_owned(), json.display().to_string()];
        let rest = "--platform azure --secure-boot off --bank sha256 --format pcrs";
        arguments.extend(rest.split(' ').map(str::to_owned));
        let values: Value = premeasure(&arguments).json();
        assert_eq!(values["sha256"]["7"], expected, "{file}");
    }
}

fn corpus(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("PREMEASURE_CORPUS").map(PathBuf::from);
    if folder.is_none() {
        say(&format!("SKIPPED {test}: PREMEASURE_CORPUS is not set"));
    }
    folder
}

/// Name, bytes and truth of the logs of TPMs.
fn pcr_logs(corpus: &Path) -> Vec<(String, Vec<u8>, Value)> {
    let files = fs::read_dir(corpus.join("truth")).expect("truth");
    let mut logs: Vec<(String, Vec<u8>, Value)> = files
        .map(|file| read_json::<Value>(file.expect("an entry").path()))
        .filter(|truth| truth["kind"] == "tpm")
        .map(|truth| {
            let name = truth["log"].as_str().expect("log").to_owned();
            (name.clone(), read(corpus.join("logs").join(&name)), truth)
        })
        .collect();
    logs.sort_by(|one, other| one.0.cmp(&other.0));
    logs
}

/// What the model measures of the variables into PCR 7, the separator included.
fn up_to_separator(variables: &SecureBootVariables, banks: &[HashAlgorithm]) -> Vec<DigestSet> {
    let mut plan = DigestPlan::new();
    let recording = replay(&chain(), &scenario(variables), &mut plan).expect("it boots");
    let digests = plan.compute(banks, &|_| ()).expect("computed");
    let of_variables = recording.measurements.iter().filter(|measurement| measurement.pcr.get() == 7);
    of_variables
        .take_while(|measurement| measurement.rule.id == "secure-boot-policy")
        .map(|measurement| match measurement.content {
            Content::Stream(stream) => digests.get(stream).cloned().expect("computed"),
            _ => panic!("{}", measurement.description),
        })
        .collect()
}

/// No gap of PCR 7 but that the images are not known.
fn is_known_without_images(variables: &SecureBootVariables) -> bool {
    let recording = replay(&chain(), &scenario(variables), &mut DigestPlan::new()).expect("it boots");
    let of_pcr_7 = recording.gaps.iter().filter(|gap| gap.pcr.get() == 7);
    of_pcr_7.filter(|gap| !gap.reason.starts_with("which entry of db")).count() == 0
}

fn scenario(variables: &SecureBootVariables) -> Scenario {
    let support = match variables.supported() {
        Some(false) => SecureBootSupport::Absent,
        _ => SecureBootSupport::Present,
    };
    let policy = SecureBootPolicy { variables: variables.clone(), ..SecureBootPolicy::default() };
    Scenario {
        platform: <&Platform>::default(),
        secure_boot: variables.state() == Some(true),
        secure_boot_support: support,
        secure_boot_policy: Some(Arc::new(policy)),
        ..Scenario::default()
    }
}

/// Some image: what PCR 7 has before its separator does not depend on it.
fn chain() -> BootChain {
    let file = Blob::from_bytes(read(fixture("t-tiny-257/uki.efi")));
    let image = PeImage::parse(&file).expect("an image");
    let input = InputId(0);
    BootChain {
        inputs: vec![Input { role: InputRole::Uki, name: "uki.efi".to_owned(), file }],
        shim: None,
        loader: None,
        load_options: Vec::new(),
        uki: NamedImage { input, name: "uki.efi".to_owned(), image },
        payload: Payload::UnifiedKernelImage,
        entry: None,
        addons: Vec::new(),
        credentials: Vec::new(),
        extensions: Vec::new(),
        drivers: Vec::new(),
        grub: None,
        medium: None,
    }
}

fn extend_all(bank: HashAlgorithm, number: u8, events: &[DigestSet]) -> String {
    let pcr = PcrIndex::new(number);
    let mut values = PcrValues::default();
    for digests in events {
        values.extend(pcr, digests.get(bank).expect("in each bank"));
    }
    values.get(bank, pcr).expect("extended").to_string()
}

fn texts(events: &[DigestSet]) -> Vec<String> {
    events.iter().flat_map(|digests| digests.iter().map(|digest| digest.to_string())).collect()
}

/// Type and SHA-256 digest of the events that compute-pcrs expects.
fn peer_events(file: &Path) -> Vec<(String, String)> {
    let document: Value = read_json(file);
    let events = document["events"].as_array().expect("events").iter();
    let text = |event: &Value, member: &str| event[member].as_str().expect("a text").to_owned();
    events.map(|event| (text(event, "name"), text(event, "hash"))).collect()
}

fn digests_of(events: &[(String, String)]) -> Vec<String> {
    events.iter().map(|(_, digest)| digest.clone()).collect()
}

/// One of Hyper-V's JSON templates as the variables that it becomes, Secure Boot on.
fn template(corpus: &Path, file: &str) -> SecureBootVariables {
    let text = read(corpus.join("cloud/hyperv-secure-boot-templates").join(file));
    let variables = read_template(&text).expect("a template");
    SecureBootVariables { secure_boot: Variable::Is(vec![1]), ..variables }
}

/// The first entry of db: Microsoft Corporation UEFI CA 2011, owner and certificate.
fn microsoft_ca(keys: &SecureBootVariables) -> Vec<u8> {
    let db = keys.db.bytes().expect("known");
    assert!(!Database::parse(db).expect("lists").is_empty());
    let size = u32::from_le_bytes(db[16..20].try_into().expect("four bytes"));
    db[28..size as usize].to_vec()
}

/// `db` holds this `EFI_SIGNATURE_DATA`, wherever.
fn is_entry(db: &[u8], entry: &[u8]) -> bool {
    db.windows(entry.len()).any(|window| window == entry)
}

fn variable_name(data: &[u8]) -> String {
    let length = u64::from_le_bytes(data[16..24].try_into().expect("eight bytes"));
    utf16(&data[32..32 + 2 * usize::try_from(length).expect("short")])
}

fn utf16(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    String::from_utf16_lossy(&units.collect::<Vec<_>>()).trim_end_matches('\0').to_owned()
}

/// Register and type of what we predict in PCR 4 and 5, runs of the same once.
fn predicted_order() -> Vec<(u32, u32)> {
    let uki = fixture("t-tiny-257/uki.efi").display().to_string();
    let document: Value = premeasure(["predict", &uki, "--secure-boot", "off", "--json"]).json();
    let measurements = document["variants"][0]["measurements"].as_array().expect("measurements").iter();
    let order =
        measurements.filter(|m| (m["pcr"] == 4 || m["pcr"] == 5) && m["stage"] == "exit-boot-services");
    let mut order: Vec<(u32, u32)> = order
        .map(|m| {
            let kind = match (m["event_type"].as_str(), m["gap"].as_str()) {
                (Some("EV_EFI_ACTION"), _) => ACTION,
                (Some("EV_SEPARATOR"), _) => SEPARATOR,
                (Some("EV_EFI_BOOT_SERVICES_APPLICATION"), _) => APPLICATION,
                (None, Some("partition-table")) => 0x8000_0006,
                other => panic!("{other:?}"),
            };
            (u32::try_from(m["pcr"].as_u64().expect("a number")).expect("a PCR"), kind)
        })
        .collect();
    order.dedup();
    order
}

/// Something was measured into PCR 2 when a boot option was being tried.
fn extends_pcr_2_later(log: &EventLog<'_>) -> bool {
    let events = log.events().filter(|event| event.register == 2 && event.event_type.0 != 3);
    let mut later = events.skip_while(|event| event.event_type.0 != SEPARATOR);
    later.next();
    later.next().is_some()
}

/// A UKI with these sections, a kernel in `.linux`, and a stub of this version.
fn with_sections(sections: &[String], stub: &str) -> Vec<u8> {
    let file = Blob::from_bytes(read(fixture("t-tiny-257/uki.efi")));
    let image = PeImage::parse(&file).expect("an image");
    let linux = image.sections.iter().find(|section| section.name.is(".linux")).expect("a kernel");
    let linux = image.raw_data(linux).expect("inside").read(1 << 24).expect("read");
    let content = |name: &String| if name == ".linux" { linux.clone() } else { b"console=ttyS0\n".to_vec() };
    sections.iter().fold(Pe::uki(stub), |pe, name| pe.section(Section::new(name, content(name)))).build()
}
