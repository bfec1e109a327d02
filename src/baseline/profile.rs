//! A baseline as a file that can be reviewed and passed around: JSON with the platform's events and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{LogName, PlatformEvent, PlatformPart};
use crate::tcg::eventlog::{Pcr0Start, RegisterKind};
use crate::tcg::{Digest, DigestSet, EventType, HashAlgorithm, PcrIndex};

/// The value of `kind`.
pub const KIND: &str = "premeasure-baseline";
/// The value of `registers` for confidential guests.
const GUEST_REGISTERS: &str = "rtmr";
/// Version of the format that this program writes; it reads every 1.x.
const SCHEMA_VERSION: &str = "1.0.0";
/// Largest profile that is read, in bytes.
pub const MAX_SIZE: u64 = 16 << 20;

/// A text that is no baseline profile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// Not JSON, or not of this structure.
    #[error("not a baseline profile: {0}")]
    Json(#[from] serde_json::Error),
    /// Another kind of document, or a newer version.
    #[error("kind '{kind}', version {version}: expected {KIND} 1.x")]
    Kind {
        /// `kind`.
        kind: String,
        /// `schema_version`.
        version: String,
    },
    /// A member that does not hold what it should.
    #[error("{place} {problem}")]
    Member {
        /// Where.
        place: String,
        /// What is wrong.
        problem: &'static str,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    schema_version: String,
    kind: String,
    /// `rtmr` where the registers are those of confidential guests; absent for PCRs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    registers: Option<String>,
    banks: Vec<String>,
    boots: Vec<BootEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BootEntry {
    logs: Vec<LogEntry>,
    /// Last byte of PCR 0 before the first event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    startup_locality: Option<u8>,
    /// The firmware measures images and partition table into PCR 2.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    images_in_pcr_2: bool,
    /// Registers that are not known because the logs differ in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unstable: Vec<u8>,
    events: Vec<EventEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogEntry {
    name: String,
    sha256: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventEntry {
    pcr: u8,
    event_type: String,
    description: String,
    digests: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    at_exit: bool,
}

/// Writes a profile.
///
/// # Errors
/// Never in practice: what is written are texts and numbers.
pub fn to_profile(parts: &[PlatformPart]) -> Result<String, serde_json::Error> {
    let banks = parts.first().map(|part| part.banks.clone()).unwrap_or_default();
    let profile = Profile {
        schema_version: SCHEMA_VERSION.to_owned(),
        kind: KIND.to_owned(),
        registers: parts
            .first()
            .filter(|part| part.kind == RegisterKind::Mr)
            .map(|_| GUEST_REGISTERS.to_owned()),
        banks: banks.iter().map(|bank| bank.name().to_owned()).collect(),
        boots: parts.iter().map(boot_entry).collect(),
    };
    let mut text = serde_json::to_string_pretty(&profile)?;
    text.push('\n');
    Ok(text)
}

fn boot_entry(part: &PlatformPart) -> BootEntry {
    let log = |log: &LogName| LogEntry { name: log.name.clone(), sha256: log.sha256.clone() };
    BootEntry {
        logs: part.logs.iter().map(log).collect(),
        startup_locality: part.pcr0_start.map(Pcr0Start::last_byte),
        images_in_pcr_2: part.images_in_pcr_2,
        unstable: part.unstable.iter().map(|pcr| pcr.get()).collect(),
        events: part.events.iter().map(event_entry).collect(),
    }
}

fn event_entry(event: &PlatformEvent) -> EventEntry {
    let digest = |digest: Digest| (digest.algorithm().name().to_owned(), digest.to_string());
    EventEntry {
        pcr: event.pcr.get(),
        event_type: event.event_type.to_string(),
        description: event.description.clone(),
        digests: event.digests.iter().map(digest).collect(),
        data: event.data.as_ref().map(hex::encode),
        at_exit: event.at_exit,
    }
}

/// Reads a profile.
///
/// # Errors
/// [`ProfileError`].
pub fn from_profile(text: &[u8]) -> Result<Vec<PlatformPart>, ProfileError> {
    #[derive(Deserialize)]
    struct Head {
        schema_version: String,
        kind: String,
    }
    let head: Head = serde_json::from_slice(text)?;
    if head.kind != KIND || !head.schema_version.starts_with("1.") {
        return Err(ProfileError::Kind { kind: head.kind, version: head.schema_version });
    }
    let profile: Profile = serde_json::from_slice(text)?;
    let banks = read_banks(&profile.banks)?;
    let kind = match profile.registers.as_deref() {
        None => RegisterKind::Pcr,
        Some(GUEST_REGISTERS) => RegisterKind::Mr,
        Some(_) => return Err(member("registers".to_owned(), "is neither absent nor rtmr")),
    };
    let boots = profile.boots.into_iter().enumerate();
    let parts = boots
        .map(|(index, boot)| read_boot(boot, kind, &banks, &format!("boots[{index}]")))
        .collect::<Result<Vec<_>, _>>()?;
    if parts.is_empty() {
        return Err(member("boots".to_owned(), "is empty"));
    }
    Ok(parts)
}

fn member(place: String, problem: &'static str) -> ProfileError {
    ProfileError::Member { place, problem }
}

fn read_banks(names: &[String]) -> Result<Vec<HashAlgorithm>, ProfileError> {
    let known = |name: &String| HashAlgorithm::ALL.into_iter().find(|bank| bank.name() == name);
    let banks: Option<BTreeSet<HashAlgorithm>> = names.iter().map(known).collect();
    match banks {
        Some(banks) if !banks.is_empty() && banks.len() == names.len() => Ok(banks.into_iter().collect()),
        _ => Err(member("banks".to_owned(), "is not a list of different banks")),
    }
}

fn read_boot(
    boot: BootEntry,
    kind: RegisterKind,
    banks: &[HashAlgorithm],
    place: &str,
) -> Result<PlatformPart, ProfileError> {
    let pcr = |number: u8| PcrIndex::try_from(u32::from(number)).ok();
    let unstable = boot.unstable.iter().map(|number| pcr(*number)).collect::<Option<_>>();
    let events = boot.events.into_iter().enumerate();
    Ok(PlatformPart {
        kind,
        logs: boot.logs.into_iter().map(|log| LogName { name: log.name, sha256: log.sha256 }).collect(),
        banks: banks.to_vec(),
        events: events
            .map(|(index, event)| read_event(event, banks, &format!("{place}.events[{index}]")))
            .collect::<Result<_, _>>()?,
        images_in_pcr_2: boot.images_in_pcr_2,
        pcr0_start: boot.startup_locality.map(Pcr0Start::StartupLocality),
        unstable: unstable.ok_or_else(|| member(format!("{place}.unstable"), "names no PCR"))?,
    })
}

fn read_event(
    entry: EventEntry,
    banks: &[HashAlgorithm],
    place: &str,
) -> Result<PlatformEvent, ProfileError> {
    let pcr = PcrIndex::try_from(u32::from(entry.pcr)).ok().filter(|pcr| pcr.get() < 8);
    let event_type = EventType::from_name(&entry.event_type).or_else(|| {
        let digits = entry.event_type.strip_prefix("0x")?;
        u32::from_str_radix(digits, 16).ok().map(EventType)
    });
    let digest = |bank: &HashAlgorithm| {
        let bytes = hex::decode(entry.digests.get(bank.name())?).ok()?;
        Digest::from_bytes(*bank, &bytes)
    };
    let digests: Option<DigestSet> = banks.iter().map(digest).collect();
    let digests = digests.filter(|_| entry.digests.len() == banks.len());
    let data = entry.data.map(hex::decode).transpose();
    Ok(PlatformEvent {
        pcr: pcr.ok_or_else(|| member(format!("{place}.pcr"), "is not 0 to 7"))?,
        event_type: event_type.ok_or_else(|| member(format!("{place}.event_type"), "is no event type"))?,
        digests: digests
            .ok_or_else(|| member(format!("{place}.digests"), "is not one digest for each bank"))?,
        data: data.map_err(|_| member(format!("{place}.data"), "is not hexadecimal"))?,
        description: entry.description,
        at_exit: entry.at_exit,
    })
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    const PROFILE: &str = r#"{"schema_version":"1.0.0","kind":"premeasure-baseline","banks":["sha1"],"boots":[{
        "logs":[{"name":"l","sha256":""}],"startup_locality":3,"events":[{"pcr":0,"event_type":"0x00000008",
        "description":"d","digests":{"sha1":"9069ca78e7450a285173431b3e52c5c25299e473"},"data":"00000000"}]}]}"#;

    #[test]
    fn what_is_written_reads_the_same() {
        let parts = from_profile(PROFILE.as_bytes()).expect("a profile");
        assert_eq!(parts[0].events[0].event_type, EventType::S_CRTM_VERSION);
        assert_eq!(parts[0].pcr0_start, Some(Pcr0Start::StartupLocality(3)));
        let text = to_profile(&parts).expect("text");
        assert_eq!(from_profile(text.as_bytes()).expect("the same"), parts);
    }

    #[test]
    fn members_that_lie_are_named() {
        for (from, to, problem) in [
            ("1.0.0", "2.0.0", "version 2.0.0"),
            ("premeasure-baseline", "x", "kind 'x'"),
            ("[\"sha1\"]", "[\"sha1\",\"sha1\"]", "banks"),
            ("[\"sha1\"]", "[]", "banks"),
            ("\"pcr\":0", "\"pcr\":8", "boots[0].events[0].pcr"),
            ("\"pcr\":0", "\"pcr\":300", "not a baseline profile"),
            ("0x00000008", "EV_NOTHING", "boots[0].events[0].event_type"),
            ("9069", "90", "boots[0].events[0].digests"),
            ("00000000\"}", "0\"}", "boots[0].events[0].data"),
            ("\"startup_locality\":3", "\"unstable\":[24]", "boots[0].unstable"),
            ("\"name\":\"l\"", "\"nam\":\"l\"", "unknown field"),
        ] {
            let text = PROFILE.replacen(from, to, 1);
            assert_ne!(text, PROFILE, "{from}");
            let error = from_profile(text.as_bytes()).expect_err(to).to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
