//! `premeasure inspect` of something to boot from: its partitions, its boot menu, and the programs that take part.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use crate::cli::medium::{Machine, WalkArgs, walk_of};
use crate::cli::output::{FAINT, STRONG, printable, styled};
use crate::cli::table::{Align, Cell, Table};
use crate::inspect::{Inspection, Options, inspect};
use crate::walk::{Medium, Walk};

/// What was found on a medium.
#[derive(Debug, Serialize)]
pub(super) struct MediumFacts {
    /// Name and version of this form.
    schema: &'static str,
    /// How the boot is walked.
    walked: Vec<String>,
    /// What deserves a second look.
    warnings: Vec<String>,
    /// The partition table's entries in use.
    partitions: Vec<PartitionFacts>,
    /// Ways to boot, in the order of the boot menu.
    boots: Vec<BootFacts>,
    /// The programs of those boots.
    programs: Vec<Inspection>,
}

#[derive(Debug, Serialize)]
struct PartitionFacts {
    number: u32,
    name: String,
    type_guid: String,
    unique_guid: String,
    /// Offset in the image, in bytes.
    offset: u64,
    /// Length in bytes.
    size: u64,
}

#[derive(Debug, Serialize)]
struct BootFacts {
    id: String,
    /// It is the one that is booted when nobody chooses.
    chosen: bool,
    profile: u32,
    /// Files that its boot reads, with what they are for.
    files: Vec<(String, &'static str)>,
    /// Why it can't boot.
    error: Option<String>,
}

/// Collects the facts.
pub(super) fn facts(
    medium: &Medium,
    path: &Path,
    options: &Options,
    args: &WalkArgs,
) -> anyhow::Result<MediumFacts> {
    let walk = walk_of(medium, path, args, Machine::default())?;
    let partitions = medium.table.iter().flat_map(|table| {
        table.partitions.iter().map(|partition| {
            let block = u64::from(table.block_size);
            let blocks = partition.last_lba.saturating_sub(partition.first_lba).saturating_add(1);
            PartitionFacts {
                number: partition.number,
                name: partition.name.clone(),
                type_guid: partition.type_guid.to_string(),
                unique_guid: partition.unique_guid.to_string(),
                offset: partition.first_lba.saturating_mul(block),
                size: blocks.saturating_mul(block),
            }
        })
    });
    Ok(MediumFacts {
        schema: "premeasure-medium-1",
        partitions: partitions.collect(),
        boots: boots(&walk),
        programs: programs(&walk, options)?,
        walked: walk.steps,
        warnings: walk.warnings,
    })
}

fn boots(walk: &Walk) -> Vec<BootFacts> {
    let boots = walk.boots.iter().enumerate();
    boots
        .map(|(index, boot)| BootFacts {
            id: boot.id.clone(),
            chosen: walk.chosen == Some(index),
            profile: boot.profile,
            files: boot
                .chain
                .iter()
                .flat_map(|chain| &chain.inputs)
                .map(|i| (i.name.clone(), i.role.name()))
                .collect(),
            error: boot.chain.as_ref().err().cloned(),
        })
        .collect()
}

/// Each program once.
fn programs(walk: &Walk, options: &Options) -> anyhow::Result<Vec<Inspection>> {
    let mut seen = BTreeSet::new();
    let mut programs = Vec::new();
    for chain in walk.boots.iter().filter_map(|boot| boot.chain.as_ref().ok()) {
        let addons = chain.addons.iter().map(|(_, addon)| addon);
        for image in
            chain.shim.iter().chain(&chain.loader).chain(&chain.drivers).chain([&chain.uki]).chain(addons)
        {
            let Some(input) = chain.inputs.get(image.input.0) else { continue };
            if seen.insert(input.name.clone()) {
                programs.push(inspect(&input.file, &input.name, options, &|_| ())?);
            }
        }
    }
    Ok(programs)
}

/// The facts as text.
pub(super) fn text(facts: &MediumFacts, verbose: bool) -> String {
    let mut text = crate::cli::render::walk(&facts.walked);
    if !facts.partitions.is_empty() {
        let columns = [
            ("", Align::Right),
            ("PARTITION", Align::Left),
            ("MIB", Align::Right),
            ("TYPE", Align::Left),
            ("UUID", Align::Left),
        ];
        let mut table = Table::new(columns);
        for partition in &facts.partitions {
            table.row([
                Cell::from(partition.number.to_string()),
                Cell::from(&partition.name),
                Cell::from((partition.size >> 20).to_string()),
                Cell::styled(&partition.type_guid, FAINT),
                Cell::styled(&partition.unique_guid, FAINT),
            ]);
        }
        let _ = write!(text, "\n{}", table.render(0));
    }
    let mut table = Table::new([("", Align::Left), ("ENTRY", Align::Left), ("FILES", Align::Left)]);
    for boot in &facts.boots {
        let files = boot.files.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        let files = boot.error.as_ref().map_or(files, |error| format!("can't boot: {error}"));
        table.row([
            Cell::from(if boot.chosen { "*" } else { "" }),
            Cell::from(&boot.id),
            Cell::styled(files, FAINT),
        ]);
    }
    let _ = write!(text, "\n{}", table.render(0));
    for program in &facts.programs {
        let _ = write!(
            text,
            "\n{}\n{}",
            styled(STRONG, printable(&program.file.name)),
            super::render::text(program, verbose)
        );
    }
    text
}
