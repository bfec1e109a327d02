//! The recorder: the only way to make a measurement.

use super::cc::{self, Program};
use super::measurement::{Assumption, Content, Gap, GapCode, Measurement, NotCovered, Rule, Source};
use super::secure_boot::ImageVerification;
use super::stage::Stage;
use crate::hashing::{DigestPlan, Segment};
use crate::tcg::eventlog::Pcr0Start;
use crate::tcg::{Digest, DigestSet, EventType, HashAlgorithm, PcrIndex};

/// What a boot measures, in order.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    /// The measurements, in the order of the boot.
    pub measurements: Vec<Measurement>,
    /// Digests that were observed in recorded boots.
    pub observed: Vec<DigestSet>,
    /// Why PCR 0 does not start at zeros.
    pub pcr0_start: Option<Pcr0Start>,
    /// What is not known.
    pub gaps: Vec<Gap>,
    /// What was taken for granted.
    pub assumptions: Vec<Assumption>,
    /// Remarks for the person who asked.
    pub warnings: Vec<String>,
    /// Programs that leave out something, of what a TPM would get, in the registers of a confidential guest.
    pub not_covered: Vec<NotCovered>,
}

impl Recording {
    /// What a register holds before its first measurement.
    #[must_use]
    pub fn start_value(&self, pcr: PcrIndex, bank: HashAlgorithm) -> Digest {
        match self.pcr0_start {
            Some(start) if pcr.get() == 0 => start.value(bank),
            _ => pcr.start_value(bank),
        }
    }
}

/// Records one boot; its streams go into a plan that several boots may share.
#[derive(Debug)]
pub(super) struct Recorder<'a> {
    plan: &'a mut DigestPlan,
    recording: Recording,
    stage: Stage,
    /// The firmware measures images and partition table into PCR 2, see [`crate::baseline::PlatformPart`].
    pub(super) images_in_pcr_2: bool,
    /// How the program that runs measures into the registers of a confidential guest; `None` where PCRs are recorded.
    program: Option<Program>,
    program_name: String,
    /// The firmware's checks of images: state that lives as long as the boot.
    pub(super) verification: ImageVerification,
}

/// A measurement to be made: everything but its content.
pub(super) struct Event {
    pub(super) pcr: PcrIndex,
    pub(super) event_type: Option<EventType>,
    pub(super) data: Option<Vec<u8>>,
    pub(super) description: String,
    pub(super) source: Source,
    pub(super) rule: &'static Rule,
}

impl<'a> Recorder<'a> {
    /// `cc`: what reaches the registers of a confidential guest is recorded, not what reaches PCRs.
    pub(super) fn new(plan: &'a mut DigestPlan, cc: bool) -> Self {
        Self {
            plan,
            program: cc.then_some(Program::Same),
            program_name: String::new(),
            recording: Recording::default(),
            stage: Stage::ExitBootServices,
            images_in_pcr_2: false,
            verification: ImageVerification::default(),
        }
    }

    pub(super) fn finish(self) -> Recording {
        self.recording
    }

    /// What follows counts from this stage on.
    pub(super) fn stage(&mut self, stage: Stage) {
        self.stage = stage;
    }

    /// Another program runs.
    pub(super) fn program(&mut self, program: Program) {
        self.program = self.program.map(|_| program);
    }

    /// The program that runs, where registers of a confidential guest are recorded.
    pub(super) fn running(&self) -> Option<Program> {
        self.program
    }

    /// What the program that runs is called, with its version where that matters.
    pub(super) fn name_program(&mut self, name: impl Into<String>) {
        self.program_name = name.into();
    }

    /// What the program that runs leaves out, in the registers of a confidential guest.
    pub(super) fn not_covered(&mut self, what: impl Into<String>) {
        let entry = NotCovered { program: self.program_name.clone(), what: what.into() };
        if self.program.is_some() && !self.recording.not_covered.contains(&entry) {
            self.warn(format!("{} {}: the registers don't cover it", entry.program, entry.what));
            self.recording.not_covered.push(entry);
        }
    }

    /// The event as it reaches what is recorded.
    fn admit(&mut self, event: Event) -> Option<Event> {
        let Some(program) = self.program else { return Some(event) };
        if program.leaves_out_tag(&event) {
            cc::lacks_tagged(&event.description, self);
        }
        program.admit(event)
    }

    /// Extends a PCR with the hash of `segments`.
    pub(super) fn measure(&mut self, event: Event, segments: impl IntoIterator<Item = Segment>) {
        let Some(event) = self.admit(event) else { return };
        let content = Content::Stream(self.plan.add(segments));
        self.push(event, content);
    }

    /// The TPM was started so that PCR 0 does not start at zeros.
    pub(super) fn start_pcr0(&mut self, start: Pcr0Start) {
        self.recording.pcr0_start = Some(start);
    }

    /// Extends a PCR with what a recorded boot extended it with.
    pub(super) fn observe(&mut self, event: Event, digests: DigestSet) {
        let Some(event) = self.admit(event) else { return };
        let content = Content::Observed(self.recording.observed.len());
        self.recording.observed.push(digests);
        self.push(event, content);
    }

    /// Extends a PCR with nothing, one thing or several: we don't know, and `code` says what would tell.
    pub(super) fn gap(
        &mut self,
        pcr: PcrIndex,
        code: GapCode,
        rule: &'static Rule,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let reason = reason.into();
        let description = reason.clone();
        let event = Event { pcr, event_type: None, data: None, description, source: Source::Missing, rule };
        self.unknown(event, code, reason, remedy);
    }

    /// Extends a PCR with exactly one event whose digest we don't know.
    pub(super) fn unknown(
        &mut self,
        event: Event,
        code: GapCode,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let Some(event) = self.admit(event) else { return };
        let content = Content::Unknown(self.recording.gaps.len());
        let (reason, remedy) = (reason.into(), remedy.into());
        self.recording.gaps.push(Gap { pcr: event.pcr, code, stage: self.stage, reason, remedy });
        self.push(event, content);
    }

    /// Takes something for granted; once per id, later mentions add their PCRs.
    pub(super) fn assume(
        &mut self,
        id: &'static str,
        statement: impl Into<String>,
        affects: &[u8],
        remedy: &'static str,
    ) {
        let affects = affects.iter().filter_map(|pcr| PcrIndex::try_from(u32::from(*pcr)).ok());
        match self.recording.assumptions.iter_mut().find(|assumption| assumption.id == id) {
            Some(known) => {
                known.affects.extend(affects);
                known.affects.sort_unstable();
                known.affects.dedup();
            }
            None => {
                let affects = affects.collect();
                self.recording.assumptions.push(Assumption {
                    id,
                    statement: statement.into(),
                    affects,
                    remedy,
                });
            }
        }
    }

    /// A remark for the person who asked; the same one once.
    pub(super) fn warn(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.recording.warnings.contains(&text) {
            self.recording.warnings.push(text);
        }
    }

    fn push(&mut self, event: Event, content: Content) {
        self.recording.measurements.push(Measurement {
            pcr: event.pcr,
            event_type: event.event_type,
            content,
            data: event.data,
            description: event.description,
            source: event.source,
            rule: event.rule,
            stage: self.stage,
        });
    }
}
