//! Other programs' answers to the same questions. Where a tool is missing the test says so and is skipped; where a tool is
//! known to disagree with the firmware, the disagreement is listed with its reason and has to be there.

#[path = "../support/mod.rs"]
mod support;

mod firmware;
mod image_digest;
mod pcr11;
mod published;
