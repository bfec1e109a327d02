//! PE files made up for unit tests: whatever a header can say, said on purpose.

use super::{Machine, PeKind};

/// One section to be written.
#[derive(Debug, Clone)]
struct Part {
    name: [u8; 8],
    data: Vec<u8>,
    virtual_size: u32,
    characteristics: u32,
    raw_offset: Option<u32>,
    raw_size: Option<u32>,
    virtual_address: Option<u32>,
}

/// Writes a PE file the way linkers do, unless told otherwise.
#[derive(Debug, Clone)]
pub(crate) struct PeBuilder {
    kind: PeKind,
    machine: Machine,
    directories: u32,
    parts: Vec<Part>,
    certificates: Vec<u8>,
    size_of_image: Option<u32>,
    trailing: Vec<u8>,
}

const FILE_ALIGNMENT: usize = 512;
const SECTION_ALIGNMENT: u32 = 4096;
const LFANEW: usize = 0x80;

impl PeBuilder {
    pub(crate) fn new() -> Self {
        Self {
            kind: PeKind::Pe32Plus,
            machine: Machine::X86_64,
            directories: 16,
            parts: Vec::new(),
            certificates: Vec::new(),
            size_of_image: None,
            trailing: Vec::new(),
        }
    }

    pub(crate) fn kind(mut self, kind: PeKind) -> Self {
        self.kind = kind;
        self
    }

    pub(crate) fn machine(mut self, machine: Machine) -> Self {
        self.machine = machine;
        self
    }

    /// `NumberOfRvaAndSizes`, and as many directories.
    pub(crate) fn directories(mut self, count: u32) -> Self {
        self.directories = count;
        self
    }

    /// A read-only section with this content; the raw size is rounded up.
    pub(crate) fn section(mut self, name: &str, data: &[u8]) -> Self {
        let mut padded = [0; 8];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        self.parts.push(Part {
            name: padded,
            data: data.to_vec(),
            virtual_size: data.len() as u32,
            characteristics: 0x4000_0040,
            raw_offset: None,
            raw_size: None,
            virtual_address: None,
        });
        self
    }

    /// `VirtualSize` of the last section.
    pub(crate) fn virtual_size(self, size: u32) -> Self {
        self.last(|part| part.virtual_size = size)
    }

    /// `Characteristics` of the last section.
    pub(crate) fn characteristics(self, characteristics: u32) -> Self {
        self.last(|part| part.characteristics = characteristics)
    }

    /// `PointerToRawData` of the last section, true or not.
    pub(crate) fn raw_offset(self, offset: u32) -> Self {
        self.last(|part| part.raw_offset = Some(offset))
    }

    /// `SizeOfRawData` of the last section, true or not.
    pub(crate) fn raw_size(self, size: u32) -> Self {
        self.last(|part| part.raw_size = Some(size))
    }

    /// `VirtualAddress` of the last section.
    pub(crate) fn virtual_address(self, address: u32) -> Self {
        self.last(|part| part.virtual_address = Some(address))
    }

    pub(crate) fn size_of_image(mut self, size: u32) -> Self {
        self.size_of_image = Some(size);
        self
    }

    /// Bytes behind the last section.
    pub(crate) fn trailing(mut self, bytes: &[u8]) -> Self {
        self.trailing = bytes.to_vec();
        self
    }

    /// A certificate table with these bytes, at the end.
    pub(crate) fn certificates(mut self, bytes: &[u8]) -> Self {
        self.certificates = bytes.to_vec();
        self
    }

    fn last(mut self, change: impl FnOnce(&mut Part)) -> Self {
        change(self.parts.last_mut().expect("a section comes first"));
        self
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let optional_size = match self.kind {
            PeKind::Pe32 => 96,
            PeKind::Pe32Plus => 112,
        } + self.directories as usize * 8;
        let table = LFANEW + 24 + optional_size;
        let headers = (table + self.parts.len() * 40).next_multiple_of(FILE_ALIGNMENT);
        let mut file = vec![0; headers];
        let mut address = (headers as u32).next_multiple_of(SECTION_ALIGNMENT);
        for (index, part) in self.parts.iter().enumerate() {
            let raw_size = part.data.len().next_multiple_of(FILE_ALIGNMENT);
            let raw_offset = part.raw_offset.unwrap_or(file.len() as u32);
            let at = table + index * 40;
            file[at..at + 8].copy_from_slice(&part.name);
            put(&mut file, at + 8, part.virtual_size);
            put(&mut file, at + 12, part.virtual_address.unwrap_or(address));
            put(&mut file, at + 16, part.raw_size.unwrap_or(raw_size as u32));
            put(&mut file, at + 20, raw_offset);
            put(&mut file, at + 36, part.characteristics);
            if part.raw_offset.is_none() {
                file.extend(&part.data);
                file.resize(file.len().next_multiple_of(FILE_ALIGNMENT), 0);
            }
            let size = part.virtual_size.clamp(1, 1 << 24);
            address += size.next_multiple_of(SECTION_ALIGNMENT);
        }
        file.extend(&self.trailing);
        self.headers(&mut file, optional_size as u16, headers as u32, self.size_of_image.unwrap_or(address));
        file.extend(&self.certificates);
        file
    }

    fn headers(&self, file: &mut [u8], optional_size: u16, size_of_headers: u32, size_of_image: u32) {
        let end = file.len() as u32;
        file[..2].copy_from_slice(b"MZ");
        put(file, 0x3C, LFANEW as u32);
        file[LFANEW..LFANEW + 4].copy_from_slice(b"PE\0\0");
        let coff = LFANEW + 4;
        file[coff..coff + 2].copy_from_slice(&self.machine.0.to_le_bytes());
        file[coff + 2..coff + 4].copy_from_slice(&(self.parts.len() as u16).to_le_bytes());
        file[coff + 16..coff + 18].copy_from_slice(&optional_size.to_le_bytes());
        file[coff + 18..coff + 20].copy_from_slice(&0x0206_u16.to_le_bytes());
        let optional = coff + 20;
        let (magic, directories) = match self.kind {
            PeKind::Pe32 => (0x10B_u16, optional + 96),
            PeKind::Pe32Plus => (0x20B, optional + 112),
        };
        file[optional..optional + 2].copy_from_slice(&magic.to_le_bytes());
        put(file, optional + 16, SECTION_ALIGNMENT);
        put(file, optional + 32, SECTION_ALIGNMENT);
        put(file, optional + 36, FILE_ALIGNMENT as u32);
        put(file, optional + 56, size_of_image);
        put(file, optional + 60, size_of_headers);
        file[optional + 68..optional + 70].copy_from_slice(&10_u16.to_le_bytes());
        put(file, directories - 4, self.directories);
        if self.directories > 4 && !self.certificates.is_empty() {
            put(file, directories + 32, end);
            put(file, directories + 36, self.certificates.len() as u32);
        }
    }
}

fn put(file: &mut [u8], at: usize, value: u32) {
    file[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
