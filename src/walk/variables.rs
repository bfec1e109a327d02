//! EFI variables that decide what starts: the firmware's boot options (UEFI sections 3.1 and 3.5.1) and systemd-boot's
//! own (systemd.io "Boot Loader Interface").

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::collections::BTreeMap;

use crate::bytes::{ParseError, Reader};
use crate::uefi::device_path::{DevicePath, Node};
use crate::uefi::guid::{GLOBAL_VARIABLE, Guid, SYSTEMD_LOADER, guid, read as read_guid};
use crate::uefi::load_option::LoadOption;
use crate::uefi::text;
use crate::uefi::variable_store::Variable;

/// `mBmAutoCreateBootOptionGuid` of EDK2: the optional data of options that the firmware made for a device by itself. It
/// is not passed on (EDK2 `BmIsAutoCreateBootOption`; real boots).
const AUTOMATIC: Guid = guid!("8108ac4e-9f11-4d59-850e-e21a522c59b2");

/// The machine's variables, as far as they decide what starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BootVariables {
    /// `BootNext`: the option that is tried first, once.
    pub next: Option<u16>,
    /// `BootOrder`.
    pub order: Vec<u16>,
    /// `Boot####`, not yet decoded.
    options: BTreeMap<u16, Vec<u8>>,
    /// systemd-boot's variables.
    pub loader: LoaderVariables,
}

/// systemd-boot's variables: patterns of entry ids, in lower case as it compares them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoaderVariables {
    /// `LoaderEntryOneShot`: for the next boot only.
    pub one_shot: Option<String>,
    /// `LoaderEntryPreferred` (260 and later).
    pub preferred: Option<String>,
    /// `LoaderEntryDefault`.
    pub default: Option<String>,
    /// `LoaderEntryLastBooted`: what `@saved` stands for.
    pub last_booted: Option<String>,
}

impl LoaderVariables {
    /// Names of the variables that are read.
    pub const NAMES: [&str; 4] =
        ["LoaderEntryOneShot", "LoaderEntryPreferred", "LoaderEntryDefault", "LoaderEntryLastBooted"];

    /// Sets one by its name; `false` for a name that is none of [`NAMES`](Self::NAMES).
    pub fn set(&mut self, name: &str, value: &str) -> bool {
        let place = match name {
            "LoaderEntryOneShot" => &mut self.one_shot,
            "LoaderEntryPreferred" => &mut self.preferred,
            "LoaderEntryDefault" => &mut self.default,
            "LoaderEntryLastBooted" => &mut self.last_booted,
            _ => return false,
        };
        *place = (!value.is_empty()).then(|| value.to_ascii_lowercase());
        true
    }
}

/// What a boot option names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A file of the partition with this unique GUID; the removable media path where there is no file.
    Partition(Guid, Option<String>),
    /// A file without a device: the firmware looks on every volume.
    File(String),
    /// A device, from which the removable media path starts.
    Device(Option<String>),
    /// Something that is no disk with partitions, in the words of the device path.
    Elsewhere(String),
}

/// A boot option, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BootOption {
    /// `Boot0003`, with its description.
    pub(super) title: String,
    /// The boot manager takes it by itself: active, and of the category for booting.
    pub(super) automatic: bool,
    pub(super) target: Target,
    /// What the program finds as its LoadOptions.
    pub(super) load_options: Vec<u8>,
}

impl BootVariables {
    /// Takes them out of a machine's variables; those of other names are left alone.
    #[must_use]
    pub fn from_store(variables: &[Variable]) -> Self {
        let mut found = Self::default();
        for variable in variables {
            let number = |at: &[u8]| at.first_chunk().map(|bytes| u16::from_le_bytes(*bytes));
            if variable.vendor == GLOBAL_VARIABLE {
                match variable.name.as_str() {
                    "BootNext" => found.next = number(&variable.data),
                    "BootOrder" => {
                        let (numbers, _) = variable.data.as_chunks();
                        found.order = numbers.iter().map(|bytes| u16::from_le_bytes(*bytes)).collect();
                    }
                    name => {
                        if let Some(number) = option_number(name) {
                            found.options.insert(number, variable.data.clone());
                        }
                    }
                }
            } else if variable.vendor == SYSTEMD_LOADER {
                let text = text::utf16_to_nul(&variable.data);
                found.loader.set(&variable.name, &text);
            }
        }
        found
    }

    /// A variable of this name is read here.
    #[must_use]
    pub fn wants(name: &str) -> bool {
        matches!(name, "BootNext" | "BootOrder")
            || option_number(name).is_some()
            || LoaderVariables::NAMES.contains(&name)
    }

    /// There are boot options.
    #[must_use]
    pub fn has_options(&self) -> bool {
        self.next.is_some() || !self.order.is_empty()
    }

    /// The options in the order in which the firmware tries them, `BootNext` first, with whether it is that one. An option
    /// that is named and does not exist is left out, as the firmware does.
    pub(super) fn in_order(&self) -> impl Iterator<Item = (bool, Result<BootOption, String>)> {
        let next = self.next.iter().map(|number| (true, *number));
        let rest = self.order.iter().map(|number| (false, *number));
        next.chain(rest).filter_map(|(is_next, number)| {
            let bytes = self.options.get(&number)?;
            let option = decode(number, bytes).map_err(|error| format!("Boot{number:04X}: {error}"));
            Some((is_next, option))
        })
    }
}

/// `Boot` and four hexadecimal digits, in upper case (UEFI section 3.1.3).
fn option_number(name: &str) -> Option<u16> {
    let digits = name.strip_prefix("Boot")?;
    let all = digits.len() == 4 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
    all.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}

fn decode(number: u16, bytes: &[u8]) -> Result<BootOption, ParseError> {
    const ACTIVE: u32 = 1;
    const CATEGORY: u32 = 0x1F00;
    let option = LoadOption::read(Reader::new(bytes))?;
    let load_options = match option.optional_data {
        data if data == AUTOMATIC.to_bytes() => Vec::new(),
        data => data.to_vec(),
    };
    Ok(BootOption {
        title: format!("Boot{number:04X} \"{}\"", option.description),
        automatic: option.attributes & ACTIVE != 0 && option.attributes & CATEGORY == 0,
        target: target(&option.path)?,
        load_options,
    })
}

/// What a device path leads to (EDK2 `EfiBootManagerGetNextLoadOptionDevicePath` and its expansions).
fn target(path: &DevicePath<'_>) -> Result<Target, ParseError> {
    let is = |node: &Node<'_>, kind: (u8, u8)| (node.node_type, node.subtype) == kind;
    // Several nodes of a file's path are one path.
    let file: String = path
        .nodes
        .iter()
        .filter(|node| is(node, (4, 4)))
        .map(|node| text::utf16_to_nul(node.body))
        .collect::<Vec<_>>()
        .join("\\");
    let file = (!file.is_empty()).then_some(file);
    if let Some(node) = path.nodes.iter().find(|node| is(node, (4, 1))) {
        return partition(node, file, path);
    }
    let network = |node: &Node<'_>| node.node_type == 3 && matches!(node.subtype, 11..=13 | 24);
    let other_medium = |node: &Node<'_>| node.node_type == 4 && node.subtype != 4;
    let foreign = |node: &Node<'_>| network(node) || other_medium(node) || node.node_type == 5;
    Ok(match (path.nodes.first(), file) {
        (None, _) => Target::Elsewhere("an empty device path".to_owned()),
        _ if path.nodes.iter().any(foreign) => Target::Elsewhere(path.text()),
        (Some(first), Some(file)) if is(first, (4, 4)) => Target::File(file),
        (_, file) => Target::Device(file),
    })
}

/// `HD(...)`: the partition is told by its signature alone (EDK2 `MatchPartitionDevicePathNode`).
fn partition(node: &Node<'_>, file: Option<String>, path: &DevicePath<'_>) -> Result<Target, ParseError> {
    const SIGNATURE_GUID: u8 = 2;
    let mut reader = Reader::at(node.body, node.offset);
    reader.take(20, "HARDDRIVE_DEVICE_PATH.PartitionNumber")?;
    let signature = read_guid(&mut reader, "HARDDRIVE_DEVICE_PATH.Signature")?;
    reader.u8("HARDDRIVE_DEVICE_PATH.MBRType")?;
    let kind = reader.u8("HARDDRIVE_DEVICE_PATH.SignatureType")?;
    Ok(if kind == SIGNATURE_GUID {
        Target::Partition(signature, file)
    } else {
        Target::Elsewhere(path.text())
    })
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn node(kind: u8, subtype: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len() + 4).expect("short");
        [&[kind, subtype][..], &length.to_le_bytes(), body].concat()
    }

    fn option(attributes: u32, nodes: &[Vec<u8>], data: &[u8]) -> Vec<u8> {
        let path = [nodes.concat(), node(0x7F, 0xFF, b"")].concat();
        let length = u16::try_from(path.len()).expect("short");
        [&attributes.to_le_bytes()[..], &length.to_le_bytes(), b"x\0\0\0", &path, data].concat()
    }

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn options_name_partitions_files_devices_and_other_things() {
        let file = node(4, 4, &utf16("\\EFI\\x.efi"));
        let signature: Guid = guid!("11111111-2222-3333-4444-555555555555");
        let body = [&[1; 20][..], &signature.to_bytes(), &[2, 2]].concat();
        let pci = node(1, 1, &[0, 1]);
        let decoded = |nodes: &[Vec<u8>]| decode(1, &option(1, nodes, b"")).expect("sound").target;
        let path = || Some("\\EFI\\x.efi".to_owned());
        assert_eq!(
            decoded(&[pci.clone(), node(4, 1, &body), file.clone()]),
            Target::Partition(signature, path())
        );
        assert_eq!(decoded(&[node(4, 1, &body)]), Target::Partition(signature, None));
        assert_eq!(decoded(std::slice::from_ref(&file)), Target::File("\\EFI\\x.efi".to_owned()));
        assert_eq!(decoded(std::slice::from_ref(&pci)), Target::Device(None));
        assert!(matches!(decoded(&[pci, node(3, 11, &[0; 33])]), Target::Elsewhere(_)), "a network card");
        assert!(matches!(decoded(&[node(4, 7, &[0; 16]), file]), Target::Elsewhere(_)), "a firmware volume");
        assert!(decode(1, &option(1, &[node(4, 1, b"short")], b"")).is_err());
    }

    #[test]
    fn the_data_of_automatic_options_is_not_passed_on() {
        let pci = [node(1, 1, &[0, 1])];
        let passed = |data: &[u8]| decode(1, &option(1, &pci, data)).expect("sound").load_options;
        assert!(passed(&AUTOMATIC.to_bytes()).is_empty());
        assert_eq!(passed(b"q\0\0\0"), b"q\0\0\0");
        let automatic = |attributes| decode(1, &option(attributes, &pci, b"")).expect("sound").automatic;
        assert_eq!([1, 0, 9, 0x109].map(automatic), [true, false, true, false]);
    }

    #[test]
    fn names_of_options_have_four_upper_case_digits() {
        assert_eq!(option_number("Boot00AF"), Some(0xAF));
        for name in ["Boot00af", "Boot0", "BootOrder", "Boot00000", "BootNext", "Boot+001"] {
            assert_eq!(option_number(name), None, "{name}");
        }
    }
}
