//! GRUB's configuration of any bytes, which is every file that GRUB opens: parsed, and run up to the kernel.
#![no_main]

use libfuzzer_sys::fuzz_target;
use premeasure::disk::{Entry, Volume, VolumeError};
use premeasure::grub::{Grub, GrubBuild, GrubFiles, GrubImage, Script, Stop};
use premeasure::source::Blob;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let _ = Script::parse(&text);
    let image = GrubImage {
        prefix: Some("/EFI/debian".to_owned()),
        early: vec![text.chars().take(256).collect()],
        modules: MODULES.map(str::to_owned).into(),
        ..GrubImage::default()
    };
    let files = Files(Everywhere(Blob::from_bytes(bytes)));
    for build in GrubBuild::ROWS {
        let trace = Grub::new(&image, Some(build), "hd0,gpt1", &files).run();
        // It ends at a kernel, or says why not.
        assert!(trace.command_line.is_some() || trace.stopped.is_some());
    }
});

/// Enough that commands are run without a file of a module.
const MODULES: [&str; 12] = [
    "tpm", "normal", "gzio", "configfile", "echo", "linux", "loadenv", "search", "search_fs_uuid", "test", "true", "blsuki",
];

#[derive(Debug)]
struct Files(Everywhere);

impl GrubFiles for Files {
    fn device(&self, name: &str) -> Result<&dyn Volume, Stop> {
        if name.starts_with("hd0") { Ok(&self.0) } else { Err(Stop(format!("there is no {name}"))) }
    }
}

/// The same file under every name.
#[derive(Debug)]
struct Everywhere(Blob);

impl Volume for Everywhere {
    fn label(&self) -> &str {
        "partition 1"
    }

    fn list(&self, _: &str) -> Result<Option<Vec<Entry>>, VolumeError> {
        Ok(Some(Vec::new()))
    }

    fn open(&self, _: &str) -> Result<Option<Blob>, VolumeError> {
        Ok(Some(self.0.clone()))
    }

    fn knows_order(&self) -> bool {
        true
    }
}
