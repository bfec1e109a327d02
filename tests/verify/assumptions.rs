//! What an answer takes for granted.

use premeasure::attest::{Policy, Selection};
use premeasure::tcg::PcrIndex;

use crate::forge::{BOOT, Forge, NONCE, log, record, verifier};
use crate::support::{fixture, premeasure, read, scratch};

/// A document with Secure Boot off and on, of which only the latter takes for granted that no shim is there.
#[test]
fn assumptions_are_those_of_the_boot_that_it_is() {
    let path = scratch().join(format!("verify-both-{}.json", std::process::id()));
    let uki = fixture(BOOT).join("uki.efi");
    let fixed = ["--initrd-systemd", "none", "--host-systemd", "none", "-o"];
    let arguments = ["predict".as_ref(), uki.as_os_str()].into_iter();
    let run = premeasure(arguments.chain(fixed.map(AsRef::as_ref)).chain([path.as_os_str()]));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let loaded = premeasure::export::load("reference.json", &read(&path)).expect("a document");
    let selection = Selection { enforce: [4, 9, 11].map(PcrIndex::new).into(), ..Selection::default() };
    let policy = Policy::from_document(&loaded, &selection).expect("a policy");
    let ids = |forge: &Forge| -> (bool, Vec<String>) {
        let appraisal = verifier(policy.clone()).appraise(&forge.evidence(), NONCE);
        let ids = appraisal.assumptions.iter().map(|assumption| assumption.id.clone()).collect();
        (appraisal.is_affirming(), ids)
    };
    let (accepted, matched) = ids(&Forge::honest());
    assert!(accepted && !matched.contains(&"no-shim".to_owned()), "{matched:?}");
    assert!(matched.contains(&"no-load-options".to_owned()), "{matched:?}");
    // As long as it may be any of them, all count.
    let longer = [log(), record(11, 0xD, b"evil", b"evil")].concat();
    let (accepted, any) = ids(&Forge::of_log(longer));
    assert!(!accepted && any.contains(&"no-shim".to_owned()), "{any:?}");
}
