//! `premeasure inspect FILE`.

mod medium;
mod render;
mod render_uki;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::medium::{Subject, WalkArgs, identify};
use super::progress::Bar;
use super::{input, output};
use crate::inspect::{DEFAULT_BANKS, InspectError, Options, inspect};
use crate::pe::PeError;
use crate::tcg::HashAlgorithm;
use crate::walk::Medium;

/// Shows what a PE file or a disk is and carries: headers, sections, image digest, signers, and the parts of a UKI; of a
/// disk also its partitions and its boot menu
///
/// Nothing is judged here. What is unusual is listed under "Findings", and the exit code is 0 all the same; a file
/// that is no PE image is an error (exit code 2).
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// UKI, addon, boot loader or kernel, a disk image, a boot partition, a container image, or a folder; `-` reads standard
    /// input
    file: PathBuf,
    #[command(flatten)]
    walk: WalkArgs,

    /// Bank of the image digest: sha1, sha256, sha384, sha512 or sm3-256; repeatable [default: sha256, sha384]
    #[arg(long = "bank", value_name = "BANK")]
    banks: Vec<HashAlgorithm>,

    /// Print the SHA-256 of each section's loaded contents, and all of the header
    #[arg(long, short, conflicts_with = "json")]
    verbose: bool,

    /// Print JSON instead (schemas/inspect.schema.json; of a disk schemas/medium.schema.json)
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let subject = identify(&args.file, &args.walk)?;
    let options = Options {
        banks: if args.banks.is_empty() { DEFAULT_BANKS.to_vec() } else { args.banks.clone() },
        section_digests: args.json || args.verbose,
    };
    let file = match subject {
        Subject::Program(file) | Subject::Other(file, _) => file,
        Subject::Medium(found) => return run_medium(&found, args, &options),
    };
    let name = input::display_name(&args.file);
    let bar = Bar::new();
    bar.start(file.len());
    let inspection = inspect(&file, &name, &options, &|bytes| bar.advance(bytes));
    bar.finish();
    let inspection = inspection.map_err(hint).with_context(|| shown_path(args))?;
    if args.json {
        output::print_json(&inspection)?;
    } else {
        output::print(&render::text(&inspection, args.verbose))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn run_medium(found: &Medium, args: &InspectArgs, options: &Options) -> anyhow::Result<ExitCode> {
    let facts = medium::facts(found, &args.file, options, &args.walk)?;
    if args.json {
        output::print_json(&facts)?;
    } else {
        output::print(&medium::text(&facts, args.verbose))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn shown_path(args: &InspectArgs) -> String {
    match args.file.to_str() {
        Some("-") => "standard input".to_owned(),
        _ => args.file.display().to_string(),
    }
}

/// What to do about a file that is no PE image.
fn hint(error: InspectError) -> anyhow::Error {
    let hint = match &error {
        InspectError::Pe(PeError::NotPe { .. }) => {
            "name an EFI program: a UKI, an addon, a boot loader or a kernel with an EFI stub; unpack it first if it \
             is compressed"
        }
        InspectError::Pe(PeError::Truncated { .. }) => {
            "the file is cut off: compare its size with the original's"
        }
        _ => return error.into(),
    };
    output::hinted(error.to_string(), hint)
}
