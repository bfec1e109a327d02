//! From a boot to PCR values: every way in which the image can boot, replayed, hashed in one pass, and extended.

mod alternatives;
mod evaluate;
mod registers;
mod secure_boot;
mod setting;

use std::collections::BTreeMap;

use crate::boot::{
    BootChain, BootError, CcGuest, Content, Declared, ExitBootServices, Gap, GapCode, InputId, NamedImage,
    RecordedPlatform, Recording, Scenario, SecureBootPolicy, Stage, replay,
};
use crate::hashing::{DigestPlan, HashError, Segment, StreamId};
use crate::pe::{PeError, authenticode_segments};
use crate::tcg::{DigestSet, HashAlgorithm, PcrIndex};

use alternatives::{alternatives, merge_secure_boot};
use evaluate::evaluate;

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
    let recorded = chain.grub.iter().filter_map(|grub| grub.recorded.as_ref()?.as_ref().ok());
    let by_grub = chain.grub.iter().flat_map(|grub| &grub.kernel);
    let by_grub = by_grub.chain(recorded.map(|replay| &replay.kernel));
    let loaders = chain.shim.iter().chain(&chain.loader).chain(&chain.drivers);
    loaders.chain([&chain.uki]).chain(addons).chain(by_grub)
}
