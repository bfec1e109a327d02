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
        let quoted = plain.iter().map(|argument| format!(" '{}'", argument.replace('\'', "'\\''")));
        let source = format!("setparams{}\n{source}", quoted.collect::<String>());
        self.menu.push(MenuEntry { id: id.unwrap_or_else(|| title.clone()), title, source, submenu });
        self.succeeded = Some(true);
        Ok(())
    }

    /// Runs the entry that boots by itself.
    pub(super) fn run_menu(&mut self) -> Flow {
        if self.loaded {
            return Err(stop("a kernel is loaded outside the menu, and not started"));
        }
        if self.menu.is_empty() {
            return Err(stop("the configuration has no menu entries: GRUB waits for commands"));
        }
        let timeout = self.environment.plain("timeout");
        if timeout.is_empty() || !timeout.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(stop("the variable timeout has no number: GRUB's menu waits until somebody chooses"));
        }
        if !self.environment.plain("superusers").is_empty() {
            return Err(stop("with superusers GRUB may ask for a password, which is not followed"));
        }
        let waits = timeout != "0";
        if waits && !self.environment.plain("theme").is_empty() {
            return Err(stop("the files of the menu's theme are not followed"));
        }
        self.trace.waits |= waits;
        let entry = self.default_entry()?;
        self.run_entry(&entry)
    }

    /// Runs an entry; a submenu's commands make a menu, whose default entry runs then (GRUB `grub_menu_execute_entry`).
    fn run_entry(&mut self, entry: &MenuEntry) -> Flow {
        if entry.submenu {
            self.environment = self.environment.inherited_by_submenu();
            self.environment.set("timeout", "0".to_owned())?;
            self.menu.clear();
        }
        let id = entry.id.replace('>', ">>");
        let chosen = match self.environment.plain("chosen") {
            "" => id,
            outer => format!("{outer}>{id}"),
        };
        self.environment.set("chosen", chosen)?;
        let (_, rest) = first_of(self.environment.plain("default"));
        match rest.map(str::to_owned) {
            Some(rest) => self.environment.set("default", rest)?,
            None => self.environment.unset("default"),
        }
        self.run_text("the default entry", &entry.source)?;
        if entry.submenu {
            return self.nested(Self::run_menu);
        }
        if self.loaded { self.start() } else { Err(stop("the default entry starts no kernel")) }
    }

    /// An entry that has its commands ready: they begin with no `setparams`.
    pub(super) fn push_entry(&mut self, id: String, title: String, source: String) -> Flow {
        if self.menu.len() >= MAX_ENTRIES {
            return Err(stop("the menu has more entries than are followed"));
        }
        self.menu.push(MenuEntry { id, title, source, submenu: false });
        Ok(())
    }

    /// The entry in `default`, by number, title or id; the first one when there is no such entry. Behind a `>` stands the
    /// one of the submenu.
    fn default_entry(&self) -> Result<MenuEntry, Stop> {
        let (wanted, _) = first_of(self.environment.plain("default"));
        let digits = !wanted.is_empty() && wanted.bytes().all(|byte| byte.is_ascii_digit());
        // GRUB `grub_strtoul` takes the digits in front for the number, whatever follows, in base 0.
        let begins_with_digit = wanted.starts_with(|first: char| first.is_ascii_digit());
        if wanted.starts_with(['+', '-', ' ', '\t'])
            || (wanted.len() > 1 && wanted.starts_with('0'))
            || (begins_with_digit && !digits)
        {
            return Err(stop(format!("which entry the number '{wanted}' is is not followed")));
        }
        let by_number = if digits { wanted.parse::<usize>().ok() } else { None };
        let name = wanted.replace(">>", ">");
        let by_name = || self.menu.iter().position(|entry| entry.title == name || entry.id == name);
        let index = by_number.or_else(by_name).filter(|index| *index < self.menu.len()).unwrap_or(0);
        self.menu.get(index).cloned().ok_or_else(|| stop("the menu is empty"))
    }
}

/// The part before the first single `>`, and what follows it unless that is nothing.
fn first_of(wanted: &str) -> (&str, Option<&str>) {
    let mut from = 0;
    while let Some(found) = wanted.get(from..).and_then(|rest| rest.find('>')) {
        let at = from.saturating_add(found);
        let next = at.saturating_add(1);
        if wanted.get(next..).is_some_and(|rest| rest.starts_with('>')) {
            from = next.saturating_add(1);
            continue;
        }
        let rest = wanted.get(next..).filter(|rest| !rest.is_empty());
        return (wanted.get(..at).unwrap_or_default(), rest);
    }
    (wanted, None)
}
