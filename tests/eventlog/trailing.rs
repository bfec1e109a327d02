//! Where a log ends: padding and junk behind the last record, records that are cut off, headers with more in them than their
//! specification has. The logs are written here, field by field.

use std::path::Path;

use premeasure::tcg::check::Level;
use premeasure::tcg::eventlog::{EventLog, Trailer, write_log};
use premeasure::tcg::timeline::BootLog;
use premeasure::tcg::{Digest, HashAlgorithm};
use serde_json::Value;

use crate::command::premeasure;
use crate::hostile::{ALL, BOTH, codes, errors, event, file, header, start};

const SHA1: HashAlgorithm = HashAlgorithm::Sha1;

/// A TPM 1.2 log: `TCG_PCR_EVENT` records, the first a Spec ID event with this data if there is any.
fn sha1_log(header: &[u8]) -> Vec<u8> {
    let record = |register: u32, kind: u32, digest: &[u8], data: &[u8]| {
        let length = u32::try_from(data.len()).expect("small").to_le_bytes();
        [&register.to_le_bytes()[..], &kind.to_le_bytes(), digest, &length, data].concat()
    };
    let measured =
        |register, kind, data: &[u8]| record(register, kind, Digest::of(SHA1, data).as_bytes(), data);
    let first = if header.is_empty() { Vec::new() } else { record(0, 3, &[0; 20], header) };
    [first, measured(0, 8, b"v\0"), measured(7, 4, &[0; 4]), measured(4, 0x8000_0007, b"Calling")].concat()
}

/// What unused memory behind a log has been seen to hold, or may: none of it can begin a record.
fn junk() -> Vec<(&'static str, Vec<u8>)> {
    // xorshift: bytes that look like nothing, the same in every run.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let noise = (0..4096).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0] | 0x20
    });
    vec![
        ("eight bytes", vec![0xDE, 0xAD, 0xBE, 0xEF, 1, 2, 3, 4]),
        ("one byte", vec![0x5A]),
        ("ones, then text", [&[0xFF; 6][..], b"abc"].concat()),
        ("zeros, then text", [&[0; 11][..], b"abc"].concat()),
        ("an ACPI table", [b"SSDT".as_slice(), &1000_u32.to_le_bytes(), &[2], b"OEMID TABLE"].concat()),
        ("noise", noise.collect()),
    ]
}

#[test]
fn bytes_that_can_not_begin_a_record_end_a_log() {
    let folder = tempfile::tempdir().expect("a folder");
    for (kind, sound) in [("agile", start(&ALL, &BOTH)), ("sha1", sha1_log(&[]))] {
        let replay = |name: &Path| premeasure(&[&"log", &"replay", &"--json", &name]);
        let expected = replay(&file(folder.path(), "sound.bin", &sound));
        for (name, junk) in junk() {
            let bytes = [sound.clone(), junk].concat();
            let log = EventLog::parse(&bytes[..]).unwrap_or_else(|broken| panic!("{kind}, {name}: {broken}"));
            assert!(matches!(log.trailer(), Trailer::Junk { .. }), "{kind}, {name}: {:?}", log.trailer());
            assert_eq!(log.end(), sound.len() as u64, "{kind}, {name}");
            assert!(write_log(&log) == bytes, "{kind}, {name}");
            let path = file(folder.path(), "log.bin", &bytes);
            let output = replay(&path);
            assert_eq!(output.status.code(), Some(0), "{kind}, {name}: {}", errors(&output));
            assert_eq!(output.stdout, expected.stdout, "{kind}, {name}");
            assert!(
                errors(&output).contains("behind the last record, are no records"),
                "{}",
                errors(&output)
            );
            let strict = premeasure(&[&"log", &"replay", &"--strict", &path]);
            assert_eq!((strict.status.code(), strict.stdout.len()), (Some(2), 0), "{kind}, {name}");
            assert!(codes(&bytes).contains(&(Level::Warning, "junk")), "{kind}, {name}");
        }
    }
}

#[test]
fn short_filler_is_padding() {
    for sound in [start(&ALL, &BOTH), sha1_log(&[])] {
        for byte in [0, 0xFF] {
            for length in 1..40_u64 {
                let bytes = [sound.clone(), vec![byte; usize::try_from(length).expect("small")]].concat();
                let log = EventLog::parse(&bytes[..]).expect("padding");
                assert_eq!(log.trailer(), Trailer::Padding { byte, length });
                assert!(write_log(&log) == bytes);
            }
        }
    }
}

/// Cut at every byte: a whole number of records is a log, filler of a cut index is padding, and everything else is an error
/// that names a field inside of the cut record.
#[test]
fn a_record_that_is_cut_off_stays_an_error_at_its_place() {
    let agile = [start(&[7, 0], &BOTH), event(4, 0x8000_0007, b"Calling", b"Calling", &BOTH)].concat();
    let no_action = [start(&[7], &BOTH), event(u32::MAX, 3, b"note", b"", &BOTH)].concat();
    for log in [agile, no_action, sha1_log(&[])] {
        let whole = EventLog::parse(&log[..]).expect("a sound log");
        let offsets: Vec<u64> = whole.events().map(|event| event.offset).chain([log.len() as u64]).collect();
        let mut errors = 0;
        for length in 1..log.len() {
            let begin =
                offsets.iter().rev().find(|offset| **offset <= length as u64).expect("the first is 0");
            let rest = &log[usize::try_from(*begin).expect("small")..length];
            let filler = rest.iter().all(|byte| *byte == 0) || rest.iter().all(|byte| *byte == 0xFF);
            match EventLog::parse(&log[..length]) {
                Ok(parsed) => assert!(*begin > 0 && filler && parsed.end() == *begin, "{length}"),
                Err(broken) => {
                    assert!(*begin == 0 || !filler, "{length}: {broken}");
                    assert!((*begin..=length as u64).contains(&broken.error.offset), "{length}: {broken}");
                    assert_eq!(broken.prefix.end(), *begin, "{length}");
                    errors += 1;
                }
            }
        }
        assert!(errors > 60, "{errors}");
    }
}

/// Bytes that can't begin a record, but with records behind them: something is wrong with the log, and must not pass as its
/// end.
#[test]
fn records_behind_bytes_that_are_none_make_a_log_damaged() {
    for (sound, more) in [
        (start(&ALL, &BOTH), event(4, 0x8000_0007, b"Calling", b"Calling", &BOTH)),
        (sha1_log(&[]), sha1_log(&[])),
    ] {
        let bytes = [sound.clone(), b"stray".to_vec(), more].concat();
        let broken = EventLog::parse(&bytes[..]).expect_err("a record is behind the stray bytes");
        assert_eq!(broken.prefix.end(), sound.len() as u64);
    }
}

#[test]
fn bytes_behind_the_vendor_information_are_kept_and_reported() {
    let separators: Vec<u8> = ALL.iter().flat_map(|pcr| event(*pcr, 4, &[0; 4], &[0; 4], &BOTH)).collect();
    let log = |behind: &[u8]| [header(0, &BOTH, behind), separators.clone()].concat();
    let folder = tempfile::tempdir().expect("a folder");
    let replay = |bytes: &[u8]| premeasure(&[&"log", &"replay", &"--json", &file(folder.path(), "l", bytes)]);
    for behind in [&[0, 0, 0, 0][..], &[1], &[0xFF; 40]] {
        let bytes = log(behind);
        let parsed = EventLog::parse(&bytes[..]).expect("the header is sound");
        assert!(write_log(&parsed) == bytes);
        let output = replay(&bytes);
        assert_eq!((output.status.code(), errors(&output)), (Some(0), String::new()));
        assert_eq!(output.stdout, replay(&log(&[])).stdout);
        assert!(codes(&bytes).contains(&(Level::Warning, "header-trailing")), "{:?}", codes(&bytes));
        let path = file(folder.path(), "l", &bytes);
        let shown = premeasure(&[&"log", &"show", &"--verbose", &"--type", &"EV_NO_ACTION", &path]);
        let shown = String::from_utf8(shown.stdout).expect("UTF-8");
        let value = behind.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert!(shown.contains(&format!("claimed   (behind vendorInfo)  {value}")), "{shown}");
    }
    assert!(!codes(&log(&[])).contains(&(Level::Warning, "header-trailing")));
}

/// `TCG_EfiSpecIDEventStruct` (EFI Platform Specification 1.22) and `TCG_PCClientSpecIDEventStruct` (Conventional BIOS 1.21).
#[test]
fn headers_of_tpm_1_2_logs_are_decoded() {
    let folder = tempfile::tempdir().expect("a folder");
    for (signature, eighth) in [("Spec ID Event02", "uintnSize"), ("Spec ID Event00", "reserved")] {
        let data = [
            signature.as_bytes(), // signature
            &[0],
            &[1, 0, 0, 0], // platformClass: server
            &[22],         // specVersionMinor
            &[1],          // specVersionMajor
            &[3],          // specErrata
            &[1],          // uintnSize, or reserved
            &[4],          // vendorInfoSize
            b"ACME",       // vendorInfo
        ]
        .concat();
        let path = file(folder.path(), "sha1.bin", sha1_log(&data));
        let output = premeasure(&[&"log", &"show", &"--json", &"--type", &"EV_NO_ACTION", &path]);
        let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let event = &shown["events"][0];
        assert_eq!(event["summary"], format!("{signature}, specification 1.22 errata 3"));
        let fields: Vec<(String, String)> = event["fields"]
            .as_array()
            .expect("fields")
            .iter()
            .map(|field| (field["name"].as_str().expect("a name").to_owned(), field["value"].to_string()))
            .collect();
        let expected = [
            ("signature", format!("\"{signature}\"")),
            ("platformClass", "1".to_owned()),
            ("specVersionMajor", "1".to_owned()),
            ("specVersionMinor", "22".to_owned()),
            ("specErrata", "3".to_owned()),
            (eighth, "1".to_owned()),
            ("vendorInfo", "\"ACME\"".to_owned()),
        ];
        assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value)));
        // A header that ends inside of itself is still the record that it is.
        let cut = sha1_log(&data[..20]);
        assert!(codes(&cut).contains(&(Level::Warning, "undecodable")), "{:?}", codes(&cut));
        assert!(BootLog::read(&cut).error.is_none());
    }
}

/// The type of an event is covered by no digest, so its name must not stand in a field that is.
#[test]
fn the_name_of_a_type_is_no_part_of_a_verified_field() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = [start(&ALL, &BOTH), event(17, 0x402, &[0xAB; 4], &[0xAB; 4], &BOTH)].concat();
    let path = file(folder.path(), "txt.bin", log);
    let output = premeasure(&[&"log", &"show", &"--verbose", &"--pcr", &"17", &path]);
    let shown = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(shown.contains("  verified  Event  abababab\n"), "{shown}");
    assert!(shown.contains("  claimed   EventType  0x00000402 (EVTYPE_HASH_START)\n"), "{shown}");
}
