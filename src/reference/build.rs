//! From a prediction to its document.

mod registers;

use std::collections::BTreeMap;

use super::document::{
    AssumptionEntry, Document, Facts, Generator, Image, InputEntry, KIND, RulesUsed, SCHEMA_VERSION,
    ScenarioEntry, StageEntry, VariantEntry,
};
use crate::boot::{
    Assumption, Declared, ExitBootServices, InputId, InputRole, KernelRules, LoaderRules, PartitionTable,
    Payload, SecureBootSupport, Stage, StubRules, UserspaceRules,
};
use crate::pe::{PeError, PeImage};
use crate::prediction::{Prediction, Variant};
use crate::tcg::HashAlgorithm;
use crate::tcg::eventlog::MeasurementRegister;
use crate::uki::{
    Kernel, KernelVersion, LoadedSection, LoaderInfo, MAX_TEXT, SectionLookup, SectionSet, os_release_fields,
    profile_count,
};
use registers::{bank_digests, guest_entry, measurements, pcr_entry, rules};

/// Fields of os-release that identify a release.
const OS_RELEASE_FIELDS: &[&str] =
    &["ID", "IMAGE_ID", "IMAGE_VERSION", "NAME", "PRETTY_NAME", "VARIANT_ID", "VERSION_ID", "BUILD_ID"];

/// The document of a prediction. `prediction` must have been made with file digests.
///
/// # Errors
/// When an image's facts can't be read.
pub fn document(prediction: &Prediction) -> Result<Document, PeError> {
    let facts = facts(prediction)?;
    let input_ids = input_ids(prediction);
    let image = Image {
        id: token(prediction.entry.as_ref().unwrap_or(&prediction.chain.uki.name)),
        name: facts.os_release.get("PRETTY_NAME").unwrap_or(&prediction.chain.uki.name).clone(),
        inputs: inputs(prediction, &input_ids),
        facts,
    };
    let mut scenarios = Vec::new();
    let mut variants = Vec::new();
    for variant in &prediction.variants {
        let scenario = scenario(variant, prediction, &image.facts);
        variants.push(VariantEntry {
            id: token(&format!("{}-{}", image.id, scenario.id)),
            image: image.id.clone(),
            scenario: scenario.id.clone(),
            pcrs: variant.pcrs.iter().map(|(pcr, value)| pcr_entry(*pcr, value, variant)).collect(),
            measurements: measurements(&variant.recording, &variant.digests, &input_ids),
            guest: variant.guest.as_ref().map(|guest| guest_entry(guest, &input_ids)),
        });
        scenarios.push(scenario);
    }
    Ok(Document {
        schema_version: SCHEMA_VERSION.to_owned(),
        kind: KIND.to_owned(),
        generator: Generator { name: "premeasure".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
        banks: prediction.banks.iter().map(|bank| bank.name().to_owned()).collect(),
        stages: Stage::ALL
            .iter()
            .map(|stage| StageEntry {
                id: stage.name().to_owned(),
                description: stage.description().to_owned(),
            })
            .collect(),
        images: vec![image],
        materials: Vec::new(),
        scenarios,
        variants,
        rules: rules(prediction),
    })
}

/// A name that can stand in a URL, a file name and a Kubernetes label.
fn token(text: &str) -> String {
    let mut token: String = text
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .take(120)
        .collect();
    while token.contains("--") {
        token = token.replace("--", "-");
    }
    let token = token.trim_matches(['-', '.']);
    if token.is_empty() { "image".to_owned() } else { token.to_owned() }
}

/// An id for each input: its role, numbered where there are several.
fn input_ids(prediction: &Prediction) -> Vec<String> {
    let mut seen: BTreeMap<InputRole, usize> = BTreeMap::new();
    let of_role = |role| prediction.chain.inputs.iter().filter(|input| input.role == role).count();
    prediction
        .chain
        .inputs
        .iter()
        .map(|input| {
            let number = seen.entry(input.role).and_modify(|n| *n += 1).or_insert(1);
            if of_role(input.role) > 1 {
                format!("{}-{number}", input.role.name())
            } else {
                input.role.name().to_owned()
            }
        })
        .collect()
}

fn inputs(prediction: &Prediction, ids: &[String]) -> Vec<InputEntry> {
    let inputs = prediction.chain.inputs.iter().zip(ids).enumerate();
    inputs
        .map(|(index, (input, id))| {
            let sha256 = prediction.file_digests.get(index).and_then(|set| set.get(HashAlgorithm::Sha256));
            InputEntry {
                id: id.clone(),
                role: input.role.name().to_owned(),
                name: input.name.clone(),
                size: input.file.len(),
                sha256: sha256.map(|digest| digest.to_string()).unwrap_or_default(),
                image_digest: prediction.image_digests.get(&InputId(index)).map(bank_digests),
            }
        })
        .collect()
}

fn facts(prediction: &Prediction) -> Result<Facts, PeError> {
    let image = &prediction.chain.uki.image;
    let sections = SectionSet::with_profile(image, SectionLookup::FirstExact, 0)
        .unwrap_or_else(|_| SectionSet::without_profiles(image, SectionLookup::FirstExact));
    let text = |name: &str| -> Result<Option<String>, PeError> {
        sections.get(name)?.map(|section: LoadedSection| section.read_text(MAX_TEXT)).transpose()
    };
    let magic = |image: &PeImage| LoaderInfo::of(image).map(|info| info.map(|info| info.text));
    let kernel = match (prediction.chain.payload, sections.get(".linux")?) {
        (Payload::Kernel, _) => Kernel::parse(&image.file)?,
        (_, Some(section)) => Kernel::parse(&section.data)?,
        (_, None) => None,
    };
    let kernel = kernel.and_then(|kernel| kernel.version_text);
    let entry_options = prediction.chain.entry.as_ref().and_then(|entry| entry.options.clone());
    let os_release = os_release_fields(&text(".osrel")?.unwrap_or_default());
    Ok(Facts {
        architecture: image.machine.to_string(),
        stub: magic(image)?,
        boot_loader: prediction
            .chain
            .loader
            .as_ref()
            .or(prediction.chain.shim.as_ref())
            .map(|loader| magic(&loader.image))
            .transpose()?
            .flatten(),
        kernel,
        uname: text(".uname")?,
        command_line: text(".cmdline")?.or(entry_options),
        profiles: profile_count(image) as u64,
        os_release: os_release
            .into_iter()
            .filter(|(key, _)| OS_RELEASE_FIELDS.contains(&key.as_str()))
            .collect(),
    })
}

fn scenario(variant: &Variant, prediction: &Prediction, facts: &Facts) -> ScenarioEntry {
    let scenario = &variant.scenario;
    let mut id = scenario.platform.id.clone();
    let guest = variant.guest.is_some().then_some(if variant.pcrs.is_empty() { "rtmr" } else { "both" });
    if let Some(word) = guest {
        id.push_str(&format!("-{word}"));
    }
    if let Some(state) = variant.secure_boot {
        id.push_str(if state { "-secure-boot-on" } else { "-secure-boot-off" });
    }
    if scenario.secure_boot_support == SecureBootSupport::AssumedAbsent {
        id.push_str("-without-support");
    }
    if scenario.cloud.measures_architecture {
        id.push_str("-architecture");
    }
    let knows_disk = matches!(
        prediction.chain.medium.as_ref().map(|medium| &medium.partition_table),
        Some(PartitionTable::Measured { .. })
    );
    if let Some(recorded) = scenario.baseline.as_ref().filter(|recorded| recorded.count > 1) {
        id.push_str(&format!("-recorded-{}", recorded.number));
    }
    if let Some(recorded) = scenario.guest_baseline.as_ref().filter(|recorded| recorded.count > 1) {
        id.push_str(&format!("-guest-recorded-{}", recorded.number));
    }
    if scenario.exit_boot_services == ExitBootServices::FailureThenSuccess {
        id.push_str("-exit-retried");
    }
    if scenario.profile != 0 {
        id.push_str(&format!("-profile-{}", scenario.profile));
    }
    if let Declared::Is(number) = scenario.devicetree {
        id.push_str(&format!("-devicetree-{number}"));
    }
    if let Declared::Is(number) = scenario.firmware_image {
        id.push_str(&format!("-firmware-{number}"));
    }
    ScenarioEntry {
        id,
        platform: scenario.platform.id.clone(),
        secure_boot: variant.secure_boot,
        entry: prediction.entry.clone(),
        exit_boot_services: knows_disk.then(|| scenario.exit_boot_services.name().to_owned()),
        confidential_vm: scenario.confidential_vm,
        registers: guest.map(str::to_owned),
        load_options: scenario.load_options.as_ref().map(|units| String::from_utf16_lossy(units)),
        profile: scenario.profile.into(),
        devicetree: number(&scenario.devicetree),
        firmware_image: number(&scenario.firmware_image),
        declared: declarations(variant),
        rules_used: rules_used(variant, facts),
        assumptions: assumption_entries(variant),
    }
}

/// What was taken for granted, each once.
fn assumption_entries(variant: &Variant) -> Vec<AssumptionEntry> {
    let entry = |assumption: &Assumption| AssumptionEntry {
        id: assumption.id.to_owned(),
        statement: assumption.statement.clone(),
        affects: Vec::new(),
        affects_registers: Vec::new(),
        remedy: (!assumption.remedy.is_empty()).then(|| assumption.remedy.to_owned()),
    };
    let mut entries: Vec<AssumptionEntry> = Vec::new();
    for assumption in &variant.recording.assumptions {
        let affects = assumption.affects.iter().map(|pcr| pcr.get()).collect();
        entries.push(AssumptionEntry { affects, ..entry(assumption) });
    }
    for (guest, assumption) in
        variant.guest.iter().flat_map(|guest| guest.recording.assumptions.iter().map(move |of| (guest, of)))
    {
        let registers = guest.affected(assumption).into_iter().map(|of| of.name().to_owned()).collect();
        match entries.iter_mut().find(|known| known.id == assumption.id) {
            Some(known) => known.affects_registers = registers,
            None => entries.push(AssumptionEntry { affects_registers: registers, ..entry(assumption) }),
        }
    }
    entries
}

/// What was declared, so that a reader can tell on what a value rests. Secrets are only named.
fn declarations(variant: &Variant) -> BTreeMap<String, String> {
    let scenario = &variant.scenario;
    let start = |register| Some(variant.guest.as_ref()?.starts.get(&register)?.to_string());
    let separator = scenario.cc.as_ref().and_then(|guest| guest.separator);
    fn text<T>(declared: &Declared<T>, value: impl Fn(&T) -> String) -> Option<String> {
        match declared {
            Declared::Unknown => None,
            Declared::Absent => Some("none".to_owned()),
            Declared::Is(is) => Some(value(is)),
        }
    }
    let given = |_: &_| "given".to_owned();
    let smbios = scenario.smbios.declared.then(|| {
        let strings = scenario.smbios.oem_strings.is_empty() && scenario.smbios.structures.is_none();
        if strings { "none" } else { "given" }.to_owned()
    });
    let facts = [
        ("smbios", smbios),
        ("boot-secret", text(&scenario.boot_secret, given)),
        ("stub-console", text(&scenario.console, String::clone)),
        ("devicetree", text(&scenario.devicetree, usize::to_string)),
        ("firmware-image", text(&scenario.firmware_image, usize::to_string)),
        ("systemd-version", scenario.stub_version.as_ref().map(ToString::to_string)),
        ("initrd-systemd", text(&scenario.initrd_systemd, ToString::to_string)),
        ("host-systemd", text(&scenario.host_systemd, ToString::to_string)),
        ("kernel-version", scenario.kernel_version.map(|version| version.to_string())),
        ("machine-id", text(&scenario.machine_id, String::clone)),
        ("root-fs", text(&scenario.root_file_system, String::clone)),
        ("volume-key", text(&scenario.volume_key, |()| "given".to_owned())),
        ("nvpcr", text(&scenario.nvpcr, |()| "given".to_owned())),
        ("mrtd", start(MeasurementRegister::MRTD)),
        ("rtmr0", start(MeasurementRegister::RTMR0)),
        ("separator", separator.map(|register| register.name().to_lowercase())),
        ("technology", scenario.cloud.technology.map(|technology| technology.to_string())),
        ("firmware", scenario.cloud.firmware.map(|number| format!("v{number}"))),
        ("vm-id", scenario.cloud.vm_id.as_ref().map(ToString::to_string)),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn number(choice: &Declared<usize>) -> Option<u64> {
    match choice {
        Declared::Is(number) => Some(*number as u64),
        Declared::Absent | Declared::Unknown => None,
    }
}

/// Which rows were used, so that a reader can tell what a newer program would do otherwise.
fn rules_used(variant: &Variant, facts: &Facts) -> BTreeMap<String, RulesUsed> {
    let mut used = BTreeMap::new();
    let version_of =
        |text: &Option<String>| text.as_deref().and_then(|text| text.split_once(' ')?.1.parse().ok());
    let row =
        |(major, minor): (u16, u16)| if minor == 0 { major.to_string() } else { format!("{major}.{minor}") };
    let stub = variant.scenario.stub_version.clone().or_else(|| version_of(&facts.stub));
    if let Some((version, rules)) = stub.as_ref().and_then(|version| Some((version, StubRules::of(version)?)))
    {
        let nearest = version.major > StubRules::NEWEST;
        used.insert(
            "systemd-stub".to_owned(),
            RulesUsed { version: version.to_string(), rules_from: row(rules.from), nearest },
        );
    }
    let loader = facts.boot_loader.as_ref().filter(|text| text.starts_with("systemd-boot "));
    let loader = version_of(&loader.cloned());
    if let Some((version, rules)) =
        loader.as_ref().and_then(|version| Some((version, LoaderRules::of(version)?)))
    {
        let nearest = version.major > StubRules::NEWEST;
        used.insert(
            "systemd-boot".to_owned(),
            RulesUsed { version: version.to_string(), rules_from: row(rules.from), nearest },
        );
    }
    let kernel = variant.scenario.kernel_version.or_else(|| {
        [&facts.kernel, &facts.uname].into_iter().find_map(|text| KernelVersion::parse(text.as_deref()?))
    });
    if let Some((version, rules)) = kernel.and_then(|version| Some((version, KernelRules::of(version)?))) {
        let nearest = version > KernelRules::NEWEST;
        used.insert(
            "linux".to_owned(),
            RulesUsed { version: version.to_string(), rules_from: rules.from.to_string(), nearest },
        );
    }
    let parts = [
        ("systemd-initrd", &variant.scenario.initrd_systemd),
        ("systemd-host", &variant.scenario.host_systemd),
    ];
    for (name, declared) in parts {
        let version = match declared {
            Declared::Is(version) => Some(version),
            Declared::Absent => None,
            Declared::Unknown => stub.as_ref().filter(|version| !version.is_patched()),
        };
        if let Some((version, rules)) = version.and_then(|v| Some((v, UserspaceRules::of(v)?))) {
            let nearest = version.major > StubRules::NEWEST;
            used.insert(
                name.to_owned(),
                RulesUsed { version: version.to_string(), rules_from: rules.from.to_string(), nearest },
            );
        }
    }
    used
}
