//! What makes a measured boot worthless although every value is predicted: a root that does not match its hash, images
//! that nobody signed, parameters that switch the protection off.

mod command_line;
mod modules;
mod partitions;
mod programs;
mod verity;

use serde::Serialize;

use crate::boot::Payload;
use crate::secure_boot::Database;
use crate::walk::{Medium, Walk};

pub use verity::VerityFacts;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// It weakens the protection, or will cause trouble.
    Warning,
    /// The image does not do what it claims, or will not boot.
    Error,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A stable word for scripts.
    pub code: &'static str,
    /// The file, partition or entry that it is about.
    pub place: String,
    /// In words.
    pub text: String,
}

impl Finding {
    fn new(severity: Severity, code: &'static str, place: &str, text: impl Into<String>) -> Self {
        Self { severity, code, place: place.to_owned(), text: text.into() }
    }
}

/// The result of an audit.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// How the boot was walked.
    pub walked: Vec<String>,
    /// What is wrong, worst first.
    pub findings: Vec<Finding>,
    /// Hash trees that were checked.
    pub verity: Vec<VerityFacts>,
    /// Programs that were looked at, with their signers.
    pub programs: Vec<programs::ProgramFacts>,
}

impl Report {
    /// Adds a finding and keeps the order, worst first.
    pub fn add(&mut self, severity: Severity, code: &'static str, place: &str, text: String) {
        self.findings.push(Finding::new(severity, code, place, text));
        self.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    }

    /// There is something to act on.
    #[must_use]
    pub fn has_findings(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity > Severity::Note)
    }
}

pub use programs::ProgramFacts;

/// What an audit goes by beside the image.
#[derive(Debug, Clone, Default)]
pub struct AuditOptions {
    /// Certificates that have to account for the signatures; `None` leaves it at what the image says of itself.
    pub certificates: Option<Database>,
    /// Leaves out what costs a pass over the data: hash trees, image digests and signatures.
    pub quick: bool,
    /// Root hashes that the build wrote down, each with the file that has it: a command line has to promise them.
    pub root_hashes: Vec<(String, String)>,
}

/// Audits a medium whose boot was walked. `total` is told how many bytes of protected data there are, `progress` of those
/// that are done.
#[must_use]
pub fn audit(
    medium: &Medium,
    walk: &Walk,
    options: &AuditOptions,
    total: &dyn Fn(u64),
    progress: &(dyn Fn(u64) + Sync),
) -> Report {
    let mut report = Report { walked: walk.steps.clone(), ..Report::default() };
    for warning in &walk.warnings {
        report.findings.push(Finding::new(Severity::Warning, "boot-walk", "image", warning.clone()));
    }
    if let Some(table) = &medium.table {
        partitions::check(table, &mut report.findings);
    }
    programs::check(walk, options, &mut report);
    modules::check(medium, walk, &mut report.findings);
    let mut wanted = Vec::new();
    for boot in &walk.boots {
        match &boot.chain {
            Ok(chain) if matches!(chain.payload, Payload::UnifiedKernelImage | Payload::Kernel) => {
                wanted.extend(command_line::check(boot, chain, &mut report.findings));
            }
            Ok(_) => {}
            Err(problem) => {
                report.findings.push(Finding::new(Severity::Error, "entry-fails", &boot.id, problem.clone()));
            }
        }
    }
    for (file, hash) in &options.root_hashes {
        if !wanted.iter().any(|wanted| hex::encode(&wanted.hash) == *hash) {
            let text = format!("no command line has the root hash {hash}, which the build wrote down");
            report.findings.push(Finding::new(Severity::Error, "roothash-file-differs", file, text));
        }
    }
    verity::check(medium, wanted, options, &mut report, total, progress);
    report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    report.findings.dedup();
    report
}
