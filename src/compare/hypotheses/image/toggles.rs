//! What may be otherwise about the boot of an image, one thing each.

use crate::boot::{KernelRules, Smbios, StubRules};
use crate::compare::causes::Code;
use crate::prediction::Request;
use crate::uki::{KernelVersion, profile_count};

/// One thing that may be otherwise.
#[derive(Clone)]
pub(super) struct Toggle {
    pub(super) code: Code,
    pub(super) detail: String,
    /// Toggles of one group exclude each other.
    pub(super) group: usize,
    pub(super) change: Change,
}

#[derive(Clone)]
pub(super) enum Change {
    SecureBoot(bool),
    Profile(u32),
    ConfidentialVm(bool),
    StubVersion(String),
    KernelVersion(KernelVersion),
    NoLoader,
    NoOptions,
    NoSmbios,
    NoAddons,
    NoCredentials,
    NoExtensions,
    WithoutAddon(usize),
    WithoutCredential(usize),
    WithoutExtension(usize),
}

/// Everything that may be otherwise.
pub(super) fn toggles(request: &Request) -> Vec<Toggle> {
    let chain = &request.chain;
    let mut all = Vec::new();
    let mut group = 0;
    let mut add = |code, changes: Vec<(String, Change)>| {
        let of_group = |(detail, change)| Toggle { code, detail, group, change };
        all.extend(changes.into_iter().map(of_group));
        group = group.saturating_add(1);
    };
    let named = |what: &str, name: &str| format!("{what} {name} was not there");
    let addons = chain.addons.iter().enumerate();
    let addons = addons.map(|(at, (_, addon))| (named("the addon", &addon.name), Change::WithoutAddon(at)));
    add(Code::Addon, several("the addons were not there", Change::NoAddons, addons.collect()));
    let credentials = chain.credentials.iter().enumerate();
    let credentials =
        credentials.map(|(at, file)| (named("the credential", &file.name), Change::WithoutCredential(at)));
    add(
        Code::Credential,
        several("the credentials were not there", Change::NoCredentials, credentials.collect()),
    );
    let extensions = chain.extensions.iter().enumerate();
    let extensions =
        extensions.map(|(at, file)| (named("the extension", &file.name), Change::WithoutExtension(at)));
    add(
        Code::Extension,
        several("the extensions were not there", Change::NoExtensions, extensions.collect()),
    );
    if let Some(state) = request.secure_boot {
        let detail = format!("Secure Boot is {}", if state { "off" } else { "on" });
        add(Code::SecureBoot, vec![(detail, Change::SecureBoot(!state))]);
    }
    let profiles = u32::try_from(profile_count(&chain.uki.image)).unwrap_or(0).min(64);
    let profiles = (0..profiles).filter(|profile| *profile != request.scenario.profile);
    let profiles =
        profiles.map(|profile| (format!("profile {profile} was chosen"), Change::Profile(profile)));
    add(Code::Profile, profiles.collect());
    if request.scenario.smbios.declared {
        let detail = "SMBIOS has no strings that add to the command line".to_owned();
        add(Code::Smbios, vec![(detail, Change::NoSmbios)]);
    }
    if request.scenario.load_options.is_some() {
        add(Code::Options, vec![("nobody edited the command line".to_owned(), Change::NoOptions)]);
    }
    if chain.loader.is_some() && chain.entry.is_none() {
        let detail = "the boot loader did not run: the firmware started the image itself".to_owned();
        add(Code::Loader, vec![(detail, Change::NoLoader)]);
    }
    let is = !request.scenario.confidential_vm;
    let detail = format!("the machine {} a confidential VM", if is { "is" } else { "is not" });
    add(Code::Options, vec![(detail, Change::ConfidentialVm(is))]);
    let stubs = StubRules::ROWS.iter().map(|rules| {
        let version = format!("{}.{}", rules.from.0, rules.from.1);
        (format!("the stub measures as systemd-stub {version} does"), Change::StubVersion(version))
    });
    add(Code::Stub, stubs.collect());
    let kernels = KernelRules::ROWS.iter().map(|rules| {
        (format!("the kernel measures as Linux {} does", rules.from), Change::KernelVersion(rules.from))
    });
    add(Code::Kernel, kernels.collect());
    all
}

/// None of them, and each of several left out alone.
fn several(none: &str, change: Change, each: Vec<(String, Change)>) -> Vec<(String, Change)> {
    match each.len() {
        0 => Vec::new(),
        1 => each.into_iter().map(|(detail, _)| (detail, change.clone())).collect(),
        _ => std::iter::once((none.to_owned(), change)).chain(each).collect(),
    }
}

impl Change {
    pub(super) fn apply(&self, request: &mut Request) {
        let (chain, scenario) = (&mut request.chain, &mut request.scenario);
        match self {
            Self::SecureBoot(state) => request.secure_boot = Some(*state),
            Self::Profile(profile) => scenario.profile = *profile,
            Self::ConfidentialVm(is) => scenario.confidential_vm = *is,
            Self::StubVersion(version) => {
                // User space stays what it was: only the stub is another one.
                scenario.stub_version = version.parse().ok();
            }
            Self::KernelVersion(version) => scenario.kernel_version = Some(*version),
            Self::NoLoader => chain.loader = None,
            Self::NoOptions => scenario.load_options = None,
            Self::NoSmbios => scenario.smbios = Smbios { declared: true, ..Smbios::default() },
            Self::NoAddons => chain.addons.clear(),
            Self::NoCredentials => chain.credentials.clear(),
            Self::NoExtensions => chain.extensions.clear(),
            Self::WithoutAddon(at) if *at < chain.addons.len() => drop(chain.addons.remove(*at)),
            Self::WithoutCredential(at) if *at < chain.credentials.len() => {
                drop(chain.credentials.remove(*at));
            }
            Self::WithoutExtension(at) if *at < chain.extensions.len() => drop(chain.extensions.remove(*at)),
            Self::WithoutAddon(_) | Self::WithoutCredential(_) | Self::WithoutExtension(_) => {}
        }
    }
}
