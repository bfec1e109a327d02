//! Digests that the image's files have otherwise: padded by signing tools, or with another `.sbat`.

use crate::boot::{BootChain, NamedImage};
use crate::compare::causes::Code;
use crate::compare::hypotheses::deviation::Deviation;
use crate::compare::model::{Candidate, Event};
use crate::compare::topic::Topic;
use crate::hashing::{DigestPlan, Segment, StreamId};
use crate::pe::authenticode_segments_padded;
use crate::tcg::PcrIndex;
use crate::uki::{MAX_TEXT, SectionLookup, SectionSet};

/// A deviation whose digest is still to be computed: the register, and the event that it replaces.
pub(super) type Pending = ((Deviation, PcrIndex, usize), StreamId);

/// Signing tools pad a file to eight bytes before they hash it (Microsoft's "Windows Authenticode Portable Executable
/// Signature Format"; sbsign, pesign), and firmware hashes what is there.
pub(super) fn padded(chain: &BootChain, base: &Candidate, plan: &mut DigestPlan) -> Vec<Pending> {
    let addons = chain.addons.iter().map(|(_, addon)| addon);
    let images = chain.loader.iter().chain([&chain.uki]).chain(addons).chain(&chain.drivers);
    images.filter_map(|image| padded_image(image, base, plan)).collect()
}

fn padded_image(image: &NamedImage, base: &Candidate, plan: &mut DigestPlan) -> Option<Pending> {
    let length = image.image.file.len();
    let padding = length.checked_next_multiple_of(8)?.checked_sub(length).filter(|padding| *padding > 0)?;
    let segments = authenticode_segments_padded(&image.image, padding).ok()?;
    let is_it = |event: &Event| {
        let whole = event.origin.as_ref().filter(|origin| origin.section.is_none());
        matches!(event.pcr.get(), 2 | 4) && whole.is_some_and(|origin| origin.files == [image.name.clone()])
    };
    let index = base.events.as_ref()?.iter().position(is_it)?;
    let pcr = base.events.as_ref()?.get(index)?.pcr;
    let detail = format!("the image digest of {} is that of the file padded to eight bytes", image.name);
    Some(((Deviation::new(Code::PaddedDigest, detail), pcr, index), plan.add(segments)))
}

/// ukify 254 to 257 put a NUL behind the text of `.sbat`; signatures were made without.
pub(super) fn sbat(chain: &BootChain, base: &Candidate, plan: &mut DigestPlan) -> Vec<Pending> {
    let sections = SectionSet::with_profile(&chain.uki.image, SectionLookup::FirstExact, 0);
    let Ok(Some(section)) = sections.as_ref().map_or(Ok(None), |sections| sections.get(".sbat")) else {
        return Vec::new();
    };
    let Ok(bytes) = section.read(MAX_TEXT) else { return Vec::new() };
    let events = base.events.as_deref().unwrap_or_default();
    let is_content = |event: &Event| event.topic == Topic::Section(".sbat".to_owned());
    let Some(index) = events.iter().position(is_content) else { return Vec::new() };
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
    let text = bytes.get(..end).unwrap_or_default();
    let forms = [
        ("without the zeros behind its text", text.to_vec()),
        ("with one zero behind its text", [text, &[0]].concat()),
        ("without its last newline", text.strip_suffix(b"\n").unwrap_or(text).to_vec()),
    ];
    let others = forms.into_iter().filter(|(_, form)| *form != bytes);
    others
        .map(|(how, form)| {
            let detail = format!(".sbat was measured {how}: signing tools put another one into the image");
            let deviation = Deviation::new(Code::Sbat, detail);
            ((deviation, PcrIndex::new(11), index), plan.add([Segment::bytes(form)]))
        })
        .collect()
}
