//! What an exporter gets: the selected boots with the values that may be written.

use std::collections::{BTreeMap, BTreeSet};

use super::exporter::{ExportError, Exporter, Output};
use super::options::{OptionError, Options};
use crate::boot::Stage;
use crate::reference::{
    BankDigests, Document, Image, MeasurementEntry, PcrEntry, ScenarioEntry, VariantEntry,
};
use crate::sign::Signer;
use crate::tcg::{Digest, HashAlgorithm};

/// Everything an exporter may look at.
pub struct Export<'d> {
    /// The format.
    pub exporter: &'static Exporter,
    /// The boots that are to be accepted, each with at least one enforced PCR.
    pub releases: Vec<Release<'d>>,
    /// The moments, in order; never empty.
    pub stages: Vec<Stage>,
    /// The moment was asked for.
    pub chosen_stage: bool,
    /// The banks, in order; never empty.
    pub banks: Vec<HashAlgorithm>,
    /// The PCRs asked for, or those that the format carries.
    pub pcrs: BTreeSet<u8>,
    /// The PCRs were asked for one by one.
    pub chosen_pcrs: bool,
    /// The variants were asked for one by one.
    pub chosen_variants: bool,
    /// The format's own options.
    pub options: &'d Options,
    /// The key that signs.
    pub signer: Option<&'d dyn Signer>,
    /// Assumptions that were accepted.
    pub accepted: &'d Accepted,
    /// The only file that was asked for, of a format that has several.
    pub part: Option<&'d str>,
    /// What happened when the documents were merged.
    pub notes: Vec<String>,
}

/// Assumptions that somebody vouches for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accepted {
    /// Every one.
    pub all: bool,
    /// These.
    pub ids: BTreeSet<String>,
}

impl Accepted {
    /// Those of `assumptions` that nobody vouches for.
    #[must_use]
    pub fn missing<'a>(&self, assumptions: &'a [String]) -> Vec<&'a str> {
        let ids = assumptions.iter().map(String::as_str);
        ids.filter(|id| !self.all && !self.ids.contains(*id)).collect()
    }

    /// A value that is a start value only because of `assumptions` may be enforced. One that names none can't be
    /// vouched for one by one.
    #[must_use]
    pub fn covers(&self, assumptions: &[String]) -> bool {
        self.all || (!assumptions.is_empty() && self.missing(assumptions).is_empty())
    }
}

/// One boot of one image.
#[derive(Debug, Clone)]
pub struct Release<'d> {
    /// Its name: the variant's, made unique where several documents use the same.
    pub id: String,
    /// The file that the document was read from.
    pub file: &'d str,
    /// SHA-256 of that file.
    pub sha256: Digest,
    /// The document.
    pub document: &'d Document,
    /// The image.
    pub image: &'d Image,
    /// How it boots.
    pub scenario: &'d ScenarioEntry,
    /// The variant.
    pub variant: &'d VariantEntry,
    /// Values at the last of the stages that the format may carry, by PCR.
    pub values: BTreeMap<u8, Value<'d>>,
    /// Why the other PCRs are not among them.
    pub dropped: Vec<Dropped>,
}

/// A value that may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value<'d> {
    /// In each bank.
    pub digests: &'d BankDigests,
    /// `computed`, `observed` or `assumed-unused`.
    pub status: &'d str,
    /// What it rests on.
    pub assumes: &'d [String],
    /// A deviation has to be refused; otherwise it may only be reported.
    pub enforced: bool,
}

impl Value<'_> {
    /// Enforced, and computed or observed.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.enforced && matches!(self.status, "computed" | "observed")
    }
}

/// A PCR that is not exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Its number.
    pub pcr: u8,
    /// Why.
    pub reason: String,
}

impl<'d> Export<'d> {
    /// Takes back what the format's writer could not write or does not enforce, so that nobody counts on it.
    ///
    /// # Errors
    /// [`ExportError::NothingEnforced`] when nothing that is measured is left.
    pub(super) fn settle(&mut self, output: &Output) -> Result<(), ExportError> {
        for release in &mut self.releases {
            for ((id, pcr), reason) in &output.unwritten {
                if *id == release.id && release.values.remove(pcr).is_some() {
                    release.dropped.push(Dropped { pcr: *pcr, reason: reason.clone() });
                }
            }
            for pcr in &output.unenforced {
                if let Some(value) = release.values.get_mut(pcr) {
                    value.enforced = false;
                }
            }
            if !output.single_events {
                release.demand_measured()?;
            }
        }
        Ok(())
    }

    /// The bank of a format that has one.
    #[must_use]
    pub fn bank(&self) -> HashAlgorithm {
        self.banks.first().copied().unwrap_or(HashAlgorithm::Sha256)
    }

    /// The last of the stages.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stages.last().copied().unwrap_or_default()
    }

    /// The only boot, for formats that take one: boots that agree in everything that is written count as one.
    ///
    /// # Errors
    /// [`ExportError::OneBootOnly`] when they differ.
    pub fn one(&self) -> Result<&Release<'d>, ExportError> {
        let mut releases = self.releases.iter();
        let first = releases.next().ok_or(ExportError::NoDocument)?;
        if releases.all(|other| self.same(first, other)) { Ok(first) } else { Err(self.one_boot_only()) }
    }

    /// The only boot, for formats that are made of its measurements: boots that measure the same count as one.
    ///
    /// # Errors
    /// [`ExportError::OneBootOnly`] when they differ.
    pub fn one_log(&self) -> Result<&Release<'d>, ExportError> {
        let first = self.one()?;
        let same = |other: &Release<'_>| {
            let digests = |release: &Release<'_>| -> Vec<_> {
                self.measurements(release).map(|m| (m.pcr, m.digests.clone())).collect()
            };
            digests(first) == digests(other)
        };
        if self.releases.iter().all(same) { Ok(first) } else { Err(self.one_boot_only()) }
    }

    fn one_boot_only(&self) -> ExportError {
        let variants = self.releases.iter().map(|release| release.id.clone()).collect();
        ExportError::OneBootOnly { format: self.exporter.name, variants }
    }

    /// The boots that differ in what is written; of those that agree, the first.
    #[must_use]
    pub fn distinct(&self) -> Vec<&Release<'d>> {
        let mut distinct: Vec<&Release<'d>> = Vec::new();
        for release in &self.releases {
            if !distinct.iter().any(|known| self.same(known, release)) {
                distinct.push(release);
            }
        }
        distinct
    }

    fn same(&self, one: &Release<'_>, other: &Release<'_>) -> bool {
        let key = |release: &Release<'_>| -> Vec<_> {
            let values = release.values.iter();
            values
                .map(|(pcr, value)| {
                    let digests: Vec<_> =
                        self.banks.iter().map(|bank| value.digests.get(bank.name()).cloned()).collect();
                    (*pcr, value.enforced, digests)
                })
                .collect()
        };
        key(one) == key(other)
    }

    /// This file is to be written.
    #[must_use]
    pub fn wants(&self, part: &str) -> bool {
        self.part.is_none_or(|wanted| wanted == part)
    }

    /// Measurements of a boot up to the last stage, of the PCRs that may be written.
    pub fn measurements<'r>(&self, release: &'r Release<'d>) -> impl Iterator<Item = &'r MeasurementEntry> {
        let last = self.stage();
        release.variant.measurements.iter().filter(move |measurement| {
            release.values.contains_key(&measurement.pcr)
                && measurement.stage.parse::<Stage>().is_ok_and(|stage| stage <= last)
        })
    }

    /// The value of a text option.
    ///
    /// # Errors
    /// When it was not given and has no default.
    pub fn option(&self, name: &'static str) -> Result<&'d str, OptionError> {
        let spec = self.exporter.options.iter().find(|spec| spec.name == name);
        let default = spec.and_then(|spec| spec.default);
        self.options.get(name).or(default).ok_or_else(|| OptionError::Missing {
            format: self.exporter.name,
            name,
            value: spec.map_or("", |spec| spec.value),
            help: spec.map_or("", |spec| spec.help),
        })
    }

    /// An error about what this format can't say.
    #[must_use]
    pub fn inexpressible(&self, problem: impl Into<String>) -> ExportError {
        ExportError::Inexpressible { format: self.exporter.name, problem: problem.into() }
    }
}

impl<'d> Release<'d> {
    /// A value in hexadecimal, enforced or not.
    #[must_use]
    pub fn hex(&self, pcr: u8, bank: HashAlgorithm) -> Option<&'d str> {
        self.values.get(&pcr)?.digests.get(bank.name()).map(String::as_str)
    }

    /// A value.
    #[must_use]
    pub fn digest(&self, pcr: u8, bank: HashAlgorithm) -> Option<Digest> {
        digest(bank, self.hex(pcr, bank)?)
    }

    /// Enforced values of one bank in hexadecimal, by PCR.
    pub fn enforced(&self, bank: HashAlgorithm) -> impl Iterator<Item = (u8, &'d str)> {
        let values = self.values.iter().filter(|(_, value)| value.enforced);
        values.filter_map(move |(pcr, value)| Some((*pcr, value.digests.get(bank.name())?.as_str())))
    }

    /// The PCR is enforced, and its value comes from measurements: a start value says nothing of what was booted.
    #[must_use]
    pub fn measured(&self, pcr: u8) -> bool {
        self.values.get(&pcr).is_some_and(Value::is_measured)
    }

    /// The enforced PCRs whose values would be others if an assumption failed.
    #[must_use]
    pub fn enforced_under(&self, assumption: &str) -> Vec<u8> {
        let values = self.values.iter().filter(|(_, value)| value.enforced);
        let resting = values.filter(|(_, value)| value.assumes.iter().any(|id| id == assumption));
        resting.map(|(pcr, _)| *pcr).collect()
    }

    /// A PCR that the format can't do without, enforced.
    ///
    /// # Errors
    /// [`ExportError::Needed`].
    pub fn need(&self, format: &'static str, pcr: u8, bank: HashAlgorithm) -> Result<&'d str, ExportError> {
        let enforced = self.values.get(&pcr).is_some_and(|value| value.enforced);
        self.hex(pcr, bank).filter(|_| enforced).ok_or_else(|| ExportError::Needed {
            format,
            pcr,
            variant: self.id.clone(),
            reason: self.why_not(pcr),
        })
    }

    /// Why a PCR may not be enforced.
    #[must_use]
    pub fn why_not(&self, pcr: u8) -> String {
        let dropped = self.dropped.iter().find(|dropped| dropped.pcr == pcr);
        dropped.map_or_else(|| "it was left out by --pcr".to_owned(), |dropped| dropped.reason.clone())
    }

    /// The PCR's entry in the document.
    #[must_use]
    pub fn pcr(&self, pcr: u8) -> Option<&'d PcrEntry> {
        self.variant.pcrs.iter().find(|entry| entry.index == pcr)
    }

    /// The measurement is the load of an image that came in with this role.
    #[must_use]
    pub fn is_load_of(&self, measurement: &MeasurementEntry, role: &str) -> bool {
        let has_role =
            |id: &String| self.image.inputs.iter().any(|input| input.id == *id && input.role == role);
        measurement.pcr == 4
            && measurement.source.kind == "image"
            && measurement.source.inputs.iter().any(has_role)
    }
}

/// A digest from its text.
#[must_use]
pub(crate) fn digest(bank: HashAlgorithm, text: &str) -> Option<Digest> {
    Digest::from_bytes(bank, &hex::decode(text).ok()?)
}
