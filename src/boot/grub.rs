//! GRUB, by itself or behind a shim: what it leaves alone is known, what it measures is not followed.

use super::BootChain;
use super::measurement::{GapCode, Rule};
use super::recorder::Recorder;
use crate::tcg::PcrIndex;

const GRUB: Rule = Rule {
    id: "grub",
    statement: "GRUB measures its commands and command lines into PCR 8 and each file that it opens into PCR 9; with \
                Secure Boot, shim measures the kernel into PCR 4 as often as GRUB asks it, which differs from build to \
                build",
    source: "GRUB grub-core/commands/tpm.c; shim shim_verify",
};

/// Records what is not known of a boot by GRUB.
pub(super) fn run(chain: &BootChain, recorder: &mut Recorder<'_>) {
    let name = &chain.uki.name;
    let reasons = [
        (
            4,
            format!(
                "whether and how often the kernel is measured depends on the build of {name} and on Secure Boot"
            ),
        ),
        (8, format!("the commands that {name} runs are not followed")),
        (9, format!("the files that {name} opens are not followed")),
    ];
    for (pcr, reason) in reasons {
        let remedy = "an event log of this boot";
        recorder.gap(PcrIndex::new(pcr), GapCode::UnknownLoader, &GRUB, reason, remedy);
    }
    if chain.shim.is_some() {
        recorder.assume(
            "one-key-behind-shim",
            format!("what {name} loads is accepted by the key that {name} itself was accepted by"),
            &[7],
            "",
        );
    } else {
        recorder.assume(
            "one-key-behind-grub",
            format!("with Secure Boot, what {name} loads is accepted by the key that {name} itself was accepted by"),
            &[7],
            "",
        );
        recorder.assume("pcr-14-unused", "nothing writes PCR 14: shim is not involved", &[14], "");
    }
    recorder.assume(
        "grub-starts-linux",
        format!("{name} starts a Linux kernel, not another EFI program"),
        &[5, 11, 12, 13],
        "",
    );
}
