//! JSON of variables of any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = premeasure::secure_boot::read_virt_firmware(bytes);
    let _ = premeasure::secure_boot::read_template(bytes);
});
