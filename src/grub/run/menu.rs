//! The boot menu, and the entry that boots when nobody presses a key (GRUB `grub-core/normal/menu.c`).

use super::{Flow, Grub, Stop, stop};

/// Most entries of a menu.
const MAX_ENTRIES: usize = 1000;

/// Options of `menuentry` that take a value.
const WITH_VALUE: [&str; 5] = ["--class", "--users", "--hotkey", "--source", "--id"];

/// An entry.
#[derive(Debug, Clone)]
pub(super) struct MenuEntry {
    title: String,
    id: String,
    /// The title and what follows it.
    arguments: Vec<String>,
    /// Its commands.
    source: String,
    submenu: bool,
}

impl Grub<'_> {
    /// `menuentry` and `submenu`.
    pub(super) fn add_entry(&mut self, arguments: &[String], submenu: bool) -> Flow {
        let Some((block, options)) = arguments.split_last() else {
            return Err(stop("a menu entry has no commands"));
        };
        let source = block.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        let Some(source) = source else {
            return Err(stop("a menu entry takes its commands from elsewhere, which is not followed"));
        };
        let (mut id, mut plain) = (None, Vec::new());
        let mut options = options.iter();
        while let Some(option) = options.next() {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                _ => (option.as_str(), None),
            };
            if WITH_VALUE.contains(&name) {
                let value = value.or_else(|| options.next().cloned());
                if name == "--id" {
                    id = value;
                }
            } else if name == "--unrestricted" {
            } else if option.starts_with('-') && option.len() > 1 {
                return Err(stop(format!("the option {option} of a menu entry is not followed")));
            } else {
                plain.push(option.clone());
            }
        }
        let Some(title) = plain.first().cloned() else {
            return Err(stop("a menu entry has no title"));
        };
        if self.menu.len() >= MAX_ENTRIES {
            return Err(stop("the menu has more entries than are followed"));
        }
        self.menu.push(MenuEntry {
            id: id.unwrap_or_else(|| title.clone()),
            title,
            arguments: plain,
            source: source.to_owned(),
            submenu,
        });
        self.succeeded = Some(true);
        Ok(())
    }

    /// Runs the entry that boots by itself.
    pub(super) fn run_menu(&mut self) -> Flow {
        if self.loaded {
            // A kernel that the configuration itself loaded starts when the configuration ends.
            return if self.menu.is_empty() {
                Ok(())
            } else {
                Err(stop("a kernel is loaded outside the menu"))
            };
        }
        if self.menu.is_empty() {
            return Err(stop("the configuration has no menu entries: GRUB waits for commands"));
        }
        let waits = self.environment.plain("timeout") != "0";
        if waits && !self.environment.plain("theme").is_empty() {
            return Err(stop("the files of the menu's theme are not followed"));
        }
        self.trace.waits |= waits;
        let entry = self.default_entry()?;
        if entry.submenu {
            return Err(stop("the default entry is a submenu, which is not followed"));
        }
        self.environment.set("chosen", entry.title.clone())?;
        let quoted = entry.arguments.iter().map(|argument| format!(" '{}'", argument.replace('\'', "'\\''")));
        let text = format!("setparams{}\n{}", quoted.collect::<String>(), entry.source);
        self.run_text("the default entry", &text)?;
        if self.loaded { Ok(()) } else { Err(stop("the default entry starts no kernel")) }
    }

    /// The entry in `default`, by number, title or id; the first one when there is no such entry.
    fn default_entry(&self) -> Result<MenuEntry, Stop> {
        let wanted = self.environment.plain("default");
        let by_number = wanted.trim().parse::<usize>().ok();
        let by_name = || self.menu.iter().position(|entry| entry.title == wanted || entry.id == wanted);
        if by_number.is_none() && wanted.contains('>') {
            return Err(stop("the default entry lies in a submenu, which is not followed"));
        }
        let index = by_number.or_else(by_name).filter(|index| *index < self.menu.len()).unwrap_or(0);
        self.menu.get(index).cloned().ok_or_else(|| stop("the menu is empty"))
    }
}
