//! From a path and options to requests, and to predictions.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::boot_args::{BootArgs, OnOff};
use super::facts::{number_or_none, scenario, smbios};
use super::files::Files;
use crate::audit::Report;
use crate::boot::{BootChain, Platform, RecordedPlatform, Scenario};
use crate::cli::input::display_name;
use crate::cli::medium::{self, Subject};
use crate::cli::output::{hinted, warn};
use crate::materials::{self, Material};
use crate::prediction::{PredictError, Prediction, Registers, Request, Variant, predict};
use crate::reference;
use crate::tcg::HashAlgorithm;
use crate::tcg::eventlog::MeasurementRegister;

/// Entries of a boot menu that are tried when the expected one did not boot.
const MAX_OTHER_ENTRIES: usize = 16;

/// What was predicted, and how the boot was walked.
#[derive(Default)]
pub(in crate::cli) struct Predictions {
    /// One for each entry of the boot menu that was asked for.
    pub(in crate::cli) all: Vec<Prediction>,
    /// How the boot was walked; empty for a UKI.
    pub(in crate::cli) steps: Vec<String>,
    /// What deserves a second look.
    pub(in crate::cli) warnings: Vec<String>,
    /// What a check without hashing found; `None` for a UKI.
    pub(in crate::cli) checked: Option<Report>,
    /// Bills of materials.
    materials: Vec<Material>,
}

impl Predictions {
    /// Bills of materials: those given, and mkosi's manifest in a folder of build results, whose lists are compared, too.
    pub(super) fn add_materials(&mut self, image: &Path, sboms: &[PathBuf]) -> anyhow::Result<()> {
        for path in sboms {
            let bytes = crate::cli::input::read_small(path, materials::MAX_SIZE)?;
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
    pub(in crate::cli) fn warn(&self) {
        let variants = self.all.iter().flat_map(|prediction| &prediction.variants);
        let recorded = variants.flat_map(Variant::recordings).flat_map(|recording| &recording.warnings);
        let recorded: std::collections::BTreeSet<&String> = recorded.collect();
        self.warnings.iter().chain(recorded).for_each(warn);
    }

    /// All of it as one document. They must have been made with file digests.
    pub(in crate::cli) fn document(&self) -> anyhow::Result<reference::Document> {
        let documents = self.all.iter().map(reference::document).collect::<Result<Vec<_>, _>>()?;
        let mut document = reference::combine(documents).context("nothing was predicted")?;
        document.materials = self.materials.iter().map(Into::into).collect();
        Ok(document)
    }
}

/// Opens what `path` names and predicts each boot of it that was asked for, with a progress bar where somebody watches.
pub(in crate::cli) fn predictions(
    path: &Path,
    args: &BootArgs,
    file_digests: bool,
) -> anyhow::Result<Predictions> {
    let mut predictions = Predictions::default();
    let requests = requests_of(path, args, file_digests, &mut predictions)?;
    predict_all(requests, path, &mut predictions)?;
    Ok(predictions)
}

/// What [`predictions`] would predict, for those who need it twice; without digests of the files.
pub(in crate::cli) fn requests(path: &Path, args: &BootArgs) -> anyhow::Result<(Vec<Request>, Predictions)> {
    let mut predictions = Predictions::default();
    let requests = requests_of(path, args, false, &mut predictions)?;
    Ok((requests, predictions))
}

/// Every entry of the boot menu of `path`, where it has one and only one of them was asked for.
pub(in crate::cli) fn other_requests(path: &Path, args: &BootArgs) -> anyhow::Result<Vec<Request>> {
    let Subject::Medium(medium) = medium::identify(path, &args.medium.walk)? else { return Ok(Vec::new()) };
    let walked = medium::walked(&medium, path, &args.medium.with_all_entries(), around(args)?)?;
    let boots = walked.boots.into_iter().take(MAX_OTHER_ENTRIES);
    boots.map(|boot| request(boot.entry, boot.profile, boot.chain, args, false)).collect()
}

/// Predicts, with a progress bar where somebody watches.
pub(in crate::cli) fn predict_all(
    requests: Vec<Request>,
    path: &Path,
    predictions: &mut Predictions,
) -> anyhow::Result<()> {
    for request in requests {
        let bar = crate::cli::progress::Bar::new();
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
fn default_banks(platform: &Platform, baselines: &[RecordedPlatform]) -> Vec<HashAlgorithm> {
    let recorded: Option<&RecordedPlatform> = baselines.first();
    let in_logs = |bank: &HashAlgorithm| recorded.is_none_or(|recorded| recorded.part.banks.contains(bank));
    let banks: Vec<HashAlgorithm> = platform.banks.iter().copied().filter(in_logs).collect();
    match recorded {
        Some(recorded) if banks.is_empty() => recorded.part.banks.clone(),
        _ => banks,
    }
}
