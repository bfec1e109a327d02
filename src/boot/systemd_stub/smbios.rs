//! What the machine's SMBIOS tables bring in: a command line (PCR 12), and structures (PCR 1).

use super::command_line::{self, append};
use super::{Stub, rules};
use crate::boot::linux::tagged;
use crate::boot::measurement::{GapCode, Source};
use crate::boot::recorder::{Event, Recorder};
use crate::boot::text::{utf16_nul, utf16_units};
use crate::boot::{Scenario, cc};
use crate::hashing::Segment;
use crate::tcg::{EventType, PcrIndex};

impl Stub<'_> {
    pub(super) fn measure_smbios_command_line(&mut self, recorder: &mut Recorder<'_>) {
        let text = self.scenario.smbios.value("io.systemd.stub.kernel-cmdline-extra");
        let Some(text) = text.filter(|_| !self.scenario.confidential_vm) else { return };
        let mut text = match command_line::decode(text) {
            Ok(text) => text,
            Err(problem) => {
                let reason = "an SMBIOS string is not valid UTF-8, so how the stub decodes it is not known";
                let remedy = "another SMBIOS string";
                recorder.gap(PcrIndex::new(12), GapCode::Smbios, &rules::SMBIOS_COMMAND_LINE, reason, remedy);
                self.command_line = Err(problem);
                return;
            }
        };
        let knows_null = self.rules.profiles;
        if knows_null {
            text = command_line::mangle(self.rules.mangle, &text);
            if text.is_empty() {
                return;
            }
        }
        self.measure_text("SMBIOS", &text, Source::Option("--smbios"), &rules::SMBIOS_COMMAND_LINE, recorder);
        let Ok(line) = &mut self.command_line else { return };
        match line {
            // A formatter of 254 to 256 prints a missing text as "(null)".
            None if !knows_null => {
                *line = Some([&utf16_units("(null) "), text.as_slice()].concat());
            }
            _ => append(line, &text),
        }
    }
}

/// PCR 1: SMBIOS structures of type 1, 2 and 11.
pub(in crate::boot) fn measure_smbios_structures(scenario: &Scenario, recorder: &mut Recorder<'_>) {
    /// Offset of Wake-up Type in type 1 (DSP0134, section 7.2).
    const WAKE_UP_TYPE: usize = 0x18;
    match cc::measures_smbios(recorder.running(), scenario) {
        Some(true) => {}
        Some(false) => return,
        None => {
            let reason = "whether this release of 261 measures SMBIOS structures without a TPM is not known";
            let remedy = "systemd-boot and systemd-stub of version 262 or later";
            recorder.gap(PcrIndex::new(1), GapCode::Smbios, &rules::SMBIOS_STRUCTURES, reason, remedy);
            return;
        }
    }
    let Some(structures) = &scenario.smbios.structures else {
        recorder.gap(
            PcrIndex::new(1),
            GapCode::Smbios,
            &rules::SMBIOS_STRUCTURES,
            "PCR 1 depends on the SMBIOS tables of the machine",
            "--smbios with the machine's /sys/firmware/dmi/tables/DMI",
        );
        return;
    };
    let tags = [(1, 0xD5CB_7CBC), (2, 0xE0D4_7BC8), (11, 0xC0B3_BD23)];
    for structure in structures {
        let Some((kind, tag)) = tags.iter().find(|(kind, _)| *kind == structure.kind) else { continue };
        let mut bytes = structure.bytes.clone();
        if *kind == 1
            && structure.formatted_length > WAKE_UP_TYPE
            && let Some(field) = bytes.get_mut(WAKE_UP_TYPE)
        {
            *field = 0;
        }
        let name = format!("smbios:type{kind}");
        let event = Event {
            pcr: PcrIndex::new(1),
            event_type: Some(EventType::EVENT_TAG),
            data: Some(tagged(*tag, &utf16_nul(&utf16_units(&name)))),
            description: format!("SMBIOS structure of type {kind}"),
            source: Source::Option("--smbios"),
            rule: &rules::SMBIOS_STRUCTURES,
        };
        recorder.measure(event, [Segment::bytes(bytes)]);
    }
}
