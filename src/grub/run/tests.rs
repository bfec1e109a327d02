//! Runs over files in memory. The texts are those that real GRUBs logged for such commands.

#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::*;
use crate::disk::{Entry, EntryKind, Volume, VolumeError};
use crate::grub::GrubImage;

#[derive(Debug, Default)]
struct Memory(BTreeMap<String, Vec<u8>>);

impl Volume for Memory {
    fn label(&self) -> &str {
        "memory"
    }

    fn list(&self, path: &str) -> Result<Option<Vec<Entry>>, VolumeError> {
        let prefix = format!("{}/", path.trim_end_matches('/'));
        let names = self.0.iter().filter_map(|(name, bytes)| {
            let rest = name.strip_prefix(&prefix)?;
            let kind =
                if rest.contains('/') { EntryKind::Folder } else { EntryKind::File(bytes.len() as u64) };
            Some(Entry { name: rest.split('/').next()?.to_owned(), kind })
        });
        let entries: Vec<Entry> = names.collect();
        Ok((!entries.is_empty()).then_some(entries))
    }

    fn open(&self, path: &str) -> Result<Option<Blob>, VolumeError> {
        Ok(self.0.get(path).map(|bytes| Blob::from_bytes(bytes.clone())))
    }

    fn knows_order(&self) -> bool {
        true
    }
}

impl GrubFiles for Memory {
    fn device(&self, name: &str) -> Result<&dyn Volume, Stop> {
        if name == "hd0,gpt1" { Ok(self) } else { Err(stop(format!("({name}) is not read"))) }
    }
}

/// Runs a configuration in `/EFI/debian/grub.cfg` of a Debian 13 build, with a kernel and an initrd at hand.
fn run(configuration: &str) -> Trace {
    let mut files = Memory::default();
    for (name, content) in [
        ("/EFI/debian/grub.cfg", configuration),
        ("/vmlinuz", "kernel"),
        ("/initrd", "initrd"),
        ("/empty", ""),
    ] {
        files.0.insert(name.to_owned(), content.as_bytes().to_vec());
    }
    let image = GrubImage {
        prefix: Some("/EFI/debian".to_owned()),
        modules: ["test".to_owned()].into(),
        ..GrubImage::default()
    };
    let build = GrubBuild::ROWS.iter().find(|row| row.version == "2.12-").unwrap();
    Grub::new(&image, build, "hd0,gpt1", "\\EFI\\BOOT\\grubx64.efi", &files).run()
}

fn commands(trace: &Trace) -> Vec<&str> {
    let commands = trace.steps.iter().filter_map(|step| match step {
        Step::Command(text) => Some(text.as_str()),
        _ => None,
    });
    commands.collect()
}

fn opened(trace: &Trace) -> Vec<&str> {
    let files = trace.steps.iter().filter_map(|step| match step {
        Step::File { name, .. } => Some(name.as_str()),
        _ => None,
    });
    files.collect()
}

fn stopped(configuration: &str) -> String {
    run(configuration).stopped.expect(configuration).0
}

const ENTRY: &str = "menuentry 'Rig' {\n\tlinux /vmlinuz \"foo=a b\"\n\tinitrd /initrd\n}\n";

#[test]
fn quotes_leave_the_command_and_stay_in_the_command_line() {
    let trace = run(ENTRY);
    assert_eq!(trace.stopped, None);
    let block = "menuentry Rig {\n\tlinux /vmlinuz \"foo=a b\"\n\tinitrd /initrd\n}";
    assert_eq!(commands(&trace), [block, "setparams Rig", "linux /vmlinuz foo=a b", "initrd /initrd"]);
    assert_eq!(trace.command_line.as_deref(), Some("/vmlinuz \"foo=a b\""));
    // This build opens its configuration twice.
    let name = "(hd0,gpt1)/EFI/debian/grub.cfg";
    assert_eq!(opened(&trace), [name, name, "/vmlinuz", "/initrd"]);
    assert!(trace.waits, "without timeout=0 the menu waits");
}

#[test]
fn only_what_runs_is_measured() {
    let trace = run(&format!(
        "if [ \"${{next_entry}}\" = 1 ] ; then set default=1 ; else set default=0 ; fi\n\
         set timeout=0\nfunction f {{\n  set x=$1\n}}\nf a b\nif [ -s /empty -o ! -e /vmlinuz ]; then false; fi\n{ENTRY}"
    ));
    assert_eq!(trace.stopped, None);
    let all = commands(&trace);
    // An empty variable in quotes stays a word.
    assert_eq!(
        all[..6],
        ["[  = 1 ]", "set default=0", "set timeout=0", "f a b", "set x=a", "[ -s /empty -o ! -e /vmlinuz ]"]
    );
    // Looking at a file with -s opens it, with -e it doesn't.
    assert_eq!(opened(&trace)[2..], ["/empty", "/vmlinuz", "/initrd"]);
    assert!(!trace.waits);
}

#[test]
fn unquoted_variables_fall_apart_into_words() {
    let trace = run(&format!("a='x y'\nset empty=\necho $a $empty \"$a\" z\n{ENTRY}"));
    assert_eq!(commands(&trace)[..3], ["a=x y", "set empty=", "echo x y x y z"]);
}

#[test]
fn the_default_entry_is_found_by_number_title_and_id() {
    let entries =
        "menuentry 'A' --id a { linux /vmlinuz a }\nmenuentry 'B' --class c --id=b { linux /vmlinuz b }\n";
    for (default, expected) in [("1", "b"), ("B", "b"), ("b", "b"), ("0", "a"), ("nothing", "a"), ("7", "a")]
    {
        let trace = run(&format!("set default={default}\n{entries}"));
        assert_eq!(trace.command_line, Some(format!("/vmlinuz {expected}")), "{default}");
    }
}

#[test]
fn what_the_files_do_not_decide_ends_the_run() {
    for (configuration, reason) in [
        ("search --file --set=root /x\n", "search"),
        ("source (hd0,gpt2)/grub.cfg\n", "(hd0,gpt2)"),
        ("if terminal_output gfxterm; then true; fi\n", "whether 'terminal_output gfxterm' succeeds"),
        ("if [ \"$shim_lock\" = y ]; then true; fi\n", "shim_lock"),
        ("echo *\n", "pattern"),
        ("linux /nothing\n", "/nothing"),
        ("set a=b\n", "no menu entries"),
        ("menuentry A { echo a }\n", "starts no kernel"),
        ("submenu A { true }\n", "submenu"),
        ("while true; do true; done\n", "more commands"),
        ("function f { f }\nf\n", "nest deeper"),
        ("if true; then\n", "line 2"),
        ("insmod gfxmenu\nset theme=x\nmenuentry A { linux /vmlinuz }\n", "theme"),
    ] {
        let reason_given = stopped(configuration);
        assert!(reason_given.contains(reason), "{configuration}: {reason_given}");
    }
}

#[test]
fn what_ran_before_the_end_is_kept() {
    let trace = run("set a=b\nblscfg\nset c=d\n");
    assert_eq!(commands(&trace), ["set a=b", "blscfg"]);
}
