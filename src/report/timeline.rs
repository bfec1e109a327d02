//! Which part of the boot an event belongs to.
//!
//! Logs do not say who measured an event; what is measured tells. A boot never goes back to an earlier part, so an event that
//! could be anybody's (a separator, a variable) belongs to whoever runs.

use crate::boot::Stage;
use crate::compare::Topic;
use crate::tcg::PcrIndex;

macro_rules! parts {
    ($($part:ident => $id:literal, $name:literal, $meaning:literal;)*) => {
        /// A part of the boot, in the order of the boot.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub enum Part {
            #[default]
            $(#[doc = $meaning] $part,)*
        }

        impl Part {
            /// A word for ids.
            #[must_use]
            pub fn id(self) -> &'static str {
                match self { $(Self::$part => $id,)* }
            }

            /// Its name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$part => $name,)* }
            }

            /// What happens in it.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$part => $meaning,)* }
            }
        }
    };
}

parts! {
    Firmware => "firmware", "Firmware", "The firmware measures itself, its configuration, the Secure Boot keys and what it starts.";
    BootLoader => "boot-loader", "Boot loader", "shim, GRUB or systemd-boot: configuration, options and what they start.";
    Stub => "stub", "Stub", "systemd-stub measures the parts of the unified kernel image and what lies beside it.";
    Kernel => "kernel", "Kernel", "The kernel measures its command line and initrd, and takes over from the firmware.";
    Initrd => "initrd", "Initrd", "systemd in the initrd: enter-initrd to leave-initrd.";
    System => "system", "System", "systemd on the host: sysinit, ready.";
    Shutdown => "shutdown", "Shutdown", "The system goes down: shutdown, final.";
}

/// Where in the boot a list of events is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock(Part);

impl Clock {
    /// The part that an event belongs to; events come in the order of the boot.
    pub fn part(&mut self, pcr: PcrIndex, topic: &Topic, stage: Option<Stage>) -> Part {
        let part = self.0.max(own(pcr, topic, stage));
        // An image is measured by who starts it, and runs afterwards.
        self.0 = part.max(started(pcr, topic));
        part
    }
}

/// The earliest part that measures such a thing. Sources: systemd `src/boot/boot.c`, `src/boot/stub.c`, `src/shared/tpm2-util.c`
/// and `src/tpm2-setup`, Linux `drivers/firmware/efi/libstub`, GRUB `grub-core/commands/tpm.c`, shim `mok.c`.
fn own(pcr: PcrIndex, topic: &Topic, stage: Option<Stage>) -> Part {
    match stage {
        Some(Stage::EnterInitrd | Stage::LeaveInitrd) => return Part::Initrd,
        Some(Stage::Sysinit | Stage::Ready) => return Part::System,
        Some(Stage::Shutdown | Stage::Final) => return Part::Shutdown,
        Some(Stage::ExitBootServices) | None => {}
    }
    match topic {
        Topic::Phase(word) => match word.parse::<Stage>() {
            Ok(Stage::Sysinit | Stage::Ready) => Part::System,
            Ok(Stage::Shutdown | Stage::Final) => Part::Shutdown,
            _ => Part::Initrd,
        },
        Topic::OsSeparator | Topic::NvPcrSeparator | Topic::Identity(_) => Part::Initrd,
        Topic::KernelOptions | Topic::Initrd | Topic::Ima => Part::Kernel,
        Topic::Action(text) if text.starts_with("Exit Boot Services") => Part::Kernel,
        Topic::SectionName(_) | Topic::Section(_) | Topic::Profile | Topic::Archive(_) | Topic::AddonPart => {
            Part::Stub
        }
        Topic::LoaderConf | Topic::Grub | Topic::Options => Part::BootLoader,
        Topic::Mok(_) if pcr.get() == 14 => Part::BootLoader,
        _ => Part::Firmware,
    }
}

/// The part that begins behind this event.
fn started(pcr: PcrIndex, topic: &Topic) -> Part {
    match topic {
        Topic::Loader | Topic::Image(_) if pcr.get() == 4 => Part::BootLoader,
        Topic::Uki => Part::Stub,
        _ => Part::Firmware,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(events: &[(u8, Topic, Option<Stage>)]) -> Vec<Part> {
        let mut clock = Clock::default();
        events.iter().map(|(pcr, topic, stage)| clock.part(PcrIndex::new(*pcr), topic, *stage)).collect()
    }

    #[test]
    fn an_image_is_measured_before_its_part_begins() {
        let events = [
            (7, Topic::SecureBootVariable("db".to_owned()), None),
            (4, Topic::Loader, None),
            (5, Topic::LoaderConf, None),
            (4, Topic::Uki, None),
            (11, Topic::Section(".linux".to_owned()), None),
            (4, Topic::Kernel, None),
            (9, Topic::KernelOptions, None),
            (11, Topic::Phase("enter-initrd".to_owned()), None),
            (15, Topic::Identity("machine-id".to_owned()), Some(Stage::Sysinit)),
            (11, Topic::Phase("final".to_owned()), None),
        ];
        use Part::{BootLoader, Firmware, Initrd, Kernel, Shutdown, Stub, System};
        let expected =
            [Firmware, Firmware, BootLoader, BootLoader, Stub, Stub, Kernel, Initrd, System, Shutdown];
        assert_eq!(parts(&events), expected);
    }

    /// A separator or variable behind the kernel's events does not lead back to the firmware.
    #[test]
    fn a_boot_never_goes_back() {
        let events = [(9, Topic::Initrd, None), (5, Topic::Separator, None), (4, Topic::Loader, None)];
        assert_eq!(parts(&events), [Part::Kernel; 3]);
    }
}
