//! A PKCS#7 message of any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use premeasure::pe::Signature;
use premeasure::tcg::DigestSet;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(signature) = Signature::parse(bytes) {
        for signer in &signature.signers {
            let _ = signature.coverage(signer, &DigestSet::default());
        }
        for certificate in &signature.certificates {
            let _ = (certificate.subject(), certificate.issuer(), certificate.serial(), certificate.not_after());
        }
    }
});
