//! What is known of machine and boot, as options.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::boot::{Machine, Platform, Stage};
use crate::cli::medium::MediumArgs;
use crate::cli::registers::RegisterArgs;
use crate::cli::secure_boot::SecureBootArgs;
use crate::tcg::HashAlgorithm;
use crate::uki::{KernelVersion, SystemdVersion};

/// What boots, and how: everything that decides the values.
#[derive(Debug, Args)]
pub(in crate::cli) struct BootArgs {
    #[command(flatten)]
    pub(super) medium: MediumArgs,
    /// Bank to compute: sha1, sha256, sha384, sha512, sm3-256; repeatable [default: sha256 and sha384]
    #[arg(long = "bank", value_name = "BANK", value_delimiter = ',', value_parser = parse_bank)]
    pub(super) banks: Vec<HashAlgorithm>,
    /// The image that starts the UKI (systemd-boot); without it the firmware does
    #[arg(long, value_name = "FILE", help_heading = "Boot")]
    pub(super) loader: Option<PathBuf>,
    /// The shim that the firmware starts first
    #[arg(long, value_name = "FILE", help_heading = "Boot")]
    pub(super) shim: Option<PathBuf>,
    /// UKI addons; in a folder loader/addons they count for every UKI, elsewhere for this one
    #[arg(long = "addon", value_name = "FILE", num_args = 1.., help_heading = "Boot")]
    pub(super) addons: Vec<PathBuf>,
    /// UKI addons of \loader\addons
    #[arg(long = "global-addon", value_name = "FILE", num_args = 1.., help_heading = "Boot")]
    pub(super) global_addons: Vec<PathBuf>,
    /// Credentials (*.cred) beside the UKI; in a folder loader/credentials they count for every UKI
    #[arg(long = "credential", value_name = "FILE", num_args = 1.., help_heading = "Boot")]
    pub(super) credentials: Vec<PathBuf>,
    /// Credentials of \loader\credentials
    #[arg(long = "global-credential", value_name = "FILE", num_args = 1.., help_heading = "Boot")]
    pub(super) global_credentials: Vec<PathBuf>,
    /// System extensions (*.raw) beside the UKI; in a folder loader/extensions they count for every UKI
    #[arg(long = "sysext", value_name = "FILE", num_args = 1.., help_heading = "Boot")]
    pub(super) sysexts: Vec<PathBuf>,
    /// System extensions of \loader\extensions
    #[arg(long = "global-sysext", value_name = "FILE", num_args = 1.., help_heading = "Boot")]
    pub(super) global_sysexts: Vec<PathBuf>,
    /// Configuration extensions (*.confext.raw) beside the UKI
    #[arg(long = "confext", value_name = "FILE", num_args = 1.., help_heading = "Boot")]
    pub(super) confexts: Vec<PathBuf>,
    /// Configuration extensions of \loader\extensions
    #[arg(long = "global-confext", value_name = "FILE", num_args = 1.., help_heading = "Boot")]
    pub(super) global_confexts: Vec<PathBuf>,
    /// LoadOptions: a command line given by boot menu or boot option, where the stub accepts it
    #[arg(long, value_name = "TEXT", help_heading = "Boot")]
    pub(super) cmdline: Option<String>,
    /// UKI profile that is chosen
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Boot")]
    pub(super) profile: u32,
    /// State of Secure Boot; not given, both are computed where it matters
    #[arg(long, value_enum, help_heading = "Boot")]
    pub(super) secure_boot: Option<OnOff>,
    #[command(flatten)]
    pub(super) keys: SecureBootArgs,
    #[command(flatten)]
    pub(in crate::cli) guest: RegisterArgs,
    /// The machine is a confidential VM (SEV, TDX)
    #[arg(long, help_heading = "Machine")]
    pub(super) confidential_vm: bool,
    /// Firmware under the image; named, its profile also settles PCR 2, 3 and 6 [default: ovmf, PCR 2, 3, 6 unknown]
    #[arg(long, value_name = "NAME", value_parser = platform_parser(), help_heading = "Machine")]
    pub(super) platform: Option<&'static Platform>,
    /// The machine's shape as some firmware measures it: cpus=N,mem=MIB[,qemu=VERSION]
    #[arg(long, value_name = "SHAPE", value_parser = parse_machine, help_heading = "Machine")]
    pub(super) machine: Option<Machine>,
    /// SMBIOS table of the machine, raw as in /sys/firmware/dmi/tables/DMI
    #[arg(long, value_name = "FILE", conflicts_with = "smbios_strings", help_heading = "Machine")]
    pub(super) smbios: Option<PathBuf>,
    /// SMBIOS OEM string (type 11) of the machine, repeatable; `none` declares that there are none
    #[arg(long = "smbios-string", value_name = "TEXT", help_heading = "Machine")]
    pub(super) smbios_strings: Vec<String>,
    /// Boot secret of the machine (stub 261 and later): FILE of 32 bytes, hex:..., or none
    #[arg(long, value_name = "SECRET", help_heading = "Machine")]
    pub(super) boot_secret: Option<String>,
    /// Words that the stub adds where the command line has no console= (stub 261 and later), or none
    #[arg(long, value_name = "WORDS", help_heading = "Machine")]
    pub(super) stub_console: Option<String>,
    /// Which .dtbauto the stub takes: its number from 0, or none; not given, each is computed
    #[arg(long, value_name = "N", help_heading = "Machine")]
    pub(super) devicetree: Option<String>,
    /// Which .efifw the stub takes: its number from 0, or none; not given, each is computed
    #[arg(long, value_name = "N", help_heading = "Machine")]
    pub(super) firmware_image: Option<String>,
    /// Version of the stub, whatever .sdmagic says
    #[arg(long, value_name = "VERSION", help_heading = "Versions")]
    pub(super) systemd_version: Option<SystemdVersion>,
    /// Version of systemd in the initrd, or none for an initrd without it (initramfs-tools) [default: the stub's]
    #[arg(long, value_name = "VERSION", help_heading = "Versions")]
    pub(super) initrd_systemd: Option<String>,
    /// Version of systemd on the host, or none for a host without it [default: the stub's]
    #[arg(long, value_name = "VERSION", help_heading = "Versions")]
    pub(super) host_systemd: Option<String>,
    /// Version of the kernel, whatever the image says
    #[arg(long, value_name = "VERSION", value_parser = parse_kernel_version, help_heading = "Versions")]
    pub(super) kernel_version: Option<KernelVersion>,
    /// Machine id of the host (32 hexadecimal digits), or none where it is not measured
    #[arg(long, value_name = "ID", help_heading = "User space")]
    pub(super) machine_id: Option<String>,
    /// Root file system as measured: TYPE:UUID:LABEL:PARTUUID:PARTTYPE:PARTNAME, or none where it is not measured
    #[arg(long, value_name = "FIELDS", help_heading = "User space")]
    pub(super) root_fs: Option<String>,
    /// `none` declares that no volume key is measured into PCR 15
    #[arg(long, value_name = "none", value_parser = ["none"], help_heading = "User space")]
    pub(super) volume_key: Option<String>,
    /// `none` declares that systemd initialises no NvPCR
    #[arg(long, value_name = "none", value_parser = ["none"], help_heading = "User space")]
    pub(super) nvpcr: Option<String>,
}

impl BootArgs {
    /// Banks asked for; empty when none was named.
    pub(in crate::cli) fn banks(&self) -> &[HashAlgorithm] {
        &self.banks
    }

    /// SMBIOS is not read for command lines.
    pub(super) fn is_confidential(&self) -> bool {
        self.confidential_vm || self.guest.registers().of_guest()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OnOff {
    On,
    Off,
}

pub(in crate::cli) fn parse_bank(word: &str) -> Result<HashAlgorithm, String> {
    word.parse().map_err(|error: crate::tcg::UnknownAlgorithm| error.to_string())
}

fn parse_machine(text: &str) -> Result<Machine, String> {
    let wrong = || format!("'{text}' is no machine, expected cpus=N,mem=MIB or cpus=N,mem=MIB,qemu=10.0");
    let mut fields = std::collections::BTreeMap::new();
    for field in text.split(',') {
        let (name, value) = field.split_once('=').ok_or_else(wrong)?;
        fields.insert(name, value);
    }
    let mut field = |name: &str| fields.remove(name);
    let (Some(cpus), Some(memory)) = (field("cpus"), field("mem")) else { return Err(wrong()) };
    let version = |text: &str| {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
    };
    let qemu = field("qemu").map(|text| version(text).ok_or_else(wrong)).transpose()?;
    if !fields.is_empty() {
        return Err(wrong());
    }
    let processors = cpus.parse().map_err(|_| wrong())?;
    Ok(Machine { processors, memory: memory.parse().map_err(|_| wrong())?, qemu })
}

fn parse_kernel_version(text: &str) -> Result<KernelVersion, String> {
    KernelVersion::parse(text).ok_or_else(|| format!("'{text}' is no kernel version, expected MAJOR.MINOR"))
}

pub(in crate::cli) fn stage_parser() -> impl clap::builder::TypedValueParser<Value = Stage> {
    use clap::builder::TypedValueParser;
    clap::builder::PossibleValuesParser::new(Stage::ALL.map(Stage::name))
        .try_map(|name| name.parse::<Stage>())
}

fn platform_parser() -> impl clap::builder::TypedValueParser<Value = &'static Platform> {
    use clap::builder::TypedValueParser;
    clap::builder::PossibleValuesParser::new(Platform::all().iter().map(|platform| platform.id.as_str()))
        .try_map(|id| id.parse::<&'static Platform>())
}
