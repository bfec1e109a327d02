//! Types of events: those that real firmware, loaders and kernels write are those that are predicted for them.

use premeasure::attest::{Class, Code, Policy, Selection, Verdict};
use premeasure::boot::Stage;
use premeasure::tcg::HashAlgorithm;

use crate::forge::{Forge, NONCE, boundaries, verifier};
use crate::support::boots::BOOTS;
use crate::support::{premeasure, read, scratch};

/// The honest log of every boot is taken as it is, and one whose types are changed is not.
#[test]
fn honest_logs_of_real_boots_are_not_called_relabelled() {
    let (mut labelled, mut renamed) = (0, 0);
    for boot in BOOTS {
        let path = scratch().join(format!("verify-labels-{}.json", boot.case));
        let mut arguments = boot.predict();
        arguments.extend(["-o".into(), path.clone().into()]);
        assert_eq!(premeasure(arguments).code, Some(0), "{}", boot.case);
        let loaded = premeasure::export::load("reference.json", &read(&path)).expect("a document");
        let text = String::from_utf8(read(boot.record("pcrs.json"))).expect("text");
        let values = premeasure::source::parse_registers(&text).expect("values");
        let pcrs = (0..16).collect();
        let forge = Forge {
            selection: vec![(HashAlgorithm::Sha256, pcrs)],
            claimed: Some(values.clone()),
            values,
            log: Some(read(boot.record("eventlog.bin"))),
            ..Forge::honest()
        };
        // What user space extended is not in all of the logs, and no matter here: each PCR that matches counts.
        let selection = Selection { stages: Stage::ALL.to_vec(), ..Selection::default() };
        let policy = Policy::from_document(&loaded, &selection).expect("a policy");
        let appraisal = verifier(policy).appraise(&forge.evidence(), NONCE);
        assert!(!appraisal.has(Code::EventRelabelled), "{}: {:#?}", boot.case, appraisal.refusals);
        let enforce = appraisal
            .pcrs
            .iter()
            .filter(|entry| entry.class == Class::Enforced)
            .filter(|entry| entry.verdict == Verdict::Match && entry.replayed == Some(true))
            .map(|entry| entry.pcr)
            .collect::<std::collections::BTreeSet<_>>();
        let selection =
            Selection { enforce: enforce.clone(), stages: Stage::ALL.to_vec(), ..Selection::default() };
        let policy = Policy::from_document(&loaded, &selection).expect("a policy");
        let appraisal = verifier(policy.clone()).appraise(&forge.evidence(), NONCE);
        assert!(appraisal.is_affirming(), "{}: {:#?}", boot.case, appraisal.refusals);
        labelled += enforce.len();

        let bytes = forge.log.clone().expect("a log");
        let log = premeasure::tcg::eventlog::EventLog::parse(&bytes[..]).expect("sound");
        let starts = boundaries(&bytes);
        for (event, start) in log.events().zip(starts) {
            let counts = enforce.iter().any(|pcr| u32::from(pcr.get()) == event.register);
            if event.event_type.0 == 3 || !counts {
                continue;
            }
            let mut forged = bytes.clone();
            forged[start + 4..start + 8].copy_from_slice(&0x0000_0412_u32.to_le_bytes());
            let forge = Forge { log: Some(forged), ..forge.clone() };
            let appraisal = verifier(policy.clone()).appraise(&forge.evidence(), NONCE);
            assert!(appraisal.has(Code::EventRelabelled), "{}: event {}", boot.case, event.number);
            renamed += 1;
        }
    }
    assert!(labelled > 60 && renamed > 150, "{labelled} PCRs, {renamed} events");
}
