//! Container images (OCI layouts, archives of `docker save`) against the folder or disk that they hold.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::{Run, disks, fixture, premeasure, read, scratch, skipped_without, tool};

const TOOLS: [&str; 4] = ["tar", "zstd", "gzip", "mcopy"];

fn values(path: &Path) -> Run {
    let form = ["--format", "pcrs", "--secure-boot", "off", "--exit-boot-services", "success"];
    let arguments = [OsStr::new("predict"), path.as_os_str()].into_iter().chain(form.map(OsStr::new));
    premeasure(arguments)
}

/// What is in the folder as a layer.
fn layer(folder: &Path, packed: &str) -> Vec<u8> {
    let packed_file = folder.with_extension("layer");
    let script = format!("tar --format=pax --sort=name -C \"$1\" -cf - . | {packed} > \"$2\"");
    tool(Command::new("sh").args(["-c", &script, "sh"]).arg(folder).arg(&packed_file));
    read(packed_file)
}

struct Layout(PathBuf);

impl Layout {
    fn new(path: PathBuf) -> Self {
        fs::create_dir_all(path.join("blobs/sha256")).expect("made");
        fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("written");
        Self(path)
    }

    fn blob(&self, bytes: &[u8], media_type: &str) -> Value {
        let digest = hex::encode(Sha256::digest(bytes));
        fs::write(self.0.join("blobs/sha256").join(&digest), bytes).expect("written");
        json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len() })
    }

    fn finish(self, layers: &[Vec<u8>]) -> PathBuf {
        let layers: Vec<Value> =
            layers.iter().map(|layer| self.blob(layer, "application/vnd.oci.image.layer.v1.tar")).collect();
        let config = self.blob(b"{}", "application/vnd.oci.image.config.v1+json");
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
        let manifest = self.blob(
            &serde_json::to_vec(&manifest).expect("JSON"),
            "application/vnd.oci.image.manifest.v1+json",
        );
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        fs::write(self.0.join("index.json"), index.to_string()).expect("written");
        self.0
    }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, bytes).expect("written");
}

/// Three layers: the first has another UKI and another loader.conf, which the others take away; the UKI that is left is a hard
/// link to an object of ostree; /efi is a link. And the folder that this comes to.
fn layers(root: &Path) -> (Vec<Vec<u8>>, PathBuf) {
    let at = |layer: &str, path: &str| root.join(layer).join(path);
    let loader = read(disks::esp("c-sdboot-257").join("EFI/BOOT/BOOTX64.EFI"));
    let uki = read(fixture("t-tiny-257/uki.efi"));
    write(&at("1", "boot/EFI/BOOT/BOOTX64.EFI"), &loader);
    write(
        &at("1", "boot/EFI/Linux/old.efi"),
        &read(disks::esp("c-sdboot-257").join("EFI/Linux/rig-257.efi")),
    );
    write(&at("1", "boot/loader/loader.conf"), b"default old*\n");
    write(&at("1", "boot/loader/addons/x.addon.efi"), &read(fixture("pe/global.addon.efi")));
    write(&at("1", "usr/bin/true"), b"#!/bin/sh\n");
    write(&at("2", "boot/EFI/Linux/.wh.old.efi"), b"");
    write(&at("2", "sysroot/ostree/repo/objects/ab/cd.file"), &uki);
    fs::hard_link(at("2", "sysroot/ostree/repo/objects/ab/cd.file"), at("2", "boot/EFI/Linux/new.efi"))
        .expect("linked");
    write(&at("3", "boot/loader/.wh..wh..opq"), b"");
    write(&at("3", "boot/loader/loader.conf"), b"default new*\n");
    symlink("boot", at("3", "efi")).expect("linked");
    let merged = root.join("merged");
    write(&merged.join("EFI/BOOT/BOOTX64.EFI"), &loader);
    write(&merged.join("EFI/Linux/new.efi"), &uki);
    write(&merged.join("loader/loader.conf"), b"default new*\n");
    let packed = ["cat", "gzip -c", "zstd -q -c"];
    let layers = ["1", "2", "3"].iter().zip(packed).map(|(name, packed)| layer(&root.join(name), packed));
    (layers.collect(), merged)
}

#[test]
fn layers_are_merged_as_a_container_engine_does() {
    if skipped_without(&TOOLS) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let (layers, merged) = layers(folder.path());
    let expected: Value = values(&merged).json();
    assert_ne!(expected["sha256"]["11"], Value::Null);
    let layout = Layout::new(folder.path().join("layout")).finish(&layers);
    assert_eq!(values(&layout).json::<Value>(), expected, "a folder");
    let archive = folder.path().join("image.tar");
    tool(Command::new("tar").arg("-C").arg(&layout).arg("-cf").arg(&archive).arg("."));
    assert_eq!(values(&archive).json::<Value>(), expected, "an archive");
    tool(Command::new("gzip").arg(&archive));
    assert_eq!(values(&folder.path().join("image.tar.gz")).json::<Value>(), expected, "packed");

    // As `docker save` wrote it up to version 24: layers by name, unpacked.
    let saved = folder.path().join("saved");
    let names: Vec<String> = (0..layers.len()).map(|index| format!("{index}/layer.tar")).collect();
    for (name, layer) in names.iter().zip(&layers) {
        write(&saved.join(name), layer);
    }
    let manifest = json!([{ "Config": "config.json", "RepoTags": ["os:1"], "Layers": names }]);
    write(&saved.join("manifest.json"), manifest.to_string().as_bytes());
    let archive = folder.path().join("saved.tar");
    tool(Command::new("tar").arg("-C").arg(&saved).arg("-cf").arg(&archive).args([
        "manifest.json",
        "0",
        "1",
        "2",
    ]));
    assert_eq!(values(&archive).json::<Value>(), expected, "docker save");
    let run = premeasure([OsStr::new("inspect"), archive.as_os_str()]);
    assert!(run.text().contains("a container image os:1 of 3 layers"), "{}{}", run.text(), run.stderr);
}

#[test]
fn disks_and_single_ukis_are_found_in_them() {
    if skipped_without(&TOOLS) || skipped_without(&["qemu-img"]) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let disk = disks::disk("t-tiny-257");
    let content = folder.path().join("disk");
    fs::create_dir_all(content.join("disk")).expect("made");
    let image = content.join("disk/downloaded.qcow2");
    tool(Command::new("qemu-img").args(["convert", "-O", "qcow2"]).arg(&disk).arg(&image));
    let layout = Layout::new(folder.path().join("one")).finish(&[layer(&content, "gzip -c")]);
    assert_eq!(values(&layout).json::<Value>(), values(&disk).json::<Value>());

    let content = folder.path().join("uki");
    let uki = fixture("t-tiny-257/uki.efi");
    write(&content.join("usr/lib/modules/6.12.1/linux.efi"), &read(&uki));
    let layout = Layout::new(folder.path().join("two")).finish(&[layer(&content, "zstd -q -c")]);
    let run = |path: &Path| {
        let arguments = ["predict".as_ref(), path.as_os_str(), "--format".as_ref(), "pcrs".as_ref()];
        premeasure(arguments).json::<Value>()
    };
    assert_eq!(run(&layout), run(&uki));
}

#[test]
fn damaged_and_hostile_images_are_refused_with_a_reason() {
    if skipped_without(&TOOLS) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let (layers, _) = layers(folder.path());
    let check = |name: &str, words: &str, change: &dyn Fn(&Path), options: &[&str]| {
        let layout = Layout::new(folder.path().join(name)).finish(&layers);
        change(&layout);
        let arguments = [OsStr::new("predict"), layout.as_os_str()];
        let run = premeasure(arguments.into_iter().chain(options.iter().map(OsStr::new)));
        assert_eq!(run.code, Some(2), "{name}: {}", run.text());
        assert!(run.stderr.contains(words), "{name}: {}", run.stderr);
    };
    let digest = |layer: usize| hex::encode(Sha256::digest(&layers[layer]));
    let index = |layout: &Path, digest: &str| {
        let text = json!({ "manifests": [{ "digest": digest, "size": 4 }] });
        fs::write(layout.join("index.json"), text.to_string()).expect("written");
    };
    check(
        "altered",
        "its SHA-256 is",
        &|layout| {
            let path = layout.join("blobs/sha256").join(digest(0));
            let mut bytes = read(&path);
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            fs::write(path, bytes).expect("written");
        },
        &[],
    );
    check(
        "cut",
        "its descriptor says",
        &|layout| {
            fs::write(layout.join("blobs/sha256").join(digest(1)), &layers[1][..1000]).expect("written");
        },
        &[],
    );
    check(
        "missing",
        "is not in the layout",
        &|layout| {
            fs::remove_file(layout.join("blobs/sha256").join(digest(2))).expect("removed");
        },
        &[],
    );
    check(
        "outside",
        "is no digest",
        &|layout| {
            index(layout, "sha256:../../../../../../etc/passwd");
        },
        &[],
    );
    check("large", "--max-size", &|_| (), &["--max-size", "1K"]);
    check(
        "empty",
        "names no",
        &|layout| {
            fs::write(layout.join("index.json"), "{}").expect("written");
        },
        &[],
    );
}
