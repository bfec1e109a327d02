//! The key that signs: a PEM file or a key on a token, with passphrase or PIN by prompt, environment or file descriptor.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use clap::Args;
use zeroize::Zeroizing;

use super::input::read_small;
use super::output::hinted;
use crate::sign::{PrivateKey, SignError, Signer};

/// Largest key file, in bytes.
const MAX_KEY: u64 = 1 << 20;

/// Longest passphrase, in bytes.
const MAX_PASSPHRASE: u64 = 64 << 10;

/// Which key.
#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// Private key that signs, in PEM; with the feature pkcs11 also a key on a token, as pkcs11:token=...;object=...
    #[arg(long, value_name = "PEM|URI", help_heading = "Signing")]
    key: Option<PathBuf>,
    /// Library of the token (PKCS #11 module) that has the key
    #[cfg(feature = "pkcs11")]
    #[arg(long, value_name = "PATH", requires = "key", help_heading = "Signing")]
    pkcs11_module: Option<PathBuf>,
    /// Environment variable with the key's passphrase or the token's PIN [default: asks on the terminal]
    #[arg(
        long,
        value_name = "NAME",
        requires = "key",
        conflicts_with = "passphrase_fd",
        help_heading = "Signing"
    )]
    passphrase_env: Option<String>,
    /// File descriptor to read the passphrase or PIN from, as in 3<FILE; a final newline does not count
    #[arg(long, value_name = "N", requires = "key", help_heading = "Signing")]
    passphrase_fd: Option<u32>,
}

impl KeyArgs {
    /// The file of the key; none on a token.
    pub(super) fn file(&self) -> Option<&std::path::Path> {
        self.key.as_deref().filter(|path| !path.to_str().is_some_and(|path| path.starts_with("pkcs11:")))
    }

    /// Opens the key, when one was given.
    pub(super) fn signer(&self) -> anyhow::Result<Option<Box<dyn Signer>>> {
        let Some(path) = &self.key else { return Ok(None) };
        if let Some(uri) = path.to_str().filter(|path| path.starts_with("pkcs11:")) {
            return self.token(uri).map(Some);
        }
        let pem = Zeroizing::new(read_small(path, MAX_KEY)?);
        let key = PrivateKey::from_pem(&pem, &mut || self.passphrase())
            .map_err(|error| anyhow::Error::new(error).context(path.display().to_string()))?;
        Ok(Some(Box::new(key)))
    }

    #[cfg(feature = "pkcs11")]
    fn token(&self, uri: &str) -> anyhow::Result<Box<dyn Signer>> {
        use crate::sign::{KeyUri, TokenKey};
        let uri = KeyUri::parse(uri)?;
        let module = self.pkcs11_module.as_ref().ok_or_else(|| {
            hinted(
                "a key on a token needs --pkcs11-module PATH",
                "it is the token's library, such as softhsm2's /usr/lib/softhsm/libsofthsm2.so",
            )
        })?;
        let key = TokenKey::open(module, &uri, &mut || self.passphrase())
            .map_err(|error| anyhow::Error::new(error).context(module.display().to_string()))?;
        Ok(Box::new(key))
    }

    #[cfg(not(feature = "pkcs11"))]
    #[expect(clippy::unused_self, reason = "one signature with and without the feature")]
    fn token(&self, _: &str) -> anyhow::Result<Box<dyn Signer>> {
        Err(hinted(
            "this premeasure can't use keys on tokens",
            "build it with them: cargo install premeasure --features pkcs11",
        ))
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
        rpassword::prompt_password("Passphrase or PIN of the key: ")
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
