//! What a boot measures: known or not, by whom, from which bytes, and why we believe it.

use super::{InputId, Stage};
use crate::hashing::StreamId;
use crate::tcg::{EventType, PcrIndex};

/// Why a measurement is made: one statement with its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Stable name, for documents.
    pub id: &'static str,
    /// What happens, in one sentence.
    pub statement: &'static str,
    /// The specification's section or the function that measures, with the versions it was read in.
    pub source: &'static str,
}

/// One extend of one PCR, in every bank.
#[derive(Debug, Clone)]
pub struct Measurement {
    /// The register.
    pub pcr: PcrIndex,
    /// Type in the firmware's log; `None` where user space extends, whose log has no such types, and where we don't
    /// know what is measured.
    pub event_type: Option<EventType>,
    /// What is hashed.
    pub content: Content,
    /// The event data that goes into the log; `None` where it is not known (load addresses of images).
    pub data: Option<Vec<u8>>,
    /// One line for people.
    pub description: String,
    /// Where the bytes come from.
    pub source: Source,
    /// Why.
    pub rule: &'static Rule,
    /// The first stage whose value includes it.
    pub stage: Stage,
}

/// What is hashed for a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A stream of the digest plan.
    Stream(StreamId),
    /// Digests seen in a recorded boot: index into the observed digests of the recording.
    Observed(usize),
    /// Not known: index into the gaps of the recording. It may stand for no, one or several measurements.
    Unknown(usize),
}

/// Where measured bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A constant of the specification or the program that measures.
    Constant,
    /// A whole image, hashed as Authenticode.
    Image(InputId),
    /// A section as loaded: file offset and loaded length in bytes.
    Section {
        /// The image.
        input: InputId,
        /// The section's name.
        name: String,
        /// `PointerToRawData`.
        offset: u64,
        /// `VirtualSize`.
        length: u64,
    },
    /// An image inside a section, hashed as Authenticode.
    SectionImage {
        /// The image.
        input: InputId,
        /// The section's name.
        name: String,
        /// `PointerToRawData`.
        offset: u64,
        /// `VirtualSize`.
        length: u64,
    },
    /// Made at boot from these inputs, in this order: an archive, a combined initrd, a command line.
    Derived(Vec<InputId>),
    /// Kept from recorded boots: their logs or the profile made of them.
    Observed(Vec<InputId>),
    /// Given on the command line: the option's name.
    Option(&'static str),
    /// Nothing that we were given.
    Missing,
}

/// Something that we can't derive, and what would settle it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The register that it concerns.
    pub pcr: PcrIndex,
    /// What kind of input is missing.
    pub code: GapCode,
    /// The first stage whose value it hides.
    pub stage: Stage,
    /// Why the value is not known.
    pub reason: String,
    /// What would settle it.
    pub remedy: String,
}

macro_rules! gap_codes {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)*) => {
        /// Kinds of missing input. A closed list: documents use these words.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum GapCode { $($(#[$doc])* $name,)* }

        impl GapCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word in documents.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

gap_codes! {
    /// The firmware's own code and configuration.
    Firmware => "firmware",
    /// Secure Boot variables.
    SecureBootVariables => "secure-boot-variables",
    /// The partition table of the boot disk.
    PartitionTable => "partition-table",
    /// Boot options that come before the one that starts.
    BootOrder => "boot-order",
    /// The boot loader's configuration file.
    LoaderConf => "loader-conf",
    /// SMBIOS tables of the machine.
    Smbios => "smbios",
    /// A boot loader that is not modelled.
    UnknownLoader => "unknown-loader",
    /// A stub whose program or version is not known.
    UnknownStub => "unknown-stub",
    /// Version of systemd in the initrd or on the host.
    UnknownSystemd => "unknown-systemd",
    /// The kernel's version or format.
    UnknownKernel => "unknown-kernel",
    /// The machine's boot secret.
    BootSecret => "boot-secret",
    /// Consoles that the stub adds by the machine's devices.
    Console => "console",
    /// Which devicetree the stub chooses.
    Devicetree => "devicetree",
    /// A command line that the stub decodes in a way that is not modelled.
    CommandLine => "command-line",
    /// Secrets of user space: volume keys, NvPCR anchors.
    VolumeKey => "volume-key",
    /// The NvPCR anchor secret.
    NvPcr => "nvpcr",
    /// The host's machine id.
    MachineId => "machine-id",
    /// The host's file systems.
    FileSystem => "file-system",
    /// What the running system measures (IMA, applications, dynamic launch).
    Runtime => "runtime",
}

/// Something taken for granted, with the input that would decide it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assumption {
    /// Stable name, for documents and `--accept-assumption`.
    pub id: &'static str,
    /// What is assumed.
    pub statement: String,
    /// The registers that depend on it.
    pub affects: Vec<PcrIndex>,
    /// How to decide it; empty where nothing can.
    pub remedy: &'static str,
}

/// A program that does not measure through the CC protocol all that it measures into a TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotCovered {
    /// The program, with its version where that matters.
    pub program: String,
    /// What it leaves out.
    pub what: String,
}
