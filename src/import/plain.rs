//! Text forms, read line by line.

use std::collections::BTreeMap;

use super::{Boot, ImportError, PolicyValues, boots, content, digest, digest_of, pcr};

/// Our CSV: each variant is an acceptable boot.
pub(super) fn csv(bytes: &[u8]) -> Result<PolicyValues, ImportError> {
    const FORMAT: &str = "csv";
    let mut lines = lines(FORMAT, bytes)?;
    if lines.next().map(|(_, line)| line) != Some("variant,stage,bank,pcr,status,assumes,digest") {
        return Err(content(FORMAT, "line 1", "expected variant,stage,bank,pcr,status,assumes,digest"));
    }
    let mut by_name: BTreeMap<&str, Boot> = BTreeMap::new();
    let mut order = Vec::new();
    for (number, line) in lines {
        let place = format!("line {number}");
        // The name may be quoted and hold commas; the other fields are plain.
        let fields: Vec<&str> = line.rsplitn(7, ',').collect();
        let [value, _, _, index, bank, _, name] = fields.as_slice() else {
            return Err(content(FORMAT, place, "expected seven fields"));
        };
        let digest = digest_of(FORMAT, &place, bank, value)?;
        let pcr = pcr(FORMAT, &place, index)?;
        let boot = by_name.entry(name).or_insert_with(|| {
            order.push(*name);
            Boot { name: (*name).to_owned(), ..Boot::default() }
        });
        boot.add(FORMAT, &place, (pcr, digest))?;
    }
    boots(FORMAT, order.into_iter().filter_map(|name| by_name.remove(name)).collect())
}

/// `PCR4_SHA256=...`; other variables are passed over.
pub(super) fn env(bytes: &[u8]) -> Result<PolicyValues, ImportError> {
    const FORMAT: &str = "env";
    let mut boot = Boot::default();
    for (number, line) in lines(FORMAT, bytes)? {
        let Some((name, value)) = line.trim().strip_prefix("PCR").and_then(|rest| rest.split_once('='))
        else {
            continue;
        };
        let place = format!("line {number}");
        let (index, bank) = name
            .split_once('_')
            .ok_or_else(|| content(FORMAT, place.as_str(), "expected PCR<n>_<BANK>=<digest>"))?;
        let digest = digest_of(FORMAT, &place, bank, value.trim_matches(['"', '\'']))?;
        boot.add(FORMAT, &place, (pcr(FORMAT, &place, index)?, digest))?;
    }
    boots(FORMAT, vec![boot])
}

/// What `tpm2_pcrread` prints.
pub(super) fn tpm2_yaml(bytes: &[u8]) -> Result<PolicyValues, ImportError> {
    const FORMAT: &str = "tpm2-yaml";
    let mut boot = Boot::default();
    let mut bank = None;
    for (number, line) in lines(FORMAT, bytes)? {
        let place = format!("line {number}");
        let Some((name, value)) = line.split_once(':') else {
            if line.trim().is_empty() {
                continue;
            }
            return Err(content(FORMAT, place, "expected a bank or PCR and a colon"));
        };
        match (value.trim(), bank) {
            ("", _) => bank = Some(name.trim()),
            (value, Some(bank)) => {
                let value = value.strip_prefix("0x").unwrap_or(value);
                let digest = digest_of(FORMAT, &place, bank, value)?;
                boot.add(FORMAT, &place, (pcr(FORMAT, &place, name)?, digest))?;
            }
            (_, None) => return Err(content(FORMAT, place, "a PCR stands before any bank")),
        }
    }
    boots(FORMAT, vec![boot])
}

/// Kairos' `SealedVolume`: the lines below `pcrs:`. It is YAML, of which only what Kairos and this program write is read:
/// one PCR on each line, deeper than `pcrs:`.
pub(super) fn kairos(bytes: &[u8]) -> Result<PolicyValues, ImportError> {
    const FORMAT: &str = "kairos";
    let depth = |line: &str| line.len().saturating_sub(line.trim_start().len());
    let all: Vec<(usize, &str)> = lines(FORMAT, bytes)?.collect();
    if !all.iter().any(|(_, line)| line.trim() == "kind: SealedVolume") {
        return Err(content(FORMAT, "kind", "expected SealedVolume"));
    }
    let start = all.iter().position(|(_, line)| line.trim() == "pcrs:");
    let start = start.ok_or_else(|| content(FORMAT, "spec.attestation.pcrValues.pcrs", "is missing"))?;
    let mut rest = all.iter().skip(start);
    let outer = rest.next().map_or(0, |(_, line)| depth(line));
    let mut boot = Boot::default();
    for (number, line) in rest.take_while(|(_, line)| line.trim().is_empty() || depth(line) > outer) {
        let place = format!("line {number}");
        let Some((name, value)) = line.split_once(':') else { continue };
        let unquote = |text: &str| text.trim().trim_matches(['"', '\'']).to_owned();
        let value = unquote(value);
        // An empty value is learnt at the next contact: it demands nothing.
        if !value.is_empty() {
            let pcr = pcr(FORMAT, &place, &unquote(name))?;
            boot.add(FORMAT, &place, (pcr, digest(FORMAT, &place, &value)?))?;
        }
    }
    boots(FORMAT, vec![boot])
}

/// Lines with their number, counted from 1.
fn lines<'b>(
    format: &'static str,
    bytes: &'b [u8],
) -> Result<impl Iterator<Item = (usize, &'b str)>, ImportError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| content(format, format!("byte {}", error.valid_up_to()), "is not UTF-8"))?;
    Ok((1..).zip(text.lines()))
}
