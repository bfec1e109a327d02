//! The files that are named: the image, its loader, addons, credentials and extensions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::boot_args::BootArgs;
use crate::boot::{BootChain, CompanionFile, Input, InputId, InputRole, NamedImage, Payload, Scope};
use crate::cli::input::{display_name, open};
use crate::cli::output::hinted;
use crate::pe::{PeError, PeImage};
use crate::source::Blob;
use crate::uki::ImageRole;

/// Files under way to a chain.
#[derive(Debug, Default)]
pub(super) struct Files {
    inputs: Vec<Input>,
}

impl Files {
    pub(super) fn chain(mut self, path: &Path, file: &Blob, args: &BootArgs) -> anyhow::Result<BootChain> {
        let uki = self.opened_image(InputRole::Uki, path, file)?;
        if ImageRole::of(&uki.image)? != ImageRole::Uki {
            return Err(hinted(
                format!("{}: no unified kernel image: it has no section .linux", uki.name),
                "premeasure inspect shows what it is",
            ));
        }
        let shim = args.shim.as_deref().map(|path| self.image(InputRole::Loader, path)).transpose()?;
        let loader = args.loader.as_deref().map(|path| self.image(InputRole::Loader, path)).transpose()?;
        let (shim, loader) = match loader {
            Some(found) if shim.is_none() && ImageRole::of(&found.image)? == ImageRole::Shim => {
                (Some(found), None)
            }
            loader => (shim, loader),
        };
        let addons = Self::scoped(&args.addons, &args.global_addons, "addons")?;
        let addons = addons
            .into_iter()
            .map(|(scope, path)| Ok((scope, self.image(InputRole::Addon, path)?)))
            .collect::<anyhow::Result<_>>()?;
        let credentials = Self::scoped(&args.credentials, &args.global_credentials, "credentials")?;
        let credentials = self.companions(InputRole::Credential, credentials)?;
        let here = args.sysexts.iter().chain(&args.confexts);
        let global = args.global_sysexts.iter().chain(&args.global_confexts);
        let extensions = Self::scoped(here, global, "extensions")?;
        let extensions = self.companions(InputRole::Extension, extensions)?;
        Ok(BootChain {
            inputs: self.inputs,
            shim,
            loader,
            load_options: Vec::new(),
            uki,
            payload: Payload::UnifiedKernelImage,
            entry: None,
            addons,
            credentials,
            extensions,
            drivers: Vec::new(),
            grub: None,
            medium: None,
        })
    }

    /// A file belongs to every UKI when it was given as such or lies in `loader/FOLDER`.
    fn scoped<'p>(
        here: impl IntoIterator<Item = &'p PathBuf>,
        global: impl IntoIterator<Item = &'p PathBuf>,
        folder: &str,
    ) -> anyhow::Result<Vec<(Scope, &'p Path)>> {
        let lies_in = |path: &Path| {
            let mut parents = path.parent().into_iter().flat_map(|parent| parent.iter().rev());
            let next_is = |name: Option<&std::ffi::OsStr>, word: &str| {
                name.is_some_and(|name| name.eq_ignore_ascii_case(word))
            };
            next_is(parents.next(), folder) && next_is(parents.next(), "loader")
        };
        let here =
            here.into_iter().map(|path| (if lies_in(path) { Scope::Global } else { Scope::Local }, path));
        let all = here.chain(global.into_iter().map(|path| (Scope::Global, path)));
        // The files lie in one folder of a FAT volume, which ignores case. The same file may come twice, from two options
        // with patterns that overlap (*.raw, *.confext.raw).
        let mut seen: BTreeMap<(Scope, String), &Path> = BTreeMap::new();
        let mut files = Vec::new();
        for (scope, path) in all {
            let name = display_name(path);
            match seen.insert((scope, name.to_ascii_lowercase()), path) {
                None => files.push((scope, path.as_path())),
                Some(other) if other == path => {}
                Some(_) => {
                    let text = format!("{name} is given twice: one folder can't hold both");
                    return Err(hinted(text, "use --global-addon and its like for files of \\loader"));
                }
            }
        }
        Ok(files)
    }

    fn companions(
        &mut self,
        role: InputRole,
        files: Vec<(Scope, &Path)>,
    ) -> anyhow::Result<Vec<CompanionFile>> {
        let open = |(scope, path)| {
            let (input, name, file) = self.open(role, path)?;
            Ok(CompanionFile { input, scope, name, file })
        };
        files.into_iter().map(open).collect()
    }

    fn image(&mut self, role: InputRole, path: &Path) -> anyhow::Result<NamedImage> {
        self.opened_image(role, path, &open(path)?)
    }

    fn opened_image(&mut self, role: InputRole, path: &Path, file: &Blob) -> anyhow::Result<NamedImage> {
        let (input, name) = self.add(role, path, file);
        let image = PeImage::parse(file).map_err(|error| {
            let text = format!("{}: {error}", path.display());
            match error {
                PeError::NotPe { .. } => {
                    hinted(text, "a PE file is needed here: a UKI, boot loader or addon")
                }
                _ => hinted(text, "the file is damaged or cut off; get it again"),
            }
        })?;
        Ok(NamedImage { input, name, image })
    }

    fn open(&mut self, role: InputRole, path: &Path) -> anyhow::Result<(InputId, String, Blob)> {
        let file = open(path)?;
        let (input, name) = self.add(role, path, &file);
        Ok((input, name, file))
    }

    fn add(&mut self, role: InputRole, path: &Path, file: &Blob) -> (InputId, String) {
        let name = display_name(path);
        let input = InputId(self.inputs.len());
        self.inputs.push(Input { role, name: name.clone(), file: file.clone() });
        (input, name)
    }
}
