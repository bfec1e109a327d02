//! Forms for scripts: CSV, shell variables, and the YAML of tpm2-tools.

use super::exporter::{Alternatives, ExportError, Exporter, Output};
use super::release::Export;

const ALL_PCRS: &[u8] =
    &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23];

/// Those that a boot extends; the others belong to the running system.
const BOOT_PCRS: &[u8] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15];

/// Comma-separated values.
pub(super) const CSV: Exporter = Exporter {
    name: "csv",
    summary: "one line for each value: variant, stage, bank, pcr, status, assumes, digest",
    reader: "spreadsheets and scripts",
    fed: "a file",
    limits: &["assumptions stand in one field, separated by spaces"],
    pcrs: ALL_PCRS,
    default_pcrs: BOOT_PCRS,
    alternatives: Alternatives::Joint,
    write: csv,
    ..Exporter::BASE
};

/// Shell variables.
pub(super) const ENV: Exporter = Exporter {
    name: "env",
    summary: "PCR4_SHA256=..., for shells and systemd's EnvironmentFile=",
    reader: "shell scripts",
    fed: ". FILE",
    limits: &["one boot"],
    alternatives: Alternatives::None,
    write: env,
    ..CSV
};

/// tpm2-tools.
pub(super) const TPM2_YAML: Exporter = Exporter {
    name: "tpm2-yaml",
    summary: "the form in which tpm2_pcrread prints",
    reader: "people and scripts that compare with tpm2_pcrread",
    fed: "diff, or premeasure compare",
    limits: &["one boot"],
    alternatives: Alternatives::None,
    write: tpm2_yaml,
    ..CSV
};

fn csv(export: &Export<'_>) -> Result<Output, ExportError> {
    let mut text = String::from("variant,stage,bank,pcr,status,assumes,digest\n");
    let stage = export.stage();
    for release in &export.releases {
        for bank in &export.banks {
            for (pcr, value) in &release.values {
                let digest = release.hex(*pcr, *bank).unwrap_or_default();
                let line = [
                    field(&release.id),
                    stage.name().to_owned(),
                    bank.name().to_owned(),
                    pcr.to_string(),
                    value.status.to_owned(),
                    field(&value.assumes.join(" ")),
                    digest.to_owned(),
                ];
                text.push_str(&line.join(","));
                text.push('\n');
            }
        }
    }
    Ok(Output::single("pcrs.csv", text))
}

/// RFC 4180: in quotes where a character would separate. A leading character that spreadsheets take for a formula is
/// kept apart by an apostrophe.
fn field(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

fn env(export: &Export<'_>) -> Result<Output, ExportError> {
    let release = export.one()?;
    let mut text = String::new();
    for bank in &export.banks {
        for (pcr, hex) in release.enforced(*bank) {
            text.push_str(&format!("PCR{pcr}_{}={hex}\n", bank.name().to_ascii_uppercase()));
        }
    }
    Ok(Output::single("pcrs.env", text))
}

/// `tpm2_pcrread` (tpm2-tools 5): two columns for the index, upper case.
fn tpm2_yaml(export: &Export<'_>) -> Result<Output, ExportError> {
    let release = export.one()?;
    let mut text = String::new();
    for bank in &export.banks {
        text.push_str(&format!("  {}:\n", bank));
        for (pcr, hex) in release.enforced(*bank) {
            text.push_str(&format!("    {pcr:<2}: 0x{}\n", hex.to_ascii_uppercase()));
        }
    }
    Ok(Output::single("pcrs.yaml", text))
}
