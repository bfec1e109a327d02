//! A live TPM on the command line: what is asked of it, and what a build without tpm2-tss says instead.

use std::path::Path;

use clap::ValueEnum;

use crate::tcg::{HashAlgorithm, PcrIndex, PcrValues};

/// Where Linux has the TPM, behind its resource manager.
pub(super) const DEFAULT_TCTI: &str = "device:/dev/tpmrm0";
/// Largest nonce, in bytes: what `extraData` can hold of every TPM.
const MAX_NONCE: usize = 64;

/// The verifier's nonce.
#[derive(Debug, Clone)]
pub(super) struct Nonce(pub(super) Vec<u8>);

pub(super) fn parse_nonce(text: &str) -> Result<Nonce, String> {
    let bytes = hex::decode(text).map_err(|error| error.to_string())?;
    match bytes.len() {
        1..=MAX_NONCE => Ok(Nonce(bytes)),
        length => Err(format!("{length} bytes, expected 1 to {MAX_NONCE}")),
    }
}

/// PCRs by bank.
#[derive(Debug, Clone)]
pub(super) struct Pcrs(pub(super) Vec<(HashAlgorithm, Vec<PcrIndex>)>);

/// `BANK:N,N+BANK:N`, as tpm2-tools has it.
pub(super) fn parse_selection(text: &str) -> Result<Pcrs, String> {
    let bank = |part: &str| {
        let (bank, pcrs) =
            part.split_once(':').ok_or_else(|| format!("'{part}' is not of the form BANK:N,N"))?;
        let bank: HashAlgorithm =
            bank.parse().map_err(|error: crate::tcg::UnknownAlgorithm| error.to_string())?;
        let pcr = |word: &str| {
            let number = word.trim().parse::<u32>().map_err(|error| format!("'{word}': {error}"))?;
            PcrIndex::try_from(number).map_err(|error| error.to_string())
        };
        let mut pcrs = pcrs.split(',').map(pcr).collect::<Result<Vec<_>, String>>()?;
        pcrs.sort_unstable();
        pcrs.dedup();
        Ok::<_, String>((bank, pcrs))
    };
    text.split('+').map(bank).collect::<Result<Vec<_>, String>>().map(Pcrs)
}

/// The kind of a throw-away key.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Kind {
    /// RSA 2048, RSASSA with SHA-256
    Rsa,
    /// ECDSA P-256 with SHA-256
    Ecc,
}

/// A quote, in the forms that `verify` reads.
pub(super) struct Quoted {
    /// `TPMS_ATTEST`.
    pub(super) message: Vec<u8>,
    /// `TPMT_SIGNATURE`.
    pub(super) signature: Vec<u8>,
    /// `TPMT_PUBLIC`.
    pub(super) public_area: Vec<u8>,
    /// The values under it.
    pub(super) values: PcrValues,
}

/// PCR values with where they were read, unless they are to be read from sysfs: from the TPM that is named, or from the
/// machine's own where Linux (before 5.12) has none in sysfs and this build can ask for them.
pub(super) fn values(tcti: Option<&str>, root: &Path) -> anyhow::Result<Option<(String, PcrValues)>> {
    let tcti = match tcti {
        Some(tcti) => tcti,
        None if is_asked_for(root) => DEFAULT_TCTI,
        None => return Ok(None),
    };
    Ok(Some((tcti.to_owned(), live::read(tcti)?)))
}

fn is_asked_for(root: &Path) -> bool {
    let in_sysfs =
        |bank: &HashAlgorithm| Path::new("/sys/class/tpm/tpm0").join(format!("pcr-{bank}")).is_dir();
    cfg!(feature = "tpm")
        && root == Path::new("/")
        && Path::new("/dev/tpmrm0").exists()
        && !HashAlgorithm::ALL.iter().any(in_sysfs)
}

pub(super) use live::quote;

#[cfg(feature = "tpm")]
mod live {
    use anyhow::Context as _;

    use super::{Kind, PcrValues, Pcrs, Quoted};
    use crate::live::{LiveKey, LiveTpm};

    pub(in crate::cli) fn quote(tcti: &str, nonce: &[u8], pcrs: &Pcrs, kind: Kind) -> anyhow::Result<Quoted> {
        let kind = match kind {
            Kind::Rsa => LiveKey::Rsa,
            Kind::Ecc => LiveKey::Ecc,
        };
        let mut tpm = LiveTpm::open(tcti).with_context(|| tcti.to_owned())?;
        let quote = tpm.quote(nonce, &pcrs.0, kind).with_context(|| tcti.to_owned())?;
        let crate::live::LiveQuote { message, signature, public_area, values } = quote;
        Ok(Quoted { message, signature, public_area, values })
    }

    pub(super) fn read(tcti: &str) -> anyhow::Result<PcrValues> {
        let mut tpm = LiveTpm::open(tcti).with_context(|| tcti.to_owned())?;
        tpm.read_all().with_context(|| tcti.to_owned())
    }
}

#[cfg(not(feature = "tpm"))]
mod live {
    use super::{Kind, PcrValues, Pcrs, Quoted};
    use crate::cli::output::hinted;

    pub(in crate::cli) fn quote(_: &str, _: &[u8], _: &Pcrs, _: Kind) -> anyhow::Result<Quoted> {
        Err(hinted(
            "--quote: this build of premeasure can't ask a TPM for a quote",
            "build it with --features tpm (Debian: libtss2-dev), or have tpm2_quote make one and name its files: \
             --quote-files MSG SIG AK PCRS",
        ))
    }

    pub(super) fn read(tcti: &str) -> anyhow::Result<PcrValues> {
        Err(hinted(
            format!("--tcti {tcti}: this build of premeasure reads PCRs from sysfs only"),
            "build it with --features tpm (Debian: libtss2-dev), leave --tcti out, or give the output of tpm2_pcrread",
        ))
    }
}
