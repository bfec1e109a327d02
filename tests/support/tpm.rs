//! swtpm, through tpm2-tools.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{scratch, tool};

/// A TPM with nothing in it, which ends with the test.
pub(crate) struct Tpm {
    process: Child,
    pub(crate) folder: PathBuf,
    pub(crate) tcti: String,
}

impl Tpm {
    /// Starts one whose files are in a fresh folder of this name below the tests' scratch.
    pub(crate) fn start(name: &str) -> Self {
        let folder = scratch().join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        // A socket's path may have some hundred bytes only, which scratch folders can exceed.
        let sockets = tempfile::tempdir().expect("a temporary folder").keep();
        let (server, control) = (sockets.join("s"), sockets.join("s.ctrl"));
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={}", folder.display())])
            .args(["--server", &format!("type=unixio,path={}", server.display())])
            .args(["--ctrl", &format!("type=unixio,path={}", control.display())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("swtpm starts");
        for _ in 0..100 {
            if server.exists() && control.exists() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Self { process, folder, tcti: format!("swtpm:path={}", server.display()) }
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("TPM2TOOLS_TCTI", &self.tcti)
            .env("TSS2_LOG", "all+none")
            .current_dir(&self.folder);
        // Without a resource manager, what a command loads has to be thrown out before the next one.
        command
    }

    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = tool(&mut self.command(program, arguments));
        for what in ["-t", "-l"] {
            let _ = self.command("tpm2_flushcontext", &[what]).output();
        }
        output
    }

    pub(crate) fn fails(&self, program: &str, arguments: &[&str]) -> bool {
        let failed = !self.command(program, arguments).output().expect("it starts").status.success();
        for what in ["-t", "-l"] {
            let _ = self.command("tpm2_flushcontext", &[what]).output();
        }
        failed
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
