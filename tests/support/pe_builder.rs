//! Builds PE images byte by byte (Microsoft PE format): well-formed ones by default, and any field can be made to lie.
//!
//! ```ignore
//! let uki = Pe::uki("257.13").section(Section::new(".cmdline", "quiet").virtual_size(0x300)).build();
//! ```

pub(crate) const AMD64: u16 = 0x8664;
pub(crate) const I386: u16 = 0x014c;
pub(crate) const ARM64: u16 = 0xaa64;
pub(crate) const RISCV64: u16 = 0x5064;

/// `e_lfanew`: the PE header follows the DOS header at once.
const PE_OFFSET: u32 = 0x40;
/// `NumberOfRvaAndSizes` of every usual image.
const DIRECTORIES: u32 = 16;
/// Index of `IMAGE_DIRECTORY_ENTRY_SECURITY`.
const SECURITY: u32 = 4;

/// `WIN_CERTIFICATE` of revision 2.0 and type PKCS#7 around `data`, which is whatever the test wants it to be.
pub(crate) fn win_certificate(data: &[u8]) -> Vec<u8> {
    let mut out = Fields((size(data) + 8).to_le_bytes().to_vec());
    out.u16(0x0200).u16(2);
    out.0.extend(data);
    out.0.resize(out.0.len().next_multiple_of(8), 0);
    out.0
}

/// A PE image to be built.
#[derive(Clone)]
pub(crate) struct Pe {
    machine: u16,
    /// `Magic`: PE32+ or PE32.
    plus: bool,
    file_alignment: u32,
    section_alignment: u32,
    image_version: u16,
    subsystem: u16,
    directories: u32,
    sections: Vec<Section>,
    section_count: Option<u16>,
    certificates: Option<Vec<u8>>,
    security_directory: Option<(u32, u32)>,
    size_of_headers: Option<u32>,
    size_of_image: Option<u32>,
    trailing: Vec<u8>,
}

/// A section: contents, and fields that follow from them unless they are set.
#[derive(Clone)]
pub(crate) struct Section {
    name: [u8; 8],
    data: Vec<u8>,
    virtual_size: u32,
    virtual_address: Option<u32>,
    raw_size: Option<u32>,
    raw_offset: Option<u32>,
    characteristics: u32,
}

impl Section {
    /// `VirtualSize` is the length of `data`, `SizeOfRawData` that length rounded up to the file alignment.
    pub(crate) fn new(name: &str, data: impl AsRef<[u8]>) -> Self {
        let mut padded = [0; 8];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        let data = data.as_ref().to_vec();
        Self {
            name: padded,
            virtual_size: size(&data),
            data,
            virtual_address: None,
            raw_size: None,
            raw_offset: None,
            characteristics: 0x4000_0040, // CNT_INITIALIZED_DATA, MEM_READ
        }
    }

    pub(crate) fn virtual_size(self, virtual_size: u32) -> Self {
        Self { virtual_size, ..self }
    }

    pub(crate) fn virtual_address(self, address: u32) -> Self {
        Self { virtual_address: Some(address), ..self }
    }

    /// `SizeOfRawData` as the header has it; the contents are padded or cut to it when they are placed by the builder.
    pub(crate) fn raw_size(self, size: u32) -> Self {
        Self { raw_size: Some(size), ..self }
    }

    /// `PointerToRawData` as the header has it: contents are not written then, the field points wherever it points.
    pub(crate) fn raw_offset(self, offset: u32) -> Self {
        Self { raw_offset: Some(offset), ..self }
    }
}

impl Pe {
    /// A PE32+ EFI application for x86-64 without sections.
    pub(crate) fn new() -> Self {
        Self {
            machine: AMD64,
            plus: true,
            file_alignment: 0x200,
            section_alignment: 0x1000,
            image_version: 0,
            subsystem: 10,
            directories: DIRECTORIES,
            sections: Vec::new(),
            section_count: None,
            certificates: None,
            security_directory: None,
            size_of_headers: None,
            size_of_image: None,
            trailing: Vec::new(),
        }
    }

    /// The start of a UKI: the section that names the stub's version, `#### LoaderInfo: systemd-stub VERSION ####`.
    pub(crate) fn uki(stub_version: &str) -> Self {
        let magic = format!("#### LoaderInfo: systemd-stub {stub_version} ####\0");
        Self::new().section(Section::new(".text", [0xc3])).section(Section::new(".sdmagic", magic))
    }

    pub(crate) fn section(mut self, section: Section) -> Self {
        self.sections.push(section);
        self
    }

    /// Sections of these names and contents, nothing unusual about them.
    pub(crate) fn sections(self, sections: &[(&str, &[u8])]) -> Self {
        sections.iter().fold(self, |pe, (name, data)| pe.section(Section::new(name, data)))
    }

    pub(crate) fn machine(self, machine: u16) -> Self {
        Self { machine, ..self }
    }

    /// PE32 instead of PE32+.
    pub(crate) fn pe32(self) -> Self {
        Self { plus: false, ..self }
    }

    pub(crate) fn alignment(self, file_alignment: u32, section_alignment: u32) -> Self {
        Self { file_alignment, section_alignment, ..self }
    }

    /// `MajorImageVersion`: Linux sets 1 or more when it takes an initrd through LoadFile2.
    pub(crate) fn image_version(self, image_version: u16) -> Self {
        Self { image_version, ..self }
    }

    pub(crate) fn subsystem(self, subsystem: u16) -> Self {
        Self { subsystem, ..self }
    }

    /// `NumberOfRvaAndSizes`, with as many entries in the file.
    pub(crate) fn directories(self, directories: u32) -> Self {
        Self { directories, ..self }
    }

    /// `NumberOfSections` as the header has it.
    pub(crate) fn section_count(self, count: u16) -> Self {
        Self { section_count: Some(count), ..self }
    }

    /// A certificate table at the end of the file, behind padding to eight bytes, and the directory entry that names it.
    pub(crate) fn certificates(self, table: &[u8]) -> Self {
        Self { certificates: Some(table.to_vec()), ..self }
    }

    /// The security directory entry (file offset, size) as the header has it.
    pub(crate) fn security_directory(self, offset: u32, size: u32) -> Self {
        Self { security_directory: Some((offset, size)), ..self }
    }

    pub(crate) fn size_of_headers(self, size: u32) -> Self {
        Self { size_of_headers: Some(size), ..self }
    }

    pub(crate) fn size_of_image(self, size: u32) -> Self {
        Self { size_of_image: Some(size), ..self }
    }

    /// Bytes behind the last section that no header describes.
    pub(crate) fn trailing(self, bytes: &[u8]) -> Self {
        Self { trailing: bytes.to_vec(), ..self }
    }

    /// The file.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut file = vec![0; self.headers_end() as usize];
        let mut address = self.section_alignment;
        let mut table = Vec::new();
        for section in &self.sections {
            let offset = section.raw_offset.unwrap_or(size(&file));
            let raw_size = section.raw_size.unwrap_or(round_up(size(&section.data), self.file_alignment));
            if section.raw_offset.is_none() {
                let mut data = section.data.clone();
                data.resize(raw_size as usize, 0);
                file.extend(data);
            }
            let at = section.virtual_address.unwrap_or(address);
            table.extend(section_header(section, at, raw_size, offset));
            let end = u64::from(at) + u64::from(section.virtual_size.max(1));
            address =
                u32::try_from(end.next_multiple_of(u64::from(self.section_alignment))).unwrap_or(u32::MAX);
        }
        file.extend(&self.trailing);
        let security = self.append_certificates(&mut file);
        let headers = self.headers(address, security, &table);
        file[..headers.len()].copy_from_slice(&headers);
        file
    }

    fn append_certificates(&self, file: &mut Vec<u8>) -> (u32, u32) {
        let Some(table) = &self.certificates else { return self.security_directory.unwrap_or((0, 0)) };
        file.resize(file.len().next_multiple_of(8), 0);
        let entry = (size(file), size(table));
        file.extend(table);
        self.security_directory.unwrap_or(entry)
    }

    fn optional_header_size(&self) -> u32 {
        let fixed = if self.plus { 112 } else { 96 };
        fixed + 8 * self.directories
    }

    fn headers_end(&self) -> u32 {
        let end = PE_OFFSET + 24 + self.optional_header_size() + 40 * self.sections.len() as u32;
        round_up(end, self.file_alignment)
    }

    fn headers(&self, image_end: u32, security: (u32, u32), section_table: &[u8]) -> Vec<u8> {
        let mut out = Fields(vec![0; PE_OFFSET as usize]);
        out.0[..2].copy_from_slice(b"MZ");
        out.0[0x3c..0x40].copy_from_slice(&PE_OFFSET.to_le_bytes());
        self.file_header(&mut out);
        self.optional_header(&mut out, image_end);
        for index in 0..self.directories {
            let (offset, size) = if index == SECURITY { security } else { (0, 0) };
            out.u32(offset).u32(size);
        }
        out.0.extend(section_table);
        out.0
    }

    /// `IMAGE_FILE_HEADER`.
    fn file_header(&self, out: &mut Fields) {
        out.0.extend(b"PE\0\0");
        out.u16(self.machine).u16(self.section_count.unwrap_or(self.sections.len() as u16));
        out.u32(0).u32(0).u32(0); // TimeDateStamp, PointerToSymbolTable, NumberOfSymbols
        out.u16(self.optional_header_size() as u16).u16(0x0206);
    }

    /// `IMAGE_OPTIONAL_HEADER32` or `64`, without the data directories.
    fn optional_header(&self, out: &mut Fields, image_end: u32) {
        out.u16(if self.plus { 0x20b } else { 0x10b }).u16(0);
        out.u32(0).u32(0).u32(0); // SizeOfCode, SizeOfInitializedData, SizeOfUninitializedData
        out.u32(self.section_alignment).u32(self.section_alignment); // AddressOfEntryPoint, BaseOfCode
        if !self.plus {
            out.u32(0); // BaseOfData
        }
        out.word(self.plus, 0); // ImageBase
        out.u32(self.section_alignment).u32(self.file_alignment);
        out.u16(0).u16(0).u16(self.image_version).u16(0); // OperatingSystemVersion, ImageVersion
        out.u16(0).u16(0).u32(0); // SubsystemVersion, Win32VersionValue
        out.u32(self.size_of_image.unwrap_or(image_end));
        out.u32(self.size_of_headers.unwrap_or(self.headers_end()));
        out.u32(0).u16(self.subsystem).u16(0x0160); // CheckSum, Subsystem, DllCharacteristics
        for _stack_and_heap in 0..4 {
            out.word(self.plus, 0);
        }
        out.u32(0).u32(self.directories); // LoaderFlags, NumberOfRvaAndSizes
    }
}

/// `IMAGE_SECTION_HEADER`.
fn section_header(section: &Section, address: u32, raw_size: u32, offset: u32) -> Vec<u8> {
    let mut out = Fields(section.name.to_vec());
    out.u32(section.virtual_size).u32(address).u32(raw_size).u32(offset);
    out.u32(0).u32(0).u32(0).u32(section.characteristics); // relocations and line numbers
    out.0
}

/// Little-endian fields one after the other.
struct Fields(Vec<u8>);

impl Fields {
    fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// A field of 64 bits in PE32+ and of 32 bits in PE32.
    fn word(&mut self, plus: bool, value: u32) -> &mut Self {
        self.u32(value);
        if plus { self.u32(0) } else { self }
    }
}

fn size(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a test's image is small")
}

fn round_up(value: u32, alignment: u32) -> u32 {
    value.next_multiple_of(alignment)
}
