//! Several logs of one boot, also where they overlap.

use std::fs;
use std::path::PathBuf;

use premeasure::tcg::eventlog::{EventLog, Register, RegisterKind};
use premeasure::tcg::timeline::{self, BootLog, LogFormat, Overlap};
use premeasure::tcg::{HashAlgorithm, PcrIndex, PcrValues, cel, nvpcr};

use crate::fixtures::{boots, live_pcr};

fn boot(name: &str) -> PathBuf {
    boots().into_iter().find(|boot| boot.ends_with(name)).expect("the boot")
}

fn read(boot: &str, file: &str) -> Vec<u8> {
    fs::read(self::boot(boot).join(file)).expect("a log")
}

fn values(logs: &[BootLog<'_>]) -> PcrValues {
    timeline::replay(logs).expect("logs of one boot").0.values()
}

/// A final events table of the records from number `first` on.
fn final_events(log: &EventLog<'_>, bytes: &[u8], first: u32) -> Vec<u8> {
    let start = log.events().nth(first as usize).expect("a record").offset;
    let start = usize::try_from(start).expect("an offset");
    [
        &1_u64.to_le_bytes()[..],                    // Version
        &u64::from(log.len() - first).to_le_bytes(), // NumberOfEvents
        &bytes[start..],                             // Event
    ]
    .concat()
}

/// The log as it was when it held `count` records.
fn cut<'b>(log: &EventLog<'_>, bytes: &'b [u8], count: u32) -> &'b [u8] {
    let end = log.events().nth(count as usize).expect("a record").offset;
    &bytes[..usize::try_from(end).expect("an offset")]
}

/// Linux reads the log before it ends the boot services, and takes what came later from the final events table.
/// Truth: what the TPM of each boot said.
#[test]
fn a_log_and_its_final_events_replay_to_what_the_tpm_said_whether_or_not_they_overlap() {
    for name in ["t-tiny-257", "f-secureboot-257", "j-shim-grub-bookworm"] {
        let bytes = read(name, "eventlog.bin");
        let whole = EventLog::parse(&bytes[..]).expect("a sound log");
        let count = whole.len();
        for (main, first) in
            [(count - 2, count - 2), (count - 2, count - 9), (count - 1, 3), (count - 5, count - 6)]
        {
            let table = final_events(&whole, &bytes, first);
            let logs = [BootLog::read(&table), BootLog::read(cut(&whole, &bytes, main))];
            assert_eq!((logs[0].format, logs[0].error.clone()), (LogFormat::FinalEvents, None));
            let merged = timeline::merge(&logs);
            assert_eq!(merged.len(), count as usize, "{name} {main} {first}");
            let expected: Vec<Overlap> = (main > first)
                .then(|| Overlap { log: 0, earlier: 1, records: (main - first) as usize })
                .into_iter()
                .collect();
            assert_eq!(timeline::overlaps(&logs), expected, "{name} {main} {first}");
            for (bank, registers) in values(&logs).banks() {
                for (pcr, value) in registers {
                    assert_eq!(value.to_string(), live_pcr(&boot(name), bank, *pcr), "{name} {bank} {pcr}");
                }
            }
        }
    }
}

/// The table by hand: one event, and the zeros behind it that its memory area has.
#[test]
fn a_final_events_table_is_read_by_its_count_alone() {
    let digest =
        hex::decode("df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119").expect("hex");
    let table = [
        &[1, 0, 0, 0, 0, 0, 0, 0][..], // Version
        &[1, 0, 0, 0, 0, 0, 0, 0],     // NumberOfEvents
        &[2, 0, 0, 0],                 // PCRIndex
        &[4, 0, 0, 0],                 // EventType: EV_SEPARATOR
        &[1, 0, 0, 0],                 // digest count
        &[0x0B, 0],                    // TPM_ALG_SHA256
        &digest,                       // digest
        &[4, 0, 0, 0],                 // EventSize
        &[0, 0, 0, 0],                 // Event
        &[0; 100],                     // the rest of the area
    ]
    .concat();
    let log = BootLog::read(&table);
    assert_eq!((log.format, log.error.clone(), log.len()), (LogFormat::FinalEvents, None, 1));
    // One zero separator, as Constellation's published tables and swtpm have it.
    let value =
        values(std::slice::from_ref(&log)).get(HashAlgorithm::Sha256, PcrIndex::new(2)).expect("PCR 2");
    assert_eq!(value.to_string(), "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969");
    let guest = log.with_register_kind(RegisterKind::Mr);
    assert_eq!(guest.iter().next().expect("an event").register.to_string(), "RTMR1");
    let mut cut = table[..60].to_vec();
    let error = BootLog::read(&cut).error.expect("cut").to_string();
    assert!(error.contains("at offset 0x1c"), "{error}");
    cut[8] = 0; // no event: nothing to detect it by
    assert_ne!(BootLog::read(&cut).format, LogFormat::FinalEvents);
}

/// Copies: the same log twice, in another encoding, taken earlier. Each counts once.
#[test]
fn copies_of_a_log_are_extended_once() {
    let firmware = read("k-mkosi-trixie", "eventlog.bin");
    let userspace = read("k-mkosi-trixie", "guest/tpm2-measure.log");
    let binary = read("k-mkosi-trixie", "guest/ima_runtime_measurements");
    let text = b"10 4d7597b36adc6d54f33bd13ba2889198c51ca293 ima-sig sha256:3d6dab02ff6a4a3f35083adc637726133c56658881b96f2221f12faa7d18633b boot_aggregate \n";
    let log = EventLog::parse(&firmware[..]).expect("a sound log");
    let early = cut(&log, &firmware, 20);
    let once = [BootLog::read(&firmware), BootLog::read(&userspace), BootLog::read(&binary)];
    let expected = values(&once);
    let records: Vec<_> = timeline::merge(&once).into_iter().map(|entry| entry.record).collect();
    let canonical = cel::write_json(&records).expect("JSON");
    let lists: [&[&[u8]]; 5] = [
        &[&firmware, &firmware, &userspace, &binary],
        &[early, &firmware, &userspace, &binary, &userspace],
        &[&firmware, &userspace, &binary, text],
        &[canonical.as_bytes()],
        &[&firmware, canonical.as_bytes(), &userspace],
    ];
    for (number, list) in lists.iter().enumerate() {
        let logs: Vec<BootLog<'_>> = list.iter().map(|bytes| BootLog::read(bytes)).collect();
        assert!(logs.iter().all(|log| log.error.is_none()));
        assert_eq!(values(&logs), expected, "{number}");
    }
}

/// One record of systemd's log.
fn systemd(register: &str, string: &str) -> String {
    // The digests of the words below; witness: Python 3.11 hashlib.
    let digest = match string {
        _ if string == HARDWARE => "67927611a9c11bc73c503f24d3d93413a5b95744952cc949415f442454a47668",
        "product-id:missing" => "4fdc4d4dfea787c1b43813094d1164188fc30ebcac268df97a4d425dc919b2c3",
        "schrumpel" => "2cf756cb2d229b37a7c9d42fd75f996892e2679d474b11a395f64e88f81e8343",
        _ => "9e00ece9918cbf7575f111a1a69b33b204b780868aa02b20c500cb351fecf524",
    };
    format!(
        "\u{1e}{{{register},\"digests\":[{{\"hashAlg\":\"sha256\",\"digest\":\"{digest}\"}}],\"content_type\":\"systemd\",\"content\":{{\"string\":\"{string}\"}}}}\n"
    )
}

/// The example of systemd's docs/TPM2_PCR_MEASUREMENTS.md (version 259).
const HARDWARE: &str =
    "nvpcr-init:hardware:0x1d10200:sha256:de3857f637c61e82f02e3722e1b207585fe9711045d863238904be8db10683f2";
/// The form of later versions, which test/units/TEST-70-TPM2.nvpcr.sh of systemd checks.
const TEST: &str =
    "nvpcr-init:test:0x1d1020a:000b1111111111111111111111111111111111111111111111111111111111111111";

fn nv(log: &str) -> Vec<nvpcr::NvPcr> {
    let log = BootLog::read(log.as_bytes());
    assert_eq!(log.error, None);
    let records: Vec<_> = log.iter().collect();
    nvpcr::replay(&records)
}

/// Witness of the values: Python 3.11 hashlib, `sha256(start + sha256(word))`; the start of the second index is
/// `sha256(bytes(64))`, as systemd's own test computes it.
#[test]
fn nv_indices_are_replayed_from_where_systemd_says_that_they_start() {
    let nine = "\"pcr\":9";
    let text = [
        systemd(nine, HARDWARE),
        systemd(nine, TEST),
        systemd("\"nv_index\":30474752", "product-id:missing"),
        systemd("\"nv_index\":30474762", "schrumpel"),
    ]
    .concat();
    let found = nv(&text);
    let shown: Vec<_> =
        found.iter().map(|nv| (nv.index, nv.name.as_deref(), nv.value.map(|v| v.to_string()))).collect();
    assert_eq!(
        shown,
        [
            (
                0x01d1_0200,
                Some("hardware"),
                Ok("66c07ca130acf7bd881b02ebdc81ff1e9c3467dc0ab9965c97e8694fce2bb79a".to_owned())
            ),
            (
                0x01d1_020a,
                Some("test"),
                Ok("d9dbe3731d1c931644b71093df650ed5a2737a5767c76caf7bea03482a24bd1b".to_owned())
            ),
        ]
    );
}

#[test]
fn an_nv_index_without_a_proven_start_is_unknown() {
    let extended = systemd("\"nv_index\":30474752", "product-id:missing");
    let start = systemd("\"pcr\":9", HARDWARE);
    let altered = start.replace(":de3857", ":de3858");
    let cases = [
        (extended.clone(), nvpcr::Unknown::NoStart),
        ([altered, extended.clone()].concat(), nvpcr::Unknown::UnprovenStart),
        ([start.clone(), extended, start].concat(), nvpcr::Unknown::StartedAgain),
    ];
    for (text, why) in cases {
        let found = nv(&text);
        assert_eq!((found.len(), found[0].value), (1, Err(why)));
        let log = BootLog::read(text.as_bytes());
        assert!(log.iter().any(|record| record.register == Register::Nv(0x01d1_0200)));
    }
}
