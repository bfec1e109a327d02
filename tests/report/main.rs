//! `--html`: pages as a browser's parser reads them, of real boots and of hostile files.

#[path = "../support/mod.rs"]
mod support;

mod hostile;
mod page;
mod pages;
mod writing;
