//! The files of a container image as a volume.

use std::sync::Arc;

use super::volume::{Entry, EntryKind, Volume, VolumeError, components, is_same_name};
use crate::source::Blob;
use crate::source::oci::{Node, Tree};

/// Links that are followed one after the other.
const MAX_LINKS: usize = 16;

/// A folder of a [`Tree`] as a volume.
#[derive(Debug, Clone)]
pub struct TreeVolume {
    tree: Arc<Tree>,
    /// Path of the folder; empty for the root.
    root: String,
    label: String,
}

impl TreeVolume {
    /// The folder `root` of `tree`.
    #[must_use]
    pub fn new(tree: Arc<Tree>, root: &str, label: impl Into<String>) -> Self {
        Self { tree, root: root.to_owned(), label: label.into() }
    }

    /// The tree's own path of a path in the volume, with links followed inside the tree. `..` of the path stays in the volume.
    fn resolve(&self, path: &str) -> Option<String> {
        let mut parts: Vec<&str> = Vec::new();
        for part in components(path) {
            match part {
                "." => {}
                ".." => {
                    // The folder that is left has to be there.
                    let folder = self.resolve_links(&parts.join("/"))?;
                    if matches!(self.tree.nodes.get(&folder), Some(Node::File(_))) {
                        return None;
                    }
                    parts.pop();
                }
                name => parts.push(name),
            }
        }
        self.resolve_links(&parts.join("/"))
    }

    fn resolve_links(&self, path: &str) -> Option<String> {
        let mut left: Vec<String> =
            components(&self.root).chain(components(path)).rev().map(str::to_owned).collect();
        let mut place: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(part) = left.pop() {
            match part.as_str() {
                "." => continue,
                ".." => {
                    place.pop();
                    continue;
                }
                _ => {}
            }
            let name = self.find(&place.join("/"), &part)?;
            place.push(name);
            if let Some(Node::Link(target)) = self.tree.nodes.get(&place.join("/")) {
                links += 1;
                if links > MAX_LINKS {
                    return None;
                }
                place.pop();
                if target.starts_with('/') {
                    place.clear();
                }
                left.extend(components(target).rev().map(str::to_owned));
            }
        }
        Some(place.join("/"))
    }

    /// The name in a folder that `part` means: the same one, else one that differs in case only.
    fn find(&self, folder: &str, part: &str) -> Option<String> {
        let names: Vec<&str> = self.names(folder).collect();
        let exact = names.iter().find(|name| **name == part);
        exact.or_else(|| names.iter().find(|name| is_same_name(name, part))).map(|name| (*name).to_owned())
    }

    /// Names in a folder, in order; folders that nobody recorded are those of their files.
    fn names<'a>(&'a self, folder: &str) -> impl Iterator<Item = &'a str> {
        let start = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let length = start.len();
        let from = self.tree.nodes.range(start.clone()..);
        let inside = from.take_while(move |(path, _)| path.starts_with(&start));
        let mut last = None;
        inside.filter_map(move |(path, _)| {
            let name = path.get(length..)?.split('/').next()?;
            (last != Some(name)).then(|| {
                last = Some(name);
                name
            })
        })
    }
}

impl Volume for TreeVolume {
    fn label(&self) -> &str {
        &self.label
    }

    fn list(&self, path: &str) -> Result<Option<Vec<Entry>>, VolumeError> {
        let Some(folder) = self.resolve(path) else { return Ok(None) };
        if matches!(self.tree.nodes.get(&folder), Some(Node::File(_) | Node::Link(_))) {
            return Ok(None);
        }
        let entries = self.names(&folder).filter_map(|name| {
            let inner = self.resolve_from_root(&format!("{folder}/{name}"))?;
            let kind = match self.tree.nodes.get(&inner) {
                Some(Node::File(content)) => EntryKind::File(content.len()),
                Some(Node::Link(_)) => return None,
                Some(Node::Folder) | None => EntryKind::Folder,
            };
            Some(Entry { name: name.to_owned(), kind })
        });
        let entries: Vec<Entry> = entries.collect();
        let exists = folder.is_empty() || !entries.is_empty() || self.tree.nodes.contains_key(&folder);
        Ok(exists.then_some(entries))
    }

    fn open(&self, path: &str) -> Result<Option<Blob>, VolumeError> {
        let node = self.resolve(path).and_then(|path| self.tree.nodes.get(&path));
        Ok(match node {
            Some(Node::File(content)) => Some(content.clone()),
            _ => None,
        })
    }

    fn knows_order(&self) -> bool {
        false
    }
}

impl TreeVolume {
    fn resolve_from_root(&self, path: &str) -> Option<String> {
        Self { root: String::new(), ..self.clone() }.resolve(path)
    }
}
