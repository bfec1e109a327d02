//! What is declared of the machine: SMBIOS, boot secret, identities, choices.

use std::path::Path;

use anyhow::Context;

use super::boot_args::BootArgs;
use crate::boot::{Declared, Scenario, Smbios, utf16_units};
use crate::cli::output::hinted;

/// Most bytes of an SMBIOS table: its own length fields allow no more in practice.
const MAX_SMBIOS: u64 = 1 << 20;

pub(super) fn scenario(args: &BootArgs) -> anyhow::Result<Scenario> {
    let firmware = args.keys.firmware()?.map(std::sync::Arc::new);
    Ok(Scenario {
        platform: args.platform.unwrap_or_default(),
        platform_declared: args.platform.is_some() || args.machine.is_some() || firmware.is_some(),
        firmware,
        machine: args.machine,
        confidential_vm: args.confidential_vm,
        load_options: args.cmdline.as_deref().map(utf16_units),
        profile: args.profile,
        smbios: smbios(args)?,
        boot_secret: boot_secret(args.boot_secret.as_deref())?,
        console: declared(args.stub_console.as_deref(), |words| Ok(words.to_owned()))?,
        stub_version: args.systemd_version.clone(),
        initrd_systemd: declared(args.initrd_systemd.as_deref(), |version| {
            version.parse().context("--initrd-systemd")
        })?,
        host_systemd: declared(args.host_systemd.as_deref(), |version| {
            version.parse().context("--host-systemd")
        })?,
        kernel_version: args.kernel_version,
        machine_id: declared(args.machine_id.as_deref(), machine_id)?,
        root_file_system: declared(args.root_fs.as_deref(), root_file_system)?,
        volume_key: if args.volume_key.is_some() { Declared::Absent } else { Declared::Unknown },
        nvpcr: if args.nvpcr.is_some() { Declared::Absent } else { Declared::Unknown },
        ..Scenario::default()
    })
}

/// `none`, a value, or nothing said.
fn declared<T>(text: Option<&str>, parse: impl Fn(&str) -> anyhow::Result<T>) -> anyhow::Result<Declared<T>> {
    match text {
        None => Ok(Declared::Unknown),
        Some("none") => Ok(Declared::Absent),
        Some(text) => parse(text).map(Declared::Is),
    }
}

pub(super) fn number_or_none(text: Option<&str>, option: &str) -> anyhow::Result<Declared<usize>> {
    declared(text, |text| {
        text.parse().with_context(|| format!("{option} '{text}': expected a number or none"))
    })
}

pub(in crate::cli) fn machine_id(text: &str) -> anyhow::Result<String> {
    let id = text.replace('-', "").to_ascii_lowercase();
    anyhow::ensure!(
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "--machine-id '{text}': expected 32 hexadecimal digits, as in /etc/machine-id"
    );
    Ok(id)
}

/// The word that systemd measures for `/`. Values are escaped as systemd does (pcrextend.c `pcrextend_file_system_word`).
fn root_file_system(text: &str) -> anyhow::Result<String> {
    let fields: Vec<&str> = text.split(':').collect();
    anyhow::ensure!(
        fields.len() == 6,
        "--root-fs has {} fields, expected 6: TYPE:UUID:LABEL:PARTUUID:PARTTYPE:PARTNAME, empty where blkid has none",
        fields.len()
    );
    let escape = |field: &&str| -> String {
        field
            .bytes()
            .map(|byte| match byte {
                b'\\' | b':' | 0..0x20 | 0x7F.. => format!("\\x{byte:02x}"),
                plain => char::from(plain).to_string(),
            })
            .collect()
    };
    Ok(format!("file-system:/:{}", fields.iter().map(escape).collect::<Vec<_>>().join(":")))
}

pub(super) fn smbios(args: &BootArgs) -> anyhow::Result<Smbios> {
    if let Some(path) = &args.smbios {
        let table = crate::cli::input::read_small(path, MAX_SMBIOS)?;
        return Smbios::parse(&table).with_context(|| path.display().to_string());
    }
    let declared = !args.smbios_strings.is_empty();
    let oem_strings = args
        .smbios_strings
        .iter()
        .filter(|text| *text != "none")
        .map(|text| text.clone().into_bytes())
        .collect();
    Ok(Smbios { oem_strings, structures: None, declared })
}

fn boot_secret(text: Option<&str>) -> anyhow::Result<Declared<[u8; 32]>> {
    declared(text, |text| {
        let bytes = match text.strip_prefix("hex:") {
            Some(digits) => hex::decode(digits).context("--boot-secret hex:")?,
            None => crate::cli::input::read_small(Path::new(text), 4096)?,
        };
        let length = bytes.len();
        bytes.try_into().map_err(|_| {
            hinted(
                format!("--boot-secret has {length} bytes, expected 32"),
                "the guest has it as /.extra/boot-secret in the initrd",
            )
        })
    })
}
