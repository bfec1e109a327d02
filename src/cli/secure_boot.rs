//! Secure Boot on the command line: where the machine's variables come from.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::baseline::Recorded;
use super::input::{open, read_small};
use super::output::hinted;
use crate::baseline::RecordedGrub;
use crate::boot::{FirmwareImage, Input, SecureBootPolicy, VariableSource};
use crate::prediction::Registers;
use crate::secure_boot::{
    AwsDataError, Content, Key, KeyFileError, MAX_DICTIONARY, MAX_UEFI_DATA, MAX_VARIABLE,
    SecureBootVariables, efivarfs_variable, is_template, is_uefi_data, read_key_file, read_template,
    read_uefi_data, read_virt_firmware,
};
use crate::tcg::eventlog::EventLog;
use crate::uefi::guid::Guid;
use crate::uefi::variable_store::Variable;
use crate::uefi::{firmware_volume, variable_store};
use crate::walk::BootVariables;

/// Most files of an efivarfs folder: every boot option is one.
const MAX_FILES: usize = 4096;

/// The machine's firmware and its variables.
#[derive(Debug, Args)]
pub(super) struct SecureBootArgs {
    /// Platform key: .esl, .auth, or certificate with --key-owner; none where there is none
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Secure Boot")]
    pk: Vec<PathBuf>,
    /// Key exchange keys, as --pk
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Secure Boot")]
    kek: Vec<PathBuf>,
    /// Keys and image digests that may start, as --pk
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Secure Boot")]
    db: Vec<PathBuf>,
    /// Keys and image digests that may not start, as --pk
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Secure Boot")]
    dbx: Vec<PathBuf>,
    /// Time stamping keys, as --pk
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Secure Boot")]
    dbt: Vec<PathBuf>,
    /// OS recovery keys, as --pk: EDK2 does not measure them
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Secure Boot")]
    dbr: Vec<PathBuf>,
    /// Owner of certificates that are given alone: it is measured with them
    #[arg(long, value_name = "GUID", value_parser = parse_guid, help_heading = "Secure Boot")]
    key_owner: Option<Guid>,
    /// The firmware's image (OVMF_CODE.fd)
    #[arg(long, value_name = "FILE", help_heading = "Machine")]
    firmware: Option<PathBuf>,
    /// Event log of another boot on the same machine or machine type, or a profile made of such with premeasure baseline
    /// make; repeatable: what differs between them is followed as alternatives
    #[arg(long, value_name = "LOG", help_heading = "Machine")]
    baseline: Vec<PathBuf>,
}

impl SecureBootArgs {
    /// What is known of the machine's variables; `given` is what `--variables` names.
    pub(super) fn policy(&self, given: Option<VariableFile<'_>>) -> anyhow::Result<Option<SecureBootPolicy>> {
        let mut variables = match given {
            Some(file) => {
                let variables = read_variables(file)?.0;
                let wrong = |(key, error): (Key, crate::bytes::ParseError)| {
                    let context = format!("{}: variable {}", file.path.display(), key.name());
                    anyhow::Error::new(error).context(context)
                };
                variables.check().map_err(wrong)?;
                variables
            }
            None => SecureBootVariables::default(),
        };
        for key in Key::ALL {
            let files = match key {
                Key::Pk => &self.pk,
                Key::Kek => &self.kek,
                Key::Db => &self.db,
                Key::Dbx => &self.dbx,
                Key::Dbt => &self.dbt,
            };
            if let Some(content) = self.content(&key.name().to_lowercase(), files)? {
                *variables.key_mut(key) = content;
            }
        }
        if let Some(content) = self.content("dbr", &self.dbr)? {
            variables.dbr = content;
        }
        let policy =
            SecureBootPolicy { variables, source: VariableSource::Declared, ..SecureBootPolicy::default() };
        Ok((!policy.variables.is_unknown()).then_some(policy))
    }

    /// The platform as recorded boots show it; the files become inputs.
    pub(super) fn baselines(
        &self,
        registers: Registers,
        inputs: &mut Vec<Input>,
    ) -> anyhow::Result<Recorded> {
        super::baseline::recorded(&self.baseline, registers, inputs)
    }

    /// What GRUB did in the recorded boots.
    pub(super) fn recorded_grub(&self) -> anyhow::Result<Option<Result<RecordedGrub, String>>> {
        super::baseline::recorded_grub(&self.baseline)
    }

    /// The machine's firmware.
    pub(super) fn firmware(&self) -> anyhow::Result<Option<FirmwareImage>> {
        let Some(path) = &self.firmware else { return Ok(None) };
        let bytes = read_small(path, firmware_volume::MAX_SIZE)?;
        let image = FirmwareImage::parse(&bytes).map_err(|error| {
            hinted(
                format!("{}: {error}", path.display()),
                "a firmware image is needed here, as OVMF_CODE.fd; the variable store is --variables",
            )
        })?;
        Ok(Some(image))
    }

    /// The content of one variable, its files one after the other.
    fn content(&self, option: &str, files: &[PathBuf]) -> anyhow::Result<Option<Content>> {
        match files {
            [] => return Ok(None),
            [one] if one.as_os_str() == "none" => return Ok(Some(Content::Absent)),
            _ => {}
        }
        let mut content = Vec::new();
        for path in files {
            let bytes = read_small(path, MAX_VARIABLE)?;
            let lists = read_key_file(&bytes, self.key_owner).map_err(|error| {
                let text = format!("--{option} {}: {error}", path.display());
                match error {
                    KeyFileError::NoOwner => {
                        hinted(text, "--key-owner with the GUID that the key is enrolled with")
                    }
                    _ => hinted(
                        text,
                        "signature lists (.esl, .auth) or X.509 certificates (DER, PEM) are read here",
                    ),
                }
            })?;
            content.extend(lists);
        }
        Ok(Some(content.into()))
    }
}

fn parse_guid(text: &str) -> Result<Guid, String> {
    text.parse().map_err(|_| format!("'{text}' is no GUID, as 77fa9abd-0359-4d32-bd60-28f4e78f784b"))
}

/// What `--variables` names.
#[derive(Debug, Clone, Copy)]
pub(super) struct VariableFile<'a> {
    /// The file or folder.
    pub(super) path: &'a Path,
    /// The dictionary of AWS's uefi-data.
    pub(super) dictionary: Option<&'a Path>,
}

/// The variables that decide what starts, out of what `--variables` names; `None` where it holds keys only.
pub(super) fn boot_variables(file: VariableFile<'_>) -> anyhow::Result<Option<BootVariables>> {
    Ok(read_variables(file)?.1.as_deref().map(BootVariables::from_store))
}

/// Variables in whatever form they are kept: those of Secure Boot, and all of them where it is a store.
type Given = (SecureBootVariables, Option<Vec<Variable>>);

fn read_variables(VariableFile { path, dictionary }: VariableFile<'_>) -> anyhow::Result<Given> {
    if path.is_dir() {
        return read_folder(path);
    }
    let bytes = open(path)?.read(variable_store::MAX_SIZE).with_context(|| path.display().to_string())?;
    let named = || path.display().to_string();
    if variable_store::is_store(&bytes) {
        let variables = variable_store::read(&bytes).with_context(named)?;
        return Ok((SecureBootVariables::from_store(&variables), Some(variables)));
    }
    if bytes.trim_ascii_start().first() == Some(&b'{') && is_template(&bytes) {
        return Ok((read_template(&bytes).with_context(named)?, None));
    }
    if bytes.trim_ascii_start().first() == Some(&b'{') {
        let variables = read_virt_firmware(&bytes).with_context(named)?;
        return Ok((SecureBootVariables::from_store(&variables), Some(variables)));
    }
    if is_uefi_data(&bytes) {
        let variables = read_aws(path, &bytes, dictionary)?;
        return Ok((SecureBootVariables::from_store(&variables), Some(variables)));
    }
    match EventLog::parse(&bytes) {
        Ok(log) => Ok((SecureBootVariables::from_log(&log).with_context(named)?, None)),
        Err(broken) if !broken.prefix.is_empty() => Err(broken.error).with_context(named),
        Err(_) => Err(hinted(
            format!("{}: no variable store, JSON of variables or event log", path.display()),
            "signature lists of single variables are given with --pk, --kek, --db and --dbx",
        )),
    }
}

/// AWS's uefi-data, with the dictionary where there is one.
fn read_aws(path: &Path, text: &[u8], dictionary: Option<&Path>) -> anyhow::Result<Vec<Variable>> {
    if text.len() as u64 > MAX_UEFI_DATA {
        return Err(anyhow::anyhow!("{}: uefi-data of more than {MAX_UEFI_DATA} bytes", path.display()));
    }
    let dictionary = dictionary.map(|path| read_small(path, MAX_DICTIONARY)).transpose()?;
    read_uefi_data(text, dictionary.as_deref()).map_err(|error| {
        let wrong = matches!(error, AwsDataError::NoDictionary(_) | AwsDataError::Dictionary { .. });
        let text = format!("{}: {error}", path.display());
        match wrong {
            true => hinted(
                text,
                "--uefi-data-dictionary with virt/firmware/aws/dict.v0 of virt-firmware (PyPI); or make it JSON first, with \
                 virt-fw-vars --input FILE --output-json FILE",
            ),
            false => hinted(text, "aws ec2 get-instance-uefi-data --query UefiData --output text writes such a file"),
        }
    })
}

/// A folder of efivarfs, or of keys to be enrolled.
fn read_folder(path: &Path) -> anyhow::Result<Given> {
    let mut variables = Vec::new();
    let mut enrolled = SecureBootVariables::default();
    let entries = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
    for entry in entries.take(MAX_FILES) {
        let file = entry.with_context(|| path.display().to_string())?.path();
        let Some(name) = file.file_name().and_then(|name| name.to_str()) else { continue };
        let signed = Key::ALL.into_iter().find(|key| name == format!("{}.auth", key.name()));
        if let Some(key) = signed {
            let lists = read_key_file(&read_small(&file, MAX_VARIABLE)?, None);
            *enrolled.key_mut(key) = lists.with_context(|| file.display().to_string())?.into();
        } else if is_wanted(name) {
            let bytes = read_small(&file, MAX_VARIABLE)?;
            variables.extend(efivarfs_variable(name, &bytes).with_context(|| file.display().to_string())?);
        }
    }
    if !enrolled.is_unknown() {
        // systemd-boot enrols what is there, and leaves what is not.
        return Ok((enrolled, None));
    }
    // A folder with the boot options alone says nothing about keys.
    let about_keys = variables.iter().any(|variable| is_about_keys(&variable.name));
    let mut found = SecureBootVariables::from_store(&variables);
    if !about_keys {
        found = SecureBootVariables { shim: found.shim, ..enrolled };
    }
    if variables.is_empty() {
        return Err(hinted(
            format!("{}: neither variables of efivarfs nor .auth files in it", path.display()),
            "name /sys/firmware/efi/efivars or a copy of it, or loader/keys/NAME of a boot partition",
        ));
    }
    Ok((found, Some(variables)))
}

/// Only what Secure Boot, shim and boot loaders use: efivarfs has files that can't be read.
fn is_wanted(name: &str) -> bool {
    let name = name.split('-').next().unwrap_or_default();
    BootVariables::wants(name) || is_about_keys(name) || name.starts_with("Mok") || name.starts_with("Sbat")
}

fn is_about_keys(name: &str) -> bool {
    Key::ALL.iter().any(|key| key.name() == name) || ["SecureBoot", "SetupMode", "dbr"].contains(&name)
}
