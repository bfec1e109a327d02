//! The verifier: quotes with a real event log against a reference document, one thread and two.

#![allow(missing_docs)]

use std::borrow::Cow;
use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use premeasure::attest::{
    Anchors, AttestationKey, Evidence, Policy, Quote, QuoteEvidence, Selection, Timestamp, Verifier,
    read_pcr_values,
};
use premeasure::import::{Accepts, Boot, BootValue, PolicyValues};
use premeasure::source::parse_registers;
use premeasure::tcg::{Digest, HashAlgorithm, PcrIndex};
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Machines for each measurement, half of them for each thread.
const MACHINES: u64 = 100;

fn file(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(ROOT).join(path)).expect("a file of the repository")
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("text")).expect("hexadecimal")
}

/// The boot's own values as the policy: 7 PCRs in two banks.
fn policy() -> Policy {
    let text = String::from_utf8(file("fixtures/boots/t-tiny-257/pcrs.json")).expect("text");
    let observed = parse_registers(&text).expect("values");
    let values = [4, 8, 9, 11, 12, 13, 14].map(PcrIndex::new).map(|pcr| {
        let banks = [HashAlgorithm::Sha256, HashAlgorithm::Sha384];
        let digests = banks.into_iter().filter_map(|bank| observed.get(bank, pcr)).collect();
        (pcr, BootValue { digests, warn_only: false })
    });
    let boot = Boot { name: "recorded".to_owned(), values: values.into() };
    let values = PolicyValues { format: "bench", accepts: Accepts::Boots(vec![boot]) };
    Policy::from_values(&values, Digest::zero(HashAlgorithm::Sha256), &Selection::default())
        .expect("a policy")
}

fn benches(criterion: &mut Criterion) {
    let recorded: Value = serde_json::from_slice(&file("tests/verify/quotes.json")).expect("JSON");
    let nonce = bytes(&recorded["nonce"]);
    let log = file("fixtures/boots/t-tiny-257/eventlog.bin");
    let mut group = criterion.benchmark_group(format!("quotes with logs of {} bytes", log.len()));
    group.sample_size(10);
    for kind in
        ["rsa2048:rsassa-sha256", "rsa2048:rsapss-sha256", "ecc256:ecdsa-sha256", "ecc384:ecdsa-sha384"]
    {
        let parts = &recorded["keys"][kind];
        let pinned = Some(AttestationKey::read(&bytes(&parts["public"])).expect("a key"));
        let verifier = Verifier { policy: policy(), pinned, anchors: Anchors::default(), at: Timestamp(0) };
        let (message, signature, pcrs) =
            (bytes(&parts["message"]), bytes(&parts["signature"]), bytes(&recorded["pcrs"]));
        // All that a service does for a request, from bytes to a decision.
        let one = || {
            let selection = Quote::read(&message).expect("a quote").selection;
            let quote = QuoteEvidence {
                message: Cow::Borrowed(&message),
                signature: Cow::Borrowed(&signature),
                values: Some(read_pcr_values(&pcrs, &selection).expect("values")),
            };
            let evidence = Evidence::of_quote(quote, vec![Cow::Borrowed(&log)]);
            let appraisal = verifier.appraise(&evidence, &nonce);
            assert!(appraisal.is_affirming(), "{:?}", appraisal.refusals);
            appraisal
        };
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("{kind}, one thread"), |bencher| bencher.iter(|| black_box(one())));
        group.throughput(Throughput::Elements(MACHINES));
        group.bench_function(format!("{kind}, two threads"), |bencher| {
            bencher.iter(|| {
                std::thread::scope(|scope| {
                    for _ in 0..2 {
                        scope.spawn(|| (0..MACHINES / 2).for_each(|_| drop(black_box(one()))));
                    }
                });
            });
        });
    }
    group.finish();
}

criterion_group!(verify, benches);
criterion_main!(verify);
