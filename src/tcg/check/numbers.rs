//! `RECNUM` of canonical logs: counts the records of each register (CEL 1.1, section 4.1).

use crate::tcg::cel::Numbering;

use super::{Facts, Finding, Findings, Level};

pub(super) fn check(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    // CEL 1.0 left it open whether a number counts the records of a register or of the log.
    let mut all = facts.events.iter().zip(0_u64..);
    if all.all(|(record, number)| record.recnum.is_none_or(|recnum| recnum == number)) {
        return;
    }
    let mut numbering = Numbering::default();
    for (record, number) in facts.events.iter().zip(0_u64..) {
        let Some(recnum) = record.recnum else { continue };
        let expected = numbering.next(record.register);
        if recnum == expected {
            continue;
        }
        // The numbers behind a gap are no gaps of their own.
        numbering.set(record.register, recnum.saturating_add(1));
        let (code, text) = if recnum > expected {
            (
                "recnum-gap",
                format!("RECNUM {recnum} where {expected} is due: records of this register are missing"),
            )
        } else {
            ("recnum-repeated", format!("RECNUM {recnum} where {expected} is due: there was one with it"))
        };
        let (event, register) = (Some(number), Some(record.register));
        findings.push(Finding { level: Level::Error, code, event, register, text });
    }
}
