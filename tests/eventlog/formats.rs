//! Every format, from bytes spelled out by hand and from our boots.

use std::fs;

use premeasure::tcg::cel::{Content, Management};
use premeasure::tcg::event_data::{Context, EventData, NoAction, Rule, coverage, decode};
use premeasure::tcg::eventlog::{
    EventLog, Pcr0Start, Register, RegisterKind, Trailer, VerifyError, write_log,
};
use premeasure::tcg::timeline::{self, BootLog, LogFormat};
use premeasure::tcg::{Digest, EventType, HashAlgorithm, PcrIndex, PcrValues, extend, ima};
use premeasure::uefi::variable::Uintn;

use crate::fixtures::{boots, live_pcr};

/// Value of a PCR that holds one zero separator (Constellation's published tables, swtpm).
const ONE_SEPARATOR: &str = "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969";
/// SHA-256 of four zero bytes.
const SEPARATOR: &str = "df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119";

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(|character| !character.is_whitespace()).collect();
    hex::decode(digits).expect("hexadecimal")
}

/// The header of a crypto-agile log with SHA-256 alone, in register `index`.
fn header(index: u8) -> Vec<u8> {
    [
        &[index, 0, 0, 0][..], // PCRIndex
        &[3, 0, 0, 0],         // EventType: EV_NO_ACTION
        &[0; 20],              // Digest
        &[33, 0, 0, 0],        // EventSize
        b"Spec ID Event03\0",  // signature
        &[0, 0, 0, 0],         // platformClass: client
        &[0, 2, 0, 2],         // specVersionMinor, specVersionMajor, specErrata, uintnSize
        &[1, 0, 0, 0],         // numberOfAlgorithms
        &[0x0B, 0, 32, 0],     // TPM_ALG_SHA256, 32 bytes
        &[0],                  // vendorInfoSize
    ]
    .concat()
}

/// A separator in register `index`.
fn separator(index: u8) -> Vec<u8> {
    [
        &[index, 0, 0, 0][..], // PCRIndex
        &[4, 0, 0, 0],         // EventType: EV_SEPARATOR
        &[1, 0, 0, 0],         // digest count
        &[0x0B, 0],            // TPM_ALG_SHA256
        &hex(SEPARATOR),       // digest
        &[4, 0, 0, 0],         // EventSize
        &[0, 0, 0, 0],         // Event
    ]
    .concat()
}

/// `StartupLocality` 3 in PCR 0.
fn locality() -> Vec<u8> {
    [
        &[0, 0, 0, 0][..],    // PCRIndex
        &[3, 0, 0, 0],        // EventType: EV_NO_ACTION
        &[1, 0, 0, 0],        // digest count
        &[0x0B, 0],           // TPM_ALG_SHA256
        &[0; 32],             // digest
        &[17, 0, 0, 0],       // EventSize
        b"StartupLocality\0", // signature
        &[3],                 // StartupLocality
    ]
    .concat()
}

#[test]
fn a_log_of_one_separator_gives_the_well_known_value() {
    let bytes = [header(0), separator(2)].concat();
    let log = EventLog::parse(&bytes[..]).expect("a sound log");
    let value = log.replay().values().get(HashAlgorithm::Sha256, PcrIndex::new(2)).expect("PCR 2");
    assert_eq!(value.to_string(), ONE_SEPARATOR);
    assert_eq!(log.trailer(), Trailer::None);
}

/// Witness: `python3 -c "import hashlib; print(hashlib.sha256(bytes(31)+b'\3'+hashlib.sha256(bytes(4)).digest()).hexdigest())"`.
#[test]
fn a_startup_locality_is_where_pcr_0_starts() {
    let bytes = [header(0), locality(), separator(0)].concat();
    let replay = EventLog::parse(&bytes[..]).expect("a sound log").replay();
    assert_eq!(replay.pcr0_start(), Some(Pcr0Start::StartupLocality(3)));
    let value = replay.values().get(HashAlgorithm::Sha256, PcrIndex::new(0)).expect("PCR 0");
    assert_eq!(value.to_string(), "50bd7d88f0414b40608f8ffc56fd4f3201b5ed0644e36b8128d33624ebe0f053");
    let late = [header(0), separator(0), locality()].concat();
    let replay = EventLog::parse(&late[..]).expect("a sound log").replay();
    assert_eq!(replay.pcr0_start(), None, "too late to be true");
}

#[test]
fn padding_ends_a_log_and_junk_behind_it_is_never_measured() {
    let sound = [header(0), separator(2)].concat();
    for byte in [0x00, 0xFF] {
        let padded = [sound.clone(), vec![byte; 500]].concat();
        let log = EventLog::parse(&padded[..]).expect("a sound log");
        assert_eq!((log.len(), log.trailer()), (2, Trailer::Padding { byte, length: 500 }));
        let junk = [padded.clone(), separator(3)].concat();
        let log = EventLog::parse(&junk[..]).expect("read up to the padding");
        let offset = if byte == 0 { padded.len() as u64 } else { log.end() + 500 };
        let Trailer::Junk { offset: found, .. } = log.trailer() else { panic!("{:?}", log.trailer()) };
        assert!(found >= offset, "{found}");
        assert_eq!(log.len(), 2);
        assert!(write_log(&log) == junk);
    }
}

#[test]
fn a_cc_event_log_is_told_by_its_header_or_its_acpi_table() {
    let log = [header(1), separator(1)].concat();
    let parsed = EventLog::parse(&log[..]).expect("a sound log");
    assert_eq!(parsed.register_kind(), RegisterKind::Mr);
    let event = parsed.events().last().expect("the separator");
    assert_eq!(parsed.register(event.register).to_string(), "RTMR0");

    let table = [
        b"CCEL".as_slice(),             // Signature
        &[56, 0, 0, 0],                 // Length
        &[0; 28],                       // Revision to Creator Revision
        &[2, 0],                        // CC Type: TDX, CC Subtype
        &[0, 0],                        // Reserved
        &0x1_0000_u64.to_le_bytes(),    // Log Area Minimum Length
        &0x7FFF_0000_u64.to_le_bytes(), // Log Area Start Address
    ]
    .concat();
    let with_table = [table, header(0), separator(1)].concat();
    let parsed = EventLog::parse(&with_table[..]).expect("a sound log");
    let found = parsed.ccel_table().expect("the table");
    assert_eq!((found.cc_type, found.log_area_length), (2, 0x1_0000));
    assert_eq!(parsed.register_kind(), RegisterKind::Mr);
    assert!(write_log(&parsed) == with_table);
    assert!(EventLog::parse(&with_table[..40]).is_err(), "a table cut in half");
}

#[test]
fn only_registers_that_agree_make_a_verified_log() {
    let bytes = [header(0), separator(2), separator(3)].concat();
    let log = EventLog::parse(&bytes[..]).expect("a sound log");
    let value = |text: &str| Digest::from_bytes(HashAlgorithm::Sha256, &hex(text)).expect("32 bytes");
    let mut given = PcrValues::default();
    given.set(PcrIndex::new(2), value(ONE_SEPARATOR));
    let verified = log.clone().verify(HashAlgorithm::Sha256, &given).expect("PCR 2 agrees");
    let events: Vec<_> = verified.events().collect();
    assert_eq!(events.len(), 1, "PCR 3 was not given, so nothing is proven of it");
    assert_eq!(events[0].verified_data(), Some(&[0, 0, 0, 0][..]));
    given.set(PcrIndex::new(3), value(SEPARATOR));
    let Err(VerifyError::Mismatch(mismatches)) = log.verify(HashAlgorithm::Sha256, &given) else {
        panic!("PCR 3 does not agree")
    };
    assert_eq!(mismatches.len(), 1);
}

/// A record in CEL-TLV as Google's encoder writes it (8-byte record number), and one that is short.
#[test]
fn canonical_tlv_is_read() {
    let digests = [&[3, 0, 0, 0, 37][..], &[0x0B, 0, 0, 0, 32], &hex(SEPARATOR)].concat(); // DIGESTS { SHA-256 }
    let firmware = [
        &[0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0][..], // RECNUM 0, 8 bytes
        &[1, 0, 0, 0, 1, 2],                          // PCR 2
        &digests,
        &[5, 0, 0, 0, 18],            // CONTENT: PCCLIENT_STD
        &[0, 0, 0, 0, 4, 0, 0, 0, 4], // EVENT_TYPE: EV_SEPARATOR
        &[1, 0, 0, 0, 4, 0, 0, 0, 0], // EVENT_DATA
    ]
    .concat();
    let version = [
        &[0, 0, 0, 0, 1, 0][..], // RECNUM 0, 1 byte
        &[1, 0, 0, 0, 1, 13],    // PCR 13
        &digests,
        &[4, 0, 0, 0, 17],   // CONTENT: CEL
        &[1, 0, 0, 0, 12],   // cel_version
        &[0, 0, 0, 0, 1, 1], // major 1
        &[1, 0, 0, 0, 1, 0], // minor 0
    ]
    .concat();
    let bytes = [firmware, version].concat();
    let log = BootLog::read(&bytes);
    assert_eq!((log.format, log.error.clone(), log.len()), (LogFormat::CelTlv, None, 2));
    assert_eq!(
        log.iter().nth(1).expect("two").content,
        Content::Management(Management::Version { major: 1, minor: 0 })
    );
    assert_pcr2(&bytes);
    let cut = BootLog::read(&bytes[..bytes.len() - 1]);
    assert_eq!(cut.len(), 1);
    let error = cut.error.expect("the second record is cut").to_string();
    assert_eq!(error, "CONTENT at offset 0x8f: needs 17 bytes, 16 left");
}

/// `[{0: 0, 1: 2, 3: [{0: 11, 1: h'…'}], 9: 5, 10: {0: 4, 1: h'00000000'}}]` (CEL 1.1, section 5.2).
#[test]
fn canonical_cbor_is_read() {
    let record = [
        &hex("a5 00 00 01 02 03 81 a2 00 0b 01 5820")[..], // map(5): recnum 0, pcr 2, digests [{11, bytes(32)
        &hex(SEPARATOR),
        &hex("09 05 0a a2 00 04 01 44 00000000"), // content_type 5, content {EV_SEPARATOR, bytes(4)}
    ]
    .concat();
    let array = [&[0x81][..], &record].concat();
    for bytes in [record, array] {
        let log = BootLog::read(&bytes);
        assert_eq!((log.format, log.error.clone(), log.len()), (LogFormat::CelCbor, None, 1));
        assert_pcr2(&bytes);
        assert!(BootLog::read(&bytes[..bytes.len() - 1]).error.is_some());
    }
}

/// The spellings of virt-fw-measure, of systemd-pcrlock, and numbers instead of names.
#[test]
fn canonical_json_is_read() {
    let record = |event_type: &str, algorithm: &str| {
        format!(
            r#"{{"recnum":0,"pcr":2,"digests":[{{"hashAlg":"{algorithm}","digest":"{SEPARATOR}"}}],"content_type":"pcclient_std","content":{{"event_type":{event_type},"event_data":"00000000"}}}}"#
        )
    };
    let texts = [
        format!("[{}]", record("\"EV_SEPARATOR\"", "sha256")),
        format!("{{\"records\": [{}]}}", record("\"0x00000004\"", "TPM_ALG_SHA256")),
        format!("\u{1e}{}\n", record("4", "11")),
    ];
    for text in &texts {
        assert_pcr2(text.as_bytes());
    }
    let cut = format!("[{},{}", record("4", "sha256"), &record("4", "sha256")[..50]);
    let log = BootLog::read(cut.as_bytes());
    assert_eq!(log.len(), 1, "the sound record before the cut");
    assert!(log.error.expect("cut").to_string().contains("record 1"));
}

fn assert_pcr2(bytes: &[u8]) {
    let logs = [BootLog::read(bytes)];
    assert!(logs[0].error.is_none(), "{:?}", logs[0].error);
    let (replay, kind) = timeline::replay(&logs).expect("one log");
    assert_eq!(kind, RegisterKind::Pcr);
    let value = replay.values().get(HashAlgorithm::Sha256, PcrIndex::new(2)).expect("PCR 2");
    assert_eq!(value.to_string(), ONE_SEPARATOR);
}

#[test]
fn ima_logs_of_our_boots_replay_to_pcr_10_in_every_bank() {
    let mut compared = 0;
    for boot in boots() {
        let Ok(bytes) = fs::read(boot.join("guest/ima_runtime_measurements")) else { continue };
        let logs = [BootLog::read(&bytes)];
        assert_eq!(logs[0].format, LogFormat::ImaBinary, "{}", boot.display());
        assert!(logs[0].error.is_none(), "{}: {:?}", boot.display(), logs[0].error);
        let (replay, _) = timeline::replay(&logs).expect("one log");
        let pcr = PcrIndex::new(10);
        for bank in [HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512]
        {
            let hashed = replay.values().get(bank, pcr).expect("PCR 10");
            let padded = logs[0].iter().fold(Digest::zero(bank), |value, record| {
                extend(value, ima::padded(&record, bank).expect("a SHA-1 digest"))
            });
            let live = live_pcr(&boot, bank, pcr);
            // Debian 12's kernel 6.1 has neither SHA-384 nor SHA-512 when IMA starts; later ones have both.
            let kernel_6_1 =
                fs::read_to_string(boot.join("case.json")).expect("case.json").contains("6.1.192");
            let lacks = kernel_6_1 && matches!(bank, HashAlgorithm::Sha384 | HashAlgorithm::Sha512);
            let expected = if lacks { padded } else { hashed };
            assert_eq!(expected.to_string(), live, "{} {bank}", boot.display());
            compared += 1;
        }
    }
    assert!(compared >= 4 * 14, "{compared}");
}

/// The text of the entry of k-mkosi-trixie as the kernel prints it in `ascii_runtime_measurements`
/// (`ima_ascii_measurements_show`), made from the binary file beside it.
#[test]
fn the_text_form_of_an_ima_log_replays_to_the_same() {
    let text = "10 4d7597b36adc6d54f33bd13ba2889198c51ca293 ima-sig sha256:3d6dab02ff6a4a3f35083adc637726133c56658881b96f2221f12faa7d18633b boot_aggregate \n";
    let logs = [BootLog::read(text.as_bytes())];
    assert_eq!((logs[0].format, logs[0].error.clone()), (LogFormat::ImaAscii, None));
    let (replay, _) = timeline::replay(&logs).expect("one log");
    let boot = boots().into_iter().find(|boot| boot.ends_with("k-mkosi-trixie")).expect("the boot");
    let pcr = PcrIndex::new(10);
    let value = replay.values().get(HashAlgorithm::Sha512, pcr).expect("PCR 10").to_string();
    assert_eq!(value, live_pcr(&boot, HashAlgorithm::Sha512, pcr));
}

#[test]
fn a_violation_extends_ones() {
    let text = format!("10 {} ima-ng sha1:{} /tmp/x\n", "0".repeat(40), "0".repeat(40));
    let log = BootLog::read(text.as_bytes());
    let record = log.iter().next().expect("one entry");
    for bank in HashAlgorithm::ALL {
        let digest = record.digests.get(bank).expect("every bank");
        assert!(digest.as_bytes().iter().all(|byte| *byte == 0xFF));
    }
}

#[test]
fn nv_indices_of_systemd_are_kept_apart_from_pcrs() {
    let text = format!(
        "\u{1e}{{\"nv_index\":30474752,\"digests\":[{{\"hashAlg\":\"sha256\",\"digest\":\"{SEPARATOR}\"}}],\"content_type\":\"systemd\",\"content\":{{\"nvIndexName\":\"hardware\",\"string\":\"product-id:missing\",\"eventType\":\"product-id\"}}}}\n"
    );
    let logs = [BootLog::read(text.as_bytes())];
    let record = logs[0].iter().next().expect("one record");
    assert_eq!(record.register, Register::Nv(0x01D1_0200));
    let (replay, _) = timeline::replay(&logs).expect("one log");
    assert!(replay.values().banks().next().is_none());
}

/// GRUB hashes the text behind its prefix, without NUL (PCR 8 of j-shim-grub-bookworm, whose values the TPM reported).
#[test]
fn coverage_knows_what_writers_hash() {
    let boot = boots().into_iter().find(|boot| boot.ends_with("j-shim-grub-bookworm")).expect("the boot");
    let bytes = fs::read(boot.join("eventlog.bin")).expect("a log");
    let log = EventLog::parse(&bytes[..]).expect("a sound log");
    let mut rules = Vec::new();
    for event in log.events() {
        let digest = event.digest(HashAlgorithm::Sha256).unwrap_or(Digest::zero(HashAlgorithm::Sha256));
        let found = coverage(event.event_type, event.data, digest, Uintn::Bits64);
        rules.push((event.event_type, event.register, found.rule));
    }
    let all = |event_type, register, rule| {
        let mut those = rules.iter().filter(|row| row.0 == event_type && row.1 == register).peekable();
        assert!(those.peek().is_some(), "{event_type} in {register}");
        assert!(those.all(|row| row.2 == rule), "{event_type} in {register}: {rule:?}");
    };
    all(EventType::IPL, 8, Rule::TextBehindPrefix);
    all(EventType::IPL, 9, Rule::Nothing);
    all(EventType::EFI_VARIABLE_BOOT, 1, Rule::VariableData);
    all(EventType::EFI_VARIABLE_DRIVER_CONFIG, 7, Rule::WholeData);
    all(EventType::EFI_VARIABLE_AUTHORITY, 7, Rule::WholeData);
    all(EventType::EFI_BOOT_SERVICES_APPLICATION, 4, Rule::Nothing);
}

/// `TCG_Sp800_155_PlatformId_Event3`, field by field.
#[test]
fn an_sp800_155_event_is_read() {
    let data = [
        b"SP800-155 Event3".as_slice(), // Signature: no NUL
        &11129_u32.to_le_bytes(),       // PlatformManufacturerId: Google
        &[0x11; 16],                    // ReferenceManifestGuid
        b"\x05ACME\0",                  // PlatformManufacturerStr
        b"\x03M1\0",                    // PlatformModel
        b"\x02\x31\0",                  // PlatformVersion
        b"\x03FW\0",                    // FirmwareManufacturerStr
        &11129_u32.to_le_bytes(),       // FirmwareManufacturerId
        b"\x02\x32\0",                  // FirmwareVersion
        &1_u32.to_le_bytes(),           // RIMLocatorType: URI
        &12_u32.to_le_bytes(),          // RIMLocatorLength
        b"https://a.b\0",               // RIMLocator
        &0_u32.to_le_bytes(),           // PlatformCertLocatorType: raw
        &0_u32.to_le_bytes(),           // PlatformCertLocatorLength
    ]
    .concat();
    let decoded = decode(EventType::NO_ACTION, &data, Context::default());
    assert!(decoded.problem.is_none(), "{:?}", decoded.problem);
    assert_eq!(
        decoded.data.summary(),
        "reference manifest 11111111-1111-1111-1111-111111111111 at https://a.b"
    );
    let EventData::NoAction(NoAction::Sp800155Manifest(event)) = decoded.data else {
        panic!("another event")
    };
    assert_eq!(event.strings, ["ACME", "M1", "1", "FW"]);
    assert_eq!(event.firmware_version, "2");
}

/// `TCG_DEVICE_SECURITY_EVENT_DATA2`, field by field.
#[test]
fn an_spdm_event_is_read() {
    let path =
        [&[2, 1, 12, 0, 0xD0, 0x41, 3, 0x0A, 0, 0, 0, 0][..], &[1, 1, 6, 0, 0, 3], &[0x7F, 0xFF, 4, 0]]
            .concat();
    let data = [
        b"SPDM Device Sec2".as_slice(),     // Signature
        &[2, 0],                            // Version
        &[0, 0],                            // AuthState: success, Reserved
        &80_u32.to_le_bytes(),              // Length
        &1_u32.to_le_bytes(),               // DeviceType: PCI
        &1_u32.to_le_bytes(),               // SubHeaderType: certificate chain
        &4_u32.to_le_bytes(),               // SubHeaderLength
        &7_u64.to_le_bytes(),               // SubHeaderUID
        &(path.len() as u64).to_le_bytes(), // DevicePathLength
        &path,                              // DevicePath
        &[0xAA, 0xBB, 0xCC, 0xDD],          // sub header
    ]
    .concat();
    let decoded = decode(EventType::EFI_SPDM_FIRMWARE_BLOB, &data, Context::default());
    assert!(decoded.problem.is_none(), "{:?}", decoded.problem);
    assert_eq!(decoded.data.summary(), "certificate chain of PCI device PciRoot(0x0)/Pci(0x3,0x0)");
    let cut = decode(EventType::EFI_SPDM_FIRMWARE_BLOB, &data[..60], Context::default());
    assert!(cut.problem.is_some());
}
