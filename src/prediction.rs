//! From a boot to PCR values: every way in which the image can boot, replayed, hashed in one pass, and extended.

mod registers;
mod secure_boot;
mod setting;

use std::collections::BTreeMap;

use crate::boot::{
    BootChain, BootError, CcGuest, Content, Declared, ExitBootServices, Gap, GapCode, InputId, NamedImage,
    PartitionTable, RecordedPlatform, Recording, Scenario, SecureBootPolicy, Source, Stage, choices, replay,
};
use crate::hashing::{DigestPlan, Digests, HashError, Segment, StreamId};
use crate::pe::{PeError, authenticode_segments};
use crate::tcg::{Digest, DigestSet, HashAlgorithm, PcrIndex, extend};

use setting::Setting;

pub use registers::{GuestRegisters, Registers};
pub use secure_boot::SecureBootContradiction;
pub use setting::BaselineMismatch;

/// Most ways to boot that one prediction follows.
pub const MAX_ALTERNATIVES: usize = 64;

/// What is to be predicted.
#[derive(Debug, Clone)]
pub struct Request {
    /// The files.
    pub chain: BootChain,
    /// The boot loader's entry that this is, when it is one.
    pub entry: Option<String>,
    /// What is known of machine and boot. Its `secure_boot`, `exit_boot_services`, `devicetree` and `firmware_image` are
    /// taken from below.
    pub scenario: Scenario,
    /// State of Secure Boot; `None` computes both.
    pub secure_boot: Option<bool>,
    /// The machine's Secure Boot variables; `None` when nothing is known of them. Verdicts are made here.
    pub variables: Option<SecureBootPolicy>,
    /// The platform as recorded boots show it: several where these differ.
    pub baselines: Vec<RecordedPlatform>,
    /// Which registers are asked for.
    pub registers: Registers,
    /// The confidential guest, where its registers are asked for.
    pub guest: CcGuest,
    /// The same as `baselines`, of the registers of a confidential guest.
    pub guest_baselines: Vec<RecordedPlatform>,
    /// How the calls of `ExitBootServices` turn out; `None` computes each outcome where it matters: where PCR 5 is known.
    pub exit_boot_services: Option<ExitBootServices>,
    /// Which `.dtbauto` the stub takes; unknown computes each, and none.
    pub devicetree: Declared<usize>,
    /// Which `.efifw` the stub takes; unknown computes each, and none.
    pub firmware_image: Declared<usize>,
    /// Banks to compute.
    pub banks: Vec<HashAlgorithm>,
    /// Compute the digests of the input files too, which documents carry. It costs another pass of SHA-256.
    pub file_digests: bool,
}

/// The result: one variant for each way to boot that differs.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// Banks that were computed.
    pub banks: Vec<HashAlgorithm>,
    /// The files.
    pub chain: BootChain,
    /// The boot loader's entry that this is, when it is one.
    pub entry: Option<String>,
    /// SHA-256 of each input, in the order of the chain's inputs; empty unless asked for.
    pub file_digests: Vec<DigestSet>,
    /// Image digests (Authenticode) of the inputs that are images.
    pub image_digests: BTreeMap<InputId, DigestSet>,
    /// The variants.
    pub variants: Vec<Variant>,
}

/// One way to boot.
#[derive(Debug, Clone)]
pub struct Variant {
    /// How the machine boots.
    pub scenario: Scenario,
    /// State of Secure Boot; `None` when both give the same.
    pub secure_boot: Option<bool>,
    /// What is measured into PCRs; nothing where they are not asked for.
    pub recording: Recording,
    /// The digests of the recording's measurements, in its order; `None` where they are not known.
    pub digests: Vec<Option<DigestSet>>,
    /// What each PCR holds; empty where PCRs are not asked for.
    pub pcrs: BTreeMap<PcrIndex, PcrPrediction>,
    /// The registers of a confidential guest, where they are asked for.
    pub guest: Option<GuestRegisters>,
}

impl Variant {
    /// What is measured, into PCRs and into the registers of a confidential guest.
    pub fn recordings(&self) -> impl Iterator<Item = &Recording> {
        [&self.recording].into_iter().chain(self.guest.as_ref().map(|guest| &guest.recording))
    }
}

/// What one PCR holds, stage by stage.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PcrPrediction {
    /// Values by stage; a stage without one is not known.
    pub values: BTreeMap<Stage, StageValue>,
    /// Indices of the gaps that concern it, in order.
    pub gaps: Vec<usize>,
}

/// A PCR's value at one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageValue {
    /// In each bank.
    pub digests: DigestSet,
    /// How it came about.
    pub status: Status,
}

/// What is known of a PCR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Derived from the inputs.
    Computed,
    /// Taken from a recorded boot of the same platform.
    Observed,
    /// Declared, or continued from a declared value.
    Declared,
    /// Nothing is known to extend it: it keeps its start value, by the assumptions named.
    AssumedUnused,
    /// Known at some stages, not at others.
    Partial,
    /// Known at no stage.
    Unknown,
}

impl Status {
    /// The word in documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Computed => "computed",
            Self::Observed => "observed",
            Self::Declared => "declared",
            Self::AssumedUnused => "assumed-unused",
            Self::Partial => "partial",
            Self::Unknown => "unknown",
        }
    }
}

impl PcrPrediction {
    /// The status over all stages.
    #[must_use]
    pub fn status(&self) -> Status {
        if self.values.is_empty() {
            return Status::Unknown;
        }
        if self.values.len() < Stage::ALL.len() {
            return Status::Partial;
        }
        let has = |wanted: Status| self.values.values().any(|value| value.status == wanted);
        let by_weight = [Status::Observed, Status::Declared, Status::Computed];
        by_weight.into_iter().find(|status| has(*status)).unwrap_or(Status::AssumedUnused)
    }
}

/// A prediction that can't be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PredictError {
    /// The boot would fail.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// A file could not be read or hashed.
    #[error("{name}: {error}")]
    Hash {
        /// The file's name.
        name: String,
        /// What went wrong.
        #[source]
        error: HashError,
    },
    /// What is said about Secure Boot does not fit together.
    #[error(transparent)]
    SecureBoot(#[from] SecureBootContradiction),
    /// A baseline is of another machine, or another state of it.
    #[error(transparent)]
    Baseline(#[from] BaselineMismatch),
    /// An image could not be read.
    #[error(transparent)]
    Pe(#[from] PeError),
    /// Too many ways to boot.
    #[error("the image can boot in {0} ways, the limit is {MAX_ALTERNATIVES}")]
    TooManyAlternatives(usize),
    /// A choice among sections that are not there.
    #[error(
        "there is no {section} number {wanted}: this stub chooses among {count} of them, numbered from 0"
    )]
    NoSuchSection {
        /// `.dtbauto` or `.efifw`.
        section: &'static str,
        /// The number asked for.
        wanted: usize,
        /// Sections that there are to choose from.
        count: usize,
    },
}

/// Predicts every way in which the image can boot. `progress` is told how many bytes were read since the last call, and
/// `total` beforehand how many there will be.
///
/// # Errors
/// [`PredictError`].
pub fn predict(
    request: Request,
    total: &dyn Fn(u64),
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Prediction, PredictError> {
    let request = registers::settled(request)?;
    let mut plan = DigestPlan::new();
    let boots = record_boots(&request, &mut plan)?;
    let image_streams = plan_images(&request.chain, &mut plan);
    let file_streams: Vec<StreamId> = if request.file_digests {
        let inputs = request.chain.inputs.iter();
        inputs
            .map(|input| plan.add_single(HashAlgorithm::Sha256, [Segment::Range(input.file.clone())]))
            .collect()
    } else {
        Vec::new()
    };
    total(plan.bytes_to_read());
    let banks = request.registers.banks(&request.banks);
    let digests = plan.compute(&banks, progress).map_err(|error| name_file(&request.chain, error))?;
    let set = |stream| digests.get(stream).cloned().unwrap_or_default();
    let image =
        |stream| set(stream).iter().filter(|digest| request.banks.contains(&digest.algorithm())).collect();
    let variants = boots.into_iter().map(|boot| evaluate(boot, &request, &digests)).collect();
    Ok(Prediction {
        file_digests: file_streams.into_iter().map(set).collect(),
        image_digests: image_streams.into_iter().map(|(input, stream)| (input, image(stream))).collect(),
        banks: request.banks,
        chain: request.chain,
        entry: request.entry,
        variants,
    })
}

/// A way to boot that is not hashed yet: what it measures, how it boots, and for which state of Secure Boot.
pub(crate) type Recorded = (Recording, Scenario, Option<bool>);

/// Records every way in which the image can boot; what is to be hashed goes into `plan`.
///
/// # Errors
/// As [`predict`], but for reading.
pub(crate) fn record(request: &Request, plan: &mut DigestPlan) -> Result<Vec<Recorded>, PredictError> {
    let request = registers::settled(request.clone())?;
    let boots = record_boots(&request, plan)?.into_iter();
    Ok(boots.map(|boot| (boot.recording.unwrap_or_default(), boot.scenario, boot.secure_boot)).collect())
}

/// A way to boot that is not hashed yet.
struct Boot {
    /// What it measures into PCRs, where they are asked for.
    recording: Option<Recording>,
    /// What it measures into the registers of a confidential guest, where they are asked for.
    guest: Option<Recording>,
    scenario: Scenario,
    /// State of Secure Boot; `None` when both give the same.
    secure_boot: Option<bool>,
}

fn record_boots(request: &Request, plan: &mut DigestPlan) -> Result<Vec<Boot>, PredictError> {
    let mut boots = Vec::new();
    for scenario in alternatives(request)? {
        let recording = match request.registers {
            Registers::Rtmr => None,
            Registers::Pcr | Registers::Both => Some(replayed(request, &scenario, &request.banks, plan)?),
        };
        for scenario in registers::scenarios(request, scenario) {
            let guest = registers::record(request, &scenario, plan)?;
            let secure_boot = Some(scenario.secure_boot);
            boots.push(Boot { recording: recording.clone(), guest, scenario, secure_boot });
        }
    }
    if boots.len() > MAX_ALTERNATIVES {
        return Err(PredictError::TooManyAlternatives(boots.len()));
    }
    Ok(merge_secure_boot(boots))
}

fn replayed(
    request: &Request,
    scenario: &Scenario,
    banks: &[HashAlgorithm],
    plan: &mut DigestPlan,
) -> Result<Recording, PredictError> {
    let mut recording = replay(&request.chain, scenario, plan)?;
    leave_out_incomplete(&mut recording, banks);
    Ok(recording)
}

/// Says which file it was.
fn name_file(chain: &BootChain, error: HashError) -> PredictError {
    let input = match &error {
        HashError::Read { source_id, .. } => {
            chain.inputs.iter().find(|input| input.file.source_id() == *source_id)
        }
        HashError::TooManyZeros { .. } => None,
    };
    let name = input.map_or(&chain.uki.name, |input| &input.name).clone();
    PredictError::Hash { name, error }
}

/// What was observed without one of the banks is not known: a PCR has a value in all banks or in none.
fn leave_out_incomplete(recording: &mut Recording, banks: &[HashAlgorithm]) {
    let missing = |index: usize| {
        let known = recording.observed.get(index);
        banks.iter().find(|bank| known.is_none_or(|known| known.get(**bank).is_none()))
    };
    for measurement in &mut recording.measurements {
        let Content::Observed(index) = measurement.content else { continue };
        let Some(bank) = missing(index) else { continue };
        measurement.content = Content::Unknown(recording.gaps.len());
        recording.gaps.push(Gap {
            pcr: measurement.pcr,
            stage: measurement.stage,
            code: GapCode::Firmware,
            reason: format!("{} was not observed in bank {bank}", measurement.description),
            remedy: "other banks".to_owned(),
        });
    }
}

/// The scenarios: every combination of what nobody decided.
fn alternatives(request: &Request) -> Result<Vec<Scenario>, PredictError> {
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
        (None, Some(PartitionTable::Measured { .. })) => {
            vec![ExitBootServices::Success, ExitBootServices::FailureThenSuccess]
        }
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
fn merge_secure_boot(boots: Vec<Boot>) -> Vec<Boot> {
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

/// Streams of the inputs that are images, where the firmware would hash them.
fn plan_images(chain: &BootChain, plan: &mut DigestPlan) -> Vec<(InputId, StreamId)> {
    images(chain)
        .filter_map(|named| Some((named.input, authenticode_segments(&named.image).ok()?)))
        .map(|(input, segments)| (input, plan.add(segments)))
        .collect()
}

/// The images that the firmware loads.
fn images(chain: &BootChain) -> impl Iterator<Item = &NamedImage> {
    let addons = chain.addons.iter().map(|(_, addon)| addon);
    let by_grub = chain.grub.iter().flat_map(|grub| &grub.kernel);
    let loaders = chain.shim.iter().chain(&chain.loader).chain(&chain.drivers);
    loaders.chain([&chain.uki]).chain(addons).chain(by_grub)
}

fn evaluate(boot: Boot, request: &Request, computed: &Digests) -> Variant {
    let banks = &request.banks;
    let guest = boot.guest.map(|recording| registers::evaluate(recording, &request.guest, computed));
    let pcrs_asked_for = boot.recording.is_some();
    let recording = boot.recording.unwrap_or_default();
    let digests = digests_of(&recording, computed, banks);
    let pcrs = PcrIndex::all()
        .filter(|_| pcrs_asked_for)
        .map(|pcr| (pcr, evaluate_pcr(pcr, &recording, &digests, banks)))
        .collect();
    Variant { scenario: boot.scenario, secure_boot: boot.secure_boot, recording, digests, pcrs, guest }
}

/// The digests of a recording's measurements, in these banks.
fn digests_of(recording: &Recording, computed: &Digests, banks: &[HashAlgorithm]) -> Vec<Option<DigestSet>> {
    let digest = |content: Content| {
        let all = match content {
            Content::Stream(stream) => computed.get(stream),
            Content::Observed(index) => recording.observed.get(index),
            Content::Unknown(_) => None,
        };
        all.map(|all| banks.iter().filter_map(|bank| all.get(*bank)).collect())
    };
    recording.measurements.iter().map(|measurement| digest(measurement.content)).collect()
}

/// Extends one PCR with everything that is known, until something is not.
fn evaluate_pcr(
    pcr: PcrIndex,
    recording: &Recording,
    digests: &[Option<DigestSet>],
    banks: &[HashAlgorithm],
) -> PcrPrediction {
    let start = banks.iter().map(|bank| recording.start_value(pcr, *bank)).collect();
    evaluate_register(start, Status::AssumedUnused, recording, digests, |of| of == pcr)
}

/// Extends one register with what is measured into its PCRs.
fn evaluate_register(
    start: Vec<Digest>,
    untouched: Status,
    recording: &Recording,
    digests: &[Option<DigestSet>],
    shares: impl Fn(PcrIndex) -> bool,
) -> PcrPrediction {
    let events =
        || recording.measurements.iter().zip(digests).filter(|(measurement, _)| shares(measurement.pcr));
    let concerns = |index: &usize| recording.gaps.get(*index).is_some_and(|gap| shares(gap.pcr));
    let mut prediction = PcrPrediction {
        gaps: (0..recording.gaps.len()).filter(concerns).collect(),
        ..PcrPrediction::default()
    };
    for stage in Stage::ALL {
        let counted = || events().filter(|(measurement, _)| measurement.stage <= stage);
        let until: Vec<Option<&DigestSet>> = counted().map(|(_, digests)| digests.as_ref()).collect();
        let value = |start: &Digest| {
            until
                .iter()
                .try_fold(*start, |value, digests| Some(extend(value, (*digests)?.get(start.algorithm())?)))
        };
        let Some(values) = start.iter().map(value).collect::<Option<Vec<_>>>() else { break };
        let observed = counted().any(|(measurement, _)| matches!(measurement.source, Source::Observed(_)));
        let status = match (until.is_empty(), observed) {
            (true, _) => untouched,
            (false, true) => Status::Observed,
            (false, false) if untouched == Status::Declared => Status::Declared,
            (false, false) => Status::Computed,
        };
        prediction.values.insert(stage, StageValue { digests: values.into_iter().collect(), status });
    }
    prediction
}
