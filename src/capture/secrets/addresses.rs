//! IP addresses in words of a command line.

use super::find;

/// IP addresses in the value of a parameter, an URL or a device of GRUB: `nfsroot=10.0.0.1:/x`, `(http,10.0.0.1)/x`. A version
/// of four numbers looks the same: it is told by its name, or has none.
pub(super) fn addresses(word: &[u8], value: usize, push: &mut impl FnMut(usize, usize)) {
    let name = word.get(..value).unwrap_or_default().to_ascii_lowercase();
    let has_host = value > 0 || find(word, b"://", 0).is_some() || word.first() == Some(&b'(');
    if !has_host || find(&name, b"version", 0).is_some() {
        return;
    }
    let is_part = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':');
    let mut at = 0;
    while let Some(rest) = word.get(at..).filter(|rest| !rest.is_empty()) {
        let run = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b".:_-+".contains(byte));
        let end = at.saturating_add(run.count());
        let bytes = word.get(at..end).unwrap_or_default();
        let bracketed = at > 0 && word.get(at.saturating_sub(1)) == Some(&b'[');
        let colons = bytes.iter().filter(|byte| **byte == b':').count();
        if bracketed && colons >= 2 && bytes.iter().all(is_part) {
            push(at, end);
        } else {
            let mut start = at;
            for part in bytes.split(|byte| *byte == b':') {
                let part_end = start.saturating_add(part.len());
                if is_ipv4(part) {
                    push(start, part_end);
                }
                start = part_end.saturating_add(1);
            }
        }
        at = end.saturating_add(1);
    }
}

fn is_ipv4(text: &[u8]) -> bool {
    let text = std::str::from_utf8(text).unwrap_or_default();
    text.parse::<std::net::Ipv4Addr>().is_ok()
}
