//! `--html`: a report beside the normal output.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::report::Page;
use crate::source::write_atomically;

/// Where the report goes.
#[derive(Debug, Args)]
pub(super) struct HtmlArgs {
    /// Also write a report to FILE, atomically: one HTML page that needs no network, no server and no script
    #[arg(long = "html", value_name = "FILE", value_parser = parse_file)]
    file: Option<PathBuf>,
}

impl HtmlArgs {
    pub(super) fn is_given(&self) -> bool {
        self.file.is_some()
    }

    /// Writes the page, if one is asked for, with the JSON that `--json` prints inside.
    pub(super) fn write(&self, parts: impl FnOnce() -> anyhow::Result<(Page, String)>) -> anyhow::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let (page, json) = parts()?;
        Ok(write_atomically(file, page.html(&json).as_bytes())?)
    }
}

/// Standard output has the result already.
fn parse_file(text: &str) -> Result<PathBuf, String> {
    match text {
        "-" => {
            Err("the report goes beside the result on standard output: name a file, or /dev/fd/N".to_owned())
        }
        name => Ok(Path::new(name).to_owned()),
    }
}
