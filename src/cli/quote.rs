//! `premeasure quote`: has a TPM quote its PCRs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::output::{hinted, note, write_to};
use crate::live::{LiveKey, LiveTpm};
use crate::tcg::{HashAlgorithm, PcrIndex, PcrValues};

/// Have a TPM quote its PCRs, with a key made for it.
///
/// Writes what `premeasure verify` reads: quote.msg, quote.sig, pcrs.json and ak.pub. The key is a throw-away one of the
/// null hierarchy: it is gone after a restart, and nobody vouches for it, so that the verifier has to be told of it over a
/// channel that it trusts. Extends nothing and stores nothing in the TPM.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  premeasure quote --nonce 8f3a... --pcrs sha256:4,7,9,11,12 -o evidence/
  premeasure quote --nonce 8f3a... --pcrs sha256:4,9+sha384:4,9 --tcti swtpm:host=localhost,port=2321 -o evidence/")]
pub(super) struct QuoteArgs {
    /// Nonce of the verifier, in hexadecimal
    #[arg(long, value_name = "HEX")]
    nonce: String,
    /// PCRs, as tpm2-tools has them: BANK:N,N+BANK:N
    #[arg(long, value_name = "LIST", value_parser = parse_selection)]
    pcrs: Pcrs,
    /// Where the TPM is: device:PATH, swtpm:host=H,port=N, mssim:..., tabrmd:...
    #[arg(long, value_name = "TCTI", default_value = "device:/dev/tpmrm0")]
    tcti: String,
    /// Kind of key
    #[arg(long, value_enum, default_value_t = Kind::Ecc)]
    key: Kind,
    /// Folder to write to; it has to exist
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// RSA 2048, RSASSA with SHA-256
    Rsa,
    /// ECDSA P-256 with SHA-256
    Ecc,
}

#[derive(Debug, Clone)]
struct Pcrs(Vec<(HashAlgorithm, Vec<PcrIndex>)>);

fn parse_selection(text: &str) -> Result<Pcrs, String> {
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

pub(super) fn run(args: &QuoteArgs) -> anyhow::Result<ExitCode> {
    let nonce = hex::decode(&args.nonce).context("--nonce")?;
    if !args.output.is_dir() {
        return Err(hinted(
            format!("{}: is no folder", args.output.display()),
            "make it, or name another one with -o",
        ));
    }
    let kind = match args.key {
        Kind::Rsa => LiveKey::Rsa,
        Kind::Ecc => LiveKey::Ecc,
    };
    let mut tpm = LiveTpm::open(&args.tcti).with_context(|| args.tcti.clone())?;
    let quote = tpm.quote(&nonce, &args.pcrs.0, kind)?;
    let write = |name: &str, bytes: &[u8]| write_to(&args.output.join(name), bytes);
    write("quote.msg", &quote.message)?;
    write("quote.sig", &quote.signature)?;
    write("ak.pub", &quote.public_area)?;
    write("pcrs.json", &serde_json::to_vec_pretty(&json(&quote.values))?)?;
    note(format!("quote.msg, quote.sig, pcrs.json and ak.pub are in {}", args.output.display()));
    Ok(ExitCode::SUCCESS)
}

fn json(values: &PcrValues) -> BTreeMap<&'static str, BTreeMap<u8, String>> {
    let bank = |(bank, values): (HashAlgorithm, &BTreeMap<PcrIndex, crate::tcg::Digest>)| {
        (bank.name(), values.iter().map(|(pcr, value)| (pcr.get(), value.to_string())).collect())
    };
    values.banks().map(bank).collect()
}
