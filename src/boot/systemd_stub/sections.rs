//! PCR 11: the sections of the image, each by name and content.

use super::{Stub, rules};
use crate::boot::measurement::{GapCode, Source};
use crate::boot::recorder::{Event, Recorder};
use crate::boot::replay::BootError;
use crate::boot::text::{utf16_nul, utf16_units};
use crate::boot::{Declared, InputId};
use crate::hashing::Segment;
use crate::tcg::{EventType, PcrIndex};
use crate::uki::LoadedSection;

impl Stub<'_> {
    /// PCR 11.
    pub(super) fn measure_sections(&self, recorder: &mut Recorder<'_>) -> Result<(), BootError> {
        for name in self.rules.measured_sections {
            let section = match *name {
                ".dtbauto" => self.chosen(name, &self.scenario.devicetree, recorder)?,
                ".efifw" if !self.rules.selects_firmware_image => None,
                ".efifw" => self.chosen(name, &self.scenario.firmware_image, recorder)?,
                _ => self.section(name)?,
            };
            if let Some(section) = section {
                self.measure_section(name, &section, recorder);
            }
        }
        Ok(())
    }

    fn measure_section(&self, name: &str, section: &LoadedSection, recorder: &mut Recorder<'_>) {
        let event = |what: &str, source: Source| Event {
            pcr: PcrIndex::new(11),
            event_type: Some(EventType::IPL),
            data: Some(utf16_nul(&utf16_units(name))),
            description: format!("{what} {name}"),
            source,
            rule: &rules::SECTION,
        };
        let source = self.section_source(self.chain.uki.input, section);
        recorder.measure(event("name", Source::Constant), [Segment::bytes(format!("{name}\0"))]);
        recorder.measure(event("content of", source), section.segments());
    }

    /// The section that the machine selects among equal ones.
    pub(super) fn chosen(
        &self,
        name: &str,
        choice: &Declared<usize>,
        recorder: &mut Recorder<'_>,
    ) -> Result<Option<LoadedSection>, BootError> {
        let all = self.sections.all(name).map_err(|error| BootError::image(&self.chain.uki.name, error))?;
        match choice {
            Declared::Is(number) => Ok(all.into_iter().nth(*number)),
            Declared::Absent => Ok(None),
            Declared::Unknown => {
                if !all.is_empty() {
                    recorder.gap(
                        PcrIndex::new(11),
                        GapCode::Devicetree,
                        &rules::SECTION,
                        format!(
                            "which of {} sections {name} the stub takes depends on the machine",
                            all.len()
                        ),
                        "--devicetree N or none, --firmware-image N or none",
                    );
                }
                Ok(None)
            }
        }
    }

    /// A section of the UKI as the stub finds it.
    pub(super) fn section(&self, name: &str) -> Result<Option<LoadedSection>, BootError> {
        self.sections.get(name).map_err(|error| BootError::image(&self.chain.uki.name, error))
    }

    pub(super) fn section_source(&self, input: InputId, section: &LoadedSection) -> Source {
        Source::Section {
            input,
            name: section.section.name.to_string(),
            offset: section.section.raw_offset.into(),
            length: section.len(),
        }
    }
}
