//! Images in other formats, made by qemu-img and the usual packers, against the raw image that they hold.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use premeasure::source::{Blob, DEFAULT_MAX_SIZE, unpack};
use support::{Run, find_tool, premeasure, read, scratch, skipped_without, tool};

/// A raw image with data, holes, and a length that is no multiple of a block of any format.
fn raw(folder: &Path) -> PathBuf {
    let mut state = 7_u64;
    let mut bytes = vec![0; 9 * 1024 * 1024 + 512 * 3];
    for chunk in bytes.chunks_mut(100_000).skip(1).step_by(4) {
        for byte in chunk {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 56) as u8;
        }
    }
    bytes.iter_mut().rev().take(700).for_each(|byte| *byte = 0x5A);
    let path = folder.join("disk.raw");
    std::fs::write(&path, bytes).expect("written");
    path
}

fn open(path: &Path) -> Blob {
    Blob::from_file(std::fs::File::open(path).expect("opened")).expect("a file")
}

/// The content through the reader, in steps that don't match any block.
fn content(path: &Path) -> Vec<u8> {
    let unpacked =
        unpack(&open(path), DEFAULT_MAX_SIZE).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(!unpacked.layers.is_empty(), "{}", path.display());
    let mut bytes = vec![0; usize::try_from(unpacked.content.len()).expect("small")];
    for (index, chunk) in bytes.chunks_mut(300_007).enumerate() {
        unpacked.content.read_exact_at(index as u64 * 300_007, chunk).expect("readable");
    }
    bytes
}

#[test]
fn formats_of_qemu_img_hold_the_raw_image() {
    if skipped_without(&["qemu-img"]) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let raw_image = raw(folder.path());
    let expected = read(&raw_image);
    let cases: &[&[&str]] = &[
        &["-O", "qcow2"],
        &["-O", "qcow2", "-c"],
        &["-O", "qcow2", "-o", "compat=0.10"],
        &["-O", "qcow2", "-o", "cluster_size=512"],
        &["-O", "qcow2", "-c", "-o", "cluster_size=2M"],
        &["-O", "qcow2", "-c", "-o", "compression_type=zstd"],
        &["-O", "vpc", "-o", "subformat=fixed,force_size=on"],
        &["-O", "vpc", "-o", "subformat=dynamic,force_size=on"],
        &["-O", "vhdx"],
        &["-O", "vhdx", "-o", "subformat=fixed"],
        &["-O", "vhdx", "-o", "block_size=1M,block_state_zero=off"],
        &["-O", "vmdk", "-o", "subformat=streamOptimized"],
        &["-O", "vmdk", "-o", "subformat=monolithicSparse"],
    ];
    for options in cases {
        let image = folder.path().join("image");
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-f", "raw"]).args(*options).arg(&raw_image).arg(&image);
        tool(&mut convert);
        assert!(content(&image) == expected, "{options:?}");
        std::fs::remove_file(&image).expect("removed");
    }
}

#[test]
fn compressed_images_are_unpacked() {
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let raw_image = raw(folder.path());
    let expected = read(&raw_image);
    let shown = raw_image.display();
    let cases = [
        ("zstd", format!("zstd -q -c {shown}")),
        ("zstd", format!("zstd -q -19 --long=27 -c {shown}")),
        ("zstd", format!("head -c 1000000 {shown} | zstd -q -c; tail -c +1000001 {shown} | zstd -q -c")),
        ("xz", format!("xz -c {shown}")),
        ("xz", format!("xz -T2 --block-size=1MiB -c {shown}")),
        ("gzip", format!("gzip -c {shown}")),
        ("tar", format!("tar --format=oldgnu -C {} -Sczf - disk.raw", folder.path().display())),
        ("tar", format!("tar --format=ustar -C {} -cf - disk.raw | zstd -q -c", folder.path().display())),
    ];
    for (program, command) in cases {
        if find_tool(program).is_none() {
            skipped_without(&[program]);
            continue;
        }
        let image = folder.path().join("packed");
        let bytes = Command::new("sh").args(["-c", &command]).output().expect("started").stdout;
        std::fs::write(&image, bytes).expect("written");
        assert!(content(&image) == expected, "{command}");
    }
}

/// Runs `predict` on a file with these bytes.
fn predict(folder: &Path, bytes: &[u8], options: &[&str]) -> Run {
    let image = folder.join("image");
    std::fs::write(&image, bytes).expect("written");
    let arguments = [&["predict", image.to_str().expect("UTF-8")], options].concat();
    premeasure(arguments)
}

#[test]
fn a_bomb_is_stopped_and_the_limit_can_be_raised() {
    if skipped_without(&["gzip"]) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let bomb = Command::new("sh")
        .args(["-c", "head -c 30000000 /dev/zero | gzip -c"])
        .output()
        .expect("started")
        .stdout;
    let run = predict(folder.path(), &bomb, &["--max-size", "20M"]);
    assert_eq!(run.code, Some(2));
    assert!(
        run.stderr.contains("more than 20971520 bytes") && run.stderr.contains("--max-size"),
        "{}",
        run.stderr
    );
    let run = predict(folder.path(), &bomb, &["--max-size", "40M"]);
    assert!(run.stderr.contains("no GUID partition table"), "{}", run.stderr);
}

/// A file of the host that an image names is never opened.
#[test]
fn images_that_name_other_files_are_refused() {
    if skipped_without(&["qemu-img"]) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let raw_image = raw(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let base = raw_image.display().to_string();
    let qemu_img = |arguments: &[&str]| drop(tool(Command::new("qemu-img").args(arguments)));
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", &base, "-F", "raw", &path("backed")]);
    qemu_img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-o",
        &format!("data_file={},data_file_raw=on", path("data")),
        &path("external"),
        "9M",
    ]);
    qemu_img(&["convert", "-O", "vmdk", "-o", "subformat=monolithicFlat", &base, &path("flat")]);
    qemu_img(&["convert", "-O", "vdi", &base, &path("vdi")]);
    // FileParameters.HasParent of a VHDX: qemu-img makes no such disk.
    qemu_img(&["convert", "-O", "vhdx", &base, &path("vhdx")]);
    let mut vhdx = read(path("vhdx"));
    let item = b"\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b";
    let at = (0x20_0000..).find(|at| &vhdx[*at..at + 16] == item).expect("FileParameters");
    let offset = u32::from_le_bytes(vhdx[at + 16..at + 20].try_into().expect("four"));
    // The region starts at a multiple of 1 MiB.
    vhdx[(at >> 20 << 20) + usize::try_from(offset).expect("small") + 4] |= 2;
    std::fs::write(path("vhdx"), vhdx).expect("written");
    for (name, words) in [
        ("backed", "backing file"),
        ("external", "another file"),
        ("flat", "other files"),
        ("vdi", "VDI"),
        ("vhdx", "needs its parent"),
    ] {
        let run = premeasure(["predict", &path(name)]);
        assert_eq!(run.code, Some(2), "{name}");
        assert!(
            run.stderr.contains(words) && run.stderr.contains("qemu-img convert -O raw"),
            "{name}: {}",
            run.stderr
        );
    }
}

/// Made by the tools themselves: what is not read is named, with the command that unpacks it.
#[test]
fn what_is_not_read_is_named_with_its_tool() {
    if skipped_without(&["qemu-img"]) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let raw_image = raw(folder.path());
    let made = |name: &str, program: &str, arguments: &[&str]| {
        let path = folder.path().join(name);
        if skipped_without(&[program]) {
            return;
        }
        let output =
            Command::new(program).args(arguments).arg(&raw_image).current_dir(folder.path()).output();
        let output = output.expect("started");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        if !path.exists() {
            std::fs::write(&path, output.stdout).expect("written");
        }
        let run = premeasure(["predict", &path.display().to_string()]);
        assert_eq!(run.code, Some(2), "{name}");
        let program = if program == "python3" { "unzip" } else { program };
        let hint = format!("hint: {program} ");
        assert!(run.stderr.contains(&format!("{name}: this format is not read")), "{name}: {}", run.stderr);
        assert!(run.stderr.contains(&hint), "{name}: {}", run.stderr);
    };
    for (name, format) in [("QED", "qed"), ("Parallels", "parallels")] {
        let path = folder.path().join(name).display().to_string();
        tool(Command::new("qemu-img").args(["convert", "-O", format]).arg(&raw_image).arg(&path));
        made(name, "qemu-img", &["info"]);
    }
    made("bzip2", "bzip2", &["-kc"]);
    made("lz4", "lz4", &["-qc"]);
    made("lzma", "xz", &["-kc", "--format=lzma"]);
    made("zip", "python3", &["-m", "zipfile", "-c", "zip"]);
}

/// Damaged headers and tables: an answer or an error, never more.
#[test]
fn damaged_images_never_do_more_than_fail() {
    if skipped_without(&["qemu-img"]) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let raw_image = folder.path().join("small.raw");
    std::fs::write(&raw_image, vec![7; 300_000]).expect("written");
    for (format, start) in [("qcow2", 0), ("vpc", 0), ("vmdk", 0), ("vhdx", 0x20_0000), ("vhdx", 0x30_0000)] {
        let image = folder.path().join(format);
        tool(Command::new("qemu-img").args(["convert", "-O", format]).arg(&raw_image).arg(&image));
        let sound = read(&image);
        let mut state = 1_u64;
        for _ in 0..2000 {
            let mut damaged = sound.clone();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = start + (state >> 33) as usize % (sound.len() - start).min(2048);
                damaged[at] = (state >> 20) as u8;
            }
            if let Ok(unpacked) = unpack(&Blob::from_bytes(damaged), 1 << 20) {
                let length = unpacked.content.len().min(500_000);
                let _ = unpacked.content.slice(0, length).map(|part| part.read(500_000));
            }
        }
    }
}
