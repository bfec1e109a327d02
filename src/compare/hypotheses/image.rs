//! What an image says about other boots of it: other profile, other entry, without addons, with Secure Boot.
//!
//! Every such boot is replayed as a prediction is. What it has in common with the expected one keeps its digests; what is
//! small and new is hashed at once for all of them; what is large (an initrd with other credentials) only for the few
//! boots whose small measurements already fit.

use std::collections::{BTreeMap, BTreeSet};

use super::deviation::{Deviation, Edit};
use super::whole::Alternative;
use super::{Evidence, known_value};
use crate::boot::{
    BootChain, Content, KernelRules, Measurement, NamedImage, Recording, Smbios, Source, Stage, StubRules,
};
use crate::compare::causes::Code;
use crate::compare::document::topic;
use crate::compare::model::{Candidate, Event, ExpectedPcr, ExpectedValue, Observation, Options, Origin};
use crate::compare::topic::Topic;
use crate::hashing::{DigestPlan, Segment, StreamId};
use crate::pe::authenticode_segments_padded;
use crate::prediction::{Recorded, Request, record};
use crate::tcg::{Digest, HashAlgorithm, PcrIndex, extend};
use crate::uki::{MAX_TEXT, SectionLookup, SectionSet, profile_count};

/// Streams up to this many bytes are hashed for every boot.
const SMALL: u64 = 1 << 20;
/// Bytes that are hashed for the boots that fit best.
const LARGE: u64 = 1 << 30;
/// Most boots that are replayed.
const MAX_BOOTS: usize = 400;
/// Most boots for which large streams are hashed.
const MAX_FINALISTS: usize = 4;

/// One thing that may be otherwise.
#[derive(Clone)]
struct Toggle {
    code: Code,
    detail: String,
    /// Toggles of one group exclude each other.
    group: usize,
    change: Change,
}

#[derive(Clone)]
enum Change {
    SecureBoot(bool),
    Profile(u32),
    ConfidentialVm(bool),
    StubVersion(String),
    KernelVersion(crate::uki::KernelVersion),
    NoLoader,
    NoOptions,
    NoSmbios,
    NoAddons,
    NoCredentials,
    NoExtensions,
    WithoutAddon(usize),
    WithoutCredential(usize),
    WithoutExtension(usize),
}

/// What the image of `request` says about a boot that does not have the values of `base`. `others` are the other entries of
/// its boot menu.
#[must_use]
pub fn evidence(
    request: &Request,
    others: &[Request],
    base: &Candidate,
    observation: &Observation,
    options: &Options,
) -> Evidence {
    let Some(bank) = bank(base, observation, options) else { return Evidence::default() };
    let request = &Request { banks: vec![bank], ..request.clone() };
    let mut work = Work { plan: DigestPlan::new(), digests: BTreeMap::new(), bank };
    let Ok(recorded) = record(request, &mut work.plan) else { return Evidence::default() };
    work.adopt(&recorded, base);
    let mut boots = alternatives(request, &mut work.plan);
    for other in others {
        let Ok(recorded) = record(other, &mut work.plan) else { continue };
        let entry = other.entry.clone().unwrap_or_default();
        let detail = format!("the boot entry {entry} was started");
        boots.extend(recorded.into_iter().map(|boot| Boot {
            codes: vec![(Code::Entry, detail.clone())],
            chain: other.chain.clone(),
            boot,
        }));
    }
    // The recorded boots of the request itself that are not the base are variants of the document: known already.
    let mut deviations = padded(&request.chain, base, &mut work.plan);
    deviations.extend(sbat(&request.chain, base, &mut work.plan));
    let small: Vec<StreamId> = boots
        .iter()
        .flat_map(|boot| streams(&boot.boot.0))
        .filter(|stream| work.plan.length(*stream) <= SMALL)
        .collect();
    work.compute(small);
    work.compute(deviations.iter().map(|(_, stream)| *stream).collect());
    let mut alternatives: Vec<(usize, Alternative)> =
        boots.iter().enumerate().map(|(index, boot)| (index, boot.alternative(&work))).collect();
    alternatives.sort_by_key(|(_, alternative)| misfit(alternative, observation, bank, options));
    let finalists: Vec<usize> = alternatives.iter().take(MAX_FINALISTS).map(|(index, _)| *index).collect();
    let mut left = LARGE;
    for index in &finalists {
        let Some(boot) = boots.get(*index) else { continue };
        let large: Vec<StreamId> =
            streams(&boot.boot.0).filter(|stream| !work.digests.contains_key(stream)).collect();
        let bytes = large.iter().map(|stream| work.plan.length(*stream)).fold(0, u64::saturating_add);
        if bytes <= left {
            left = left.saturating_sub(bytes);
            work.compute(large);
        }
    }
    for (index, alternative) in &mut alternatives {
        if let Some(boot) = boots.get(*index).filter(|_| finalists.contains(index)) {
            *alternative = boot.alternative(&work);
        }
    }
    let deviations = deviations.into_iter().filter_map(|((deviation, pcr, event), stream)| {
        Some(deviation.with(pcr, Edit::Replace(event, *work.digests.get(&stream)?)))
    });
    Evidence {
        alternatives: alternatives.into_iter().map(|(_, alternative)| alternative).collect(),
        deviations: deviations.collect(),
    }
}

/// The strongest bank of both sides.
fn bank(base: &Candidate, observation: &Observation, options: &Options) -> Option<HashAlgorithm> {
    let ours = base.banks();
    crate::compare::model::BY_STRENGTH.into_iter().find(|bank| {
        let wanted = options.banks.is_empty() || options.banks.contains(bank);
        wanted && ours.contains(bank) && observation.values.banks().any(|(other, _)| other == *bank)
    })
}

/// Registers whose value is known and another one, less those that agree: the smaller, the better.
fn misfit(
    alternative: &Alternative,
    observation: &Observation,
    bank: HashAlgorithm,
    options: &Options,
) -> (usize, usize) {
    let stage = options.stage.unwrap_or_default();
    let (mut differ, mut agree) = (0_usize, 0_usize);
    for (pcr, expected) in &alternative.candidate.pcrs {
        let Some(observed) = observation.values.get(bank, *pcr) else { continue };
        match known_value(expected, bank, stage) {
            Some(value) if value == observed => agree = agree.saturating_add(1),
            Some(_) => differ = differ.saturating_add(1),
            None => {}
        }
    }
    (differ.saturating_add(usize::MAX / 2).saturating_sub(agree), alternative.codes.len())
}

/// The streams and their digests, as far as they are known.
struct Work {
    plan: DigestPlan,
    digests: BTreeMap<StreamId, Digest>,
    bank: HashAlgorithm,
}

impl Work {
    /// Takes over the digests of the expected boot: its events are the measurements of one of the recorded boots.
    fn adopt(&mut self, recorded: &[Recorded], base: &Candidate) {
        let Some(events) = &base.events else { return };
        let is_base = |recording: &Recording| {
            let pairs = recording.measurements.iter().zip(events);
            let same =
                pairs.filter(|(ours, theirs)| ours.pcr == theirs.pcr && ours.description == theirs.what);
            recording.measurements.len() == events.len() && same.count() == events.len()
        };
        let Some((recording, ..)) = recorded.iter().find(|(recording, ..)| is_base(recording)) else {
            return;
        };
        for (measurement, event) in recording.measurements.iter().zip(events) {
            if let (Content::Stream(stream), Some(digest)) =
                (measurement.content, event.digests.get(self.bank))
            {
                self.digests.insert(stream, digest);
            }
        }
    }

    /// Hashes streams that are not known. A file that can't be read leaves them unknown.
    fn compute(&mut self, streams: Vec<StreamId>) {
        let new: BTreeSet<StreamId> =
            streams.into_iter().filter(|stream| !self.digests.contains_key(stream)).collect();
        let (plan, names) = self.plan.subset(new);
        let Ok(digests) = plan.compute(&[self.bank], &|_| ()) else { return };
        for (stream, name) in names {
            if let Some(digest) = digests.get(name).and_then(|digests| digests.get(self.bank)) {
                self.digests.insert(stream, digest);
            }
        }
    }
}

/// A boot that may have happened instead.
struct Boot {
    codes: Vec<(Code, String)>,
    chain: BootChain,
    boot: Recorded,
}

fn streams(recording: &Recording) -> impl Iterator<Item = StreamId> {
    recording.measurements.iter().filter_map(|measurement| match measurement.content {
        Content::Stream(stream) => Some(stream),
        Content::Observed(_) | Content::Unknown(_) => None,
    })
}

/// Every change alone, and those of different groups by twos and threes.
fn alternatives(request: &Request, plan: &mut DigestPlan) -> Vec<Boot> {
    let toggles = toggles(request);
    let mut sets: Vec<Vec<&Toggle>> = toggles.iter().map(|toggle| vec![toggle]).collect();
    let (mut start, mut end) = (0, sets.len());
    let together: Vec<&Toggle> =
        toggles.iter().filter(|toggle| !matches!(toggle.code, Code::Stub | Code::Kernel)).collect();
    for _ in 2..=3 {
        for set in start..end {
            for toggle in &together {
                let Some(known) = sets.get(set) else { continue };
                // Ascending groups: each set comes once.
                if sets.len() < MAX_BOOTS && known.last().is_some_and(|last| last.group < toggle.group) {
                    let larger = [known.as_slice(), &[*toggle]].concat();
                    sets.push(larger);
                }
            }
        }
        (start, end) = (end, sets.len());
    }
    let mut boots = Vec::new();
    for set in sets {
        let mut changed = request.clone();
        set.iter().for_each(|toggle| toggle.change.apply(&mut changed));
        let Ok(recorded) = record(&changed, plan) else { continue };
        let codes: Vec<(Code, String)> =
            set.iter().map(|toggle| (toggle.code, toggle.detail.clone())).collect();
        boots.extend(recorded.into_iter().map(|boot| Boot {
            codes: codes.clone(),
            chain: changed.chain.clone(),
            boot,
        }));
    }
    boots
}

fn toggles(request: &Request) -> Vec<Toggle> {
    let chain = &request.chain;
    let mut all = Vec::new();
    let mut group = 0;
    let mut add = |code, changes: Vec<(String, Change)>| {
        let of_group = |(detail, change)| Toggle { code, detail, group, change };
        all.extend(changes.into_iter().map(of_group));
        group = group.saturating_add(1);
    };
    let named = |what: &str, name: &str| format!("{what} {name} was not there");
    let addons = chain.addons.iter().enumerate();
    let addons = addons.map(|(at, (_, addon))| (named("the addon", &addon.name), Change::WithoutAddon(at)));
    add(Code::Addon, several("the addons were not there", Change::NoAddons, addons.collect()));
    let credentials = chain.credentials.iter().enumerate();
    let credentials =
        credentials.map(|(at, file)| (named("the credential", &file.name), Change::WithoutCredential(at)));
    add(
        Code::Credential,
        several("the credentials were not there", Change::NoCredentials, credentials.collect()),
    );
    let extensions = chain.extensions.iter().enumerate();
    let extensions =
        extensions.map(|(at, file)| (named("the extension", &file.name), Change::WithoutExtension(at)));
    add(
        Code::Extension,
        several("the extensions were not there", Change::NoExtensions, extensions.collect()),
    );
    if let Some(state) = request.secure_boot {
        let detail = format!("Secure Boot is {}", if state { "off" } else { "on" });
        add(Code::SecureBoot, vec![(detail, Change::SecureBoot(!state))]);
    }
    let profiles = u32::try_from(profile_count(&chain.uki.image)).unwrap_or(0).min(64);
    let profiles = (0..profiles).filter(|profile| *profile != request.scenario.profile);
    let profiles =
        profiles.map(|profile| (format!("profile {profile} was chosen"), Change::Profile(profile)));
    add(Code::Profile, profiles.collect());
    if request.scenario.smbios.declared {
        let detail = "SMBIOS has no strings that add to the command line".to_owned();
        add(Code::Smbios, vec![(detail, Change::NoSmbios)]);
    }
    if request.scenario.load_options.is_some() {
        add(Code::Options, vec![("nobody edited the command line".to_owned(), Change::NoOptions)]);
    }
    if chain.loader.is_some() && chain.entry.is_none() {
        let detail = "the boot loader did not run: the firmware started the image itself".to_owned();
        add(Code::Loader, vec![(detail, Change::NoLoader)]);
    }
    let is = !request.scenario.confidential_vm;
    let detail = format!("the machine {} a confidential VM", if is { "is" } else { "is not" });
    add(Code::Options, vec![(detail, Change::ConfidentialVm(is))]);
    let stubs = StubRules::ROWS.iter().map(|rules| {
        let version = format!("{}.{}", rules.from.0, rules.from.1);
        (format!("the stub measures as systemd-stub {version} does"), Change::StubVersion(version))
    });
    add(Code::Stub, stubs.collect());
    let kernels = KernelRules::ROWS.iter().map(|rules| {
        (format!("the kernel measures as Linux {} does", rules.from), Change::KernelVersion(rules.from))
    });
    add(Code::Kernel, kernels.collect());
    all
}

/// None of them, and each of several left out alone.
fn several(none: &str, change: Change, each: Vec<(String, Change)>) -> Vec<(String, Change)> {
    match each.len() {
        0 => Vec::new(),
        1 => each.into_iter().map(|(detail, _)| (detail, change.clone())).collect(),
        _ => std::iter::once((none.to_owned(), change)).chain(each).collect(),
    }
}

impl Change {
    fn apply(&self, request: &mut Request) {
        let (chain, scenario) = (&mut request.chain, &mut request.scenario);
        match self {
            Self::SecureBoot(state) => request.secure_boot = Some(*state),
            Self::Profile(profile) => scenario.profile = *profile,
            Self::ConfidentialVm(is) => scenario.confidential_vm = *is,
            Self::StubVersion(version) => {
                // User space stays what it was: only the stub is another one.
                scenario.stub_version = version.parse().ok();
            }
            Self::KernelVersion(version) => scenario.kernel_version = Some(*version),
            Self::NoLoader => chain.loader = None,
            Self::NoOptions => scenario.load_options = None,
            Self::NoSmbios => scenario.smbios = Smbios { declared: true, ..Smbios::default() },
            Self::NoAddons => chain.addons.clear(),
            Self::NoCredentials => chain.credentials.clear(),
            Self::NoExtensions => chain.extensions.clear(),
            Self::WithoutAddon(at) if *at < chain.addons.len() => drop(chain.addons.remove(*at)),
            Self::WithoutCredential(at) if *at < chain.credentials.len() => {
                drop(chain.credentials.remove(*at));
            }
            Self::WithoutExtension(at) if *at < chain.extensions.len() => drop(chain.extensions.remove(*at)),
            Self::WithoutAddon(_) | Self::WithoutCredential(_) | Self::WithoutExtension(_) => {}
        }
    }
}

impl Boot {
    fn alternative(&self, work: &Work) -> Alternative {
        Alternative { candidate: candidate(&self.boot, &self.chain, work), codes: self.codes.clone() }
    }
}

fn candidate((recording, _, secure_boot): &Recorded, chain: &BootChain, work: &Work) -> Candidate {
    let digest = |measurement: &Measurement| match measurement.content {
        Content::Stream(stream) => work.digests.get(&stream).copied(),
        Content::Observed(index) => recording.observed.get(index).and_then(|digests| digests.get(work.bank)),
        Content::Unknown(_) => None,
    };
    let events: Vec<Event> = recording
        .measurements
        .iter()
        .map(|measurement| event(measurement, chain, digest(measurement)))
        .collect();
    let pcrs = PcrIndex::all().map(|pcr| (pcr, expected(pcr, &events, recording, work.bank)));
    Candidate {
        secure_boot: *secure_boot,
        pcrs: pcrs.collect(),
        events: Some(events),
        ..Candidate::default()
    }
}

fn event(measurement: &Measurement, chain: &BootChain, digest: Option<Digest>) -> Event {
    let (kind, inputs, section) = match &measurement.source {
        Source::Image(input) => ("image", vec![*input], None),
        Source::Section { input, name, .. } => ("section", vec![*input], Some(name.clone())),
        Source::SectionImage { input, name, .. } => ("section-image", vec![*input], Some(name.clone())),
        Source::Derived(inputs) => ("derived", inputs.clone(), None),
        Source::Observed(inputs) => ("observed", inputs.clone(), None),
        Source::Constant | Source::Option(_) | Source::Missing => ("other", Vec::new(), None),
    };
    let inputs: Vec<_> = inputs.iter().filter_map(|input| chain.inputs.get(input.0)).collect();
    let origin = Origin {
        files: inputs.iter().map(|input| input.name.clone()).collect(),
        roles: inputs.iter().map(|input| input.role.name().to_owned()).collect(),
        section,
        option: match &measurement.source {
            Source::Option(option) => Some((*option).to_owned()),
            _ => None,
        },
        ..Origin::default()
    };
    let digests = digest.into_iter().collect();
    let data = measurement.data.as_deref();
    Event {
        pcr: measurement.pcr,
        stage: Some(measurement.stage),
        event_type: measurement.event_type,
        topic: topic(kind, measurement.pcr, measurement.event_type, data, &digests, &origin),
        digests,
        data: measurement.data.clone(),
        what: measurement.description.clone(),
        origin: Some(origin),
    }
}

fn expected(pcr: PcrIndex, events: &[Event], recording: &Recording, bank: HashAlgorithm) -> ExpectedPcr {
    let mut values = Vec::new();
    for stage in Stage::ALL {
        let until =
            events.iter().filter(|event| event.pcr == pcr && event.stage.is_none_or(|of| of <= stage));
        let value = until
            .map(|event| event.digests.get(bank))
            .try_fold(pcr.start_value(bank), |value, digest| Some(extend(value, digest?)));
        let Some(value) = value else { break };
        values.push(ExpectedValue { stage: Some(stage), digests: [value].into_iter().collect() });
    }
    let gaps = recording.gaps.iter().filter(|gap| gap.pcr == pcr);
    let gaps = gaps.map(|gap| (gap.stage, gap.reason.clone(), gap.remedy.clone()));
    ExpectedPcr { values, gaps: gaps.collect(), ..ExpectedPcr::default() }
}

/// A deviation whose digest is still to be computed: the register, and the event that it replaces.
type Pending = ((Deviation, PcrIndex, usize), StreamId);

/// Signing tools pad a file to eight bytes before they hash it (Microsoft's "Windows Authenticode Portable Executable
/// Signature Format"; sbsign, pesign), and firmware hashes what is there.
fn padded(chain: &BootChain, base: &Candidate, plan: &mut DigestPlan) -> Vec<Pending> {
    let addons = chain.addons.iter().map(|(_, addon)| addon);
    let images = chain.loader.iter().chain([&chain.uki]).chain(addons).chain(&chain.drivers);
    images.filter_map(|image| padded_image(image, base, plan)).collect()
}

fn padded_image(image: &NamedImage, base: &Candidate, plan: &mut DigestPlan) -> Option<Pending> {
    let length = image.image.file.len();
    let padding = length.checked_next_multiple_of(8)?.checked_sub(length).filter(|padding| *padding > 0)?;
    let segments = authenticode_segments_padded(&image.image, padding).ok()?;
    let is_it = |event: &Event| {
        let whole = event.origin.as_ref().filter(|origin| origin.section.is_none());
        matches!(event.pcr.get(), 2 | 4) && whole.is_some_and(|origin| origin.files == [image.name.clone()])
    };
    let index = base.events.as_ref()?.iter().position(is_it)?;
    let pcr = base.events.as_ref()?.get(index)?.pcr;
    let detail = format!("the image digest of {} is that of the file padded to eight bytes", image.name);
    Some(((Deviation::new(Code::PaddedDigest, detail), pcr, index), plan.add(segments)))
}

/// ukify 254 to 257 put a NUL behind the text of `.sbat`; signatures were made without.
fn sbat(chain: &BootChain, base: &Candidate, plan: &mut DigestPlan) -> Vec<Pending> {
    let sections = SectionSet::with_profile(&chain.uki.image, SectionLookup::FirstExact, 0);
    let Ok(Some(section)) = sections.as_ref().map_or(Ok(None), |sections| sections.get(".sbat")) else {
        return Vec::new();
    };
    let Ok(bytes) = section.read(MAX_TEXT) else { return Vec::new() };
    let events = base.events.as_deref().unwrap_or_default();
    let is_content = |event: &Event| event.topic == Topic::Section(".sbat".to_owned());
    let Some(index) = events.iter().position(is_content) else { return Vec::new() };
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
    let text = bytes.get(..end).unwrap_or_default();
    let forms = [
        ("without the zeros behind its text", text.to_vec()),
        ("with one zero behind its text", [text, &[0]].concat()),
        ("without its last newline", text.strip_suffix(b"\n").unwrap_or(text).to_vec()),
    ];
    let others = forms.into_iter().filter(|(_, form)| *form != bytes);
    others
        .map(|(how, form)| {
            let detail = format!(".sbat was measured {how}: signing tools put another one into the image");
            let deviation = Deviation::new(Code::Sbat, detail);
            ((deviation, PcrIndex::new(11), index), plan.add([Segment::bytes(form)]))
        })
        .collect()
}
