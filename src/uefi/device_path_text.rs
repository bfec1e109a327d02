//! The text form of device path nodes (UEFI, section 10.6.1.6, "Device Path Text").

use std::fmt::Write;

use super::device_path::Node;
use super::guid;
use super::text;
use crate::bytes::{ParseError, Reader};

/// One node as text. A node that the table does not know, or whose body is too short for its type, is written
/// in the generic form `Path(type,subtype,hex)`.
#[must_use]
pub fn node_text(node: &Node<'_>) -> String {
    known(node).ok().flatten().unwrap_or_else(|| generic(node))
}

fn generic(node: &Node<'_>) -> String {
    format!("Path({},{},{})", node.node_type, node.subtype, hex::encode(node.body))
}

fn known(node: &Node<'_>) -> Result<Option<String>, ParseError> {
    let reader = Reader::at(node.body, node.offset);
    match node.node_type {
        1 => hardware(node.subtype, reader),
        2 => acpi(node.subtype, reader),
        3 => messaging(node.subtype, reader),
        4 => media(node.subtype, reader),
        5 => bios_boot(node.subtype, reader),
        _ => Ok(None),
    }
}

fn hardware(subtype: u8, mut r: Reader<'_>) -> Result<Option<String>, ParseError> {
    Ok(Some(match subtype {
        1 => {
            let (function, device) = (r.u8("Function")?, r.u8("Device")?);
            format!("Pci({device:#x},{function:#x})")
        }
        2 => format!("PcCard({:#x})", r.u8("Function Number")?),
        3 => {
            let (kind, start, end) = (r.u32("Memory Type")?, r.u64("Start Address")?, r.u64("End Address")?);
            format!("MemoryMapped({kind:#x},{start:#x},{end:#x})")
        }
        4 => vendor("VenHw", r)?,
        5 => format!("Ctrl({:#x})", r.u32("Controller Number")?),
        6 => format!("BMC({:#x},{:#x})", r.u8("Interface Type")?, r.u64("Base Address")?),
        _ => return Ok(None),
    }))
}

fn acpi(subtype: u8, mut r: Reader<'_>) -> Result<Option<String>, ParseError> {
    Ok(Some(match subtype {
        1 => {
            let (hid, uid) = (r.u32("_HID")?, r.u32("_UID")?);
            match ACPI_NAMES.iter().find(|(known, _)| *known == hid) {
                Some((_, name)) => format!("{name}({uid:#x})"),
                None => format!("Acpi({},{uid:#x})", eisa_id(hid)),
            }
        }
        2 => {
            let (hid, uid, cid) = (r.u32("_HID")?, r.u32("_UID")?, r.u32("_CID")?);
            let mut strings = r.rest().split(|byte| *byte == 0).map(text::ascii_to_nul);
            let (hid_text, uid_text) =
                (strings.next().unwrap_or_default(), strings.next().unwrap_or_default());
            let hid = if hid_text.is_empty() { eisa_id(hid) } else { hid_text };
            let uid = if uid_text.is_empty() { format!("{uid:#x}") } else { uid_text };
            format!("AcpiEx({hid},{},{uid})", eisa_id(cid))
        }
        3 => {
            let mut devices = Vec::new();
            while !r.is_empty() {
                devices.push(format!("{:#x}", r.u32("_ADR")?));
            }
            format!("AcpiAdr({})", devices.join(","))
        }
        _ => return Ok(None),
    }))
}

fn messaging(subtype: u8, mut r: Reader<'_>) -> Result<Option<String>, ParseError> {
    Ok(Some(match subtype {
        1 => {
            let (primary, slave, lun) = (r.u8("PrimarySecondary")?, r.u8("SlaveMaster")?, r.u16("Lun")?);
            format!("Ata({primary:#x},{slave:#x},{lun:#x})")
        }
        2 => format!("Scsi({:#x},{:#x})", r.u16("Target ID")?, r.u16("LUN")?),
        5 => format!("USB({:#x},{:#x})", r.u8("ParentPortNumber")?, r.u8("InterfaceNumber")?),
        10 => vendor("VenMsg", r)?,
        11 => {
            let mac = r.array::<32>("MAC Address")?;
            let kind = r.u8("IfType")?;
            // Ethernet (0, 1) has six bytes of the 32.
            let used = if kind <= 1 { 6 } else { 32 };
            format!("MAC({},{kind:#x})", hex::encode(mac.get(..used).unwrap_or(&mac)))
        }
        12 => ipv4(r)?,
        13 => ipv6(r)?,
        15 => usb_class(r)?,
        16 => {
            let (interface, vendor, product) = (r.u16("Interface")?, r.u16("Vendor")?, r.u16("Product")?);
            let serial = text::utf16_to_nul(r.rest());
            format!("UsbWwid({vendor:#x},{product:#x},{interface:#x},\"{serial}\")")
        }
        17 => format!("Unit({:#x})", r.u8("LUN")?),
        18 => {
            let (port, multiplier, lun) = (r.u16("HBA Port")?, r.u16("Port Multiplier")?, r.u16("LUN")?);
            format!("Sata({port:#x},{multiplier:#x},{lun:#x})")
        }
        20 => format!("Vlan({})", r.u16("VlanId")?),
        23 => {
            let (namespace, mut eui) = (r.u32("NSID")?, r.array::<8>("EUI-64")?);
            eui.reverse();
            let eui: Vec<String> = eui.iter().map(|byte| format!("{byte:02X}")).collect();
            format!("NVMe({namespace:#x},{})", eui.join("-"))
        }
        24 => format!("Uri({})", String::from_utf8_lossy(r.rest())),
        25 => format!("UFS({:#x},{:#x})", r.u8("Target ID")?, r.u8("LUN")?),
        26 => format!("SD({:#x})", r.u8("Slot Number")?),
        29 => format!("eMMC({:#x})", r.u8("Slot Number")?),
        31 => dns(r)?,
        _ => return Ok(None),
    }))
}

fn media(subtype: u8, mut r: Reader<'_>) -> Result<Option<String>, ParseError> {
    Ok(Some(match subtype {
        1 => hard_drive(r)?,
        2 => {
            let (entry, start, size) =
                (r.u32("BootEntry")?, r.u64("PartitionStart")?, r.u64("PartitionSize")?);
            format!("CDROM({entry:#x},{start:#x},{size:#x})")
        }
        3 => vendor("VenMedia", r)?,
        4 => text::utf16_to_nul(r.rest()),
        5 => format!("Media({})", guid::read(&mut r, "Protocol GUID")?),
        6 => format!("FvFile({})", guid::read(&mut r, "FvFileName")?),
        7 => format!("Fv({})", guid::read(&mut r, "FvName")?),
        8 => {
            r.u32("Reserved")?;
            format!("Offset({:#x},{:#x})", r.u64("StartingOffset")?, r.u64("EndingOffset")?)
        }
        9 => {
            let (start, end) = (r.u64("StartingAddr")?, r.u64("EndingAddr")?);
            let kind = guid::read(&mut r, "TypeGuid")?;
            format!("RamDisk({start:#x},{end:#x},{},{kind})", r.u16("Instance")?)
        }
        _ => return Ok(None),
    }))
}

fn bios_boot(subtype: u8, mut r: Reader<'_>) -> Result<Option<String>, ParseError> {
    if subtype != 1 {
        return Ok(None);
    }
    let (device, status) = (r.u16("Device Type")?, r.u16("Status Flag")?);
    let kind = match device {
        1 => "Floppy".to_owned(),
        2 => "HD".to_owned(),
        3 => "CDROM".to_owned(),
        4 => "PCMCIA".to_owned(),
        5 => "USB".to_owned(),
        6 => "Network".to_owned(),
        other => format!("{other:#x}"),
    };
    Ok(Some(format!("BBS({kind},{},{status:#x})", text::ascii_to_nul(r.rest()))))
}

fn vendor(form: &str, mut r: Reader<'_>) -> Result<String, ParseError> {
    let guid = guid::read(&mut r, "Vendor_GUID")?;
    let mut text = format!("{form}({guid}");
    if !r.is_empty() {
        // Writing to a String does not fail.
        let _ = write!(text, ",{}", hex::encode_upper(r.rest()));
    }
    text.push(')');
    Ok(text)
}

fn hard_drive(mut r: Reader<'_>) -> Result<String, ParseError> {
    let (number, start) = (r.u32("Partition Number")?, r.u64("Partition Start")?);
    let size = r.u64("Partition Size")?;
    let signature = r.array::<16>("Partition Signature")?;
    let format = r.u8("Partition Format")?;
    let kind = match r.u8("Signature Type")? {
        1 => {
            let [a, b, c, d, ..] = signature;
            format!("MBR,{:#010x}", u32::from_le_bytes([a, b, c, d]))
        }
        2 => format!("GPT,{}", guid::Guid::from_bytes(signature)),
        other => format!("{format},{other},{}", hex::encode(signature)),
    };
    Ok(format!("HD({number},{kind},{start:#x},{size:#x})"))
}

fn ipv4(mut r: Reader<'_>) -> Result<String, ParseError> {
    let local = std::net::Ipv4Addr::from(r.array::<4>("Local IP Address")?);
    let remote = std::net::Ipv4Addr::from(r.array::<4>("Remote IP Address")?);
    let (_, _) = (r.u16("Local Port")?, r.u16("Remote Port")?);
    let (protocol, fixed) = (protocol(r.u16("Protocol")?), r.u8("StaticIPAddress")?);
    let origin = if fixed == 1 { "Static" } else { "DHCP" };
    let mut text = format!("IPv4({remote},{protocol},{origin},{local}");
    if !r.is_empty() {
        let gateway = std::net::Ipv4Addr::from(r.array::<4>("GatewayIPAddress")?);
        let mask = std::net::Ipv4Addr::from(r.array::<4>("Subnet Mask")?);
        let _ = write!(text, ",{gateway},{mask}");
    }
    text.push(')');
    Ok(text)
}

fn ipv6(mut r: Reader<'_>) -> Result<String, ParseError> {
    let local = std::net::Ipv6Addr::from(r.array::<16>("Local IP Address")?);
    let remote = std::net::Ipv6Addr::from(r.array::<16>("Remote IP Address")?);
    let (_, _) = (r.u16("Local Port")?, r.u16("Remote Port")?);
    let protocol = protocol(r.u16("Protocol")?);
    let origin = match r.u8("IPAddressOrigin")? {
        0 => "Static",
        1 => "StatelessAutoConfigure",
        _ => "StatefulAutoConfigure",
    };
    let mut text = format!("IPv6({remote},{protocol},{origin},{local}");
    if !r.is_empty() {
        let prefix = r.u8("PrefixLength")?;
        let gateway = std::net::Ipv6Addr::from(r.array::<16>("GatewayIPAddress")?);
        let _ = write!(text, ",{prefix},{gateway}");
    }
    text.push(')');
    Ok(text)
}

fn usb_class(mut r: Reader<'_>) -> Result<String, ParseError> {
    let (vendor, product) = (r.u16("Vendor ID")?, r.u16("Product ID")?);
    let (class, subclass, protocol) =
        (r.u8("Device Class")?, r.u8("Device Subclass")?, r.u8("Device Protocol")?);
    Ok(format!("UsbClass({vendor:#x},{product:#x},{class:#x},{subclass:#x},{protocol:#x})"))
}

fn dns(mut r: Reader<'_>) -> Result<String, ParseError> {
    let is_v6 = r.u8("IsIPv6")? == 1;
    let mut servers = Vec::new();
    while !r.is_empty() {
        let address = r.array::<16>("EFI_IP_ADDRESS")?;
        let [a, b, c, d, ..] = address;
        let v4 = std::net::Ipv4Addr::new(a, b, c, d);
        servers.push(if is_v6 { std::net::Ipv6Addr::from(address).to_string() } else { v4.to_string() });
    }
    Ok(format!("Dns({})", servers.join(",")))
}

fn protocol(number: u16) -> String {
    match number {
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        other => format!("{other:#x}"),
    }
}

/// `EISA_PNP_ID` backwards: three letters in 15 bits of the low word, the product number in the high word.
fn eisa_id(id: u32) -> String {
    let letter = |shift: u32| {
        let code = u8::try_from(id.checked_shr(shift).unwrap_or(0) & 0x1F).unwrap_or(0);
        char::from(code.saturating_add(b'@'))
    };
    let product = id.checked_shr(16).unwrap_or(0);
    if id == 0 { "0".to_owned() } else { format!("{}{}{}{product:04X}", letter(10), letter(5), letter(0)) }
}

/// `_HID` values that have a form of their own.
const ACPI_NAMES: &[(u32, &str)] = &[
    (0x0A03_41D0, "PciRoot"),
    (0x0A08_41D0, "PcieRoot"),
    (0x0604_41D0, "Floppy"),
    (0x0301_41D0, "Keyboard"),
    (0x0501_41D0, "Serial"),
    (0x0401_41D0, "ParallelPort"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uefi::device_path::DevicePath;

    fn text(bytes: &[u8]) -> String {
        DevicePath::read(Reader::new(bytes)).expect("a path").text()
    }

    #[test]
    fn a_disk_path_reads_as_the_specification_writes_it() {
        let bytes = [
            &[2, 1, 12, 0, 0xD0, 0x41, 0x03, 0x0A, 0, 0, 0, 0][..], // ACPI PNP0A03, _UID 0
            &[1, 1, 6, 0, 0, 3],                                    // PCI device 3, function 0
            &[3, 18, 10, 0, 1, 0, 0xFF, 0xFF, 0, 0],                // SATA port 1, no multiplier, LUN 0
            &[4, 4, 10, 0, b'\\', 0, b'a', 0, 0, 0],                // file path
            &[0x7F, 0xFF, 4, 0],
        ]
        .concat();
        assert_eq!(text(&bytes), "PciRoot(0x0)/Pci(0x3,0x0)/Sata(0x1,0xffff,0x0)/\\a");
    }

    #[test]
    fn what_is_unknown_or_too_short_keeps_its_bytes() {
        assert_eq!(text(&[9, 9, 6, 0, 1, 2]), "Path(9,9,0102)");
        assert_eq!(text(&[1, 1, 5, 0, 1]), "Path(1,1,01)");
    }

    #[test]
    fn a_node_of_no_length_is_no_endless_loop() {
        for length in [0, 1, 2, 3] {
            let error = DevicePath::read(Reader::new(&[1, 1, length, 0, 0, 0])).expect_err("too short");
            assert_eq!(error.what, "EFI_DEVICE_PATH_PROTOCOL.Length");
        }
    }
}
