//! GRUB's variables.

use std::collections::BTreeMap;

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
const OF_THE_MACHINE: [&str; 5] = ["shim_lock", "lockdown", "secureboot", "net_", "pxe_"];

#[derive(Debug)]
pub(super) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Variables as a GRUB has them that was loaded from `path` of `device`.
    pub(super) fn new(image: &GrubImage, device: &str, path: &str) -> Self {
        let mut variables = BTreeMap::new();
        let mut set = |name: &str, value: String| variables.insert(name.to_owned(), value);
        let path = path.replace('\\', "/");
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        set("cmdpath", format!("({device}){folder}"));
        set("root", device.to_owned());
        let prefix = image.prefix.clone().unwrap_or_default();
        let on_device =
            |prefix: String| if prefix.starts_with('(') { prefix } else { format!("({device}){prefix}") };
        set("prefix", on_device(prefix));
        set("grub_cpu", "x86_64".to_owned());
        set("grub_platform", "efi".to_owned());
        for feature in FEATURES {
            set(feature, "y".to_owned());
        }
        set("feature_timeout_style", "y".to_owned());
        Self(variables)
    }

    /// The value of a variable, where the machine has no say in it; `None` when it is not set.
    pub(super) fn get(&self, name: &str) -> Result<Option<&str>, Stop> {
        let value = self.0.get(name).map(String::as_str);
        if value.is_none() && OF_THE_MACHINE.iter().any(|known| name.starts_with(known)) {
            return Err(stop(format!(
                "the configuration depends on the variable {name}, which the machine sets"
            )));
        }
        Ok(value)
    }

    /// A variable that was set here or is empty.
    pub(super) fn plain(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub(super) fn set(&mut self, name: &str, value: String) -> Result<(), Stop> {
        if self.0.len() >= MAX_VARIABLES || value.len() > MAX_VALUE {
            return Err(stop("the configuration sets more, or longer, variables than are followed"));
        }
        self.0.insert(name.to_owned(), value);
        Ok(())
    }

    pub(super) fn unset(&mut self, name: &str) {
        self.0.remove(name);
    }
}
