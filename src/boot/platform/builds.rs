//! Builds of OVMF: what each of them measures as its PEI volume, on which machine.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::Error;

use crate::tcg::{Digest, DigestSet, HashAlgorithm};

/// The builds that are known.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Rows")]
pub(in crate::boot) struct Builds(Vec<Build>);

/// What is known of one build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::boot) struct Build {
    /// SHA-256 of the image, hexadecimal.
    sha256: String,
    /// The text of `EV_S_CRTM_VERSION`.
    pub(in crate::boot) version: String,
    /// Where PEIFV lies in memory; the event says so.
    pub(in crate::boot) base: u64,
    /// PEIFV as measured.
    pub(in crate::boot) volumes: Vec<MeasuredVolume>,
}

/// PEIFV as a build leaves it in memory on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::boot) struct MeasuredVolume {
    /// Processors, and memory in MiB; `None` where it does not depend on them.
    pub(in crate::boot) machine: Option<(u32, u64)>,
    /// Version of QEMU; `None` where it does not depend on it.
    pub(in crate::boot) qemu: Option<(u32, u32)>,
    /// The machine's platform key; `None` where it does not depend on that.
    pub(in crate::boot) platform_key: Option<PlatformKey>,
    /// The volume.
    pub(in crate::boot) volume: Volume,
    /// What else it depends on; empty where nothing was seen.
    pub(in crate::boot) assumption: String,
}

/// A condition on the variable `PK`, by its SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::boot) enum PlatformKey {
    /// It is this one.
    Is(String),
    /// It is another one.
    IsNot(String),
}

/// PEIFV in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::boot) enum Volume {
    /// As in the image, but for these bytes: offset, and what stands there then.
    Changed(Vec<(usize, Vec<u8>)>),
    /// Known by digests from the logs of real boots.
    Digests(DigestSet),
}

impl Builds {
    /// None is known.
    pub(super) const NONE: Self = Self(Vec::new());

    /// The build with this SHA-256, hexadecimal.
    pub(in crate::boot) fn find(&self, sha256: &str) -> Option<&Build> {
        self.0.iter().find(|build| build.sha256 == sha256)
    }
}

impl PlatformKey {
    /// The key with this SHA-256 fulfils the condition.
    pub(in crate::boot) fn accepts(&self, sha256: &str) -> bool {
        match self {
            Self::Is(wanted) => wanted == sha256,
            Self::IsNot(other) => other != sha256,
        }
    }
}

/// The file's own form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    #[serde(default)]
    changes: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    builds: Vec<BuildRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BuildRow {
    /// For readers: where the image is from.
    #[serde(rename = "package")]
    _package: String,
    /// For readers: which of the package's images.
    #[serde(rename = "build")]
    _build: String,
    sha256: String,
    version: String,
    peifv_base: String,
    volumes: Vec<VolumeRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VolumeRow {
    machine: Option<MachineRow>,
    qemu: Option<String>,
    platform_key: Option<PlatformKey>,
    changes: Option<Vec<String>>,
    digests: Option<BTreeMap<String, String>>,
    #[serde(default)]
    assumption: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MachineRow {
    cpus: u32,
    mem: u64,
}

impl TryFrom<Rows> for Builds {
    type Error = serde_json::Error;

    fn try_from(rows: Rows) -> Result<Self, Self::Error> {
        let Rows { changes, builds } = rows;
        let builds = builds.into_iter().map(|row| {
            let volumes = row.volumes.into_iter().map(|volume| measured(volume, &changes));
            Ok(Build {
                sha256: row.sha256,
                version: row.version,
                base: number(&row.peifv_base)?,
                volumes: volumes.collect::<Result<_, _>>()?,
            })
        });
        Ok(Self(builds.collect::<Result<_, serde_json::Error>>()?))
    }
}

fn measured(
    row: VolumeRow,
    changes: &BTreeMap<String, BTreeMap<String, String>>,
) -> Result<MeasuredVolume, serde_json::Error> {
    let volume = match (row.changes, row.digests) {
        (Some(names), None) => Volume::Changed(patches(&names, changes)?),
        (None, Some(rows)) => Volume::Digests(digests(&rows)?),
        _ => return Err(Error::custom("a volume has either changes or digests")),
    };
    Ok(MeasuredVolume {
        machine: row.machine.map(|machine| (machine.cpus, machine.mem)),
        qemu: row.qemu.as_deref().map(qemu).transpose()?,
        platform_key: row.platform_key,
        volume,
        assumption: row.assumption,
    })
}

fn patches(
    names: &[String],
    changes: &BTreeMap<String, BTreeMap<String, String>>,
) -> Result<Vec<(usize, Vec<u8>)>, serde_json::Error> {
    let mut patches = Vec::new();
    for name in names {
        let named =
            changes.get(name).ok_or_else(|| serde_json::Error::custom(format!("no changes '{name}'")))?;
        for (offset, bytes) in named {
            let offset = usize::try_from(number(offset)?).map_err(Error::custom)?;
            patches.push((offset, hex::decode(bytes).map_err(Error::custom)?));
        }
    }
    Ok(patches)
}

fn digests(rows: &BTreeMap<String, String>) -> Result<DigestSet, serde_json::Error> {
    let digests = rows.iter().map(|(bank, text)| {
        let bank: HashAlgorithm = bank.parse().map_err(Error::custom)?;
        let bytes = hex::decode(text).map_err(Error::custom)?;
        Digest::from_bytes(bank, &bytes).ok_or_else(|| Error::custom(format!("no digest of {bank}: {text}")))
    });
    digests.collect()
}

/// `0x` and hexadecimal digits.
fn number(text: &str) -> Result<u64, serde_json::Error> {
    let digits = text.strip_prefix("0x");
    let parsed = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    parsed.ok_or_else(|| Error::custom(format!("'{text}' is no number as 0x820000")))
}

/// `MAJOR.MINOR`.
fn qemu(text: &str) -> Result<(u32, u32), serde_json::Error> {
    let parts = text.split_once('.');
    let parsed = parts.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    parsed.ok_or_else(|| Error::custom(format!("'{text}' is no version of QEMU as 7.2")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What somebody may mistype is an error, never a build without the fact.
    #[test]
    fn mistakes_are_errors() {
        let read = |volume: &str| {
            let build = r#""package":"","build":"","sha256":"","version":"","peifv_base":"0x1""#;
            let text = format!(
                r#"{{"changes":{{"a":{{"0x1":"00"}}}},"builds":[{{{build},"volumes":[{{{volume}}}]}}]}}"#
            );
            serde_json::from_str::<Builds>(&text)
        };
        assert!(read(r#""changes":["a"]"#).is_ok());
        for volume in [
            r#""changes":["b"]"#,
            r#""changes":["a"],"digests":{}"#,
            "",
            r#""digests":{"sha256":"00"}"#,
            r#""digests":{"md5":"00"}"#,
            r#""changes":["a"],"qemu":"7""#,
            r#""changes":["a"],"memory":1"#,
            r#""changes":["a"],"platform_key":{"was":"00"}"#,
        ] {
            assert!(read(volume).is_err(), "{volume}");
        }
    }
}
