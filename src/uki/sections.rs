//! Sections as the stub finds them: by prefix or exactly, the last or the first, in the base or a profile.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use crate::hashing::{MAX_ZEROS, Segment};
use crate::pe::{PeError, PeImage, Section};
use crate::source::Blob;

/// Which section a stub takes when it looks for a name (systemd `pe_locate_sections`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionLookup {
    /// Up to 256: compares as many bytes as the wanted name has, and the last match wins. So `.dtb` is found in a
    /// section `.dtbauto`.
    LastByPrefix,
    /// From 257: compares whole names, and the first match wins.
    FirstExact,
}

/// A section as it stands in memory: `VirtualSize` bytes, zero where the file has none.
#[derive(Debug, Clone)]
pub struct LoadedSection {
    /// The header.
    pub section: Section,
    /// The bytes that come from the file.
    pub data: Blob,
    /// Zero bytes that follow them.
    pub zeros: u64,
}

impl LoadedSection {
    /// Loads `section` of `image`; nothing is read yet.
    ///
    /// # Errors
    /// When the section's bytes do not lie inside the file, or its zero fill is beyond reason.
    pub fn new(image: &PeImage, section: &Section) -> Result<Self, PeError> {
        let data = image.loaded_data(section)?;
        let zeros = u64::from(section.virtual_size).saturating_sub(data.len());
        if zeros > MAX_ZEROS {
            return Err(PeError::ZeroFill { name: section.name, zeros, limit: MAX_ZEROS });
        }
        Ok(Self { section: *section, data, zeros })
    }

    /// `VirtualSize`.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.section.virtual_size.into()
    }

    /// Nothing in it. Such a section counts as absent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.section.virtual_size == 0
    }

    /// The loaded bytes, as parts of a stream.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        vec![Segment::Range(self.data.clone()), Segment::Zeros(self.zeros)]
    }

    /// The loaded bytes, at most `limit` of them.
    ///
    /// # Errors
    /// When it is larger, or can't be read.
    pub fn read(&self, limit: u64) -> Result<Vec<u8>, PeError> {
        if self.len() > limit {
            return Err(PeError::Io(std::io::Error::new(
                std::io::ErrorKind::FileTooLarge,
                format!(
                    "section {}: VirtualSize is {} bytes, the limit is {limit}",
                    self.section.name,
                    self.len()
                ),
            )));
        }
        let mut bytes = self.data.read(limit)?;
        bytes.resize(usize::try_from(self.len()).unwrap_or(bytes.len()), 0);
        Ok(bytes)
    }

    /// The loaded bytes as text, up to the first NUL; what is not UTF-8 is replaced.
    ///
    /// # Errors
    /// As [`LoadedSection::read`].
    pub fn read_text(&self, limit: u64) -> Result<String, PeError> {
        let bytes = self.read(limit)?;
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(text).into_owned())
    }
}

/// A profile that the image does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no profile {wanted}: the image has {}", self.described())]
pub struct ProfileError {
    /// The number asked for.
    pub wanted: u32,
    /// Profiles that there are; 0 when the image has no `.profile` at all.
    pub count: usize,
}

impl ProfileError {
    fn described(&self) -> String {
        match self.count {
            0 => "no .profile section, so only profile 0".to_owned(),
            count => format!("{count}, numbered from 0"),
        }
    }
}

/// Number of `.profile` sections. An image without one still boots as profile 0.
#[must_use]
pub fn profile_count(image: &PeImage) -> usize {
    image.sections.iter().filter(|section| section.name.is(".profile")).count()
}

/// The sections that a stub sees: the base ones, and those of the chosen profile, which win.
#[derive(Debug, Clone)]
pub struct SectionSet<'a> {
    image: &'a PeImage,
    lookup: SectionLookup,
    base: &'a [Section],
    profile: &'a [Section],
}

impl<'a> SectionSet<'a> {
    /// All sections, for a program that knows no profiles.
    #[must_use]
    pub fn without_profiles(image: &'a PeImage, lookup: SectionLookup) -> Self {
        Self { image, lookup, base: &image.sections, profile: &[] }
    }

    /// The base sections (all before the first `.profile`) and those of profile `number` (systemd
    /// `pe_locate_profile_sections`).
    ///
    /// # Errors
    /// [`ProfileError`] when there is no such profile; the stub then refuses to boot.
    pub fn with_profile(
        image: &'a PeImage,
        lookup: SectionLookup,
        number: u32,
    ) -> Result<Self, ProfileError> {
        let starts: Vec<usize> = (0..image.sections.len())
            .filter(|index| image.sections.get(*index).is_some_and(|section| section.name.is(".profile")))
            .collect();
        let Some(first) = starts.first() else {
            return match number {
                0 => Ok(Self::without_profiles(image, lookup)),
                wanted => Err(ProfileError { wanted, count: 0 }),
            };
        };
        let wanted = usize::try_from(number).unwrap_or(usize::MAX);
        let Some(start) = starts.get(wanted) else {
            return Err(ProfileError { wanted: number, count: starts.len() });
        };
        let end = starts.get(wanted.saturating_add(1)).copied().unwrap_or(image.sections.len());
        let base = image.sections.get(..*first).unwrap_or_default();
        let profile = image.sections.get(*start..end).unwrap_or_default();
        Ok(Self { image, lookup, base, profile })
    }

    /// The section that the stub finds under `name`; an empty one counts as absent.
    ///
    /// # Errors
    /// When the section's bytes do not lie inside the file.
    pub fn get(&self, name: &str) -> Result<Option<LoadedSection>, PeError> {
        // A match in the profile replaces the one in the base even when it is empty, and an empty match still ends
        // the search: only then is it found to be absent (systemd `pe_locate_sections_internal`).
        let found = self.find(self.profile, name).or_else(|| self.find(self.base, name));
        let present = found.filter(|section| section.virtual_size != 0);
        present.map(|section| LoadedSection::new(self.image, section)).transpose()
    }

    /// Every section of this name that a stub chooses among by the machine it runs on (`.dtbauto`, `.efifw`): those
    /// of the profile, which win where they match, then those of the base.
    ///
    /// # Errors
    /// When a section's bytes do not lie inside the file.
    pub fn all(&self, name: &str) -> Result<Vec<LoadedSection>, PeError> {
        let sections = self.profile.iter().chain(self.base);
        let named = sections.filter(|section| section.virtual_size != 0 && section.name.is(name));
        named.map(|section| LoadedSection::new(self.image, section)).collect()
    }

    fn find(&self, sections: &'a [Section], name: &str) -> Option<&'a Section> {
        match self.lookup {
            SectionLookup::LastByPrefix => sections.iter().rfind(|section| section.name.starts_with(name)),
            SectionLookup::FirstExact => sections.iter().find(|section| section.name.is(name)),
        }
    }
}
