//! Words that look like secrets or identities, in any text of a boot.
//!
//! Texts are looked at as ASCII, one byte for each character (or byte, or UTF-16 unit) of the original, so that a place in
//! the one is a place in the other. `NUL` stands for what ends a text, `~` for what is not ASCII.

mod addresses;
mod names;

use std::ops::Range;

use super::identities::Identities;
use crate::tcg::{Digest, HashAlgorithm};
use addresses::addresses;
use names::is_secret;

/// Names whose value says which machine it is: addresses and names of dracut.cmdline(7), systemd(1),
/// kernel-parameters.txt.
const IDENTITY_KEYS: &[&str] = &[
    "ip",
    "ifname",
    "nameserver",
    "rd.route",
    "bootif",
    "hostname",
    "systemd.hostname",
    "rd.iscsi.initiator",
    "rd.iscsi.target.name",
    "rd.iscsi.target.ip",
];

/// Names whose value is a digest of the image: published with it, and needed to tell why a boot differs.
const DIGEST_KEYS: &[&str] = &["hash", "digest", "verity"];

/// Words before an UUID, or before what file systems and partition tables of another kind have instead.
const UUID_PREFIXES: &[&str] = &["uuid=", "partuuid=", "uuid/", "by-uuid/", "by-partuuid/", "--fs-uuid "];

/// Something in a text that is not for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) range: Range<usize>,
    /// An identity of many bits, whose hash tells nothing but equality.
    pub(super) hashed: bool,
}

/// All of them, in order and without overlaps.
pub(super) fn spans(text: &[u8], identities: &Identities) -> Vec<Span> {
    let mut spans = Vec::new();
    words(text, true, &mut spans);
    words(text, false, &mut spans);
    passwords_of_grub(text, &mut spans);
    patterns(text, &mut spans);
    known(text, identities, &mut spans);
    merge(spans)
}

/// Only the machine's own identities: for data that is no text.
pub(super) fn identity_spans(text: &[u8], identities: &Identities) -> Vec<Span> {
    let mut spans = Vec::new();
    known(text, identities, &mut spans);
    merge(spans)
}

/// A text with its secrets replaced, and whether there were any.
pub(super) fn redact(text: &str, identities: &Identities) -> (String, bool) {
    let shadow: Vec<u8> = text.chars().map(|character| shadow_of(u32::from(character))).collect();
    let characters: Vec<char> = text.chars().collect();
    let found = spans(&shadow, identities);
    let mut redacted = String::with_capacity(text.len());
    let mut at = 0;
    for span in &found {
        redacted.extend(characters.get(at..span.range.start).unwrap_or_default());
        let secret: String = characters.get(span.range.clone()).unwrap_or_default().iter().collect();
        redacted.push_str(&if span.hashed { hashed(&secret) } else { "<left-out>".to_owned() });
        at = span.range.end;
    }
    redacted.extend(characters.get(at..).unwrap_or_default());
    (redacted, !found.is_empty())
}

/// What stands for an identity: equal for equal ones, in lower case and without dashes as they are written differently.
pub(super) fn hashed(identity: &str) -> String {
    let plain: String = identity.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    let digest = Digest::of(HashAlgorithm::Sha256, format!("{}:{plain}", super::KIND).as_bytes()).to_string();
    format!("<sha256:{}>", digest.get(..16).unwrap_or(&digest))
}

/// The character that stands for one of the text.
pub(super) fn shadow_of(unit: u32) -> u8 {
    match unit {
        9 | 10 | 13 => b' ',
        0..0x20 => 0,
        _ => u8::try_from(unit).ok().filter(u8::is_ascii_graphic).unwrap_or(if unit == 0x20 {
            b' '
        } else {
            b'~'
        }),
    }
}

/// Words with a value. Quotes hold words together as the kernel has it, but a stray one must not hide what follows: both
/// readings count.
fn words(text: &[u8], quotes: bool, spans: &mut Vec<Span>) {
    let mut start = 0;
    let mut quoted = false;
    for (at, byte) in text.iter().copied().chain([0]).enumerate() {
        match byte {
            b'"' => quoted = quotes && !quoted,
            b' ' if quoted => {}
            b' ' | 0 => {
                quoted = false;
                word(text, start..at, spans);
                start = at.saturating_add(1);
            }
            _ => {}
        }
    }
}

fn word(text: &[u8], range: Range<usize>, spans: &mut Vec<Span>) {
    let bytes = text.get(range.clone()).unwrap_or_default();
    let mut key_start = 0;
    let mut push = |from: usize, to: usize| {
        let range = range.start.saturating_add(from)..range.start.saturating_add(to);
        spans.push(Span { range, hashed: false });
    };
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'=') {
        let key = bytes.get(key_start..at).unwrap_or_default().to_ascii_lowercase();
        let key = String::from_utf8_lossy(&key);
        let key = key.trim_start_matches(['"', '~', '\'']);
        let value = at.saturating_add(1);
        let rest = bytes.get(value..).unwrap_or_default();
        if is_secret(key, rest) || IDENTITY_KEYS.contains(&key) {
            push(value, bytes.len());
            return;
        }
        if looks_random(rest) && !DIGEST_KEYS.iter().any(|digest| key.contains(digest)) {
            push(value, bytes.len());
        }
        key_start = value;
    }
    addresses(bytes, key_start, &mut push);
    // Without a name it is what the image's builder wrote there, as `squash4 DIGEST`.
    let is_digest = matches!(bytes.len(), 40 | 64 | 96 | 128) && bytes.iter().all(u8::is_ascii_hexdigit);
    if (key_start == 0 && !is_digest && looks_random(bytes)) || bytes.starts_with(b"grub.pbkdf2.") {
        push(0, bytes.len());
    }
    // What stands before the host of an address, and what it is asked: `https://user:word@host/?key=...`.
    if let Some(host) = bytes.iter().position(|byte| *byte == b'@') {
        let colon = bytes.get(..host).unwrap_or_default().iter().position(|byte| *byte == b':');
        if let Some(colon) = colon {
            push(colon.saturating_add(1), host);
        }
    }
    if find(bytes, b"://", 0).is_some()
        && let Some(query) = bytes.iter().position(|byte| *byte == b'?')
    {
        push(query.saturating_add(1), bytes.len());
    }
}

/// Long, and of letters and digits as no name has them.
fn looks_random(value: &[u8]) -> bool {
    let value = value.strip_prefix(b"\"").unwrap_or(value);
    let value = value.strip_suffix(b"\"").unwrap_or(value);
    let of = |is: fn(&u8) -> bool| value.iter().any(is);
    // Words and numbers with dashes, as labels and versions have them.
    let is_name = value.split(|byte| b"-_".contains(byte)).all(|part| part.len() <= 10);
    // Ids are told by their shape, and hashed. `UUID=...` within a value is looked at by itself.
    if id_length(value) == Some(value.len()) {
        return false;
    }
    let padding = value.iter().rev().take_while(|byte| **byte == b'=').count();
    let unpadded = value.get(..value.len().saturating_sub(padding)).unwrap_or_default();
    let in_alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/_-".contains(byte);
    let mixed = of(u8::is_ascii_uppercase) && of(u8::is_ascii_lowercase) && of(u8::is_ascii_digit);
    let token = value.len() >= 20
        && value.first() != Some(&b'/')
        && mixed
        && unpadded.iter().all(in_alphabet)
        && !is_name;
    token || (value.len() > 32 && value.iter().all(u8::is_ascii_hexdigit))
}

/// GRUB's `password USER WORD` and `password_pbkdf2 USER HASH`, which it measures like every command.
fn passwords_of_grub(text: &[u8], spans: &mut Vec<Span>) {
    let mut at = 0;
    while let Some(found) = find(text, b"password", at) {
        at = found.saturating_add(8);
        let rest = text.get(at..).unwrap_or_default();
        let rest_of_word =
            rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
        let arguments = at.saturating_add(rest_of_word);
        if text.get(arguments) == Some(&b' ') {
            let end = text.iter().skip(arguments).position(|byte| *byte == 0);
            let end = end.map_or(text.len(), |length| arguments.saturating_add(length));
            spans.push(Span { range: arguments.saturating_add(1)..end, hashed: false });
        }
    }
}

/// UUIDs, ids of 32 digits, hardware addresses, wherever they stand.
fn patterns(text: &[u8], spans: &mut Vec<Span>) {
    let mut at = 0;
    while at < text.len() {
        let before = at.checked_sub(1).and_then(|at| text.get(at)).is_some_and(u8::is_ascii_hexdigit);
        let rest = text.get(at..).unwrap_or_default();
        let length = if before { None } else { id_length(rest) };
        let mac = || {
            let groups = &[2; 6];
            if before { None } else { grouped(rest, groups, b':').or_else(|| grouped(rest, groups, b'-')) }
        };
        match length.or_else(mac) {
            Some(length) => {
                let end = at.saturating_add(length);
                spans.push(Span { range: at..end, hashed: length >= 32 });
                at = end;
            }
            None => at = at.saturating_add(1),
        }
    }
    let lower = text.to_ascii_lowercase();
    for prefix in UUID_PREFIXES {
        let mut at = 0;
        while let Some(found) = find(&lower, prefix.as_bytes(), at) {
            at = found.saturating_add(prefix.len());
            let is_id = |byte: &&u8| byte.is_ascii_hexdigit() || **byte == b'-';
            let length = lower.iter().skip(at).take_while(is_id).count();
            if length >= 8 {
                let end = at.saturating_add(length);
                spans.push(Span { range: at..end, hashed: length >= 32 });
            }
        }
    }
}

/// Length of the UUID or id of 32 digits that a text begins with.
fn id_length(text: &[u8]) -> Option<usize> {
    grouped(text, &[8, 4, 4, 4, 12], b'-').or_else(|| grouped(text, &[32], b'-'))
}

/// Length of groups of hexadecimal digits with `separator` in between, not followed by another digit.
fn grouped(text: &[u8], groups: &[usize], separator: u8) -> Option<usize> {
    let mut at = 0_usize;
    for (index, length) in groups.iter().enumerate() {
        if index > 0 {
            (text.get(at) == Some(&separator)).then_some(())?;
            at = at.checked_add(1)?;
        }
        let end = at.checked_add(*length)?;
        text.get(at..end)?.iter().all(u8::is_ascii_hexdigit).then_some(())?;
        at = end;
    }
    (!text.get(at).is_some_and(u8::is_ascii_hexdigit)).then_some(at)
}

fn known(text: &[u8], identities: &Identities, spans: &mut Vec<Span>) {
    if identities.texts.is_empty() {
        return;
    }
    let lower = text.to_ascii_lowercase();
    for identity in &identities.texts {
        let mut at = 0;
        while let Some(found) = find(&lower, identity.as_bytes(), at) {
            at = found.saturating_add(identity.len());
            spans.push(Span { range: found..at, hashed: identity.len() >= 32 });
        }
    }
}

/// The place of `needle` from `at` on.
pub(super) fn find(text: &[u8], needle: &[u8], at: usize) -> Option<usize> {
    if needle.is_empty() {
        return None;
    }
    let place = text.get(at..)?.windows(needle.len()).position(|window| window == needle)?;
    at.checked_add(place)
}

/// Without overlaps: where two meet, all of both is left out.
fn merge(mut spans: Vec<Span>) -> Vec<Span> {
    spans.retain(|span| !span.range.is_empty());
    spans.sort_by_key(|span| (span.range.start, span.range.end));
    let mut merged: Vec<Span> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.range == last.range => last.hashed &= span.hashed,
            Some(last) if span.range.start < last.range.end => {
                last.range.end = last.range.end.max(span.range.end);
                last.hashed = false;
            }
            _ => merged.push(span),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        redact(text, &Identities::default()).0
    }

    /// Parameters as systemd(1), dracut.cmdline(7) and kernel-parameters.txt have them, with made-up values.
    #[test]
    fn values_that_look_secret_are_left_out() {
        for (text, expected) in [
            (
                "quiet systemd.set_credential=passwd.root:hunter2 ro",
                "quiet systemd.set_credential=<left-out> ro",
            ),
            ("systemd.set_credential=\"a:b c\" ro", "systemd.set_credential=<left-out> ro"),
            ("rd.iscsi.password=x", "rd.iscsi.password=<left-out>"),
            ("x=\"y password=z\"", "x=\"y password=<left-out>"),
            ("url=https://me:pw@host/a?sig=1", "url=https:<left-out>@host/a?<left-out>"),
            ("key=AbCdEfGhIjKlMnOpQrS1", "key=<left-out>"),
            ("ip=10.0.0.2::10.0.0.1:255.0.0.0:node:eth0:off", "ip=<left-out>"),
            ("grub_cmd: password root hunter2", "grub_cmd: password <left-out>"),
            ("mac 52:54:00:12:34:56.", "mac <left-out>."),
            // anaconda's boot options, cryptsetup's and mount.cifs' words, dracut's zFCP and network parameters.
            ("rootpw=hunter2 ro", "rootpw=<left-out> ro"),
            ("inst.rootpw=\"a b\" ro", "inst.rootpw=<left-out> ro"),
            ("mysql.pass=x", "mysql.pass=<left-out>"),
            ("user:pw=x", "user:pw=<left-out>"),
            ("rd.znet_pass=x", "rd.znet_pass=<left-out>"),
            ("pwd=x", "pwd=<left-out>"),
            ("cifspass=x", "cifspass=<left-out>"),
            ("cryptkey=correcthorse", "cryptkey=<left-out>"),
            ("pin=1234", "pin=<left-out>"),
            ("sys.tpm2-pin=0042", "sys.tpm2-pin=<left-out>"),
            ("nfsroot=10.0.0.1:/x ro", "nfsroot=<left-out>:/x ro"),
            ("root=nfs:192.168.7.1:/x,vers=4", "root=nfs:<left-out>:/x,vers=4"),
            ("nfsroot=[fd00::17]:/x", "nfsroot=[<left-out>]:/x"),
            ("inst.repo=http://10.0.0.1/os", "inst.repo=http://<left-out>/os"),
            ("linux (http,10.0.0.1)/vmlinuz ro", "linux (http,<left-out>)/vmlinuz ro"),
            ("root=UUID=ABCD-1234", "root=UUID=<left-out>"),
        ] {
            assert_eq!(plain(text), expected);
        }
    }

    #[test]
    fn what_belongs_to_the_image_stays() {
        for text in [
            "roothash=e414456d9825e363f262583ea6d1cdccb8d163ebaf763dce1324227190358ae6 console=ttyS0,115200n8 quiet",
            // The label of a live image of Fedora 28.
            "root=live:CDLABEL=Fedora-WS-Live-28-1-1 rd.live.image quiet",
            "squash4 e414456d9825e363f262583ea6d1cdccb8d163ebaf763dce1324227190358ae6",
            "BOOT_IMAGE=/vmlinuz-6.12.117+deb13-cloud-amd64 root=/dev/mapper/vg-root ro",
            "ä=ö systemd.machine_id= 12345678-1234",
            "keyboard=us vconsole.keymap=de rd.vconsole.keymap=de-latin1 keytable=us iommu.passthrough=1",
            "rd.luks.key=/keys/root.key:LABEL=usb rd.luks.options=tpm2-device=auto,tpm2-pin=yes",
            "cryptkey=LABEL=usb:ext4:/root.key hotkey=on module.bypass=fast",
            "usrhash=e414456d9825e363f262583ea6d1cdccb8d163ebaf763dce1324227190358ae6 spinlock=fair",
            "VERSION=10.0.26100.1 image.version=1.2.3.4 kernel 6.12.0.1 systemd 257.9 sbat,1.2.3.4",
        ] {
            assert_eq!(plain(text), text);
        }
    }

    #[test]
    fn an_id_is_hashed_in_every_way_of_writing_it() {
        let dashed = plain("root=UUID=01234567-89AB-cdef-0123-456789abcdef");
        let compact = plain("root=UUID=0123456789abcdef0123456789abcdef");
        assert_eq!(dashed, compact);
        // printf premeasure-capture:0123456789abcdef0123456789abcdef | sha256sum
        assert_eq!(dashed, "root=UUID=<sha256:747a634a77d81224>");
    }
}
