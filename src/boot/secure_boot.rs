//! The firmware's Secure Boot: PCR 7 by the variables, and by what let each image start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::measurement::{GapCode, Rule, Source};
use super::recorder::{Event, Recorder};
use super::replay::BootError;
use super::{InputId, NamedImage, Scenario, shim};
use crate::bytes::Reader;
use crate::hashing::Segment;
use crate::secure_boot::{Content, Key, SecureBootVariables, ShimVerdict, Verdict};
use crate::tcg::{EventType, PcrIndex};
use crate::uefi::guid::{GLOBAL_VARIABLE, IMAGE_SECURITY_DATABASE};
use crate::uefi::variable::{Uintn, VariableData, variable_data};

const PCR: PcrIndex = PcrIndex::new(7);

const VARIABLES: Rule = Rule {
    id: "secure-boot-policy",
    statement: "the firmware measures the variables SecureBoot, PK, KEK, db and dbx, empty where they do not exist, \
                dbt where it does, and a separator",
    source: "PFP section 3.3.4.8; EDK2 MeasureAllSecureVariables, MeasureVariable; observed with OVMF 2022.11 to 2026.08",
};
const AUTHORITY: Rule = Rule {
    id: "secure-boot-authority",
    statement: "under Secure Boot the firmware measures the entry of db that lets an image start, each entry once",
    source: "PFP section 3.3.4.8; EDK2 DxeImageVerificationHandler, SecureBootHook, MeasureVariable",
};

/// What is known of a machine's Secure Boot: its variables, and what they say about the images.
#[derive(Debug, Clone, Default)]
pub struct SecureBootPolicy {
    /// The variables.
    pub variables: SecureBootVariables,
    /// Where they were read.
    pub source: VariableSource,
    /// The verdict about each image; none when `db` or `dbx` is not known, or Secure Boot is off.
    pub verdicts: BTreeMap<InputId, Verdict>,
    /// shim's verdict, where shim is the loader.
    pub shim_verdicts: BTreeMap<InputId, ShimVerdict>,
}

/// Where variables were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VariableSource {
    /// From files of the user's.
    #[default]
    Declared,
    /// From the recorded log of a boot.
    Observed(InputId),
}

/// Whether a firmware build has Secure Boot at all: without, the variable `SecureBoot` does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum SecureBootSupport {
    /// It has, or nobody asks.
    #[default]
    Present,
    /// It has not.
    Absent,
    /// Nobody said, and this boot takes it for present.
    AssumedPresent,
    /// Nobody said, and this boot takes it for absent.
    AssumedAbsent,
}

/// Checks images while a machine boots with Secure Boot on.
#[derive(Debug, Default)]
pub(super) struct ImageVerification {
    policy: Option<Arc<SecureBootPolicy>>,
    /// It is shim that checks.
    by_shim: bool,
    /// Authorities measured so far, by variable (EDK2 `mMeasuredAuthorityList`; shim keeps a list of its own).
    measured: BTreeSet<(&'static str, Vec<u8>)>,
}

impl ImageVerification {
    /// shim checks, by its own lists beside the firmware's.
    pub(super) fn by_shim(policy: Arc<SecureBootPolicy>) -> Self {
        Self { policy: Some(policy), by_shim: true, measured: BTreeSet::new() }
    }

    /// An entry of this variable was not measured before; from now on it was.
    pub(super) fn is_new(&mut self, variable: &'static str, entry: &[u8]) -> bool {
        self.measured.insert((variable, entry.to_vec()))
    }
}

/// PCR 7 up to its separator.
pub(super) fn measure_variables(scenario: &Scenario, recorder: &mut Recorder<'_>) {
    let Some(policy) = &scenario.secure_boot_policy else {
        recorder.gap(
            PCR,
            GapCode::SecureBootVariables,
            &VARIABLES,
            "PCR 7 depends on the Secure Boot variables PK, KEK, db and dbx of the machine",
            "--variables with the machine's variables, or --baseline with its event log",
        );
        return;
    };
    assume_support(scenario.secure_boot_support, recorder);
    let supported = matches!(
        scenario.secure_boot_support,
        SecureBootSupport::Present | SecureBootSupport::AssumedPresent
    );
    let state = if supported { vec![u8::from(scenario.secure_boot)] } else { Vec::new() };
    variable(policy, recorder, (GLOBAL_VARIABLE, "SecureBoot"), &state);
    for key in Key::ALL {
        match (key, policy.variables.key(key)) {
            (Key::Dbt, Content::Unknown) => recorder.assume(
                "no-dbt",
                "the machine has no variable dbt",
                &[7],
                "--dbt, or --variables with all variables",
            ),
            (Key::Dbt, Content::Absent) => {}
            (_, content) => match content.bytes() {
                Some(bytes) => variable(policy, recorder, (key.vendor(), key.name()), bytes),
                None => unknown_variable(key, recorder),
            },
        }
    }
    recovery_keys(policy, scenario, recorder);
    super::firmware::separator(recorder, 7, &VARIABLES);
    if let Some(beside) = &policy.variables.beside {
        recorder.gap(
            PCR,
            GapCode::SecureBootVariables,
            &VARIABLES,
            format!(
                "the firmware that logged the variables measures in PCR 7 what is not modelled: {beside}"
            ),
            "--baseline with that log, where it is of the same machine type",
        );
    }
    begin(scenario, recorder);
}

/// Takes note of an authority that a recorded boot shows before its boot option, as of an option ROM: the firmware measures
/// each entry once.
pub(super) fn note_authority(data: &[u8], recorder: &mut Recorder<'_>) {
    if let Ok(variable) = VariableData::read(Reader::new(data), Uintn::Bits64)
        && variable.guid == IMAGE_SECURITY_DATABASE
        && variable.name == "db"
    {
        recorder.verification.is_new("db", variable.data);
    }
}

/// From here on images are checked.
pub(super) fn begin(scenario: &Scenario, recorder: &mut Recorder<'_>) {
    if scenario.secure_boot {
        if scenario.secure_boot_policy.is_none() {
            recorder.gap(
                PCR,
                GapCode::SecureBootVariables,
                &AUTHORITY,
                "which entries of db let the images start is not known",
                "--variables with the machine's variables",
            );
        }
        recorder.verification.policy = scenario.secure_boot_policy.clone();
    }
}

/// `dbr`: the specification has it measured where the firmware can recover an operating system; EDK2 does not.
fn recovery_keys(policy: &SecureBootPolicy, scenario: &Scenario, recorder: &mut Recorder<'_>) {
    match (&policy.variables.dbr, scenario.platform.measures_dbr) {
        (Content::Unknown | Content::Absent, _) => {}
        (Content::Is(_), Some(false)) => {
            recorder.assume(
                "dbr-not-measured",
                "the firmware does not measure the variable dbr",
                &[7],
                "--baseline",
            );
        }
        (Content::Is(bytes), Some(true)) => {
            variable(policy, recorder, (IMAGE_SECURITY_DATABASE, "dbr"), bytes);
        }
        (Content::Is(_), None) => recorder.gap(
            PCR,
            GapCode::SecureBootVariables,
            &VARIABLES,
            "whether this firmware measures the variable dbr is not known",
            "--baseline with an event log of the machine",
        ),
    }
}

fn assume_support(support: SecureBootSupport, recorder: &mut Recorder<'_>) {
    let remedy = "--firmware with the firmware's image";
    match support {
        SecureBootSupport::Present | SecureBootSupport::Absent => {}
        SecureBootSupport::AssumedPresent => recorder.assume(
            "secure-boot-supported",
            "the firmware is built with Secure Boot: the variable SecureBoot exists",
            &[7],
            remedy,
        ),
        SecureBootSupport::AssumedAbsent => recorder.assume(
            "secure-boot-not-supported",
            "the firmware is built without Secure Boot: the variable SecureBoot does not exist",
            &[7],
            remedy,
        ),
    }
}

fn unknown_variable(key: Key, recorder: &mut Recorder<'_>) {
    let option = key.name().to_lowercase();
    recorder.gap(
        PCR,
        GapCode::SecureBootVariables,
        &VARIABLES,
        format!("PCR 7 depends on the variable {} of the machine", key.name()),
        format!("--{option} with its content, or --{option} none"),
    );
}

fn variable(
    policy: &SecureBootPolicy,
    recorder: &mut Recorder<'_>,
    (vendor, name): (crate::uefi::guid::Guid, &str),
    bytes: &[u8],
) {
    let data = variable_data(vendor, name, bytes);
    let event = Event {
        pcr: PCR,
        event_type: Some(EventType::EFI_VARIABLE_DRIVER_CONFIG),
        data: Some(data.clone()),
        description: match bytes.len() {
            0 => format!("variable {name}, empty"),
            length => format!("variable {name}, {length} bytes"),
        },
        source: policy.source.into(),
        rule: &VARIABLES,
    };
    recorder.measure(event, [Segment::bytes(data)]);
}

impl From<VariableSource> for Source {
    fn from(source: VariableSource) -> Self {
        match source {
            VariableSource::Declared => Self::Option("--variables"),
            VariableSource::Observed(input) => Self::Observed(vec![input]),
        }
    }
}

/// The firmware refuses to start `image`: why.
pub(super) fn refusal(image: &NamedImage, recorder: &Recorder<'_>) -> Option<crate::secure_boot::Refusal> {
    let policy = recorder.verification.policy.as_ref()?;
    if recorder.verification.by_shim {
        return shim::refusal(image, policy);
    }
    match policy.verdicts.get(&image.input)? {
        Verdict::Refused(refusal) => Some(refusal.clone()),
        Verdict::Allowed(_) | Verdict::Undecided(_) => None,
    }
}

/// What `LoadImage` does before it measures the image: PCR 7, the authority.
///
/// # Errors
/// When the firmware would refuse the image.
pub(super) fn verify(image: &NamedImage, recorder: &mut Recorder<'_>) -> Result<(), BootError> {
    let Some(policy) = recorder.verification.policy.clone() else { return Ok(()) };
    if recorder.verification.by_shim {
        return shim::verify(image, &policy, recorder);
    }
    match policy.verdicts.get(&image.input) {
        None => recorder.gap(
            PCR,
            GapCode::SecureBootVariables,
            &AUTHORITY,
            format!("which entry of db lets {} start is not known", image.name),
            "--db and --dbx, or --variables",
        ),
        Some(Verdict::Undecided(why)) => recorder.gap(
            PCR,
            GapCode::SecureBootVariables,
            &AUTHORITY,
            format!("whether the firmware accepts {} is not known: {why}", image.name),
            "--baseline with the event log of a boot of this image",
        ),
        Some(Verdict::Refused(refusal)) => {
            return Err(BootError::Refused { name: image.name.clone(), refusal: refusal.clone() });
        }
        Some(Verdict::Allowed(entries)) => {
            for entry in entries {
                authority(image, entry, recorder);
            }
        }
    }
    Ok(())
}

fn authority(image: &NamedImage, entry: &[u8], recorder: &mut Recorder<'_>) {
    if !recorder.verification.is_new("db", entry) {
        return;
    }
    let data = variable_data(IMAGE_SECURITY_DATABASE, "db", entry);
    let who = crate::tcg::event_data::subject(entry.get(16..).unwrap_or_default());
    let event = Event {
        pcr: PCR,
        event_type: Some(EventType::EFI_VARIABLE_AUTHORITY),
        data: Some(data.clone()),
        description: match who {
            Some(who) => format!("db entry for {}: {who}", image.name),
            None => format!("db entry for {}: its image digest", image.name),
        },
        source: Source::Derived(vec![image.input]),
        rule: &AUTHORITY,
    };
    recorder.measure(event, [Segment::bytes(data)]);
}
