//! The firmware's part: what it measures around the images that it starts.

use super::measurement::{GapCode, Rule, Source};
use super::recorder::{Event, Recorder};
use super::replay::BootError;
use super::{
    BootChain, Declarable, ExitBootServices, NamedImage, PartitionTable, Payload, Scenario, cc, cloud, ovmf,
    secure_boot,
};
use crate::hashing::Segment;
use crate::pe::{Subsystem, authenticode_segments, authenticode_segments_padded};
use crate::tcg::{EventType, PcrIndex};
use crate::uki::LoadedSection;

const FIRMWARE: Rule = Rule {
    id: "firmware",
    statement: "the firmware measures its own code, drivers, tables and boot variables",
    source: "PFP section 3.3.4, PCR 0 to 3 and 6",
};
const CALLING: Rule = Rule {
    id: "calling-efi-application",
    statement: "the firmware measures the text \"Calling EFI Application from Boot Option\" before it tries a boot \
                option",
    source: "PFP section 3.3.4.5; EDK2 Tcg2Dxe OnReadyToBoot; observed before the separator of PCR 4",
};
const SEPARATOR: Rule = Rule {
    id: "separator",
    statement: "the firmware measures four zero bytes into PCR 0 to 6 before it tries the first boot option",
    source: "PFP section 3.3.2.2; EDK2 Tcg2Dxe MeasureSeparatorEvent",
};
const IMAGE: Rule = Rule {
    id: "image-load",
    statement: "the firmware measures the image digest (Authenticode) of each application that it loads",
    source: "PFP section 3.3.4.5; EDK2 DxeTpm2MeasureBootHandler, MeasurePeImageAndExtend",
};
const PARTITION_TABLE: Rule = Rule {
    id: "partition-table",
    statement: "the firmware measures the GPT of the disk from which it loads the first image",
    source: "PFP section 3.3.4.6; EDK2 Tcg2MeasureGptTable",
};
const EXIT_BOOT_SERVICES: Rule = Rule {
    id: "exit-boot-services",
    statement: "the firmware measures the kernel's call of ExitBootServices and its outcome",
    source: "PFP section 3.3.4.6; EDK2 Tcg2Dxe OnExitBootServices, OnExitBootServicesFailed; a failing first call observed \
             with OVMF 2026.08, never with 2022.11 and 2025.02",
};

/// Power-on up to the first boot option.
pub(super) fn power_on(chain: &BootChain, scenario: &Scenario, recorder: &mut Recorder<'_>) {
    if let Some(guest) = &scenario.cc {
        cc::power_on(guest, scenario, recorder);
        return;
    }
    if let Some(recorded) = &scenario.baseline {
        recorded.power_on(recorder);
        secure_boot::begin(scenario, recorder);
        return;
    }
    // A machine that nobody described may have devices with firmware of their own.
    let separator_only =
        if scenario.platform_declared { scenario.platform.separator_only.as_slice() } else { &[] };
    if !separator_only.is_empty() {
        recorder.assume(
            "no-option-roms",
            "no device brings firmware of its own, and the firmware measures nothing else there",
            separator_only,
            "--baseline",
        );
    }
    let image = scenario.firmware.as_ref().filter(|image| image.is_ovmf());
    if let Some(image) = image {
        ovmf::measure(image, scenario, recorder);
    }
    let declared = cloud::measure(chain, scenario, recorder);
    let derived =
        |pcr: &u8| separator_only.contains(pcr) || (*pcr == 0 && image.is_some()) || declared == Some(*pcr);
    for pcr in [0, 1, 2, 3, 6].into_iter().filter(|pcr| !derived(pcr)) {
        recorder.gap(
            PcrIndex::new(pcr),
            GapCode::Firmware,
            &FIRMWARE,
            "the firmware's own measurements are not part of the image",
            remedy(pcr, scenario),
        );
    }
    let is_tdx_or_not = scenario.cloud.technology.is_some();
    if scenario.platform_declared && scenario.platform.images_may_move && !is_tdx_or_not {
        recorder.assume(
            "not-a-tdx-guest",
            "the guest is not one of TDX, whose firmware measures images and partition table into PCR 2",
            &[2, 4, 5],
            "--declare technology=none, sev, sev-es, sev-snp or tdx",
        );
    }
    secure_boot::measure_variables(scenario, recorder);
    if scenario.platform.measures_calling != Some(false) {
        calling(recorder);
    }
    for pcr in 0..=6 {
        separator(recorder, pcr, &SEPARATOR);
    }
}

/// What would tell a register of the firmware's.
fn remedy(pcr: u8, scenario: &Scenario) -> String {
    let fact = match (scenario.platform.declarable, pcr) {
        (Some(Declarable::Google), 0) => "; --declare technology=none, sev, sev-es, sev-snp or tdx",
        (Some(Declarable::HyperV), 6) => "; --declare vm-id=UUID",
        (None, 2 | 3 | 6) if !scenario.platform_declared => {
            "; --platform for PCR 2, 3 and 6 of a machine without option ROMs"
        }
        _ => "",
    };
    format!("--baseline with an event log of the machine it will run on{fact}")
}

/// The text before the first boot option.
pub(super) fn calling(recorder: &mut Recorder<'_>) {
    action(recorder, 4, "Calling EFI Application from Boot Option", &CALLING);
}

/// The partition table, before the first image is loaded from the disk.
pub(super) fn partition_table(chain: &BootChain, recorder: &mut Recorder<'_>) {
    let table = chain.medium.as_ref().map_or(&PartitionTable::NotGiven, |medium| &medium.partition_table);
    let (input, bytes) = match table {
        PartitionTable::Measured { input, bytes } => (*input, bytes),
        PartitionTable::NotGiven | PartitionTable::Unknown(_) => {
            let reason = match table {
                PartitionTable::Unknown(reason) => reason.as_str(),
                _ => "PCR 5 depends on the partition table of the boot disk",
            };
            let remedy = match table {
                PartitionTable::Unknown(_) => {
                    "a repaired partition table in the image: sgdisk -e disk.img writes it"
                }
                _ => "the disk image that it is shipped in",
            };
            recorder.gap(moved(5, recorder), GapCode::PartitionTable, &PARTITION_TABLE, reason, remedy);
            return;
        }
    };
    recorder.assume(
        "partition-table-unchanged",
        "the disk's partition table is that of the image: the disk is not larger, and nothing rewrote the table",
        &[moved(5, recorder).get()],
        "",
    );
    let event = Event {
        pcr: moved(5, recorder),
        event_type: Some(EventType::EFI_GPT_EVENT),
        data: Some(bytes.clone()),
        description: "partition table".to_owned(),
        source: Source::Derived(vec![input]),
        rule: &PARTITION_TABLE,
    };
    recorder.measure(event, [Segment::bytes(bytes.clone())]);
}

/// Boot options that come before the one that starts: what an attempt leaves in PCR 4 depends on what it starts, and on
/// whether the firmware keeps the option at all.
pub(super) fn earlier_options(chain: &BootChain, recorder: &mut Recorder<'_>) {
    let earlier = chain.medium.iter().flat_map(|medium| &medium.earlier_options);
    let earlier: Vec<&str> = earlier.map(String::as_str).collect();
    if !earlier.is_empty() {
        recorder.gap(
            PcrIndex::new(4),
            GapCode::BootOrder,
            &CALLING,
            format!("the firmware tries {} before, and measures that attempt", earlier.join(", ")),
            "--boot-option PATH where it is tried first, or a boot order without these",
        );
    }
}

/// The line that ends the firmware's own measurements.
pub(super) fn separator(recorder: &mut Recorder<'_>, pcr: u8, rule: &'static Rule) {
    let event = Event {
        pcr: PcrIndex::new(pcr),
        event_type: Some(EventType::SEPARATOR),
        data: Some(vec![0; 4]),
        description: "separator".to_owned(),
        source: Source::Constant,
        rule,
    };
    recorder.measure(event, [Segment::bytes([0; 4])]);
}

/// `LoadImage` of a file: the firmware checks its signature under Secure Boot, and measures it by its subsystem.
pub(super) fn load_image(
    image: &NamedImage,
    rule: Option<&'static Rule>,
    description: &str,
    recorder: &mut Recorder<'_>,
) -> Result<(), BootError> {
    let segments =
        authenticode_segments(&image.image).map_err(|error| BootError::image(&image.name, error))?;
    secure_boot::verify(image, recorder)?;
    let Some((pcr, event_type)) = image_event(image.image.subsystem, recorder) else { return Ok(()) };
    let event = Event {
        pcr,
        event_type: Some(event_type),
        data: None,
        description: format!("{description} {}", image.name),
        source: Source::Image(image.input),
        rule: rule.unwrap_or(&IMAGE),
    };
    recorder.measure(event, segments);
    Ok(())
}

/// `LoadImage` of the kernel that a stub has in memory.
pub(super) fn load_kernel(
    chain: &BootChain,
    section: &LoadedSection,
    kernel: &crate::pe::PeImage,
    rule: &'static Rule,
    recorder: &mut Recorder<'_>,
) -> Result<(), BootError> {
    let segments = authenticode_segments_padded(kernel, section.zeros)
        .map_err(|error| BootError::image(&format!("{}: .linux", chain.uki.name), error))?;
    let Some((pcr, event_type)) = image_event(kernel.subsystem, recorder) else { return Ok(()) };
    let event = Event {
        pcr,
        event_type: Some(event_type),
        data: None,
        description: "kernel in .linux".to_owned(),
        source: Source::SectionImage {
            input: chain.uki.input,
            name: ".linux".to_owned(),
            offset: section.section.raw_offset.into(),
            length: section.len(),
        },
        rule,
    };
    recorder.measure(event, segments);
    Ok(())
}

/// The kernel leaves the firmware behind.
pub(super) fn exit_boot_services(scenario: &Scenario, recorder: &mut Recorder<'_>) {
    recorder.program(cc::Program::Same);
    if let Some(recorded) = scenario.baseline.as_ref().filter(|recorded| recorded.shows_exit()) {
        recorded.exit_boot_services(recorder);
        return;
    }
    if scenario.exit_boot_services == ExitBootServices::FailureThenSuccess {
        action(recorder, 5, "Exit Boot Services Invocation", &EXIT_BOOT_SERVICES);
        action(recorder, 5, "Exit Boot Services Returned with Failure", &EXIT_BOOT_SERVICES);
    }
    action(recorder, 5, "Exit Boot Services Invocation", &EXIT_BOOT_SERVICES);
    action(recorder, 5, "Exit Boot Services Returned with Success", &EXIT_BOOT_SERVICES);
}

/// EDK2's choice by `Subsystem`; other subsystems are not measured.
fn image_event(subsystem: Subsystem, recorder: &Recorder<'_>) -> Option<(PcrIndex, EventType)> {
    match subsystem {
        Subsystem::EFI_APPLICATION => Some((moved(4, recorder), EventType::EFI_BOOT_SERVICES_APPLICATION)),
        Subsystem::EFI_BOOT_SERVICE_DRIVER => Some((PcrIndex::new(2), EventType::EFI_BOOT_SERVICES_DRIVER)),
        Subsystem::EFI_RUNTIME_DRIVER => Some((PcrIndex::new(2), EventType::EFI_RUNTIME_SERVICES_DRIVER)),
        _ => None,
    }
}

/// The register, or PCR 2 where this firmware measures there what belongs into PCR 4 and 5.
fn moved(pcr: u8, recorder: &Recorder<'_>) -> PcrIndex {
    PcrIndex::new(if recorder.images_in_pcr_2 { 2 } else { pcr })
}

/// Where images go into PCR 2, shim and GRUB measure what they start into PCR 4 on their own; which of the images the firmware loads
/// for them was not seen.
pub(super) fn moved_images(chain: &BootChain, recorder: &mut Recorder<'_>) {
    if !recorder.images_in_pcr_2 || (chain.shim.is_none() && chain.payload != Payload::Grub) {
        return;
    }
    for pcr in [2, 4] {
        recorder.gap(
            PcrIndex::new(pcr),
            GapCode::Firmware,
            &IMAGE,
            "this firmware measures images into PCR 2, and what of a boot by shim or GRUB it measures there is not known",
            "compare with the log of a boot of this image",
        );
    }
}

fn action(recorder: &mut Recorder<'_>, pcr: u8, text: &'static str, rule: &'static Rule) {
    let event = Event {
        pcr: PcrIndex::new(pcr),
        event_type: Some(EventType::EFI_ACTION),
        data: Some(text.as_bytes().to_vec()),
        description: text.to_owned(),
        source: Source::Constant,
        rule,
    };
    recorder.measure(event, [Segment::bytes(text)]);
}
