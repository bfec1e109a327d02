//! The image digest (Authenticode), as the firmware computes it when it measures an image.
//!
//! The steps are numbered as in EDK2, `MeasurePeImageAndExtend` of `DxeTpm2MeasureBootLib`, which follows the
//! Windows Authenticode specification but differs from signing tools: it uses the certificate table's size only,
//! never its place, and it pads nothing. Signing tools pad a file to a multiple of 8 bytes before they hash it, so
//! an unsigned file of another length has one digest in PCR 4 and another one once it is signed.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use super::{PeError, PeImage, Section};
use crate::hashing::Segment;

/// An image that the firmware refuses to hash.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthenticodeError {
    /// A section lies outside the file.
    #[error(transparent)]
    Pe(#[from] PeError),
    /// The headers claim to be longer than the file, or shorter than themselves.
    #[error(
        "SizeOfHeaders {size_of_headers:#x} does not hold the headers, which end at {end:#x} (file: {length:#x} bytes)"
    )]
    SizeOfHeaders {
        /// As the header claims.
        size_of_headers: u32,
        /// Offset behind the last header byte that the digest treats specially.
        end: u64,
        /// Bytes of the file.
        length: u64,
    },
    /// Sections overlap so much that hashing them is out of proportion.
    #[error("sections overlap: their raw data adds up to {raw:#x} bytes, the file has {length:#x}")]
    Overlap {
        /// Sum of `SizeOfRawData`.
        raw: u64,
        /// Bytes of the file.
        length: u64,
    },
    /// Certificate table, headers and sections together are longer than the file.
    #[error(
        "certificate table ({certificates:#x} bytes), headers and sections ({hashed:#x} bytes) exceed the file \
         ({length:#x} bytes)"
    )]
    CertificateTable {
        /// Size in the certificate table's directory entry.
        certificates: u32,
        /// `SizeOfHeaders` plus the raw sizes of all sections.
        hashed: u64,
        /// Bytes of the file.
        length: u64,
    },
}

/// Raw data of all sections may be this many times the file: real images have none that overlap, and hashing one
/// range over and over is only good for wasting time.
const MAX_OVERLAP: u64 = 4;

/// What is hashed of `image`, in order.
///
/// # Errors
/// [`AuthenticodeError`] where the firmware would refuse the image.
pub fn authenticode_segments(image: &PeImage) -> Result<Vec<Segment>, AuthenticodeError> {
    authenticode_segments_padded(image, 0)
}

/// The same for an image in memory that is `image` followed by `zeros` zero bytes: the kernel of a UKI, which is
/// loaded with the `VirtualSize` of its section. The zeros count as data behind the last section.
///
/// # Errors
/// [`AuthenticodeError`] where the firmware would refuse the image, and where a section reaches into the zeros.
pub fn authenticode_segments_padded(image: &PeImage, zeros: u64) -> Result<Vec<Segment>, AuthenticodeError> {
    let length = image.file.len().saturating_add(zeros);
    let headers_end = u64::from(image.size_of_headers);
    let checksum_end = image.checksum_offset.saturating_add(4);
    let bad_headers =
        |end| AuthenticodeError::SizeOfHeaders { size_of_headers: image.size_of_headers, end, length };
    let range = |start: u64, end: u64| -> Result<Segment, AuthenticodeError> {
        let part = end.checked_sub(start).and_then(|size| image.file.slice(start, size));
        part.map(Segment::Range).ok_or_else(|| bad_headers(end.max(start)))
    };

    // Steps 3 to 5: from the start to CheckSum, which is left out.
    let mut segments = vec![range(0, image.checksum_offset)?];
    match image.certificate_table_entry_offset() {
        // Step 6: a header too short for a certificate entry is hashed up to its end.
        None => segments.push(range(checksum_end, headers_end)?),
        Some(entry) => {
            // Steps 7 and 8: up to the certificate table's entry, whose 8 bytes are left out.
            segments.push(range(checksum_end, entry)?);
            // Step 9: the rest of the headers.
            segments.push(range(entry.saturating_add(8), headers_end)?);
        }
    }

    // Steps 10 to 13: raw data of the sections, ascending by PointerToRawData; equal ones keep the table's order.
    let mut sections: Vec<&Section> = image.sections.iter().filter(|section| section.raw_size != 0).collect();
    sections.sort_by_key(|section| section.raw_offset);
    let raw: u64 = sections.iter().map(|section| u64::from(section.raw_size)).sum();
    if raw > length.saturating_mul(MAX_OVERLAP) {
        return Err(AuthenticodeError::Overlap { raw, length });
    }
    let mut hashed = headers_end;
    for section in sections {
        segments.push(Segment::Range(image.raw_data(section)?));
        hashed = hashed.saturating_add(section.raw_size.into());
    }

    // Steps 14 to 16: what follows, less the certificate table. It starts where headers and sections *would* end if
    // they had neither gaps nor overlaps.
    if length > hashed {
        let certificates = match image.certificate_table_entry_offset() {
            Some(_) => image.data_directories.get(super::CERTIFICATE_TABLE).map_or(0, |entry| entry.size),
            None => 0,
        };
        let end = length
            .checked_sub(certificates.into())
            .filter(|end| *end >= hashed)
            .ok_or(AuthenticodeError::CertificateTable { certificates, hashed, length })?;
        // Split at the end of the file: what lies behind it is zeros.
        let file_end = end.min(image.file.len());
        if let Some(rest) = file_end.checked_sub(hashed) {
            segments.extend(image.file.slice(hashed, rest).map(Segment::Range));
        }
        segments.push(Segment::Zeros(end.saturating_sub(hashed.max(file_end))));
    }
    Ok(segments)
}
