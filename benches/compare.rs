//! Comparing a log of 2,000 events with an equal one and with one that differs, and the hypotheses over values alone.

#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use premeasure::compare::hypotheses::Evidence;
use premeasure::compare::{Options, compare, expectation_of_logs, observation_of_logs};
use premeasure::tcg::eventlog::{EventLog, write_event};
use premeasure::tcg::timeline::BootLog;
use premeasure::tcg::{HashAlgorithm, PcrIndex, PcrValues};

const EVENTS: u32 = 2000;

/// The events of a real boot (shim and GRUB with Microsoft's keys, four banks), repeated; each of `changed` has other digests.
fn log(changed: &[u32]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/boots/j-shim-grub-bookworm/eventlog.bin");
    let bytes = std::fs::read(path).expect("the fixture");
    let log = EventLog::parse(&bytes[..]).expect("a sound log");
    let mut long = bytes.clone();
    for (event, number) in log.events().skip(1).cycle().zip(log.len()..EVENTS) {
        let start = long.len();
        write_event(&event, log.layout(), &mut long);
        if changed.contains(&number) {
            // Behind register, type, count and the first algorithm come digests.
            long[start + 14] ^= 1;
            long[start + 36] ^= 1;
        }
    }
    long
}

fn benches(criterion: &mut Criterion) {
    let expected = log(&[]);
    let other = log(&(0..EVENTS).step_by(7).collect::<Vec<_>>());
    let nothing = |_: &_, _: &_| Evidence::default();
    let mut group = criterion.benchmark_group(format!("{EVENTS} events, 4 banks"));
    group.sample_size(20);
    for (name, observed) in [("equal", &expected), ("every seventh changed", &other)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let logs = [BootLog::read(black_box(&expected))];
                let expectation = expectation_of_logs("expected", &logs).expect("PCRs");
                let logs = [BootLog::read(black_box(observed))];
                let observation = observation_of_logs(Vec::new(), &logs, None).expect("PCRs");
                black_box(
                    compare(&expectation, &[observation], &Options::default(), &nothing).expect("comparable"),
                )
            });
        });
    }
    group.finish();
    values_alone(criterion);
}

/// Nothing explains these values: everything is tried.
fn values_alone(criterion: &mut Criterion) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/boots/j-shim-grub-bookworm/eventlog.bin");
    let bytes = std::fs::read(path).expect("the fixture");
    let logs = [BootLog::read(&bytes)];
    let expectation = expectation_of_logs("expected", &logs).expect("PCRs");
    let mut values = PcrValues::default();
    let digests: BTreeMap<u8, _> =
        (0..8).map(|pcr| (pcr, premeasure::tcg::Digest::of(HashAlgorithm::Sha256, &[pcr]))).collect();
    digests.into_iter().for_each(|(pcr, digest)| values.set(PcrIndex::new(pcr), digest));
    let observation = observation_of_logs(Vec::new(), &[], Some(values)).expect("values");
    let nothing = |_: &_, _: &_| Evidence::default();
    let mut group = criterion.benchmark_group("values alone");
    group.sample_size(10);
    group.bench_function("eight registers that nothing explains", |bencher| {
        bencher.iter(|| {
            let observations = [observation.clone()];
            black_box(
                compare(&expectation, &observations, &Options::default(), &nothing).expect("comparable"),
            )
        });
    });
    group.finish();
}

criterion_group!(comparing, benches);
criterion_main!(comparing);
