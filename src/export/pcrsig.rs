//! `.pcrsig`: signed PCR policies for PCR 11 in each phase (`systemd-measure sign`, `measure.c`).

use std::collections::BTreeMap;

use super::exporter::{Alternatives, ExportError, Exporter, Output, StageRule};
use super::json::{list, object};
use super::options::{OptionError, OptionKind, OptionSpec};
use super::phases::{DEFAULT_PHASES, KERNEL_BOOT};
use super::policy_digest::{Policy, phase_policies};
use super::release::Export;
use crate::sign::PublicKey;

const SIGNATURES: OptionSpec = OptionSpec::text(
    "signatures",
    "FILE",
    "signatures made elsewhere: JSON, digest of --format policy-digest in hexadecimal to signature in base64",
)
.kind(OptionKind::File);
const PUBLIC_KEY: OptionSpec =
    OptionSpec::text("public-key", "FILE", "public key (PEM) that --signatures were made with")
        .kind(OptionKind::File);

/// Signed policies.
pub(super) const EXPORTER: Exporter = Exporter {
    name: "pcrsig",
    summary: "signed policies for PCR 11, as systemd-measure sign makes them",
    reader: "systemd-cryptsetup, systemd-creds, through the UKI's section .pcrsig",
    fed: "ukify build --pcrsig=@FILE, or /etc/systemd/tpm2-pcr-signature.json",
    limits: &[
        "PCR 11 only",
        "RSA keys only: the TPM verifies RSASSA-PKCS1-v1_5 with SHA-256, whatever the bank",
        "a UKI with profiles needs the section of each profile to carry that profile's digests: choose with --variant",
    ],
    stage: StageRule::Several(DEFAULT_PHASES),
    pcrs: &[KERNEL_BOOT],
    alternatives: Alternatives::Joint,
    options: &[SIGNATURES, PUBLIC_KEY],
    signs: true,
    write,
    ..Exporter::BASE
};

fn write(export: &Export<'_>) -> Result<Output, ExportError> {
    let warnings = one_profile(export)?;
    let source = Source::of(export)?;
    let fingerprint = source.key.rsa_fingerprint()?;
    let mut banks = Vec::new();
    for bank in &export.banks {
        let mut entries = Vec::new();
        for policy in phase_policies(export, *bank)? {
            let signature = source.signature(export, &policy)?;
            // A signature that does not verify would only be noticed when the disk does not unlock.
            source.key.verify_rsa_pkcs1_sha256(policy.digest.as_bytes(), &signature)?;
            entries.push(object([
                ("pcrs", list(policy.pcrs.iter().copied())),
                ("pkfp", fingerprint.as_str().into()),
                ("pol", policy.digest.to_string().into()),
                ("sig", super::base64(&signature).into()),
            ]));
        }
        banks.push((bank.name(), list(entries)));
    }
    // The reader is a C string in a PE section: no trailing newline matters, a compact text does.
    let text = object(banks).compact() + "\n";
    Ok(Output { warnings, ..Output::single("tpm2-pcr-signature.json", text) })
}

/// What is sealed to the key for one profile opens in every profile whose digests stand in the same file, so nobody gets that
/// without asking for it; who asked is told.
fn one_profile(export: &Export<'_>) -> Result<Vec<String>, ExportError> {
    let mut profiles: Vec<u64> = export.releases.iter().map(|release| release.scenario.profile).collect();
    profiles.sort_unstable();
    profiles.dedup();
    if profiles.len() < 2 {
        return Ok(Vec::new());
    }
    let profiles = profiles.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    if export.chosen_variants {
        return Ok(vec![format!(
            "the signatures of profiles {profiles} stand in one file: what is sealed to the key for one opens in all of them"
        )]);
    }
    let ids: Vec<&str> = export.releases.iter().map(|release| release.id.as_str()).collect();
    Err(export.inexpressible(format!(
        "the boots are of different profiles ({profiles}): in one file, what is sealed for one opens in all; write a file for \
         each profile with --variant ({})",
        ids.join(", ")
    )))
}

/// Where signatures come from: a key, or somebody who has one.
struct Source {
    key: PublicKey,
    /// By digest, in lower-case hexadecimal; without it the key at hand signs.
    made_elsewhere: Option<BTreeMap<String, String>>,
}

impl Source {
    fn of(export: &Export<'_>) -> Result<Self, ExportError> {
        let signatures = export.options.values("signatures").last();
        let Some(signatures) = signatures else {
            let signer = export.signer.ok_or(OptionError::Missing {
                format: EXPORTER.name,
                name: "key",
                value: "PEM",
                help: "RSA key that signs; or --signatures and --public-key from an offline signer",
            })?;
            return Ok(Self { key: signer.public_key()?, made_elsewhere: None });
        };
        let public_key = export.options.values("public-key").last().ok_or(OptionError::Missing {
            format: EXPORTER.name,
            name: PUBLIC_KEY.name,
            value: PUBLIC_KEY.value,
            help: PUBLIC_KEY.help,
        })?;
        let made_elsewhere =
            serde_json::from_slice(&signatures.content).map_err(|error| ExportError::OptionFile {
                option: "signatures",
                file: signatures.text.clone(),
                problem: error.to_string(),
            })?;
        Ok(Self { key: PublicKey::from_pem(&public_key.content)?, made_elsewhere: Some(made_elsewhere) })
    }

    fn signature(&self, export: &Export<'_>, policy: &Policy) -> Result<Vec<u8>, ExportError> {
        let Some(known) = &self.made_elsewhere else {
            let signer = export.signer.ok_or(ExportError::NoDocument)?;
            return Ok(signer.sign_rsa_pkcs1_sha256(policy.digest.as_bytes())?);
        };
        let digest = policy.digest.to_string();
        let text = known
            .get(&digest)
            .ok_or_else(|| export.inexpressible(format!("--signatures has none for {digest}")))?;
        super::from_base64(text)
            .ok_or_else(|| export.inexpressible(format!("--signatures: that of {digest} is not base64")))
    }
}
