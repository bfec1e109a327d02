//! A comparison as a page.

use super::sides::{self, list};
use super::text::Text;
use super::view::{Banner, Boot, Cause, Fact, First, Mark, Page, Register, Tone, Value};
use super::{MAX_EVENTS, sides::Names};
use crate::compare::{BankVerdict, Comparison, Kind, PcrVerdict, Verdict};

const NAMES: Names = ("expected", "observed");

/// The page of `compare --html`.
#[must_use]
pub fn comparison(comparison: &Comparison) -> Page {
    Page {
        command: "premeasure compare",
        title: format!("{} against {}", comparison.expected.name, comparison.observed.names.join(", "))
            .into(),
        banner: banner(comparison),
        facts: facts(comparison),
        first: first(comparison),
        causes_title: "Why",
        causes_columns: ("Cause", "Finding"),
        flag: "differ",
        causes: causes(comparison),
        registers_title: "PCRs",
        boots: vec![boot(comparison)],
        lists: Vec::new(),
        notes: comparison.notes.iter().map(Text::from).collect(),
        json_name: "comparison.json",
    }
}

fn banner(comparison: &Comparison) -> Banner {
    let with = |verdict: Verdict| {
        let pcrs = comparison.pcrs.iter().filter(move |pcr| pcr.verdict == verdict);
        pcrs.map(|pcr| pcr.index).collect::<Vec<_>>()
    };
    let differing = with(Verdict::Differs);
    let mark = match (comparison.equal, differing.len()) {
        (true, 0) => Mark::new(Tone::Good, "✓", "Every predicted PCR matches"),
        (true, _) => {
            Mark::new(Tone::Caution, "!", format!("PCR {}: the policy only warns", list(differing.iter())))
        }
        (false, 1) => Mark::new(Tone::Bad, "✗", format!("PCR {} differs", list(differing.iter()))),
        (false, _) => Mark::new(Tone::Bad, "✗", format!("PCR {} differ", list(differing.iter()))),
    };
    let words = [
        (with(Verdict::Match), "matching"),
        (with(Verdict::ExtendedLater), "extended later"),
        (with(Verdict::NotPredicted).into_iter().filter(|pcr| pcr.get() < 16).collect(), "not predicted"),
    ];
    let words = words.iter().filter(|(pcrs, _)| !pcrs.is_empty());
    let words: Vec<String> = words.map(|(pcrs, word)| format!("{word}: PCR {}", list(pcrs.iter()))).collect();
    Banner { mark, detail: words.join("; ").into() }
}

fn facts(comparison: &Comparison) -> Vec<Fact> {
    let (ours, theirs) = (&comparison.expected, &comparison.observed);
    let mut facts = vec![Fact::new("Expected", format!("{} ({})", ours.name, kind(ours.kind)))];
    if !ours.variant.is_empty() {
        let nearest = match ours.variants {
            0 | 1 => ours.variant.clone(),
            count => format!("{}, the nearest of {count}", ours.variant),
        };
        facts.push(Fact::new("Variant", nearest));
    }
    let formats =
        if theirs.formats.is_empty() { String::new() } else { format!(": {}", theirs.formats.join(", ")) };
    let observed = format!("{} ({}{formats})", theirs.names.join(", "), kind(theirs.kind));
    facts.push(Fact::new("Observed", observed));
    let when = if comparison.stage_fixed { "exactly" } else { "or what is known to come later" };
    facts.push(Fact::new("Values at", format!("{}, {when}", comparison.stage)));
    facts.push(Fact::new("Events aligned in", comparison.bank));
    facts
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Prediction => "prediction",
        Kind::Policy => "policy",
        Kind::Log => "event log",
        Kind::Registers => "PCR values",
        Kind::RegistersAndLog => "PCR values and event log",
    }
}

fn first(comparison: &Comparison) -> Option<First> {
    let first = comparison.first_divergence.as_ref()?;
    let row = comparison.events.get(first.event);
    Some(First {
        register: format!("PCR {}", first.pcr).into(),
        what: first.what.as_str().into(),
        changes: row.into_iter().flat_map(|row| &row.changes).map(sides::change).collect(),
        event: (first.event < MAX_EVENTS).then(|| format!("b0-e{}", sides::number(first.event))),
    })
}

fn causes(comparison: &Comparison) -> Vec<Cause> {
    let known = comparison.causes.iter().map(|cause| Cause {
        name: cause.code.name().into(),
        registers: format!("PCR {}", list(cause.pcrs.iter())).into(),
        detail: cause.detail.as_str().into(),
        words: Vec::new(),
        mark: match cause.explains_exactly {
            true => Mark::new(Tone::Good, "✓", "reproduces the value"),
            false => Mark::new(Tone::Caution, "~", "does not explain the value alone"),
        },
        meaning: cause.code.meaning().into(),
    });
    let open = (!comparison.unexplained.is_empty()).then(|| Cause {
        name: "not explained".into(),
        registers: format!("PCR {}", list(comparison.unexplained.iter())).into(),
        detail: match comparison.events.is_empty() {
            true => {
                "Nothing that was tried gives the observed value. The machine's event log would tell more."
            }
            false => "Nothing that was tried gives the observed value.",
        }
        .into(),
        words: Vec::new(),
        mark: Mark::new(Tone::Bad, "✗", "not explained"),
        meaning: Text::default(),
    });
    known.chain(open).collect()
}

fn boot(comparison: &Comparison) -> Boot {
    let shown = comparison.pcrs.iter().filter(|pcr| {
        pcr.index.get() < 16 || !matches!(pcr.verdict, Verdict::NotPredicted | Verdict::NotObserved)
    });
    let boot = Boot {
        registers: shown.map(register).collect(),
        remark: match comparison.events.is_empty() {
            true => "There are no events: one of the sides has values only.".into(),
            false => Text::default(),
        },
        open: true,
        ..Boot::default()
    };
    boot.with_events(sides::events(&comparison.events, NAMES), 0, MAX_EVENTS)
}

fn register(pcr: &PcrVerdict) -> Register {
    let mark = match pcr.verdict {
        Verdict::Match => Mark::new(Tone::Good, "✓", "match"),
        Verdict::ExtendedLater => Mark::new(Tone::Caution, "»", "extended later"),
        Verdict::Differs if pcr.warn_only => Mark::new(Tone::Caution, "!", "differs, only warned of"),
        Verdict::Differs => Mark::new(Tone::Bad, "✗", "differs"),
        Verdict::NotPredicted => Mark::new(Tone::Plain, "?", "not predicted"),
        Verdict::NotObserved => Mark::new(Tone::Plain, "?", "not observed"),
    };
    let detail = match (pcr.later_stage, pcr.later_words.as_slice()) {
        (Some(stage), _) => format!("at {stage}"),
        (None, []) => String::new(),
        (None, words) => format!("by {}", words.join(", then ")),
    };
    let gaps = pcr
        .gaps
        .iter()
        .flat_map(|gap| [Fact::new("not known", &gap.reason), Fact::new("would settle it", &gap.remedy)]);
    let assumed = Some(Fact::code("taken for granted", pcr.assumes.join(", ")));
    Register {
        label: format!("PCR {}", pcr.index).into(),
        name: pcr.name.into(),
        mark,
        detail: detail.into(),
        counts: Vec::new(),
        values: pcr.banks.iter().flat_map(values).collect(),
        pairs: true,
        notes: gaps.chain(assumed).filter(|fact| !fact.value.is_empty()).collect(),
    }
}

fn values(bank: &BankVerdict) -> Vec<Value> {
    let value = |what: &str, value: &Option<String>| {
        let value = value.as_ref()?;
        Some(Value { bank: bank.bank, what: what.into(), value: value.into() })
    };
    if bank.expected == bank.observed {
        return value("expected and observed", &bank.observed).into_iter().collect();
    }
    [value(NAMES.0, &bank.expected), value(NAMES.1, &bank.observed)].into_iter().flatten().collect()
}
