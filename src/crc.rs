//! Checksums of disk formats: they find accidents, and protect from nobody.

use crc::{CRC_32_ISCSI, CRC_32_ISO_HDLC, Crc, Table};

const CRC32: Crc<u32> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);
const CRC32C: Crc<u32> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

/// CRC-32 of ISO 3309, as `EFI_BOOT_SERVICES.CalculateCrc32` (UEFI section 4.4).
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    CRC32.checksum(bytes)
}

/// CRC-32C (RFC 3720, appendix B.4) of parts that follow each other.
pub(crate) fn crc32c<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let mut digest = CRC32C.digest();
    parts.into_iter().for_each(|part| digest.update(part));
    digest.finalize()
}
