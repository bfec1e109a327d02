//! `premeasure log show`: every event, one line or everything.

use std::process::ExitCode;

use clap::Args;

use super::against::{Comparison, compare};
use super::filter::known_banks;
use super::input::{AgainstArgs, InputArgs};
use super::{filter, show_html, show_json, show_text};
use crate::cli::html::HtmlArgs;
use crate::cli::output::EXIT_DIFFERS;
use crate::report::MAX_JSON;
use crate::tcg::cel::{Content, Management};
use crate::tcg::event_data::{Context, Coverage, Decoded, Field, Rule, Value, coverage, decode};
use crate::tcg::eventlog::Register;
use crate::tcg::timeline::{BootLog, TimelineRecord, check_mergeable, replay, timeline};
use crate::tcg::{AlgorithmId, HashAlgorithm, ima};

/// Show the events of logs.
///
/// Each event, and with --verbose each field, is marked: `verified` when its bytes hash to the digest of the event,
/// `claimed` when nothing but the writer's word stands for it. A digest itself is only as good as a replay against
/// the machine's registers: with --against each event says whether its PCR vouches for its digest.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  premeasure log show /sys/kernel/security/tpm0/binary_bios_measurements
  premeasure log show eventlog.bin --pcr 4,7 --verbose
  premeasure log show eventlog.bin --against pcrs.json
  premeasure log show eventlog.bin --html report.html
  premeasure log show eventlog.bin tpm2-measure.log --type EV_IPL,systemd --json")]
pub(super) struct ShowArgs {
    #[command(flatten)]
    input: InputArgs,

    /// Only events of these PCRs (or measurement registers, by index)
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(0..=31))]
    pcr: Vec<u32>,

    /// Only events of these types: names as EV_SEPARATOR, also without EV_ or EV_EFI_, numbers, or content types of
    /// canonical logs as `systemd` and `ima_template`
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    types: Vec<String>,

    #[command(flatten)]
    against: AgainstArgs,

    /// Everything in each event
    #[arg(long, short)]
    verbose: bool,

    /// As JSON (schemas/log-show.schema.json)
    #[arg(long, conflicts_with = "verbose")]
    json: bool,

    #[command(flatten)]
    html: HtmlArgs,

    /// Whose digests are shown and tested [default: sha256, or the first bank that the log has]
    #[arg(long, value_name = "BANK")]
    bank: Option<HashAlgorithm>,
}

pub(super) fn run(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let files = args.input.read()?;
    let logs = args.input.parse(&files)?;
    check_mergeable(&logs.logs)?;
    known_banks(&logs.logs, args.bank.as_slice())?;
    filter::known_types(&logs.logs, &args.types)?;
    let comparison = args.compare(&logs.logs)?;
    let bank = args.bank.or_else(|| usual_bank(&logs.logs, comparison.as_ref()));
    let records = || timeline(&logs.logs).filter(|record| args.wants(record));
    let events = || records().map(|record| Shown::new(record, bank, comparison.as_ref()));
    args.html.write(|| {
        let mut json = show_json::Bounded::new(MAX_JSON);
        show_json::write(&mut json, &logs, events())?;
        Ok((show_html::page(&logs, events)?, json.into_text()?))
    })?;
    if args.json {
        show_json::print(&logs, events())?;
    } else if args.verbose {
        show_text::print_verbose(&logs, events())?;
    } else {
        show_text::print_table(&logs, events(), comparison.is_some())?;
    }
    let differs = comparison.is_some_and(|comparison| comparison.differs());
    Ok(logs.report(if differs { ExitCode::from(EXIT_DIFFERS) } else { ExitCode::SUCCESS }))
}

impl ShowArgs {
    fn compare(&self, logs: &[BootLog<'_>]) -> anyhow::Result<Option<Comparison>> {
        let Some((given, machine_id)) = self.against.values()? else { return Ok(None) };
        let outcome = replay(logs)?;
        Ok(Some(compare(logs, &outcome, &given, machine_id.as_deref(), &[])))
    }

    fn wants(&self, record: &TimelineRecord<'_>) -> bool {
        let register = self.pcr.is_empty()
            || (!matches!(record.record.register, Register::Nv(_))
                && self.pcr.contains(&record.record.register.index()));
        let matches = |wanted: &String| filter::is_of_type(&record.record, wanted);
        register && (self.types.is_empty() || self.types.iter().any(matches))
    }
}

/// The bank that most is decided by: SHA-256 where the log has it, and where registers are given, one of theirs.
fn usual_bank(logs: &[BootLog<'_>], comparison: Option<&Comparison>) -> Option<HashAlgorithm> {
    let in_logs = || logs.iter().flat_map(BootLog::banks);
    let given: Vec<HashAlgorithm> = comparison.into_iter().flat_map(Comparison::banks).collect();
    let banks: Vec<HashAlgorithm> = if given.is_empty() { in_logs().collect() } else { given };
    let preferred =
        [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512, HashAlgorithm::Sm3_256];
    preferred.into_iter().find(|bank| banks.contains(bank)).or_else(|| banks.first().copied())
}

/// An event, decoded.
pub(super) struct Shown<'l> {
    pub(super) record: TimelineRecord<'l>,
    pub(super) bank: Option<HashAlgorithm>,
    pub(super) summary: String,
    pub(super) problem: Option<String>,
    pub(super) fields: Vec<Field>,
    pub(super) coverage: Coverage,
    /// Whether its register's value vouches for its digest; `None` when no value was given, or nothing was extended.
    pub(super) vouched: Option<bool>,
}

/// How much of an event its digest proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    Verified,
    Partly,
    Claimed,
}

impl Trust {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Partly => "partly",
            Self::Claimed => "claimed",
        }
    }
}

impl<'l> Shown<'l> {
    fn new(record: TimelineRecord<'l>, bank: Option<HashAlgorithm>, comparison: Option<&Comparison>) -> Self {
        let vouched =
            bank.zip(comparison).filter(|_| record.record.is_extended()).and_then(|(bank, comparison)| {
                record.record.digests.get(bank)?;
                comparison.vouches(bank, record.record.register)
            });
        let digest = bank.and_then(|bank| record.record.digests.get(bank));
        let nothing = Coverage { rule: Rule::Nothing, range: 0..0 };
        let (decoded, coverage) = match &record.record.content {
            Content::PcClient { event_type, data } => {
                let context = Context { data_offset: record.record.offset, uintn: record.uintn };
                let found = digest.map(|digest| coverage(*event_type, data, digest, record.uintn));
                (describe(decode(*event_type, data, context)), found.unwrap_or(nothing))
            }
            other => other_content(other, digest),
        };
        let (summary, problem, fields) = decoded;
        Self { record, bank, summary, problem, fields, coverage, vouched }
    }

    /// How much of the event is proven.
    pub(super) fn trust(&self) -> Trust {
        match self.coverage.rule {
            Rule::Nothing => Trust::Claimed,
            Rule::AsciiForm if self.coverage.range.end < self.data_length() => Trust::Partly,
            Rule::WholeData | Rule::AsciiForm | Rule::WithTerminator => Trust::Verified,
            _ => Trust::Partly,
        }
    }

    fn data_length(&self) -> usize {
        match &self.record.record.content {
            Content::PcClient { data, .. } => data.len(),
            _ => 0,
        }
    }

    /// How much of a field is proven: of one with parts, what is of them.
    pub(super) fn trust_of(&self, field: &Field) -> Trust {
        let parts = match &field.value {
            Value::Fields(parts) if !parts.is_empty() => parts,
            _ if self.coverage.covers(&field.range) => return Trust::Verified,
            _ => return Trust::Claimed,
        };
        let mut trusts = parts.iter().map(|part| self.trust_of(part));
        let first = trusts.next().unwrap_or(Trust::Claimed);
        if trusts.all(|trust| trust == first) { first } else { Trust::Partly }
    }

    /// Whether the value of the event's register proves its digest of this algorithm.
    pub(super) fn proves(&self, algorithm: AlgorithmId) -> bool {
        self.vouched == Some(true) && self.bank.map(HashAlgorithm::id) == Some(algorithm)
    }

    /// The type, as a word.
    pub(super) fn type_name(&self) -> String {
        match self.record.record.event_type() {
            Some(event_type) => event_type.to_string(),
            None => self.record.record.content_type().to_owned(),
        }
    }
}

type Described = (String, Option<String>, Vec<Field>);

fn describe(decoded: Decoded<'_>) -> Described {
    let problem = decoded.problem.map(|problem| problem.to_string());
    let summary = match &problem {
        Some(problem) => format!("undecodable: {problem}"),
        None => decoded.data.summary(),
    };
    (summary, problem, decoded.data.fields())
}

fn other_content(content: &Content<'_>, digest: Option<crate::tcg::Digest>) -> (Described, Coverage) {
    use crate::tcg::Digest;
    let nothing = Coverage { rule: Rule::Nothing, range: 0..0 };
    let hashed = |bytes: &[u8]| {
        let proven = digest.is_some_and(|digest| Digest::of(digest.algorithm(), bytes) == digest);
        if proven { Coverage { rule: Rule::WholeData, range: 0..1 } } else { nothing.clone() }
    };
    // One place for what was measured, another for what stands beside it.
    let measured = |name: &'static str, text: &str| Field::new(name, Value::text(text), 0..1);
    let beside = |name: &'static str, text: String| Field::new(name, Value::Text(text), 1..2);
    match content {
        Content::Systemd(systemd) => {
            let mut fields = vec![measured("string", &systemd.string)];
            let kind = systemd.event_type.clone().unwrap_or_default();
            fields.push(beside("eventType", kind.clone()));
            fields.extend(systemd.nv_index_name.clone().map(|name| beside("nvIndexName", name)));
            fields.extend(systemd.boot_id.clone().map(|id| beside("bootId", id)));
            fields.extend(systemd.timestamp.map(|time| beside("timestamp", time.to_string())));
            let summary = match &systemd.nv_index_name {
                Some(name) => format!("{kind} ({name}): {}", systemd.string),
                None => format!("{kind}: {}", systemd.string),
            };
            ((summary, None, fields), hashed(systemd.string.as_bytes()))
        }
        Content::ImaTemplate { name, data } => {
            let (file, hash) =
                ima::describe(name, data).unwrap_or_else(|| (String::new(), hex::encode(data)));
            let fields =
                vec![measured("n-ng", &file), measured("d-ng", &hash), beside("template", name.to_string())];
            ((format!("{file} {hash}"), None, fields), hashed(data))
        }
        Content::Management(management) => {
            let (name, value) = management_words(*management);
            ((format!("{name} {value}").trim_end().to_owned(), None, vec![beside(name, value)]), nothing)
        }
        Content::Other(_, bytes) => {
            let text = crate::uefi::text::guess(bytes).unwrap_or_else(|| hex::encode(bytes));
            ((text.clone(), None, vec![beside("content", text)]), nothing)
        }
        Content::PcClient { .. } => ((String::new(), None, Vec::new()), nothing),
    }
}

/// A record about the log itself: what it is, and its value.
fn management_words(management: Management) -> (&'static str, String) {
    match management {
        Management::Version { major, minor } => ("cel_version", format!("{major}.{minor}")),
        Management::FirmwareEnd => ("firmware_end", String::new()),
        Management::Timestamp(time) => ("cel_timestamp", time.to_string()),
        Management::StateTransition(state) => {
            let name = match state {
                0 => "suspend",
                1 => "hibernate",
                2 => "kexec",
                _ => return ("state_trans", state.to_string()),
            };
            ("state_trans", name.to_owned())
        }
    }
}
