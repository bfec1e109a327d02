//! Witness: AWS' `nitro-tpm-pcr-compute` 1.1.2 (crates.io), which shares no code with this program.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::documents::{folder, text};
use crate::support::boots::boot;
use crate::support::{Pcrs, disks, find_tool, premeasure, read_json, skipped_without, tool};

const TOOL: &str = "nitro-tpm-pcr-compute";

/// Images of a real boot, in the order in which they are loaded, and whether keys are enrolled.
struct Case {
    case: &'static str,
    loader: bool,
    keys: bool,
}

const fn case(case: &'static str, loader: bool, keys: bool) -> Case {
    Case { case, loader, keys }
}

/// Stubs 252, 254, 257 and 262; with and without a boot loader; with and without Secure Boot.
const CASES: &[Case] = &[
    case("a-uki-direct-252", false, false),
    case("t-tiny-257", false, false),
    case("t3-tiny-262", false, false),
    case("c-sdboot-257", true, false),
    case("f-secureboot-257", true, false),
    case("f-secureboot-257", true, true),
    case("f-secureboot-257", false, true),
    case("d3-sdboot-254", true, false),
];

impl Case {
    fn loader(&self) -> Option<PathBuf> {
        self.loader.then(|| disks::esp(self.case).join("EFI/BOOT/BOOTX64.EFI"))
    }

    fn key(&self, name: &str) -> Option<PathBuf> {
        self.keys.then(|| boot(self.case).record("inputs").join(format!("{name}.esl")))
    }

    /// What we export for an instance at the moment that the tool computes.
    fn ours(&self) -> Value {
        let document = folder("nitro").join("document.json");
        let uki = boot(self.case).uki();
        let mut arguments: Vec<String> =
            ["predict", text(&uki), "--platform", "aws-nitrotpm", "--bank", "sha384"]
                .map(str::to_owned)
                .into();
        if let Some(loader) = self.loader() {
            arguments.extend(["--loader".to_owned(), text(&loader).to_owned()]);
        }
        for (option, name) in [("--pk", "PK"), ("--kek", "KEK"), ("--db", "db")] {
            let file = self.key(name).map_or_else(|| "none".to_owned(), |file| text(&file).to_owned());
            arguments.extend([option.to_owned(), file]);
        }
        arguments.extend(["--dbx", "none", "-o", text(&document)].map(str::to_owned));
        arguments.extend(["--secure-boot", if self.keys { "on" } else { "off" }].map(str::to_owned));
        let run = premeasure(arguments);
        assert_eq!(run.code, Some(0), "{}: {}", self.case, run.stderr);
        let run = premeasure([
            "export",
            text(&document),
            "--format",
            "aws",
            "--stage",
            "exit-boot-services",
            "--accept-assumption",
            "all",
        ]);
        assert_eq!(run.code, Some(0), "{}: {}", self.case, run.stderr);
        run.json()
    }

    fn theirs(&self) -> Value {
        let mut compute = Command::new(find_tool(TOOL).expect("it is installed"));
        for image in self.loader().into_iter().chain([boot(self.case).uki()]) {
            compute.arg("--image").arg(image);
        }
        for name in ["PK", "KEK", "db"] {
            if let Some(file) = self.key(name) {
                compute.arg(format!("--{name}")).arg(file);
            }
        }
        serde_json::from_str(&tool(&mut compute)).expect("JSON")
    }
}

#[test]
fn nitro_tpm_pcr_compute_agrees() {
    if skipped_without(&[TOOL, "zstd", "mcopy"]) {
        return;
    }
    for case in CASES {
        let (ours, mut theirs) = (case.ours(), case.theirs());
        if case.case == "d3-sdboot-254" {
            // The tool takes PCR 12 for zero. systemd-boot 254 hands the UKI load options, which the stub measures: the machine
            // that booted these very files had what we say.
            let held: Pcrs = boot(case.case).observed_pcrs();
            assert_eq!(theirs["Measurements"]["PCR12"], "00".repeat(48));
            assert_ne!(held["sha384"]["12"], "00".repeat(48));
            theirs["Measurements"]["PCR12"] = held["sha384"]["12"].clone().into();
        }
        assert_eq!(ours, theirs, "{} loader: {}, keys: {}", case.case, case.loader, case.keys);
    }
    let inputs = boot("f-secureboot-257").record("inputs");
    assert!(inputs.join("PK.esl").is_file(), "the case with keys had none");
    let with_keys = CASES[5].ours();
    let held: Pcrs = read_json(boot("f-secureboot-257").record("pcrs.json"));
    assert_eq!(with_keys["Measurements"]["PCR4"], held["sha384"]["4"], "the machine itself");
}
