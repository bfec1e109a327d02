//! What a PE file says of itself, gathered without judging it: headers, sections, image digests, signers, and what
//! a unified kernel image carries.
//!
//! [`inspect`] makes an [`Inspection`], the structure behind `premeasure inspect --json`
//! (`schemas/inspect.schema.json`). It gives what a damaged file still has; what is wrong with it is listed in
//! [`Inspection::findings`].

mod contents;
mod digests;
mod findings;
mod headers;
mod pcr_policy;
mod signing;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::hashing::HashError;
use crate::pe::{CertificateTable, PeError, PeImage};
use crate::source::Blob;
use crate::tcg::HashAlgorithm;
use crate::uki::{ImageRole, Kernel, KernelFormat, LoaderInfo};

pub use contents::{CommandLine, Contents, ProfileFacts, SbatEntry, UkiFacts, Word};
pub use digests::BankDigests;
pub use findings::Finding;
pub use headers::{DirectoryFacts, HeaderFacts, SectionFacts};
pub use pcr_policy::{PcrPublicKey, PcrSignatureBank};
pub use signing::{CertificateFacts, SignatureFacts, SignerFacts};

/// The banks whose image digest is computed when none is asked for.
pub const DEFAULT_BANKS: [HashAlgorithm; 2] = [HashAlgorithm::Sha256, HashAlgorithm::Sha384];

/// What [`inspect`] computes.
#[derive(Debug, Clone)]
pub struct Options {
    /// Banks of the image digest.
    pub banks: Vec<HashAlgorithm>,
    /// Hash the loaded contents of each section, too.
    pub section_digests: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { banks: DEFAULT_BANKS.to_vec(), section_digests: true }
    }
}

/// A file that can't be inspected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// Its headers are none of a PE image, or are cut off.
    #[error(transparent)]
    Pe(#[from] PeError),
    /// It could not be read.
    #[error(transparent)]
    Hash(#[from] HashError),
}

/// What a PE file says of itself.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// Name and version of this structure.
    pub schema: &'static str,
    /// The file itself.
    pub file: FileFacts,
    /// What it is: `uki`, `addon`, `systemd-boot`, `kernel`, `shim`, `grub` or `other`.
    pub role: &'static str,
    /// The program of systemd's EFI family that it is or is built on, by its `.sdmagic`.
    pub program: Option<ProgramFacts>,
    /// The image digest (Authenticode) per bank, as firmware measures it; absent when firmware would refuse to.
    pub image_digest: Option<BankDigests>,
    /// Why there is no image digest.
    pub image_digest_error: Option<String>,
    /// The image digest after padding to a multiple of 8 bytes, which signing tools do first. Only where that
    /// changes it: the file is unsigned and of another length.
    pub padded_image_digest: Option<BankDigests>,
    /// The PE headers.
    pub headers: HeaderFacts,
    /// The section table, in order.
    pub sections: Vec<SectionFacts>,
    /// The certificate table's entries, in order.
    pub signatures: Vec<SignatureFacts>,
    /// What a UKI or addon carries.
    pub uki: Option<UkiFacts>,
    /// The kernel: the file itself, or the one in `.linux`.
    pub kernel: Option<KernelFacts>,
    /// The lines of `.sbat` (SBAT: revocation by generation numbers).
    pub sbat: Vec<SbatEntry>,
    /// What is unusual or wrong.
    pub findings: Vec<Finding>,
}

/// The file itself.
#[derive(Debug, Clone, Serialize)]
pub struct FileFacts {
    /// Its name, without folders.
    pub name: String,
    /// Length in bytes.
    pub size: u64,
    /// SHA-256 over all of it. This is not what any PCR gets to see.
    pub sha256: String,
}

/// What `.sdmagic` says.
#[derive(Debug, Clone, Serialize)]
pub struct ProgramFacts {
    /// `systemd-stub`, `systemd-boot`, `systemd-addon`, or `unknown program`.
    pub name: String,
    /// The version as written; absent when the text has none.
    pub version: Option<String>,
    /// The whole text.
    pub text: String,
}

/// What a Linux kernel image says of itself.
#[derive(Debug, Clone, Serialize)]
pub struct KernelFacts {
    /// Bytes of the image.
    pub size: u64,
    /// `bzImage`, `Image` or `zboot`; absent when it is none of these.
    pub format: Option<&'static str>,
    /// Version: of the setup header of a bzImage, else the UKI's `.uname`.
    pub version: Option<String>,
    /// `MajorImageVersion` of its own PE header. 1 or more: it takes its initrd from the stub through `LoadFile2`.
    pub major_image_version: Option<u16>,
    /// `MinorImageVersion` of its own PE header.
    pub minor_image_version: Option<u16>,
    /// Processor.
    pub machine: Option<String>,
    /// It has a certificate table of its own.
    pub signed: bool,
}

/// Inspects `file`, called `name` in the result. `progress` is told of bytes read.
///
/// # Errors
/// [`InspectError`] when `file` is no PE image, its headers are cut off, or it can't be read. Anything else that is
/// wrong is a finding.
pub fn inspect(
    file: &Blob,
    name: &str,
    options: &Options,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Inspection, InspectError> {
    let image = PeImage::parse(file)?;
    let table = CertificateTable::read(&image)?;
    let signed = signing::read(&table);
    let mut findings = findings::of_headers(&image, &table);
    let mut sections = headers::sections(&image);
    findings::note_remarks(&mut sections, &findings);

    let digests = digests::compute(&image, &signed, options, progress)?;
    headers::add_digests(&mut sections, &digests.sections);
    let signatures = signing::facts(&table, &signed, &digests.image_all_banks, &mut findings);
    findings::of_digests(&image, &digests, &mut findings);

    let program = noted(LoaderInfo::of(&image), ".sdmagic", &mut findings);
    let role = ImageRole::of(&image).unwrap_or(ImageRole::Other);
    let uki = matches!(role, ImageRole::Uki | ImageRole::Addon).then(|| contents::uki(&image, &mut findings));
    let kernel = kernel(&image, role, uki.as_ref(), &mut findings);
    let sbat = contents::sbat(&image, &mut findings);
    Ok(Inspection {
        schema: "premeasure-inspection-1",
        file: FileFacts { name: name.to_owned(), size: file.len(), sha256: digests.file },
        role: role.id(),
        program: program.map(program_facts),
        image_digest: digests.image,
        image_digest_error: digests.error,
        padded_image_digest: digests.padded,
        headers: headers::facts(&image),
        sections,
        signatures,
        uki,
        kernel,
        sbat,
        findings: findings::limited(findings),
    })
}

/// The value, or a finding that says why there is none.
fn noted<T>(result: Result<Option<T>, PeError>, section: &str, findings: &mut Vec<Finding>) -> Option<T> {
    result.unwrap_or_else(|error| {
        findings.push(Finding::new("section-unreadable", format!("{section} can't be read: {error}")));
        None
    })
}

fn program_facts(info: LoaderInfo) -> ProgramFacts {
    ProgramFacts {
        name: info.product.to_string(),
        version: info.version.map(|version| version.text),
        text: info.text,
    }
}

fn kernel(
    image: &PeImage,
    role: ImageRole,
    uki: Option<&UkiFacts>,
    findings: &mut Vec<Finding>,
) -> Option<KernelFacts> {
    let file = match role {
        ImageRole::Kernel => image.file.clone(),
        ImageRole::Uki => {
            let data = image.section(".linux").map(|section| image.loaded_data(section)).transpose();
            noted(data, ".linux", findings)?
        }
        _ => return None,
    };
    let kernel = noted(Kernel::parse(&file), ".linux", findings);
    // A kernel without an EFI stub is no PE image; the stub then starts it in another way, or not at all.
    let own = PeImage::parse(&file).ok();
    let uname = uki.and_then(|uki| uki.base.uname.clone());
    Some(KernelFacts {
        size: file.len(),
        format: kernel.as_ref().map(|kernel| match kernel.format {
            KernelFormat::BzImage => "bzImage",
            KernelFormat::Image => "Image",
            KernelFormat::Zboot => "zboot",
        }),
        version: kernel.and_then(|kernel| kernel.version_text).or(uname),
        major_image_version: own.as_ref().map(|own| own.major_image_version),
        minor_image_version: own.as_ref().map(|own| own.minor_image_version),
        machine: own.as_ref().map(|own| own.machine.to_string()),
        signed: own.is_some_and(|own| own.certificate_table().is_some()),
    })
}
