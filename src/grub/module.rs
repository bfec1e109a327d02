//! A module of GRUB: an ELF object with its name, what it depends on, and in `normal` the build's version.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use object::{Object, ObjectSection};

/// Most modules that one names.
const MAX_DEPENDENCIES: usize = 64;

/// A module, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Module {
    /// Section `.modname`.
    pub(super) name: String,
    /// Section `.moddeps`: names, each ended by a NUL, in the order in which they are loaded.
    pub(super) dependencies: Vec<String>,
    /// The package's version, which `normal` shows above the menu.
    pub(super) version: Option<String>,
}

impl Module {
    /// Reads a module; `None` when it is none.
    pub(super) fn parse(elf: &[u8]) -> Option<Self> {
        let file = object::File::parse(elf).ok()?;
        let section = |name: &str| file.section_by_name(name).and_then(|section| section.data().ok());
        let mut names = texts(section(".modname")?);
        let name = names.next()?;
        let dependencies = section(".moddeps").map(texts).into_iter().flatten();
        let dependencies: Vec<String> = dependencies.take(MAX_DEPENDENCIES).collect();
        let version = if name == "normal" { version(&file) } else { None };
        Some(Self { name, dependencies, version })
    }
}

fn texts(bytes: &[u8]) -> impl Iterator<Item = String> {
    let texts = bytes.split(|byte| *byte == 0).filter(|text| !text.is_empty());
    texts.map(|text| String::from_utf8_lossy(text).into_owned())
}

/// The only text of the module that looks like a version of GRUB 2 (`PACKAGE_VERSION` in GRUB
/// `grub-core/normal/main.c`).
fn version(file: &object::File<'_>) -> Option<String> {
    let strings =
        file.sections().filter(|section| section.name().is_ok_and(|name| name.starts_with(".rodata")));
    let mut found: Vec<String> = Vec::new();
    for section in strings {
        for text in texts(section.data().ok()?) {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".+~:-".contains(&byte);
            if text.starts_with("2.") && text.len() <= 64 && text.bytes().all(plain) && !found.contains(&text)
            {
                found.push(text);
            }
        }
    }
    if found.len() == 1 { found.pop() } else { None }
}
