//! The order of file names with versions in them (gnulib `filevercmp`, of the generation in GRUB 2.14).

use std::cmp::Ordering;

/// Compares two names that begin with no dot: first without their extensions, then with them.
pub(super) fn compare(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let (short_one, short_other) = (without_extensions(one), without_extensions(other));
    versions(short_one, short_other).then_with(|| versions(one, other))
}

/// Without extensions that have no digit behind their dot: `(\.[A-Za-z~][A-Za-z0-9~]*)*$`.
fn without_extensions(name: &[u8]) -> &[u8] {
    let mut end = name.len();
    while let Some(dot) = name.get(..end).and_then(|part| part.iter().rposition(|byte| *byte == b'.')) {
        let extension = name.get(dot.saturating_add(1)..end).unwrap_or_default();
        let starts = extension.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'~');
        if dot == 0 || !starts || !extension.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'~')
        {
            break;
        }
        end = dot;
    }
    name.get(..end).unwrap_or(name)
}

/// Alternating parts of text and number: letters before other signs, `~` before the end of a name.
fn versions(mut one: &[u8], mut other: &[u8]) -> Ordering {
    while !one.is_empty() || !other.is_empty() {
        let text = |bytes: &[u8]| bytes.first().is_some_and(|byte| !byte.is_ascii_digit());
        while text(one) || text(other) {
            match weight(one.first()).cmp(&weight(other.first())) {
                Ordering::Equal => {}
                different => return different,
            }
            one = one.get(1..).unwrap_or_default();
            other = other.get(1..).unwrap_or_default();
        }
        let (number_one, rest_one) = number(one);
        let (number_other, rest_other) = number(other);
        let by_length = number_one.len().cmp(&number_other.len());
        match by_length.then_with(|| number_one.cmp(number_other)) {
            Ordering::Equal => {}
            different => return different,
        }
        (one, other) = (rest_one, rest_other);
    }
    Ordering::Equal
}

fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        None => -1,
        Some(b'~') => -2,
        Some(byte) if byte.is_ascii_digit() => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte).saturating_add(256),
    }
}

/// Leading digits without zeros in front, and the rest.
fn number(bytes: &[u8]) -> (&[u8], &[u8]) {
    let count = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = bytes.split_at(count);
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    (digits.get(zeros..).unwrap_or_default(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order of `ls -v` of coreutils 9.1.
    #[test]
    fn names_are_in_the_order_of_ls() {
        let sorted = [
            "a.conf",
            "ostree-1-fedora-coreos.conf",
            "ostree-2-fedora-coreos.conf",
            "ostree-10-fedora-coreos.conf",
            "rig-6.9.conf",
            "rig-6.12~rc1.conf",
            "rig-6.12.conf",
            "rig-6.12-2.conf",
            "rig-6.12.1.conf",
            "rig-6.012.2.conf",
        ];
        for pair in sorted.windows(2) {
            if let [one, other] = pair {
                assert_eq!(compare(one, other), Ordering::Less, "{one} {other}");
                assert_eq!(compare(other, one), Ordering::Greater, "{other} {one}");
            }
        }
    }
}
