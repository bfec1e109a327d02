//! swtpm, through tpm2-tools.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
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
        // A socket's path may have some hundred bytes only, which scratch folders can exceed.
        let sockets = tempfile::tempdir().expect("a temporary folder").keep();
        let (server, control) = (sockets.join("s"), sockets.join("s.ctrl"));
        let of = |path: &Path| format!("type=unixio,path={}", path.display());
        let tcti = format!("swtpm:path={}", server.display());
        Self::spawn(name, &of(&server), &of(&control), tcti, || server.exists() && control.exists())
    }

    /// The same on TCP ports: what tss-esapi can name.
    pub(crate) fn on_tcp(name: &str) -> Self {
        // tpm2-tss finds the control channel one port above.
        let port = (0..100).find_map(|_| {
            let one = TcpListener::bind("127.0.0.1:0").ok()?;
            let port = one.local_addr().ok()?.port();
            TcpListener::bind(("127.0.0.1", port.checked_add(1)?)).ok().map(|_| port)
        });
        let port = port.expect("two free ports");
        let server = format!("type=tcp,port={port},bindaddr=127.0.0.1,disconnect");
        let control = format!("type=tcp,port={},bindaddr=127.0.0.1", port + 1);
        let tcti = format!("swtpm:host=127.0.0.1,port={port}");
        Self::spawn(name, &server, &control, tcti, || TcpStream::connect(("127.0.0.1", port + 1)).is_ok())
    }

    fn spawn(name: &str, server: &str, control: &str, tcti: String, ready: impl Fn() -> bool) -> Self {
        let folder = scratch().join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={}", folder.display())])
            .args(["--server", server, "--ctrl", control])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("swtpm starts");
        for _ in 0..100 {
            if ready() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Self { process, folder, tcti }
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
