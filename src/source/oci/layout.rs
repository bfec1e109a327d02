//! From an image layout to its layers.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use serde::Deserialize;

use super::OciError;
use crate::source::Blob;
use crate::source::container::BlobReader;

/// Most bytes of a JSON file: registries take manifests of 4 MiB.
const MAX_JSON: u64 = 4 << 20;
/// Most members of an archive.
const MAX_MEMBERS: usize = 65_536;
/// Indexes within indexes.
const MAX_DEPTH: usize = 4;

/// The layers of one image, lowest first.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Name of the image, if it has one.
    pub name: Option<String>,
    /// Each with the SHA-256 that its bytes must have, in hex, where that is told.
    pub layers: Vec<(Blob, Option<String>)>,
    /// What deserves a second look.
    pub warnings: Vec<String>,
}

/// Reads the layout in a folder; `None` when it is none.
///
/// # Errors
/// [`OciError`].
pub fn open_folder(path: &Path) -> Result<Option<Layout>, OciError> {
    if !path.join("oci-layout").is_file() {
        return Ok(None);
    }
    let find = |name: &str| -> Result<Option<Blob>, OciError> {
        let file = path.join(name);
        if !file.is_file() {
            return Ok(None);
        }
        let blob = File::open(&file).and_then(Blob::from_file);
        blob.map(Some).map_err(|error| OciError::io(file.display().to_string(), error))
    };
    by_index(&find).map(Some)
}

/// Reads an archive of a layout, or of `docker save`; `None` when it is neither.
///
/// # Errors
/// [`OciError`].
pub fn open_archive(file: &Blob) -> Result<Option<Layout>, OciError> {
    let Ok(start) = file.read_prefix(512) else { return Ok(None) };
    if start.get(257..262) != Some(b"ustar") {
        return Ok(None);
    }
    let Some(members) = members(file)? else { return Ok(None) };
    let find = |name: &str| Ok(members.get(name).cloned());
    if members.contains_key("oci-layout") {
        by_index(&find).map(Some)
    } else if members.contains_key("manifest.json") {
        by_docker_manifest(&find).map(Some)
    } else {
        Ok(None)
    }
}

/// The files of an archive, where they stand in it; `None` for one that is damaged or has too many.
fn members(file: &Blob) -> Result<Option<BTreeMap<String, Blob>>, OciError> {
    let mut members: BTreeMap<String, Blob> = BTreeMap::new();
    let mut archive = tar::Archive::new(BlobReader::new(file));
    let Ok(entries) = archive.entries() else { return Ok(None) };
    for member in entries.take(MAX_MEMBERS) {
        let Ok(member) = member else { return Ok(None) };
        let name = String::from_utf8_lossy(&member.path_bytes()).trim_start_matches("./").to_owned();
        match member.header().entry_type() {
            tar::EntryType::Regular => {
                let range = file.slice(member.raw_file_position(), member.size());
                members.extend(range.map(|range| (name, range)));
            }
            // Older versions of docker save link equal layers.
            tar::EntryType::Symlink | tar::EntryType::Link => {
                let target = member.link_name_bytes().unwrap_or_default();
                let target = String::from_utf8_lossy(&target).into_owned();
                let target = target.trim_start_matches("../").trim_start_matches("./");
                let found = members.get(target).cloned();
                members.extend(found.map(|found| (name, found)));
            }
            _ => {}
        }
    }
    Ok(Some(members))
}

type Find<'a> = dyn Fn(&str) -> Result<Option<Blob>, OciError> + 'a;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    platform: Option<PlatformOf>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct PlatformOf {
    architecture: String,
    os: String,
}

/// An index or a manifest: the one has `manifests`, the other `layers`.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

fn by_index(find: &Find<'_>) -> Result<Layout, OciError> {
    let mut layout = Layout { name: None, layers: Vec::new(), warnings: Vec::new() };
    let file = find("index.json")?.ok_or_else(|| OciError::wrong("index.json", "is missing"))?;
    let mut manifest: Manifest = json(&file, "index.json")?;
    for _ in 0..MAX_DEPTH {
        if manifest.manifests.is_empty() && manifest.layers.is_empty() {
            return Err(OciError::wrong("index.json", "names no image with layers"));
        }
        if manifest.manifests.is_empty() {
            for layer in &manifest.layers {
                layout
                    .layers
                    .push((blob(find, layer)?, layer.digest.strip_prefix("sha256:").map(str::to_owned)));
            }
            return Ok(layout);
        }
        let chosen = choose(&manifest.manifests, &mut layout.warnings)?;
        let name = chosen.annotations.get("org.opencontainers.image.ref.name");
        layout.name = layout.name.or_else(|| name.cloned());
        let file = blob(find, chosen)?;
        manifest = json(&file, &chosen.digest)?;
    }
    Err(OciError::wrong("index.json", format!("more than {MAX_DEPTH} indexes within each other")))
}

/// The image of an index: the only one, or else that for x86-64. Attestations have no platform to run on.
fn choose<'a>(all: &'a [Descriptor], warnings: &mut Vec<String>) -> Result<&'a Descriptor, OciError> {
    let is_image = |one: &&Descriptor| one.platform.as_ref().is_none_or(|platform| platform.os != "unknown");
    let images: Vec<&Descriptor> = all.iter().filter(is_image).collect();
    let shown = |one: &Descriptor| match &one.platform {
        Some(platform) => format!("{}/{}", platform.os, platform.architecture),
        None => one.annotations.get("org.opencontainers.image.ref.name").unwrap_or(&one.digest).clone(),
    };
    let is_amd64 =
        |one: &&&Descriptor| one.platform.as_ref().is_some_and(|platform| platform.architecture == "amd64");
    let chosen = match images.as_slice() {
        [only] => Some(*only),
        several => several.iter().find(is_amd64).copied(),
    };
    let names = images.iter().map(|one| shown(one)).collect::<Vec<_>>().join(", ");
    let chosen = chosen.ok_or_else(|| {
        OciError::wrong("index.json", format!("has {} images, none of them for amd64: {names}", images.len()))
    })?;
    if images.len() > 1 {
        warnings.push(format!("the container image is one of several ({names}); {} is taken", shown(chosen)));
    }
    Ok(chosen)
}

/// The bytes of a descriptor. Its digest is a path, so it must be one that can't lead anywhere else.
fn blob(find: &Find<'_>, descriptor: &Descriptor) -> Result<Blob, OciError> {
    let digest = &descriptor.digest;
    let parts = digest.split_once(':').filter(|(algorithm, hex)| {
        ["sha256", "sha512"].contains(algorithm) && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    let (algorithm, hex) = parts.ok_or_else(|| OciError::wrong(digest.as_str(), "is no digest"))?;
    let found = find(&format!("blobs/{algorithm}/{hex}"))?;
    let found = found.ok_or_else(|| OciError::wrong(digest.as_str(), "is not in the layout"))?;
    if found.len() != descriptor.size {
        let why = format!("has {} bytes, its descriptor says {}", found.len(), descriptor.size);
        return Err(OciError::wrong(digest.as_str(), why));
    }
    if descriptor.media_type.contains("encrypted") {
        return Err(OciError::wrong(digest.as_str(), "is encrypted"));
    }
    Ok(found)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    config: Option<String>,
    layers: Vec<String>,
}

/// The configuration of an image (OCI image-spec config.md).
#[derive(Deserialize)]
struct ImageConfig {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    /// Digest of each layer when it is not compressed.
    diff_ids: Vec<String>,
}

/// The digests of the layers that the image's configuration names; none where it has none.
fn diff_ids(find: &Find<'_>, image: &DockerImage) -> Result<Vec<String>, OciError> {
    let Some(name) = &image.config else { return Ok(Vec::new()) };
    let Some(file) = find(name)? else { return Ok(Vec::new()) };
    let config: ImageConfig = json(&file, name)?;
    let ids = config.rootfs.diff_ids;
    if ids.len() != image.layers.len() {
        let why = format!("names {} layers, {} has {}", ids.len(), "manifest.json", image.layers.len());
        return Err(OciError::wrong(name.as_str(), why));
    }
    Ok(ids)
}

/// A layer as it was built, and not compressed since.
fn is_plain(layer: &Blob, name: &str) -> Result<bool, OciError> {
    let start = layer.read_prefix(4).map_err(|error| OciError::io(name, error))?;
    Ok(!start.starts_with(&[0x1F, 0x8B]) && !start.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]))
}

/// `manifest.json` of `docker save`: the first image.
fn by_docker_manifest(find: &Find<'_>) -> Result<Layout, OciError> {
    const NAME: &str = "manifest.json";
    let file = find(NAME)?.ok_or_else(|| OciError::wrong(NAME, "is missing"))?;
    let images: Vec<DockerImage> = json(&file, NAME)?;
    let mut warnings = Vec::new();
    if images.len() > 1 {
        warnings.push(format!("the archive has {} container images; the first is taken", images.len()));
    }
    let image = images.into_iter().next().ok_or_else(|| OciError::wrong(NAME, "names no image"))?;
    let diff_ids = diff_ids(find, &image)?;
    let layers = image.layers.iter().enumerate().map(|(index, name)| {
        let layer = find(name)?.ok_or_else(|| OciError::wrong(name.as_str(), "is not in the archive"))?;
        let named = name.strip_prefix("blobs/sha256/");
        let built = diff_ids.get(index).and_then(|id| id.strip_prefix("sha256:"));
        let digest = if named.is_none() && !is_plain(&layer, name)? { None } else { named.or(built) };
        Ok((layer, digest.map(str::to_owned)))
    });
    let layers = layers.collect::<Result<_, OciError>>()?;
    Ok(Layout { name: image.repo_tags.unwrap_or_default().into_iter().next(), layers, warnings })
}

fn json<T: serde::de::DeserializeOwned>(file: &Blob, what: &str) -> Result<T, OciError> {
    if file.len() > MAX_JSON {
        return Err(OciError::TooLarge { what: what.to_owned(), limit: MAX_JSON, unit: "bytes" });
    }
    let bytes = file.read(MAX_JSON).map_err(|error| OciError::io(what, error))?;
    serde_json::from_slice(&bytes).map_err(|error| OciError::Json { what: what.to_owned(), error })
}
