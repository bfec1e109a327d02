//! Logs and registers of our own boots (QEMU, OVMF, swtpm).

use std::fs;
use std::path::{Path, PathBuf};

use premeasure::tcg::eventlog::{EventLog, write_log};
use premeasure::tcg::{HashAlgorithm, PcrIndex};
use serde_json::Value;

/// The folders of `fixtures/boots`, in order.
pub(crate) fn boots() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/boots");
    let mut boots: Vec<PathBuf> =
        fs::read_dir(folder).expect("fixtures/boots").map(|entry| entry.expect("an entry").path()).collect();
    boots.retain(|boot| boot.join("eventlog.bin").exists());
    boots.sort();
    assert!(boots.len() >= 16, "only {} boots", boots.len());
    boots
}

/// What the TPM said at the end of a boot.
pub(crate) fn live_pcr(boot: &Path, bank: HashAlgorithm, pcr: PcrIndex) -> String {
    let text = fs::read_to_string(boot.join("pcrs.json")).expect("pcrs.json");
    let values: Value = serde_json::from_str(&text).expect("JSON");
    values[bank.name()][pcr.to_string()].as_str().expect("a value").to_owned()
}

#[test]
fn the_firmware_log_of_every_boot_replays_to_what_the_tpm_said() {
    let mut compared = 0;
    for boot in boots() {
        let bytes = fs::read(boot.join("eventlog.bin")).expect("a log");
        let log = EventLog::parse(&bytes[..]).expect("a sound log");
        let userspace = boot.join("guest/tpm2-measure.log").exists();
        for (bank, values) in log.replay().values().banks() {
            for (pcr, value) in values {
                // The userspace log continues these two, see tests of merging.
                if userspace && matches!(pcr.get(), 11 | 15) {
                    continue;
                }
                assert_eq!(value.to_string(), live_pcr(&boot, bank, *pcr), "{} {bank} {pcr}", boot.display());
                compared += 1;
            }
        }
    }
    assert!(compared > 16 * 4 * 9, "{compared} values compared");
}

#[test]
fn the_firmware_log_of_every_boot_is_written_back_byte_for_byte() {
    for boot in boots() {
        let bytes = fs::read(boot.join("eventlog.bin")).expect("a log");
        let log = EventLog::parse(&bytes[..]).expect("a sound log");
        assert!(write_log(&log) == bytes, "{}", boot.display());
    }
}
