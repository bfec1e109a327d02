//! shim: its keys into PCR 14, its revocation level and what let the second stage start into PCR 7.

use super::measurement::{GapCode, Rule, Source};
use super::recorder::{Event, Recorder};
use super::replay::BootError;
use super::{NamedImage, Scenario, firmware};
use crate::hashing::Segment;
use crate::secure_boot::{Content, Shim, Verdict};
use crate::tcg::{EventType, PcrIndex};
use crate::uefi::guid::{Guid, IMAGE_SECURITY_DATABASE, SHIM_LOCK};
use crate::uefi::variable::variable_data;

const KEYS: Rule = Rule {
    id: "shim-keys",
    statement: "shim measures the lists of keys that it goes by, its own and the enrolled ones",
    source: "shim mok.c import_mok_state, mirror_one_mok_variable; 15.8 to 16.1",
};
const LEVEL: Rule = Rule {
    id: "shim-sbat-level",
    statement: "shim measures the variable SbatLevel as it has just stored it",
    source: "shim mok.c mok_state_variable_data, sbat.c set_sbat_uefi_variable; 15.8 to 16.1",
};
const AUTHORITY: Rule = Rule {
    id: "shim-authority",
    statement: "under Secure Boot shim measures the entry of db or MokList that lets an image start, each entry once",
    source: "shim shim.c verify_buffer_authenticode, check_allowlist, tpm.c tpm_measure_variable; 15.7 to 16.1",
};
const UNKNOWN: Rule =
    Rule { id: "shim-unknown", statement: "what shim measures depends on its version", source: "shim" };

/// shim runs, and loads its second stage.
pub(super) fn run(
    shim: &NamedImage,
    second: &NamedImage,
    scenario: &Scenario,
    recorder: &mut Recorder<'_>,
) -> Result<(), BootError> {
    let policy = scenario.secure_boot_policy.clone();
    let known = Shim::of(&shim.image).ok().flatten().filter(|shim| shim.generation >= 4);
    // From here on shim checks images, not the firmware.
    recorder.verification = super::secure_boot::ImageVerification::default();
    let (Some(program), Some(policy)) = (known, policy) else {
        for pcr in [7, 14] {
            let reason = "what shim measures depends on its version and on the machine's variables";
            let remedy = "a shim of version 15.8 or later, and --variables";
            recorder.gap(PcrIndex::new(pcr), GapCode::UnknownLoader, &UNKNOWN, reason, remedy);
        }
        return firmware::load_image(second, None, "second stage", recorder);
    };
    let variable = |name: &str| match policy.variables.shim_variable(name) {
        Content::Is(bytes) => bytes,
        Content::Absent | Content::Unknown => Vec::new(),
    };
    recorder.assume(
        "mok-variables",
        "shim finds no keys, revocations or newer SbatLevel stored but those given",
        &[7, 14],
        "--variables with all of the machine's variables",
    );
    keys(recorder, shim, "MokList", program.mok_list(&variable("MokList")));
    keys(recorder, shim, "MokListX", program.mok_list_x(&variable("MokListX")));
    let state = variable("MokSBState");
    if !state.is_empty() {
        authority(recorder, shim, (SHIM_LOCK, "MokSBState"), &state, &KEYS);
        keys(recorder, shim, "MokSBState", state);
    }
    let level = program.sbat_level(scenario.secure_boot, &variable("SbatLevel"));
    authority(recorder, shim, (SHIM_LOCK, "SbatLevel"), &level, &LEVEL);
    if variable("MokListTrusted").is_empty() {
        keys(recorder, shim, "MokListTrusted", vec![1]);
    }
    let mok_policy = variable("MokPolicy");
    if !mok_policy.is_empty() {
        keys(recorder, shim, "MokPolicy", mok_policy);
    }
    if scenario.secure_boot {
        second_stage(second, &policy, recorder)?;
    }
    firmware::load_image(second, None, "second stage", recorder)
}

/// `db` comes before `MokList`.
fn second_stage(
    second: &NamedImage,
    policy: &super::SecureBootPolicy,
    recorder: &mut Recorder<'_>,
) -> Result<(), BootError> {
    let by_db = policy.verdicts.get(&second.input);
    let by_shim = policy.shim_verdicts.get(&second.input);
    match (by_db, by_shim) {
        (Some(Verdict::Allowed(entries)), _) => {
            for entry in entries {
                authority(recorder, second, (IMAGE_SECURITY_DATABASE, "db"), entry, &AUTHORITY);
            }
        }
        (Some(Verdict::Refused(_)), Some(Verdict::Allowed(entries))) => {
            for entry in entries {
                authority(recorder, second, (SHIM_LOCK, "MokListRT"), entry, &AUTHORITY);
            }
        }
        (Some(Verdict::Refused(_)), Some(Verdict::Refused(refusal))) => {
            return Err(BootError::Refused { name: second.name.clone(), refusal: refusal.clone() });
        }
        _ => recorder.gap(
            PcrIndex::new(7),
            GapCode::SecureBootVariables,
            &AUTHORITY,
            format!("which key lets {} start is not known", second.name),
            "--variables with all of the machine's variables",
        ),
    }
    Ok(())
}

/// PCR 14: the event's data is the name, the digest that of the content.
fn keys(recorder: &mut Recorder<'_>, shim: &NamedImage, name: &str, content: Vec<u8>) {
    let event = Event {
        pcr: PcrIndex::new(14),
        event_type: Some(EventType::IPL),
        data: Some([name.as_bytes(), b"\0"].concat()),
        description: format!("{name}, {} bytes", content.len()),
        source: Source::Derived(vec![shim.input]),
        rule: &KEYS,
    };
    recorder.measure(event, [Segment::bytes(content)]);
}

/// PCR 7: a variable.
fn authority(
    recorder: &mut Recorder<'_>,
    image: &NamedImage,
    (vendor, name): (Guid, &str),
    content: &[u8],
    rule: &'static Rule,
) {
    let data = variable_data(vendor, name, content);
    let event = Event {
        pcr: PcrIndex::new(7),
        event_type: Some(EventType::EFI_VARIABLE_AUTHORITY),
        data: Some(data.clone()),
        description: format!("{name} entry, by shim for {}", image.name),
        source: Source::Derived(vec![image.input]),
        rule,
    };
    recorder.measure(event, [Segment::bytes(data)]);
}

/// Images that the second stage starts in turn: shim sees them through protocols of its own.
pub(super) fn inner_images(recorder: &mut Recorder<'_>) {
    recorder.gap(
        PcrIndex::new(4),
        GapCode::UnknownLoader,
        &UNKNOWN,
        "whether shim measures the images that the second stage starts depends on its version",
        "--baseline does not settle it; an event log of this boot does",
    );
}

/// The image is a shim whose sections are known.
pub(super) fn is_shim(image: &NamedImage) -> bool {
    matches!(Shim::of(&image.image), Ok(Some(_)))
}
