//! The PE headers and the section table, as structures for output.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::pe::{PeImage, Section, long_names};

/// Names of the data directories, by number (PE, "Optional Header Data Directories").
const DIRECTORY_NAMES: [&str; 16] = [
    "export",
    "import",
    "resource",
    "exception",
    "certificate",
    "base-relocation",
    "debug",
    "architecture",
    "global-pointer",
    "thread-local-storage",
    "load-config",
    "bound-import",
    "import-address",
    "delay-import",
    "clr",
    "reserved",
];

/// The PE headers. Addresses are relative to the image base, sizes in bytes.
#[derive(Debug, Clone, Serialize)]
pub struct HeaderFacts {
    /// `PE32` or `PE32+`.
    pub kind: String,
    /// Processor, as systemd and the kernel call it.
    pub machine: String,
    /// `Machine`, as in the header.
    pub machine_number: u16,
    /// What it asks to be started as, in words.
    pub subsystem: String,
    /// `Subsystem`, as in the header.
    pub subsystem_number: u16,
    /// `Characteristics` of the file header.
    pub characteristics: u16,
    /// `DllCharacteristics`.
    pub dll_characteristics: u16,
    /// Bit 8 of `DllCharacteristics`: the image never executes data, nor writes to code.
    pub nx_compat: bool,
    /// `MajorImageVersion.MinorImageVersion`.
    pub image_version: String,
    /// `MajorLinkerVersion.MinorLinkerVersion`.
    pub linker_version: String,
    /// `MajorOperatingSystemVersion.MinorOperatingSystemVersion`.
    pub os_version: String,
    /// `MajorSubsystemVersion.MinorSubsystemVersion`.
    pub subsystem_version: String,
    /// `TimeDateStamp`: seconds since 1970, or a hash of the contents.
    pub time_date_stamp: u32,
    /// `AddressOfEntryPoint`.
    pub entry_point: u32,
    /// `ImageBase`.
    pub image_base: u64,
    /// `SectionAlignment`.
    pub section_alignment: u32,
    /// `FileAlignment`.
    pub file_alignment: u32,
    /// `SizeOfImage`.
    pub size_of_image: u32,
    /// `SizeOfHeaders`.
    pub size_of_headers: u32,
    /// `CheckSum`, as in the header.
    pub checksum: u32,
    /// `NumberOfRvaAndSizes`.
    pub number_of_rva_and_sizes: u32,
    /// The data directories that are not all zero.
    pub data_directories: Vec<DirectoryFacts>,
}

/// One data directory.
#[derive(Debug, Clone, Serialize)]
pub struct DirectoryFacts {
    /// Its number.
    pub index: usize,
    /// Its name.
    pub name: &'static str,
    /// Relative virtual address; of the certificate table, a file offset.
    pub address: u32,
    /// Size in bytes.
    pub size: u32,
}

/// One entry of the section table.
#[derive(Debug, Clone, Serialize)]
pub struct SectionFacts {
    /// Its name; what is not UTF-8 is replaced.
    pub name: String,
    /// Its full name from the COFF string table, when the header only points there.
    pub long_name: Option<String>,
    /// The profile that it belongs to; absent for the base.
    pub profile: Option<usize>,
    /// `VirtualAddress`.
    pub virtual_address: u32,
    /// `VirtualSize`: bytes once loaded.
    pub virtual_size: u32,
    /// `PointerToRawData`: file offset.
    pub raw_offset: u32,
    /// `SizeOfRawData`: bytes in the file.
    pub raw_size: u32,
    /// `Characteristics`.
    pub characteristics: u32,
    /// Its memory may be read, written, executed: letters of `rwx`, `-` where it may not.
    pub flags: String,
    /// SHA-256 over the section as loaded: `VirtualSize` bytes. This is what systemd-stub measures.
    pub sha256: Option<String>,
    /// What is unusual about it.
    pub remarks: Vec<String>,
}

/// The headers of `image`.
pub(super) fn facts(image: &PeImage) -> HeaderFacts {
    let directories = image.data_directories.iter().zip(DIRECTORY_NAMES).enumerate();
    HeaderFacts {
        kind: image.kind.to_string(),
        machine: image.machine.to_string(),
        machine_number: image.machine.0,
        subsystem: image.subsystem.to_string(),
        subsystem_number: image.subsystem.0,
        characteristics: image.characteristics,
        dll_characteristics: image.dll_characteristics,
        nx_compat: image.dll_characteristics & 0x100 != 0,
        image_version: version((image.major_image_version, image.minor_image_version)),
        linker_version: version((image.linker_version.0.into(), image.linker_version.1.into())),
        os_version: version(image.os_version),
        subsystem_version: version(image.subsystem_version),
        time_date_stamp: image.time_date_stamp,
        entry_point: image.entry_point,
        image_base: image.image_base,
        section_alignment: image.section_alignment,
        file_alignment: image.file_alignment,
        size_of_image: image.size_of_image,
        size_of_headers: image.size_of_headers,
        checksum: image.checksum,
        number_of_rva_and_sizes: image.number_of_rva_and_sizes,
        data_directories: directories
            .filter(|(_, (directory, _))| directory.address != 0 || directory.size != 0)
            .map(|(index, (directory, name))| DirectoryFacts {
                index,
                name,
                address: directory.address,
                size: directory.size,
            })
            .collect(),
    }
}

fn version((major, minor): (u16, u16)) -> String {
    format!("{major}.{minor}")
}

/// The section table of `image`, without digests and without what findings say.
pub(super) fn sections(image: &PeImage) -> Vec<SectionFacts> {
    let mut profile = None;
    let mut long_names = long_names(image).unwrap_or_default().into_iter();
    let facts = image.sections.iter().map(|section| {
        if section.name.is(".profile") {
            profile = Some(profile.map_or(0, |number: usize| number.saturating_add(1)));
        }
        SectionFacts {
            name: section.name.to_string(),
            long_name: long_names.next().flatten(),
            profile,
            virtual_address: section.virtual_address,
            virtual_size: section.virtual_size,
            raw_offset: section.raw_offset,
            raw_size: section.raw_size,
            characteristics: section.characteristics,
            flags: flags(section),
            sha256: None,
            remarks: size_remark(section, image.file_alignment).into_iter().collect(),
        }
    });
    facts.collect()
}

/// Sets the digest of the sections that have one.
pub(super) fn add_digests(sections: &mut [SectionFacts], digests: &BTreeMap<usize, String>) {
    for (index, section) in sections.iter_mut().enumerate() {
        section.sha256 = digests.get(&index).cloned();
    }
}

/// `IMAGE_SCN_MEM_READ`, `IMAGE_SCN_MEM_WRITE`, `IMAGE_SCN_MEM_EXECUTE`.
fn flags(section: &Section) -> String {
    [(30, 'r'), (31, 'w'), (29, 'x')]
        .into_iter()
        .map(|(bit, letter)| if section.characteristics >> bit & 1 == 1 { letter } else { '-' })
        .collect()
}

/// How loaded size and size in the file differ, beyond the usual rounding up to `FileAlignment`.
fn size_remark(section: &Section, file_alignment: u32) -> Option<String> {
    let (loaded, raw) = (section.virtual_size, section.raw_size);
    if loaded == 0 {
        return Some(format!("empty once loaded, {raw} bytes in the file"));
    }
    if let Some(zeros @ 1..) = loaded.checked_sub(raw) {
        return Some(if raw == 0 { "all zeros".to_owned() } else { format!("{zeros} zero bytes added") });
    }
    let padding = raw.saturating_sub(loaded);
    (padding >= file_alignment.max(512)).then(|| format!("{padding} bytes of padding in the file"))
}
