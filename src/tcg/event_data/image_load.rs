//! `UEFI_IMAGE_LOAD_EVENT` (PFP, section 10.2.3): an application or driver that was loaded.

use std::ops::Range;

use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::uefi::device_path::DevicePath;
use crate::uefi::guid;

use super::field::{Field, Value};
use super::{Context, Decoded, EventData};

/// The event of a loaded image. Its digest is the image's Authenticode digest: none of this is covered.
#[derive(Debug, Clone)]
pub struct ImageLoadEvent<'a> {
    /// `ImageLocationInMemory`: differs from boot to boot.
    pub location: u64,
    /// `ImageLengthInMemory`, in bytes.
    pub length: u64,
    /// `ImageLinkTimeAddress`.
    pub link_time_address: u64,
    /// `DevicePath`.
    pub path: DevicePath<'a>,
    path_range: Range<usize>,
}

pub(super) fn decode<'a>(reader: Reader<'a>, context: Context) -> Decoded<'a> {
    let data = reader.peek();
    match read(reader, context) {
        Ok(event) => Decoded { data: EventData::ImageLoad(event), problem: None },
        Err(error) => Decoded { data: EventData::Bytes(data), problem: Some(error) },
    }
}

fn read<'a>(mut reader: Reader<'a>, context: Context) -> Result<ImageLoadEvent<'a>, ParseError> {
    const LENGTH: &str = "UEFI_IMAGE_LOAD_EVENT.LengthOfDevicePath";
    let start = reader.offset();
    let location = reader.u64("UEFI_IMAGE_LOAD_EVENT.ImageLocationInMemory")?;
    let length = context.uintn.read(&mut reader, "UEFI_IMAGE_LOAD_EVENT.ImageLengthInMemory")?;
    let link_time_address = context.uintn.read(&mut reader, "UEFI_IMAGE_LOAD_EVENT.ImageLinkTimeAddress")?;
    let at_length = reader;
    let path_length = context.uintn.read(&mut reader, LENGTH)?;
    if path_length > reader.remaining() as u64 {
        let kind = ParseErrorKind::Truncated { needed: path_length, left: reader.remaining() as u64 };
        return Err(at_length.error(LENGTH, kind));
    }
    let path_start = usize::try_from(reader.offset().saturating_sub(start)).unwrap_or(usize::MAX);
    let path = DevicePath::read(reader.sub(path_length, "UEFI_IMAGE_LOAD_EVENT.DevicePath")?)?;
    let path_length = usize::try_from(path_length).unwrap_or(usize::MAX);
    let path_range = path_start..path_start.saturating_add(path_length);
    Ok(ImageLoadEvent { location, length, link_time_address, path, path_range })
}

impl ImageLoadEvent<'_> {
    pub(super) fn summary(&self) -> String {
        let text = self.path.text();
        match self.path.file() {
            Some(file) => file,
            None if text.is_empty() => format!("image of {} bytes without a path", self.length),
            None => match self.path.nodes.last().and_then(vendor_guid) {
                Some(name) => format!("{text} ({name})"),
                None => text,
            },
        }
    }

    pub(super) fn fields(&self) -> Vec<Field> {
        let width = self.path_range.start.saturating_sub(8).checked_div(3).unwrap_or(8);
        let at = |index: usize| {
            let start = width.saturating_mul(index).saturating_add(8);
            start..start.saturating_add(width)
        };
        vec![
            Field::new("ImageLocationInMemory", Value::Hex(self.location), 0..8),
            Field::new("ImageLengthInMemory", Value::Number(self.length), at(0)),
            Field::new("ImageLinkTimeAddress", Value::Hex(self.link_time_address), at(1)),
            Field::new("DevicePath", Value::Text(self.path.text()), self.path_range.clone()),
        ]
    }
}

/// The name of the GUID in a vendor-defined media node: QEMU's and systemd-stub's inner images have nothing else.
fn vendor_guid(node: &crate::uefi::device_path::Node<'_>) -> Option<&'static str> {
    if (node.node_type, node.subtype) != (4, 3) {
        return None;
    }
    let guid = guid::read(&mut Reader::new(node.body), "Vendor_GUID").ok()?;
    guid::name(guid)
}
