//! `TCG_DEVICE_SECURITY_EVENT_DATA` (PFP, section 10.2.7), versions 1 and 2: what devices answered to SPDM.

use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::uefi::device_path::DevicePath;

use super::field::{Field, Value};

/// A device's measurement or certificate chain.
#[derive(Debug, Clone)]
pub struct DeviceSecurity<'a> {
    /// `Version`: 1 or 2.
    pub version: u16,
    /// `AuthState`, in version 2.
    pub auth_state: Option<u8>,
    /// `DeviceType`: 1 PCI, 2 USB.
    pub device_type: u32,
    /// `SubHeaderType`, in version 2: 0 measurement block, 1 certificate chain.
    pub sub_header_type: Option<u32>,
    /// `SubHeaderUID`, in version 2: binds two events together.
    pub sub_header_uid: Option<u64>,
    /// `DevicePath`, in version 2.
    pub path: Option<DevicePath<'a>>,
    /// What follows: the measurement block or certificate chain, and the device's own context.
    pub rest: &'a [u8],
    length: usize,
}

impl<'a> DeviceSecurity<'a> {
    /// Reads either version.
    ///
    /// # Errors
    /// When the signature is none of the two, or a length reaches behind the end.
    pub fn read(reader: Reader<'a>) -> Result<Self, ParseError> {
        const SIGNATURE: &str = "TCG_DEVICE_SECURITY_EVENT_DATA.Signature";
        let mut body = reader;
        match &body.array::<16>(SIGNATURE)? {
            b"SPDM Device Sec\0" => Self::read_1(body, reader.remaining()),
            b"SPDM Device Sec2" => Self::read_2(body, reader.remaining()),
            _ => {
                let kind = ParseErrorKind::Invalid("is neither 'SPDM Device Sec' nor 'SPDM Device Sec2'");
                Err(reader.error(SIGNATURE, kind))
            }
        }
    }

    fn read_1(mut body: Reader<'a>, length: usize) -> Result<Self, ParseError> {
        let version = body.u16("TCG_DEVICE_SECURITY_EVENT_DATA.Version")?;
        body.u16("TCG_DEVICE_SECURITY_EVENT_DATA.Length")?;
        body.u32("TCG_DEVICE_SECURITY_EVENT_DATA.SpdmHashAlgo")?;
        let device_type = body.u32("TCG_DEVICE_SECURITY_EVENT_DATA.DeviceType")?;
        Ok(Self {
            version,
            auth_state: None,
            device_type,
            sub_header_type: None,
            sub_header_uid: None,
            path: None,
            rest: body.rest(),
            length,
        })
    }

    fn read_2(mut body: Reader<'a>, length: usize) -> Result<Self, ParseError> {
        let version = body.u16("TCG_DEVICE_SECURITY_EVENT_DATA2.Version")?;
        let auth_state = Some(body.u8("TCG_DEVICE_SECURITY_EVENT_DATA2.AuthState")?);
        body.u8("TCG_DEVICE_SECURITY_EVENT_DATA2.Reserved")?;
        body.u32("TCG_DEVICE_SECURITY_EVENT_DATA2.Length")?;
        let device_type = body.u32("TCG_DEVICE_SECURITY_EVENT_DATA2.DeviceType")?;
        let sub_header_type = Some(body.u32("TCG_DEVICE_SECURITY_EVENT_DATA2.SubHeaderType")?);
        body.u32("TCG_DEVICE_SECURITY_EVENT_DATA2.SubHeaderLength")?;
        let sub_header_uid = Some(body.u64("TCG_DEVICE_SECURITY_EVENT_DATA2.SubHeaderUID")?);
        let path_length = body.u64("TCG_DEVICE_SECURITY_EVENT_DATA2.DevicePathLength")?;
        let path = body.sub(path_length, "TCG_DEVICE_SECURITY_EVENT_DATA2.DevicePath")?;
        let path = Some(DevicePath::read(path)?);
        let rest = body.rest();
        Ok(Self { version, auth_state, device_type, sub_header_type, sub_header_uid, path, rest, length })
    }

    pub(super) fn summary(&self) -> String {
        let what = match self.sub_header_type {
            Some(1) => "certificate chain of",
            _ => "measurement of",
        };
        let device = match self.device_type {
            1 => "PCI device",
            2 => "USB device",
            _ => "device",
        };
        match &self.path {
            Some(path) => format!("{what} {device} {}", path.text()),
            None => format!("{what} {device}"),
        }
    }

    pub(super) fn fields(&self) -> Vec<Field> {
        let mut fields = vec![
            Field::part("Version", Value::Number(self.version.into())),
            Field::part("DeviceType", Value::Number(self.device_type.into())),
        ];
        if let Some(state) = self.auth_state {
            fields.push(Field::part("AuthState", Value::Text(auth_state(state).to_owned())));
        }
        if let Some(kind) = self.sub_header_type {
            fields.push(Field::part("SubHeaderType", Value::Number(kind.into())));
        }
        if let Some(uid) = self.sub_header_uid {
            fields.push(Field::part("SubHeaderUID", Value::Hex(uid)));
        }
        if let Some(path) = &self.path {
            fields.push(Field::part("DevicePath", Value::Text(path.text())));
        }
        fields.push(Field::part("SubHeader", Value::bytes(self.rest)));
        fields.into_iter().map(|field| field.at(0..self.length)).collect()
    }
}

/// EDK2 `TCG_DEVICE_SECURITY_EVENT_DATA_DEVICE_AUTH_STATE_*`.
fn auth_state(state: u8) -> &'static str {
    match state {
        0 => "0 (success)",
        1 => "1 (no authentication)",
        2 => "2 (no binding)",
        3 => "3 (no signature)",
        4 => "4 (invalid)",
        0xFF => "255 (no SPDM)",
        _ => "unknown",
    }
}
