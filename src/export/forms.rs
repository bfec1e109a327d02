//! What the text of an option has to look like, so that a slip of the pen is refused here and not by a cluster or a cloud.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use crate::attest::Timestamp;

/// The form of an option's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Any text that is not empty and has no control characters.
    Text,
    /// Name of a Kubernetes object (RFC 1123 subdomain) that leaves room for a suffix of so many bytes.
    ObjectName(usize),
    /// Name of a Kubernetes namespace (RFC 1123 label).
    Namespace,
    /// Name of reference values in RVPS, from which the name of a Kubernetes object is made with a suffix of so many bytes.
    ValuesName(usize),
    /// A moment (RFC 3339).
    Time,
    /// A URI with its scheme (RFC 3986).
    Uri,
    /// A UUID (RFC 9562).
    Uuid,
    /// A SHA-256 digest in hexadecimal.
    Sha256,
    /// Reference of a container image with its digest.
    ImageDigest,
    /// A name and a SHA-256 digest.
    Subject,
    /// Label of a partition.
    PartitionLabel,
    /// Somebody in an account of AWS.
    Principal,
    /// A KMS key, or all of them.
    KmsKey,
    /// Semantic version with a leading v, without build metadata.
    Version,
    /// A branch as Constellation's API spells it, or `-`.
    Branch,
}

impl Form {
    /// Why a text does not have the form; `None` when it does.
    #[must_use]
    pub fn problem(self, text: &str) -> Option<String> {
        if text.is_empty() || text.chars().any(char::is_control) {
            return Some("expected a text that is not empty and has no control characters".to_owned());
        }
        (!self.fits(text)).then(|| format!("expected {}", self.expected()))
    }

    fn fits(self, text: &str) -> bool {
        match self {
            Self::Text => true,
            Self::ObjectName(suffix) => is_subdomain(text, suffix),
            Self::Namespace => is_label(text),
            Self::ValuesName(suffix) => is_subdomain(&text.replace('_', "-"), suffix) && !text.contains('.'),
            Self::Time => text.parse::<Timestamp>().is_ok(),
            Self::Uri => is_uri(text),
            Self::Uuid => is_uuid(text),
            Self::Sha256 => is_sha256(text),
            Self::ImageDigest => text.rsplit_once("@sha256:").is_some_and(|(name, digest)| {
                let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-/:[]".contains(&c);
                !name.is_empty() && name.bytes().all(plain) && is_sha256(digest)
            }),
            Self::Subject => text
                .rsplit_once("=sha256:")
                .is_some_and(|(name, digest)| !name.is_empty() && is_sha256(digest)),
            Self::PartitionLabel => {
                text.len() <= 36 && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"_-.".contains(&c))
            }
            Self::Principal => is_principal(text),
            Self::KmsKey => text == "*" || is_kms_key(text),
            Self::Version => text.strip_prefix('v').is_some_and(is_semantic_version),
            Self::Branch => text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-'),
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::ObjectName(_) => {
                "lower case letters, digits, - and ., as in names of Kubernetes objects: each part between dots begins and \
                 ends with a letter or digit"
            }
            Self::Namespace => {
                "at most 63 lower case letters, digits and -, beginning and ending with a letter or digit, as in names of \
                 Kubernetes namespaces"
            }
            Self::ValuesName(_) => {
                "lower case letters, digits, _ or -, beginning and ending with a letter or digit"
            }
            Self::Time => "a date and time of RFC 3339, as in 2026-02-03T15:04:05Z",
            Self::Uri => "a URI with its scheme, as in https://example.org/policy or urn:example:policy",
            Self::Uuid => "a UUID, as in 2f6f8b1e-6d3c-4f57-9a1e-0c5d7a3b9e91",
            Self::Sha256 => "64 hexadecimal digits",
            Self::ImageDigest => "a reference with @sha256: and 64 hexadecimal digits",
            Self::Subject => "NAME=sha256: and 64 hexadecimal digits",
            Self::PartitionLabel => "at most 36 letters, digits, _, - and .",
            Self::Principal => {
                "an account of 12 digits, or an ARN of an account (arn:aws:iam::111122223333:root), of a user, of a role \
                 (arn:aws:iam::111122223333:role/NAME) or of a session (arn:aws:sts::...:assumed-role/...)"
            }
            Self::KmsKey => "* or a key's ARN, as in arn:aws:kms:eu-central-1:111122223333:key/ID",
            Self::Version => "v and a semantic version, as in v1.4.0 or v1.5.0-pre.1",
            Self::Branch => "letters, digits and -, or - alone for releases",
        }
    }
}

fn is_label(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    text.len() <= 63 && text.bytes().all(inner) && !text.is_empty() && text.trim_matches('-') == text
}

/// Kubernetes limits the parts of an object's name only by the whole.
fn is_subdomain(text: &str, suffix: usize) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let part = |part: &str| !part.is_empty() && part.bytes().all(inner) && part.trim_matches('-') == part;
    text.len().saturating_add(suffix) <= 253 && text.split('.').all(part)
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_uri(text: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&c);
    text.split_once(':').is_some_and(|(scheme, rest)| {
        scheme.bytes().next().is_some_and(|first| first.is_ascii_alphabetic())
            && scheme.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c))
            && !rest.is_empty()
            && rest.bytes().all(allowed)
    })
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The parts of an ARN behind `arn:PARTITION:`.
fn arn(text: &str) -> Option<[&str; 4]> {
    let mut parts = text.splitn(6, ':');
    let (Some("arn"), Some(partition)) = (parts.next(), parts.next()) else { return None };
    let known = partition == "aws" || partition.starts_with("aws-");
    let parts: Vec<&str> = parts.collect();
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"+=,.@_-/".contains(&c);
    let parts: [&str; 4] = parts.try_into().ok()?;
    (known && parts.iter().all(|part| part.bytes().all(plain))).then_some(parts)
}

/// What an element `Principal` takes under `AWS`, without `*`: that would be anybody.
fn is_principal(text: &str) -> bool {
    let named = |resource: &str, kinds: &[&str]| {
        let mut parts = resource.split('/');
        parts.next().is_some_and(|kind| kinds.contains(&kind))
            && resource.contains('/')
            && parts.all(|part| !part.is_empty())
    };
    is_account(text)
        || arn(text).is_some_and(|[service, region, account, resource]| {
            region.is_empty()
                && is_account(account)
                && match service {
                    "iam" => resource == "root" || named(resource, &["user", "role"]),
                    "sts" => named(resource, &["assumed-role", "federated-user"]),
                    _ => false,
                }
        })
}

/// Aliases don't count as resources in policies.
fn is_kms_key(text: &str) -> bool {
    arn(text).is_some_and(|[service, region, account, resource]| {
        service == "kms"
            && !region.is_empty()
            && is_account(account)
            && resource.strip_prefix("key/").is_some_and(|id| !id.is_empty() && !id.contains('/'))
    })
}

/// Semantic Versioning 2.0.0; Constellation demands the canonical form, which has no build metadata.
fn is_semantic_version(text: &str) -> bool {
    let number = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'))
    };
    let identifier = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && (number(text) || !text.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let (core, pre) = match text.split_once('-') {
        Some((core, pre)) => (core, Some(pre)),
        None => (text, None),
    };
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|pre| pre.split('.').all(identifier))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the consumers' own rules take and refuse: Kubernetes' `validation` package, Go's `semver.IsValid` with
    /// `Canonical`, AWS' reference of the element Principal, RFC 3339, RFC 3986 and RFC 9562.
    #[test]
    fn forms_take_what_their_readers_take() {
        let hash = "0".repeat(64);
        let image = format!("registry.example.org:5000/os@sha256:{hash}");
        let (long, longest) = ("a".repeat(244), "a".repeat(243));
        let good: &[(Form, &[&str])] = &[
            (Form::ObjectName(10), &["a", "os-1.4.0", "1e3", &longest]),
            (Form::Namespace, &["default", "kube-system", "1"]),
            (Form::ValuesName(17), &["premeasure", "os_1-4"]),
            (Form::Time, &["2100-01-01T00:00:00Z", "2026-02-03T15:04:05+01:00"]),
            (Form::Uri, &["urn:premeasure:pcr-reference:v1", "tag:github.com/parallaxsecond,2023-03-03:tpm"]),
            (Form::Uuid, &["2F6F8B1E-6d3c-4f57-9a1e-0c5d7a3b9e91"]),
            (Form::ImageDigest, &[&image]),
            (Form::PartitionLabel, &["COS_PERSISTENT"]),
            (
                Form::Principal,
                &[
                    "111122223333",
                    "arn:aws:iam::111122223333:root",
                    "arn:aws-cn:iam::111122223333:role/service/os",
                    "arn:aws:sts::111122223333:assumed-role/os/i-0123",
                ],
            ),
            (Form::KmsKey, &["*", "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab"]),
            (Form::Version, &["v1.4.0", "v0.0.1", "v2.3.0-pre.0.20230101120000-abcdef-x", "v1.0.0--"]),
            (Form::Branch, &["-", "main", "feat-x"]),
        ];
        for (form, text) in good.iter().flat_map(|(form, texts)| texts.iter().map(move |text| (form, text))) {
            assert_eq!(form.problem(text), None, "{form:?} {text}");
        }
        let (short, dotless) = (format!("os@sha256:{}", "0".repeat(63)), format!("@sha256:{hash}"));
        let bad: &[(Form, &[&str])] = &[
            (Form::Text, &["", "a\nb", "\u{1b}[2J"]),
            (Form::ObjectName(10), &["", "-a", "a-", "a..b", "a.-b", "A", "a_b", &long]),
            (Form::Namespace, &["a.b", "-", &long]),
            (Form::ValuesName(17), &["_a", "a_", "a.b", "A"]),
            (Form::Time, &["tomorrow", "2026-13-01T00:00:00Z", "2026-02-03"]),
            (Form::Uri, &["no scheme", "plain", "1x:y", "urn:", "urn:a b"]),
            (Form::Uuid, &["2f6f8b1e6d3c4f579a1e0c5d7a3b9e91", "zf6f8b1e-6d3c-4f57-9a1e-0c5d7a3b9e91"]),
            (Form::ImageDigest, &[&short, &dotless, "os:latest"]),
            (Form::PartitionLabel, &["a b", &long]),
            (
                Form::Principal,
                &[
                    "*",
                    "me",
                    "1111222233334",
                    "arn:aws:iam::1:root",
                    "arn:aws:iam::111122223333:role/",
                    "arn:aws:iam::111122223333:role/*",
                    "arn:aws:ec2::111122223333:root",
                    "arn:aws:iam:eu-central-1:111122223333:root",
                ],
            ),
            (Form::KmsKey, &["key", "arn:aws:kms:eu-central-1:111122223333:alias/os"]),
            (
                Form::Version,
                &[
                    "1.4.0",
                    "v1.4",
                    "v01.4.0",
                    "v1.4.0+build",
                    "v1.4.0-",
                    "v1.4.0-01",
                    "v1.4.0-a..b",
                    "v1.4.0.1",
                ],
            ),
            (Form::Branch, &["a/b", "a.b"]),
        ];
        for (form, text) in bad.iter().flat_map(|(form, texts)| texts.iter().map(move |text| (form, text))) {
            assert!(form.problem(text).is_some(), "{form:?} {text}");
        }
    }
}
