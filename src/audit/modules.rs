//! The kernel's modules, where the root file system is visible: a kernel without its own modules boots, but not far.

use super::{Finding, Severity};
use crate::boot::{BootChain, Payload};
use crate::uki::{Kernel, MAX_TEXT, SectionLookup, SectionSet};
use crate::walk::{Medium, Walk};

pub(super) fn check(medium: &Medium, walk: &Walk, findings: &mut Vec<Finding>) {
    let Some(folders) = &medium.modules else { return };
    for boot in &walk.boots {
        let Ok(chain) = &boot.chain else { continue };
        let Some(release) = release(chain) else { continue };
        if !folders.contains(&release) {
            let there = if folders.is_empty() { "nothing".to_owned() } else { folders.join(", ") };
            let text = format!("its kernel is {release}, but /usr/lib/modules has {there}");
            findings.push(Finding::new(Severity::Error, "modules-missing", &boot.id, text));
        }
    }
}

/// What `uname -r` will say: `.uname`, or the first word of the kernel's own version.
fn release(chain: &BootChain) -> Option<String> {
    let image = &chain.uki.image;
    let of_kernel = |text: String| text.split_whitespace().next().map(str::to_owned);
    if chain.payload == Payload::Kernel {
        return of_kernel(Kernel::parse(&image.file).ok()??.version_text?);
    }
    if chain.payload != Payload::UnifiedKernelImage {
        return None;
    }
    let sections = SectionSet::with_profile(image, SectionLookup::FirstExact, 0).ok()?;
    if let Some(section) = sections.get(".uname").ok()? {
        return Some(section.read_text(MAX_TEXT).ok()?.trim().to_owned());
    }
    let kernel = sections.get(".linux").ok()??;
    of_kernel(Kernel::parse(&kernel.data).ok()??.version_text?)
}
