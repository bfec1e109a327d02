//! What a UKI or addon carries: the texts, the profiles, the sizes.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Serialize;

use super::Finding;
use super::pcr_policy::{self, PcrPublicKey, PcrSignatureBank};
use crate::pe::{PeError, PeImage, Section};
use crate::uki::{LoadedSection, os_release_fields};

/// Bytes of an entry of `.hwids` (systemd `chid.c`): descriptor, GUID, two offsets.
const HWID_ENTRY: usize = 28;
/// Largest text that is shown; the kernel's own limit for a command line is 2 KiB on most architectures.
const MAX_SHOWN: u64 = 64 << 10;
/// Most profiles that are shown.
const MAX_PROFILES: usize = 64;
/// Largest `.pcrsig` that is read: thousands of signatures.
const MAX_PCRSIG: u64 = 4 << 20;

/// What a UKI or addon carries.
#[derive(Debug, Clone, Serialize)]
pub struct UkiFacts {
    /// The base: the sections before the first `.profile`.
    pub base: Contents,
    /// The profiles, in order. A section of the chosen profile replaces the one of the base.
    pub profiles: Vec<ProfileFacts>,
}

/// A profile: the sections from one `.profile` to the next.
#[derive(Debug, Clone, Serialize)]
pub struct ProfileFacts {
    /// Its number, from 0; `@N` selects it.
    pub number: usize,
    /// `ID` of its `.profile`.
    pub id: Option<String>,
    /// `TITLE` of its `.profile`.
    pub title: Option<String>,
    /// All assignments of its `.profile`, in order.
    pub fields: Vec<Word>,
    /// What it carries itself.
    pub contents: Contents,
}

/// An assignment `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Word {
    /// Left of the equals sign.
    pub name: String,
    /// Right of it.
    pub value: String,
}

/// What the base or one profile carries. Of equal names the first section counts.
#[derive(Debug, Clone, Serialize)]
pub struct Contents {
    /// Sections that hold data for the stub, by name, with their loaded size in bytes; of a name that occurs several
    /// times, the sum.
    pub parts: BTreeMap<String, u64>,
    /// `.osrel`: the assignments, in order.
    pub os_release: Option<Vec<Word>>,
    /// `.uname`.
    pub uname: Option<String>,
    /// `.cmdline`.
    pub cmdline: Option<CommandLine>,
    /// `.pcrpkey`.
    pub pcr_public_key: Option<PcrPublicKey>,
    /// `.pcrsig`, per bank.
    pub pcr_signatures: Option<Vec<PcrSignatureBank>>,
    /// Sections `.dtbauto`: devicetrees that the stub chooses among.
    pub dtbauto: usize,
    /// Sections `.efifw`: firmware images that the stub chooses among.
    pub efifw: usize,
    /// Entries of `.hwids`.
    pub hwids: Option<usize>,
}

/// A kernel command line.
#[derive(Debug, Clone, Serialize)]
pub struct CommandLine {
    /// As text, up to the first NUL; what is not UTF-8 is replaced.
    pub text: String,
    /// The bytes as loaded, hexadecimal: what is measured.
    pub hex: String,
    /// The words that pin file systems to verity hashes: `roothash`, `usrhash`, `systemd.verity*`.
    pub verity: Vec<Word>,
}

/// A line of `.sbat`.
#[derive(Debug, Clone, Serialize)]
pub struct SbatEntry {
    /// Component: what revocations name.
    pub component: String,
    /// Its generation; absent when it is no number.
    pub generation: Option<u32>,
    /// Vendor.
    pub vendor: String,
    /// Package of the vendor.
    pub package: String,
    /// Version of that package.
    pub version: String,
    /// Where to learn more.
    pub url: String,
}

/// Names of sections that hold the program and not data for the stub.
const PROGRAM_SECTIONS: [&str; 9] =
    [".text", ".rodata", ".data", ".bss", ".reloc", ".sdmagic", ".dynamic", ".rela", ".dynsym"];

/// The base and profiles of `image`.
pub(super) fn uki(image: &PeImage, findings: &mut Vec<Finding>) -> UkiFacts {
    let starts: Vec<usize> = image
        .sections
        .iter()
        .enumerate()
        .filter(|(_, section)| section.name.is(".profile"))
        .map(|(index, _)| index)
        .collect();
    let end = image.sections.len();
    let base = 0..starts.first().copied().unwrap_or(end);
    let ends = starts.iter().skip(1).copied().chain([end]);
    let ranges: Vec<Range<usize>> = starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect();
    UkiFacts {
        base: contents(&Slice::new(image, base), findings),
        profiles: ranges
            .into_iter()
            .enumerate()
            .take(MAX_PROFILES)
            .map(|(number, range)| profile(number, &Slice::new(image, range), findings))
            .collect(),
    }
}

/// The lines of `.sbat`; empty without one.
pub(super) fn sbat(image: &PeImage, findings: &mut Vec<Finding>) -> Vec<SbatEntry> {
    let text = Slice::new(image, 0..image.sections.len()).text(".sbat", findings).unwrap_or_default();
    text.lines().filter(|line| !line.trim().is_empty()).map(sbat_entry).collect()
}

fn sbat_entry(line: &str) -> SbatEntry {
    let mut fields = line.splitn(6, ',');
    let mut field = || fields.next().unwrap_or_default().trim().to_owned();
    SbatEntry {
        component: field(),
        generation: field().parse().ok(),
        vendor: field(),
        package: field(),
        version: field(),
        url: field(),
    }
}

/// A run of sections.
struct Slice<'a> {
    image: &'a PeImage,
    sections: &'a [Section],
}

impl<'a> Slice<'a> {
    fn new(image: &'a PeImage, range: Range<usize>) -> Self {
        Self { image, sections: image.sections.get(range).unwrap_or_default() }
    }

    fn count(&self, name: &str) -> usize {
        self.sections.iter().filter(|section| section.name.is(name) && section.virtual_size != 0).count()
    }

    /// The loaded bytes of the first section of this name; a finding when they can't be read.
    fn bytes(&self, name: &str, limit: u64, findings: &mut Vec<Finding>) -> Option<Vec<u8>> {
        let section = self.sections.iter().find(|section| section.name.is(name))?;
        let read =
            |section| -> Result<Vec<u8>, PeError> { LoadedSection::new(self.image, section)?.read(limit) };
        match read(section) {
            Ok(bytes) => Some(bytes).filter(|bytes| !bytes.is_empty()),
            Err(error) => {
                findings.push(Finding::new("section-unreadable", format!("{name} can't be read: {error}")));
                None
            }
        }
    }

    fn text(&self, name: &str, findings: &mut Vec<Finding>) -> Option<String> {
        self.bytes(name, MAX_SHOWN, findings).map(|bytes| text(&bytes))
    }
}

/// Bytes as text, up to the first NUL.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

fn profile(number: usize, slice: &Slice<'_>, findings: &mut Vec<Finding>) -> ProfileFacts {
    let fields = words(&slice.text(".profile", findings).unwrap_or_default());
    let find = |name| fields.iter().find(|word| word.name == name).map(|word| word.value.clone());
    ProfileFacts { number, id: find("ID"), title: find("TITLE"), contents: contents(slice, findings), fields }
}

fn contents(slice: &Slice<'_>, findings: &mut Vec<Finding>) -> Contents {
    let cmdline = slice.bytes(".cmdline", MAX_SHOWN, findings);
    let pcr_public_key = slice
        .bytes(".pcrpkey", MAX_SHOWN, findings)
        .and_then(|bytes| noted(pcr_policy::pcr_public_key(&bytes), ".pcrpkey", findings));
    let pcr_signatures = slice
        .bytes(".pcrsig", MAX_PCRSIG, findings)
        .and_then(|bytes| noted(pcr_policy::pcr_signatures(&bytes), ".pcrsig", findings));
    Contents {
        parts: parts(slice),
        os_release: slice.text(".osrel", findings).map(|text| words(&text)),
        uname: slice.text(".uname", findings).map(|text| text.trim_end().to_owned()),
        cmdline: cmdline.map(|bytes| command_line(&bytes)),
        pcr_public_key,
        pcr_signatures,
        dtbauto: slice.count(".dtbauto"),
        efifw: slice.count(".efifw"),
        hwids: slice.bytes(".hwids", MAX_SHOWN, findings).map(|bytes| hwid_count(&bytes)),
    }
}

fn noted<T>(result: Result<T, String>, section: &str, findings: &mut Vec<Finding>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(why) => {
            findings.push(Finding::new("section-malformed", format!("{section}: {why}")));
            None
        }
    }
}

fn parts(slice: &Slice<'_>) -> BTreeMap<String, u64> {
    let mut parts: BTreeMap<String, u64> = BTreeMap::new();
    for section in slice.sections {
        let name = section.name.to_string();
        if section.virtual_size != 0 && !PROGRAM_SECTIONS.contains(&name.as_str()) {
            let size = parts.entry(name).or_default();
            *size = size.saturating_add(section.virtual_size.into());
        }
    }
    parts
}

fn words(text: &str) -> Vec<Word> {
    os_release_fields(text).into_iter().map(|(name, value)| Word { name, value }).collect()
}

fn command_line(bytes: &[u8]) -> CommandLine {
    let text = text(bytes);
    let verity = split_words(&text)
        .into_iter()
        .filter_map(|word| {
            let (name, value) = word.split_once('=')?;
            let bare = name.strip_prefix("rd.").unwrap_or(name);
            let is_verity = ["roothash", "usrhash"].contains(&bare) || bare.starts_with("systemd.verity");
            is_verity.then(|| Word { name: name.to_owned(), value: value.to_owned() })
        })
        .collect();
    CommandLine { hex: hex::encode(bytes), verity, text }
}

/// Words of a command line: separated by white space, which double quotes keep (kernel `next_arg`).
fn split_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for character in line.chars().chain([' ']) {
        if character == '"' {
            quoted = !quoted;
        } else if !character.is_ascii_whitespace() || quoted {
            word.push(character);
        } else if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
    }
    // A quote that is never closed reaches to the end, without the space that ended the loop.
    if !word.is_empty() {
        words.push(word.trim_end().to_owned());
    }
    words
}

/// Entries of `.hwids` before the one whose descriptor is 0.
fn hwid_count(bytes: &[u8]) -> usize {
    bytes
        .chunks_exact(HWID_ENTRY)
        .take_while(|entry| entry.first_chunk::<4>().is_some_and(|descriptor| *descriptor != [0; 4]))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verity_words_are_found_also_in_quotes() {
        let line =
            command_line(b"quiet roothash=ab12 \"usrhash=c d\" rd.systemd.verity=1 xroothash=9 ro\n\0");
        let word = |name: &str, value: &str| Word { name: name.to_owned(), value: value.to_owned() };
        let expected = [word("roothash", "ab12"), word("usrhash", "c d"), word("rd.systemd.verity", "1")];
        assert_eq!(line.verity, expected);
        assert_eq!(line.text, "quiet roothash=ab12 \"usrhash=c d\" rd.systemd.verity=1 xroothash=9 ro\n");
    }

    #[test]
    fn hwids_end_at_a_zero_descriptor() {
        let mut bytes = vec![0x1C, 0, 0, 0x10];
        bytes.resize(28, 1);
        bytes.extend_from_within(..28);
        assert_eq!(hwid_count(&bytes), 2);
        bytes.extend([0; 28]);
        bytes.extend(*b"a name");
        assert_eq!(hwid_count(&bytes), 2);
    }

    #[test]
    fn sbat_lines_may_lack_fields() {
        let entry = sbat_entry("systemd-stub.debian,1,Debian,systemd,257.13,https://a,b");
        assert_eq!((entry.generation, entry.url.as_str()), (Some(1), "https://a,b"));
        assert_eq!(sbat_entry("broken").generation, None);
    }
}
