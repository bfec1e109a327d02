//! What firmware may do otherwise: try a boot option twice, leave out a separator, be left twice, start the TPM elsewhere.

use super::Facts;
use super::deviation::{Deviation, Edit};
use crate::boot::Stage;
use crate::compare::causes::Code;
use crate::compare::model::Event;
use crate::compare::topic::Topic;
use crate::tcg::eventlog::Pcr0Start;
use crate::tcg::{Digest, PcrIndex};

const CALLING: &str = "Calling EFI Application from Boot Option";
const RETURNING: &str = "Returning from EFI Application from Boot Option";
const INVOCATION: &str = "Exit Boot Services Invocation";
const FAILURE: &str = "Exit Boot Services Returned with Failure";

/// Attempts of boot options that are tried for.
const ATTEMPTS: usize = 3;

pub(super) fn deviations(facts: &Facts<'_>) -> Vec<Deviation> {
    let mut all = separators(facts);
    all.extend(attempts(facts));
    all.extend(exits(facts));
    all.extend(localities(facts));
    all
}

/// PFP, section 3.3.2.2: four bytes of zeros or ones; 1 signals an error.
fn separators(facts: &Facts<'_>) -> Vec<Deviation> {
    let mut all = Vec::new();
    let separators = facts.all().filter(|(_, event)| event.topic == Topic::Separator);
    for (index, event) in separators {
        let pcr = event.pcr;
        let said = |what: &str| Deviation::new(Code::Separator, format!("the separator of PCR {pcr} {what}"));
        all.push(said("is missing").with(pcr, Edit::Remove(index)));
        let error = facts.hash(&1_u32.to_le_bytes());
        all.push(said("signals an error").with(pcr, Edit::Replace(index, error)));
        let ones = facts.hash(&[0xFF; 4]);
        all.push(said("is four bytes of ones").with(pcr, Edit::Replace(index, ones)));
        if let Some(digest) = event.digests.get(facts.bank) {
            all.push(said("is there twice").with(pcr, Edit::Before(index, vec![digest])));
        }
    }
    all
}

/// EDK2 `OnReadyToBoot`: from the second attempt on "Returning ..." and "Calling ..." are measured again, and no separator.
fn attempts(facts: &Facts<'_>) -> Vec<Deviation> {
    let pcr = PcrIndex::new(4);
    let is_image = |event: &Event| !matches!(event.topic, Topic::Separator | Topic::Action(_));
    let images: Vec<(usize, Option<Digest>)> = facts
        .of(4)
        .filter(|(_, event)| is_image(event))
        .map(|(index, event)| (index, event.digests.get(facts.bank)))
        .collect();
    let Some((first, _)) = images.first().copied() else { return Vec::new() };
    let again = [facts.hash(RETURNING.as_bytes()), facts.hash(CALLING.as_bytes())];
    let mut all = Vec::new();
    for count in 1..=ATTEMPTS {
        let detail = format!(
            "{count} earlier attempt{} to boot returned without starting anything that was measured",
            if count == 1 { "" } else { "s" }
        );
        let digests = again.iter().copied().cycle().take(count.saturating_mul(2)).collect();
        all.push(Deviation::new(Code::BootAttempt, detail).with(pcr, Edit::Before(first, digests)));
    }
    let distinct: std::collections::BTreeSet<Digest> =
        images.iter().filter_map(|(_, digest)| *digest).collect();
    for image in distinct {
        for count in 1..=2_usize {
            let mut digests = Vec::new();
            for _ in 0..count {
                digests.push(image);
                digests.extend(again);
            }
            let detail = "a program of this boot was started before, returned, and was started again";
            all.push(Deviation::new(Code::BootAttempt, detail).with(pcr, Edit::Before(first, digests)));
        }
    }
    all
}

/// EDK2 `OnExitBootServicesFailed`: each failing call adds two events.
fn exits(facts: &Facts<'_>) -> Vec<Deviation> {
    let pcr = PcrIndex::new(5);
    let of = |text: &str| -> Vec<usize> {
        let texts = facts.of(5).filter(|(_, event)| event.topic == Topic::Action(text.to_owned()));
        texts.map(|(index, _)| index).collect()
    };
    let (invocations, failures) = (of(INVOCATION), of(FAILURE));
    let mut all = Vec::new();
    let Some(first) = invocations.first().copied() else { return all };
    let failing = [facts.hash(INVOCATION.as_bytes()), facts.hash(FAILURE.as_bytes())];
    for count in 1..=2_usize {
        let digests = failing.iter().copied().cycle().take(count.saturating_mul(2)).collect();
        let detail =
            format!("{count} further call{} of ExitBootServices failed", if count == 1 { "" } else { "s" });
        all.push(Deviation::new(Code::ExitBootServices, detail).with(pcr, Edit::Before(first, digests)));
    }
    if let Some(failure) = failures.first() {
        let detail = "the first call of ExitBootServices succeeded";
        let without = Deviation::new(Code::ExitBootServices, detail);
        all.push(without.with(pcr, Edit::Remove(first)).with(pcr, Edit::Remove(*failure)));
    }
    let whole = facts
        .of(5)
        .filter(|(_, event)| matches!(&event.topic, Topic::Action(text) if text.starts_with("Exit Boot")));
    let none = Deviation::new(Code::ExitBootServices, "the calls of ExitBootServices were not measured");
    all.push(whole.fold(none, |none, (index, _)| none.with(pcr, Edit::Remove(index))));
    all
}

/// PFP, section 10.4.5.3: the locality from which the TPM was started is in the last byte of PCR 0.
fn localities(facts: &Facts<'_>) -> Vec<Deviation> {
    let pcr = PcrIndex::new(0);
    let of = |locality: u8| {
        let start = Pcr0Start::StartupLocality(locality).value(facts.bank);
        let detail = format!("the TPM was started from locality {locality}");
        Deviation::new(Code::Locality, detail).with(pcr, Edit::Start(start))
    };
    [0, 3, 4].map(of).to_vec()
}

/// For registers that nothing else explains: one event of the boot is missing, or was measured twice.
pub(super) fn single(facts: &Facts<'_>) -> Vec<Deviation> {
    let mut all = Vec::new();
    for (index, event) in
        facts.all().filter(|(_, event)| event.stage.is_none_or(|stage| stage == Stage::default()))
    {
        let missing = Deviation::new(Code::NotMeasured, format!("{} was not measured", event.what)).ranked(3);
        all.push(missing.with(event.pcr, Edit::Remove(index)));
        if let Some(digest) = event.digests.get(facts.bank) {
            let twice =
                Deviation::new(Code::Additional, format!("{} was measured twice", event.what)).ranked(4);
            all.push(twice.with(event.pcr, Edit::Before(index, vec![digest])));
        }
    }
    all
}
