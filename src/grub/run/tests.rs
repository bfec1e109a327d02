//! Runs over files in memory. The texts are those that real GRUBs logged for such commands.

#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::*;
use crate::disk::{Entry, EntryKind, Volume, VolumeError};
use crate::grub::GrubImage;

#[derive(Debug, Default)]
struct Memory(BTreeMap<String, Vec<u8>>, Vec<GrubPartition>);

impl Memory {
    fn add(&mut self, name: &str, content: &str) {
        self.0.insert(name.to_owned(), content.as_bytes().to_vec());
    }

    fn partition(&mut self, device: &str, uuid: &str, label: &str) {
        self.1.push(GrubPartition {
            device: device.to_owned(),
            uuid: Some(uuid.to_owned()),
            label: Some(label.to_owned()),
            unreadable: None,
            since_2_12: false,
        });
    }
}

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
        let path = path.replace("//", "/");
        Ok(self.0.get(&path).map(|bytes| Blob::from_bytes(bytes.clone())))
    }

    fn knows_order(&self) -> bool {
        true
    }
}

impl GrubFiles for Memory {
    fn device(&self, name: &str) -> Result<&dyn Volume, Stop> {
        if name == "hd0,gpt1" { Ok(self) } else { Err(stop(format!("({name}) is not read"))) }
    }

    fn partitions(&self) -> &[GrubPartition] {
        &self.1
    }
}

/// Modules of Debian's signed image that the tests use.
const BUILT_IN: [&str; 15] = [
    "efifwsetup",
    "tpm",
    "normal",
    "gzio",
    "configfile",
    "echo",
    "font",
    "gettext",
    "linux",
    "loadenv",
    "search",
    "search_fs_uuid",
    "terminal",
    "test",
    "true",
];

/// The grub.cfg of a Debian 13 build in `/EFI/debian`, with a kernel and an initrd at hand.
fn files(configuration: &str) -> Memory {
    let mut files = Memory::default();
    for (name, content) in [
        ("/EFI/debian/grub.cfg", configuration),
        ("/vmlinuz", "kernel"),
        ("/initrd", "initrd"),
        ("/empty", ""),
    ] {
        files.add(name, content);
    }
    files
}

fn run(configuration: &str) -> Trace {
    run_with(&files(configuration), &BUILT_IN, false)
}

fn run_with(files: &Memory, modules: &[&str], secure: bool) -> Trace {
    let image = GrubImage {
        prefix: Some("/EFI/debian".to_owned()),
        modules: modules.iter().map(|name| (*name).to_owned()).collect(),
        ..GrubImage::default()
    };
    let build = GrubBuild::ROWS.iter().find(|row| row.version == "2.12-").unwrap();
    let mut grub = Grub::new(&image, Some(build), "hd0,gpt1", files).secure(secure);
    // Configurations say after how many seconds the menu boots by itself; those of these tests leave it to here.
    grub.environment.set("timeout", "5".to_owned()).unwrap();
    grub.environment.export("timeout").unwrap();
    grub.run()
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
        ("search --file --set=root /x\n", "search does not find /x"),
        ("search --fs-uuid 1234-5678\n", "--set"),
        ("search --cryptodisk-only --set=root --label x\n", "--cryptodisk-only"),
        ("source (hd0,gpt2)/grub.cfg\n", "(hd0,gpt2)"),
        ("if terminal_output console; then true; fi\n", "whether 'terminal_output console' succeeds"),
        ("terminal_output gfxterm\n", "terminal gfxterm"),
        ("if [ \"$shim_lock\" = y ]; then true; fi\n", "shim_lock"),
        ("echo *\n", "pattern"),
        ("linux /nothing\n", "/nothing"),
        ("set a=b\n", "no menu entries"),
        ("menuentry A { echo a }\n", "starts no kernel"),
        ("submenu A { true }\n", "no menu entries"),
        ("linux /vmlinuz\n", "not started"),
        ("fwsetup\n", "restarts"),
        ("echo $cmdpath\n", "cmdpath"),
        ("if [ $feature_new ]; then true; fi\n", "feature_new"),
        ("terminal_output vga_text\n", "vga_text"),
        ("blscfg --path /x\n", "blscfg"),
        ("unset timeout\nmenuentry A { linux /vmlinuz }\n", "waits until somebody chooses"),
        ("set timeout=-1\nmenuentry A { linux /vmlinuz }\n", "waits until somebody chooses"),
        ("set superusers=root\nmenuentry A { linux /vmlinuz }\n", "password"),
        ("set check_signatures=enforce\n", "signature"),
        ("set default='1 foo'\nmenuentry A { linux /vmlinuz }\n", "1 foo"),
        ("set p='/vmlinu*'\nfor k in $p; do true; done\n", "pattern"),
        ("save_env a\nload_env\n", "save_env"),
        ("function ls { set q=fn; }\nls\n", "name of a command"),
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
    let trace = run("set a=b\nregexp x y\nset c=d\n");
    assert_eq!(commands(&trace), ["set a=b", "regexp x y"]);
}

/// As Debian 13 logged it: grubenv is measured each time it is opened, `default` names an entry of a submenu, and only
/// exported variables are left there.
#[test]
fn a_saved_default_leads_into_a_submenu() {
    let mut files = files(
        "if [ -s $prefix/grubenv ]; then\n  load_env\nfi\nset default=\"${saved_entry}\"\nset lost=1\nset kept=2\nexport kept\n\
         function savedefault {\n  saved_entry=\"${chosen}\"\n  save_env saved_entry\n}\n\
         menuentry A { linux /vmlinuz a }\n\
         submenu 'More of it' --id more {\n\tmenuentry B --id b { linux /vmlinuz b }\n\
         \tmenuentry C --id c {\n\t\tsavedefault\n\t\tlinux /vmlinuz c$lost$kept\n\t}\n}\n",
    );
    files.add("/EFI/debian/grubenv", "# GRUB Environment Block\nsaved_entry=more>c\n########");
    let trace = run_with(&files, &BUILT_IN, false);
    assert_eq!(trace.stopped, None);
    let all = commands(&trace);
    let end = all.iter().position(|text| *text == "setparams More of it").unwrap();
    assert_eq!(
        all[end + 3..end + 7],
        ["setparams C", "savedefault", "saved_entry=more>c", "save_env saved_entry"]
    );
    assert_eq!(trace.command_line.as_deref(), Some("/vmlinuz c2"));
    let grubenv = "(hd0,gpt1)/EFI/debian/grubenv";
    assert_eq!(opened(&trace)[2..], [grubenv, grubenv, "/vmlinuz"]);
}

#[test]
fn a_search_goes_through_the_partitions_in_order() {
    let mut files = files(&format!(
        "search --no-floppy --fs-uuid --set=a --hint-bios=hd0,gpt9 4D42-5231\nsearch --set=b --label two\n\
         search.file /vmlinuz c\nsearch.fs_uuid 4d42-5231 d hd0,gpt3\necho $a $b $c $d\n{ENTRY}"
    ));
    files.partition("hd0,gpt1", "4d42-5231", "one");
    files.partition("hd0,gpt2", "11111111-2222-4333-8444-555555555501", "two");
    files.partition("hd0,gpt3", "4d42-5231", "three");
    let modules: Vec<&str> = [&BUILT_IN[..], &["search_fs_file"]].concat();
    let trace = run_with(&files, &modules, false);
    assert_eq!(trace.stopped, None);
    assert!(commands(&trace).contains(&"echo hd0,gpt1 hd0,gpt2 hd0,gpt1 hd0,gpt3"));
    // The file that was found was opened.
    assert_eq!(opened(&trace)[2], "(hd0,gpt1)/vmlinuz");
}

#[test]
fn a_partition_that_can_t_be_read_may_be_the_one() {
    let mut files = files("search --set=root --label boot\n");
    files.partition("hd0,gpt1", "1", "boot");
    files.1[0].unreadable = Some("btrfs".to_owned());
    let stopped = run_with(&files, &BUILT_IN, false).stopped.unwrap().0;
    assert!(stopped.contains("btrfs"), "{stopped}");
}

/// As Debian 13 logged it.
#[test]
fn lists_and_translations_are_opened_when_their_variables_are_set() {
    let mut files =
        files(&format!("set prefix=(hd0,gpt1)/grub\nset locale_dir=$prefix/locale\nset lang=de_DE\n{ENTRY}"));
    for list in ["terminal", "crypto", "command", "fs"] {
        files.add(&format!("/grub/x86_64-efi/{list}.lst"), "");
    }
    files.0.insert("/grub/locale/de.mo".to_owned(), b"\xde\x12\x04\x95 and more".to_vec());
    let names: Vec<String> =
        ["command", "fs", "crypto", "terminal"].map(|list| format!("x86_64-efi/{list}.lst")).into();
    let expected: Vec<String> = names
        .into_iter()
        .chain(["locale/de.mo".to_owned()])
        .map(|name| format!("(hd0,gpt1)/grub/{name}"))
        .collect();
    let trace = run_with(&files, &BUILT_IN, false);
    assert_eq!(trace.stopped, None);
    assert_eq!(opened(&trace)[2..7], expected);
}

/// As Debian 12 and 13 logged it under Secure Boot: each time the file is opened, and the command says yes.
#[test]
fn secure_boot_refuses_modules_after_they_were_opened() {
    let mut files =
        files(&format!("insmod hello\nif insmod hello; then echo yes; else echo no; fi\n{ENTRY}"));
    files.add("/EFI/debian/x86_64-efi/hello.mod", "no ELF, which nobody looks at");
    let trace = run_with(&files, &BUILT_IN, true);
    assert_eq!(trace.stopped, None);
    let module = "(hd0,gpt1)/EFI/debian/x86_64-efi/hello.mod";
    assert_eq!(opened(&trace)[2..4], [module, module]);
    assert!(commands(&trace).contains(&"echo yes"));
    let stopped = run_with(&files, &BUILT_IN, false).stopped.unwrap().0;
    assert!(stopped.contains("no module"), "{stopped}");
}

#[test]
fn without_the_module_tpm_only_the_kernel_counts() {
    let modules: Vec<&str> = BUILT_IN.into_iter().filter(|name| *name != "tpm").collect();
    let trace = run_with(&files(ENTRY), &modules, false);
    assert_eq!(trace.stopped, None);
    assert!(matches!(trace.steps.as_slice(), [Step::Kernel { .. }]), "{:?}", trace.steps);
}

/// As Debian's GRUB 2.14 logged it: entries are opened in the order of the folder, sorted by version with the newest first,
/// and have no `setparams`; a blank line ends one; a variable without a value leaves nothing.
#[test]
fn entries_of_the_boot_loader_specification() {
    let mut files = files("load_env\nset default=rig-6.12\nblscfg\necho done\n");
    files.add("/EFI/debian/grubenv", "# GRUB Environment Block\nkernelopts=root=LABEL=x ro\n###");
    files.add(
        "/loader/entries/rig-6.12.conf",
        "# comment\ntitle Rig 6.12\nlinux /vmlinuz\ninitrd /initrd\noptions $kernelopts a=12 \"q x=y\" $nothing b quiet\n",
    );
    files.add(
        "/loader/entries/rig-6.12~rc1.conf",
        "title Rig 6.12 rc\nlinux /vmlinuz\n\ninitrd /initrd\noptions x\n",
    );
    files.add("/loader/entries/rig-6.9.conf", "title Rig 6.9\nlinux /vmlinuz\noptions $kernelopts a=9\n");
    files.add("/loader/entries/readme.txt", "no entry\n");
    let modules: Vec<&str> = [&BUILT_IN[..], &["blsuki"]].concat();
    let trace = run_with(&files, &modules, false);
    assert_eq!(trace.stopped, None);
    let expected =
        ["blscfg", "echo done", "linux /vmlinuz root=LABEL=x ro a=12 q x=y b quiet", "initrd /initrd"];
    assert_eq!(commands(&trace)[2..], expected);
    assert_eq!(trace.command_line.as_deref(), Some("/vmlinuz root=LABEL=x ro a=12 \"q x=y\" b quiet"));
    let names = ["rig-6.12.conf", "rig-6.12~rc1.conf", "rig-6.9.conf"];
    assert_eq!(opened(&trace)[3..6], names.map(|name| format!("(hd0,gpt1)/loader/entries//{name}")));
    for (default, line) in
        [("0", "root=LABEL=x ro a=12"), ("2", "root=LABEL=x ro a=9"), ("'Rig 6.12 rc'", "/vmlinuz")]
    {
        files.add("/EFI/debian/grub.cfg", &format!("load_env\nset default={default}\nblscfg\n"));
        let command_line = run_with(&files, &modules, false).command_line.unwrap();
        assert!(command_line.contains(line), "{default}: {command_line}");
    }
}

/// A module that is no ELF object ends the run, as does one that needs a module that is not there; the search for a
/// command's module goes by the list.
#[test]
fn commands_bring_their_modules() {
    let mut files = files(&format!("set prefix=(hd0,gpt1)/grub\nblscfg\n{ENTRY}"));
    files.add("/grub/x86_64-efi/command.lst", "*blscfg: blsuki\nregexp: regexp\n");
    let without = run_with(&files, &BUILT_IN, false);
    assert!(without.stopped.as_ref().unwrap().0.contains("'blscfg'"), "{without:?}");
    files.add("/grub/x86_64-efi/blsuki.mod", "no ELF");
    let stopped = run_with(&files, &BUILT_IN, false);
    assert!(stopped.stopped.as_ref().unwrap().0.contains("no module of GRUB"), "{stopped:?}");
    assert_eq!(opened(&stopped).last(), Some(&"(hd0,gpt1)/grub/x86_64-efi/blsuki.mod"));
    let refused = run_with(&files, &BUILT_IN, true).stopped.unwrap().0;
    assert!(refused.contains("Secure Boot refuses"), "{refused}");
}

/// As GRUB 2.14 ran it, started by shim 16.1 (Debian's builds): carriage returns are no part of a block, numbers have a base, an
/// assignment succeeds, and `root` has no parentheses.
#[test]
fn odd_but_legal_scripts_run_as_they_do_in_grub() {
    let trace = run("set default=1\r\nmenuentry A { true }\r\nmenuentry B {\r\n  linux /vmlinuz\r\n}\r\n\
         if [ 010 -eq 8 -a 0x10 -eq 16 ]; then set a=octal; else set a=decimal; fi\n\
         false; if x=y; then set c=yes; else set c=no; fi\nset root=(hd0,gpt1)\nset r=$root\n");
    let commands = commands(&trace);
    assert!(commands.contains(&"set a=octal") && commands.contains(&"set c=yes"), "{commands:?}");
    assert!(commands.contains(&"set r=hd0,gpt1"), "{commands:?}");
    assert!(commands.contains(&"menuentry B {\n  linux /vmlinuz\n}"), "{commands:?}");
    assert_eq!(trace.stopped, None);
}
