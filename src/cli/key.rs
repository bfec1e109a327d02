//! The key that signs: a PEM file, with its passphrase by prompt, environment or file descriptor.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use clap::Args;
use zeroize::Zeroizing;

use super::input::read_small;
use crate::sign::{PrivateKey, SignError, Signer};

/// Largest key file, in bytes.
const MAX_KEY: u64 = 1 << 20;

/// Longest passphrase, in bytes.
const MAX_PASSPHRASE: u64 = 64 << 10;

/// Which key.
#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// Private key that signs, in PEM
    #[arg(long, value_name = "PEM", help_heading = "Signing")]
    key: Option<PathBuf>,
    /// Environment variable with the key's passphrase [default: asks on the terminal]
    #[arg(
        long,
        value_name = "NAME",
        requires = "key",
        conflicts_with = "passphrase_fd",
        help_heading = "Signing"
    )]
    passphrase_env: Option<String>,
    /// File descriptor to read the key's passphrase from, as in 3<FILE; a final newline does not count
    #[arg(long, value_name = "N", requires = "key", help_heading = "Signing")]
    passphrase_fd: Option<u32>,
}

impl KeyArgs {
    /// Opens the key, when one was given.
    pub(super) fn signer(&self) -> anyhow::Result<Option<Box<dyn Signer>>> {
        let Some(path) = &self.key else { return Ok(None) };
        let pem = Zeroizing::new(read_small(path, MAX_KEY)?);
        let key = PrivateKey::from_pem(&pem, &mut || self.passphrase())
            .map_err(|error| anyhow::Error::new(error).context(path.display().to_string()))?;
        Ok(Some(Box::new(key)))
    }

    fn passphrase(&self) -> Result<Zeroizing<String>, SignError> {
        let failed = |error: String| SignError::NoPassphrase(error);
        if let Some(name) = &self.passphrase_env {
            return std::env::var(name)
                .map(Zeroizing::new)
                .map_err(|error| failed(format!("{name}: {error}")));
        }
        if let Some(number) = self.passphrase_fd {
            return from_descriptor(number)
                .map_err(|error| failed(format!("file descriptor {number}: {error}")));
        }
        if !std::io::stderr().is_terminal() {
            return Err(failed(
                "no terminal to ask on; use --passphrase-env NAME or --passphrase-fd N".to_owned(),
            ));
        }
        rpassword::prompt_password("Passphrase of the key: ")
            .map(Zeroizing::new)
            .map_err(|error| failed(error.to_string()))
    }
}

/// Reads through `/dev/fd`, which opens the descriptor's file without taking the descriptor over.
fn from_descriptor(number: u32) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    std::fs::File::open(format!("/dev/fd/{number}"))?.take(MAX_PASSPHRASE).read_to_string(&mut text)?;
    let length = text.trim_end_matches(['\n', '\r']).len();
    text.truncate(length);
    Ok(text)
}
