//! The feature `tpm`: quotes that the program makes itself, judged by the program and by `tpm2_checkquote`.

use std::process::{Child, Command, Stdio};

use crate::support::{premeasure, scratch, skipped_without, tool};

const NONCE: &str = "00112233445566778899aabbccddeeff";

/// swtpm on TCP ports, which end with the test.
struct Tpm {
    process: Child,
    tcti: String,
}

impl Tpm {
    fn start(name: &str) -> Self {
        let folder = scratch().join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        // tpm2-tss finds the control channel one port above.
        let port = (0..100).find_map(|_| {
            let one = std::net::TcpListener::bind("127.0.0.1:0").ok()?;
            let port = one.local_addr().ok()?.port();
            std::net::TcpListener::bind(("127.0.0.1", port.checked_add(1)?)).ok().map(|_| port)
        });
        let port = port.expect("two free ports");
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={}", folder.display())])
            .args(["--server", &format!("type=tcp,port={port},bindaddr=127.0.0.1,disconnect")])
            .args(["--ctrl", &format!("type=tcp,port={},bindaddr=127.0.0.1", port + 1)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("swtpm starts");
        for _ in 0..100 {
            if std::net::TcpStream::connect(("127.0.0.1", port + 1)).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Self { process, tcti: format!("swtpm:host=127.0.0.1,port={port}") }
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_live_tpm_is_quoted_and_not_extended() {
    if skipped_without(&["swtpm", "tpm2_pcrextend", "tpm2_pcrread", "tpm2_checkquote", "tpm2_print"]) {
        return;
    }
    let tpm = Tpm::start("verify-live");
    let tools = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        tool(command.args(arguments).env("TPM2TOOLS_TCTI", &tpm.tcti).env("TSS2_LOG", "all+none"))
    };
    tools("tpm2_pcrextend", &[&format!("11:sha256={},sha384={}", "ab".repeat(32), "cd".repeat(48))]);
    let before = tools("tpm2_pcrread", &[]);
    for key in ["rsa", "ecc"] {
        let folder = scratch().join(format!("verify-live-{key}"));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = |name: &str| folder.join(name).to_str().expect("text").to_owned();
        // More than eight PCRs of a bank, which a TPM does not give at once.
        let pcrs = "sha256:0,1,2,3,4,5,6,7,8,9,10,11,12+sha384:4,11";
        let quoted = premeasure([
            "quote",
            "--nonce",
            NONCE,
            "--pcrs",
            pcrs,
            "--tcti",
            &tpm.tcti,
            "--key",
            key,
            "-o",
            folder.to_str().expect("text"),
        ]);
        assert_eq!(quoted.code, Some(0), "{}", quoted.stderr);
        let values = tools("tpm2_pcrread", &["sha256:4,11+sha384:11"]);
        std::fs::write(path("policy"), &values).expect("writable");
        let verify = |nonce: &str| {
            premeasure([
                "verify",
                "--policy",
                &path("policy"),
                "--quote",
                &path("quote.msg"),
                "--signature",
                &path("quote.sig"),
                "--pcrs",
                &path("pcrs.json"),
                "--ak",
                &path("ak.pub"),
                "--nonce",
                nonce,
                "--json",
            ])
        };
        let accepted = verify(NONCE);
        assert_eq!(accepted.code, Some(0), "{}{}", accepted.text(), accepted.stderr);
        let result: serde_json::Value = accepted.json();
        assert_eq!(result["submods"]["tpm"]["premeasure"]["signer"]["primary_of"], "null");
        assert_eq!(verify("00").code, Some(1));
        // Witness: tpm2-tools' own verifier.
        let print = ["-t", "TPMT_PUBLIC", "-f", "pem", &path("ak.pub")].map(str::to_owned);
        let pem = Command::new("tpm2_print").args(&print).output().expect("it starts").stdout;
        let pem = String::from_utf8_lossy(&pem).into_owned();
        let at = pem.find("-----BEGIN").expect("tpm2_print writes PEM");
        std::fs::write(path("ak.pem"), &pem[at..]).expect("writable");
        let check = ["-u", &path("ak.pem"), "-m", &path("quote.msg"), "-s", &path("quote.sig"), "-q", NONCE];
        tool(Command::new("tpm2_checkquote").args(check));
    }
    assert_eq!(tools("tpm2_pcrread", &[]), before, "quoting changes no PCR");
}

#[test]
fn a_tpm_that_is_not_there_is_an_error() {
    let folder = scratch().to_str().expect("text").to_owned();
    let run = premeasure([
        "quote",
        "--nonce",
        NONCE,
        "--pcrs",
        "sha256:4",
        "--tcti",
        "device:/nonexistent",
        "-o",
        &folder,
    ]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("/nonexistent"), "{}", run.stderr);
}
