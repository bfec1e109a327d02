//! What the data of an event says: one file for each family of events.
//!
//! Decoding never fails as a whole. Data that breaks its own rules becomes the part that could be read and a
//! [`ParseError`]; data of a type that is not known stays bytes. What an event says is proven only where its
//! digest covers it: see [`coverage`].

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod certificate;
mod coverage;
mod field;
mod firmware;
mod gpt;
mod image_load;
mod no_action;
mod separator;
mod spdm;
mod tag;
mod text;
mod txt;
mod variable;
mod wbcl;

use crate::bytes::{ParseError, Reader};
use crate::tcg::EventType;
use crate::uefi::gpt::GptData;
use crate::uefi::variable::Uintn;

pub use certificate::subject;
pub use coverage::{Coverage, Rule, coverage};
pub use field::{Field, Value};
pub use firmware::{FirmwareBlob, HandoffTables};
pub use image_load::ImageLoadEvent;
pub use no_action::{NoAction, PlatformManufacturer, SpecId12};
pub use separator::Separator;
pub use spdm::DeviceSecurity;
pub use tag::{TaggedEvent, tag_name};
pub use text::{Text, TextKind};
pub use txt::txt_type_name;
pub use variable::{MeasuredVariable, VariableContent};
pub use wbcl::sipa_name;

/// What must be known of the log to decode its events.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context {
    /// Offset of the event's data in the log, for errors.
    pub data_offset: u64,
    /// Width of `UINTN` in old structures.
    pub uintn: Uintn,
}

/// The data of an event, decoded by its claimed type.
#[derive(Debug, Clone)]
pub enum EventData<'a> {
    /// A UEFI variable.
    Variable(MeasuredVariable<'a>),
    /// A PE image that was loaded.
    ImageLoad(ImageLoadEvent<'a>),
    /// A partition table.
    Gpt(GptData<'a>),
    /// A firmware volume or other piece of firmware.
    FirmwareBlob(FirmwareBlob),
    /// Configuration tables handed over to the next stage.
    HandoffTables(HandoffTables),
    /// A tag with data of its own.
    Tag(TaggedEvent<'a>),
    /// An informational record that extends nothing.
    NoAction(NoAction<'a>),
    /// The line between two stages.
    Separator(Separator<'a>),
    /// A device's answers to SPDM.
    DeviceSecurity(DeviceSecurity<'a>),
    /// Text, of a kind.
    Text(Text<'a>),
    /// Anything else.
    Bytes(&'a [u8]),
}

/// The outcome of decoding.
#[derive(Debug, Clone)]
pub struct Decoded<'a> {
    /// What could be read.
    pub data: EventData<'a>,
    /// Why not all of it could.
    pub problem: Option<ParseError>,
}

/// Decodes the data of an event of the type that the log claims.
#[must_use]
pub fn decode(event_type: EventType, data: &[u8], context: Context) -> Decoded<'_> {
    let reader = Reader::at(data, context.data_offset);
    let result = match event_type {
        EventType::NO_ACTION => NoAction::read(reader).map(EventData::NoAction),
        EventType::SEPARATOR => Ok(EventData::Separator(Separator::new(data))),
        EventType::EFI_VARIABLE_DRIVER_CONFIG
        | EventType::EFI_VARIABLE_BOOT
        | EventType::EFI_VARIABLE_BOOT2
        | EventType::EFI_VARIABLE_AUTHORITY
        | EventType::EFI_SPDM_DEVICE_POLICY
        | EventType::EFI_SPDM_DEVICE_AUTHORITY => return variable::decode(event_type, reader, context),
        EventType::EFI_BOOT_SERVICES_APPLICATION
        | EventType::EFI_BOOT_SERVICES_DRIVER
        | EventType::EFI_RUNTIME_SERVICES_DRIVER => return image_load::decode(reader, context),
        EventType::EFI_GPT_EVENT | EventType::EFI_GPT_EVENT2 => GptData::read(reader).map(EventData::Gpt),
        EventType::EFI_PLATFORM_FIRMWARE_BLOB | EventType::EFI_PLATFORM_FIRMWARE_BLOB2 => {
            FirmwareBlob::read(event_type, reader).map(EventData::FirmwareBlob)
        }
        EventType::EFI_HANDOFF_TABLES | EventType::EFI_HANDOFF_TABLES2 => {
            HandoffTables::read(event_type, reader, context.uintn).map(EventData::HandoffTables)
        }
        EventType::EFI_SPDM_FIRMWARE_BLOB | EventType::EFI_SPDM_FIRMWARE_CONFIG => {
            DeviceSecurity::read(reader).map(EventData::DeviceSecurity)
        }
        EventType::EVENT_TAG => Ok(TaggedEvent::read(reader).map_or_else(
            // One Linux release logged the text without the structure around it.
            |_| Text::read(event_type, data).map_or(EventData::Bytes(data), EventData::Text),
            EventData::Tag,
        )),
        _ => Ok(Text::read(event_type, data).map_or(EventData::Bytes(data), EventData::Text)),
    };
    match result {
        Ok(data) => Decoded { data, problem: None },
        Err(error) => Decoded { data: EventData::Bytes(data), problem: Some(error) },
    }
}

impl EventData<'_> {
    /// One line that says what it is. It is text from the log: not safe for a terminal as it is.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::Variable(variable) => variable.summary(),
            Self::ImageLoad(image) => image.summary(),
            Self::Gpt(gpt) => gpt::summary(gpt),
            Self::FirmwareBlob(blob) => blob.summary(),
            Self::HandoffTables(tables) => tables.summary(),
            Self::Tag(tag) => tag.summary(),
            Self::NoAction(record) => record.summary(),
            Self::Separator(separator) => separator.summary(),
            Self::DeviceSecurity(device) => device.summary(),
            Self::Text(text) => text.summary(),
            Self::Bytes([]) => String::new(),
            Self::Bytes(bytes) => field::short_hex(bytes),
        }
    }

    /// Everything in it, with the place of each field in the event's data.
    #[must_use]
    pub fn fields(&self) -> Vec<Field> {
        match self {
            Self::Variable(variable) => variable.fields(),
            Self::ImageLoad(image) => image.fields(),
            Self::Gpt(gpt) => gpt::fields(gpt),
            Self::FirmwareBlob(blob) => blob.fields(),
            Self::HandoffTables(tables) => tables.fields(),
            Self::Tag(tag) => tag.fields(),
            Self::NoAction(record) => record.fields(),
            Self::Separator(separator) => separator.fields(),
            Self::DeviceSecurity(device) => device.fields(),
            Self::Text(text) => text.fields(),
            Self::Bytes([]) => Vec::new(),
            Self::Bytes(bytes) => vec![Field::new("Event", Value::bytes(bytes), 0..bytes.len())],
        }
    }
}
