//! `premeasure quote` of a build that can't ask a TPM: says which build can.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;

use super::output::hinted;

/// Have a TPM quote its PCRs (takes a build with the feature tpm).
///
/// This build of premeasure has no access to a TPM's commands: `premeasure quote` is an error in it, whatever follows. One that
/// was built with --features tpm (Debian: libtss2-dev and pkg-config) writes what `premeasure verify` reads: quote.msg,
/// quote.sig, pcrs.json and ak.pub. So do the programs of tpm2-tools.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo build --release --features tpm                  a build that can
  premeasure quote --nonce 8f3a... --pcrs sha256:4,7,9,11,12 -o evidence/
                                                        then does it
  tpm2_quote -c ak.ctx -l sha256:4,7,9,11,12 -q 8f3a... -m quote.msg -s quote.sig -o quote.pcrs
                                                        does it without one")]
pub(super) struct QuoteArgs {
    /// Anything: options are not looked at, so that the first thing said is not that one is missing
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _arguments: Vec<OsString>,
}

pub(super) fn run(_: &QuoteArgs) -> anyhow::Result<ExitCode> {
    Err(hinted(
        "this build of premeasure can't ask a TPM for a quote",
        "build it with --features tpm (Debian: libtss2-dev), or make the quote with another program: \
         tpm2_quote -c AK -l sha256:4,9,11 -q NONCE -m MSG -s SIG -o PCRS",
    ))
}
