//! Azure's HCL report (NV index 0x01400001): a hardware report whose report data is the hash of a JSON with the vTPM's
//! attestation key. Little-endian.
//!
//! Source: microsoft/openvmm `openhcl/openhcl_attestation_protocol` (`igvm_attest/get.rs`), and the real reports that the
//! tests read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::attest::key::AttestationKey;
use crate::attest::public_area::{KeyParameters, rsa_public_key};
use crate::bytes::Reader;
use crate::tcg::{Digest, HashAlgorithm};

/// Bytes of the hardware report's field: an SNP report; a TDREPORT is shorter and padded.
const HARDWARE_REPORT: u64 = 1184;
/// `IgvmReportType` and where the report has its report data.
const KINDS: [(u32, &str, usize); 2] = [(2, "SEV-SNP", 0x50), (4, "TDX", 0x80)];

type Problem = String;

/// A report whose parts fit each other. Who signed the hardware report is not looked at.
#[derive(Debug)]
pub(super) struct HclReport<'a> {
    /// The technology, by name.
    pub(super) hardware: &'static str,
    json: &'a [u8],
}

#[derive(Deserialize)]
struct Runtime {
    keys: Vec<Jwk>,
}

/// RFC 7517, the members of an RSA key.
#[derive(Deserialize)]
struct Jwk {
    kid: String,
    kty: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
}

impl<'a> HclReport<'a> {
    /// Reads a report and checks that its report data is the hash of its JSON.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Problem> {
        let text = |error: crate::bytes::ParseError| format!("HCL report: {error}");
        let mut reader = Reader::new(bytes);
        if reader.take(4, "signature").map_err(text)? != b"HCLA" {
            return Err("HCL report: signature is not HCLA".to_owned());
        }
        reader.take(28, "header").map_err(text)?;
        let report = reader.take(HARDWARE_REPORT, "hardware report").map_err(text)?;
        reader.u32("data_size").map_err(text)?;
        reader.u32("version").map_err(text)?;
        let kind = reader.u32("report_type").map_err(text)?;
        let hash = reader.u32("report_data_hash_type").map_err(text)?;
        let length = reader.u32("variable_data_size").map_err(text)?;
        let json = reader.take(length.into(), "variable_data").map_err(text)?;
        let (_, hardware, at) = KINDS
            .into_iter()
            .find(|(number, ..)| *number == kind)
            .ok_or_else(|| format!("HCL report: report_type is {kind}, expected 2 (SNP) or 4 (TDX)"))?;
        if hash != 1 {
            return Err(format!("HCL report: report_data_hash_type is {hash}, expected 1 (SHA-256)"));
        }
        let digest = Digest::of(HashAlgorithm::Sha256, json);
        if !report.get(at..).is_some_and(|data| data.starts_with(digest.as_bytes())) {
            return Err("HCL report: the report data is not the hash of the runtime data".to_owned());
        }
        Ok(Self { hardware, json })
    }

    /// The key `HCLAkPub`.
    pub(super) fn attestation_key(&self) -> Result<Box<AttestationKey>, Problem> {
        let runtime: Runtime =
            serde_json::from_slice(self.json).map_err(|error| format!("runtime data: {error}"))?;
        let mut keys = runtime.keys.iter().filter(|key| key.kid == "HCLAkPub" && key.kty == "RSA");
        let (Some(key), None) = (keys.next(), keys.next()) else {
            return Err("runtime data: there is not exactly one RSA key HCLAkPub".to_owned());
        };
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        let exponent = decode(&key.e).and_then(|bytes| {
            let padding = 4_usize.checked_sub(bytes.len())?;
            let padded: Vec<u8> = std::iter::repeat_n(0, padding).chain(bytes).collect();
            padded.try_into().ok().map(u32::from_be_bytes)
        });
        let parameters =
            decode(&key.n).zip(exponent).and_then(|(modulus, exponent)| rsa_public_key(&modulus, exponent));
        let parameters = parameters.ok_or("runtime data: HCLAkPub is no RSA key")?;
        let key = AttestationKey::from_parameters(KeyParameters::Rsa(parameters));
        key.map(Box::new).map_err(|error| format!("HCLAkPub: {error}"))
    }
}
