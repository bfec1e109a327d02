//! What lies beside the image, and is not there: addons, credentials, extensions, SMBIOS strings, the boot loader.

use super::Facts;
use super::deviation::{Deviation, Edit};
use crate::boot::utf16_nul;
use crate::compare::causes::Code;
use crate::compare::changes::command_line_text;
use crate::compare::model::{Author, Event};
use crate::compare::topic::Topic;
use crate::tcg::PcrIndex;
use crate::uefi::text::utf16_to_nul;

/// One thing that may be missing: its code, the sentence, and which events go with it.
struct Companion {
    code: Code,
    detail: &'static str,
    has: fn(&Event) -> bool,
}

const COMPANIONS: &[Companion] = &[
    Companion { code: Code::Addon, detail: "the addons were not there", has: is_addon },
    Companion { code: Code::Credential, detail: "the credentials were not there", has: is_credential },
    Companion { code: Code::Extension, detail: "the extensions were not there", has: is_extension },
    Companion {
        code: Code::Smbios,
        detail: "SMBIOS has no string that adds to the command line",
        has: is_smbios,
    },
    Companion { code: Code::Options, detail: "no options were passed to the image", has: is_options },
    Companion {
        code: Code::Loader,
        detail: "the boot loader did not run: the firmware started the image itself",
        has: is_loader,
    },
];

pub(super) fn deviations(facts: &Facts<'_>) -> Vec<Deviation> {
    let mut all = Vec::new();
    for companion in COMPANIONS {
        let events: Vec<(usize, &Event)> = facts.all().filter(|(_, event)| (companion.has)(event)).collect();
        if events.is_empty() {
            continue;
        }
        let none = match by_loader(facts, companion) {
            true => {
                Deviation::new(Code::Loader, "the boot loader passed no options, as other versions of it do")
            }
            false => Deviation::new(companion.code, companion.detail),
        };
        let none =
            events.iter().fold(none, |none, (index, event)| none.with(event.pcr, Edit::Remove(*index)));
        all.push(without_text(facts, none, &events));
        if events.len() > 1 {
            // One of several: what it does to other registers depends on the bytes, which only the image has.
            for (index, event) in events {
                let detail = format!("without {}", event.what);
                all.push(
                    Deviation::new(companion.code, detail).ranked(1).with(event.pcr, Edit::Remove(index)),
                );
            }
        }
    }
    all
}

/// Options that nobody edited: boot loaders up to 254 pass on the text that is part of the image.
fn by_loader(facts: &Facts<'_>, companion: &Companion) -> bool {
    companion.code == Code::Options && facts.of(4).any(|(_, event)| role(event, "boot-loader"))
}

fn role(event: &Event, wanted: &str) -> bool {
    event.origin.as_ref().is_some_and(|origin| origin.roles.first().is_some_and(|role| role == wanted))
}

fn is_addon(event: &Event) -> bool {
    matches!(event.topic, Topic::Addon | Topic::AddonPart) || event.author() == Some(Author::Addons)
}

fn is_archive(event: &Event, credential: bool) -> bool {
    matches!(&event.topic, Topic::Archive(name) if name.to_lowercase().contains("credential") == credential)
}

fn is_credential(event: &Event) -> bool {
    is_archive(event, true)
}

fn is_extension(event: &Event) -> bool {
    is_archive(event, false)
}

fn is_smbios(event: &Event) -> bool {
    event.author() == Some(Author::Smbios)
}

fn is_options(event: &Event) -> bool {
    event.author() == Some(Author::LoadOptions)
}

fn is_loader(event: &Event) -> bool {
    event.topic == Topic::LoaderConf || (event.topic == Topic::Loader && role(event, "boot-loader"))
}

/// Texts that are gone are also gone from the kernel's command line, to whose end the stub appends them.
fn without_text(facts: &Facts<'_>, deviation: Deviation, gone: &[(usize, &Event)]) -> Deviation {
    let kernel = facts.of(9).find(|(_, event)| event.topic == Topic::KernelOptions);
    let Some((index, old)) = kernel.and_then(|(index, event)| Some((index, command_line_text(event)?)))
    else {
        return deviation;
    };
    let mut text = old.to_owned();
    for (_, event) in gone.iter().filter(|(_, event)| event.topic == Topic::Options) {
        let gone = event.data.as_deref().map(utf16_to_nul).unwrap_or_default();
        if let Some(rest) = text.strip_suffix(&gone) {
            text = rest.trim_end_matches(' ').to_owned();
        } else if let Some((before, after)) = text.split_once(&format!(" {gone} ")) {
            text = format!("{before} {after}");
        }
    }
    if text == old || text.is_empty() {
        return deviation;
    }
    let units: Vec<u16> = text.encode_utf16().collect();
    deviation.with(PcrIndex::new(9), Edit::Replace(index, facts.hash(&utf16_nul(&units))))
}
