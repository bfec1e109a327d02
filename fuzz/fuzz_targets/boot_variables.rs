//! Boot options of the firmware's variables: how they decide about a boot partition with one program.
#![no_main]

use libfuzzer_sys::fuzz_target;
use premeasure::source::Blob;
use premeasure::source::oci::{Node, Tree};
use premeasure::uefi::guid::GLOBAL_VARIABLE;
use premeasure::uefi::variable_store::Variable;
use premeasure::walk::{BootVariables, Medium, Wishes, walk};

fuzz_target!(|data: &[u8]| {
    let variable = |name: &str, data: &[u8]| Variable {
        vendor: GLOBAL_VARIABLE,
        name: name.to_owned(),
        attributes: 7,
        data: data.to_vec(),
    };
    let order = variable("BootOrder", &[1, 0]);
    let variables = BootVariables::from_store(&[order, variable("Boot0001", data)]);
    let mut tree = Tree::default();
    tree.nodes.insert("efi/EFI/BOOT/BOOTX64.EFI".to_owned(), Node::File(Blob::from_bytes(data)));
    if let Ok(medium) = Medium::of_tree(&tree.into()) {
        let _ = walk(&medium, &Wishes { variables: Some(variables), ..Wishes::default() });
    }
});
