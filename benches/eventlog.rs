//! Event logs: a log of 64 KiB and four banks, as a busy machine with GRUB writes it.

#![allow(missing_docs)]

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use premeasure::tcg::HashAlgorithm;
use premeasure::tcg::event_data::{Context, coverage, decode};
use premeasure::tcg::eventlog::{EventLog, write_event, write_log};
use premeasure::uefi::variable::Uintn;

/// The events of a real boot (shim and GRUB with Microsoft's keys, four banks), repeated up to 64 KiB.
fn log_of_64_kib() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/boots/j-shim-grub-bookworm/eventlog.bin");
    let bytes = std::fs::read(path).expect("the fixture");
    let log = EventLog::parse(&bytes[..]).expect("a sound log");
    let mut long = bytes.clone();
    for event in log.events().skip(1).cycle() {
        write_event(&event, log.layout(), &mut long);
        if long.len() >= 64 * 1024 {
            return long;
        }
    }
    long
}

fn parse(bytes: &[u8]) -> EventLog<'_> {
    EventLog::parse(bytes).expect("a sound log")
}

fn decode_all(log: &EventLog<'_>) -> usize {
    let mut proven = 0;
    for event in log.events() {
        let context = Context { data_offset: event.data_offset, uintn: Uintn::Bits64 };
        black_box(decode(event.event_type, event.data, context));
        if let Some(digest) = event.digest(HashAlgorithm::Sha256) {
            proven += coverage(event.event_type, event.data, digest, Uintn::Bits64).range.len();
        }
    }
    proven
}

fn benches(criterion: &mut Criterion) {
    let bytes = log_of_64_kib();
    let log = parse(&bytes);
    let mut group = criterion.benchmark_group(format!("64 KiB, 4 banks, {} events", log.len()));
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("parse", |b| b.iter(|| black_box(parse(black_box(&bytes)).len())));
    group.bench_function("decode and verify data", |b| b.iter(|| black_box(decode_all(black_box(&log)))));
    group.bench_function("replay", |b| b.iter(|| black_box(log.replay())));
    group.bench_function("write", |b| b.iter(|| black_box(write_log(&log))));
    group.bench_function("parse, decode, verify data, replay", |b| {
        b.iter(|| {
            let log = parse(black_box(&bytes));
            (black_box(decode_all(&log)), black_box(log.replay()))
        });
    });
    group.finish();
}

criterion_group!(eventlog, benches);
criterion_main!(eventlog);
