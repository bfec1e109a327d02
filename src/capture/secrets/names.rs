//! Names of parameters whose value is a secret.

use super::find;

/// Names of parameters whose value is a secret, or part of them.
const SECRET_KEYS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    // systemd.set_credential= of systemd(1), io.systemd.credential: of systemd-stub(7).
    "credential",
    "apikey",
    "api_key",
    "api-key",
    "access_key",
    "access-key",
    "accesskey",
    "private",
    "psk",
    "auth",
];

/// What the last part of such a name ends with (`rootpw`, `inst.rootpw`, `mysql.pass`, `rd.znet_pass`, `cifspass`, `pwd`).
const SECRET_ENDINGS: &[&str] = &["pass", "passcode", "pw", "pwd", "pin"];

/// Words that end so and mean something else.
const NO_SECRETS: &[&str] = &["bypass", "compass", "spin"];

/// What stands behind such a name where it only switches something, as `tpm2-pin=yes` of crypttab(5).
const SWITCHES: &[&str] = &["", "0", "1", "yes", "no", "true", "false", "on", "off", "auto", "none"];

/// Shortest value of a name that ends with `key` and is taken for the key: `rd.luks.key=/path` names a file.
const MIN_KEY: usize = 8;

/// A parameter of this name, in lower case, holds a secret in this value.
pub(super) fn is_secret(key: &str, value: &[u8]) -> bool {
    SECRET_KEYS.iter().any(|secret| key.contains(secret)) || ends_like_a_secret(key, value)
}

/// The last part of the name is one of a secret's, and the value is none that only switches something or names a file.
fn ends_like_a_secret(key: &str, value: &[u8]) -> bool {
    let last = key.rsplit(['.', '_', '-', ':', ',']).next().unwrap_or(key);
    let value = value.trim_ascii_end();
    let value = value.strip_prefix(b"\"").unwrap_or(value);
    let value = value.strip_suffix(b"\"").unwrap_or(value).to_ascii_lowercase();
    if NO_SECRETS.contains(&last) || SWITCHES.iter().any(|switch| value == switch.as_bytes()) {
        return false;
    }
    let is_path = value.first() == Some(&b'/') || find(&value, b":/", 0).is_some();
    SECRET_ENDINGS.iter().any(|ending| last.ends_with(ending))
        || (last.ends_with("key") && value.len() >= MIN_KEY && !is_path)
}
