//! GRUB: what a GRUB image brings along, its script language, and a run of its configuration.
//!
//! GRUB extends PCR 8 with every command that it runs and PCR 9 with every file that it opens. Where the configuration
//! and the files lie on a volume that can be read, both follow from them; the run ends at the first thing that they do
//! not decide.
//!
//! Sources: GRUB 2.06, 2.12 and 2.14 (`grub-core/script`, `grub-core/normal`, `grub-core/kern/dl.c`,
//! `grub-core/commands`); compared with real boots of Debian's builds, signed and put together by `grub-mkimage`.

mod build;
mod image;
mod module;
mod run;
mod script;

pub use build::{GrubBuild, GrubVersion, KernelStart};
pub use image::{GrubError, GrubImage};
pub use run::{Grub, GrubFiles, GrubPartition, Step, Stop, Trace};
pub use script::{Script, ScriptError};
