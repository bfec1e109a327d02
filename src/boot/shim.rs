//! shim: its keys into PCR 14, its revocation level and what let the second stage start into PCR 7.

use std::sync::Arc;

use super::cc::Program;
use super::measurement::{GapCode, Rule, Source};
use super::recorder::{Event, Recorder};
use super::replay::BootError;
use super::secure_boot::ImageVerification;
use super::{BootChain, NamedImage, Scenario, SecureBootPolicy};
use crate::hashing::Segment;
use crate::secure_boot::{Content, Refusal, Shim, ShimState, ShimVerdict};
use crate::tcg::{EventType, PcrIndex};
use crate::uefi::guid::{Guid, SHIM_LOCK};
use crate::uefi::variable::variable_data;

const KEYS: Rule = Rule {
    id: "shim-keys",
    statement: "shim measures the lists of keys that it goes by, its own and the enrolled ones",
    source: "shim mok.c import_mok_state, mirror_one_mok_variable; 15.7 to 16.1; observed with Debian's 15.8 and 16.1",
};
const LEVEL: Rule = Rule {
    id: "shim-sbat-level",
    statement: "shim measures the variable SbatLevel as it has just stored it",
    source: "shim mok.c mok_state_variable_data, sbat.c set_sbat_uefi_variable; 15.7 to 16.1; observed with Debian's 15.8 and 16.1",
};
const AUTHORITY: Rule = Rule {
    id: "shim-authority",
    statement: "under Secure Boot shim measures the entry of db, its vendor's keys or MokList that lets an image start, each entry \
                once",
    source: "shim verify.c verify_buffer_authenticode, check_allowlist, tpm.c tpm_measure_variable; 15.7 to 16.1; observed with Debian's 15.8 and 16.1",
};
const UNKNOWN: Rule =
    Rule { id: "shim-unknown", statement: "what shim measures depends on its version", source: "shim" };

/// shim runs, up to its second stage. From then on it checks images in the firmware's place: its hook of `LoadImage` (16
/// and later), or that which systemd-boot and systemd-stub set up with its protocol before.
pub(super) fn run(chain: &BootChain, shim: &NamedImage, scenario: &Scenario, recorder: &mut Recorder<'_>) {
    let policy = scenario.secure_boot_policy.clone();
    let known = Shim::of(&shim.image).ok().flatten().filter(Shim::is_known);
    recorder.program(Program::Same);
    recorder.verification = ImageVerification::default();
    let (Some(program), Some(policy)) = (known, policy) else {
        let reason = why_unknown(Shim::version_of(&shim.image));
        unknown(recorder, &[7, 14], &reason, "a shim of version 15.8 or later, and --variables");
        if scenario.secure_boot {
            assume_accepted(recorder);
        }
        return;
    };
    let state = program.state(&policy.variables);
    recorder.assume(
        "mok-variables",
        "shim finds no keys, revocations or newer SbatLevel stored but those given",
        &[7, 14],
        "--variables with all of the machine's variables",
    );
    if program.is_15_7() {
        recorder.assume(
            "shim-15.7-as-read",
            "shim 15.7 measures what its source says, and its vendor changed nothing of that: no boot of it was observed",
            &[4, 7, 14],
            "a shim of version 15.8 or later",
        );
    }
    mirror(shim, &program, &state, scenario.secure_boot, recorder);
    if let Some(name) = state.request {
        let reason = format!("shim starts MokManager first, which the variable {name} asks for");
        unknown(recorder, &[4, 7, 14], &reason, "the variables after that request was dealt with");
    }
    if scenario.secure_boot {
        beside(chain, recorder);
        verification(&state, policy, recorder);
    }
}

/// Why a shim's measurements are not known.
fn why_unknown(version: Option<(u16, u16)>) -> String {
    match version {
        Some((15, minor @ 4..=6)) => format!(
            "shim 15.{minor} measures its vendor's key, SbatLevel and MokListTrusted otherwise than later ones, in ways that vendors \
             changed, and no boot of it was observed"
        ),
        Some((major, minor)) if (major, minor) < (15, 7) => {
            format!("shim {major}.{minor} is from before SbatLevel, and no boot of it was observed")
        }
        _ => "what shim measures depends on its version and on the machine's variables".to_owned(),
    }
}

/// What shim measures of its variables as it makes copies of them for the system.
fn mirror(
    shim: &NamedImage,
    program: &Shim,
    state: &ShimState,
    secure_boot: bool,
    recorder: &mut Recorder<'_>,
) {
    let not_ours =
        "the copies of shim's lists in the variables were made by another shim, or are in several parts";
    match (state.keys.bytes(), state.revocations.bytes()) {
        (Some(enrolled), Some(revoked)) => {
            keys(recorder, shim, "MokList", program.mok_list(enrolled));
            if program.mirrors_revocations {
                keys(recorder, shim, "MokListX", program.mok_list_x(revoked));
            } else {
                let reason = "whether this vendor's shim puts its own revocations into MokListX depends on patches of the vendor's";
                unknown(recorder, &[14], reason, "a log of a boot of this shim");
            }
        }
        _ => unknown(
            recorder,
            &[14],
            not_ours,
            "--variables with the variable store, or after a boot of this shim",
        ),
    }
    if let Content::Is(insecure) = &state.insecure {
        authority(recorder, shim, (SHIM_LOCK, "MokSBState"), insecure, &KEYS);
        keys(recorder, shim, "MokSBState", insecure.clone());
    }
    match program.sbat_level(secure_boot, state) {
        Some(level) => authority(recorder, shim, (SHIM_LOCK, "SbatLevel"), &level, &LEVEL),
        None => {
            let reason = "shim stores another SbatLevel for one boot, as the variable SbatPolicy asks for";
            unknown(recorder, &[7], reason, "the variables after that boot");
        }
    }
    if state.not_trusted == Content::Absent {
        keys(recorder, shim, "MokListTrusted", vec![1]);
    }
    if let Content::Is(policy) = &state.policy {
        keys(recorder, shim, "MokPolicy", policy.clone());
    }
}

/// Files beside shim that it verifies and measures before anything else (`load_unbundled_trust`; 15.7 and later, Secure Boot only).
fn beside(chain: &BootChain, recorder: &mut Recorder<'_>) {
    let files = chain.medium.iter().flat_map(|medium| &medium.beside_shim);
    for file in files {
        let reason = format!("shim measures {file} and goes by it");
        unknown(recorder, &[4, 7, 14], &reason, "a boot partition without it, or a log of a boot with it");
    }
}

/// From here on shim checks images, if its owner has not switched that off.
fn verification(state: &ShimState, policy: Arc<SecureBootPolicy>, recorder: &mut Recorder<'_>) {
    let is_set =
        |state: &Content| state.bytes().and_then(|bytes| bytes.first()).is_some_and(|byte| *byte != 0);
    for (state, name, pcrs) in
        [(&state.insecure, "MokSBState", &[4, 7][..]), (&state.ignore_db, "MokDBState", &[7])]
    {
        if is_set(state) {
            let reason = format!("{name} has shim check images otherwise, which is not followed");
            unknown(recorder, pcrs, &reason, "a machine without it: mokutil --enable-validation, --use-db");
            if *name == *"MokDBState" {
                assume_accepted(recorder);
            }
            return;
        }
    }
    recorder.verification = ImageVerification::by_shim(policy);
}

fn unknown(recorder: &mut Recorder<'_>, pcrs: &[u8], reason: &str, remedy: &str) {
    for pcr in pcrs {
        recorder.gap(PcrIndex::new(*pcr), GapCode::UnknownLoader, &UNKNOWN, reason, remedy);
    }
}

/// An image that shim refuses and the firmware accepts is measured by both.
fn assume_accepted(recorder: &mut Recorder<'_>) {
    let statement =
        "shim accepts every image: the firmware, which it would go on to ask, measures none a second time";
    recorder.assume("shim-accepts", statement, &[4], "--variables with all of the machine's variables");
}

/// shim checks an image: PCR 7, the authority.
///
/// # Errors
/// When shim refuses it.
pub(super) fn verify(
    image: &NamedImage,
    policy: &SecureBootPolicy,
    recorder: &mut Recorder<'_>,
) -> Result<(), BootError> {
    let unknown = |why: String, recorder: &mut Recorder<'_>| {
        let remedy = "--variables with all of the machine's variables";
        recorder.gap(PcrIndex::new(7), GapCode::SecureBootVariables, &AUTHORITY, why, remedy);
        assume_accepted(recorder);
    };
    match policy.shim_verdicts.get(&image.input) {
        Some(ShimVerdict::Allowed { name, vendor, entry }) => {
            if recorder.verification.is_new(name, entry) {
                authority(recorder, image, (*vendor, name), entry, &AUTHORITY);
            }
        }
        Some(ShimVerdict::Refused(refusal)) => {
            return Err(BootError::Refused { name: image.name.clone(), refusal: refusal.clone() });
        }
        Some(ShimVerdict::Undecided(why)) => {
            unknown(format!("which keys let {} start is not known: {why}", image.name), recorder);
        }
        None => unknown(format!("which key lets {} start is not known", image.name), recorder),
    }
    Ok(())
}

/// shim refuses an image: why.
pub(super) fn refusal(image: &NamedImage, policy: &SecureBootPolicy) -> Option<Refusal> {
    match policy.shim_verdicts.get(&image.input)? {
        ShimVerdict::Refused(refusal) => Some(refusal.clone()),
        ShimVerdict::Allowed { .. } | ShimVerdict::Undecided(_) => None,
    }
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
