//! The ways in which an image can boot where nobody decided, and which of them are the same.

use super::setting::Setting;
use super::{Boot, MAX_ALTERNATIVES, PredictError, Request};
use crate::boot::{Declared, ExitBootServices, PartitionTable, Recording, Scenario, choices};

/// The scenarios: every combination of what nobody decided.
pub(super) fn alternatives(request: &Request) -> Result<Vec<Scenario>, PredictError> {
    let mut scenarios = Vec::new();
    for setting in Setting::all(request)? {
        for scenario in alternatives_of(request, &setting)? {
            scenarios.extend(setting.apply(request, scenario));
        }
    }
    if scenarios.len() > MAX_ALTERNATIVES {
        return Err(PredictError::TooManyAlternatives(scenarios.len()));
    }
    Ok(scenarios)
}

/// The boots on one machine.
fn alternatives_of(request: &Request, setting: &Setting) -> Result<Vec<Scenario>, PredictError> {
    let secure_boot = setting.state.map_or(vec![false, true], |state| vec![state]);
    let outcomes = exit_outcomes(request, setting);
    let devicetrees = choose(request, ".dtbauto", &request.devicetree)?;
    let firmware = choose(request, ".efifw", &request.firmware_image)?;
    let count = secure_boot.len().saturating_mul(devicetrees.len()).saturating_mul(firmware.len());
    let count = count.saturating_mul(outcomes.len());
    if count > MAX_ALTERNATIVES {
        return Err(PredictError::TooManyAlternatives(count));
    }
    let mut scenarios = Vec::with_capacity(count);
    for devicetree in &devicetrees {
        for firmware_image in &firmware {
            for outcome in &outcomes {
                for state in &secure_boot {
                    scenarios.push(Scenario {
                        secure_boot: *state,
                        exit_boot_services: *outcome,
                        devicetree: devicetree.clone(),
                        firmware_image: firmware_image.clone(),
                        ..request.scenario.clone()
                    });
                }
            }
        }
    }
    Ok(scenarios)
}

/// How the calls of `ExitBootServices` may turn out. It only shows in PCR 5, which is known with the disk alone.
fn exit_outcomes(request: &Request, setting: &Setting) -> Vec<ExitBootServices> {
    if setting.recorded.as_ref().is_some_and(|recorded| recorded.shows_exit()) {
        // The recorded outcome is measured, whichever it was.
        return vec![ExitBootServices::Success];
    }
    let table = request.chain.medium.as_ref().map(|medium| &medium.partition_table);
    match (request.exit_boot_services, table) {
        (Some(outcome), _) => vec![outcome],
        (None, Some(PartitionTable::Measured { .. })) => request.scenario.platform.exit_boot_services.clone(),
        (None, _) => vec![ExitBootServices::Success],
    }
}

/// Most sections of one name that alternatives are made of; with more, what the stub takes is simply not known.
const MAX_CHOICES: usize = 15;

/// What the stub may choose among sections of one name: none, or one of them.
fn choose(
    request: &Request,
    section: &'static str,
    declared: &Declared<usize>,
) -> Result<Vec<Declared<usize>>, PredictError> {
    let count = choices(&request.chain, &request.scenario, section)?;
    match declared {
        Declared::Unknown if count > MAX_CHOICES => Ok(vec![Declared::Unknown]),
        Declared::Unknown => Ok([Declared::Absent].into_iter().chain((0..count).map(Declared::Is)).collect()),
        Declared::Absent => Ok(vec![Declared::Absent]),
        Declared::Is(wanted) if *wanted < count => Ok(vec![Declared::Is(*wanted)]),
        Declared::Is(wanted) => Err(PredictError::NoSuchSection { section, wanted: *wanted, count }),
    }
}

/// Boots that differ in nothing but the state of Secure Boot become one.
pub(super) fn merge_secure_boot(boots: Vec<Boot>) -> Vec<Boot> {
    let mut merged: Vec<Boot> = Vec::new();
    for boot in boots {
        let twin = merged.iter_mut().find(|other| {
            let (of, scenario) = (&other.scenario, &boot.scenario);
            of.baseline == scenario.baseline
                && of.guest_baseline == scenario.guest_baseline
                && of.secure_boot_support == scenario.secure_boot_support
                && of.cloud == scenario.cloud
                && (&of.devicetree, &of.firmware_image, of.exit_boot_services)
                    == (&scenario.devicetree, &scenario.firmware_image, scenario.exit_boot_services)
                && both_measure_the_same(&other.recording, &boot.recording)
                && both_measure_the_same(&other.guest, &boot.guest)
        });
        match twin {
            Some(kept) => {
                kept.secure_boot = None;
                merge_assumptions(&mut kept.recording, boot.recording);
                merge_assumptions(&mut kept.guest, boot.guest);
            }
            None => merged.push(boot),
        }
    }
    merged
}

fn both_measure_the_same(one: &Option<Recording>, other: &Option<Recording>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => measures_the_same(one, other),
        _ => one.is_none() == other.is_none(),
    }
}

fn merge_assumptions(kept: &mut Option<Recording>, other: Option<Recording>) {
    let (Some(kept), Some(other)) = (kept, other) else { return };
    for assumption in other.assumptions {
        if !kept.assumptions.iter().any(|known| known.id == assumption.id) {
            kept.assumptions.push(assumption);
        }
    }
}

fn measures_the_same(one: &Recording, other: &Recording) -> bool {
    let key = |recording: &Recording| -> Vec<_> {
        let measurements = recording.measurements.iter();
        measurements.map(|m| (m.pcr, m.stage, m.event_type, m.content, m.data.clone())).collect()
    };
    one.gaps == other.gaps && one.observed == other.observed && key(one) == key(other)
}
