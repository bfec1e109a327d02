//! `EFI_DEVICE_PATH_PROTOCOL` (UEFI, section 10.3): a list of nodes.

use crate::bytes::{ParseError, ParseErrorKind, Reader};

pub use super::device_path_text::node_text;

/// Nodes that a path may have. Real ones have a dozen; a path in an event could claim thousands.
pub const MAX_NODES: usize = 512;

/// A device path: nodes without the end node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DevicePath<'a> {
    /// The nodes in order. An end-of-instance node stays in the list.
    pub nodes: Vec<Node<'a>>,
    /// Bytes behind the end node.
    pub trailing: &'a [u8],
}

/// One node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node<'a> {
    /// `Type`: 1 hardware, 2 ACPI, 3 messaging, 4 media, 5 BIOS boot, 0x7F end.
    pub node_type: u8,
    /// `SubType`.
    pub subtype: u8,
    /// What follows the 4 bytes of type, subtype and length.
    pub body: &'a [u8],
    /// Offset of [`body`](Self::body) in the file.
    pub offset: u64,
}

impl<'a> DevicePath<'a> {
    /// Reads nodes up to the end node. A path that ends without one is accepted: shim logs single nodes.
    ///
    /// # Errors
    /// When a node is shorter than its own header or reaches behind the end.
    pub fn read(mut reader: Reader<'a>) -> Result<Self, ParseError> {
        let mut nodes = Vec::new();
        while !reader.is_empty() {
            let node = Node::read(&mut reader)?;
            if node.node_type == Node::END && node.subtype == Node::END_ENTIRE {
                break;
            }
            if nodes.len() >= MAX_NODES {
                let kind = ParseErrorKind::TooLarge { found: MAX_NODES as u64, limit: MAX_NODES as u64 };
                return Err(reader.error("EFI_DEVICE_PATH_PROTOCOL", kind));
            }
            nodes.push(node);
        }
        Ok(Self { nodes, trailing: reader.rest() })
    }

    /// The text form (UEFI, section 10.6.1.6), e.g.
    /// `PciRoot(0x0)/Pci(0x1,0x0)/HD(1,GPT,…,0x800,0x3F800)/\EFI\BOOT\BOOTX64.EFI`.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut first = true;
        for node in &self.nodes {
            if node.node_type == Node::END {
                text.push(',');
                first = true;
                continue;
            }
            if !first {
                text.push('/');
            }
            text.push_str(&node_text(node));
            first = false;
        }
        text
    }

    /// The file that the path ends in, e.g. `\EFI\BOOT\BOOTX64.EFI`.
    #[must_use]
    pub fn file(&self) -> Option<String> {
        self.nodes.iter().rev().find(|node| node.is_file()).map(node_text)
    }
}

impl<'a> Node<'a> {
    /// `END_DEVICE_PATH_TYPE`.
    pub const END: u8 = 0x7F;
    /// `END_ENTIRE_DEVICE_PATH_SUBTYPE`.
    pub const END_ENTIRE: u8 = 0xFF;

    fn read(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        const LENGTH: &str = "EFI_DEVICE_PATH_PROTOCOL.Length";
        let node_type = reader.u8("EFI_DEVICE_PATH_PROTOCOL.Type")?;
        let subtype = reader.u8("EFI_DEVICE_PATH_PROTOCOL.SubType")?;
        let at_length = *reader;
        let length = reader.u16(LENGTH)?;
        let Some(length) = length.checked_sub(4) else {
            let kind = ParseErrorKind::Unexpected { found: length.into(), expected: "4 bytes at least" };
            return Err(at_length.error(LENGTH, kind));
        };
        if usize::from(length) > reader.remaining() {
            let kind = ParseErrorKind::Truncated { needed: length.into(), left: reader.remaining() as u64 };
            return Err(at_length.error(LENGTH, kind));
        }
        let offset = reader.offset();
        Ok(Self { node_type, subtype, body: reader.take(length.into(), LENGTH)?, offset })
    }

    fn is_file(&self) -> bool {
        (self.node_type, self.subtype) == (4, 4)
    }
}
