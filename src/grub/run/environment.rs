//! GRUB's variables.

use std::collections::{BTreeMap, BTreeSet};

use super::{Stop, stop};
use crate::grub::GrubImage;

/// Most variables, and most bytes of one.
const MAX_VARIABLES: usize = 4096;
const MAX_VALUE: usize = 1 << 16;

/// Features that every GRUB since 2.02 says it has (GRUB `grub-core/normal/main.c`, `features`).
const FEATURES: [&str; 9] = [
    "feature_chainloader_bpb",
    "feature_ntldr",
    "feature_platform_search_hint",
    "feature_default_font_path",
    "feature_all_video_module",
    "feature_menuentry_id",
    "feature_menuentry_options",
    "feature_200_final",
    "feature_nativedisk_cmd",
];

/// Variables that the firmware, the network or the machine sets.
const OF_THE_MACHINE: [&str; 6] = ["shim_lock", "lockdown", "secureboot", "net_", "pxe_", "cmdpath"];

/// Variables that a configuration of its own (`configfile`) begins with.
const EXPORTED: [&str; 7] =
    ["root", "prefix", "grub_cpu", "grub_platform", "config_file", "config_directory", "chosen"];

#[derive(Debug, Clone)]
pub(super) struct Environment {
    variables: BTreeMap<String, String>,
    exported: BTreeSet<String>,
}

impl Environment {
    /// Variables as a GRUB has them that was loaded from `device`.
    pub(super) fn new(image: &GrubImage, device: &str) -> Self {
        let mut variables = BTreeMap::new();
        let mut exported: BTreeSet<String> = EXPORTED.iter().map(|name| (*name).to_owned()).collect();
        let mut set = |name: &str, value: String| variables.insert(name.to_owned(), value);
        let prefix = image.prefix.clone().unwrap_or_default();
        let disk = device.split(',').next().unwrap_or_default();
        let prefix = match prefix.strip_prefix("(,") {
            Some(partition) => format!("({disk},{partition}"),
            None if prefix.starts_with('(') => prefix,
            None => format!("({device}){prefix}"),
        };
        let root = prefix.strip_prefix('(').and_then(|rest| Some(rest.split_once(')')?.0.to_owned()));
        set("root", root.unwrap_or_default());
        set("prefix", prefix);
        set("grub_cpu", "x86_64".to_owned());
        set("grub_platform", "efi".to_owned());
        for feature in FEATURES.into_iter().chain(["feature_timeout_style"]) {
            set(feature, "y".to_owned());
            exported.insert(feature.to_owned());
        }
        Self { variables, exported }
    }

    /// What is left in a configuration of its own.
    pub(super) fn inherited(&self) -> Self {
        let mut inner = self.clone();
        inner.variables.retain(|name, _| self.exported.contains(name));
        inner
    }

    /// What is left in a submenu: `default` leads on into it.
    pub(super) fn inherited_by_submenu(&self) -> Self {
        let mut inner = self.inherited();
        let default = self.variables.get("default").cloned();
        inner.variables.extend(default.map(|value| ("default".to_owned(), value)));
        inner
    }

    /// `export`.
    pub(super) fn export(&mut self, name: &str) -> Result<(), Stop> {
        if self.exported.len() >= MAX_VARIABLES {
            return Err(stop("the configuration exports more variables than are followed"));
        }
        self.exported.insert(name.to_owned());
        self.variables.entry(name.to_owned()).or_default();
        Ok(())
    }

    /// The value of a variable, where the machine has no say in it; `None` when it is not set.
    pub(super) fn get(&self, name: &str) -> Result<Option<&str>, Stop> {
        let value = self.variables.get(name).map(String::as_str);
        if value.is_none() && name.starts_with("feature_") {
            return Err(stop(format!("whether this build has {name} is not known")));
        }
        if value.is_none() && OF_THE_MACHINE.iter().any(|known| name.starts_with(known)) {
            return Err(stop(format!(
                "the configuration depends on the variable {name}, which the machine sets"
            )));
        }
        Ok(value)
    }

    /// A variable that was set here or is empty.
    pub(super) fn plain(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }

    pub(super) fn set(&mut self, name: &str, value: String) -> Result<(), Stop> {
        if self.variables.len() >= MAX_VARIABLES || value.len() > MAX_VALUE {
            return Err(stop("the configuration sets more, or longer, variables than are followed"));
        }
        // GRUB `grub_env_write_root` takes them off.
        let inner = value.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        let value = match inner {
            Some(inner) if name == "root" => inner.to_owned(),
            _ => value,
        };
        self.variables.insert(name.to_owned(), value);
        Ok(())
    }

    pub(super) fn unset(&mut self, name: &str) {
        self.variables.remove(name);
    }
}
