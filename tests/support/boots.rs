//! The real boots as commands: what `premeasure predict` has to be told about each of them.

use std::ffi::OsString;
use std::path::PathBuf;

use super::tcg2::{self, Event};
use super::{Pcrs, disks, fixture, read, read_json};

/// A boot of a UKI.
pub(crate) struct Boot {
    pub(crate) case: &'static str,
    /// Path of the UKI on the ESP.
    uki: &'static str,
    /// `systemd-boot`, where it started the UKI, else the firmware did.
    loader: Option<&'static str>,
    secure_boot: &'static str,
    inputs: &'static [Input],
}

/// One more option of `predict`.
#[derive(Clone, Copy)]
enum Input {
    /// A file of the ESP.
    Esp(&'static str, &'static str),
    /// A file below `guest/`.
    Guest(&'static str, &'static str),
    Text(&'static str, &'static str),
}

use Input::{Esp, Guest, Text};

const REMOVABLE: &str = "EFI/BOOT/BOOTX64.EFI";
const BOOT_SECRET: Input = Guest("--boot-secret", "extra/boot-secret");

const COMPANIONS: &[Input] = &[
    Esp("--addon", "loader/addons/a-global2.addon.efi"),
    Esp("--addon", "loader/addons/global.addon.efi"),
    Esp("--addon", "EFI/Linux/rig-257.efi.extra.d/Alpha.addon.efi"),
    Esp("--addon", "EFI/Linux/rig-257.efi.extra.d/local.addon.efi"),
    Esp("--credential", "EFI/Linux/rig-257.efi.extra.d/another.cred"),
    Esp("--credential", "EFI/Linux/rig-257.efi.extra.d/mycred.cred"),
    Esp("--credential", "loader/credentials/global.cred"),
    Esp("--sysext", "EFI/Linux/rig-257.efi.extra.d/mysysext.sysext.raw"),
    Esp("--sysext", "EFI/Linux/rig-257.efi.extra.d/plain.raw"),
    Esp("--confext", "EFI/Linux/rig-257.efi.extra.d/myconfext.confext.raw"),
];

/// Every fixture that boots a UKI from a disk kept here. Secure Boot as `fixtures/README.md` has it: a firmware without
/// it is `off` to everything that measures.
pub(crate) const BOOTS: &[Boot] = &[
    direct("a-uki-direct-252", &[]),
    by_loader("c-sdboot-257", "EFI/Linux/rig-257.efi", "off", &[]),
    direct("d2-uki-direct-262", &[BOOT_SECRET]),
    by_loader("d3-sdboot-254", "EFI/Linux/rig-254.efi", "off", &[]),
    by_loader("e-addons-257", "EFI/Linux/rig-257.efi", "off", COMPANIONS),
    by_loader("f-secureboot-257", "EFI/Linux/rig-257.efi", "on", &[]),
    by_loader("f4-setup-mode-257", "EFI/Linux/rig-257.efi", "off", &[]),
    by_loader("h0-profile0-257", "EFI/Linux/rig-257.efi", "off", &[]),
    by_loader("h2-profile2-262", "EFI/Linux/rig-262.efi", "off", &[Text("--profile", "2"), BOOT_SECRET]),
    by_loader("i-pcrsig-ucode-257", "EFI/Linux/rig-257.efi", "off", &[]),
    by_loader("m-smbios-257", "EFI/Linux/rig-257.efi", "off", &[Guest("--smbios", "dmi/DMI")]),
    direct("t-tiny-257", &[]),
    direct("t3-tiny-262", &[]),
];

const fn direct(case: &'static str, inputs: &'static [Input]) -> Boot {
    Boot { case, uki: REMOVABLE, loader: None, secure_boot: "off", inputs }
}

const fn by_loader(
    case: &'static str,
    uki: &'static str,
    secure_boot: &'static str,
    inputs: &'static [Input],
) -> Boot {
    Boot { case, uki, loader: Some(REMOVABLE), secure_boot, inputs }
}

/// The boot of that name.
pub(crate) fn boot(case: &str) -> &'static Boot {
    BOOTS.iter().find(|boot| boot.case == case).unwrap_or_else(|| panic!("no boot {case}"))
}

impl Boot {
    /// `predict UKI` with everything that was part of this boot.
    pub(crate) fn predict(&self) -> Vec<OsString> {
        self.predict_without("")
    }

    /// The same, but without one option (all its uses).
    pub(crate) fn predict_without(&self, option: &str) -> Vec<OsString> {
        let mut arguments = vec!["predict".into(), self.uki().into_os_string()];
        let mut add = |name: &str, value: OsString| {
            if name != option {
                arguments.extend([name.into(), value]);
            }
        };
        if let Some(loader) = self.loader {
            add("--loader", disks::esp(self.case).join(loader).into());
        }
        add("--secure-boot", self.secure_boot.into());
        for input in self.inputs {
            match *input {
                Esp(name, path) => add(name, disks::esp(self.case).join(path).into()),
                Guest(name, path) => add(name, self.record("guest").join(path).into()),
                Text(name, value) => add(name, value.into()),
            }
        }
        arguments
    }

    /// The UKI: the whole file where the fixtures have it, else extracted from the disk.
    pub(crate) fn uki(&self) -> PathBuf {
        let whole = fixture(self.case).join("uki.efi");
        if whole.exists() { whole } else { disks::esp(self.case).join(self.uki) }
    }

    /// A file of the record that the boot left.
    pub(crate) fn record(&self, path: &str) -> PathBuf {
        fixture("boots").join(self.case).join(path)
    }

    /// PCR values that the guest read from its TPM.
    pub(crate) fn observed_pcrs(&self) -> Pcrs {
        read_json(self.record("pcrs.json"))
    }

    /// The guest's event log.
    pub(crate) fn observed_events(&self) -> Vec<Event> {
        tcg2::parse(&read(self.record("eventlog.bin")))
    }
}
