//! Documents to export: predictions of the tiny UKIs, which real machines booted.

use std::path::PathBuf;
use std::sync::Mutex;

use crate::support::{Run, fixture, premeasure, scratch};

/// A boot of a tiny UKI, by the name of its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doc {
    /// systemd 257, Secure Boot off: the kernel inside is measured too.
    Tiny257,
    /// The same UKI, Secure Boot on.
    Tiny257SecureBoot,
    /// Another release: systemd 262.
    Tiny262,
    /// 257 on an instance of AWS without keys, so that PCR 7 is known.
    Aws257,
}

static PREDICTING: Mutex<()> = Mutex::new(());

impl Doc {
    fn name(self) -> &'static str {
        match self {
            Self::Tiny257 => "t-257.json",
            Self::Tiny257SecureBoot => "t-257-secure-boot.json",
            Self::Tiny262 => "t-262.json",
            Self::Aws257 => "aws-257.json",
        }
    }

    /// The document's file, made when it is first asked for. The machine is declared to have no boot secret, so that PCR 9 of
    /// 262 is known.
    pub(crate) fn path(self) -> PathBuf {
        let _one_at_a_time = PREDICTING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let path = scratch().join(self.name());
        // Tests of one run are processes under nextest: make it anew only when the binary is newer.
        let age = |path: &PathBuf| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        if age(&path) > age(&PathBuf::from(env!("CARGO_BIN_EXE_premeasure"))) {
            return path;
        }
        let (folder, secure_boot) = match self {
            Self::Tiny257 => ("t-tiny-257", "off"),
            Self::Tiny257SecureBoot => ("t-tiny-257", "on"),
            Self::Tiny262 => ("t3-tiny-262", "off"),
            Self::Aws257 => ("t-tiny-257", "off"),
        };
        let no_keys =
            ["--platform", "aws-nitrotpm", "--pk", "none", "--kek", "none", "--db", "none", "--dbx", "none"];
        let platform: &[&str] = if self == Self::Aws257 { &no_keys } else { &[] };
        let uki = fixture(folder).join("uki.efi");
        let mut arguments =
            vec!["predict", text(&uki), "--secure-boot", secure_boot, "--output", text(&path)];
        arguments.extend(["--boot-secret", "none", "--stub-console", "none", "--nvpcr", "none"]);
        arguments.extend(platform);
        let run = premeasure(arguments);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        path
    }
}

/// Runs `premeasure export` on documents.
pub(crate) fn export(documents: &[Doc], arguments: &[&str]) -> Run {
    let mut all: Vec<std::ffi::OsString> = vec!["export".into()];
    all.extend(documents.iter().map(|document| document.path().into()));
    all.extend(arguments.iter().map(Into::into));
    premeasure(all)
}

/// Runs it, expecting success, and returns standard output.
pub(crate) fn exported(documents: &[Doc], arguments: &[&str]) -> Vec<u8> {
    let run = export(documents, arguments);
    assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.stderr);
    run.stdout
}

/// A fresh folder below the tests' scratch.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = scratch().join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the scratch folder can be written");
    folder
}

/// The text of an example's file, as `&str` arguments want it.
pub(crate) fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("scratch paths are UTF-8")
}
