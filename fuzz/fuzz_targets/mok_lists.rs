//! shim's lists of any bytes, as what an image is checked against: hostile certificates, digests and times of revocation.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use premeasure::hashing::DigestPlan;
use premeasure::pe::{PeImage, authenticode_segments};
use premeasure::secure_boot::{Database, Databases, ShimDatabases, algorithms_needed, judge, judge_by_shim};
use premeasure::source::Blob;

/// Signed twice, see `fixtures/pe/README.md`.
const IMAGE: &[u8] = include_bytes!("../../fixtures/pe/signed-nested.addon.efi");

fuzz_target!(|bytes: &[u8]| {
    static SIGNED: OnceLock<PeImage> = OnceLock::new();
    let image = SIGNED.get_or_init(|| PeImage::parse(&Blob::from_bytes(IMAGE)).expect("an image"));
    let (list, revoked) = bytes.split_at(bytes.len() / 2);
    let (Ok(db), Ok(dbx)) = (Database::parse(list), Database::parse(revoked)) else { return };
    let databases = Databases { db, dbx, has_dbt: bytes.len() % 2 == 0 };
    let mut plan = DigestPlan::new();
    let stream = plan.add(authenticode_segments(image).expect("an image"));
    let digests = plan.compute(&algorithms_needed(&databases), &|_| ()).expect("in memory");
    let digests = digests.get(stream).cloned().unwrap_or_default();
    judge(image, &digests, &databases).expect("the image is readable");
    let Databases { db, dbx, .. } = databases;
    let lists = ShimDatabases { keys: db, revoked: dbx, ..ShimDatabases::default() };
    judge_by_shim(image, &digests, &lists).expect("the image is readable");
});
