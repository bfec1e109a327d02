//! The initrd that the kernel gets: its parts, put together.

use super::Stub;
use super::rules::{InitrdPart, Padding, Step};
use crate::boot::cpio::{Archive, Target};
use crate::boot::measurement::GapCode;
use crate::boot::replay::BootError;
use crate::boot::{Declared, InputId, entry_initrd};
use crate::hashing::Segment;

/// The initrd that the stub hands to the kernel.
pub(in crate::boot) enum Initrd {
    /// None.
    None,
    /// Its bytes, and the inputs that they come from.
    Known(Vec<Segment>, Vec<InputId>),
    /// Not known, and why.
    Unknown(GapCode, String, &'static str),
}

/// Where the stub puts single files.
const LITERAL: Target = Target { folder: ".extra", folder_mode: 0o555, file_mode: 0o444 };
const SECRET: Target = Target { folder: ".extra", folder_mode: 0o555, file_mode: 0o400 };

type Part = Vec<Segment>;

impl Stub<'_> {
    /// Puts the parts together (systemd `combine_initrds`, earlier `combine_initrd`).
    pub(super) fn initrd(&self) -> Result<Initrd, BootError> {
        let mut parts: Vec<(InitrdPart, Part)> = Vec::new();
        let mut used_inputs = self.used_inputs.clone();
        let pads = self.started.pads_initrds();
        let entry = self.chain.entry.as_ref();
        let previous = match entry.map(|entry| entry_initrd::previous(entry, pads)) {
            None => None,
            Some(Ok(previous)) => previous,
            Some(Err(entry_initrd::Unknown)) => {
                return Ok(Initrd::Unknown(
                    GapCode::UnknownLoader,
                    "the entry has both extra and initrd lines, and their order in the initrd is not known"
                        .to_owned(),
                    "an entry with only one of them",
                ));
            }
        };
        let previous = previous.map(|(segments, inputs)| {
            used_inputs.extend(inputs);
            segments
        });
        for part in self.rules.initrd {
            if *part == InitrdPart::BootSecret && self.scenario.boot_secret == Declared::Unknown {
                return Ok(Initrd::Unknown(
                    GapCode::BootSecret,
                    "from 261 on the stub puts a secret of the machine into the initrd, /.extra/boot-secret"
                        .to_owned(),
                    "--boot-secret FILE, --boot-secret hex:..., or --boot-secret none where the machine has none",
                ));
            }
            if *part == InitrdPart::Previous {
                parts.extend(previous.clone().map(|segments| (*part, segments)));
                continue;
            }
            parts.extend(self.parts(*part)?.into_iter().map(|segments| (*part, segments)));
        }
        if parts.is_empty() {
            return Ok(Initrd::None);
        }
        let pads = match self.rules.padding {
            Padding::BesideInitrd => parts.iter().any(|(part, _)| *part != InitrdPart::Initrd),
            Padding::SeveralParts => parts.len() > 1,
        };
        let mut segments = Vec::new();
        for (_, part) in parts {
            let length: u64 = part.iter().map(Segment::len).sum();
            segments.extend(part);
            if pads {
                segments.push(Segment::Zeros(length.next_multiple_of(4) - length));
            }
        }
        Ok(Initrd::Known(segments, used_inputs))
    }

    fn parts(&self, part: InitrdPart) -> Result<Vec<Part>, BootError> {
        let archive = |step| self.archive(step).map(|archive| archive.map(|(segments, _)| segments));
        let one = match part {
            InitrdPart::AddonMicrocode => {
                let sections = self.addons.iter().rev().filter_map(|addon| addon.microcode.as_ref());
                return Ok(sections.map(crate::uki::LoadedSection::segments).collect());
            }
            InitrdPart::AddonInitrds => {
                let sections = self.addons.iter().filter_map(|addon| addon.initrd.as_ref());
                return Ok(sections.map(crate::uki::LoadedSection::segments).collect());
            }
            InitrdPart::Microcode => self.section(".ucode")?.map(|section| section.segments()),
            InitrdPart::Initrd => self.section(".initrd")?.map(|section| section.segments()),
            InitrdPart::Credentials => archive(Step::Credentials)?,
            InitrdPart::GlobalCredentials => archive(Step::GlobalCredentials)?,
            InitrdPart::SystemExtensions => archive(Step::SystemExtensions)?,
            InitrdPart::GlobalSystemExtensions => archive(Step::GlobalSystemExtensions)?,
            InitrdPart::ConfigurationExtensions => archive(Step::ConfigurationExtensions)?,
            InitrdPart::GlobalConfigurationExtensions => archive(Step::GlobalConfigurationExtensions)?,
            InitrdPart::PcrSignature => self.section_file(".pcrsig", "tpm2-pcr-signature.json")?,
            InitrdPart::PcrPublicKey => self.section_file(".pcrpkey", "tpm2-pcr-public-key.pem")?,
            InitrdPart::OsRelease => self.section_file(".osrel", "os-release")?,
            InitrdPart::Profile => self.section_file(".profile", "profile")?,
            InitrdPart::Previous => None,
            InitrdPart::BootSecret => match &self.scenario.boot_secret {
                Declared::Is(secret) => Some(file(SECRET, "boot-secret", vec![Segment::bytes(*secret)])?),
                Declared::Absent | Declared::Unknown => None,
            },
        };
        Ok(one.into_iter().collect())
    }

    /// A section as a file of the initrd.
    fn section_file(&self, section: &str, name: &str) -> Result<Option<Part>, BootError> {
        self.section(section)?.map(|section| file(LITERAL, name, section.segments())).transpose()
    }
}

fn file(target: Target, name: &str, content: Vec<Segment>) -> Result<Part, BootError> {
    let mut archive = Archive::new(target);
    archive.file(name, content)?;
    Ok(archive.finish())
}
