//! What the firmware and systemd-stub see of a PE file.
//!
//! Sources named below, once: *PE*: Microsoft's "PE Format"; *UEFI*: UEFI Specification 2.11; *EDK2*: the
//! reference firmware, `SecurityPkg/Library/DxeTpm2MeasureBootLib` and `MdePkg/Library/BasePeCoffLib`.
//! Other tools see PE files in other ways; the code that measures is the authority.

mod authenticode;
mod certificate;
mod certificate_table;
mod image;
mod signature;
mod signed_data;
mod string_table;
#[cfg(test)]
pub(crate) mod testing;

pub use authenticode::{AuthenticodeError, authenticode_segments, authenticode_segments_padded};
pub use certificate::SignerCertificate;
pub use certificate_table::{CertificateTable, CertificateType, WinCertificate};
pub use image::{
    CERTIFICATE_TABLE, DataDirectory, Machine, PeError, PeImage, PeKind, Section, SectionName, Subsystem,
};
pub use signature::{Coverage, DigestOid, Signature, SignatureError, Signer};
pub use string_table::long_names;
