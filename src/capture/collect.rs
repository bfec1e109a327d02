//! Taking a capture on the machine.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::files::{self, hash_folder, read, read_text};
use super::identities::Identities;
use super::secrets::{hashed, redact};
use super::variables::read_variables;
use super::{
    Capture, CapturedLog, CapturedQuote, Generator, Item, KIND, SCHEMA_VERSION, Treatment, mask, texts_of,
};
use crate::export::base64;
use crate::source::read_registers;
use crate::tcg::PcrValues;

/// Bytes of the logs. Firmware's areas have up to a mebibyte, IMA's log grows as long as the machine runs.
const MAX_FIRMWARE: u64 = 8 << 20;
const MAX_USERSPACE: u64 = 8 << 20;
const MAX_IMA: u64 = 24 << 20;

const FIRMWARE: &str = "sys/kernel/security/tpm0/binary_bios_measurements";
const USERSPACE: &str = "run/log/systemd/tpm2-measure.log";
const IMA: &str = "sys/kernel/security/ima/binary_runtime_measurements";
const PCRS: &str = "sys/class/tpm/tpm0";

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

/// Where boot partitions are mounted (systemd-gpt-auto-generator(8), bootctl(1)).
const MOUNT_POINTS: &[&str] = &["/efi", "/boot", "/boot/efi"];

/// What to capture.
#[derive(Debug, Clone)]
pub struct CaptureOptions {
    /// Folder that holds `sys`, `proc`, `run` and `etc`; `/` is this machine.
    pub root: PathBuf,
    /// The boot partition; looked for among the mounts when there is none.
    pub esp: Option<PathBuf>,
    /// Secrets and identities too.
    pub full: bool,
    /// PCR values that were read from elsewhere than sysfs, and from where.
    pub values: Option<(String, PcrValues)>,
    /// A quote to take along.
    pub quote: Option<CapturedQuote>,
}

/// A machine that can't be captured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// Neither log nor values.
    #[error("neither a firmware log ({log}) nor PCR values ({pcrs}) are there to capture")]
    Nothing {
        /// What was said about the log.
        log: String,
        /// What was said about the values.
        pcrs: String,
    },
    /// The folder of `esp`.
    #[error("{}: {error}", path.display())]
    Esp {
        /// The folder.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        error: io::Error,
    },
}

/// A capture, and what was not found or not readable.
///
/// # Errors
/// When there is nothing worth capturing, or the folder that was named can't be read.
pub fn collect(options: &CaptureOptions) -> Result<(Capture, Vec<String>), CaptureError> {
    let mut collector = Collector {
        root: &options.root,
        full: options.full,
        identities: Identities::read(&options.root),
        capture: empty(options.full),
        problems: Vec::new(),
    };
    collector.logs_and_values(options.values.as_ref())?;
    collector.quote(options.quote.as_ref());
    collector.facts();
    collector.command_line();
    collector.variables();
    collector.identity();
    collector.boot_files(options.esp.as_deref())?;
    collector.capture.contents.sort_by_key(|item| item.treatment);
    Ok((collector.capture, collector.problems))
}

fn empty(full: bool) -> Capture {
    let generator =
        Generator { name: env!("CARGO_PKG_NAME").to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    Capture {
        schema_version: SCHEMA_VERSION.to_owned(),
        kind: KIND.to_owned(),
        generator,
        full,
        contents: Vec::new(),
        logs: BTreeMap::new(),
        pcrs: BTreeMap::new(),
        quote: None,
        kernel: BTreeMap::new(),
        os: BTreeMap::new(),
        dmi: BTreeMap::new(),
        identity: BTreeMap::new(),
        command_line: None,
        efi_variables: BTreeMap::new(),
        files: Vec::new(),
    }
}

struct Collector<'o> {
    root: &'o Path,
    full: bool,
    identities: Identities,
    capture: Capture,
    problems: Vec<String>,
}

impl Collector<'_> {
    fn say(&mut self, treatment: Treatment, what: impl Into<String>) {
        self.capture.contents.push(Item { treatment, what: what.into() });
    }

    fn logs_and_values(&mut self, values: Option<&(String, PcrValues)>) -> Result<(), CaptureError> {
        let log = self.firmware();
        let pcrs = self.values(values);
        if let (Err(log), Err(pcrs)) = (&log, &pcrs) {
            return Err(CaptureError::Nothing { log: log.clone(), pcrs: pcrs.clone() });
        }
        for (path, result) in [(FIRMWARE, log), (PCRS, pcrs)] {
            if let Err(error) = result {
                self.problems.push(format!("{}: {error}", self.root.join(path).display()));
            }
        }
        self.userspace();
        self.ima();
        Ok(())
    }

    fn firmware(&mut self) -> Result<(), String> {
        let bytes = read(&self.root.join(FIRMWARE), MAX_FIRMWARE).map_err(|error| error.to_string())?;
        if bytes.is_empty() {
            return Err("is empty".to_owned());
        }
        self.say(Treatment::Taken, format!("firmware's event log, {} bytes", bytes.len()));
        let log = if self.full { unmasked(&bytes) } else { mask::firmware(&bytes, &mut self.identities) };
        self.add_log("firmware", log);
        Ok(())
    }

    fn add_log(&mut self, name: &str, log: CapturedLog) {
        let events = log.masked_events.len();
        if events > 0 || log.masked_rest {
            let rest = if log.masked_rest { " and behind the last event" } else { "" };
            let what = format!(
                "{name} log: ids of disks and partitions, device addresses and what looks secret, in the data of {events} \
                 events{rest}"
            );
            self.say(Treatment::LeftOut, what);
        }
        self.capture.logs.insert(name.to_owned(), log);
    }

    fn values(&mut self, elsewhere: Option<&(String, PcrValues)>) -> Result<(), String> {
        let (values, origin) = match elsewhere {
            Some((origin, values)) => (values.clone(), format!(" (read by {origin})")),
            None => {
                let values = read_registers(&self.root.join(PCRS)).map_err(|error| error.to_string())?;
                (values, String::new())
            }
        };
        self.capture.pcrs = texts_of(&values);
        let banks: Vec<&str> = self.capture.pcrs.keys().map(String::as_str).collect();
        self.say(Treatment::Taken, format!("PCR values: {}{origin}", banks.join(", ")));
        Ok(())
    }

    /// A quote can't be masked: the signature covers every byte of it.
    fn quote(&mut self, quote: Option<&CapturedQuote>) {
        let Some(quote) = quote else { return };
        quote.contents().into_iter().for_each(|what| self.say(Treatment::Taken, what));
        self.capture.quote = Some(quote.clone());
    }

    fn userspace(&mut self) {
        let Some(bytes) = self.optional_log(USERSPACE, MAX_USERSPACE) else { return };
        let log = if self.full { Some(unmasked(&bytes)) } else { mask::userspace(&bytes, &self.identities) };
        match log {
            Some(log) => {
                self.say(Treatment::Taken, format!("systemd's log of user space, {} bytes", bytes.len()));
                self.add_log("userspace", log);
            }
            None => self.say(
                Treatment::LeftOut,
                "systemd's log of user space: a record in it can't be read, so that secrets can't be looked for",
            ),
        }
    }

    fn ima(&mut self) {
        let Some(bytes) = self.optional_log(IMA, MAX_IMA) else { return };
        if !self.full && mask::ima_has_secrets(&bytes, &self.identities) {
            let what = "IMA's log: names in it hold the machine's id or a serial number, and can't be masked";
            self.say(Treatment::LeftOut, what);
            return;
        }
        self.say(
            Treatment::Taken,
            format!("IMA's log with the names of the files it measured, {} bytes", bytes.len()),
        );
        self.capture.logs.insert("ima".to_owned(), unmasked(&bytes));
    }

    /// A log that not every machine has.
    fn optional_log(&mut self, path: &str, limit: u64) -> Option<Vec<u8>> {
        let path = self.root.join(path);
        match read(&path, limit) {
            Ok(bytes) => (!bytes.is_empty()).then_some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.problems.push(format!("{}: {error}", path.display()));
                None
            }
        }
    }

    fn facts(&mut self) {
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

    fn command_line(&mut self) {
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

    fn variables(&mut self) {
        let (variables, left_out) = read_variables(self.root, &self.identities, self.full);
        let names = |is_text: bool| -> Vec<&str> {
            let of = |variable: &super::CapturedVariable| variable.text.is_some() || variable.data.is_some();
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

    fn identity(&mut self) {
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

    fn boot_files(&mut self, esp: Option<&Path>) -> Result<(), CaptureError> {
        let folders = match esp {
            Some(path) => {
                std::fs::read_dir(path)
                    .map_err(|error| CaptureError::Esp { path: path.to_owned(), error })?;
                vec![path.to_owned()]
            }
            None => self.mounted(),
        };
        for folder in folders {
            let volume = hash_folder(&folder, &self.identities, self.full);
            let of = |known: bool| volume.files.iter().filter(|file| file.sha256.is_some() == known).count();
            let (hashes, names) = (of(true), of(false));
            let place = folder.display();
            self.say(Treatment::Hashed, format!("{hashes} files of {place}, with path and size"));
            if names > 0 {
                let what =
                    format!("the content of {names} credentials and seeds of {place}: only path and size");
                self.say(Treatment::LeftOut, what);
            }
            self.problems.extend(volume.problems);
            self.capture.files.extend(volume.files);
        }
        Ok(())
    }

    /// Boot partitions that are mounted where they usually are.
    fn mounted(&self) -> Vec<PathBuf> {
        let mounts = files::read(&self.root.join("proc/self/mounts"), 1 << 20).unwrap_or_default();
        let mounts = String::from_utf8_lossy(&mounts).into_owned();
        let mut found: Vec<PathBuf> = Vec::new();
        for line in mounts.lines() {
            let mut fields = line.split(' ').skip(1);
            if let (Some(place), Some("vfat")) = (fields.next(), fields.next())
                && MOUNT_POINTS.contains(&place)
            {
                let folder = self.root.join(place.trim_start_matches('/'));
                if !found.contains(&folder) {
                    found.push(folder);
                }
            }
        }
        found
    }
}

fn unmasked(bytes: &[u8]) -> CapturedLog {
    CapturedLog { data: base64(bytes), masked_events: Vec::new(), masked_rest: false }
}
