//! The predicted log, in the firmware's own format.

use crate::boot::Stage;
use crate::cli::output::hinted;
use crate::prediction::Prediction;
use crate::tcg::tcg2_writer::{event2_record, spec_id_record, startup_locality_record};

/// The log that the firmware would show at `exit-boot-services`: every measurement that is known. Events whose data holds
/// load addresses have none.
pub(crate) fn event_log(predictions: &[Prediction]) -> anyhow::Result<Vec<u8>> {
    let variants: Vec<_> = predictions.iter().flat_map(|prediction| &prediction.variants).collect();
    let ([variant], Some(prediction)) = (variants.as_slice(), predictions.first()) else {
        return Err(hinted(
            format!("--event-log: the image can boot in {} ways, and a log is of one", variants.len()),
            "decide with --secure-boot on|off, --exit-boot-services, --entry, --devicetree N|none or --firmware-image \
             N|none",
        ));
    };
    let mut log = spec_id_record(&prediction.banks);
    if let Some(start) = variant.recording.pcr0_start {
        log.extend(startup_locality_record(&prediction.banks, start.last_byte()));
    }
    for (measurement, digests) in variant.recording.measurements.iter().zip(&variant.digests) {
        let (Some(event_type), Some(digests)) = (measurement.event_type, digests) else { continue };
        if measurement.stage == Stage::ExitBootServices {
            let data = measurement.data.as_deref().unwrap_or_default();
            log.extend(event2_record(measurement.pcr, event_type, digests.iter(), data));
        }
    }
    Ok(log)
}
