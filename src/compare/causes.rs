//! What a difference means: a closed list of codes.

use crate::tcg::PcrIndex;

/// One cause of differences.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Cause {
    /// What kind it is.
    pub code: Code,
    /// The registers that it moved.
    #[serde(serialize_with = "numbers")]
    pub pcrs: Vec<PcrIndex>,
    /// With this cause (and the others that name the same register) the expected measurements lead to exactly the
    /// observed value of each of these registers.
    pub explains_exactly: bool,
    /// One sentence: what, and from which evidence. It may hold text from files.
    pub detail: String,
}

fn numbers<S: serde::Serializer>(pcrs: &[PcrIndex], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(pcrs.iter().map(|pcr| pcr.get()))
}

macro_rules! codes {
    ($($name:ident => $text:literal, $meaning:literal;)*) => {
        /// Kinds of causes. A closed list: JSON uses these words.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code { $(#[doc = $meaning] $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word in JSON.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it means, in one sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }
        }
    };
}

codes! {
    Phase => "other-phase", "The values are those of another moment of the boot.";
    Barrier => "userspace-barrier", "systemd 261 or later extended its separator between firmware and user space, or did not.";
    Entry => "other-entry", "Another entry of the boot menu was started.";
    Profile => "other-profile", "Another profile of the unified kernel image was chosen.";
    SecureBoot => "secure-boot-state", "Secure Boot is in another state.";
    SecureBootKeys => "secure-boot-keys", "PK, KEK or db hold other keys.";
    Dbx => "dbx-updated", "The list of revoked images is another one.";
    Authority => "authority-changed", "An image was allowed to start by another key or list entry.";
    Options => "options-edited", "Somebody edited the kernel's command line in the boot menu or boot option.";
    CommandLine => "command-line-changed", "The command line that is part of the image or entry is another one.";
    Smbios => "smbios-options", "The machine's SMBIOS tables add to the command line, or don't.";
    Addon => "addon", "An addon lies beside the image that is not expected, or the other way round.";
    Credential => "credential", "A credential lies beside the image that is not expected, or the other way round.";
    Extension => "extension", "A system or configuration extension lies beside the image that is not expected, or the other way round.";
    Kernel => "kernel-changed", "The kernel is another one.";
    Initrd => "initrd-changed", "The initrd is another one.";
    Section => "section-changed", "A section of the unified kernel image is another one, is missing or was added.";
    Sbat => "sbat-of-signing-tool", "The .sbat section is not the one that the signing tool computed with (ukify 254 to 257, systemd-measure without --sbat).";
    SectionOrder => "section-order", "The sections were measured in the order of another version or tool.";
    Stub => "stub-changed", "The stub, or a section that is not measured by itself, is another one.";
    Uki => "uki-changed", "The unified kernel image is another file.";
    Loader => "boot-loader-changed", "The boot loader is another one, or there is one where none is expected.";
    LoaderConf => "loader-conf-changed", "loader.conf is another one, is missing or was added.";
    Image => "image-changed", "Another program was started.";
    PaddedDigest => "padded-digest", "The image digest was made of the file padded to eight bytes, as signing tools pad it.";
    Separator => "separator-missing", "A separator is missing, is there twice, or signals an error.";
    PartitionTable => "partition-table-changed", "The partition table is another one.";
    PartitionTableGrown => "partition-table-grown", "The disk is larger than the image: its partition table was moved to the new end.";
    BootAttempt => "boot-attempt-repeated", "A boot option was tried before and returned.";
    ExitBootServices => "exit-boot-services", "The kernel called ExitBootServices another number of times.";
    FirmwareCode => "firmware-changed", "The firmware's code is another one.";
    FirmwareConfig => "firmware-configuration", "The firmware's configuration, tables or boot variables are others.";
    Driver => "driver-changed", "A driver or option ROM is another one.";
    Locality => "startup-locality", "The TPM was started from another locality.";
    Shim => "shim-lists", "shim's lists or version variables are others.";
    Grub => "grub-changed", "GRUB read other files or ran other commands.";
    Identity => "machine-identity", "The machine id, a file system or a volume key is another one.";
    NotMeasured => "not-measured", "A measurement that is expected was not made.";
    Additional => "additional-measurement", "There is a measurement that is not expected and that no other code describes.";
    Other => "other-change", "A measurement has another digest, and no other code describes it.";
    NeverExtended => "never-extended", "Nothing extended the register.";
    LogIncomplete => "log-incomplete", "The log does not lead to the values of the TPM.";
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_word_of_its_own() {
        let words: std::collections::BTreeSet<&str> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(words.len(), Code::ALL.len());
    }
}
