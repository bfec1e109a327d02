//! Trusted Execution Clusters: the label `org.coreos.pcrs` of one image, and the operator's ConfigMap of all approved images.
//!
//! The operator ignores the values, takes the events and computes values again (`compute-pcrs-lib`). Of several images it
//! combines each two: an update may have replaced the kernel and not yet the boot loader. Each value then is acceptable for
//! its PCR, whatever the other PCRs are.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{
    Component, ImportError, PolicyValues, Record, components, config_map, content, digest_of, json, pcr,
    per_pcr,
};
use crate::tcg::{Digest, HashAlgorithm, PcrIndex, PcrValues};

const FORMAT: &str = "tec";

/// Most images of a ConfigMap: each two are combined.
const MAX_IMAGES: usize = 128;

/// The parts of a boot, whose events come from one image each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Linux,
    BootLoader,
    SecureBoot,
    MokVariables,
    Uki,
}

/// The words of the closed enumeration `TPMEventID` in its order, with the parts that an event depends on (`TPMEventID::groups`).
const WORDS: &[(&str, &[Part])] = &[
    ("Pcr4EfiCall", &[]),
    ("Pcr4Separator", &[]),
    ("Pcr4Shim", &[Part::BootLoader]),
    ("Pcr4Grub", &[Part::BootLoader]),
    ("Pcr4Vmlinuz", &[Part::Linux]),
    ("Pcr7SecureBoot", &[Part::SecureBoot]),
    ("Pcr7Pk", &[Part::SecureBoot]),
    ("Pcr7Kek", &[Part::SecureBoot]),
    ("Pcr7Db", &[Part::SecureBoot]),
    ("Pcr7Dbx", &[Part::SecureBoot]),
    ("Pcr7Separator", &[]),
    ("Pcr7ShimCert", &[Part::SecureBoot, Part::BootLoader]),
    ("Pcr7SbatLevel", &[Part::SecureBoot, Part::BootLoader]),
    ("Pcr7GrubDbCert", &[Part::SecureBoot, Part::BootLoader]),
    ("Pcr7GrubVendorDbCert", &[Part::SecureBoot, Part::BootLoader]),
    ("Pcr7GrubMokListCert", &[Part::SecureBoot, Part::BootLoader, Part::MokVariables]),
    ("Pcr11Linux", &[Part::Uki]),
    ("Pcr11LinuxContent", &[Part::Uki]),
    ("Pcr11Osrel", &[Part::Uki]),
    ("Pcr11OsrelContent", &[Part::Uki]),
    ("Pcr11Cmdline", &[Part::Uki]),
    ("Pcr11CmdlineContent", &[Part::Uki]),
    ("Pcr11Initrd", &[Part::Uki]),
    ("Pcr11InitrdContent", &[Part::Uki]),
    ("Pcr11Uname", &[Part::Uki]),
    ("Pcr11UnameContent", &[Part::Uki]),
    ("Pcr11Sbat", &[Part::Uki]),
    ("Pcr11SbatContent", &[Part::Uki]),
    ("Pcr14MokList", &[Part::MokVariables]),
    ("Pcr14MokListX", &[Part::MokVariables]),
    ("Pcr14MokListTrusted", &[Part::MokVariables]),
];

#[derive(Deserialize)]
struct Label {
    pcrs: Vec<Pcr>,
}

#[derive(Deserialize)]
struct Pcr {
    id: u32,
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    pcr: u32,
    hash: String,
    id: String,
}

/// An image's events in the label's order, each with its place among [`WORDS`].
type Events = Vec<(usize, Record)>;

/// The label of an image, or the ConfigMap `image-pcrs`.
pub(super) fn read(bytes: &[u8]) -> Result<PolicyValues, ImportError> {
    const KEY: &str = "image-pcrs.json";
    if config_map::entry(bytes, KEY).is_none() {
        return one_image(events(&json(FORMAT, bytes)?)?);
    }
    let images: BTreeMap<String, Label> = config_map::json_entry(FORMAT, bytes, KEY)?;
    if images.len() > MAX_IMAGES {
        return Err(content(
            FORMAT,
            KEY,
            format!("has {} images, at most {MAX_IMAGES} are read", images.len()),
        ));
    }
    let mut images = images.values().map(events).collect::<Result<Vec<_>, _>>()?;
    match images.len() {
        1 => one_image(images.pop().unwrap_or_default()),
        _ => per_pcr(FORMAT, combined(&images)),
    }
}

fn one_image(events: Events) -> Result<PolicyValues, ImportError> {
    let records = events.into_iter().map(|(_, record)| record).collect();
    components(FORMAT, vec![Component { name: String::new(), variants: vec![records], optional: false }])
}

/// One unknown word makes the operator refuse the whole label.
fn events(label: &Label) -> Result<Events, ImportError> {
    let mut list = Vec::new();
    for (of, event) in label.pcrs.iter().flat_map(|of| of.events.iter().map(move |event| (of, event))) {
        let place = format!("pcrs {} {}", of.id, event.id);
        if event.pcr != of.id {
            return Err(content(FORMAT, place, format!("is of PCR {}", event.pcr)));
        }
        let word = WORDS.iter().position(|(word, _)| *word == event.id);
        let word =
            word.ok_or_else(|| content(FORMAT, place.as_str(), "is no word of the label's closed list"))?;
        let digests = [digest_of(FORMAT, &place, "sha256", &event.hash)?].into_iter().collect();
        let pcr = pcr(FORMAT, &place, &event.pcr.to_string())?;
        list.push((word, Record { pcr, digests, description: event.id.clone() }));
    }
    Ok(list)
}

/// What each PCR may be, over all combinations of each two images.
fn combined(images: &[Events]) -> BTreeMap<PcrIndex, BTreeSet<Digest>> {
    // Of several events with one word the last one counts.
    let by_word = |events: &Events| events.iter().cloned().collect::<BTreeMap<usize, Record>>();
    let images: Vec<BTreeMap<usize, Record>> = images.iter().map(by_word).collect();
    let mut lists: BTreeMap<PcrIndex, BTreeSet<Digest>> = BTreeMap::new();
    for (number, one) in images.iter().enumerate() {
        for other in images.iter().skip(number.saturating_add(1)) {
            for boot in combinations([one, other]) {
                let mut held = PcrValues::default();
                let mut extended = BTreeSet::new();
                for record in boot {
                    if let Some(digest) = record.digests.get(HashAlgorithm::Sha256) {
                        held.extend(record.pcr, digest);
                        extended.insert(record.pcr);
                    }
                }
                for pcr in extended {
                    lists.entry(pcr).or_default().extend(held.get(HashAlgorithm::Sha256, pcr));
                }
            }
        }
    }
    lists
}

/// A boot under way: which of the two images each part comes from, and the events so far.
#[derive(Default, Clone)]
struct Way<'r> {
    parts: BTreeMap<Part, usize>,
    events: Vec<&'r Record>,
}

/// Every boot that takes each part from one of two images. An event that only one of them has is taken where its parts are not
/// the other's.
fn combinations<'r>(images: [&'r BTreeMap<usize, Record>; 2]) -> Vec<Vec<&'r Record>> {
    let mut ways = vec![Way::default()];
    for (number, (_, parts)) in WORDS.iter().enumerate() {
        let [one, other] = images.map(|image| image.get(&number));
        let same = one.is_some() && one == other;
        let mut next = Vec::new();
        for way in ways {
            let takes = |from: usize, event: Option<&'r Record>| -> Option<Way<'r>> {
                let event = event?;
                let free = parts.iter().all(|part| way.parts.get(part).is_none_or(|image| *image == from));
                free.then(|| {
                    let mut way = way.clone();
                    way.events.push(event);
                    // An event that is the same in both leaves open whose part it is.
                    way.parts.extend(parts.iter().filter(|_| !same).map(|part| (*part, from)));
                    way
                })
            };
            if same {
                let mut way = way.clone();
                way.events.extend(one);
                next.push(way);
                continue;
            }
            let taken: Vec<Way<'r>> = [takes(0, one), takes(1, other)].into_iter().flatten().collect();
            match (taken.is_empty(), one.is_some() && other.is_some()) {
                (false, _) => next.extend(taken),
                // Both have the event, and each conflicts with a part that the other one gave: no such boot.
                (true, true) => {}
                (true, false) => next.push(way),
            }
        }
        ways = next;
    }
    ways.into_iter().map(|way| way.events).collect()
}
