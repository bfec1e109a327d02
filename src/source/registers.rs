//! Register values that were read from a machine: our JSON, tpm2-tools' YAML, the kernel's sysfs.

use std::fs;
use std::io;
use std::path::Path;

use crate::json::Unique;
use crate::tcg::{Digest, HashAlgorithm, PcrIndex, PcrValues};

/// Bytes that such a file may have: 24 registers in five banks are some kilobytes.
const LIMIT: u64 = 1 << 20;

/// Values that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum RegistersError {
    /// The operating system's reason.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What is not as expected.
    #[error("{0}")]
    Format(String),
}

/// Reads register values:
///
/// - a JSON file `{"sha256": {"0": "hex", …}, …}`; measurement registers of a confidential guest are under their
///   index in the log, 1 is RTMR0,
/// - the output of `tpm2_pcrread` (`sha256:` and lines `0 : 0xHEX`),
/// - a folder of sysfs: `/sys/class/tpm/tpm0` with `pcr-sha256/0` and so on, or a copy of it.
///
/// A bank, register or other member that a file has twice is an error.
///
/// # Errors
/// When the file can't be read, is of no known form or holds no value at all.
pub fn read_registers(path: &Path) -> Result<PcrValues, RegistersError> {
    let values = if fs::metadata(path)?.is_dir() { read_sysfs(path)? } else { read_file(path)? };
    if values.banks().next().is_none() {
        return Err(RegistersError::Format("no register values in it".to_owned()));
    }
    Ok(values)
}

fn read_file(path: &Path) -> Result<PcrValues, RegistersError> {
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(fs::File::open(path)?, LIMIT), &mut text)?;
    parse_registers(&text)
}

/// Reads the text of one of the two file forms of [`read_registers`].
///
/// # Errors
/// When it is of neither form.
pub fn parse_registers(text: &str) -> Result<PcrValues, RegistersError> {
    if text.trim_start().starts_with('{') { read_json(text) } else { read_yaml(text) }
}

fn read_json(text: &str) -> Result<PcrValues, RegistersError> {
    let Unique(json) =
        serde_json::from_str(text).map_err(|error| RegistersError::Format(error.to_string()))?;
    let mut values = PcrValues::default();
    for (bank, registers) in json.as_object().into_iter().flatten() {
        let Some(registers) = registers.as_object() else { continue };
        // Documents carry other members beside the banks.
        let Ok(algorithm) = bank.parse::<HashAlgorithm>() else { continue };
        for (register, value) in registers {
            let value = value.as_str().unwrap_or_default();
            set(&mut values, algorithm, register, value)?;
        }
    }
    Ok(values)
}

fn read_yaml(text: &str) -> Result<PcrValues, RegistersError> {
    let mut values = PcrValues::default();
    let mut bank = None;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let Some((key, value)) = line.split_once(':') else {
            return Err(RegistersError::Format(format!("'{line}' is neither a bank nor a register")));
        };
        let (key, value) = (key.trim(), value.trim());
        match (value, bank) {
            ("", _) if key == "pcrs" => {}
            ("", _) => bank = key.parse::<HashAlgorithm>().ok(),
            (_, Some(bank)) if key.bytes().all(|byte| byte.is_ascii_digit()) => {
                set(&mut values, bank, key, value)?;
            }
            _ => {}
        }
    }
    Ok(values)
}

fn read_sysfs(folder: &Path) -> Result<PcrValues, RegistersError> {
    let mut values = PcrValues::default();
    for bank in HashAlgorithm::ALL {
        for pcr in PcrIndex::all() {
            let path = folder.join(format!("pcr-{}", bank.name())).join(pcr.to_string());
            match fs::read_to_string(&path) {
                Ok(value) => set(&mut values, bank, &pcr.to_string(), value.trim())?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(values)
}

fn set(
    values: &mut PcrValues,
    bank: HashAlgorithm,
    register: &str,
    value: &str,
) -> Result<(), RegistersError> {
    let wrong = |why: String| RegistersError::Format(format!("{bank} {register}: {why}"));
    let index = register.parse::<u32>().ok().and_then(|index| PcrIndex::try_from(index).ok());
    let index = index.ok_or_else(|| wrong("is no register".to_owned()))?;
    let digits = value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")).unwrap_or(value);
    let bytes = hex::decode(digits).map_err(|error| wrong(error.to_string()))?;
    let digest = Digest::from_bytes(bank, &bytes)
        .ok_or_else(|| wrong(format!("{} bytes, {} expected", bytes.len(), bank.size())))?;
    // "0" and "00" are one register: which of two values counts is nobody's to choose.
    if values.get(bank, index).is_some() {
        return Err(wrong("is there twice".to_owned()));
    }
    values.set(index, digest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Form: `tpm2_pcrread sha1:0,16` of tpm2-tools 5.4.
    #[test]
    fn the_output_of_tpm2_pcrread_is_read() {
        let text = "  sha1:\n    0 : 0xB2A83B0EBF2F8374299A5B2BDFC31EA955AD7236\n    16: 0x0000000000000000000000000000000000000000\n";
        let values = read_yaml(text).expect("two values");
        let value = values.get(HashAlgorithm::Sha1, PcrIndex::new(0)).expect("PCR 0");
        assert_eq!(value.to_string(), "b2a83b0ebf2f8374299a5b2bdfc31ea955ad7236");
        assert!(values.get(HashAlgorithm::Sha1, PcrIndex::new(16)).is_some());
    }

    #[test]
    fn a_register_or_bank_that_is_there_twice_is_refused() {
        let (one, two) = ("11".repeat(20), "22".repeat(20));
        let cases = [
            format!(r#"{{"sha1": {{"0": "{one}", "0": "{two}"}}}}"#),
            format!(r#"{{"sha1": {{"0": "{one}", "00": "{two}"}}}}"#),
            format!(r#"{{"sha1": {{"0": "{one}"}}, "sha1": {{"0": "{two}"}}}}"#),
            format!("sha1:\n  0 : 0x{one}\n  0 : 0x{two}\n"),
            format!("sha1:\n  0 : 0x{one}\nsha1:\n  0 : 0x{two}\n"),
        ];
        for text in cases {
            let error = parse_registers(&text).expect_err("twice").to_string();
            assert!(error.contains("is there twice"), "{text}: {error}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_length_names_its_register() {
        let error = read_json(r#"{"sha256": {"7": "00"}}"#).expect_err("too short");
        assert_eq!(error.to_string(), "sha256 7: 1 bytes, 32 expected");
    }
}
