//! What the fuzz targets of the verifier do with their bytes; `tests/verify/regressions.rs` does the same on stable.

use premeasure::attest::{
    Anchors, AttestationKey, Evidence, PublicArea, Quote, QuoteSignature, read_certificates, read_pcr_values,
    read_serialized_pcrs,
};

/// `TPMS_ATTEST`: what is accepted is read to its last byte, so that no shorter message is accepted too.
pub(crate) fn quote(data: &[u8]) {
    if Quote::read(data).is_ok() {
        for length in 0..data.len() {
            assert!(Quote::read(&data[..length]).is_err(), "a shorter quote is a quote too");
        }
    }
}

/// Keys, certificates and signatures.
pub(crate) fn attestation_key(data: &[u8]) {
    let _ = PublicArea::read(data).map(|area| (area.name(), area.objections()));
    if let Ok(key) = AttestationKey::read(data) {
        assert!(key.is_same_key(&key));
    }
    let _ = read_certificates(data);
    let _ = Anchors::default().add(data);
    let _ = QuoteSignature::read(data);
}

/// PCR values in every form, beside the selection of a recorded quote.
pub(crate) fn pcr_values(data: &[u8]) {
    let _ = read_serialized_pcrs(data);
    let _ = read_pcr_values(data, &[]);
}

/// Evidence of every kind.
pub(crate) fn evidence(data: &[u8]) {
    if let Ok(evidence) = Evidence::read(data) {
        for quote in &evidence.quotes {
            let _ = Quote::read(&quote.message);
        }
        if let Some(document) = &evidence.nitro {
            assert!(document.len() <= data.len());
        }
    }
}
