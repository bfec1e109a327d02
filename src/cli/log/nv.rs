//! NvPCRs of a log: what `log replay` says of them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::output::{CAUTION, FAINT, STRONG, styled};
use crate::cli::table::{Align, Cell, Table};
use crate::tcg::nvpcr::{self, NvPcr};
use crate::tcg::timeline::{BootLog, LogFormat, timeline};

/// NV indices by their handle.
pub(super) type Indices = BTreeMap<String, Index>;

/// One NV index.
#[derive(Serialize)]
pub(super) struct Index {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    records: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bank: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<String>,
}

/// The NV indices that logs extend. Firmware and IMA have none.
pub(super) fn nv_indices(logs: &[BootLog<'_>]) -> Vec<NvPcr> {
    let may_have = |log: &BootLog<'_>| {
        let canonical = [LogFormat::CelJson, LogFormat::CelCbor, LogFormat::CelTlv, LogFormat::Systemd];
        canonical.contains(&log.format)
    };
    if !logs.iter().any(may_have) {
        return Vec::new();
    }
    nvpcr::replay(timeline(logs).map(|entry| entry.record))
}

pub(super) fn json(indices: &[NvPcr]) -> Indices {
    indices.iter().map(|index| (format!("{:#010x}", index.index), Index::of(index))).collect()
}

impl Index {
    fn of(index: &NvPcr) -> Self {
        Self {
            name: index.name.clone(),
            records: index.records,
            bank: index.value.ok().map(|value| value.algorithm().name()),
            value: index.value.ok().map(|value| value.to_string()),
            unknown: index.value.err().map(|why| why.to_string()),
        }
    }
}

/// The NV indices for people; nothing when there are none.
pub(super) fn table(indices: &[NvPcr]) -> String {
    if indices.is_empty() {
        return String::new();
    }
    let mut table = Table::new([("", Align::Left), ("", Align::Left), ("", Align::Left), ("", Align::Left)]);
    for index in indices {
        let (bank, value) = match index.value {
            Ok(value) => (Cell::from(value.algorithm().name()), Cell::from(value.to_string())),
            Err(why) => (Cell::styled("unknown", CAUTION), Cell::from(why.to_string())),
        };
        let name = Cell::styled(index.name.as_deref().unwrap_or_default(), FAINT);
        table.row([Cell::from(format!("{:#010x}", index.index)), name, bank, value]);
    }
    format!("{}\n{}", styled(STRONG, "NV indices"), table.render(2))
}
