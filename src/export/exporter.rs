//! What a format is: its description, its options, and the function that writes it.

use std::collections::{BTreeMap, BTreeSet};

use super::options::{OptionError, OptionSpec};
use super::release::{Export, Release};
use crate::boot::Stage;
use crate::tcg::HashAlgorithm;

/// A format of reference values that some consumer reads.
///
/// One constant in one file for each format, listed in [`EXPORTERS`](super::EXPORTERS).
#[derive(Debug)]
pub struct Exporter {
    /// The word of `--format`. It never changes.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// Who reads it.
    pub reader: &'static str,
    /// How it gets there.
    pub fed: &'static str,
    /// What it can't say, and where its reader deceives.
    pub limits: &'static [&'static str],
    /// The moment whose values the reader sees.
    pub stage: StageRule,
    /// The bank.
    pub bank: BankRule,
    /// PCRs that it can carry.
    pub pcrs: &'static [u8],
    /// PCRs that it carries unless others are asked for; all when empty.
    pub default_pcrs: &'static [u8],
    /// What it is made of.
    pub content: Content,
    /// How it says that one of several boots is acceptable.
    pub alternatives: Alternatives,
    /// Options of its own.
    pub options: &'static [OptionSpec],
    /// Can carry a value whose deviation is reported but not refused.
    pub warns: bool,
    /// Takes a signing key.
    pub signs: bool,
    /// Files that it may consist of, by their part's name; one has no choice to make.
    pub parts: &'static [&'static str],
    /// The part that a file of this name below the folder belongs to, when this format writes such names.
    pub owner: fn(&str) -> Option<&'static str>,
    /// Writes it.
    pub write: fn(&Export<'_>) -> Result<Output, ExportError>,
}

impl Exporter {
    /// What most formats are like; each says where it is different.
    pub(super) const BASE: Self = Self {
        name: "",
        summary: "",
        reader: "",
        fed: "a file",
        limits: &[],
        stage: StageRule::One(Stage::Ready),
        bank: BankRule::All,
        // All that a boot extends: 10 is IMA's, from 16 on they are the running system's.
        pcrs: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15],
        default_pcrs: &[],
        content: Content::Values,
        alternatives: Alternatives::None,
        options: &[],
        warns: false,
        signs: false,
        parts: &[],
        owner: |_| None,
        write: |export| Err(export.inexpressible("has no writer")),
    };
}

/// Which moments of the boot a format speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageRule {
    /// One, which may be chosen; this one unless another is asked for.
    One(Stage),
    /// Only this one: the reader computes with it.
    Fixed(Stage),
    /// Several at once: these unless one is asked for.
    Several(&'static [Stage]),
}

impl StageRule {
    /// The stages without a choice.
    #[must_use]
    pub fn default_stages(&self) -> Vec<Stage> {
        match self {
            Self::One(stage) | Self::Fixed(stage) => vec![*stage],
            Self::Several(stages) => stages.to_vec(),
        }
    }
}

/// Which banks a format carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BankRule {
    /// One, which may be chosen; this one unless another is asked for.
    One(HashAlgorithm),
    /// Only this one.
    Fixed(HashAlgorithm),
    /// All of the document; one when it is asked for.
    All,
}

/// What a format is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Values of registers.
    Values,
    /// What is measured into them; a register that nothing extends can't be stated.
    Events,
}

/// How a format says that one of several boots is acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alternatives {
    /// As whole boots: all PCRs have to come from the same one.
    Joint,
    /// As a list for each PCR, which also accepts mixtures.
    PerPcr,
    /// As alternatives for each part of the boot, which also accepts mixtures of parts.
    PerComponent,
    /// Not at all: one boot only.
    None,
}

/// The part of a file, in a format whose files have fixed names.
pub(super) fn part_of(files: &[(&'static str, &str)], file: &str) -> Option<&'static str> {
    files.iter().find(|(_, name)| *name == file).map(|(part, _)| *part)
}

/// What a format consists of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// The files.
    pub parts: Vec<Part>,
    /// What the user has to know about them.
    pub warnings: Vec<String>,
    /// What a part would have contained, and why it doesn't.
    pub dropped: Vec<String>,
    /// PCRs of boots (by [`Release::id`]) that had a value and stand in no file, and why.
    pub unwritten: BTreeMap<(String, u8), String>,
    /// PCRs that the format never enforces.
    pub unenforced: BTreeSet<u8>,
    /// The files hold digests of single events, which their reader looks for, and perhaps no value of a register.
    pub single_events: bool,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name for `--part`.
    pub name: &'static str,
    /// Its file name (with `/` for folders) below the folder of `-o`.
    pub file: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl Output {
    /// A single file.
    pub(crate) fn single(file: &str, text: impl Into<Vec<u8>>) -> Self {
        let mut output = Self::default();
        output.add("", file, text);
        output
    }

    /// Notes that a PCR of these boots stands in no file.
    pub(crate) fn leave_out(&mut self, releases: &[Release<'_>], pcr: u8, reason: &str) {
        for release in releases.iter().filter(|release| release.values.contains_key(&pcr)) {
            self.unwritten.insert((release.id.clone(), pcr), reason.to_owned());
        }
    }

    /// Adds a file.
    pub(crate) fn add(&mut self, name: &'static str, file: impl Into<String>, text: impl Into<Vec<u8>>) {
        self.parts.push(Part { name, file: file.into(), bytes: text.into() });
    }
}

/// An export that can't be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// No document.
    #[error("no document was given")]
    NoDocument,
    /// Documents of different banks.
    #[error(
        "{one} has the banks {banks_of_one}, {other} has {banks_of_other}: values of different banks can't be merged"
    )]
    MixedBanks {
        /// The first document.
        one: String,
        /// Its banks.
        banks_of_one: String,
        /// Another document.
        other: String,
        /// Its banks.
        banks_of_other: String,
    },
    /// Nothing that a format could carry.
    #[error("{file} has no PCRs: it was predicted with --registers rtmr")]
    NoPcrs {
        /// The document.
        file: String,
    },
    /// The same boot of the same files, twice.
    #[error("variant {id} stands in {one} and in {other}, for the same files and the same machine")]
    DuplicateVariant {
        /// The variant.
        id: String,
        /// The first document.
        one: String,
        /// The other one.
        other: String,
    },
    /// Two boots whose names can't be told apart.
    #[error("boots of {one} and of {other} would both be called {id}")]
    SameName {
        /// The name.
        id: String,
        /// The first document.
        one: String,
        /// The other one.
        other: String,
    },
    /// A file that the format does not have, or that these boots leave empty.
    #[error("{format} has no part {wanted}: {available}")]
    NoSuchPart {
        /// The format.
        format: &'static str,
        /// As asked for.
        wanted: String,
        /// What there is.
        available: String,
    },
    /// A variant that no document has.
    #[error("there is no variant {wanted}; there are {}", available.join(", "))]
    NoSuchVariant {
        /// As asked for.
        wanted: String,
        /// What there is.
        available: Vec<String>,
    },
    /// An assumption that no document makes.
    #[error("no selected variant assumes '{wanted}'; they assume {}", available.join(", "))]
    NoSuchAssumption {
        /// As asked for.
        wanted: String,
        /// What there is.
        available: Vec<String>,
    },
    /// A bank that the documents don't have.
    #[error("{format} needs the bank {bank}, the document has {}", available.join(", "))]
    NoSuchBank {
        /// The format.
        format: &'static str,
        /// As needed.
        bank: HashAlgorithm,
        /// What there is.
        available: Vec<String>,
    },
    /// A bank or stage that the format's reader would not understand.
    #[error("{format} is read with {expected} only, {asked} was asked for")]
    Fixed {
        /// The format.
        format: &'static str,
        /// What its reader takes.
        expected: String,
        /// As asked for.
        asked: String,
    },
    /// A PCR that the format can't carry.
    #[error("{format} can't carry PCR {pcr}; it takes {carries}")]
    NotCarried {
        /// The format.
        format: &'static str,
        /// As asked for.
        pcr: u8,
        /// What it takes.
        carries: String,
    },
    /// A stage that the documents don't have.
    #[error("the document has no stage {0}")]
    NoSuchStage(Stage),
    /// A variant would accept any machine.
    #[error("nothing that variant {variant} measures would be enforced: {}", reasons.join("; "))]
    NothingEnforced {
        /// The variant.
        variant: String,
        /// Why each PCR was left out.
        reasons: Vec<String>,
    },
    /// The format has no alternatives.
    #[error("{format} takes one boot only, these variants differ: {}", variants.join(", "))]
    OneBootOnly {
        /// The format.
        format: &'static str,
        /// The variants.
        variants: Vec<String>,
    },
    /// The format demands a PCR whose value is not known or not enforced.
    #[error("{format} needs PCR {pcr} of variant {variant}: {reason}")]
    Needed {
        /// The format.
        format: &'static str,
        /// The PCR.
        pcr: u8,
        /// The variant.
        variant: String,
        /// Why it is not there.
        reason: String,
    },
    /// Something about the options.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// A file that was given with an option.
    #[error("--{option} {file}: {problem}")]
    OptionFile {
        /// The option.
        option: &'static str,
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Something that this format can't say.
    #[error("{format}: {problem}")]
    Inexpressible {
        /// The format.
        format: &'static str,
        /// What.
        problem: String,
    },
    /// The key could not sign.
    #[error(transparent)]
    Sign(#[from] crate::sign::SignError),
}

impl ExportError {
    /// What to do about it, where that is clear.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::MixedBanks { .. } => "predict all of them with the same --bank",
            Self::NoPcrs { .. } => "predict with --registers pcr or both: every format carries PCRs only",
            Self::DuplicateVariant { .. } => "give each document once",
            Self::SameName { .. } => {
                "rename the image and predict again, so that its variants have other names"
            }
            Self::NoSuchBank { bank, .. } => return Some(format!("predict with --bank {bank} -o FILE")),
            Self::OneBootOnly { .. } => {
                "choose one with --variant ID, or decide what differs when predicting (--secure-boot on|off, ...)"
            }
            Self::NothingEnforced { .. } | Self::Needed { .. } => {
                "choose PCRs that hold what was booted (4, 11), accept an assumption with --accept-assumption ID where it holds, or give predict what is missing"
            }
            Self::NotCarried { .. } => "leave the PCR out of --pcr",
            Self::Fixed { .. } => "leave the option out",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
