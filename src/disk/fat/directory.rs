//! Folders: short entries, and the long names that stand before them (FAT sections 6 and 7).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

const ATTR_VOLUME_ID: u8 = 0x08;
const ATTR_DIRECTORY: u8 = 0x10;
const ATTR_LONG_NAME: u8 = 0x0F;
const LAST_LONG_ENTRY: u8 = 0x40;
/// Windows NT's marks for short names that are all lower case, which firmware honours (EDK2 `FatGetFileNameViaCaseFlag`).
const LOWER_CASE_BASE: u8 = 0x08;
const LOWER_CASE_EXTENSION: u8 = 0x10;
/// A long name has at most 20 entries of 13 units.
const MAX_LONG_ENTRIES: u8 = 20;

/// Where the 13 units of a long name entry stand.
const UNIT_PLACES: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// A file or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// The long name, or else the short one.
    pub(super) name: String,
    /// The short name, in capitals.
    pub(super) short_name: String,
    pub(super) is_folder: bool,
    pub(super) cluster: u32,
    pub(super) size: u32,
}

/// Long name entries on their way to the short one that they belong to.
#[derive(Debug, Default)]
struct LongName {
    units: Vec<[u16; 13]>,
    checksum: u8,
    /// Number of the entry that has to come next; 0 when the name is whole.
    awaited: u8,
}

/// The records of a folder, in its order.
pub(super) fn parse_directory(bytes: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    let mut long_name = LongName::default();
    let (entries, _) = bytes.as_chunks::<32>();
    for entry in entries {
        match entry {
            [0, ..] => break,
            [0xE5, ..] => long_name = LongName::default(),
            _ if attributes(entry) & 0x3F == ATTR_LONG_NAME => long_name.take(entry),
            [b'.', ..] => long_name = LongName::default(),
            _ if attributes(entry) & ATTR_VOLUME_ID != 0 => long_name = LongName::default(),
            _ => {
                records.push(record(entry, &std::mem::take(&mut long_name)));
            }
        }
    }
    records
}

fn attributes(entry: &[u8; 32]) -> u8 {
    let [_, _, _, _, _, _, _, _, _, _, _, attributes, ..] = entry;
    *attributes
}

impl LongName {
    fn take(&mut self, entry: &[u8; 32]) {
        let field = |offset: usize| -> u8 { entry.get(offset).copied().unwrap_or(0) };
        let order = field(0);
        let number = order & !LAST_LONG_ENTRY;
        if order & LAST_LONG_ENTRY != 0 {
            *self = Self { units: Vec::new(), checksum: field(13), awaited: number };
        }
        if number == 0 || number > MAX_LONG_ENTRIES || number != self.awaited || field(13) != self.checksum {
            *self = Self::default();
            return;
        }
        self.units.push(
            UNIT_PLACES.map(|place| u16::from_le_bytes([field(place), field(place.saturating_add(1))])),
        );
        self.awaited = number.saturating_sub(1);
    }

    /// The name, if it is whole and belongs to this short name.
    fn name(&self, short: &[u8; 11]) -> Option<String> {
        if self.units.is_empty() || self.awaited != 0 || checksum(short) != self.checksum {
            return None;
        }
        let units = self.units.iter().rev().flatten().copied().take_while(|unit| *unit != 0);
        let name: String =
            char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        (!name.is_empty()).then_some(name)
    }
}

/// FAT section 7.2, `ChkSum`.
fn checksum(short: &[u8; 11]) -> u8 {
    short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

fn record(entry: &[u8; 32], long_name: &LongName) -> Record {
    let field = |offset: usize| -> u8 { entry.get(offset).copied().unwrap_or(0) };
    let pair = |offset: usize| u16::from_le_bytes([field(offset), field(offset.saturating_add(1))]);
    let short = entry.first_chunk::<11>().copied().unwrap_or_default();
    let short_name = short_name(&short);
    let name = long_name.name(&short).unwrap_or_else(|| cased(&short_name, field(12)));
    Record {
        name,
        short_name,
        is_folder: attributes(entry) & ATTR_DIRECTORY != 0,
        cluster: (u32::from(pair(20)) << 16) | u32::from(pair(26)),
        size: (u32::from(pair(30)) << 16) | u32::from(pair(28)),
    }
}

/// `NAME    EXT` as `NAME.EXT`. Bytes beyond ASCII depend on a code page that nobody stores; they stay told apart.
fn short_name(short: &[u8; 11]) -> String {
    let (base, extension) = short.split_at(8);
    let text = |part: &[u8]| -> String {
        let end = part.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last.saturating_add(1));
        part.iter().take(end).map(|byte| char::from(*byte)).collect()
    };
    let mut name = text(base);
    if let Some(rest) = name.strip_prefix('\u{5}') {
        name = format!("\u{E5}{rest}");
    }
    let extension = text(extension);
    if extension.is_empty() { name } else { format!("{name}.{extension}") }
}

/// A short name in the case that its marks ask for.
fn cased(name: &str, marks: u8) -> String {
    let (base, extension) = match name.rsplit_once('.') {
        Some((base, extension)) => (base, Some(extension)),
        None => (name, None),
    };
    let case = |text: &str, mark: u8| {
        if marks & mark == 0 { text.to_owned() } else { text.to_ascii_lowercase() }
    };
    let base = case(base, LOWER_CASE_BASE);
    match extension {
        Some(extension) => format!("{base}.{}", case(extension, LOWER_CASE_EXTENSION)),
        None => base,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(name: &[u8; 11], attributes: u8, marks: u8) -> [u8; 32] {
        let mut entry = [0; 32];
        let bytes = name.iter().copied().chain([attributes, marks]);
        entry.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
        entry
    }

    #[test]
    fn short_names_follow_their_case_marks() {
        let bytes = [
            short(b"ESP        ", ATTR_VOLUME_ID, 0),
            short(b".          ", ATTR_DIRECTORY, 0),
            short(b"LOADER     ", ATTR_DIRECTORY, LOWER_CASE_BASE),
            short(b"A       EFI", 0x20, LOWER_CASE_EXTENSION),
            short(b"\xE5ELETED EFI", 0x20, 0),
            [0; 32],
            short(b"BEHIND     ", 0x20, 0),
        ]
        .concat();
        let names: Vec<String> = parse_directory(&bytes).into_iter().map(|record| record.name).collect();
        assert_eq!(names, ["loader", "A.efi"]);
    }

    #[test]
    fn a_long_name_belongs_to_the_entry_with_its_checksum() {
        let alias = b"ALPHAA~1EFI";
        let long = |order: u8, units: &[u16; 13], sum: u8| {
            let mut entry = [0_u8; 32];
            for (place, unit) in UNIT_PLACES.iter().zip(units) {
                let bytes = unit.to_le_bytes();
                entry.iter_mut().skip(*place).zip(bytes).for_each(|(to, from)| *to = from);
            }
            for (place, byte) in [(0, order), (11, ATTR_LONG_NAME), (13, sum)] {
                entry.iter_mut().skip(place).take(1).for_each(|to| *to = byte);
            }
            entry
        };
        let units: Vec<u16> = "Alpha.addon.efi\0".encode_utf16().chain([0xFFFF; 10]).collect();
        let (parts, _) = units.as_chunks::<13>();
        let [first, second] = parts else { panic!("two parts") };
        let sum = checksum(alias);
        let name = |second_sum| {
            let bytes = [long(0x42, second, second_sum), long(1, first, sum), short(alias, 0x20, 0)].concat();
            parse_directory(&bytes).into_iter().map(|record| record.name).collect::<Vec<_>>()
        };
        assert_eq!(name(sum), ["Alpha.addon.efi"]);
        assert_eq!(name(sum.wrapping_add(1)), ["ALPHAA~1.EFI"]);
    }
}
