//! The registers of a confidential guest, beside or instead of PCRs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::setting::BaselineMismatch;
use super::{PcrPrediction, PredictError, Request, Status, digests_of, evaluate_register, replayed};
use crate::boot::{
    Assumption, CcGuest, GuestSupport, RTMR3_UNUSED, RecordedPlatform, Recording, Scenario, SecureBootPolicy,
    Technology, VariableSource,
};
use crate::hashing::{DigestPlan, Digests};
use crate::secure_boot::{Content, Key, LogVariableError, SecureBootVariables};
use crate::tcg::eventlog::MeasurementRegister;
use crate::tcg::{Digest, DigestSet, HashAlgorithm};

/// Which registers are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Registers {
    /// PCRs of a TPM.
    #[default]
    Pcr,
    /// The registers of a confidential guest: MRTD and RTMR0 to RTMR3.
    Rtmr,
    /// Both, of a machine that has both.
    Both,
}

impl Registers {
    /// The registers of a confidential guest are asked for.
    #[must_use]
    pub fn of_guest(self) -> bool {
        self != Self::Pcr
    }

    /// The banks to hash in.
    pub(super) fn banks(self, asked: &[HashAlgorithm]) -> Vec<HashAlgorithm> {
        let mut banks = asked.to_vec();
        if self.of_guest() && !banks.contains(&MeasurementRegister::BANK) {
            banks.push(MeasurementRegister::BANK);
        }
        banks
    }
}

/// The registers of a confidential guest in one way to boot. Everything is in SHA-384.
#[derive(Debug, Clone)]
pub struct GuestRegisters {
    /// There is a TPM beside them.
    pub tpm: bool,
    /// What is measured into them. A measurement names the PCR of the specifications.
    pub recording: Recording,
    /// The digests of the recording's measurements, in its order; `None` where they are not known.
    pub digests: Vec<Option<DigestSet>>,
    /// What each register holds.
    pub registers: BTreeMap<MeasurementRegister, PcrPrediction>,
    /// The value that a register starts from where it is not zeros: declared ones.
    pub starts: BTreeMap<MeasurementRegister, Digest>,
}

impl GuestRegisters {
    /// The registers that depend on an assumption of the recording.
    #[must_use]
    pub fn affected(&self, assumption: &Assumption) -> BTreeSet<MeasurementRegister> {
        let rtmr3 = (assumption.id == RTMR3_UNUSED).then_some(MeasurementRegister::RTMR3);
        assumption.affects.iter().filter_map(|pcr| MeasurementRegister::of_pcr(*pcr)).chain(rtmr3).collect()
    }
}

/// The request with everything in its place that the registers asked for decide.
pub(super) fn settled(mut request: Request) -> Result<Request, PredictError> {
    request.guest.tpm |= request.registers == Registers::Both
        || request.scenario.platform.guest_registers == GuestSupport::BesideTpm;
    match request.registers {
        Registers::Pcr => {}
        Registers::Rtmr => {
            request.banks = vec![MeasurementRegister::BANK];
            request.baselines = std::mem::take(&mut request.guest_baselines);
            request.scenario.cc = Some(request.guest.clone());
            request.scenario.confidential_vm = true;
        }
        Registers::Both => {
            request.scenario.confidential_vm = true;
            if request.scenario.platform.images_may_move {
                request.scenario.cloud.technology = Some(Technology::Tdx);
            }
            for recorded in &request.guest_baselines {
                check_one_machine(&request, recorded)?;
            }
            if request.baselines.is_empty() && request.variables.is_none() {
                request.variables = recorded_variables(&request)?;
            }
        }
    }
    Ok(request)
}

/// What the guest's log says about Secure Boot has to fit what is known otherwise: the same variables decide PCRs and
/// registers.
fn check_one_machine(request: &Request, recorded: &RecordedPlatform) -> Result<(), BaselineMismatch> {
    let Some(logged) = variables(recorded)? else { return Ok(()) };
    if let (Some(asked), Some(found)) = (request.secure_boot, logged.state())
        && asked != found
    {
        return Err(BaselineMismatch::SecureBoot { logs: recorded.names(), recorded: found });
    }
    let given = request.variables.iter().map(|known| ("--variables".to_owned(), known.variables.clone()));
    let mut others: Vec<(String, SecureBootVariables)> = given.collect();
    for other in &request.baselines {
        others.extend(variables(other)?.map(|variables| (other.names(), variables)));
    }
    for (other, known) in others {
        let differs = |key: &Key| {
            let (one, other) = (logged.key(*key), known.key(*key));
            *one != Content::Unknown && *other != Content::Unknown && one != other
        };
        let state = matches!((logged.state(), known.state()), (Some(one), Some(other)) if one != other);
        let name = Key::ALL.iter().find(|key| differs(key)).map(|key| key.name());
        if let Some(variable) = name.or(state.then_some("SecureBoot")) {
            return Err(BaselineMismatch::OtherMachine { logs: recorded.names(), other, variable });
        }
    }
    Ok(())
}

/// The Secure Boot variables that a recorded boot shows.
fn variables(recorded: &RecordedPlatform) -> Result<Option<SecureBootVariables>, BaselineMismatch> {
    match recorded.part.variables() {
        Ok(variables) => Ok(Some(variables)),
        Err(LogVariableError::None) => Ok(None),
        Err(error) => Err(BaselineMismatch::Log { logs: recorded.names(), error }),
    }
}

/// The Secure Boot variables that the guest's logs show, where they agree.
fn recorded_variables(request: &Request) -> Result<Option<SecureBootPolicy>, BaselineMismatch> {
    let [recorded] = request.guest_baselines.as_slice() else { return Ok(None) };
    let source =
        recorded.inputs.first().map_or(VariableSource::Declared, |input| VariableSource::Observed(*input));
    let variables = variables(recorded)?;
    Ok(variables.map(|variables| SecureBootPolicy { variables, source, ..SecureBootPolicy::default() }))
}

/// One scenario for each way in which the guest was recorded, where PCRs are asked for beside its registers.
pub(super) fn scenarios(request: &Request, scenario: Scenario) -> Vec<Scenario> {
    if request.registers != Registers::Both || request.guest_baselines.is_empty() {
        return vec![scenario];
    }
    let with = |recorded| Scenario { guest_baseline: Some(Arc::new(recorded)), ..scenario.clone() };
    request.guest_baselines.iter().cloned().map(with).collect()
}

/// Records what reaches the guest's registers, where they are asked for.
pub(super) fn record(
    request: &Request,
    scenario: &Scenario,
    plan: &mut DigestPlan,
) -> Result<Option<Recording>, PredictError> {
    let scenario = match request.registers {
        Registers::Pcr => return Ok(None),
        Registers::Rtmr => scenario.clone(),
        Registers::Both => Scenario {
            cc: Some(request.guest.clone()),
            baseline: scenario.guest_baseline.clone(),
            ..scenario.clone()
        },
    };
    replayed(request, &scenario, &[MeasurementRegister::BANK], plan).map(Some)
}

/// Extends the registers.
pub(super) fn evaluate(recording: Recording, guest: &CcGuest, computed: &Digests) -> GuestRegisters {
    let digests = digests_of(&recording, computed, &[MeasurementRegister::BANK]);
    let declared = [(MeasurementRegister::MRTD, guest.mrtd), (MeasurementRegister::RTMR0, guest.rtmr0)];
    let starts: BTreeMap<MeasurementRegister, Digest> =
        declared.into_iter().filter_map(|(register, value)| Some((register, value?))).collect();
    let registers = MeasurementRegister::ALL.into_iter().map(|register| {
        let (start, untouched) = match starts.get(&register) {
            Some(value) => (*value, Status::Declared),
            None => (Digest::zero(MeasurementRegister::BANK), Status::AssumedUnused),
        };
        let shares = |pcr| MeasurementRegister::of_pcr(pcr) == Some(register);
        (register, evaluate_register(vec![start], untouched, &recording, &digests, shares))
    });
    GuestRegisters { tpm: guest.tpm, registers: registers.collect(), recording, digests, starts }
}
