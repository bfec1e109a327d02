//! Programs of the boot: who signed them, and what their headers hide.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{AuditOptions, Finding, Report, Severity};
use crate::boot::{BootChain, NamedImage};
use crate::hashing::DigestPlan;
use crate::inspect::{Inspection, Options, inspect};
use crate::pe::{CertificateTable, authenticode_segments};
use crate::secure_boot::{Database, Databases, Verdict, algorithms_needed, judge};
use crate::tcg::HashAlgorithm;
use crate::uki::SystemdVersion;
use crate::walk::{LoaderChoice, LoaderConf, Walk};

/// A program of the boot.
#[derive(Debug, Clone, Serialize)]
pub struct ProgramFacts {
    /// Its path.
    pub path: String,
    /// What it is.
    pub role: &'static str,
    /// Program and version, as `.sdmagic` says.
    pub version: Option<String>,
    /// Subjects of its signers' certificates.
    pub signers: Vec<String>,
    /// SHA-256 of those certificates.
    pub certificates: Vec<String>,
}

/// Checks every program of every boot, each once.
pub(super) fn check(walk: &Walk, options: &AuditOptions, report: &mut Report) {
    let mut seen = BTreeSet::new();
    let chains = walk.boots.iter().filter_map(|boot| boot.chain.as_ref().ok());
    for chain in chains.clone() {
        let addons = chain.addons.iter().map(|(_, addon)| addon);
        for image in
            chain.shim.iter().chain(&chain.loader).chain(&chain.drivers).chain([&chain.uki]).chain(addons)
        {
            let path = path(chain, image);
            if seen.insert(path.clone()) {
                program(&path, image, options, report);
            }
        }
    }
    for chain in chains {
        compare_versions(chain, report);
        check_editor(chain, report);
    }
    compare_signers(report);
}

fn path(chain: &BootChain, image: &NamedImage) -> String {
    chain.inputs.get(image.input.0).map_or_else(|| image.name.clone(), |input| input.name.clone())
}

fn program(path: &str, image: &NamedImage, audit: &AuditOptions, report: &mut Report) {
    if audit.quick {
        let signed = CertificateTable::read(&image.image).is_ok_and(|table| !table.entries.is_empty());
        if !signed {
            report.findings.push(unsigned(path));
        }
        return;
    }
    let options = Options { banks: vec![HashAlgorithm::Sha256], section_digests: false };
    let inspection = match inspect(&image.image.file, &image.name, &options, &|_| ()) {
        Ok(inspection) => inspection,
        Err(error) => {
            report.findings.push(Finding::new(Severity::Error, "image-unreadable", path, error.to_string()));
            return;
        }
    };
    let mut add =
        |severity, code, text: String| report.findings.push(Finding::new(severity, code, path, text));
    if let Some(certificates) = &audit.certificates
        && let Some(problem) = not_accounted(image, certificates)
    {
        add(Severity::Error, "certificate", problem);
    }
    for signature in &inspection.signatures {
        if signature.covers_image == Some(false) {
            add(
                Severity::Error,
                "signature-other-image",
                "the signature is about another image: this one was changed after signing".to_owned(),
            );
        }
        if let Some(error) = &signature.error {
            add(Severity::Error, "signature-unreadable", error.clone());
        }
    }
    if inspection.sbat.is_empty() && inspection.role != "kernel" {
        add(
            Severity::Warning,
            "no-sbat",
            "has no .sbat: shim refuses it, and it can't be revoked by generation".to_owned(),
        );
    }
    // What is unusual in the headers is the inspection's business; here it only counts where bytes hide.
    for finding in &inspection.findings {
        let severity = match finding.code {
            "section-overlap-file"
            | "section-overlap-memory"
            | "section-outside-file"
            | "certificate-table-overlap" => Severity::Error,
            "gap-in-file" | "trailing-data" | "section-duplicate" | "second-certificate-table" => {
                Severity::Note
            }
            _ => continue,
        };
        add(severity, finding.code, finding.text.clone());
    }
    if inspection.signatures.is_empty() {
        report.findings.push(unsigned(path));
    }
    report.programs.push(facts(path, &inspection));
}

fn unsigned(path: &str) -> Finding {
    let text = "carries no signature: Secure Boot would refuse it";
    Finding::new(Severity::Warning, "unsigned", path, text)
}

/// Why none of the certificates accounts for the image; checked as the firmware would with them as its `db`.
fn not_accounted(image: &NamedImage, certificates: &Database) -> Option<String> {
    let databases = Databases { db: certificates.clone(), ..Databases::default() };
    let verdict = || -> Result<Verdict, String> {
        let segments = authenticode_segments(&image.image).map_err(|error| error.to_string())?;
        let mut plan = DigestPlan::new();
        let stream = plan.add(segments);
        let digests =
            plan.compute(&algorithms_needed(&databases), &|_| ()).map_err(|error| error.to_string())?;
        let digests = digests.get(stream).cloned().unwrap_or_default();
        judge(&image.image, &digests, &databases).map_err(|error| error.to_string())
    };
    match verdict() {
        Ok(Verdict::Allowed(_)) => None,
        Ok(Verdict::Refused(refusal)) => {
            Some(format!("the given certificates do not account for it: {refusal}"))
        }
        Ok(Verdict::Undecided(why)) | Err(why) => Some(format!("its signature can't be checked: {why}")),
    }
}

fn facts(path: &str, inspection: &Inspection) -> ProgramFacts {
    let signers = || inspection.signatures.iter().flat_map(|signature| &signature.signers);
    let certificates = || signers().filter_map(|signer| signer.certificate.as_ref());
    ProgramFacts {
        path: path.to_owned(),
        role: inspection.role,
        version: inspection.program.as_ref().map(|program| program.text.clone()),
        signers: certificates().map(|certificate| certificate.subject.clone()).collect(),
        certificates: certificates().map(|certificate| certificate.sha256.clone()).collect(),
    }
}

/// All programs that are signed should be so by one key.
fn compare_signers(report: &mut Report) {
    let signed: Vec<&ProgramFacts> =
        report.programs.iter().filter(|program| !program.certificates.is_empty()).collect();
    let Some((first, others)) = signed.split_first() else { return };
    let differing: Vec<Finding> = others
        .iter()
        .filter(|other| {
            !other.certificates.iter().any(|certificate| first.certificates.contains(certificate))
        })
        .map(|other| {
            let text = format!(
                "is signed by {}, but {} by {}",
                other.signers.join(", "),
                first.path,
                first.signers.join(", ")
            );
            Finding::new(Severity::Note, "signers-differ", &other.path, text)
        })
        .collect();
    report.findings.extend(differing);
}

/// The version that `.sdmagic` tells.
fn version(image: &NamedImage) -> Option<SystemdVersion> {
    crate::uki::LoaderInfo::of(&image.image).ok().flatten()?.version
}

fn compare_versions(chain: &BootChain, report: &mut Report) {
    let Some(loader) = &chain.loader else { return };
    if let (Some(one), Some(other)) = (version(loader), version(&chain.uki))
        && one.major != other.major
    {
        let text = format!("its stub is of systemd {}, the boot loader of {}", other.major, one.major);
        report.findings.push(Finding::new(Severity::Note, "versions-differ", &path(chain, &chain.uki), text));
    }
}

/// Without Secure Boot, who reaches the menu can edit the command line.
fn check_editor(chain: &BootChain, report: &mut Report) {
    let Some(medium) = chain.medium.as_ref().filter(|_| chain.loader.is_some()) else { return };
    let conf = medium.loader_conf.as_ref().and_then(|file| file.file.read(1 << 20).ok());
    let version = chain.loader.as_ref().and_then(version);
    let quotes = LoaderChoice::of(version.as_ref()).quotes();
    let conf = conf.map(|text| LoaderConf::parse(&text, quotes)).unwrap_or_default();
    if conf.editor != Some(false) && conf.timeout.as_deref() != Some("menu-disabled") {
        let text = "the menu's editor is on: without Secure Boot, who reaches the menu can change the command line; \
                    'editor no' switches it off";
        report.findings.push(Finding::new(Severity::Warning, "editor-enabled", "loader/loader.conf", text));
    }
}
