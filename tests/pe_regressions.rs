//! The fuzz targets of PE files on stable: every PE fixture, whole and cut at many places, and whatever once made a target
//! fail (`fuzz/regressions/TARGET/`).

use std::fs;
use std::path::Path;

#[path = "../fuzz/targets/pe.rs"]
mod pe;

/// A fuzz target: its name, and what it does with an input.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 3] =
    [("pe_image", pe::pe_image), ("uki_sections", pe::uki_sections), ("pe_signature", pe::pe_signature)];

#[test]
fn seeds_and_regressions_go_through() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, target) in TARGETS {
        let seeds = inputs(&root.join("fixtures/pe"));
        assert!(!seeds.is_empty(), "no seeds for {name}");
        for seed in &seeds {
            target(seed);
            (0..64).for_each(|part| target(&seed[..seed.len() * part / 64]));
        }
        inputs(&root.join("fuzz/regressions").join(name)).iter().for_each(|input| target(input));
    }
}

/// The files of a folder; none when there is no such folder.
fn inputs(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("readable").path());
    paths.filter(|path| path.is_file()).map(|path| fs::read(path).expect("readable")).collect()
}
