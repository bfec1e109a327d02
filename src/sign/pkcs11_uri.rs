//! PKCS #11 URIs (RFC 7512): which key on which token.

use super::SignError;

/// What a key's URI says; what it doesn't say fits anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyUri {
    /// Label of the token.
    pub token: Option<String>,
    /// Manufacturer of the token.
    pub manufacturer: Option<String>,
    /// Model of the token.
    pub model: Option<String>,
    /// Serial number of the token.
    pub serial: Option<String>,
    /// Number of the slot.
    pub slot_id: Option<u64>,
    /// Label of the key (`CKA_LABEL`).
    pub object: Option<String>,
    /// Identifier of the key (`CKA_ID`).
    pub id: Option<Vec<u8>>,
}

impl KeyUri {
    /// Reads a URI. It may hold no PIN, which other users of the system could see among the arguments, and name no module:
    /// whoever gives a key should not thereby choose what code is loaded.
    ///
    /// # Errors
    /// [`SignError::Token`].
    pub fn parse(text: &str) -> Result<Self, SignError> {
        let rest = text.strip_prefix("pkcs11:").ok_or_else(|| bad("expected pkcs11:"))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if let Some(attribute) = query.split('&').find(|attribute| !attribute.is_empty()) {
            let name = attribute.split('=').next().unwrap_or_default();
            return Err(bad(match name {
                "pin-value" | "pin-source" => {
                    "a PIN is no part of the URI: it is asked for, or comes by --passphrase-env or --passphrase-fd"
                }
                "module-path" | "module-name" => "the module is named by --pkcs11-module",
                _ => "attributes after ? are not supported",
            }));
        }
        let mut uri = Self::default();
        for attribute in path.split(';').filter(|attribute| !attribute.is_empty()) {
            let (name, value) =
                attribute.split_once('=').ok_or_else(|| bad("expected name=value, separated by ;"))?;
            uri.set(name, decode(value)?)?;
        }
        if uri == Self::default() {
            return Err(bad("it names nothing: give token=... and object=... or id=..."));
        }
        Ok(uri)
    }

    fn set(&mut self, name: &str, value: Vec<u8>) -> Result<(), SignError> {
        if name == "id" {
            return once(&mut self.id, value);
        }
        let value =
            String::from_utf8(value).map_err(|_| bad("a value is not UTF-8; only id may be binary"))?;
        match name {
            "token" => once(&mut self.token, value),
            "manufacturer" => once(&mut self.manufacturer, value),
            "model" => once(&mut self.model, value),
            "serial" => once(&mut self.serial, value),
            "object" => once(&mut self.object, value),
            "slot-id" => {
                let number = value.parse().map_err(|_| bad("slot-id is a decimal number"))?;
                once(&mut self.slot_id, number)
            }
            "type" if value == "private" => Ok(()),
            "type" => Err(bad("type has to be private, to sign with the key")),
            _ => Err(bad("expected token, manufacturer, model, serial, slot-id, object, id, type")),
        }
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), SignError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(bad("an attribute stands twice")),
    }
}

fn decode(text: &str) -> Result<Vec<u8>, SignError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits: Vec<u8> = rest.by_ref().take(2).collect();
        let decoded = hex::decode(digits).ok().filter(|decoded| decoded.len() == 1);
        bytes.extend(decoded.ok_or_else(|| bad("expected two hexadecimal digits after %"))?);
    }
    Ok(bytes)
}

fn bad(problem: &str) -> SignError {
    SignError::Token(format!("the key's URI: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Witness: the examples of RFC 7512, section 3.
    #[test]
    fn uris_of_the_specification_are_read() {
        let uri = KeyUri::parse(
            "pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;\
             object=my-certificate;id=%69%95%3E%5C%F4%BD%EC%91;serial=",
        )
        .expect("a URI");
        assert_eq!(uri.token.as_deref(), Some("The Software PKCS#11 Softtoken"));
        assert_eq!(uri.manufacturer.as_deref(), Some("Snake Oil, Inc."));
        assert_eq!(uri.id.as_deref(), Some(b"\x69\x95\x3e\x5c\xf4\xbd\xec\x91".as_slice()));
        assert_eq!(uri.serial.as_deref(), Some(""));
    }

    #[test]
    fn pins_modules_and_odd_attributes_are_refused() {
        for (text, expected) in [
            ("pkcs11:object=k?pin-value=1234", "no part of the URI"),
            ("pkcs11:object=k?pin-source=file:/etc/token", "no part of the URI"),
            ("pkcs11:object=k?module-path=/tmp/evil.so", "--pkcs11-module"),
            ("pkcs11:", "names nothing"),
            ("pkcs11:object=k;object=l", "twice"),
            ("pkcs11:object=k;type=cert", "private"),
            ("pkcs11:object=k;x-vendor=1", "expected token"),
            ("pkcs11:id=%4", "two hexadecimal digits"),
            ("pkcs11:token=%ff", "UTF-8"),
        ] {
            let error = KeyUri::parse(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
