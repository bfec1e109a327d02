//! `TCG_PCClientTaggedEvent`: an identifier that the writer chose, and its data.

use std::ops::Range;

use crate::bytes::{ParseError, Reader};
use crate::uefi::text;

use super::field::{Field, Value, short_hex, short_text};
use super::wbcl;

/// A tagged event. Linux and systemd hash what the tag names, not the tag; Windows and the confidential
/// containers' agent hash the whole.
#[derive(Debug, Clone)]
pub struct TaggedEvent<'a> {
    /// `taggedEventID`.
    pub id: u32,
    /// `taggedEventData`.
    pub data: &'a [u8],
    /// Where the data stands in the event.
    pub data_range: Range<usize>,
    /// Offset of the data in the log.
    data_offset: u64,
    /// Further tags or bytes behind: Windows writes several in one event.
    rest: &'a [u8],
}

impl<'a> TaggedEvent<'a> {
    /// Reads the tag at the start of an event.
    ///
    /// # Errors
    /// When its data reaches behind the end.
    pub fn read(mut reader: Reader<'a>) -> Result<Self, ParseError> {
        let id = reader.u32("TCG_PCClientTaggedEvent.taggedEventID")?;
        let length = reader.u32("TCG_PCClientTaggedEvent.taggedEventDataSize")?;
        let data_offset = reader.offset();
        let data = reader.take(length.into(), "TCG_PCClientTaggedEvent.taggedEventData")?;
        Ok(Self { id, data, data_range: 8..data.len().saturating_add(8), data_offset, rest: reader.rest() })
    }

    pub(super) fn summary(&self) -> String {
        let name = tag_name(self.id);
        let sipa = wbcl::sipa_name(self.id);
        match (name, sipa, text::guess(self.data)) {
            (Some(name), _, Some(text)) => format!("{name}: {}", short_text(&text)),
            (Some(name), ..) => format!("{name}: {}", short_hex(self.data)),
            (None, Some(sipa), _) => wbcl::summary(sipa, Reader::at(self.data, self.data_offset), self.id),
            (None, None, Some(text)) => format!("tag {:#010x}: {}", self.id, short_text(&text)),
            (None, None, None) => format!("tag {:#010x}: {}", self.id, short_hex(self.data)),
        }
    }

    pub(super) fn fields(&self) -> Vec<Field> {
        let name = tag_name(self.id).or_else(|| wbcl::sipa_name(self.id));
        let id = match name {
            Some(name) => Value::Text(format!("{:#010x} ({name})", self.id)),
            None => Value::Hex(self.id.into()),
        };
        let data = if wbcl::is_container(self.id) {
            Value::Fields(wbcl::fields(Reader::at(self.data, self.data_offset), 1))
        } else {
            match text::guess(self.data) {
                Some(text) => Value::Text(text),
                None => Value::bytes(self.data),
            }
        };
        let mut fields = vec![
            Field::new("taggedEventID", id, 0..4),
            Field::part("taggedEventData", data).at(self.data_range.clone()),
        ];
        if !self.rest.is_empty() {
            let end = self.data_range.end.saturating_add(self.rest.len());
            let offset = self.data_offset.saturating_add(self.data.len() as u64);
            let rest = wbcl::fields(Reader::at(self.rest, offset), 1);
            fields.push(Field::part("(further tags)", Value::Fields(rest)).at(self.data_range.end..end));
        }
        fields
    }
}

/// What the writer of a tag calls it.
#[must_use]
pub fn tag_name(id: u32) -> Option<&'static str> {
    TAGS.iter().find(|(known, _)| *known == id).map(|(_, name)| *name)
}

// Linux `drivers/firmware/efi/libstub/efistub.h`; systemd `src/fundamental/tpm2-pcr.h`; guest-components AAEL.
const TAGS: &[(u32, &str)] = &[
    (0x8F3B_22EC, "Linux initrd"),
    (0x8F3B_22ED, "Linux load options"),
    (0xF5BC_582A, "systemd-boot loader.conf"),
    (0x6C46_F751, "systemd-stub devicetree addon"),
    (0x49DF_FE0F, "systemd-stub initrd addon"),
    (0xDAC0_8E1A, "systemd-stub microcode addon"),
    (0x13AE_D6DB, "systemd-stub profile"),
    (0xD5CB_7CBC, "systemd-boot SMBIOS type 1"),
    (0xE0D4_7BC8, "systemd-boot SMBIOS type 2"),
    (0xC0B3_BD23, "systemd-boot SMBIOS type 11"),
    (0x4141_454C, "attestation agent"),
];
