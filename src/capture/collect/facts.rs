//! What the machine, its kernel and its firmware say about themselves.

use std::collections::BTreeMap;

use super::Collector;
use crate::capture::files::read_text;
use crate::capture::secrets::{hashed, redact};
use crate::capture::variables::read_variables;
use crate::capture::{CapturedVariable, Treatment};

/// Fields of os-release(5) that tell which image runs.
const OS_FIELDS: &[&str] = &[
    "ID",
    "ID_LIKE",
    "VERSION_ID",
    "VERSION",
    "VERSION_CODENAME",
    "PRETTY_NAME",
    "VARIANT_ID",
    "BUILD_ID",
    "IMAGE_ID",
    "IMAGE_VERSION",
    "SYSEXT_LEVEL",
    "CONFEXT_LEVEL",
];

/// Files of `/sys/class/dmi/id` that are the same on all machines of a model.
const DMI: &[&str] = &[
    "bios_vendor",
    "bios_version",
    "bios_date",
    "bios_release",
    "ec_firmware_release",
    "sys_vendor",
    "product_name",
    "product_family",
    "product_sku",
    "product_version",
    "board_vendor",
    "board_name",
    "board_version",
    "chassis_vendor",
    "chassis_type",
    "chassis_version",
];

impl Collector<'_> {
    pub(super) fn facts(&mut self) {
        let kernel = [("release", "osrelease"), ("version", "version"), ("machine", "arch")];
        for (name, file) in kernel {
            if let Some(value) = read_text(&self.root.join("proc/sys/kernel").join(file)) {
                self.capture.kernel.insert(name.to_owned(), value);
            }
        }
        let os = ["etc/os-release", "usr/lib/os-release"].iter();
        let os = os.filter_map(|path| read_text(&self.root.join(path))).next().unwrap_or_default();
        for (name, value) in os.lines().filter_map(|line| line.trim().split_once('=')) {
            if OS_FIELDS.contains(&name) {
                let value = value.trim_matches(['"', '\'']).to_owned();
                self.capture.os.insert(name.to_owned(), value);
            }
        }
        for name in DMI {
            if let Some(value) = read_text(&self.root.join("sys/class/dmi/id").join(name)) {
                self.capture.dmi.insert((*name).to_owned(), value);
            }
        }
        self.redact_facts();
        let mut facts = Vec::new();
        let parts =
            [("kernel", &self.capture.kernel), ("os-release", &self.capture.os), ("DMI", &self.capture.dmi)];
        for (name, values) in parts.iter().filter(|(_, values)| !values.is_empty()) {
            let names: Vec<&str> = values.keys().map(String::as_str).collect();
            facts.push(format!("{name}: {}", names.join(", ")));
        }
        facts.into_iter().for_each(|fact| self.say(Treatment::Taken, fact));
    }

    /// Vendors write serial numbers into fields that are not meant for them.
    fn redact_facts(&mut self) {
        if self.full {
            return;
        }
        for values in [&mut self.capture.kernel, &mut self.capture.os, &mut self.capture.dmi] {
            values.values_mut().for_each(|value| *value = redact(value, &self.identities).0);
        }
    }

    pub(super) fn command_line(&mut self) {
        let Some(text) = read_text(&self.root.join("proc/cmdline")) else { return };
        self.say(Treatment::Taken, "the kernel's command line");
        let (redacted, any) = redact(&text, &self.identities);
        if any && !self.full {
            let what =
                "command line: ids are hashed; values that look secret, addresses and names are left out";
            self.say(Treatment::LeftOut, what);
        }
        self.capture.command_line = Some(if self.full { text } else { redacted });
    }

    pub(super) fn variables(&mut self) {
        let (variables, left_out) = read_variables(self.root, &self.identities, self.full);
        let names = |is_text: bool| -> Vec<&str> {
            let of = |variable: &CapturedVariable| variable.text.is_some() || variable.data.is_some();
            let named = variables.iter().filter(|(_, variable)| of(variable) == is_text);
            named.map(|(name, _)| name.as_str()).collect()
        };
        let (taken, digests) = (names(true).join(", "), names(false).join(", "));
        for (treatment, names) in [
            (Treatment::Taken, taken),
            (Treatment::Hashed, digests),
            (Treatment::LeftOut, left_out.join(", ")),
        ] {
            if !names.is_empty() {
                self.say(treatment, format!("EFI variables: {names}"));
            }
        }
        self.capture.efi_variables = variables;
    }

    pub(super) fn identity(&mut self) {
        let mut by_treatment: BTreeMap<Treatment, Vec<String>> = BTreeMap::new();
        for (name, value) in std::mem::take(&mut self.identities.named) {
            // The hash of a short number gives it away to whoever tries all of them.
            let is_long = name == "machine-id" || name == "product_uuid";
            let treatment = match (self.full, is_long) {
                (true, _) => Treatment::Taken,
                (false, true) => Treatment::Hashed,
                (false, false) => Treatment::LeftOut,
            };
            match treatment {
                Treatment::Taken => self.capture.identity.insert(name.clone(), value),
                Treatment::Hashed => self.capture.identity.insert(name.clone(), hashed(&value)),
                Treatment::LeftOut => None,
            };
            by_treatment.entry(treatment).or_default().push(name);
        }
        for (treatment, names) in by_treatment {
            self.say(treatment, names.join(", "));
        }
    }
}
