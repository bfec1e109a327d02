//! PE headers and the section table, read from a bounded window; payloads stay where they are.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::fmt;
use std::io;

use object::LittleEndian as LE;
use object::pe;
use object::pod;

use crate::source::Blob;

/// Index of the certificate table in the data directories (PE, "Optional Header Data Directories").
pub const CERTIFICATE_TABLE: usize = 4;

/// Most data directories that a header may claim: the format defines 16, and every loader stops there.
const MAX_DATA_DIRECTORIES: u32 = 16;

/// A PE file: its headers, sections and the file that they describe.
#[derive(Debug, Clone)]
pub struct PeImage {
    /// The file.
    pub file: Blob,
    /// PE32 or PE32+.
    pub kind: PeKind,
    /// Processor.
    pub machine: Machine,
    /// What the image asks to be started as.
    pub subsystem: Subsystem,
    /// `IMAGE_FILE_HEADER.Characteristics`.
    pub characteristics: u16,
    /// `DllCharacteristics`; bit 8 is `NX_COMPAT`, which newer firmware and shim ask for.
    pub dll_characteristics: u16,
    /// `MajorLinkerVersion` and `MinorLinkerVersion`.
    pub linker_version: (u8, u8),
    /// `MajorOperatingSystemVersion` and `MinorOperatingSystemVersion`.
    pub os_version: (u16, u16),
    /// `MajorSubsystemVersion` and `MinorSubsystemVersion`.
    pub subsystem_version: (u16, u16),
    /// `MajorImageVersion`. The Linux EFI stub sets it to 1 from the version on that takes its initrd through
    /// `LoadFile2`.
    pub major_image_version: u16,
    /// `MinorImageVersion`.
    pub minor_image_version: u16,
    /// `TimeDateStamp`, seconds since 1970, as the linker wrote it.
    pub time_date_stamp: u32,
    /// `AddressOfEntryPoint`, relative to the image base.
    pub entry_point: u32,
    /// `ImageBase`.
    pub image_base: u64,
    /// `SectionAlignment`, in bytes.
    pub section_alignment: u32,
    /// `FileAlignment`, in bytes.
    pub file_alignment: u32,
    /// `SizeOfImage`: bytes that the mapped image takes.
    pub size_of_image: u32,
    /// `SizeOfHeaders`: bytes of all headers, as the header claims.
    pub size_of_headers: u32,
    /// `CheckSum`, as the header claims; nobody checks it.
    pub checksum: u32,
    /// File offset of the field `CheckSum`.
    pub checksum_offset: u64,
    /// File offset of the data directories.
    pub data_directories_offset: u64,
    /// File offset of the section table, which follows the optional header of `SizeOfOptionalHeader` bytes.
    pub section_table_offset: u64,
    /// `NumberOfRvaAndSizes`, as the header claims.
    pub number_of_rva_and_sizes: u32,
    /// The data directories that are there, at most 16.
    pub data_directories: Vec<DataDirectory>,
    /// The sections, in the order of the section table.
    pub sections: Vec<Section>,
}

/// PE32 (32-bit addresses) or PE32+ (64-bit).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeKind {
    /// `Magic` 0x10B.
    Pe32,
    /// `Magic` 0x20B.
    Pe32Plus,
}

impl fmt::Display for PeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pe32 => "PE32",
            Self::Pe32Plus => "PE32+",
        })
    }
}

/// `IMAGE_FILE_HEADER.Machine`: an open set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Machine(pub u16);

impl Machine {
    /// 64-bit x86.
    pub const X86_64: Self = Self(pe::IMAGE_FILE_MACHINE_AMD64.0);
    /// 32-bit x86.
    pub const IA32: Self = Self(pe::IMAGE_FILE_MACHINE_I386.0);
    /// 64-bit ARM.
    pub const AARCH64: Self = Self(pe::IMAGE_FILE_MACHINE_ARM64.0);
    /// 64-bit RISC-V.
    pub const RISCV64: Self = Self(pe::IMAGE_FILE_MACHINE_RISCV64.0);

    /// The name that systemd and the kernel use; `None` for a machine that we don't know.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::X86_64 => Some("x86_64"),
            Self::IA32 => Some("i386"),
            Self::AARCH64 => Some("aarch64"),
            Self::RISCV64 => Some("riscv64"),
            _ => None,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => f.pad(&format!("machine {:#06x}", self.0)),
        }
    }
}

/// `Subsystem` of the optional header: an open set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subsystem(pub u16);

impl Subsystem {
    /// An application: boot loaders, UKIs, kernels.
    pub const EFI_APPLICATION: Self = Self(pe::IMAGE_SUBSYSTEM_EFI_APPLICATION.0);
    /// A driver that goes away with the boot services.
    pub const EFI_BOOT_SERVICE_DRIVER: Self = Self(pe::IMAGE_SUBSYSTEM_EFI_BOOT_SERVICE_DRIVER.0);
    /// A driver that stays.
    pub const EFI_RUNTIME_DRIVER: Self = Self(pe::IMAGE_SUBSYSTEM_EFI_RUNTIME_DRIVER.0);
}

impl fmt::Display for Subsystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::EFI_APPLICATION => f.pad("EFI application"),
            Self::EFI_BOOT_SERVICE_DRIVER => f.pad("EFI boot service driver"),
            Self::EFI_RUNTIME_DRIVER => f.pad("EFI runtime driver"),
            Self(other) => f.pad(&format!("subsystem {other}")),
        }
    }
}

/// One entry of the data directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataDirectory {
    /// Relative virtual address; of the certificate table, a file offset.
    pub address: u32,
    /// Size in bytes.
    pub size: u32,
}

/// A section's name: at most 8 bytes, padded with NUL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SectionName(pub [u8; 8]);

impl SectionName {
    /// The bytes up to the first NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// The whole name is `name`.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.as_bytes() == name.as_bytes()
    }

    /// The name begins with `prefix`.
    #[must_use]
    pub fn starts_with(&self, prefix: &str) -> bool {
        self.0.starts_with(prefix.as_bytes())
    }
}

impl fmt::Display for SectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&String::from_utf8_lossy(self.as_bytes()))
    }
}

/// One entry of the section table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Name, as in the header.
    pub name: SectionName,
    /// `VirtualSize`: bytes of the section once loaded. May exceed the raw size; the rest is then zero.
    pub virtual_size: u32,
    /// `VirtualAddress`: where it is loaded, relative to the image base.
    pub virtual_address: u32,
    /// `SizeOfRawData`: bytes of the section in the file, usually rounded up to `FileAlignment`.
    pub raw_size: u32,
    /// `PointerToRawData`: file offset.
    pub raw_offset: u32,
    /// `Characteristics`.
    pub characteristics: u32,
}

/// A file that is no PE image, or one that no firmware would load.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeError {
    /// The file could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not a PE file at all.
    #[error("not a PE image: {what} at offset {offset:#x} is not {expected}")]
    NotPe {
        /// The specification's name of the field.
        what: &'static str,
        /// Where it stands, in bytes from the start of the file.
        offset: u64,
        /// What should stand there.
        expected: &'static str,
    },
    /// The file ends inside its headers.
    #[error("truncated PE image: {what} at offset {offset:#x} needs {needed} bytes, the file has {length}")]
    Truncated {
        /// The structure that does not fit.
        what: &'static str,
        /// Where it starts.
        offset: u64,
        /// Bytes that it needs.
        needed: u64,
        /// Bytes of the file.
        length: u64,
    },
    /// A section's `VirtualSize` exceeds its data by more than any firmware could map.
    #[error("section {name}: VirtualSize asks for {zeros} bytes of zero fill, the limit is {limit}")]
    ZeroFill {
        /// The section's name.
        name: SectionName,
        /// Bytes of zero fill.
        zeros: u64,
        /// The most that are accepted.
        limit: u64,
    },
    /// A section's raw data does not lie inside the file.
    #[error(
        "section {name} (number {number}): PointerToRawData {raw_offset:#x} + SizeOfRawData {raw_size:#x} \
         is beyond the end of the file at {length:#x}"
    )]
    SectionOutside {
        /// The section's name.
        name: SectionName,
        /// Its place in the section table, counted from 1.
        number: usize,
        /// `PointerToRawData`.
        raw_offset: u32,
        /// `SizeOfRawData`.
        raw_size: u32,
        /// Bytes of the file.
        length: u64,
    },
}

impl PeImage {
    /// Reads the headers of `file`. Sections may still lie outside the file: what needs their bytes says so.
    ///
    /// # Errors
    /// [`PeError::NotPe`], [`PeError::Truncated`] and [`PeError::Io`].
    pub fn parse(file: &Blob) -> Result<Self, PeError> {
        let mut header = [0_u8; size_of::<pe::ImageDosHeader>()];
        read_header(file, 0, &mut header, "IMAGE_DOS_HEADER")?;
        let dos: &pe::ImageDosHeader = view(&header, 0)?;
        if dos.e_magic.get(LE) != pe::IMAGE_DOS_SIGNATURE {
            return Err(PeError::NotPe { what: "e_magic", offset: 0, expected: "MZ" });
        }
        let signature_offset = u64::from(dos.e_lfanew.get(LE));

        let mut start = [0_u8; 4 + size_of::<pe::ImageFileHeader>() + 2];
        read_header(file, signature_offset, &mut start, "IMAGE_NT_HEADERS")?;
        if !start.starts_with(b"PE\0\0") {
            return Err(PeError::NotPe { what: "Signature", offset: signature_offset, expected: "PE\\0\\0" });
        }
        let coff: &pe::ImageFileHeader = view(start.get(4..).unwrap_or_default(), signature_offset)?;
        let optional_offset =
            signature_offset.saturating_add(4).saturating_add(size_of::<pe::ImageFileHeader>() as u64);
        let magic = start.last_chunk::<2>().map_or(0, |magic| u16::from_le_bytes(*magic));

        let mut image = match magic {
            0x10B => Self::parse_optional::<pe::ImageOptionalHeader32>(file, optional_offset)?,
            0x20B => Self::parse_optional::<pe::ImageOptionalHeader64>(file, optional_offset)?,
            _ => {
                return Err(PeError::NotPe {
                    what: "Magic",
                    offset: optional_offset,
                    expected: "0x10b (PE32) or 0x20b (PE32+)",
                });
            }
        };
        image.machine = Machine(coff.machine.get(LE).0);
        image.characteristics = coff.characteristics.get(LE).0;
        image.time_date_stamp = coff.time_date_stamp.get(LE);
        let table_offset = optional_offset.saturating_add(u64::from(coff.size_of_optional_header.get(LE)));
        image.section_table_offset = table_offset;
        image.sections = read_sections(file, table_offset, coff.number_of_sections.get(LE))?;
        Ok(image)
    }

    fn parse_optional<H: OptionalHeader>(file: &Blob, offset: u64) -> Result<Self, PeError> {
        let size = size_of::<H>();
        let mut bytes = vec![0_u8; size];
        read_header(file, offset, &mut bytes, "IMAGE_OPTIONAL_HEADER")?;
        let header: &H = view(&bytes, offset)?;
        let mut image = header.to_image(file);
        image.checksum_offset = offset.saturating_add(0x40);
        image.data_directories_offset = offset.saturating_add(size as u64);
        let count = image.number_of_rva_and_sizes.min(MAX_DATA_DIRECTORIES) as usize;
        let mut bytes = vec![0_u8; count.saturating_mul(8)];
        read_header(file, image.data_directories_offset, &mut bytes, "IMAGE_DATA_DIRECTORY")?;
        image.data_directories = bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|[a0, a1, a2, a3, s0, s1, s2, s3]| DataDirectory {
                address: u32::from_le_bytes([*a0, *a1, *a2, *a3]),
                size: u32::from_le_bytes([*s0, *s1, *s2, *s3]),
            })
            .collect();
        Ok(image)
    }

    /// The certificate table's directory entry; `None` when the header has no such entry or it is all zero.
    #[must_use]
    pub fn certificate_table(&self) -> Option<DataDirectory> {
        self.data_directories.get(CERTIFICATE_TABLE).copied().filter(|entry| entry.size != 0)
    }

    /// File offset of the certificate table's directory entry, when the header has one.
    #[must_use]
    pub fn certificate_table_entry_offset(&self) -> Option<u64> {
        (self.number_of_rva_and_sizes > 4).then(|| self.data_directories_offset.saturating_add(4 * 8))
    }

    /// A section's raw data, `SizeOfRawData` bytes.
    ///
    /// # Errors
    /// [`PeError::SectionOutside`] when they do not lie inside the file.
    pub fn raw_data(&self, section: &Section) -> Result<Blob, PeError> {
        if section.raw_size == 0 {
            return Ok(self.file.slice(0, 0).unwrap_or_else(|| self.file.clone()));
        }
        self.file.slice(section.raw_offset.into(), section.raw_size.into()).ok_or_else(|| {
            let number = self.sections.iter().position(|other| other == section).unwrap_or(0);
            PeError::SectionOutside {
                name: section.name,
                number: number.saturating_add(1),
                raw_offset: section.raw_offset,
                raw_size: section.raw_size,
                length: self.file.len(),
            }
        })
    }

    /// What of a section's loaded content comes from the file: `min(VirtualSize, SizeOfRawData)` bytes. The loaded
    /// section is `VirtualSize` bytes long; what this leaves is zero (EDK2 `PeCoffLoaderLoadImage`).
    ///
    /// # Errors
    /// [`PeError::SectionOutside`] when the bytes do not lie inside the file.
    pub fn loaded_data(&self, section: &Section) -> Result<Blob, PeError> {
        let raw = self.raw_data(section)?;
        Ok(raw.slice(0, raw.len().min(section.virtual_size.into())).unwrap_or(raw))
    }

    /// The first section of exactly this name.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name.is(name))
    }
}

/// What PE32 and PE32+ optional headers have in common.
trait OptionalHeader: pod::Pod {
    fn to_image(&self, file: &Blob) -> PeImage;
}

macro_rules! optional_header {
    ($header:ty, $kind:expr) => {
        impl OptionalHeader for $header {
            fn to_image(&self, file: &Blob) -> PeImage {
                PeImage {
                    file: file.clone(),
                    kind: $kind,
                    machine: Machine(0),
                    subsystem: Subsystem(self.subsystem.get(LE).0),
                    characteristics: 0,
                    dll_characteristics: self.dll_characteristics.get(LE).0,
                    linker_version: (self.major_linker_version, self.minor_linker_version),
                    os_version: (
                        self.major_operating_system_version.get(LE),
                        self.minor_operating_system_version.get(LE),
                    ),
                    subsystem_version: (
                        self.major_subsystem_version.get(LE),
                        self.minor_subsystem_version.get(LE),
                    ),
                    major_image_version: self.major_image_version.get(LE),
                    minor_image_version: self.minor_image_version.get(LE),
                    time_date_stamp: 0,
                    entry_point: self.address_of_entry_point.get(LE),
                    image_base: self.image_base.get(LE).into(),
                    section_alignment: self.section_alignment.get(LE),
                    file_alignment: self.file_alignment.get(LE),
                    size_of_image: self.size_of_image.get(LE),
                    size_of_headers: self.size_of_headers.get(LE),
                    checksum: self.check_sum.get(LE),
                    checksum_offset: 0,
                    data_directories_offset: 0,
                    section_table_offset: 0,
                    number_of_rva_and_sizes: self.number_of_rva_and_sizes.get(LE),
                    data_directories: Vec::new(),
                    sections: Vec::new(),
                }
            }
        }
    };
}

optional_header!(pe::ImageOptionalHeader32, PeKind::Pe32);
optional_header!(pe::ImageOptionalHeader64, PeKind::Pe32Plus);

fn read_sections(file: &Blob, offset: u64, count: u16) -> Result<Vec<Section>, PeError> {
    // At most 65535 entries of 40 bytes: the format itself bounds this below 3 MiB, and the file must have them.
    let size = usize::from(count).saturating_mul(size_of::<pe::ImageSectionHeader>());
    if file.slice(offset, size as u64).is_none() {
        return Err(truncated(file, offset, size, "IMAGE_SECTION_HEADER"));
    }
    let mut bytes = vec![0_u8; size];
    read_header(file, offset, &mut bytes, "IMAGE_SECTION_HEADER")?;
    let (headers, _) = pod::slice_from_bytes::<pe::ImageSectionHeader>(&bytes, count.into())
        .map_err(|()| truncated(file, offset, size, "IMAGE_SECTION_HEADER"))?;
    Ok(headers
        .iter()
        .map(|header| Section {
            name: SectionName(header.name),
            virtual_size: header.virtual_size.get(LE),
            virtual_address: header.virtual_address.get(LE),
            raw_size: header.size_of_raw_data.get(LE),
            raw_offset: header.pointer_to_raw_data.get(LE),
            characteristics: header.characteristics.get(LE).0,
        })
        .collect())
}

fn read_header(file: &Blob, offset: u64, buffer: &mut [u8], what: &'static str) -> Result<(), PeError> {
    match file.slice(offset, buffer.len() as u64) {
        Some(part) => Ok(part.read_exact_at(0, buffer)?),
        None if offset == 0 && file.len() < 2 => {
            Err(PeError::NotPe { what: "e_magic", offset: 0, expected: "MZ" })
        }
        None => Err(truncated(file, offset, buffer.len(), what)),
    }
}

fn truncated(file: &Blob, offset: u64, needed: usize, what: &'static str) -> PeError {
    PeError::Truncated { what, offset, needed: needed as u64, length: file.len() }
}

/// The structure at the start of `bytes`, which were read from `offset`.
fn view<T: pod::Pod>(bytes: &[u8], offset: u64) -> Result<&T, PeError> {
    match pod::from_bytes::<T>(bytes) {
        Ok((value, _)) => Ok(value),
        Err(()) => Err(PeError::Truncated {
            what: "header",
            offset,
            needed: size_of::<T>() as u64,
            length: bytes.len() as u64,
        }),
    }
}
