//! What a UKI, addon or kernel carries, for people.

use std::collections::BTreeMap;

use super::super::output::printable;
use super::super::table::{Align, Cell, Table};
use super::render::{facts, heading, size};
use crate::inspect::{Contents, Inspection, KernelFacts, ProfileFacts, UkiFacts, Word};

/// Lines of `.osrel` that are shown; JSON has all.
const OS_RELEASE_SHOWN: [&str; 6] =
    ["PRETTY_NAME", "ID", "VERSION_ID", "IMAGE_ID", "IMAGE_VERSION", "BUILD_ID"];

pub(super) fn text(inspection: &Inspection) -> String {
    let mut text = String::new();
    if let Some(uki) = &inspection.uki {
        text += &contents(uki, inspection.kernel.as_ref());
        text += &profiles(uki);
    } else if let Some(kernel) = &inspection.kernel {
        text += &heading("Kernel");
        text += &facts(2, kernel_facts(kernel));
    }
    text += &sbat(inspection);
    text
}

fn contents(uki: &UkiFacts, kernel: Option<&KernelFacts>) -> String {
    let mut rows = content_facts(&uki.base);
    if let Some(kernel) = kernel {
        rows.extend(kernel_facts(kernel));
    }
    let mut text = if rows.is_empty() { String::new() } else { heading("Contents") + &facts(2, rows) };
    if !uki.base.parts.is_empty() {
        text += &heading("Parts");
        text += &parts(&uki.base);
    }
    text
}

fn content_facts(contents: &Contents) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if let Some(fields) = &contents.os_release {
        rows.push(("os-release", shown_fields(fields)));
    }
    rows.extend(contents.uname.clone().map(|uname| ("uname", uname)));
    if let Some(line) = &contents.cmdline {
        rows.push(("command line", line.text.clone()));
        rows.extend(line.verity.iter().map(|word| ("verity", format!("{}={}", word.name, word.value))));
    }
    if let Some(key) = &contents.pcr_public_key {
        rows.push(("PCR policy key", format!("{} (pkfp)", key.pkfp)));
        rows.push(("", format!("{} (SHA-256 of SubjectPublicKeyInfo)", key.spki_sha256)));
    }
    rows.extend(pcr_signatures(contents).into_iter().map(|text| ("PCR signatures", text)));
    let counts = [
        ("devicetrees", contents.dtbauto, ".dtbauto, one is chosen by the machine"),
        ("firmware images", contents.efifw, ".efifw, one is chosen by the machine"),
        ("hardware IDs", contents.hwids.unwrap_or(0), "in .hwids"),
    ];
    let counts = counts.into_iter().filter(|(_, count, _)| *count != 0);
    rows.extend(counts.map(|(name, count, what)| (name, format!("{count} {what}"))));
    rows
}

/// One line for all banks that are alike: `sha256, sha384: 4 signatures each over PCR 11 by that key`.
fn pcr_signatures(contents: &Contents) -> Vec<String> {
    let key = contents.pcr_public_key.as_ref().map(|key| key.pkfp.as_str());
    let mut alike: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for bank in contents.pcr_signatures.iter().flatten() {
        let pcrs: Vec<String> = bank.pcrs.iter().map(u32::to_string).collect();
        let own = bank.keys.iter().all(|signer| Some(signer.as_str()) == key);
        let by = if own { "by that key" } else { "not by that key" };
        let text = format!("{} signatures each over PCR {} {by}", bank.signatures, pcrs.join(", "));
        alike.entry(text).or_default().push(&bank.bank);
    }
    alike.into_iter().map(|(text, banks)| format!("{}: {text}", banks.join(", "))).collect()
}

fn shown_fields(fields: &[Word]) -> String {
    let shown = OS_RELEASE_SHOWN.iter().filter_map(|name| fields.iter().find(|field| field.name == *name));
    let shown: Vec<String> = shown.map(|field| format!("{}={}", field.name, field.value)).collect();
    if shown.is_empty() { format!("{} fields", fields.len()) } else { shown.join(", ") }
}

fn kernel_facts(kernel: &KernelFacts) -> Vec<(&'static str, String)> {
    let version = kernel.version.as_deref().unwrap_or("version unknown");
    let mut what: Vec<String> = Vec::new();
    what.extend(kernel.format.map(str::to_owned));
    what.extend(kernel.machine.clone());
    match (kernel.major_image_version, kernel.minor_image_version) {
        (Some(major), Some(minor)) => what.push(format!("image version {major}.{minor}")),
        _ => what.push("no PE image".to_owned()),
    }
    what.push(if kernel.signed { "signed" } else { "unsigned" }.to_owned());
    vec![("kernel", version.to_owned()), ("", what.join(", "))]
}

/// Sizes of the parts, largest first.
fn parts(contents: &Contents) -> String {
    let mut table = Table::new([("", Align::Left), ("", Align::Left)]);
    let mut parts: Vec<(&String, &u64)> = contents.parts.iter().collect();
    parts.sort_by_key(|(_, size)| std::cmp::Reverse(**size));
    for (name, bytes) in parts {
        table.row([Cell::from(name), Cell::from(size(*bytes))]);
    }
    table.render(2)
}

fn profiles(uki: &UkiFacts) -> String {
    if uki.profiles.is_empty() {
        return String::new();
    }
    let mut text = heading("Profiles (their sections replace those of the base)");
    for profile in &uki.profiles {
        text += &one_profile(profile);
    }
    text
}

fn one_profile(profile: &ProfileFacts) -> String {
    let name = match (&profile.id, &profile.title) {
        (Some(id), Some(title)) => format!("{id}: {title}"),
        (Some(one), None) | (None, Some(one)) => one.clone(),
        (None, None) => "unnamed".to_owned(),
    };
    let sections: Vec<&str> = profile.contents.parts.keys().map(String::as_str).collect();
    let mut rows = vec![("sections", sections.join(" "))];
    rows.extend(content_facts(&profile.contents));
    format!("  @{} {}\n", profile.number, printable(&name)) + &facts(5, rows)
}

fn sbat(inspection: &Inspection) -> String {
    if inspection.sbat.is_empty() {
        return String::new();
    }
    let mut table =
        Table::new([("component", Align::Left), ("generation", Align::Right), ("package", Align::Left)]);
    for entry in &inspection.sbat {
        let generation = entry.generation.map_or("?".to_owned(), |number| number.to_string());
        let package: Vec<&str> = [&entry.vendor, &entry.package, &entry.version]
            .into_iter()
            .map(String::as_str)
            .filter(|text| !text.is_empty())
            .collect();
        table.row([Cell::from(&entry.component), Cell::from(generation), Cell::from(package.join(", "))]);
    }
    heading("SBAT (generations that revocations compare)") + &table.render(2)
}
