//! What an append write makes of a signature database: a `dbx` update, a further certificate in `db`.

use std::collections::BTreeSet;

use crate::bytes::{ParseError, Reader};
use crate::uefi::signature_list::SignatureList;

/// The content of a variable after lists were appended to it (`EFI_VARIABLE_APPEND_WRITE`): entries that lists of the same type
/// and entry size have already, owner included, are left out, and the rest comes behind as lists of its own.
///
/// Source: EDK2 `SecurityPkg/Library/AuthVariableLib/AuthService.c`, `FilterSignatureList`; UEFI, section 8.2.1.
///
/// # Errors
/// When a list's sizes do not fit each other or what is left.
pub fn append_lists(content: &[u8], update: &[u8]) -> Result<Vec<u8>, ParseError> {
    let known = lists(content)?;
    let known: BTreeSet<(crate::uefi::guid::Guid, Vec<u8>)> = known
        .iter()
        .flat_map(|list| list.entries().map(|entry| (list.signature_type, bytes(&entry))))
        .collect();
    let mut all = content.to_vec();
    for list in lists(update)? {
        let entries = list.entries().map(|entry| bytes(&entry));
        let new: Vec<Vec<u8>> =
            entries.filter(|entry| !known.contains(&(list.signature_type, entry.clone()))).collect();
        if new.is_empty() {
            continue;
        }
        let entries = new.concat();
        let size = u32::try_from(entries.len()).unwrap_or(u32::MAX).saturating_add(28);
        all.extend(list.signature_type.to_bytes());
        all.extend(size.to_le_bytes()); // SignatureListSize
        all.extend(0_u32.to_le_bytes()); // SignatureHeaderSize: no type has a header
        all.extend(list.signature_size.to_le_bytes());
        all.extend(entries);
    }
    Ok(all)
}

fn lists(bytes: &[u8]) -> Result<Vec<SignatureList<'_>>, ParseError> {
    let (lists, problem) = SignatureList::read_all(Reader::new(bytes));
    problem.map_or(Ok(lists), Err)
}

fn bytes(entry: &crate::uefi::signature_list::SignatureData<'_>) -> Vec<u8> {
    [&entry.owner.to_bytes()[..], entry.data].concat()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    /// A list of SHA-256 digests, all owned by Microsoft, put together by hand.
    fn list(digests: &[u8]) -> Vec<u8> {
        let kind = "2616c4c14c509240aca941f936934328";
        let size = 28 + 48 * u32::try_from(digests.len()).expect("few");
        let mut list = hex::decode(kind).expect("hexadecimal");
        list.extend([size.to_le_bytes(), [0; 4], 48_u32.to_le_bytes()].concat());
        for digest in digests {
            list.extend(hex::decode("bd9afa775903324dbd6028f4e78f784b").expect("hexadecimal"));
            list.extend([*digest; 32]);
        }
        list
    }

    #[test]
    fn entries_that_are_there_are_left_out_and_the_rest_is_a_list_of_its_own() {
        let appended = append_lists(&list(&[1, 2]), &[list(&[2, 3, 4]), list(&[1])].concat());
        assert_eq!(appended.expect("sound"), [list(&[1, 2]), list(&[3, 4])].concat());
        assert_eq!(append_lists(&[], &list(&[5])).expect("sound"), list(&[5]));
        assert_eq!(append_lists(&list(&[5]), &list(&[5])).expect("sound"), list(&[5]));
    }

    #[test]
    fn lists_with_lying_sizes_are_refused() {
        let mut lying = list(&[1]);
        lying[16] = 0xFF;
        assert!(append_lists(&[], &lying).is_err());
        assert!(append_lists(&lying, &list(&[1])).is_err());
    }
}
