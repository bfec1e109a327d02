//! `premeasure quote`: has a TPM quote its PCRs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::output::{hinted, note, write_to};
use super::tpm::{self, DEFAULT_TCTI, Kind, Nonce, Pcrs, parse_nonce, parse_selection};
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
    #[arg(long, value_name = "HEX", value_parser = parse_nonce)]
    nonce: Nonce,
    /// PCRs, as tpm2-tools has them: BANK:N,N+BANK:N
    #[arg(long, value_name = "LIST", value_parser = parse_selection)]
    pcrs: Pcrs,
    /// Where the TPM is: device:PATH, swtpm:host=H,port=N, mssim:..., tabrmd:...
    #[arg(long, value_name = "TCTI", default_value = DEFAULT_TCTI)]
    tcti: String,
    /// Kind of key
    #[arg(long, value_enum, default_value_t = Kind::Ecc)]
    key: Kind,
    /// Folder to write to; it has to exist
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
}

pub(super) fn run(args: &QuoteArgs) -> anyhow::Result<ExitCode> {
    if !args.output.is_dir() {
        return Err(hinted(
            format!("{}: is no folder", args.output.display()),
            "make it, or name another one with -o",
        ));
    }
    let quote = tpm::quote(&args.tcti, &args.nonce.0, &args.pcrs, args.key)?;
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
