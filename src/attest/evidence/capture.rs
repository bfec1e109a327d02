//! A capture of `premeasure capture --quote` or `--quote-files`: quote, values and logs of one machine.

use std::borrow::Cow;

use super::{Evidence, QuoteEvidence};
use crate::attest::key::{AttestationKey, read_certificates};
use crate::capture::Capture;

/// Certificates that a key may bring along.
const MAX_CERTIFICATES: usize = 16;

pub(super) fn read(bytes: &[u8]) -> Result<Evidence<'static>, String> {
    let capture = Capture::parse(bytes).map_err(|error| error.to_string())?;
    let mut evidence = Evidence { kind: "premeasure-capture", ..Evidence::default() };
    evidence.notes.extend(capture.remark());
    let logs = capture.log_bytes().map_err(|error| error.to_string())?;
    for (index, (name, bytes)) in logs.into_iter().enumerate() {
        let masked = capture.logs.get(name).map_or(&[][..], |log| log.masked_events.as_slice());
        evidence.masked_events.extend(masked.iter().map(|event| (index, *event)));
        evidence.logs.push(Cow::Owned(bytes));
    }
    let Some(parts) = capture.quote_parts().map_err(|error| error.to_string())? else {
        let how =
            "the capture has no quote: premeasure capture takes one along with --quote or --quote-files";
        evidence.notes.push(how.to_owned());
        return Ok(evidence);
    };
    let key = AttestationKey::read(&parts.key).map_err(|error| format!("quote.key: {error}"))?;
    evidence.public_area = key.public_area.is_some().then(|| parts.key.clone());
    if key.certificate.is_some() {
        let mut chain =
            read_certificates(&parts.key).map_err(|error| format!("quote.key: {error}"))?.into_iter();
        evidence.certificate = chain.next();
        evidence.intermediates = chain.take(MAX_CERTIFICATES).collect();
    }
    evidence.claimed_key = Some(Box::new(key));
    evidence.quotes.push(QuoteEvidence {
        message: Cow::Owned(parts.message),
        signature: Cow::Owned(parts.signature),
        values: Some(parts.values),
    });
    Ok(evidence)
}
