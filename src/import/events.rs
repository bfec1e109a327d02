//! Formats made of single events.

use serde::Deserialize;

use std::collections::BTreeMap;

use super::{
    Boot, Component, ImportError, PolicyValues, Record, boots, components, content, digest_of, json, pcr,
};
use crate::tcg::{Digest, DigestSet, HashAlgorithm, extend};

/// The reference state of `contrib/keylime/premeasure_uki.py`: events of whole boots, which extend to values. A PCR without
/// events keeps its start value.
pub(super) fn keylime_mb(bytes: &[u8]) -> Result<PolicyValues, ImportError> {
    const FORMAT: &str = "keylime-mb";
    #[derive(Deserialize)]
    struct State {
        boots: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        name: String,
        pcrs: BTreeMap<String, Vec<String>>,
    }
    let state: State = json(FORMAT, bytes)?;
    let mut list = Vec::new();
    for item in state.boots {
        let mut boot = Boot { name: item.name, ..Boot::default() };
        for (name, events) in &item.pcrs {
            let pcr = pcr(FORMAT, "pcrs", name)?;
            // PCR 17 to 22 start otherwise, and no firmware log has them.
            if pcr.get() > 15 {
                return Err(content(FORMAT, format!("pcrs.{name}"), "is no PCR of a firmware log"));
            }
            let mut held = Digest::zero(HashAlgorithm::Sha256);
            for event in events {
                let text = event.strip_prefix("0x").unwrap_or(event);
                held = extend(held, digest_of(FORMAT, &format!("pcrs.{name}"), "sha256", text)?);
            }
            boot.add(FORMAT, name, (pcr, held))?;
        }
        list.push(boot);
    }
    boots(FORMAT, list)
}

/// Fraunhofer CMC: each component is one event.
pub(super) fn cmc(bytes: &[u8]) -> Result<PolicyValues, ImportError> {
    const FORMAT: &str = "cmc";
    #[derive(Deserialize)]
    struct Item {
        name: String,
        hashes: Vec<Hash>,
        #[serde(default)]
        description: String,
        #[serde(default)]
        optional: bool,
        properties: Vec<Property>,
    }
    #[derive(Deserialize)]
    struct Hash {
        alg: String,
        content: String,
    }
    #[derive(Deserialize)]
    struct Property {
        name: String,
        value: String,
    }
    let items: Vec<Item> = json(FORMAT, bytes)?;
    let mut list = Vec::new();
    for (number, item) in items.into_iter().enumerate() {
        let place = format!("[{number}] {}", item.name);
        let property = |name: &str| item.properties.iter().find(|property| property.name == name);
        if property("cmc.ta").is_none_or(|anchor| anchor.value != "TPM") {
            continue;
        }
        let index =
            property("cmc.index").ok_or_else(|| content(FORMAT, place.as_str(), "has no cmc.index"))?;
        let digests: DigestSet = item
            .hashes
            .iter()
            .map(|hash| cyclonedx_digest(&place, &hash.alg, &hash.content))
            .collect::<Result<_, ImportError>>()?;
        let record =
            Record { pcr: pcr(FORMAT, &place, &index.value)?, digests, description: item.description };
        list.push(Component { name: item.name, variants: vec![vec![record]], optional: item.optional });
    }
    components(FORMAT, list)
}

/// CycloneDX writes SHA-256 where others write sha256.
fn cyclonedx_digest(place: &str, algorithm: &str, text: &str) -> Result<Digest, ImportError> {
    let name = algorithm.to_ascii_lowercase().replace("sha-", "sha");
    let bank = HashAlgorithm::ALL.into_iter().find(|bank| bank.name() == name);
    let bank =
        bank.ok_or_else(|| content("cmc", place, format!("'{algorithm}' is no algorithm that PCRs use")))?;
    digest_of("cmc", place, bank.name(), text)
}
