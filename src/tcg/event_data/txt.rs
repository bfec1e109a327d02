//! Event types of Intel TXT (MLE Software Development Guide, appendix F, table "Event types").

use crate::tcg::EventType;

/// The name of a TXT event type; the PFP has none for these numbers.
#[must_use]
pub fn txt_type_name(event_type: EventType) -> Option<&'static str> {
    Some(match event_type.0 {
        0x401 => "EVTYPE_PCRMAPPING",
        0x402 => "EVTYPE_HASH_START",
        0x403 => "EVTYPE_COMBINED_HASH",
        0x404 => "EVTYPE_MLE_HASH",
        0x40A => "EVTYPE_BIOSAC_REG_DATA",
        0x40B => "EVTYPE_CPU_SCRTM_STAT",
        0x40C => "EVTYPE_LCP_CONTROL_HASH",
        0x40D => "EVTYPE_ELEMENTS_HASH",
        0x40E => "EVTYPE_STM_HASH",
        0x40F => "EVTYPE_OSSINITDATA_CAP_HASH",
        0x410 => "EVTYPE_SINIT_PUBKEY_HASH",
        0x411 => "EVTYPE_LCP_HASH",
        0x412 => "EVTYPE_LCP_DETAILS_HASH",
        0x413 => "EVTYPE_LCP_AUTHORITIES_HASH",
        0x414 => "EVTYPE_NV_INFO_HASH",
        0x415 => "EVTYPE_COLD_BOOT_BIOS_HASH",
        0x416 => "EVTYPE_KM_HASH",
        0x417 => "EVTYPE_BPM_HASH",
        0x418 => "EVTYPE_KM_INFO_HASH",
        0x419 => "EVTYPE_BPM_INFO_HASH",
        0x41A => "EVTYPE_BOOT_POL_HASH",
        0x4FE => "EVTYPE_RANDOM_VALUE",
        0x4FF => "EVTYPE_CAP_VALUE",
        0x501 => "tboot module",
        _ => return None,
    })
}
