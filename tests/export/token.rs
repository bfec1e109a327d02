//! Keys on a token: Debian's softhsm2, with a token made for the test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::documents::{Doc, exported, folder, text};
use crate::signing::{key, openssl_verify, verify};
use crate::support::{find_tool, read, skipped_without, tool};

const TOOLS: &[&str] = &["softhsm2-util", "openssl"];
const PIN: &str = "the-pin";

/// A token with the test keys, and a second one that is empty.
struct Token {
    folder: PathBuf,
    configuration: PathBuf,
    module: PathBuf,
}

impl Token {
    fn new(name: &str) -> Self {
        let folder = folder(name);
        let tokens = folder.join("tokens");
        std::fs::create_dir(&tokens).expect("writable");
        let configuration = folder.join("softhsm2.conf");
        std::fs::write(&configuration, format!("directories.tokendir = {}\n", tokens.display()))
            .expect("writable");
        let token = Self { folder, configuration, module: module() };
        for label in ["keys", "other"] {
            token.util(&["--init-token", "--free", "--label", label, "--so-pin", "so-pin", "--pin", PIN]);
        }
        for (name, id) in [("p256", "01"), ("p384", "02"), ("rsa-2048", "03")] {
            let pem = key(&format!("{name}.pem"));
            token.util(&[
                "--import",
                text(&pem),
                "--token",
                "keys",
                "--label",
                name,
                "--id",
                id,
                "--pin",
                PIN,
            ]);
        }
        token
    }

    fn util(&self, arguments: &[&str]) {
        tool(Command::new("softhsm2-util").args(arguments).env("SOFTHSM2_CONF", &self.configuration));
    }

    /// `premeasure` with the token's module and the PIN in its environment.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_premeasure"));
        command
            .args(arguments)
            .args(["--pkcs11-module", text(&self.module), "--passphrase-env", "TEST_PIN"])
            .env("SOFTHSM2_CONF", &self.configuration)
            .env("TEST_PIN", PIN);
        command
    }

    fn sign(&self, uri: &str, form: &str, to: &Path) -> Output {
        let document = Doc::Tiny257.path();
        let mut command =
            self.command(&["sign", text(&document), "--as", form, "--key", uri, "-o", text(to)]);
        command.output().expect("it starts")
    }

    /// The error of a signature that is not made.
    fn refused(&self, uri: &str) -> String {
        let to = self.folder.join("never");
        let output = self.sign(uri, "cosign", &to);
        assert_eq!(output.status.code(), Some(2), "{uri}");
        assert!(!to.exists(), "{uri}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// The module lies beside the tool's folder, in one that differs between architectures.
fn module() -> PathBuf {
    let usr = find_tool("softhsm2-util")
        .expect("it is there")
        .parent()
        .and_then(Path::parent)
        .expect("usr")
        .to_owned();
    let module = usr.join("lib/softhsm/libsofthsm2.so");
    assert!(module.is_file(), "{} is missing", module.display());
    module
}

/// Witness: OpenSSL verifies what the token signed, with the public keys that belong to the imported ones.
#[test]
fn signatures_of_a_token_verify_here_and_with_openssl() {
    if skipped_without(TOOLS) {
        return;
    }
    let token = Token::new("token-sign");
    let document = Doc::Tiny257.path();
    for (name, id) in [("p256", "%01"), ("p384", "%02"), ("rsa-2048", "%03")] {
        for form in ["dsse", "cosign", "bundle", "bundle-dsse"] {
            let to = token.folder.join(format!("{name}-{form}"));
            let output = token.sign(&format!("pkcs11:token=keys;object={name};type=private"), form, &to);
            assert_eq!(output.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(verify(&document, &to, &format!("{name}.pub")).code, Some(0), "{name} {form}");
            let other = if name == "p256" { "p384.pub" } else { "p256.pub" };
            assert_eq!(verify(&document, &to, other).code, Some(1), "{name} {form}: another key");
        }
        let signature = token.folder.join("by-id");
        let output = token.sign(&format!("pkcs11:token=keys;id={id}"), "cosign", &signature);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        openssl_verify(name, &document, &signature);
    }
}

/// RSASSA-PKCS1-v1_5 is deterministic: the token signs TPM policies as the key in a file does.
#[test]
fn a_token_signs_the_same_pcrsig() {
    if skipped_without(TOOLS) {
        return;
    }
    let token = Token::new("token-pcrsig");
    let (document, to) = (Doc::Tiny257.path(), token.folder.join("pcrsig"));
    let mut export = token.command(&["export", text(&document), "--format", "pcrsig", "-o", text(&to)]);
    let output = export.args(["--key", "pkcs11:token=keys;object=rsa-2048"]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let private = key("rsa-2048.pem");
    assert_eq!(read(&to), exported(&[Doc::Tiny257], &["--format", "pcrsig", "--key", text(&private)]));
}

#[test]
fn what_does_not_fit_the_token_is_refused() {
    if skipped_without(TOOLS) {
        return;
    }
    let token = Token::new("token-refused");
    for (uri, expected) in [
        ("pkcs11:token=keys", "3 private keys fit the URI"),
        ("pkcs11:object=p256", "2 tokens fit the URI"),
        ("pkcs11:token=keys;object=nothing", "no private keys on the module fit"),
        ("pkcs11:token=absent;object=p256", "no tokens on the module fit"),
        ("pkcs11:token=keys;object=p256?pin-value=the-pin", "a PIN is no part of the URI"),
        ("pkcs11:token=keys;object=p256?module-path=/tmp/x.so", "--pkcs11-module"),
    ] {
        let stderr = token.refused(uri);
        assert!(stderr.contains(expected), "{uri}: {stderr}");
    }
    let (document, uri) = (Doc::Tiny257.path(), "pkcs11:token=keys;object=p256");
    let mut wrong = token.command(&["sign", text(&document), "--key", uri]);
    let wrong = wrong.env("TEST_PIN", "another").output().expect("it starts");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(wrong.stdout.is_empty() && String::from_utf8_lossy(&wrong.stderr).contains("PKCS #11"));
    let run = crate::support::premeasure(["sign", text(&document), "--key", uri]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("needs --pkcs11-module PATH"), "{}", run.stderr);
    let missing = token.folder.join("no-module.so");
    let run = crate::support::premeasure([
        "sign",
        text(&document),
        "--key",
        uri,
        "--pkcs11-module",
        text(&missing),
    ]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("no-module.so"), "{}", run.stderr);
}

/// The PIN by file descriptor; a final newline does not count.
#[test]
fn the_pin_comes_by_file_descriptor() {
    if skipped_without(TOOLS) {
        return;
    }
    let token = Token::new("token-pin");
    let (document, pin, to) = (Doc::Tiny257.path(), token.folder.join("pin"), token.folder.join("signature"));
    std::fs::write(&pin, format!("{PIN}\n")).expect("writable");
    let script = "exec \"$0\" sign \"$1\" --as cosign --key 'pkcs11:token=keys;object=p384' --pkcs11-module \"$2\" -o \"$3\" \
                  --passphrase-fd 3 3<\"$4\"";
    let run = Command::new("sh")
        .args([
            "-c",
            script,
            env!("CARGO_BIN_EXE_premeasure"),
            text(&document),
            text(&token.module),
            text(&to),
            text(&pin),
        ])
        .env("SOFTHSM2_CONF", &token.configuration)
        .output()
        .expect("sh starts");
    assert_eq!(run.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(verify(&document, &to, "p384.pub").code, Some(0));
}
