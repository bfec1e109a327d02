//! `premeasure predict`: from a UKI to its PCRs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::html::HtmlArgs;
use super::input::{display_name, open};
use super::medium::{self, MediumArgs, Subject};
use super::output::{hinted, print, print_json, warn, write_to};
use super::registers::RegisterArgs;
use super::render;
use super::secure_boot::SecureBootArgs;
use crate::audit::{Report, Severity};
use crate::boot::{
    BootChain, CompanionFile, Declared, Input, InputId, InputRole, Machine, NamedImage, Payload, Platform,
    RecordedPlatform, Scenario, Scope, Smbios, Stage, utf16_units,
};
use crate::materials::{self, Material};
use crate::pe::{PeError, PeImage};
use crate::prediction::{PredictError, Prediction, Registers, Request, Variant, predict};
use crate::reference;
use crate::report;
use crate::source::Blob;
use crate::tcg::eventlog::MeasurementRegister;
use crate::tcg::{HashAlgorithm, PcrIndex};
use crate::uki::{ImageRole, KernelVersion, SystemdVersion};

/// Entries of a boot menu that are tried when the expected one did not boot.
const MAX_OTHER_ENTRIES: usize = 16;

/// Most bytes of an SMBIOS table: its own length fields allow no more in practice.
const MAX_SMBIOS: u64 = 1 << 20;

/// Predict the PCR values of a unified kernel image, or of what a disk image boots.
///
/// Walks the boot as firmware, systemd-boot, systemd-stub, the kernel's EFI stub and systemd do, and prints every PCR
/// that the image determines. A PCR that it does not determine is reported as unknown, with the input that would settle
/// it. Exit code 0 whenever a prediction was made.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  premeasure predict uki.efi                             values right after the firmware, as a table
  premeasure predict disk.img                            what the disk boots, with its boot loader and addons
  premeasure predict disk.img --all-entries -o ref.json  every entry of its boot menu, as one document
  premeasure predict uki.efi --stages                    which PCR moves when
  premeasure predict uki.efi --loader systemd-bootx64.efi --secure-boot on --format systemd
  premeasure predict uki.efi --bank sha256 --format pcrs --stage ready
  premeasure predict uki.efi -o reference.json           the document, for export and comparison
  premeasure predict disk.img --html boot.html           also as a page for the browser
  premeasure predict uki.efi --registers rtmr --baseline ccel.bin   registers of a TDX guest
  zstdcat uki.efi.zst | premeasure predict - --json")]
pub(super) struct PredictArgs {
    /// A unified kernel image, a disk image, a boot partition, a container image, or a folder with one; `-` for standard input
    image: PathBuf,
    #[command(flatten)]
    boot: BootArgs,
    /// PCR to print, repeatable or separated by commas [default: all of 0 to 15 that matter]
    #[arg(long = "pcr", value_name = "N", value_delimiter = ',', help_heading = "Output")]
    pcrs: Vec<u32>,
    /// Moment of the boot at which the printed values are taken; documents carry every stage
    #[arg(long, value_name = "STAGE", value_parser = stage_parser(), default_value = "exit-boot-services", help_heading = "Output")]
    stage: Stage,
    /// Print the table of what moves when, over all stages
    #[arg(long, conflicts_with_all = ["json", "format"], help_heading = "Output")]
    stages: bool,
    /// Print the whole document as JSON (schemas/reference.schema.json)
    #[arg(long, conflicts_with = "format", help_heading = "Output")]
    json: bool,
    /// Print the values in another form
    #[arg(long, value_enum, help_heading = "Output")]
    format: Option<Format>,
    /// Write the document to FILE, atomically; `-` for standard output
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    output: Option<PathBuf>,
    /// Software bill of materials to be named in the document, with its digest; repeatable: SPDX (JSON, tag-value), CycloneDX
    /// (JSON, XML), manifest of mkosi
    #[arg(long = "sbom", value_name = "FILE", help_heading = "Output")]
    sboms: Vec<PathBuf>,
    /// Write the predicted firmware log to FILE, in the TCG's crypto-agile format
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    event_log: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Output")]
    html: HtmlArgs,
}

/// What boots, and how: everything that decides the values.
#[derive(Debug, Args)]
pub(super) struct BootArgs {
    #[command(flatten)]
    medium: MediumArgs,
    /// Bank to compute: sha1, sha256, sha384, sha512, sm3-256; repeatable [default: sha256 and sha384]
    #[arg(long = "bank", value_name = "BANK", value_delimiter = ',', value_parser = parse_bank)]
    banks: Vec<HashAlgorithm>,
    /// The image that starts the UKI (systemd-boot); without it the firmware does
    #[arg(long, value_name = "FILE", help_heading = "Boot")]
    loader: Option<PathBuf>,
    /// The shim that the firmware starts first
    #[arg(long, value_name = "FILE", help_heading = "Boot")]
    shim: Option<PathBuf>,
    /// UKI addons; in a folder loader/addons they count for every UKI, elsewhere for this one
    #[arg(long = "addon", value_name = "FILE", num_args = 1.., help_heading = "Boot")]
    addons: Vec<PathBuf>,
    /// UKI addons of \loader\addons
    #[arg(long = "global-addon", value_name = "FILE", num_args = 1.., help_heading = "Boot")]
    global_addons: Vec<PathBuf>,
    /// Credentials (*.cred) beside the UKI; in a folder loader/credentials they count for every UKI
    #[arg(long = "credential", value_name = "FILE", num_args = 1.., help_heading = "Boot")]
    credentials: Vec<PathBuf>,
    /// Credentials of \loader\credentials
    #[arg(long = "global-credential", value_name = "FILE", num_args = 1.., help_heading = "Boot")]
    global_credentials: Vec<PathBuf>,
    /// System extensions (*.raw) beside the UKI; in a folder loader/extensions they count for every UKI
    #[arg(long = "sysext", value_name = "FILE", num_args = 1.., help_heading = "Boot")]
    sysexts: Vec<PathBuf>,
    /// System extensions of \loader\extensions
    #[arg(long = "global-sysext", value_name = "FILE", num_args = 1.., help_heading = "Boot")]
    global_sysexts: Vec<PathBuf>,
    /// Configuration extensions (*.confext.raw) beside the UKI
    #[arg(long = "confext", value_name = "FILE", num_args = 1.., help_heading = "Boot")]
    confexts: Vec<PathBuf>,
    /// Configuration extensions of \loader\extensions
    #[arg(long = "global-confext", value_name = "FILE", num_args = 1.., help_heading = "Boot")]
    global_confexts: Vec<PathBuf>,
    /// LoadOptions: a command line given by boot menu or boot option, where the stub accepts it
    #[arg(long, value_name = "TEXT", help_heading = "Boot")]
    cmdline: Option<String>,
    /// UKI profile that is chosen
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Boot")]
    profile: u32,
    /// State of Secure Boot; not given, both are computed where it matters
    #[arg(long, value_enum, help_heading = "Boot")]
    secure_boot: Option<OnOff>,
    #[command(flatten)]
    keys: SecureBootArgs,
    #[command(flatten)]
    pub(super) guest: RegisterArgs,
    /// The machine is a confidential VM (SEV, TDX)
    #[arg(long, help_heading = "Machine")]
    confidential_vm: bool,
    /// Firmware under the image; named, its profile also settles PCR 2, 3 and 6 [default: ovmf, PCR 2, 3, 6 unknown]
    #[arg(long, value_name = "NAME", value_parser = platform_parser(), help_heading = "Machine")]
    platform: Option<Platform>,
    /// The machine's shape as some firmware measures it: cpus=N,mem=MIB[,qemu=VERSION]
    #[arg(long, value_name = "SHAPE", value_parser = parse_machine, help_heading = "Machine")]
    machine: Option<Machine>,
    /// SMBIOS table of the machine, raw as in /sys/firmware/dmi/tables/DMI
    #[arg(long, value_name = "FILE", conflicts_with = "smbios_strings", help_heading = "Machine")]
    smbios: Option<PathBuf>,
    /// SMBIOS OEM string (type 11) of the machine, repeatable; `none` declares that there are none
    #[arg(long = "smbios-string", value_name = "TEXT", help_heading = "Machine")]
    smbios_strings: Vec<String>,
    /// Boot secret of the machine (stub 261 and later): FILE of 32 bytes, hex:..., or none
    #[arg(long, value_name = "SECRET", help_heading = "Machine")]
    boot_secret: Option<String>,
    /// Words that the stub adds where the command line has no console= (stub 261 and later), or none
    #[arg(long, value_name = "WORDS", help_heading = "Machine")]
    stub_console: Option<String>,
    /// Which .dtbauto the stub takes: its number from 0, or none; not given, each is computed
    #[arg(long, value_name = "N", help_heading = "Machine")]
    devicetree: Option<String>,
    /// Which .efifw the stub takes: its number from 0, or none; not given, each is computed
    #[arg(long, value_name = "N", help_heading = "Machine")]
    firmware_image: Option<String>,
    /// Version of the stub, whatever .sdmagic says
    #[arg(long, value_name = "VERSION", help_heading = "Versions")]
    systemd_version: Option<SystemdVersion>,
    /// Version of systemd in the initrd, or none for an initrd without it (initramfs-tools) [default: the stub's]
    #[arg(long, value_name = "VERSION", help_heading = "Versions")]
    initrd_systemd: Option<String>,
    /// Version of systemd on the host, or none for a host without it [default: the stub's]
    #[arg(long, value_name = "VERSION", help_heading = "Versions")]
    host_systemd: Option<String>,
    /// Version of the kernel, whatever the image says
    #[arg(long, value_name = "VERSION", value_parser = parse_kernel_version, help_heading = "Versions")]
    kernel_version: Option<KernelVersion>,
    /// Machine id of the host (32 hexadecimal digits), or none where it is not measured
    #[arg(long, value_name = "ID", help_heading = "User space")]
    machine_id: Option<String>,
    /// Root file system as measured: TYPE:UUID:LABEL:PARTUUID:PARTTYPE:PARTNAME, or none where it is not measured
    #[arg(long, value_name = "FIELDS", help_heading = "User space")]
    root_fs: Option<String>,
    /// `none` declares that no volume key is measured into PCR 15
    #[arg(long, value_name = "none", value_parser = ["none"], help_heading = "User space")]
    volume_key: Option<String>,
    /// `none` declares that systemd initialises no NvPCR
    #[arg(long, value_name = "none", value_parser = ["none"], help_heading = "User space")]
    nvpcr: Option<String>,
}

impl BootArgs {
    /// Banks asked for; empty when none was named.
    pub(super) fn banks(&self) -> &[HashAlgorithm] {
        &self.banks
    }

    /// SMBIOS is not read for command lines.
    fn is_confidential(&self) -> bool {
        self.confidential_vm || self.guest.registers().of_guest()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnOff {
    On,
    Off,
}

/// Forms for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// {"sha256": {"4": "hex", ...}}
    Pcrs,
    /// 7:sha256=...+11:sha256=..., as systemd-cryptenroll takes it
    Systemd,
}

pub(super) fn run(args: &PredictArgs) -> anyhow::Result<ExitCode> {
    let pcrs: Vec<PcrIndex> =
        args.pcrs.iter().map(|pcr| PcrIndex::try_from(*pcr)).collect::<Result<_, _>>()?;
    refuse_two_results_on_standard_output(args)?;
    refuse_what_guests_lack(args)?;
    let to_output = args.output.as_deref().is_some_and(is_standard_output);
    let to_log = args.event_log.as_deref().is_some_and(is_standard_output);
    let prints_document = args.json || args.output.is_some();
    let needs_document = prints_document || args.html.is_given();
    let mut predictions = predictions(&args.image, &args.boot, needs_document)?;
    predictions.add_materials(&args.image, &args.sboms)?;
    predictions.warn();
    if let Some(path) = &args.event_log {
        write_to(path, &render::event_log(&predictions.all)?)?;
    }
    if needs_document {
        let document = predictions.document()?;
        let mut text = serde_json::to_string_pretty(&document)?;
        text.push('\n');
        args.html.write(|| Ok((report::prediction(&document, args.stage), text.clone())))?;
        if let Some(path) = &args.output {
            write_to(path, text.as_bytes())?;
        }
        if args.json && !to_output {
            super::output::print_bytes(text.as_bytes())?;
        }
    }
    let all = predictions.all.as_slice();
    match args.format {
        Some(Format::Pcrs) if args.boot.guest.registers() == Registers::Rtmr => {
            print_json(&render::registers(all, args.stage))?;
        }
        Some(Format::Pcrs) => print_json(&render::pcrs(all, args.stage, &pcrs))?,
        Some(Format::Systemd) => match render::systemd(all, args.stage, &pcrs)? {
            text if text.is_empty() => warn("no PCR has one known value at this stage"),
            text => print(&format!("{text}\n"))?,
        },
        None if args.stages => {
            let tables = all.iter().map(|prediction| render::stages_table(prediction, &pcrs));
            print(&tables.collect::<Vec<_>>().join("\n"))?;
        }
        None if !prints_document && !to_log => {
            let tables = all.iter().map(|prediction| render::table(prediction, args.stage, &pcrs));
            let walk = render::walk(&predictions.steps);
            let check = predictions.checked.as_ref().map(|report| summary(report, &args.image));
            let tables: Vec<String> = [walk].into_iter().chain(tables).chain(check).collect();
            print(&tables.iter().filter(|text| !text.is_empty()).cloned().collect::<Vec<_>>().join("\n"))?;
        }
        None => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// What a check without hashing found, in a line.
fn summary(report: &Report, image: &Path) -> String {
    let count = |severity: Severity, word: &str| {
        let count = report.findings.iter().filter(|finding| finding.severity == severity).count();
        (count > 0).then(|| format!("{count} {word}{}", if count == 1 { "" } else { "s" }))
    };
    let all = [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Note, "note")];
    let found: Vec<String> = all.into_iter().filter_map(|(severity, word)| count(severity, word)).collect();
    let found = if found.is_empty() { "nothing found".to_owned() } else { found.join(", ") };
    let image = super::output::printable(&image.display().to_string()).to_string();
    format!(
        "Check without hashing: {found} (premeasure check {image} lists them and recomputes hash trees)\n"
    )
}

fn is_standard_output(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Standard output takes one result: two would be of no use to whoever reads it.
fn refuse_two_results_on_standard_output(args: &PredictArgs) -> anyhow::Result<()> {
    let to_output = args.output.as_deref().is_some_and(is_standard_output);
    let to_log = args.event_log.as_deref().is_some_and(is_standard_output);
    let other = args.format.is_some() || args.stages || args.json;
    if (to_output && (to_log || args.format.is_some() || args.stages)) || (to_log && (to_output || other)) {
        return Err(hinted("more than one result for standard output", "give -o or --event-log a file name"));
    }
    Ok(())
}

/// Not every form of output has a place for the registers of a confidential guest.
fn refuse_what_guests_lack(args: &PredictArgs) -> anyhow::Result<()> {
    let without = "leave it out, or predict PCRs";
    let refused = match (args.boot.guest.registers(), args.format) {
        (Registers::Pcr, _) => None,
        (Registers::Both, Some(_)) => {
            Some(("--format", "numbers of PCRs and of registers can't stand in one list"))
        }
        (Registers::Both, None) if args.stages => {
            Some(("--stages", "registers of a confidential guest don't change after the kernel starts"))
        }
        (Registers::Rtmr, Some(Format::Systemd)) => {
            Some(("--format systemd", "a policy of systemd's is about PCRs"))
        }
        (Registers::Rtmr, _) if args.stages => {
            Some(("--stages", "registers of a confidential guest don't change after the kernel starts"))
        }
        (Registers::Rtmr, _) if !args.pcrs.is_empty() => Some(("--pcr", "no PCRs are predicted")),
        (Registers::Rtmr, _) if args.html.is_given() => Some(("--html", "the page is about PCRs")),
        (Registers::Rtmr, _) if args.event_log.is_some() => Some(("--event-log", "the log is that of a TPM")),
        _ => None,
    };
    match refused {
        Some((option, why)) => Err(hinted(format!("{option} with --registers: {why}"), without)),
        None => Ok(()),
    }
}

/// What was predicted, and how the boot was walked.
#[derive(Default)]
pub(super) struct Predictions {
    /// One for each entry of the boot menu that was asked for.
    pub(super) all: Vec<Prediction>,
    /// How the boot was walked; empty for a UKI.
    pub(super) steps: Vec<String>,
    /// What deserves a second look.
    pub(super) warnings: Vec<String>,
    /// What a check without hashing found; `None` for a UKI.
    pub(super) checked: Option<Report>,
    /// Bills of materials.
    materials: Vec<Material>,
}

impl Predictions {
    /// Bills of materials: those given, and mkosi's manifest in a folder of build results, whose lists are compared, too.
    fn add_materials(&mut self, image: &Path, sboms: &[PathBuf]) -> anyhow::Result<()> {
        for path in sboms {
            let bytes = super::input::read_small(path, materials::MAX_SIZE)?;
            let material = materials::recognise(&display_name(path), &bytes);
            self.materials.push(material.with_context(|| format!("--sbom {}", path.display()))?);
        }
        if self.all.iter().all(|prediction| prediction.chain.inputs.is_empty()) {
            return Ok(());
        }
        let Some(results) = super::medium::build_results(image) else { return Ok(()) };
        self.materials.extend(results.manifest()?);
        for (name, why) in results.wrong_sums(false)? {
            self.warnings.push(format!("{name}: {why}"));
        }
        Ok(())
    }

    /// Says on standard error what deserves a second look.
    pub(super) fn warn(&self) {
        let variants = self.all.iter().flat_map(|prediction| &prediction.variants);
        let recorded = variants.flat_map(Variant::recordings).flat_map(|recording| &recording.warnings);
        let recorded: std::collections::BTreeSet<&String> = recorded.collect();
        self.warnings.iter().chain(recorded).for_each(warn);
    }

    /// All of it as one document. They must have been made with file digests.
    pub(super) fn document(&self) -> anyhow::Result<reference::Document> {
        let documents = self.all.iter().map(reference::document).collect::<Result<Vec<_>, _>>()?;
        let mut document = reference::combine(documents).context("nothing was predicted")?;
        document.materials = self.materials.iter().map(Into::into).collect();
        Ok(document)
    }
}

/// Opens what `path` names and predicts each boot of it that was asked for, with a progress bar where somebody watches.
pub(super) fn predictions(path: &Path, args: &BootArgs, file_digests: bool) -> anyhow::Result<Predictions> {
    let mut predictions = Predictions::default();
    let requests = requests_of(path, args, file_digests, &mut predictions)?;
    predict_all(requests, path, &mut predictions)?;
    Ok(predictions)
}

/// What [`predictions`] would predict, for those who need it twice; without digests of the files.
pub(super) fn requests(path: &Path, args: &BootArgs) -> anyhow::Result<(Vec<Request>, Predictions)> {
    let mut predictions = Predictions::default();
    let requests = requests_of(path, args, false, &mut predictions)?;
    Ok((requests, predictions))
}

/// Every entry of the boot menu of `path`, where it has one and only one of them was asked for.
pub(super) fn other_requests(path: &Path, args: &BootArgs) -> anyhow::Result<Vec<Request>> {
    let Subject::Medium(medium) = medium::identify(path, &args.medium.walk)? else { return Ok(Vec::new()) };
    let walked = medium::walked(&medium, path, &args.medium.with_all_entries(), around(args)?)?;
    let boots = walked.boots.into_iter().take(MAX_OTHER_ENTRIES);
    boots.map(|boot| request(boot.entry, boot.profile, boot.chain, args, false)).collect()
}

/// Predicts, with a progress bar where somebody watches.
pub(super) fn predict_all(
    requests: Vec<Request>,
    path: &Path,
    predictions: &mut Predictions,
) -> anyhow::Result<()> {
    for request in requests {
        let bar = super::progress::Bar::new();
        let result = predict(request, &|total| bar.start(total), &|bytes| bar.advance(bytes));
        bar.finish();
        predictions.all.push(result.map_err(|error| explain_error(error, path))?);
    }
    Ok(())
}

fn requests_of(
    path: &Path,
    args: &BootArgs,
    file_digests: bool,
    predictions: &mut Predictions,
) -> anyhow::Result<Vec<Request>> {
    let medium = match medium::identify(path, &args.medium.walk)? {
        Subject::Program(file) => {
            if let Some(option) = args.medium.first_given() {
                let hint = "give the disk image or boot partition that it lies on";
                return Err(hinted(format!("{option}: {} is a single program", path.display()), hint));
            }
            let chain = Files::default().chain(path, &file, args)?;
            return Ok(vec![request(None, args.profile, chain, args, file_digests)?]);
        }
        Subject::Medium(medium) => medium,
        Subject::Other(_, error) => return Err(error),
    };
    let loader: Vec<PathBuf> = args.loader.iter().cloned().collect();
    let shim: Vec<PathBuf> = args.shim.iter().cloned().collect();
    medium::refuse_companions(
        path,
        &[
            ("--shim", &shim),
            ("--loader", &loader),
            ("--addon", &args.addons),
            ("--global-addon", &args.global_addons),
            ("--credential", &args.credentials),
            ("--global-credential", &args.global_credentials),
            ("--sysext", &args.sysexts),
            ("--global-sysext", &args.global_sysexts),
            ("--confext", &args.confexts),
            ("--global-confext", &args.global_confexts),
        ],
    )?;
    let walked = medium::walked(&medium, path, &args.medium, around(args)?)?;
    predictions.checked = Some(walked.checked);
    predictions.steps = walked.steps;
    predictions.warnings = walked.warnings;
    let boots = walked.boots.into_iter();
    boots
        .map(|boot| {
            let profile = if args.profile == 0 { boot.profile } else { args.profile };
            request(boot.entry, profile, boot.chain, args, file_digests)
        })
        .collect()
}

/// What decides about the walk beside the disk and the machine's variables.
fn around(args: &BootArgs) -> anyhow::Result<medium::Machine> {
    let smbios_strings = if args.is_confidential() { Vec::new() } else { smbios(args)?.oem_strings };
    Ok(medium::Machine { smbios_strings, recorded_grub: args.keys.recorded_grub()? })
}

fn explain_error(error: PredictError, uki: &Path) -> anyhow::Error {
    match error {
        PredictError::TooManyAlternatives(_) => hinted(
            error.to_string(),
            "say what the machine takes: --devicetree N|none, --firmware-image N|none, --secure-boot on|off",
        ),
        PredictError::Boot(error @ crate::boot::BootError::Profile { .. }) => {
            hinted(error.to_string(), format!("premeasure inspect {} lists the profiles", uki.display()))
        }
        PredictError::Boot(error @ crate::boot::BootError::Refused { .. }) => hinted(
            error.to_string(),
            "sign it with a key whose certificate is in db, or take other variables; --secure-boot off predicts without",
        ),
        PredictError::SecureBoot(error) => hinted(
            error.to_string(),
            "leave out --secure-boot to take the state from the variables, or give the variables of the machine",
        ),
        PredictError::Baseline(error) => hinted(
            error.to_string(),
            "take the log of a boot of this machine in the state asked for, or leave out --baseline",
        ),
        other => anyhow::Error::new(other),
    }
}

fn request(
    entry: Option<String>,
    profile: u32,
    mut chain: BootChain,
    args: &BootArgs,
    file_digests: bool,
) -> anyhow::Result<Request> {
    let registers = args.guest.registers();
    let recorded = args.keys.baselines(registers, &mut chain.inputs)?;
    let platform = args.platform.unwrap_or_default();
    let guest = args.guest.guest(platform, &args.banks, &recorded)?;
    let cloud = args.guest.cloud(platform, &recorded)?;
    let banks = if registers == Registers::Rtmr {
        vec![MeasurementRegister::BANK]
    } else if args.banks.is_empty() {
        default_banks(platform, &recorded.pcrs)
    } else {
        let mut banks = args.banks.clone();
        banks.sort_unstable();
        banks.dedup();
        banks
    };
    Ok(Request {
        chain,
        entry,
        scenario: Scenario { profile, cloud, ..scenario(args)? },
        exit_boot_services: args.medium.exit_boot_services(),
        secure_boot: args.secure_boot.map(|state| state == OnOff::On),
        variables: args.keys.policy(args.medium.walk.variables())?,
        registers,
        guest,
        baselines: recorded.pcrs,
        guest_baselines: recorded.guest,
        devicetree: number_or_none(args.devicetree.as_deref(), "--devicetree")?,
        firmware_image: number_or_none(args.firmware_image.as_deref(), "--firmware-image")?,
        banks,
        file_digests,
    })
}

/// The banks of the platform's TPM, as far as the recorded boots have them; else theirs.
fn default_banks(platform: Platform, baselines: &[RecordedPlatform]) -> Vec<HashAlgorithm> {
    let recorded: Option<&RecordedPlatform> = baselines.first();
    let in_logs = |bank: &HashAlgorithm| recorded.is_none_or(|recorded| recorded.part.banks.contains(bank));
    let banks: Vec<HashAlgorithm> = platform.banks.iter().copied().filter(in_logs).collect();
    match recorded {
        Some(recorded) if banks.is_empty() => recorded.part.banks.clone(),
        _ => banks,
    }
}

fn scenario(args: &BootArgs) -> anyhow::Result<Scenario> {
    let firmware = args.keys.firmware()?.map(std::sync::Arc::new);
    Ok(Scenario {
        platform: args.platform.unwrap_or_default(),
        platform_declared: args.platform.is_some() || args.machine.is_some() || firmware.is_some(),
        firmware,
        machine: args.machine,
        confidential_vm: args.confidential_vm,
        load_options: args.cmdline.as_deref().map(utf16_units),
        profile: args.profile,
        smbios: smbios(args)?,
        boot_secret: boot_secret(args.boot_secret.as_deref())?,
        console: declared(args.stub_console.as_deref(), |words| Ok(words.to_owned()))?,
        stub_version: args.systemd_version.clone(),
        initrd_systemd: declared(args.initrd_systemd.as_deref(), |version| {
            version.parse().context("--initrd-systemd")
        })?,
        host_systemd: declared(args.host_systemd.as_deref(), |version| {
            version.parse().context("--host-systemd")
        })?,
        kernel_version: args.kernel_version,
        machine_id: declared(args.machine_id.as_deref(), machine_id)?,
        root_file_system: declared(args.root_fs.as_deref(), root_file_system)?,
        volume_key: if args.volume_key.is_some() { Declared::Absent } else { Declared::Unknown },
        nvpcr: if args.nvpcr.is_some() { Declared::Absent } else { Declared::Unknown },
        ..Scenario::default()
    })
}

/// `none`, a value, or nothing said.
fn declared<T>(text: Option<&str>, parse: impl Fn(&str) -> anyhow::Result<T>) -> anyhow::Result<Declared<T>> {
    match text {
        None => Ok(Declared::Unknown),
        Some("none") => Ok(Declared::Absent),
        Some(text) => parse(text).map(Declared::Is),
    }
}

fn number_or_none(text: Option<&str>, option: &str) -> anyhow::Result<Declared<usize>> {
    declared(text, |text| {
        text.parse().with_context(|| format!("{option} '{text}': expected a number or none"))
    })
}

pub(super) fn machine_id(text: &str) -> anyhow::Result<String> {
    let id = text.replace('-', "").to_ascii_lowercase();
    anyhow::ensure!(
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "--machine-id '{text}': expected 32 hexadecimal digits, as in /etc/machine-id"
    );
    Ok(id)
}

/// The word that systemd measures for `/`. Values are escaped as systemd does (pcrextend.c `pcrextend_file_system_word`).
fn root_file_system(text: &str) -> anyhow::Result<String> {
    let fields: Vec<&str> = text.split(':').collect();
    anyhow::ensure!(
        fields.len() == 6,
        "--root-fs has {} fields, expected 6: TYPE:UUID:LABEL:PARTUUID:PARTTYPE:PARTNAME, empty where blkid has none",
        fields.len()
    );
    let escape = |field: &&str| -> String {
        field
            .bytes()
            .map(|byte| match byte {
                b'\\' | b':' | 0..0x20 | 0x7F.. => format!("\\x{byte:02x}"),
                plain => char::from(plain).to_string(),
            })
            .collect()
    };
    Ok(format!("file-system:/:{}", fields.iter().map(escape).collect::<Vec<_>>().join(":")))
}

fn smbios(args: &BootArgs) -> anyhow::Result<Smbios> {
    if let Some(path) = &args.smbios {
        let table = super::input::read_small(path, MAX_SMBIOS)?;
        return Smbios::parse(&table).with_context(|| path.display().to_string());
    }
    let declared = !args.smbios_strings.is_empty();
    let oem_strings = args
        .smbios_strings
        .iter()
        .filter(|text| *text != "none")
        .map(|text| text.clone().into_bytes())
        .collect();
    Ok(Smbios { oem_strings, structures: None, declared })
}

fn boot_secret(text: Option<&str>) -> anyhow::Result<Declared<[u8; 32]>> {
    declared(text, |text| {
        let bytes = match text.strip_prefix("hex:") {
            Some(digits) => hex::decode(digits).context("--boot-secret hex:")?,
            None => super::input::read_small(Path::new(text), 4096)?,
        };
        let length = bytes.len();
        bytes.try_into().map_err(|_| {
            hinted(
                format!("--boot-secret has {length} bytes, expected 32"),
                "the guest has it as /.extra/boot-secret in the initrd",
            )
        })
    })
}

/// Files under way to a chain.
#[derive(Debug, Default)]
struct Files {
    inputs: Vec<Input>,
}

impl Files {
    fn chain(mut self, path: &Path, file: &Blob, args: &BootArgs) -> anyhow::Result<BootChain> {
        let uki = self.opened_image(InputRole::Uki, path, file)?;
        if ImageRole::of(&uki.image)? != ImageRole::Uki {
            return Err(hinted(
                format!("{}: no unified kernel image: it has no section .linux", uki.name),
                "premeasure inspect shows what it is",
            ));
        }
        let shim = args.shim.as_deref().map(|path| self.image(InputRole::Loader, path)).transpose()?;
        let loader = args.loader.as_deref().map(|path| self.image(InputRole::Loader, path)).transpose()?;
        let (shim, loader) = match loader {
            Some(found) if shim.is_none() && ImageRole::of(&found.image)? == ImageRole::Shim => {
                (Some(found), None)
            }
            loader => (shim, loader),
        };
        let addons = Self::scoped(&args.addons, &args.global_addons, "addons")?;
        let addons = addons
            .into_iter()
            .map(|(scope, path)| Ok((scope, self.image(InputRole::Addon, path)?)))
            .collect::<anyhow::Result<_>>()?;
        let credentials = Self::scoped(&args.credentials, &args.global_credentials, "credentials")?;
        let credentials = self.companions(InputRole::Credential, credentials)?;
        let here = args.sysexts.iter().chain(&args.confexts);
        let global = args.global_sysexts.iter().chain(&args.global_confexts);
        let extensions = Self::scoped(here, global, "extensions")?;
        let extensions = self.companions(InputRole::Extension, extensions)?;
        Ok(BootChain {
            inputs: self.inputs,
            shim,
            loader,
            load_options: Vec::new(),
            uki,
            payload: Payload::UnifiedKernelImage,
            entry: None,
            addons,
            credentials,
            extensions,
            drivers: Vec::new(),
            grub: None,
            medium: None,
        })
    }

    /// A file belongs to every UKI when it was given as such or lies in `loader/FOLDER`.
    fn scoped<'p>(
        here: impl IntoIterator<Item = &'p PathBuf>,
        global: impl IntoIterator<Item = &'p PathBuf>,
        folder: &str,
    ) -> anyhow::Result<Vec<(Scope, &'p Path)>> {
        let lies_in = |path: &Path| {
            let mut parents = path.parent().into_iter().flat_map(|parent| parent.iter().rev());
            let next_is = |name: Option<&std::ffi::OsStr>, word: &str| {
                name.is_some_and(|name| name.eq_ignore_ascii_case(word))
            };
            next_is(parents.next(), folder) && next_is(parents.next(), "loader")
        };
        let here =
            here.into_iter().map(|path| (if lies_in(path) { Scope::Global } else { Scope::Local }, path));
        let all = here.chain(global.into_iter().map(|path| (Scope::Global, path)));
        // The files lie in one folder of a FAT volume, which ignores case. The same file may come twice, from two options
        // with patterns that overlap (*.raw, *.confext.raw).
        let mut seen: BTreeMap<(Scope, String), &Path> = BTreeMap::new();
        let mut files = Vec::new();
        for (scope, path) in all {
            let name = display_name(path);
            match seen.insert((scope, name.to_ascii_lowercase()), path) {
                None => files.push((scope, path.as_path())),
                Some(other) if other == path => {}
                Some(_) => {
                    let text = format!("{name} is given twice: one folder can't hold both");
                    return Err(hinted(text, "use --global-addon and its like for files of \\loader"));
                }
            }
        }
        Ok(files)
    }

    fn companions(
        &mut self,
        role: InputRole,
        files: Vec<(Scope, &Path)>,
    ) -> anyhow::Result<Vec<CompanionFile>> {
        let open = |(scope, path)| {
            let (input, name, file) = self.open(role, path)?;
            Ok(CompanionFile { input, scope, name, file })
        };
        files.into_iter().map(open).collect()
    }

    fn image(&mut self, role: InputRole, path: &Path) -> anyhow::Result<NamedImage> {
        self.opened_image(role, path, &open(path)?)
    }

    fn opened_image(&mut self, role: InputRole, path: &Path, file: &Blob) -> anyhow::Result<NamedImage> {
        let (input, name) = self.add(role, path, file);
        let image = PeImage::parse(file).map_err(|error| {
            let text = format!("{}: {error}", path.display());
            match error {
                PeError::NotPe { .. } => {
                    hinted(text, "a PE file is needed here: a UKI, boot loader or addon")
                }
                _ => hinted(text, "the file is damaged or cut off; get it again"),
            }
        })?;
        Ok(NamedImage { input, name, image })
    }

    fn open(&mut self, role: InputRole, path: &Path) -> anyhow::Result<(InputId, String, Blob)> {
        let file = open(path)?;
        let (input, name) = self.add(role, path, &file);
        Ok((input, name, file))
    }

    fn add(&mut self, role: InputRole, path: &Path, file: &Blob) -> (InputId, String) {
        let name = display_name(path);
        let input = InputId(self.inputs.len());
        self.inputs.push(Input { role, name: name.clone(), file: file.clone() });
        (input, name)
    }
}

pub(super) fn parse_bank(word: &str) -> Result<HashAlgorithm, String> {
    word.parse().map_err(|error: crate::tcg::UnknownAlgorithm| error.to_string())
}

fn parse_machine(text: &str) -> Result<Machine, String> {
    let wrong = || format!("'{text}' is no machine, expected cpus=N,mem=MIB or cpus=N,mem=MIB,qemu=10.0");
    let mut fields = std::collections::BTreeMap::new();
    for field in text.split(',') {
        let (name, value) = field.split_once('=').ok_or_else(wrong)?;
        fields.insert(name, value);
    }
    let mut field = |name: &str| fields.remove(name);
    let (Some(cpus), Some(memory)) = (field("cpus"), field("mem")) else { return Err(wrong()) };
    let version = |text: &str| {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
    };
    let qemu = field("qemu").map(|text| version(text).ok_or_else(wrong)).transpose()?;
    if !fields.is_empty() {
        return Err(wrong());
    }
    let processors = cpus.parse().map_err(|_| wrong())?;
    Ok(Machine { processors, memory: memory.parse().map_err(|_| wrong())?, qemu })
}

fn parse_kernel_version(text: &str) -> Result<KernelVersion, String> {
    KernelVersion::parse(text).ok_or_else(|| format!("'{text}' is no kernel version, expected MAJOR.MINOR"))
}

pub(super) fn stage_parser() -> impl clap::builder::TypedValueParser<Value = Stage> {
    use clap::builder::TypedValueParser;
    clap::builder::PossibleValuesParser::new(Stage::ALL.map(Stage::name))
        .try_map(|name| name.parse::<Stage>())
}

fn platform_parser() -> impl clap::builder::TypedValueParser<Value = Platform> {
    use clap::builder::TypedValueParser;
    clap::builder::PossibleValuesParser::new(Platform::ALL.iter().map(|platform| platform.id))
        .try_map(|id| id.parse::<Platform>())
}
