//! What tells one machine from another: machine-id, serial numbers, hardware addresses.

use std::collections::BTreeMap;
use std::path::Path;

use super::files::{names, read_text};
use crate::uefi::guid::Guid;

/// Shorter ones are in too many texts to be looked for, and say too little.
const MIN_LENGTH: usize = 6;
/// Devices of a kind that are looked at.
const MAX_DEVICES: usize = 256;

/// Files of `/sys/class/dmi/id` (Linux `drivers/firmware/dmi-id.c`; readable by root only).
const DMI: &[&str] = &[
    "product_serial",
    "product_uuid",
    "board_serial",
    "board_asset_tag",
    "chassis_serial",
    "chassis_asset_tag",
];

/// Where devices have their numbers: folder, and file in each folder of it.
const DEVICES: &[(&str, &str)] = &[
    ("sys/class/net", "address"),
    ("sys/class/nvme", "serial"),
    ("sys/block", "wwid"),
    ("sys/block", "serial"),
    ("sys/block", "device/serial"),
];

/// Texts and bytes to look for.
#[derive(Debug, Default)]
pub(super) struct Identities {
    /// By name, as they are: machine-id and what DMI has.
    pub(super) named: BTreeMap<String, String>,
    /// In lower case.
    pub(super) texts: Vec<String>,
    /// As firmware has them: UUIDs in both byte orders, hardware addresses.
    pub(super) bytes: Vec<Vec<u8>>,
}

impl Identities {
    /// Those of the machine whose files are below `root`.
    pub(super) fn read(root: &Path) -> Self {
        let mut identities = Self::default();
        if let Some(id) = read_text(&root.join("etc/machine-id")) {
            identities.add_named("machine-id", &id);
        }
        for name in DMI {
            if let Some(value) = read_text(&root.join("sys/class/dmi/id").join(name)) {
                identities.add_named(name, &value);
            }
        }
        for (folder, file) in DEVICES {
            for device in names(&root.join(folder), MAX_DEVICES) {
                if let Some(value) = read_text(&root.join(folder).join(device).join(file)) {
                    identities.add(&value);
                }
            }
        }
        identities
    }

    fn add_named(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.named.insert(name.to_owned(), value.to_owned());
            self.add(value);
        }
    }

    fn add(&mut self, value: &str) {
        let value = value.trim().to_lowercase();
        // "To be filled by O.E.M.", "None", "0000000", the address of the loopback device.
        let says_something = value.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
        if value.len() < MIN_LENGTH || !says_something {
            return;
        }
        let digits: String = value.chars().filter(|character| !matches!(character, '-' | ':')).collect();
        match (digits.len(), hex::decode(&digits)) {
            (32, Ok(bytes)) => {
                if let Ok(guid) = dashed(&digits).parse::<Guid>() {
                    self.add_guid(guid);
                }
                self.bytes.push(bytes);
                self.texts.extend([dashed(&digits), digits]);
            }
            (12, Ok(bytes)) => {
                self.bytes.push(bytes);
                self.texts.push(digits);
            }
            _ => {}
        }
        self.texts.push(value);
    }

    /// A GUID that firmware has in its own byte order.
    pub(super) fn add_guid(&mut self, guid: Guid) {
        if guid != Guid::ZERO {
            self.bytes.push(guid.to_bytes().to_vec());
        }
    }
}

fn dashed(digits: &str) -> String {
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
}
