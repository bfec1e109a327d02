//! virt-firmware's JSON of variables, which QEMU's `uefi-vars` device reads and writes, too (QEMU
//! `docs/devel/uefi-vars.rst`, virt-firmware `virt/firmware/varstore/jsonstore.py`).

use serde::Deserialize;

use crate::uefi::guid::Guid;
use crate::uefi::variable_store::Variable;

/// A text that is no such JSON.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VirtFirmwareError {
    /// Not JSON, or not of this structure.
    #[error("not virt-firmware's JSON of variables: {0}")]
    Json(#[from] serde_json::Error),
    /// A member that does not hold what it should.
    #[error("variables[{index}].{member} is not {expected}")]
    Member {
        /// Place in the array.
        index: usize,
        /// Name of the member.
        member: &'static str,
        /// What it should hold.
        expected: &'static str,
    },
    /// A newer format.
    #[error("version is {0}, expected 2")]
    Version(u32),
}

#[derive(Deserialize)]
struct Document {
    version: u32,
    variables: Vec<JsonVariable>,
}

#[derive(Deserialize)]
struct JsonVariable {
    name: String,
    guid: String,
    #[serde(default)]
    attr: u32,
    data: String,
}

/// Reads the variables.
///
/// # Errors
/// [`VirtFirmwareError`].
pub fn read_virt_firmware(text: &[u8]) -> Result<Vec<Variable>, VirtFirmwareError> {
    let document: Document = serde_json::from_slice(text)?;
    if document.version != 2 {
        return Err(VirtFirmwareError::Version(document.version));
    }
    let read = |(index, variable): (usize, JsonVariable)| {
        let wrong = |member, expected| VirtFirmwareError::Member { index, member, expected };
        let vendor: Guid = variable.guid.parse().map_err(|_| wrong("guid", "a GUID"))?;
        let data = hex::decode(&variable.data).map_err(|_| wrong("data", "hexadecimal"))?;
        Ok(Variable { vendor, name: variable.name, attributes: variable.attr, data })
    };
    document.variables.into_iter().enumerate().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_lie_are_named() {
        let text = |guid: &str, data: &str| {
            format!(
                r#"{{"version":2,"variables":[{{"name":"PK","guid":"{guid}","attr":39,"data":"{data}"}}]}}"#
            )
        };
        let guid = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
        let read = |text: String| read_virt_firmware(text.as_bytes());
        assert_eq!(read(text(guid, "0102")).expect("sound")[0].data, [1, 2]);
        assert_eq!(
            read(text(guid, "012")).expect_err("odd").to_string(),
            "variables[0].data is not hexadecimal"
        );
        assert_eq!(read(text("x", "")).expect_err("no GUID").to_string(), "variables[0].guid is not a GUID");
        assert!(read_virt_firmware(b"{\"version\":3,\"variables\":[]}").is_err());
        assert!(read_virt_firmware(b"[").is_err());
    }
}
