//! The variables that PCR 7 is made of, and the state that follows from them.

use super::database::{Database, MAX_VARIABLE};
use super::verify::Databases;
use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::uefi::guid::{GLOBAL_VARIABLE, Guid, IMAGE_SECURITY_DATABASE, SHIM_LOCK, SYSTEMD_LOADER, guid};
use crate::uefi::variable_store::Variable;

/// `gEfiSecureBootEnableDisableGuid` of EDK2.
const SECURE_BOOT_ENABLE: Guid = guid!("f0a30bc7-af08-4556-99c4-001009c93a44");

/// A variable: its content, that there is none, or that nobody said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Content {
    /// Nobody said.
    #[default]
    Unknown,
    /// It does not exist, or is empty: the firmware can't tell these apart either.
    Absent,
    /// Its bytes.
    Is(Vec<u8>),
}

impl Content {
    /// The bytes that are measured; `None` when they are not known.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Unknown => None,
            Self::Absent => Some(&[]),
            Self::Is(bytes) => Some(bytes),
        }
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        if bytes.is_empty() { Self::Absent } else { Self::Is(bytes) }
    }
}

/// A Secure Boot variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Platform key.
    Pk,
    /// Key exchange keys.
    Kek,
    /// What may start.
    Db,
    /// What may not.
    Dbx,
    /// Time stamping authorities; measured only where it exists.
    Dbt,
}

impl Key {
    /// All of them, in the order in which they are measured (EDK2 `MeasureAllSecureVariables`).
    pub const ALL: [Self; 5] = [Self::Pk, Self::Kek, Self::Db, Self::Dbx, Self::Dbt];

    /// The variable's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pk => "PK",
            Self::Kek => "KEK",
            Self::Db => "db",
            Self::Dbx => "dbx",
            Self::Dbt => "dbt",
        }
    }

    /// The variable's vendor GUID.
    #[must_use]
    pub fn vendor(self) -> Guid {
        match self {
            Self::Pk | Self::Kek => GLOBAL_VARIABLE,
            Self::Db | Self::Dbx | Self::Dbt => IMAGE_SECURITY_DATABASE,
        }
    }
}

/// What is known of a machine's Secure Boot variables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecureBootVariables {
    /// `PK`.
    pub pk: Content,
    /// `KEK`.
    pub kek: Content,
    /// `db`.
    pub db: Content,
    /// `dbx`.
    pub dbx: Content,
    /// `dbt`.
    pub dbt: Content,
    /// `dbr`: the keys of OS recovery. Not among [`Key::ALL`], as EDK2 does not measure it.
    pub dbr: Content,
    /// `SecureBoot` as it was in a running system or its log; no bytes where the firmware has no Secure Boot.
    pub secure_boot: Content,
    /// EDK2's `SecureBootEnable`: 0 switches Secure Boot off although keys are enrolled.
    pub enable: Content,
    /// shim's variables: `MokList`, `MokListX`, `MokSBState`, `MokListTrusted`, `SbatLevel` and kin.
    pub shim: Vec<Variable>,
    /// What the firmware that logged them measures in PCR 7 beside them, in words. Vendors add `AuditMode`, `DeployedMode`
    /// or a note about DMA protection; EDK2 does not, so that PCR 7 does not follow from the variables there.
    pub beside: Option<String>,
}

impl SecureBootVariables {
    /// Takes the variables out of a machine's store, in which a variable that is missing does not exist.
    #[must_use]
    pub fn from_store(variables: &[Variable]) -> Self {
        let get = |vendor: Guid, name: &str| {
            let found = variables.iter().find(|variable| variable.vendor == vendor && variable.name == name);
            found.map_or(Content::Absent, |variable| variable.data.clone().into())
        };
        let key = |key: Key| get(key.vendor(), key.name());
        let runtime = variables.iter().any(|variable| {
            variable.vendor == GLOBAL_VARIABLE
                && ["SecureBoot", "SetupMode"].contains(&variable.name.as_str())
        });
        Self {
            pk: key(Key::Pk),
            kek: key(Key::Kek),
            db: key(Key::Db),
            dbx: key(Key::Dbx),
            dbt: key(Key::Dbt),
            dbr: get(IMAGE_SECURITY_DATABASE, "dbr"),
            // The store has it only as a volatile variable of a running system.
            secure_boot: if runtime { get(GLOBAL_VARIABLE, "SecureBoot") } else { Content::Unknown },
            enable: if runtime { Content::Unknown } else { get(SECURE_BOOT_ENABLE, "SecureBootEnable") },
            shim: variables.iter().filter(|variable| variable.vendor == SHIM_LOCK).cloned().collect(),
            beside: None,
        }
    }

    /// One of the keys.
    #[must_use]
    pub fn key(&self, key: Key) -> &Content {
        match key {
            Key::Pk => &self.pk,
            Key::Kek => &self.kek,
            Key::Db => &self.db,
            Key::Dbx => &self.dbx,
            Key::Dbt => &self.dbt,
        }
    }

    /// The place of one of the keys.
    pub fn key_mut(&mut self, key: Key) -> &mut Content {
        match key {
            Key::Pk => &mut self.pk,
            Key::Kek => &mut self.kek,
            Key::Db => &mut self.db,
            Key::Dbx => &mut self.dbx,
            Key::Dbt => &mut self.dbt,
        }
    }

    /// Nothing was said about any of them.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        Key::ALL.iter().all(|key| *self.key(*key) == Content::Unknown) && self.secure_boot == Content::Unknown
    }

    /// Secure Boot is on: what the variables say about it, `None` when they leave it open.
    ///
    /// EDK2 `InitSecureBootVariables`: on where PK exists and `SecureBootEnable` is 1 or does not exist.
    #[must_use]
    pub fn state(&self) -> Option<bool> {
        match (&self.secure_boot, &self.pk, &self.enable) {
            (Content::Is(bytes), ..) => Some(bytes.first() == Some(&1)),
            (Content::Absent, ..) | (_, Content::Absent, _) => Some(false),
            (_, Content::Is(_), Content::Absent) => Some(true),
            (_, Content::Is(_), Content::Is(enable)) => Some(enable.first() == Some(&1)),
            _ => None,
        }
    }

    /// The firmware can do Secure Boot, as far as the variables tell: without, `SecureBoot` does not exist.
    #[must_use]
    pub fn supported(&self) -> Option<bool> {
        match (&self.secure_boot, &self.enable) {
            (Content::Is(_), _) | (_, Content::Is(_)) => Some(true),
            (Content::Absent, _) => Some(false),
            _ => None,
        }
    }

    /// The databases that images are checked against; `None` when `db` or `dbx` is not known.
    ///
    /// # Errors
    /// The variable's name, and what is wrong with its content.
    pub fn databases(&self) -> Result<Option<Databases>, (Key, ParseError)> {
        let parse = |key: Key| match self.key(key).bytes() {
            Some(bytes) => Database::parse(bytes).map(Some).map_err(|error| (key, error)),
            None => Ok(None),
        };
        let (Some(db), Some(dbx)) = (parse(Key::Db)?, parse(Key::Dbx)?) else { return Ok(None) };
        Ok(Some(Databases { db, dbx, has_dbt: matches!(self.dbt, Content::Is(_)) }))
    }

    /// Every key that is known is made of signature lists.
    ///
    /// # Errors
    /// The first variable that is not, and what is wrong with it.
    pub fn check(&self) -> Result<(), (Key, ParseError)> {
        for key in Key::ALL {
            let bytes = self.key(key).bytes().unwrap_or_default();
            Database::parse(bytes).map_err(|error| (key, error))?;
        }
        Ok(())
    }
}

/// An efivarfs file: 4 bytes of attributes, then the content (Linux `Documentation/filesystems/efivarfs.rst`). The file's
/// name is the variable's, a dash, and the vendor's GUID; without the latter (copies are often kept so) it is told from
/// the name.
///
/// # Errors
/// When the file is shorter than its attributes, or larger than any variable.
pub fn efivarfs_variable(file_name: &str, bytes: &[u8]) -> Result<Option<Variable>, ParseError> {
    let mut reader = Reader::new(bytes);
    let split = file_name.len().checked_sub(37).and_then(|at| file_name.split_at_checked(at));
    let named = split.and_then(|(name, rest)| Some((name, rest.strip_prefix('-')?.parse().ok()?)));
    let Some((name, vendor)) = named.or_else(|| Some((file_name, vendor_of(file_name)?))) else {
        return Ok(None);
    };
    let attributes = reader.u32("attributes")?;
    if reader.remaining() as u64 > MAX_VARIABLE {
        let kind = ParseErrorKind::TooLarge { found: reader.remaining() as u64, limit: MAX_VARIABLE };
        return Err(reader.error("variable", kind));
    }
    Ok(Some(Variable { vendor, name: name.to_owned(), attributes, data: reader.rest().to_vec() }))
}

fn vendor_of(name: &str) -> Option<Guid> {
    let key = Key::ALL.into_iter().find(|key| key.name() == name).map(Key::vendor);
    let boot = ["SecureBoot", "SetupMode", "BootOrder", "BootNext"].contains(&name)
        || name.strip_prefix("Boot").is_some_and(|rest| rest.len() == 4);
    let loader = name.starts_with("Loader").then_some(SYSTEMD_LOADER);
    let key = key.or((name == "dbr").then_some(IMAGE_SECURITY_DATABASE));
    key.or(boot.then_some(GLOBAL_VARIABLE)).or(loader)
}
