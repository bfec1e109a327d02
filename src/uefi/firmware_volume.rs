//! Firmware volumes, files and sections (UEFI Platform Initialization Specification 1.8, volume 3, chapters 2 and 3): what
//! a firmware image like `OVMF_CODE.fd` is made of.

use std::io::Read as _;

use lzma_rust2::LzmaReader;

use super::guid::{self, Guid, guid};
use crate::bytes::{ParseError, ParseErrorKind, Reader};

/// Most bytes of a firmware image.
pub const MAX_SIZE: u64 = 64 << 20;
/// Most bytes that a compressed section may grow to: OVMF's has 16 MiB.
const MAX_DECOMPRESSED: u64 = 64 << 20;
/// Most compressed sections of one image that are opened.
const MAX_COMPRESSED: usize = 8;
/// Most volumes, files and sections together that are looked at.
const MAX_ITEMS: usize = 20_000;
/// How deep volumes may be nested.
const MAX_DEPTH: usize = 8;

/// `gLzmaCustomDecompressGuid`.
const LZMA: Guid = guid!("ee4e5898-3914-4259-9d6e-dc7bd79403cf");
/// `EFI_SECTION_GUID_DEFINED`.
const SECTION_GUID_DEFINED: u8 = 0x02;
/// `EFI_SECTION_FIRMWARE_VOLUME_IMAGE`.
const SECTION_VOLUME: u8 = 0x17;
/// `EFI_FV_FILETYPE_FIRMWARE_VOLUME_IMAGE`.
const FILE_VOLUME: u8 = 0x0B;
/// `FFS_ATTRIB_LARGE_FILE`.
const LARGE_FILE: u8 = 0x01;

/// A firmware volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareVolume {
    /// `FvName` of its extended header.
    pub name: Option<Guid>,
    /// All of it, header included, as it stands in the image or comes out of the decompressor.
    pub bytes: Vec<u8>,
    /// Names of its files, in order.
    pub files: Vec<Guid>,
}

/// All volumes of an image, those in compressed sections too, outer ones before inner ones.
///
/// # Errors
/// When a size does not fit what it is in, or a compressed section does not decompress.
pub fn volumes(image: &[u8]) -> Result<Vec<FirmwareVolume>, ParseError> {
    let mut walk = Walk { volumes: Vec::new(), items: 0, compressed: 0 };
    let mut reader = Reader::new(image);
    // Between volumes stand other things (a reset vector's padding, an empty event log area): volumes begin at
    // multiples of 4 KiB.
    while reader.remaining() > 0 {
        if is_volume(reader.peek()) {
            walk.volume(&mut reader, MAX_DEPTH)?;
        } else if reader.take(4096, "image").is_err() {
            break;
        }
    }
    if walk.volumes.is_empty() {
        let kind = ParseErrorKind::Invalid("has no firmware volume: not a firmware image");
        return Err(Reader::new(image).error("EFI_FIRMWARE_VOLUME_HEADER.Signature", kind));
    }
    Ok(walk.volumes)
}

fn is_volume(bytes: &[u8]) -> bool {
    bytes.get(40..44) == Some(b"_FVH")
}

struct Walk {
    volumes: Vec<FirmwareVolume>,
    items: usize,
    compressed: usize,
}

impl Walk {
    fn count(&mut self, reader: &Reader<'_>, what: &'static str) -> Result<(), ParseError> {
        self.items = self.items.saturating_add(1);
        if self.items > MAX_ITEMS {
            let kind = ParseErrorKind::TooLarge { found: self.items as u64, limit: MAX_ITEMS as u64 };
            return Err(reader.error(what, kind));
        }
        Ok(())
    }

    fn volume(&mut self, reader: &mut Reader<'_>, depth: usize) -> Result<(), ParseError> {
        const LENGTH: &str = "EFI_FIRMWARE_VOLUME_HEADER.FvLength";
        self.count(reader, "EFI_FIRMWARE_VOLUME_HEADER")?;
        let start = *reader;
        let mut header = *reader;
        header.take(32, "EFI_FIRMWARE_VOLUME_HEADER")?;
        let at_length = header;
        let length = header.u64(LENGTH)?;
        header.take(8, "EFI_FIRMWARE_VOLUME_HEADER.Signature")?;
        let header_length = header.u16("EFI_FIRMWARE_VOLUME_HEADER.HeaderLength")?;
        header.u16("EFI_FIRMWARE_VOLUME_HEADER.Checksum")?;
        let extended = header.u16("EFI_FIRMWARE_VOLUME_HEADER.ExtHeaderOffset")?;
        if length < 56 || length > start.remaining() as u64 {
            let expected = "56 bytes at least, and not more than the image has";
            return Err(at_length.error(LENGTH, ParseErrorKind::Unexpected { found: length, expected }));
        }
        let whole = reader.sub(length, LENGTH)?;
        let name = match extended {
            0 => None,
            offset => {
                let mut at = whole;
                at.take(offset.into(), "EFI_FIRMWARE_VOLUME_HEADER.ExtHeaderOffset")?;
                Some(guid::read(&mut at, "EFI_FIRMWARE_VOLUME_EXT_HEADER.FvName")?)
            }
        };
        let index = self.volumes.len();
        self.volumes.push(FirmwareVolume { name, bytes: whole.peek().to_vec(), files: Vec::new() });
        let mut files = whole;
        files.take(header_length.into(), "EFI_FIRMWARE_VOLUME_HEADER.HeaderLength")?;
        self.files(whole.offset(), files, index, depth)
    }

    fn files(
        &mut self,
        volume: u64,
        mut reader: Reader<'_>,
        index: usize,
        depth: usize,
    ) -> Result<(), ParseError> {
        while align(&mut reader, volume, 8) && reader.remaining() >= 24 {
            // Free space.
            if reader.peek().iter().take(24).all(|byte| *byte == 0xFF) {
                return Ok(());
            }
            self.count(&reader, "EFI_FFS_FILE_HEADER")?;
            let mut header = reader;
            let name = guid::read(&mut header, "EFI_FFS_FILE_HEADER.Name")?;
            header.u16("EFI_FFS_FILE_HEADER.IntegrityCheck")?;
            let kind = header.u8("EFI_FFS_FILE_HEADER.Type")?;
            let attributes = header.u8("EFI_FFS_FILE_HEADER.Attributes")?;
            let (mut size, mut header_size) = (u24(&mut header, "EFI_FFS_FILE_HEADER.Size")?, 24);
            if attributes & LARGE_FILE != 0 {
                header.u8("EFI_FFS_FILE_HEADER.State")?;
                (size, header_size) = (header.u64("EFI_FFS_FILE_HEADER2.ExtendedSize")?, 32);
            }
            let mut content = sized(&mut reader, size, header_size, "EFI_FFS_FILE_HEADER.Size")?;
            content.take(header_size, "EFI_FFS_FILE_HEADER")?;
            if let Some(volume) = self.volumes.get_mut(index) {
                volume.files.push(name);
            }
            if kind == FILE_VOLUME {
                self.sections(content.offset(), content, depth)?;
            }
        }
        Ok(())
    }

    fn sections(&mut self, start: u64, mut reader: Reader<'_>, depth: usize) -> Result<(), ParseError> {
        let Some(depth) = depth.checked_sub(1) else {
            let kind = ParseErrorKind::Invalid("stands too deep in other sections");
            return Err(reader.error("EFI_COMMON_SECTION_HEADER", kind));
        };
        while align(&mut reader, start, 4) && reader.remaining() >= 4 {
            self.count(&reader, "EFI_COMMON_SECTION_HEADER")?;
            let mut header = reader;
            let (mut size, mut header_size) = (u24(&mut header, "EFI_COMMON_SECTION_HEADER.Size")?, 4);
            let kind = header.u8("EFI_COMMON_SECTION_HEADER.Type")?;
            if size == 0xFF_FFFF {
                size = header.u32("EFI_COMMON_SECTION_HEADER2.ExtendedSize")?.into();
                header_size = 8;
            }
            let whole = sized(&mut reader, size, header_size, "EFI_COMMON_SECTION_HEADER.Size")?;
            let mut content = whole;
            content.take(header_size, "EFI_COMMON_SECTION_HEADER")?;
            match kind {
                SECTION_VOLUME if is_volume(content.peek()) => self.volume(&mut content, depth)?,
                SECTION_GUID_DEFINED => self.guided(whole, content, depth)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// A section that has to be processed: decompressed, where the GUID says so.
    fn guided(
        &mut self,
        mut whole: Reader<'_>,
        mut header: Reader<'_>,
        depth: usize,
    ) -> Result<(), ParseError> {
        let how = guid::read(&mut header, "EFI_GUID_DEFINED_SECTION.SectionDefinitionGuid")?;
        let offset = header.u16("EFI_GUID_DEFINED_SECTION.DataOffset")?;
        whole.take(offset.into(), "EFI_GUID_DEFINED_SECTION.DataOffset")?;
        self.compressed = self.compressed.saturating_add(1);
        if how != LZMA || self.compressed > MAX_COMPRESSED {
            return Ok(());
        }
        let bytes = decompress(whole)?;
        self.sections(0, Reader::new(&bytes), depth)
    }
}

/// LZMA with the header of the `.lzma` format (EDK2 `MdeModulePkg/Library/LzmaCustomDecompressLib`).
fn decompress(reader: Reader<'_>) -> Result<Vec<u8>, ParseError> {
    const WHAT: &str = "EFI_GUID_DEFINED_SECTION (LZMA)";
    let broken = |_| reader.error(WHAT, ParseErrorKind::Invalid("does not decompress"));
    // 13 bytes: properties, size of the dictionary, size of what comes out.
    let mut header = reader;
    header.take(5, WHAT)?;
    let size = header.u64(WHAT)?;
    if size > MAX_DECOMPRESSED {
        let kind = ParseErrorKind::TooLarge { found: size, limit: MAX_DECOMPRESSED };
        return Err(reader.error(WHAT, kind));
    }
    let limit = u32::try_from(MAX_DECOMPRESSED / 1024).unwrap_or(u32::MAX).saturating_mul(2);
    let lzma = LzmaReader::new_mem_limit(reader.peek(), limit, None).map_err(broken)?;
    let mut bytes = Vec::new();
    lzma.take(size).read_to_end(&mut bytes).map_err(broken)?;
    Ok(bytes)
}

/// A file or section of `size` bytes, its header of `least` included.
fn sized<'a>(
    reader: &mut Reader<'a>,
    size: u64,
    least: u64,
    what: &'static str,
) -> Result<Reader<'a>, ParseError> {
    if size < least {
        let expected = "its own header's size at least";
        return Err(reader.error(what, ParseErrorKind::Unexpected { found: size, expected }));
    }
    reader.sub(size, what)
}

/// Steps to the next multiple, counted from `start`; false at the end.
fn align(reader: &mut Reader<'_>, start: u64, to: u64) -> bool {
    let position = reader.offset().saturating_sub(start);
    let padding = position.next_multiple_of(to.max(1)).saturating_sub(position);
    reader.take(padding, "alignment").is_ok()
}

fn u24(reader: &mut Reader<'_>, what: &'static str) -> Result<u64, ParseError> {
    let [a, b, c] = reader.array::<3>(what)?;
    Ok(u32::from_le_bytes([a, b, c, 0]).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A volume with one file of that type and content.
    fn volume(kind: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 72];
        bytes[40..44].copy_from_slice(b"_FVH");
        bytes[48] = 72;
        bytes.extend(guid!("f0e6a44f-7195-41c3-ac64-54f202cd0a21").to_bytes());
        bytes.extend([0, 0, kind, 0]);
        bytes.extend(&u32::try_from(content.len() + 24).expect("small").to_le_bytes()[..3]);
        bytes.push(0);
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(4096), 0xFF);
        let length = bytes.len() as u64;
        bytes[32..40].copy_from_slice(&length.to_le_bytes());
        bytes
    }

    #[test]
    fn volumes_in_volumes_are_found() {
        let inner = volume(0x07, b"driver");
        let mut section = u32::try_from(inner.len() + 4).expect("small").to_le_bytes().to_vec();
        section[3] = SECTION_VOLUME;
        section.extend(&inner);
        let image = [vec![0; 4096], volume(FILE_VOLUME, &section)].concat();
        let found = volumes(&image).expect("two volumes");
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].bytes, inner);
        assert_eq!(found[1].files, [guid!("f0e6a44f-7195-41c3-ac64-54f202cd0a21")]);
    }

    #[test]
    fn lying_sizes_are_errors() {
        let good = volume(0x07, b"driver");
        for (offset, lie) in [(32, 55_u64), (32, u64::MAX), (72 + 20, 23), (72 + 20, 0xFF_FFFF)] {
            let mut bad = good.clone();
            let bytes = lie.to_le_bytes();
            let width = if offset == 32 { 8 } else { 3 };
            bad[offset..][..width].copy_from_slice(&bytes[..width]);
            assert!(volumes(&bad).is_err(), "{offset}: {lie:#x}");
        }
        assert!(volumes(&[0; 8192]).is_err(), "no volume at all");
    }

    #[test]
    fn a_section_that_claims_to_grow_beyond_all_bounds_is_refused() {
        let mut section = vec![0; 24 + 13];
        section[..4].copy_from_slice(&(24_u32 + 13).to_le_bytes());
        section[3] = SECTION_GUID_DEFINED;
        section[4..20].copy_from_slice(&LZMA.to_bytes());
        section[20] = 24;
        section[24] = 0x5D;
        section[29..37].copy_from_slice(&u64::MAX.to_le_bytes());
        let error = volumes(&volume(FILE_VOLUME, &section)).expect_err("64 EiB");
        assert!(matches!(error.kind, ParseErrorKind::TooLarge { .. }), "{error}");
        section[29..37].copy_from_slice(&1000_u64.to_le_bytes());
        assert!(volumes(&volume(FILE_VOLUME, &section)).is_err(), "no data");
    }
}
