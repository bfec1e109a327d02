//! An inspection for people.

use std::fmt::Write as _;

use super::super::output::{BAD, CAUTION, FAINT, GOOD, STRONG, printable, styled};
use super::super::table::{Align, Cell, Table};
use super::render_uki;
use crate::inspect::{BankDigests, CertificateFacts, Inspection, SignatureFacts, SignerFacts};

/// The whole report.
pub(super) fn text(inspection: &Inspection, verbose: bool) -> String {
    let mut text = title(inspection);
    text += &image_digest(inspection);
    text += &render_uki::text(inspection);
    text += &signatures(inspection);
    text += &headers(inspection, verbose);
    text += &sections(inspection, verbose);
    text += &findings(inspection);
    text
}

/// A heading, after an empty line.
pub(super) fn heading(text: &str) -> String {
    format!("\n{}\n", styled(STRONG, text))
}

/// Names and values, two columns, indented.
pub(super) fn facts<'a>(indent: usize, rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = Table::new([("", Align::Left), ("", Align::Left)]);
    for (name, value) in rows {
        table.row([Cell::styled(name, FAINT), Cell::from(value)]);
    }
    table.render(indent)
}

/// `1099776 bytes (1.0 MiB)`.
pub(super) fn size(bytes: u64) -> String {
    let scaled = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..0x2800 => format!("{bytes} bytes"),
        0x2800..0x10_0000 => format!("{bytes} bytes ({} KiB)", scaled(1 << 10)),
        0x10_0000..0x4000_0000 => format!("{bytes} bytes ({} MiB)", scaled(1 << 20)),
        _ => format!("{bytes} bytes ({} GiB)", scaled(1 << 30)),
    }
}

fn title(inspection: &Inspection) -> String {
    let role = match inspection.role {
        "uki" => "unified kernel image",
        "addon" => "UKI addon",
        "systemd-boot" => "systemd-boot",
        "kernel" => "Linux kernel",
        "shim" => "shim",
        "grub" => "GRUB",
        _ => "EFI program",
    };
    let mut line = format!("{role} for {}", printable(&inspection.headers.machine));
    if let Some(program) = &inspection.program {
        let _ = write!(line, ", {}", printable(&program.text));
    }
    let signed = match inspection.signatures.len() {
        0 => styled(CAUTION, "unsigned"),
        1 => "signed".to_owned(),
        count => format!("signed {count} times"),
    };
    let mut text = format!("{}: {line}, {signed}\n", styled(STRONG, printable(&inspection.file.name)));
    text +=
        &facts(2, [("size", size(inspection.file.size)), ("file sha256", inspection.file.sha256.clone())]);
    text
}

fn image_digest(inspection: &Inspection) -> String {
    let mut text = heading("Image digest (Authenticode): what firmware measures and signatures cover");
    match (&inspection.image_digest, &inspection.image_digest_error) {
        (Some(digests), _) => text += &digest_table(digests),
        (None, error) => {
            let why = error.as_deref().unwrap_or("not computed");
            let _ = writeln!(text, "  {} {}", styled(BAD, "none:"), printable(why));
        }
    }
    if let Some(digests) = &inspection.padded_image_digest {
        text += "  Once signed (signing tools pad the file to a multiple of 8 bytes first):\n";
        text += &digest_table(digests);
    }
    text
}

fn digest_table(digests: &BankDigests) -> String {
    facts(2, digests.iter().map(|(bank, digest)| (*bank, digest.clone())))
}

fn signatures(inspection: &Inspection) -> String {
    if inspection.signatures.is_empty() {
        return String::new();
    }
    let mut text = heading("Signatures (signature values and trust are not verified)");
    for (number, signature) in inspection.signatures.iter().enumerate() {
        text += &one_signature(number.saturating_add(1), signature);
    }
    text
}

fn one_signature(number: usize, signature: &SignatureFacts) -> String {
    if let Some(error) = &signature.error {
        let why = format!("{} {}", styled(BAD, "can't be read:"), printable(error));
        return format!("  {number}. at offset {:#x}: {why}\n", signature.offset);
    }
    let mut text = String::new();
    let algorithm = signature.digest_algorithm.as_deref().unwrap_or("unknown algorithm");
    if signature.signers.is_empty() {
        let _ = writeln!(text, "  {number}. {} {}", printable(algorithm), styled(BAD, "without any signer"));
    }
    for signer in &signature.signers {
        let covers = match signer.covers_image {
            Some(true) => styled(GOOD, "yes"),
            Some(false) => format!("{} ({})", styled(BAD, "no"), signer.coverage),
            None => format!("{} ({})", styled(CAUTION, "unknown"), signer.coverage),
        };
        let _ = writeln!(text, "  {number}. {} digest covers image: {covers}", printable(algorithm));
        text += &signer_facts(signer);
    }
    let others = signature.certificates.iter().filter(|certificate| {
        !signature
            .signers
            .iter()
            .any(|signer| signer.certificate.as_ref().is_some_and(|own| own.sha256 == certificate.sha256))
    });
    for certificate in others {
        text += "     also contains the certificate\n";
        text += &facts(7, certificate_facts(certificate));
    }
    text
}

fn signer_facts(signer: &SignerFacts) -> String {
    let mut rows = match &signer.certificate {
        Some(certificate) => certificate_facts(certificate),
        None => vec![("signer", "its certificate is not in the message".to_owned())],
    };
    rows.extend(signer.signing_time.clone().map(|time| ("signed", format!("{time}, as the signer claims"))));
    if signer.timestamp {
        rows.push(("time stamp", "attached".to_owned()));
    }
    if signer.nested_signature {
        rows.push(("nested", "contains further signatures, which firmware ignores".to_owned()));
    }
    facts(5, rows)
}

fn certificate_facts(certificate: &CertificateFacts) -> Vec<(&'static str, String)> {
    vec![
        ("subject", certificate.subject.clone()),
        ("issuer", certificate.issuer.clone()),
        ("serial", certificate.serial.clone()),
        ("sha256", certificate.sha256.clone()),
        ("valid", format!("{} to {}", certificate.not_before, certificate.not_after)),
    ]
}

fn headers(inspection: &Inspection, verbose: bool) -> String {
    let headers = &inspection.headers;
    let mut rows = vec![
        ("format", format!("{}, {}", headers.kind, headers.subsystem)),
        ("machine", format!("{} ({:#06x})", headers.machine, headers.machine_number)),
        ("image version", headers.image_version.clone()),
        ("entry point", format!("{:#x}", headers.entry_point)),
        ("image base", format!("{:#x}", headers.image_base)),
        ("size of image", format!("{:#x}", headers.size_of_image)),
        ("size of headers", format!("{:#x}", headers.size_of_headers)),
        (
            "alignment",
            format!("{:#x} in memory, {:#x} in the file", headers.section_alignment, headers.file_alignment),
        ),
    ];
    if verbose {
        rows.extend([
            ("linker version", headers.linker_version.clone()),
            ("OS version", headers.os_version.clone()),
            ("subsystem version", headers.subsystem_version.clone()),
            ("time stamp", format!("{:#010x}", headers.time_date_stamp)),
            ("characteristics", format!("{:#06x}", headers.characteristics)),
            ("DLL characteristics", format!("{:#06x}", headers.dll_characteristics)),
            ("checksum", format!("{:#010x}", headers.checksum)),
            ("data directories", headers.number_of_rva_and_sizes.to_string()),
        ]);
    }
    rows.push(("NX compatible", if headers.nx_compat { "yes" } else { "no" }.to_owned()));
    for directory in headers.data_directories.iter().filter(|directory| verbose || directory.index == 4) {
        let place = if directory.index == 4 { "at offset" } else { "at address" };
        let value = format!("{} bytes {place} {:#x}", directory.size, directory.address);
        rows.push((directory_label(directory.name), value));
    }
    heading("PE headers") + &facts(2, rows)
}

fn directory_label(name: &'static str) -> &'static str {
    if name == "certificate" { "certificate table" } else { name }
}

fn sections(inspection: &Inspection, verbose: bool) -> String {
    if inspection.sections.is_empty() {
        return String::new();
    }
    let profiles = inspection.sections.iter().any(|section| section.profile.is_some());
    let mut columns = vec![
        ("#", Align::Right),
        ("name", Align::Left),
        ("address", Align::Right),
        ("size", Align::Right),
        ("offset", Align::Right),
        ("in file", Align::Right),
        ("flags", Align::Left),
    ];
    if profiles {
        columns.insert(1, ("profile", Align::Left));
    }
    if verbose {
        columns.push(("sha256 of loaded contents", Align::Left));
    }
    let remarks = inspection.sections.iter().any(|section| !section.remarks.is_empty());
    if remarks {
        columns.push(("remarks", Align::Left));
    }
    let mut table = Table::new(columns);
    for (index, section) in inspection.sections.iter().enumerate() {
        let profile = section.profile.map_or("base".to_owned(), |number| format!("@{number}"));
        let digest = section.sha256.clone().unwrap_or_else(|| "-".to_owned());
        let cells = [
            Some(Cell::styled(index.saturating_add(1).to_string(), FAINT)),
            profiles.then(|| Cell::from(profile)),
            Some(Cell::from(section.long_name.as_ref().unwrap_or(&section.name))),
            Some(Cell::from(format!("{:#x}", section.virtual_address))),
            Some(Cell::from(section.virtual_size.to_string())),
            Some(Cell::from(format!("{:#x}", section.raw_offset))),
            Some(Cell::from(section.raw_size.to_string())),
            Some(Cell::from(&section.flags)),
            verbose.then(|| Cell::from(digest)),
            (!section.remarks.is_empty()).then(|| Cell::styled(section.remarks.join(", "), CAUTION)),
        ];
        table.row(cells.into_iter().flatten());
    }
    heading("Sections (addresses relative to the image base, sizes in bytes)") + &table.render(2)
}

fn findings(inspection: &Inspection) -> String {
    if inspection.findings.is_empty() {
        return String::new();
    }
    let mut text = heading("Findings");
    for finding in &inspection.findings {
        let _ = writeln!(text, "  {} {}", styled(CAUTION, finding.code), printable(&finding.text));
    }
    text
}
