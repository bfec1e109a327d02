//! `EV_NO_ACTION`: records that extend nothing, told apart by their first 16 bytes (PFP, section 10.4.5).

use std::ops::Range;

use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::tcg::eventlog::SpecId;
use crate::uefi::device_path::DevicePath;
use crate::uefi::guid::{self, Guid};
use crate::uefi::text;

use super::field::{Field, Value, short_hex};
use super::spdm::DeviceSecurity;
use super::wbcl;

/// Strings of an SP800-155 event. Real ones are names of companies and models.
const MAX_LOCATOR: u32 = 64 * 1024;

/// An informational record.
#[derive(Debug, Clone)]
pub enum NoAction<'a> {
    /// `Spec ID Event03`: the header of a crypto-agile log.
    SpecId(SpecId<'a>),
    /// `Spec ID Event00` or `02`: the header of a TPM 1.2 log.
    SpecId12(SpecId12<'a>),
    /// `StartupLocality`.
    StartupLocality(u8),
    /// `SP800-155 Event` (PFP 1.03).
    Sp800155 {
        /// `VendorId`: IANA enterprise number.
        vendor_id: u32,
        /// `ReferenceManifestGuid`.
        manifest: Guid,
    },
    /// `SP800-155 Event2` and `Event3`.
    Sp800155Manifest(Box<PlatformManufacturer<'a>>),
    /// `NvIndexInstance`, `NvIndexDynamic`: what was extended into an NV index (PFP 1.06).
    NvIndex {
        /// The signature.
        signature: &'static str,
        /// `Version`.
        version: u16,
        /// `TCG_DEVICE_SECURITY_EVENT_DATA2` of an instance.
        device: Option<Box<DeviceSecurity<'a>>>,
        /// Anything else.
        rest: &'a [u8],
    },
    /// Windows' trust point: a list of tags.
    TrustPoint(&'a [u8], u64),
    /// Anything else.
    Other(&'a [u8]),
}

/// The header of a TPM 1.2 log: `TCG_PCClientSpecIDEventStruct` (PC Client Implementation Specification for
/// Conventional BIOS 1.21, section 11.3.4.1, `Spec ID Event00`) or `TCG_EfiSpecIDEventStruct` (EFI Platform
/// Specification 1.22, section 7.4, `Spec ID Event02`). Both have the same layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecId12<'a> {
    /// Its 16 bytes, without NUL.
    pub signature: &'static str,
    /// `platformClass`: 0 client, 1 server.
    pub platform_class: u32,
    /// `specVersionMinor`.
    pub version_minor: u8,
    /// `specVersionMajor`.
    pub version_major: u8,
    /// `specErrata`.
    pub errata: u8,
    /// `uintnSize` of `Spec ID Event02`: 1 is 32 bits, 2 is 64 bits; a reserved byte in `Spec ID Event00`.
    pub uintn_size: u8,
    /// `vendorInfo`.
    pub vendor_info: &'a [u8],
    /// Bytes behind the last field, which the specification does not have.
    pub trailing: &'a [u8],
}

/// `TCG_Sp800_155_PlatformId_Event3` (PFP, section 10.4.5.2). Strings are without their NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformManufacturer<'a> {
    /// 2 or 3.
    pub version: u8,
    /// `PlatformManufacturerId`: IANA enterprise number.
    pub vendor_id: u32,
    /// `ReferenceManifestGuid`.
    pub manifest: Guid,
    /// `PlatformManufacturerStr`, `PlatformModel`, `PlatformVersion`, `FirmwareManufacturerStr`.
    pub strings: [String; 4],
    /// `FirmwareManufacturerId`.
    pub firmware_vendor_id: u32,
    /// `FirmwareVersion`.
    pub firmware_version: String,
    /// `RIMLocatorType` and `RIMLocator`.
    pub rim: Option<Locator<'a>>,
    /// `PlatformCertLocatorType` and `PlatformCertLocator`.
    pub certificate: Option<Locator<'a>>,
}

/// Where a document is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locator<'a> {
    /// 0 the document itself, 1 a URI, 2 a device path, 3 a UEFI variable.
    pub kind: u32,
    /// By its kind.
    pub data: &'a [u8],
    offset: u64,
}

impl<'a> NoAction<'a> {
    pub(super) fn read(reader: Reader<'a>) -> Result<Self, ParseError> {
        let data = reader.peek();
        let mut body = reader;
        let Ok(signature) = body.array::<16>("Signature") else { return Ok(Self::Other(data)) };
        Ok(match &signature {
            b"Spec ID Event03\0" => Self::SpecId(SpecId::read(reader)?),
            b"Spec ID Event02\0" => Self::SpecId12(SpecId12::read("Spec ID Event02", body)?),
            b"Spec ID Event00\0" => Self::SpecId12(SpecId12::read("Spec ID Event00", body)?),
            b"StartupLocality\0" => {
                let locality = body.u8("StartupLocality.StartupLocality")?;
                body.expect_end("StartupLocality")?;
                Self::StartupLocality(locality)
            }
            b"SP800-155 Event\0" => Self::Sp800155 {
                vendor_id: body.u32("SP800-155 Event.VendorId")?,
                manifest: guid::read(&mut body, "SP800-155 Event.ReferenceManifestGuid")?,
            },
            b"SP800-155 Event2" => Self::Sp800155Manifest(Box::new(PlatformManufacturer::read(2, body)?)),
            b"SP800-155 Event3" => Self::Sp800155Manifest(Box::new(PlatformManufacturer::read(3, body)?)),
            b"NvIndexInstance\0" => Self::nv_index("NvIndexInstance", body)?,
            b"NvIndexDynamic \0" | b"NvIndexDynamic\0\0" => Self::nv_index("NvIndexDynamic", body)?,
            _ if trust_point(reader) => Self::TrustPoint(data, reader.offset()),
            _ => Self::Other(data),
        })
    }

    fn nv_index(signature: &'static str, mut body: Reader<'a>) -> Result<Self, ParseError> {
        let version = body.u16("TCG_NV_INDEX_EVENT_LOG.Version")?;
        body.take(6, "TCG_NV_INDEX_EVENT_LOG.Reserved")?;
        if signature == "NvIndexInstance" {
            let device = Some(Box::new(DeviceSecurity::read(body)?));
            return Ok(Self::NvIndex { signature, version, device, rest: &[] });
        }
        Ok(Self::NvIndex { signature, version, device: None, rest: body.rest() })
    }

    pub(super) fn summary(&self) -> String {
        match self {
            Self::SpecId(header) => {
                let banks: Vec<String> =
                    header.digest_sizes.iter().map(|row| row.algorithm.to_string()).collect();
                let (major, minor) = (header.version_major, header.version_minor);
                format!(
                    "Spec ID Event03, specification {major}.{minor:02} errata {}, {}",
                    header.errata,
                    banks.join(" ")
                )
            }
            Self::SpecId12(header) => format!(
                "{}, specification {}.{:02} errata {}",
                header.signature, header.version_major, header.version_minor, header.errata
            ),
            Self::StartupLocality(locality) => format!("TPM started from locality {locality}"),
            Self::Sp800155 { manifest, .. } => format!("reference manifest {manifest}"),
            Self::Sp800155Manifest(event) => {
                let locator = event.rim.map_or_else(String::new, |rim| format!(" at {}", rim.text()));
                format!("reference manifest {}{locator}", event.manifest)
            }
            Self::NvIndex { signature, device, .. } => match device {
                Some(device) => format!("{signature}: {}", device.summary()),
                None => (*signature).to_owned(),
            },
            Self::TrustPoint(..) => "Windows trust point".to_owned(),
            Self::Other(data) => text::guess(data).unwrap_or_else(|| short_hex(data)),
        }
    }

    pub(super) fn fields(&self) -> Vec<Field> {
        let fields = match self {
            Self::SpecId(header) => spec_id_fields(header),
            Self::SpecId12(header) => header.fields(),
            Self::StartupLocality(locality) => {
                vec![Field::part("StartupLocality", Value::Number((*locality).into()))]
            }
            Self::Sp800155 { vendor_id, manifest } => vec![
                Field::part("VendorId", Value::Number((*vendor_id).into())),
                Field::part("ReferenceManifestGuid", Value::guid(*manifest)),
            ],
            Self::Sp800155Manifest(event) => event.fields(),
            Self::NvIndex { signature, version, device, rest } => {
                let mut fields = vec![
                    Field::part("Signature", Value::text(*signature)),
                    Field::part("Version", Value::Number((*version).into())),
                ];
                fields.extend(device.iter().flat_map(|device| device.fields()));
                if !rest.is_empty() {
                    fields.push(Field::part("Data", Value::bytes(rest)));
                }
                fields
            }
            Self::TrustPoint(data, offset) => wbcl::fields(Reader::at(data, *offset), 0),
            Self::Other(data) => vec![Field::part("Event", Value::bytes(data))],
        };
        // Nothing of an EV_NO_ACTION record is ever covered by a digest.
        fields.into_iter().map(|field| field.at(NOWHERE)).collect()
    }
}

const NOWHERE: Range<usize> = 0..usize::MAX;

fn trust_point(mut reader: Reader<'_>) -> bool {
    reader.u32("SIPAEVENT.EventType").is_ok_and(wbcl::is_container)
}

fn spec_id_fields(header: &SpecId<'_>) -> Vec<Field> {
    let mut fields = vec![
        Field::part("signature", Value::text("Spec ID Event03")),
        Field::part("platformClass", Value::Number(header.platform_class.into())),
        Field::part("specVersionMajor", Value::Number(header.version_major.into())),
        Field::part("specVersionMinor", Value::Number(header.version_minor.into())),
        Field::part("specErrata", Value::Number(header.errata.into())),
        Field::part("uintnSize", Value::Number(header.uintn_size.into())),
    ];
    for row in &header.digest_sizes {
        fields.push(Field::part("algorithm", Value::Text(format!("{}, {} bytes", row.algorithm, row.size))));
    }
    fields.extend(vendor_fields(&header.vendor_info, &header.trailing));
    fields
}

/// What stands at the end of each header, where there is any.
fn vendor_fields(vendor_info: &[u8], trailing: &[u8]) -> Vec<Field> {
    let mut fields = Vec::new();
    if !vendor_info.is_empty() {
        let value = match text::guess(vendor_info) {
            Some(text) => Value::Text(text),
            None => Value::bytes(vendor_info),
        };
        fields.push(Field::part("vendorInfo", value));
    }
    if !trailing.is_empty() {
        fields.push(Field::part("(behind vendorInfo)", Value::bytes(trailing)));
    }
    fields
}

impl<'a> SpecId12<'a> {
    fn read(signature: &'static str, mut body: Reader<'a>) -> Result<Self, ParseError> {
        let platform_class = body.u32("TCG_EfiSpecIDEventStruct.platformClass")?;
        let version_minor = body.u8("TCG_EfiSpecIDEventStruct.specVersionMinor")?;
        let version_major = body.u8("TCG_EfiSpecIDEventStruct.specVersionMajor")?;
        let errata = body.u8("TCG_EfiSpecIDEventStruct.specErrata")?;
        let uintn_size = body.u8("TCG_EfiSpecIDEventStruct.uintnSize")?;
        let length = body.u8("TCG_EfiSpecIDEventStruct.vendorInfoSize")?;
        let vendor_info = body.take(length.into(), "TCG_EfiSpecIDEventStruct.vendorInfo")?;
        let trailing = body.rest();
        Ok(Self {
            signature,
            platform_class,
            version_minor,
            version_major,
            errata,
            uintn_size,
            vendor_info,
            trailing,
        })
    }

    fn fields(&self) -> Vec<Field> {
        let uintn = if self.signature == "Spec ID Event00" { "reserved" } else { "uintnSize" };
        let mut fields = vec![
            Field::part("signature", Value::text(self.signature)),
            Field::part("platformClass", Value::Number(self.platform_class.into())),
            Field::part("specVersionMajor", Value::Number(self.version_major.into())),
            Field::part("specVersionMinor", Value::Number(self.version_minor.into())),
            Field::part("specErrata", Value::Number(self.errata.into())),
            Field::part(uintn, Value::Number(self.uintn_size.into())),
        ];
        fields.extend(vendor_fields(self.vendor_info, self.trailing));
        fields
    }
}

impl<'a> PlatformManufacturer<'a> {
    fn read(version: u8, mut reader: Reader<'a>) -> Result<Self, ParseError> {
        let vendor_id = reader.u32("SP800-155 Event.PlatformManufacturerId")?;
        let manifest = guid::read(&mut reader, "SP800-155 Event.ReferenceManifestGuid")?;
        let strings = [
            string(&mut reader, "SP800-155 Event.PlatformManufacturerStr")?,
            string(&mut reader, "SP800-155 Event.PlatformModel")?,
            string(&mut reader, "SP800-155 Event.PlatformVersion")?,
            string(&mut reader, "SP800-155 Event.FirmwareManufacturerStr")?,
        ];
        let firmware_vendor_id = reader.u32("SP800-155 Event.FirmwareManufacturerId")?;
        let firmware_version = string(&mut reader, "SP800-155 Event.FirmwareVersion")?;
        let (rim, certificate) = match version {
            3 => (
                Some(Locator::read(&mut reader, "SP800-155 Event.RIMLocator")?),
                Some(Locator::read(&mut reader, "SP800-155 Event.PlatformCertLocator")?),
            ),
            _ => (None, None),
        };
        Ok(Self {
            version,
            vendor_id,
            manifest,
            strings,
            firmware_vendor_id,
            firmware_version,
            rim,
            certificate,
        })
    }

    fn fields(&self) -> Vec<Field> {
        let [manufacturer, model, version, firmware] = &self.strings;
        let mut fields = vec![
            Field::part("PlatformManufacturerId", Value::Number(self.vendor_id.into())),
            Field::part("ReferenceManifestGuid", Value::guid(self.manifest)),
            Field::part("PlatformManufacturerStr", Value::text(&**manufacturer)),
            Field::part("PlatformModel", Value::text(&**model)),
            Field::part("PlatformVersion", Value::text(&**version)),
            Field::part("FirmwareManufacturerStr", Value::text(&**firmware)),
            Field::part("FirmwareManufacturerId", Value::Number(self.firmware_vendor_id.into())),
            Field::part("FirmwareVersion", Value::text(&*self.firmware_version)),
        ];
        for (name, locator) in [("RIMLocator", self.rim), ("PlatformCertLocator", self.certificate)] {
            if let Some(locator) = locator {
                fields.push(Field::part(name, Value::Text(locator.text())));
            }
        }
        fields
    }
}

impl<'a> Locator<'a> {
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, ParseError> {
        let kind = reader.u32(what)?;
        let at_length = *reader;
        let length = reader.u32(what)?;
        if length > MAX_LOCATOR {
            let limit = MAX_LOCATOR.into();
            return Err(at_length.error(what, ParseErrorKind::TooLarge { found: length.into(), limit }));
        }
        let offset = reader.offset();
        Ok(Self { kind, data: reader.take(length.into(), what)?, offset })
    }

    fn text(&self) -> String {
        let mut reader = Reader::at(self.data, self.offset);
        match self.kind {
            1 => text::ascii_to_nul(self.data),
            2 => DevicePath::read(reader).map_or_else(|_| short_hex(self.data), |path| path.text()),
            3 => match guid::read(&mut reader, "VendorGuid") {
                Ok(guid) => format!("variable {}-{guid}", text::utf16_to_nul(reader.rest())),
                Err(_) => short_hex(self.data),
            },
            _ => short_hex(self.data),
        }
    }
}

fn string(reader: &mut Reader<'_>, what: &'static str) -> Result<String, ParseError> {
    let length = reader.u8(what)?;
    reader.take(length.into(), what).map(text::ascii_to_nul)
}
