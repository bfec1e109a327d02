//! What the fuzz targets of the verifier do with their bytes; `tests/verify/regressions.rs` does the same on stable.

use premeasure::attest::{
    Anchors, AttestationKey, Evidence, PublicArea, Quote, QuoteSignature, read_certificates, read_pcr_values,
    read_serialized_pcrs,
};
use premeasure::capture::{Capture, is_capture};

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

/// A capture: what was read is written and read again, its parts are no larger than it, and as evidence it is taken apart or
/// refused, but never has a quote that the capture does not have.
pub(crate) fn capture(data: &[u8]) {
    let Ok(capture) = Capture::parse(data) else {
        assert!(
            !is_capture(data) || Evidence::read(data).is_err(),
            "evidence in a capture that can't be read"
        );
        return;
    };
    let written = serde_json::to_vec(&capture).expect("JSON");
    assert!(Capture::parse(&written).is_ok_and(|again| again == capture), "another capture");
    let _ = capture.remark();
    let _ = capture.values();
    for (_, log) in capture.log_bytes().unwrap_or_default() {
        assert!(log.len() < data.len(), "a log out of nothing");
    }
    if let (true, Ok(evidence)) = (is_capture(data), Evidence::read(data)) {
        assert_eq!(evidence.quotes.len(), usize::from(capture.quote.is_some()));
        evidence.quotes.iter().for_each(|quote| drop(Quote::read(&quote.message)));
    }
}
