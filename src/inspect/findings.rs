//! What is unusual or wrong with a PE file. Nothing here stops an inspection.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{SectionFacts, digests::FileDigests};
use crate::pe::{CertificateTable, PeImage, Section};

/// Most findings of one kind that are listed; a hostile file could cause as many as it has sections.
const MAX_PER_CODE: usize = 16;

/// `IMAGE_SCN_MEM_WRITE` and `IMAGE_SCN_MEM_EXECUTE`.
const WRITE_AND_EXECUTE: u32 = 0x8000_0000 | 0x2000_0000;

/// Something unusual or wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of finding: a stable word for scripts.
    pub code: &'static str,
    /// In words, with numbers.
    pub text: String,
    /// The section's place in the table, from 0, when it is about one.
    pub section: Option<usize>,
    /// The same for the remarks column of the section table.
    #[serde(skip)]
    remark: Option<String>,
}

impl Finding {
    pub(super) fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), section: None, remark: None }
    }

    fn of_section(code: &'static str, at: &Numbered<'_>, text: &str, remark: String) -> Self {
        let text = format!("section {} ({}): {text}", at.section.name, at.number());
        Self { code, text, section: Some(at.index), remark: Some(remark) }
    }
}

#[derive(Clone, Copy)]
struct Numbered<'a> {
    index: usize,
    section: &'a Section,
}

impl Numbered<'_> {
    /// Counted from 1, as tables show it.
    fn number(&self) -> usize {
        self.index.saturating_add(1)
    }

    fn raw_end(&self) -> u64 {
        u64::from(self.section.raw_offset).saturating_add(self.section.raw_size.into())
    }

    fn virtual_end(&self) -> u64 {
        u64::from(self.section.virtual_address).saturating_add(self.section.virtual_size.into())
    }
}

/// Findings about headers, sections and the place of the certificate table.
pub(super) fn of_headers(image: &PeImage, table: &CertificateTable) -> Vec<Finding> {
    let sections: Vec<Numbered<'_>> =
        image.sections.iter().enumerate().map(|(index, section)| Numbered { index, section }).collect();
    let mut findings = Vec::new();
    directories(image, &mut findings);
    if sections.is_empty() {
        findings.push(Finding::new("no-sections", "NumberOfSections is 0: nothing would be loaded"));
    }
    for section in &sections {
        one_section(image, section, &mut findings);
    }
    overlaps_in_file(image, &sections, &mut findings);
    overlaps_in_memory(&sections, &mut findings);
    duplicates(&sections, &mut findings);
    certificate_table(image, table, &mut findings);
    findings
}

/// Findings that need the digests.
pub(super) fn of_digests(image: &PeImage, digests: &FileDigests, findings: &mut Vec<Finding>) {
    if let Some(error) = &digests.error {
        let text = format!("no image digest, firmware would refuse the image: {error}");
        findings.push(Finding::new("no-image-digest", text));
    }
    if digests.padded.is_some() {
        let text = format!(
            "the file's length, {} bytes, is no multiple of 8: signing it will change its image digest",
            image.file.len()
        );
        findings.push(Finding::new("length-unaligned", text));
    }
}

/// Adds what findings say about a section to its remarks.
pub(super) fn note_remarks(sections: &mut [SectionFacts], findings: &[Finding]) {
    for finding in findings {
        let section = finding.section.and_then(|index| sections.get_mut(index));
        if let (Some(section), Some(remark)) = (section, &finding.remark) {
            section.remarks.push(remark.clone());
        }
    }
}

/// At most [`MAX_PER_CODE`] findings of each kind, and a line that says how many more there are.
pub(super) fn limited(findings: Vec<Finding>) -> Vec<Finding> {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut kept: Vec<Finding> = Vec::new();
    for finding in findings {
        let count = counts.entry(finding.code).or_default();
        *count = count.saturating_add(1);
        if *count <= MAX_PER_CODE {
            kept.push(finding);
        }
    }
    for (code, count) in counts {
        if let Some(more @ 1..) = count.checked_sub(MAX_PER_CODE) {
            kept.push(Finding::new(code, format!("{more} more of this kind")));
        }
    }
    kept
}

fn directories(image: &PeImage, findings: &mut Vec<Finding>) {
    let count = image.number_of_rva_and_sizes;
    if count <= 4 {
        let text = format!("NumberOfRvaAndSizes is {count}: there is no entry for a certificate table");
        findings.push(Finding::new("data-directories-truncated", text));
    } else if count > 16 {
        let text = format!("NumberOfRvaAndSizes is {count}, the format knows 16");
        findings.push(Finding::new("data-directories-excess", text));
    }
    let end = image.data_directories_offset.saturating_add(u64::from(count).saturating_mul(8));
    if end > image.section_table_offset {
        let text = format!(
            "SizeOfOptionalHeader puts the section table at {:#x}, inside the data directories, which end at {end:#x}",
            image.section_table_offset
        );
        findings.push(Finding::new("section-table-misplaced", text));
    }
    let table_size = (image.sections.len() as u64).saturating_mul(40);
    let table_end = image.section_table_offset.saturating_add(table_size);
    if table_end > image.size_of_headers.into() {
        let text = format!(
            "the section table ends at {table_end:#x}, beyond SizeOfHeaders {:#x}: the image digest misses the rest",
            image.size_of_headers
        );
        findings.push(Finding::new("headers-too-short", text));
    }
    if image.entry_point >= image.size_of_image && image.size_of_image != 0 {
        let text = format!(
            "AddressOfEntryPoint {:#x} lies beyond SizeOfImage {:#x}",
            image.entry_point, image.size_of_image
        );
        findings.push(Finding::new("entry-point-outside", text));
    }
}

fn one_section(image: &PeImage, at: &Numbered<'_>, findings: &mut Vec<Finding>) {
    let section = at.section;
    let length = image.file.len();
    if section.raw_size != 0 && at.raw_end() > length {
        let text = format!(
            "PointerToRawData {:#x} + SizeOfRawData {:#x} lies beyond the end of the file at {length:#x}",
            section.raw_offset, section.raw_size
        );
        findings.push(Finding::of_section("section-outside-file", at, &text, "outside the file".to_owned()));
    }
    if at.virtual_end() > image.size_of_image.into() {
        let text = format!(
            "VirtualAddress {:#x} + VirtualSize {:#x} lies beyond SizeOfImage {:#x}",
            section.virtual_address, section.virtual_size, image.size_of_image
        );
        findings.push(Finding::of_section(
            "section-outside-image",
            at,
            &text,
            "beyond SizeOfImage".to_owned(),
        ));
    }
    if section.characteristics & WRITE_AND_EXECUTE == WRITE_AND_EXECUTE {
        let text = "its memory may be written and executed";
        findings.push(Finding::of_section("section-writable-executable", at, text, "W+X".to_owned()));
    }
    if image.section_alignment != 0
        && section.virtual_address.checked_rem(image.section_alignment).unwrap_or(0) != 0
    {
        let text = format!(
            "VirtualAddress {:#x} is no multiple of SectionAlignment {:#x}",
            section.virtual_address, image.section_alignment
        );
        findings.push(Finding::of_section("section-misaligned", at, &text, "misaligned".to_owned()));
    }
}

/// Sections with raw data, by their place in the file: overlaps, gaps, and what lies between the last one and the
/// certificate table. The firmware's image digest assumes that there are neither overlaps nor gaps.
fn overlaps_in_file(image: &PeImage, sections: &[Numbered<'_>], findings: &mut Vec<Finding>) {
    // Those that lie outside the file have a finding of their own.
    let inside = |at: &&Numbered<'_>| at.section.raw_size != 0 && at.raw_end() <= image.file.len();
    let mut stored: Vec<Numbered<'_>> = sections.iter().filter(inside).copied().collect();
    stored.sort_by_key(|at| at.section.raw_offset);
    let mut end = u64::from(image.size_of_headers);
    let mut before = "the headers".to_owned();
    for at in stored {
        let start = u64::from(at.section.raw_offset);
        if let Some(overlap @ 1..) = end.checked_sub(start) {
            let shared = overlap.min(at.section.raw_size.into());
            let text = format!("its first {shared} bytes in the file also belong to {before}");
            let remark = format!("overlaps {before} in the file");
            findings.push(Finding::of_section("section-overlap-file", &at, &text, remark));
        } else if let Some(gap @ 1..) = start.checked_sub(end) {
            let text = format!("{gap} bytes between {before} and it belong to nothing");
            let remark = format!("gap of {gap} bytes before it");
            findings.push(Finding::of_section("gap-in-file", &at, &text, remark));
        }
        if at.raw_end() >= end {
            end = at.raw_end();
            before = at.section.name.to_string();
        }
    }
    // Where a section lies outside, the file was cut off: its end says nothing about what follows the sections.
    if sections.iter().all(|at| at.section.raw_size == 0 || at.raw_end() <= image.file.len()) {
        trailing(image, end, findings);
    }
}

/// Bytes behind the last section that are no certificate table.
fn trailing(image: &PeImage, end: u64, findings: &mut Vec<Finding>) {
    let stop = match image.certificate_table() {
        Some(table) if u64::from(table.address) >= end => u64::from(table.address),
        _ => image.file.len(),
    };
    let Some(count @ 1..) = stop.checked_sub(end) else { return };
    // Signing tools pad to 8 bytes before they append their table.
    if count < 8 && image.certificate_table().is_some() {
        return;
    }
    let text =
        format!("{count} bytes at {end:#x} follow the last section; they are part of the image digest");
    findings.push(Finding::new("trailing-data", text));
    if let Some(start) = image.file.slice(end, count).and_then(|rest| rest.read_prefix(8).ok())
        && start.get(4..) == Some(&[0x00, 0x02, 0x02, 0x00])
    {
        let text = format!("at {end:#x} stands a second certificate table, which the headers do not name");
        findings.push(Finding::new("second-certificate-table", text));
    }
}

fn overlaps_in_memory(sections: &[Numbered<'_>], findings: &mut Vec<Finding>) {
    let mut loaded: Vec<Numbered<'_>> =
        sections.iter().filter(|at| at.section.virtual_size != 0).copied().collect();
    loaded.sort_by_key(|at| at.section.virtual_address);
    let mut last: Option<Numbered<'_>> = None;
    for at in loaded {
        if let Some(before) = last.filter(|before| before.virtual_end() > at.section.virtual_address.into()) {
            let name = before.section.name;
            let text = format!(
                "VirtualAddress {:#x} lies inside {name}, which ends at {:#x}",
                at.section.virtual_address,
                before.virtual_end()
            );
            let remark = format!("overlaps {name} in memory");
            findings.push(Finding::of_section("section-overlap-memory", &at, &text, remark));
        }
        if last.is_none_or(|before| at.virtual_end() >= before.virtual_end()) {
            last = Some(at);
        }
    }
}

/// Equal names within the base or within one profile. Stubs choose among several `.dtbauto` and `.efifw`; of any
/// other name they see one only, and which one depends on their version.
fn duplicates(sections: &[Numbered<'_>], findings: &mut Vec<Finding>) {
    let mut seen = BTreeSet::new();
    for at in sections {
        let name = at.section.name;
        if name.is(".profile") {
            seen.clear();
        }
        let many = [".dtbauto", ".efifw", ".profile"].iter().any(|many| name.is(many));
        if !many && !seen.insert(name) {
            let text = "an earlier section has the same name";
            findings.push(Finding::of_section("section-duplicate", at, text, "duplicate name".to_owned()));
        }
    }
}

fn certificate_table(image: &PeImage, table: &CertificateTable, findings: &mut Vec<Finding>) {
    let Some(directory) = image.certificate_table() else { return };
    let start = u64::from(directory.address);
    let end = start.saturating_add(directory.size.into());
    let length = image.file.len();
    if end > length {
        let text = format!("the certificate table ends at {end:#x}, the file at {length:#x}");
        findings.push(Finding::new("certificate-table-outside", text));
        return;
    }
    if end < length {
        let text = format!(
            "{} bytes follow the certificate table; firmware takes the table's size off the end of the file all the \
             same",
            length.saturating_sub(end)
        );
        findings.push(Finding::new("certificate-table-not-last", text));
    }
    if start.checked_rem(8) != Some(0) {
        let text = format!("the certificate table starts at {start:#x}, which is no multiple of 8");
        findings.push(Finding::new("certificate-table-misaligned", text));
    }
    let claimed = image.sections.iter().any(|section| {
        let raw_end = u64::from(section.raw_offset).saturating_add(section.raw_size.into());
        section.raw_size != 0 && u64::from(section.raw_offset) < end && raw_end > start
    });
    if claimed || start < image.size_of_headers.into() {
        let text = format!("the certificate table at {start:#x} overlaps headers or sections");
        findings.push(Finding::new("certificate-table-overlap", text));
    }
    if let Some(error) = &table.stopped {
        let text = format!("the certificate table can't be read to its end: {error}");
        findings.push(Finding::new("certificate-table-malformed", text));
    }
}
