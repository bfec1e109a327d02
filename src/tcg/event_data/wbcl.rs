//! Windows' boot configuration log: tags in tags (`SIPAEVENT` of `wbcl.h`).

use crate::bytes::Reader;
use crate::uefi::text;

use super::field::{Field, Value};

/// Depth of containers in containers. Windows writes three.
const MAX_DEPTH: u32 = 8;
/// Tags of one container. Windows writes some hundred modules.
const MAX_TAGS: usize = 4096;
/// `SIPAEVENTTYPE_AGGREGATION`: the data is a list of tags.
const AGGREGATION: u32 = 0x4000_0000;

/// The tag's data is a list of tags.
pub(super) fn is_container(id: u32) -> bool {
    id & AGGREGATION != 0 && sipa_name(id).is_some()
}

pub(super) fn summary(name: &str, data: Reader<'_>, id: u32) -> String {
    if !is_container(id) {
        return format!("{name}: {} bytes", data.remaining());
    }
    let parts = fields(data, MAX_DEPTH.saturating_sub(1));
    let shown: Vec<String> = parts.iter().take(4).map(|part| part.name.to_string()).collect();
    let more = if parts.len() > shown.len() { ", …" } else { "" };
    format!("{name}: {}{more}", shown.join(", "))
}

/// The tags of a container. What can't be read as a tag ends the list, with its bytes.
pub(super) fn fields(mut reader: Reader<'_>, depth: u32) -> Vec<Field> {
    let mut fields = Vec::new();
    while !reader.is_empty() {
        let left = reader.peek();
        let tag = (|| {
            let id = reader.u32("SIPAEVENT.EventType")?;
            let size = reader.u32("SIPAEVENT.EventDataSize")?;
            reader.sub(size.into(), "SIPAEVENT.EventData").map(|data| (id, data))
        })();
        let Ok((id, data)) = tag else {
            fields.push(Field::part("(not a tag)", Value::bytes(left)));
            break;
        };
        if fields.len() >= MAX_TAGS {
            fields.push(Field::part("(more)", Value::text("not shown")));
            break;
        }
        fields.push(field(id, data, depth));
    }
    fields
}

fn field(id: u32, data: Reader<'_>, depth: u32) -> Field {
    let name = sipa_name(id).map_or_else(|| format!("{id:#010x}"), str::to_owned);
    let bytes = data.peek();
    let value = match bytes {
        _ if is_container(id) && depth < MAX_DEPTH => Value::Fields(fields(data, depth.saturating_add(1))),
        [byte] => Value::Number((*byte).into()),
        [a, b, c, d] => Value::Number(u32::from_le_bytes([*a, *b, *c, *d]).into()),
        [a, b, c, d, e, f, g, h] => Value::Number(u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h])),
        _ => match text::guess(bytes) {
            Some(text) => Value::Text(text),
            None => Value::bytes(bytes),
        },
    };
    Field::part(name, value)
}

/// The name in `wbcl.h`, without `SIPAEVENT_`.
#[must_use]
pub fn sipa_name(id: u32) -> Option<&'static str> {
    NAMES.iter().find(|(known, _)| *known == id).map(|(_, name)| *name)
}

// Windows SDK, wbcl.h.
const NAMES: &[(u32, &str)] = &[
    (0x4001_0001, "TRUSTBOUNDARY"),
    (0x4001_0002, "ELAM_AGGREGATION"),
    (0x4001_0003, "LOADEDMODULE_AGGREGATION"),
    (0xC001_0004, "TRUSTPOINT_AGGREGATION"),
    (0x4001_0005, "KSR_AGGREGATION"),
    (0x4001_0006, "KSR_SIGNED_MEASUREMENT_AGGREGATION"),
    (0x0002_0001, "INFORMATION"),
    (0x0002_0002, "BOOTCOUNTER"),
    (0x0002_0003, "TRANSFER_CONTROL"),
    (0x0002_0004, "APPLICATION_RETURN"),
    (0x0002_0005, "BITLOCKER_UNLOCK"),
    (0x0002_0006, "EVENTCOUNTER"),
    (0x0002_0007, "COUNTERID"),
    (0x0002_0008, "MORBIT_NOT_CANCELABLE"),
    (0x0002_0009, "APPLICATION_SVN"),
    (0x0002_000A, "SVN_CHAIN_STATUS"),
    (0x0002_000B, "MORBIT_API_STATUS"),
    (0x0002_000C, "IDK_GENERATION_STATUS"),
    (0x0004_0001, "BOOTDEBUGGING"),
    (0x0004_0002, "BOOT_REVOCATION_LIST"),
    (0x0005_0001, "OSKERNELDEBUG"),
    (0x0005_0002, "CODEINTEGRITY"),
    (0x0005_0003, "TESTSIGNING"),
    (0x0005_0004, "DATAEXECUTIONPREVENTION"),
    (0x0005_0005, "SAFEMODE"),
    (0x0005_0006, "WINPE"),
    (0x0005_0007, "PHYSICALADDRESSEXTENSION"),
    (0x0005_0008, "OSDEVICE"),
    (0x0005_0009, "SYSTEMROOT"),
    (0x0005_000A, "HYPERVISOR_LAUNCH_TYPE"),
    (0x0005_000B, "HYPERVISOR_PATH"),
    (0x0005_000C, "HYPERVISOR_IOMMU_POLICY"),
    (0x0005_000D, "HYPERVISOR_DEBUG"),
    (0x0005_000E, "DRIVER_LOAD_POLICY"),
    (0x0005_000F, "SI_POLICY"),
    (0x0005_0010, "HYPERVISOR_MMIO_NX_POLICY"),
    (0x0005_0011, "HYPERVISOR_MSR_FILTER_POLICY"),
    (0x0005_0012, "VSM_LAUNCH_TYPE"),
    (0x0005_0013, "OS_REVOCATION_LIST"),
    (0x0005_0014, "SMT_STATUS"),
    (0x0005_0020, "VSM_IDK_INFO"),
    (0x0005_0021, "FLIGHTSIGNING"),
    (0x0006_0001, "NOAUTHORITY"),
    (0x0006_0002, "AUTHORITYPUBKEY"),
    (0x0007_0001, "FILEPATH"),
    (0x0007_0002, "IMAGESIZE"),
    (0x0007_0003, "HASHALGORITHMID"),
    (0x0007_0004, "AUTHENTICODEHASH"),
    (0x0007_0005, "AUTHORITYISSUER"),
    (0x0007_0006, "AUTHORITYSERIAL"),
    (0x0007_0007, "IMAGEBASE"),
    (0x0007_0008, "AUTHORITYPUBLISHER"),
    (0x0007_0009, "AUTHORITYSHA1THUMBPRINT"),
    (0x0007_000A, "IMAGEVALIDATED"),
    (0x0007_000B, "MODULE_SVN"),
    (0x0008_0001, "QUOTE"),
    (0x0008_0002, "QUOTESIGNATURE"),
    (0x0008_0003, "AIKID"),
    (0x0008_0004, "AIKPUBDIGEST"),
    (0x0009_0001, "ELAM_KEYNAME"),
    (0x0009_0002, "ELAM_CONFIGURATION"),
    (0x0009_0003, "ELAM_POLICY"),
    (0x0009_0004, "ELAM_MEASURED"),
    (0x000A_0001, "VBS_VSM_REQUIRED"),
    (0x000A_0002, "VBS_SECUREBOOT_REQUIRED"),
    (0x000A_0003, "VBS_IOMMU_REQUIRED"),
    (0x000A_0004, "VBS_MMIO_NX_REQUIRED"),
    (0x000A_0005, "VBS_MSR_FILTERING_REQUIRED"),
    (0x000A_0006, "VBS_MANDATORY_ENFORCEMENT"),
    (0x000A_0007, "VBS_HVCI_POLICY"),
    (0x000A_0008, "VBS_MICROSOFT_BOOT_CHAIN_REQUIRED"),
];
