//! Parts of a prediction: hashing in all banks, the whole of a small UKI, and reading headers.
//!
//! `cargo bench`; whole processes against other tools are compared by `benches/compare.sh`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use premeasure::boot::{
    BootChain, CcGuest, Declared, Input, InputId, InputRole, NamedImage, Payload, Scenario,
};
use premeasure::hashing::{DigestPlan, Segment};
use premeasure::pe::{PeImage, authenticode_segments};
use premeasure::prediction::{Registers, Request, predict};
use premeasure::source::Blob;
use premeasure::tcg::{Digest, HashAlgorithm};

/// Hashing one buffer with each algorithm: the speed of the crates themselves.
fn algorithms(criterion: &mut Criterion) {
    let data = vec![0x5A_u8; 16 << 20];
    let mut group = criterion.benchmark_group("algorithm");
    group.throughput(Throughput::Bytes(data.len() as u64)).sample_size(20);
    for algorithm in HashAlgorithm::ALL {
        group.bench_function(BenchmarkId::from_parameter(algorithm), |bencher| {
            bencher.iter(|| black_box(Digest::of(algorithm, &data)));
        });
    }
    group.finish();
}

/// Two streams over one source, as a UKI has them: the whole image, and its sections.
fn plan(criterion: &mut Criterion) {
    let source = Blob::from_bytes(vec![0x5A_u8; 32 << 20]);
    let mut group = criterion.benchmark_group("plan");
    group.throughput(Throughput::Bytes(2 * source.len())).sample_size(10);
    for banks in [&[HashAlgorithm::Sha256][..], &HashAlgorithm::ALL[..4]] {
        group.bench_function(BenchmarkId::from_parameter(format!("{} banks", banks.len())), |bencher| {
            bencher.iter(|| {
                let mut plan = DigestPlan::new();
                let whole = plan.add([Segment::Range(source.clone())]);
                let section = source.slice(4096, source.len() - 4096).expect("inside");
                plan.add([Segment::Range(section)]);
                black_box(plan.compute(banks, &|_| ()).expect("memory").get(whole).cloned())
            });
        });
    }
    group.finish();
}

fn tiny_uki() -> Blob {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/t-tiny-257/uki.efi");
    Blob::from_bytes(std::fs::read(path).expect("the fixture"))
}

/// Headers, section table and the ranges of the image digest.
fn headers(criterion: &mut Criterion) {
    let file = tiny_uki();
    criterion.bench_function("headers", |bencher| {
        bencher.iter(|| {
            let image = PeImage::parse(&file).expect("a UKI");
            black_box(authenticode_segments(&image).expect("sound").len())
        });
    });
}

/// Everything: 1.1 MB, both states of Secure Boot.
fn prediction(criterion: &mut Criterion) {
    let file = tiny_uki();
    let image = PeImage::parse(&file).expect("a UKI");
    let input = Input { role: InputRole::Uki, name: "uki.efi".to_owned(), file };
    let chain = BootChain {
        inputs: vec![input],
        shim: None,
        loader: None,
        load_options: Vec::new(),
        uki: NamedImage { input: InputId(0), name: "uki.efi".to_owned(), image },
        addons: Vec::new(),
        credentials: Vec::new(),
        extensions: Vec::new(),
        payload: Payload::UnifiedKernelImage,
        entry: None,
        drivers: Vec::new(),
        grub: None,
        medium: None,
    };
    criterion.bench_function("predict 1.1 MB, sha256+sha384", |bencher| {
        bencher.iter(|| {
            let request = Request {
                chain: chain.clone(),
                scenario: Scenario::default(),
                entry: None,
                secure_boot: None,
                exit_boot_services: None,
                devicetree: Declared::Unknown,
                firmware_image: Declared::Unknown,
                variables: None,
                baselines: Vec::new(),
                registers: Registers::Pcr,
                guest: CcGuest::default(),
                guest_baselines: Vec::new(),
                banks: vec![HashAlgorithm::Sha256, HashAlgorithm::Sha384],
                file_digests: false,
            };
            black_box(predict(request, &|_| (), &|_| ()).expect("predictable").variants.len())
        });
    });
}

criterion_group!(benches, algorithms, plan, headers, prediction);
criterion_main!(benches);
