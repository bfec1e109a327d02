//! Variable events: Secure Boot's databases, boot options, authorities, shim's lists.

use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::tcg::EventType;
use crate::uefi::guid::{self, GLOBAL_VARIABLE, IMAGE_SECURITY_DATABASE};
use crate::uefi::load_option::LoadOption;
use crate::uefi::signature_list::{self, SignatureData, SignatureList};
use crate::uefi::text;
use crate::uefi::variable::VariableData;

use super::certificate::{short_subject, subject};
use super::field::{Field, Value, short_hex, short_text};
use super::{Context, Decoded, EventData};

/// Entries of a signature list that are shown one by one; dbx has hundreds of hashes.
const SHOWN_SIGNATURES: usize = 4096;

/// `UEFI_VARIABLE_DATA`, and its content by the variable's name.
#[derive(Debug, Clone)]
pub struct MeasuredVariable<'a> {
    /// The structure.
    pub variable: VariableData<'a>,
    /// What its data holds.
    pub content: VariableContent<'a>,
}

/// The content of a variable, decoded by its name.
#[derive(Debug, Clone)]
pub enum VariableContent<'a> {
    /// No content: the variable did not exist, or was empty.
    Empty,
    /// One byte that is a switch: `SecureBoot`, `MokSBState`.
    Switch(u8),
    /// `EFI_SIGNATURE_LIST`s: PK, KEK, db, dbx, MokList.
    Signatures(Vec<SignatureList<'a>>),
    /// One `EFI_SIGNATURE_DATA`: the entry that let an image start.
    Authority(SignatureData<'a>),
    /// A certificate without owner (shim).
    Certificate(&'a [u8]),
    /// Numbers of boot options.
    BootOrder(Vec<u16>),
    /// A boot option.
    LoadOption(Box<LoadOption<'a>>),
    /// A number.
    Number(u16),
    /// Text.
    Text(String),
    /// Anything else.
    Bytes(&'a [u8]),
}

pub(super) fn decode<'a>(event_type: EventType, reader: Reader<'a>, context: Context) -> Decoded<'a> {
    let data = reader.peek();
    let variable = match VariableData::read(reader, context.uintn) {
        Ok(variable) => variable,
        Err(error) => return Decoded { data: EventData::Bytes(data), problem: Some(error) },
    };
    let (content, problem) = content(event_type, &variable);
    Decoded { data: EventData::Variable(MeasuredVariable { variable, content }), problem }
}

fn content<'a>(
    event_type: EventType,
    variable: &VariableData<'a>,
) -> (VariableContent<'a>, Option<ParseError>) {
    let reader = Reader::at(variable.data, variable.data_offset);
    if variable.data.is_empty() {
        return (VariableContent::Empty, None);
    }
    let authority =
        matches!(event_type, EventType::EFI_VARIABLE_AUTHORITY | EventType::EFI_SPDM_DEVICE_AUTHORITY);
    let result = match variable.name.as_str() {
        "SecureBoot" | "SetupMode" | "AuditMode" | "DeployedMode" | "MokSBState" | "MokDBState"
        | "MokIgnoreDB" | "MokListTrusted" | "MokListTrustedRT" | "VendorKeys" => switch(reader),
        "PK" | "KEK" | "db" | "dbx" | "dbt" | "dbr" | "vendor_db" | "vendor_dbx" | "MokList"
        | "MokListRT" | "MokListX" | "MokListXRT" | "devdb"
            if !authority =>
        {
            let (lists, problem) = SignatureList::read_all(reader);
            return (VariableContent::Signatures(lists), problem);
        }
        "SbatLevel" | "SbatLevelRT" => Ok(VariableContent::Text(text::ascii_to_nul(variable.data))),
        "BootOrder" | "DriverOrder" | "SysPrepOrder" => boot_order(reader),
        "BootNext" | "BootCurrent" | "Timeout" => number(reader),
        name if is_load_option(name) => {
            LoadOption::read(reader).map(|option| VariableContent::LoadOption(Box::new(option)))
        }
        _ if authority => authority_data(reader),
        _ => Ok(match text::guess(variable.data) {
            Some(text) => VariableContent::Text(text),
            None => VariableContent::Bytes(variable.data),
        }),
    };
    match result {
        Ok(content) => (content, None),
        Err(problem) => (VariableContent::Bytes(variable.data), Some(problem)),
    }
}

fn switch(mut reader: Reader<'_>) -> Result<VariableContent<'_>, ParseError> {
    let value = reader.u8("UEFI_VARIABLE_DATA.VariableData")?;
    reader.expect_end("UEFI_VARIABLE_DATA.VariableData")?;
    Ok(VariableContent::Switch(value))
}

fn number(mut reader: Reader<'_>) -> Result<VariableContent<'_>, ParseError> {
    let value = reader.u16("UEFI_VARIABLE_DATA.VariableData")?;
    reader.expect_end("UEFI_VARIABLE_DATA.VariableData")?;
    Ok(VariableContent::Number(value))
}

fn boot_order(reader: Reader<'_>) -> Result<VariableContent<'_>, ParseError> {
    let (units, odd) = reader.peek().as_chunks::<2>();
    if !odd.is_empty() {
        let found = reader.remaining() as u64;
        let kind = ParseErrorKind::Unexpected { found, expected: "an even number of bytes" };
        return Err(reader.error("BootOrder", kind));
    }
    Ok(VariableContent::BootOrder(units.iter().map(|unit| u16::from_le_bytes(*unit)).collect()))
}

/// `Boot####` and its kin (UEFI, section 3.3): a name and four hexadecimal digits.
fn is_load_option(name: &str) -> bool {
    let digits = ["Boot", "Driver", "SysPrep", "OsRecovery", "PlatformRecovery"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix));
    digits.is_some_and(|digits| digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// shim logs `Shim` and, up to 15.2, everything as a bare certificate; others as `EFI_SIGNATURE_DATA`.
fn authority_data(reader: Reader<'_>) -> Result<VariableContent<'_>, ParseError> {
    let data = reader.peek();
    // A DER SEQUENCE with a two-byte length: no owner GUID in use begins so.
    if data.starts_with(&[0x30, 0x82]) {
        return Ok(VariableContent::Certificate(data));
    }
    SignatureData::read(reader).map(VariableContent::Authority)
}

impl MeasuredVariable<'_> {
    pub(super) fn summary(&self) -> String {
        let name = &self.variable.name;
        match &self.content {
            VariableContent::Empty => format!("{name} (empty)"),
            VariableContent::Switch(value) => format!("{name} = {value}"),
            VariableContent::Signatures(lists) => {
                let count: u64 = lists.iter().map(SignatureList::len).fold(0, u64::saturating_add);
                let plural = if count == 1 { "" } else { "s" };
                let first =
                    lists.iter().flat_map(SignatureList::entries).find_map(|entry| short_subject(entry.data));
                match first {
                    Some(subject) if count == 1 => format!("{name}: {subject}"),
                    Some(subject) => format!("{name}: {count} signature{plural}, {subject}, …"),
                    None => format!("{name}: {count} signature{plural}"),
                }
            }
            VariableContent::Authority(entry) => format!("{name}: {}", describe_signature(entry.data)),
            VariableContent::Certificate(der) => format!("{name}: {}", describe_signature(der)),
            VariableContent::BootOrder(order) => format!("{name} = {}", order_text(order)),
            VariableContent::LoadOption(option) => {
                format!("{name}: {} {}", option.description, short_text(&option.path.text()))
            }
            VariableContent::Number(number) => format!("{name} = {number:04X}"),
            VariableContent::Text(text) => format!("{name} = {}", short_text(text.trim_end())),
            VariableContent::Bytes(bytes) => format!("{name} = {}", short_hex(bytes)),
        }
    }

    pub(super) fn fields(&self) -> Vec<Field> {
        let variable = &self.variable;
        let mut fields = vec![
            Field::new("VariableName", Value::guid(variable.guid), 0..16),
            Field::new("UnicodeName", Value::text(&*variable.name), variable.name_range.clone()),
        ];
        let value = match &self.content {
            VariableContent::Empty => Value::text(""),
            VariableContent::Switch(value) => Value::Number((*value).into()),
            VariableContent::Signatures(lists) => Value::Fields(signatures(lists)),
            VariableContent::Authority(entry) => Value::Fields(vec![
                Field::part("SignatureOwner", Value::guid(entry.owner)),
                Field::part("SignatureData", signature_value(entry.data)),
            ]),
            VariableContent::Certificate(der) => signature_value(der),
            VariableContent::BootOrder(order) => Value::text(order_text(order)),
            VariableContent::LoadOption(option) => Value::Fields(load_option(option)),
            VariableContent::Number(number) => Value::Hex((*number).into()),
            VariableContent::Text(text) => Value::text(&**text),
            VariableContent::Bytes(bytes) => Value::bytes(bytes),
        };
        fields.push(Field::part("VariableData", value).at(variable.data_range.clone()));
        if !variable.trailing.is_empty() {
            let range =
                variable.data_range.end..variable.data_range.end.saturating_add(variable.trailing.len());
            fields.push(Field::new("(bytes behind the structure)", Value::bytes(variable.trailing), range));
        }
        fields
    }

    /// One of the variables that firmware must measure into PCR 7, once each (PFP, section 3.3.4.8).
    #[must_use]
    pub fn is_secure_boot_policy(&self) -> bool {
        match self.variable.guid {
            GLOBAL_VARIABLE => matches!(self.variable.name.as_str(), "SecureBoot" | "PK" | "KEK"),
            IMAGE_SECURITY_DATABASE => matches!(self.variable.name.as_str(), "db" | "dbx" | "dbt" | "dbr"),
            _ => false,
        }
    }
}

fn signatures(lists: &[SignatureList<'_>]) -> Vec<Field> {
    let mut fields = Vec::new();
    for list in lists {
        let kind = match signature_list::type_name(list.signature_type) {
            Some(name) => name.to_owned(),
            None => list.signature_type.to_string(),
        };
        for entry in list.entries() {
            if fields.len() >= SHOWN_SIGNATURES {
                fields.push(Field::part("(more)", Value::text("not shown")));
                return fields;
            }
            let owner = guid::name(entry.owner).map_or_else(|| entry.owner.to_string(), str::to_owned);
            let text = format!("{} [owner {owner}]", describe_signature(entry.data));
            fields.push(Field::part(kind.clone(), Value::Text(text)));
        }
    }
    fields
}

fn signature_value(data: &[u8]) -> Value {
    Value::Text(describe_signature(data))
}

fn describe_signature(data: &[u8]) -> String {
    match subject(data) {
        Some(subject) => subject,
        None if data.starts_with(&[0x30, 0x82]) => format!("unreadable certificate of {} bytes", data.len()),
        None => match text::guess(data) {
            Some(text) => short_text(&text),
            None => short_hex_of_hash(data),
        },
    }
}

/// A hash is shown whole, anything longer by its beginning.
fn short_hex_of_hash(data: &[u8]) -> String {
    if data.len() <= 64 { hex::encode(data) } else { short_hex(data) }
}

fn load_option(option: &LoadOption<'_>) -> Vec<Field> {
    let mut fields = vec![
        Field::part("Attributes", Value::Hex(option.attributes.into())),
        Field::part("Description", Value::text(&*option.description)),
        Field::part("FilePathList", Value::text(option.path.text())),
    ];
    if !option.optional_data.is_empty() {
        let value = match text::guess(option.optional_data) {
            Some(text) => Value::Text(text),
            None => Value::bytes(option.optional_data),
        };
        fields.push(Field::part("OptionalData", value));
    }
    fields
}

fn order_text(order: &[u16]) -> String {
    let numbers: Vec<String> = order.iter().map(|number| format!("{number:04X}")).collect();
    numbers.join(",")
}
