//! `loader.conf`: what systemd-boot is told about its choice (loader.conf(5)).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use super::text::{MAX_FILE, assignments, boolean};
use super::{LoaderChoice, Walk, WalkError};
use crate::disk::Volume;
use crate::source::Blob;

const PATH: &str = "\\loader\\loader.conf";

/// The settings that matter for what is booted, and how safely.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoaderConf {
    /// `default`: a glob of entry ids, in lower case, or `@saved`.
    pub default: Option<String>,
    /// `preferred` (260 and later): the same, which passes over entries that failed too often.
    pub preferred: Option<String>,
    /// `editor`: the command line can be edited in the menu. On unless switched off.
    pub editor: Option<bool>,
    /// `secure-boot-enroll`.
    pub secure_boot_enroll: Option<String>,
    /// `timeout`.
    pub timeout: Option<String>,
    /// A value is in single quotes, and it is not known whether they belong to it.
    pub quotes_open: bool,
}

impl LoaderConf {
    /// Reads the text; values in one of the `quotes` lose them.
    #[must_use]
    pub fn parse(text: &[u8], quotes: &[u8]) -> Self {
        let mut conf = Self::default();
        for (key, value) in assignments(text, b" \t", quotes) {
            match key.as_str() {
                // systemd-boot ignores special names but this one.
                "default" | "preferred"
                    if value.starts_with('@') && !value.eq_ignore_ascii_case("@saved") => {}
                "default" => conf.default = Some(value.to_ascii_lowercase()),
                "preferred" => conf.preferred = Some(value.to_ascii_lowercase()),
                "editor" => conf.editor = boolean(&value).or(conf.editor),
                "secure-boot-enroll" => conf.secure_boot_enroll = Some(value),
                "timeout" => conf.timeout = Some(value),
                _ => {}
            }
        }
        conf
    }
}

/// The file and its settings; `None` without one.
pub(super) fn read(
    volume: &dyn Volume,
    rules: &LoaderChoice,
    walk: &mut Walk,
) -> Result<Option<(LoaderConf, Blob)>, WalkError> {
    let Some(file) = volume.open(PATH)? else {
        walk.steps.push("there is no loader/loader.conf".to_owned());
        warn_of_enrolment(volume, &LoaderConf::default(), walk)?;
        return Ok(None);
    };
    let text = file.read(MAX_FILE).map_err(|error| crate::disk::VolumeError::Io {
        path: format!("{}: loader/loader.conf", volume.label()),
        error,
    })?;
    let mut conf = LoaderConf::parse(&text, rules.quotes());
    conf.quotes_open = rules.leaves_quotes_open(&text, b" \t", &["default", "preferred"]);
    warn_of_enrolment(volume, &conf, walk)?;
    Ok(Some((conf, file)))
}

/// Without a word in `loader.conf` systemd-boot enrols keys where it takes that to be safe (`if-safe`).
fn warn_of_enrolment(volume: &dyn Volume, conf: &LoaderConf, walk: &mut Walk) -> Result<(), WalkError> {
    let enrolls = !matches!(conf.secure_boot_enroll.as_deref(), Some("off" | "manual"));
    if enrolls && volume.list("\\loader\\keys\\auto")?.is_some() {
        walk.warnings.push(
            "loader/keys/auto holds Secure Boot keys: in setup mode systemd-boot enrols them and restarts, which changes \
             PCR 7"
                .to_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_assignment_wins_and_special_names_are_ignored() {
        let text =
            b"# rig\ntimeout 0\ndefault  Rig-262.efi@Debug\ndefault @unknown\neditor no\neditor maybe\n";
        let conf = LoaderConf::parse(text, b"\"");
        assert_eq!(conf.default.as_deref(), Some("rig-262.efi@debug"));
        assert_eq!((conf.editor, conf.timeout.as_deref()), (Some(false), Some("0")));
        assert_eq!(LoaderConf::parse(b"default @SAVED", b"\"").default.as_deref(), Some("@saved"));
        let cleared = LoaderConf::parse(b"default a.efi\ndefault \"\"", b"\"");
        assert_eq!(cleared.default.as_deref(), Some(""), "a pattern that nothing matches");
    }
}
