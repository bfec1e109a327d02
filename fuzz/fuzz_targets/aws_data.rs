//! AWS's uefi-data: any text, and any variables behind a header and checksums that are right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use premeasure::secure_boot::read_uefi_data;

fuzz_target!(|bytes: &[u8]| {
    let _ = read_uefi_data(bytes, None);
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let content = &bytes[..usize::from(length)];
    // zlib: a single block that is not compressed.
    let block = [&[0x78, 1, 1], &length.to_le_bytes()[..], &(!length).to_le_bytes(), content].concat();
    let body = [&[0; 4], &block[..], &adler32(content).to_be_bytes()].concat();
    let file = [b"AMZNUEFI", &crc32c(&body).to_le_bytes()[..], &body].concat();
    // Limits and lengths apart, nothing is wrong with it.
    if let Err(error) = read_uefi_data(base64(&file).as_bytes(), None) {
        assert!(!error.to_string().contains("CRC-32C") && !error.to_string().contains("zlib"), "{error}");
    }
});

fn adler32(bytes: &[u8]) -> u32 {
    let (one, two) = bytes.iter().fold((1_u32, 0_u32), |(one, two), byte| {
        let one = (one + u32::from(*byte)) % 65521;
        (one, (two + one) % 65521)
    });
    two << 16 | one
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 0 { crc >> 1 } else { (crc >> 1) ^ 0x82f6_3b78 };
    !bytes.iter().fold(!0_u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = (0..3).fold(0, |number, at| number << 8 | u32::from(*chunk.get(at).unwrap_or(&0)));
        for at in 0..4 {
            let digit = ALPHABET[(number >> (18 - 6 * at) & 63) as usize];
            text.push(if at > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    text
}
