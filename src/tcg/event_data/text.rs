//! Events whose data is text: actions, versions, boot loaders' strings.

use std::borrow::Cow;
use std::ops::Range;

use crate::tcg::EventType;
use crate::uefi::text;

use super::field::{Field, Value, short_text};
use super::txt;

/// Text of an event.
#[derive(Debug, Clone)]
pub struct Text<'a> {
    /// Who wrote it, or what it means.
    pub kind: TextKind,
    /// The text, without prefix and NUL.
    pub text: Cow<'a, str>,
    /// Where the text stands in the event's data.
    pub range: Range<usize>,
}

/// Whose text it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextKind {
    /// GRUB ran this command.
    GrubCommand,
    /// GRUB passed this command line to a kernel.
    KernelCommandLine,
    /// GRUB passed this command line to a module.
    ModuleCommandLine,
    /// systemd-stub: the name of a section, or its content.
    Section,
    /// Text as it is.
    Plain,
    /// Two numbers: base and length of a piece of code (`EV_POST_CODE`, `EV_S_CRTM_CONTENTS`).
    Address,
    /// Bytes of Intel TXT, in hexadecimal, with the name of their type: no text, and the name is none of the data.
    Txt(&'static str),
}

impl<'a> Text<'a> {
    /// The text of an event, if its data looks like one.
    pub(super) fn read(event_type: EventType, data: &'a [u8]) -> Option<Self> {
        if let Some(prefix) = grub_prefix(data).filter(|_| event_type == EventType::IPL) {
            return Some(Self::behind(prefix, data));
        }
        if let Some(name) = txt::txt_type_name(event_type) {
            let text = Cow::Owned(hex::encode(data));
            return Some(Self { kind: TextKind::Txt(name), text, range: 0..data.len() });
        }
        let code =
            matches!(event_type, EventType::POST_CODE | EventType::POST_CODE2 | EventType::S_CRTM_CONTENTS);
        if let (true, Some(text)) = (code, address(data)) {
            return Some(Self { kind: TextKind::Address, text: Cow::Owned(text), range: 0..data.len() });
        }
        let text = match (event_type, data) {
            // EDK2 measures an empty version as its terminator alone.
            (EventType::S_CRTM_VERSION, [0, 0]) => String::new(),
            (EventType::S_CRTM_VERSION, data) if data.len() == 16 && text::guess(data).is_none() => {
                let bytes = <[u8; 16]>::try_from(data).ok()?;
                crate::uefi::guid::Guid::from_bytes(bytes).to_string()
            }
            _ => text::guess(data)?,
        };
        let section = event_type == EventType::IPL && text.starts_with('.') && !text.contains(' ');
        let kind = if section { TextKind::Section } else { TextKind::Plain };
        Some(Self { kind, text: Cow::Owned(text), range: 0..data.len() })
    }

    fn behind(prefix: &'static [u8], data: &'a [u8]) -> Self {
        let behind = data.get(prefix.len()..).unwrap_or_default();
        let length = behind.iter().position(|byte| *byte == 0).unwrap_or(behind.len());
        let kind = match prefix {
            b"grub_cmd: " | b"grub_cmd " => TextKind::GrubCommand,
            b"module_cmdline: " => TextKind::ModuleCommandLine,
            _ => TextKind::KernelCommandLine,
        };
        let text = String::from_utf8_lossy(behind.get(..length).unwrap_or_default());
        Self { kind, text, range: prefix.len()..prefix.len().saturating_add(length) }
    }

    pub(super) fn summary(&self) -> String {
        let text = short_text(&self.text);
        match self.kind {
            TextKind::GrubCommand => format!("GRUB command: {text}"),
            TextKind::KernelCommandLine => format!("kernel command line: {text}"),
            TextKind::ModuleCommandLine => format!("module command line: {text}"),
            TextKind::Section => format!("section {text}"),
            TextKind::Txt(name) => format!("{name} {text}").trim_end().to_owned(),
            TextKind::Plain | TextKind::Address => text,
        }
    }

    pub(super) fn fields(&self) -> Vec<Field> {
        let name = match self.kind {
            TextKind::GrubCommand => "grub_cmd",
            TextKind::KernelCommandLine => "kernel_cmdline",
            TextKind::ModuleCommandLine => "module_cmdline",
            TextKind::Section => "section",
            TextKind::Txt(_) if self.text.is_empty() => return Vec::new(),
            TextKind::Txt(_) | TextKind::Plain | TextKind::Address => "Event",
        };
        let value = match self.kind {
            TextKind::Txt(_) => Value::Bytes(self.text.clone().into_owned()),
            _ => Value::text(&*self.text),
        };
        vec![Field::new(name, value, self.range.clone())]
    }
}

/// What GRUB writes in front of the text that it measures (`grub-core/commands/tpm.c`; the forms without a colon
/// are those of RHEL 8).
pub(super) fn grub_prefix(data: &[u8]) -> Option<&'static [u8]> {
    const PREFIXES: [&[u8]; 5] =
        [b"grub_cmd: ", b"kernel_cmdline: ", b"module_cmdline: ", b"grub_cmd ", b"grub_kernel_cmdline "];
    PREFIXES.into_iter().find(|prefix| data.starts_with(prefix))
}

/// `EFI_PLATFORM_FIRMWARE_BLOB` in an event that may also hold text.
fn address(data: &[u8]) -> Option<String> {
    let (base, length) = data.split_first_chunk::<8>()?;
    let length = u64::from_le_bytes(<[u8; 8]>::try_from(length).ok()?);
    text::guess(data).is_none().then(|| format!("{length} bytes at {:#x}", u64::from_le_bytes(*base)))
}
