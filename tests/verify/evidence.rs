//! Evidence of clouds and of other tools: real samples from the corpus, and a protobuf that Google's library wrote.

use std::path::PathBuf;

use premeasure::attest::{
    Anchors, Appraisal, AttestationKey, Code, Evidence, Policy, Quote, QuoteEvidence, Selection, Timestamp,
    Verifier, read_certificates, read_pcr_values,
};
use premeasure::import::{Accepts, PolicyValues};
use premeasure::tcg::{Digest, HashAlgorithm, PcrIndex, extend};
use serde_json::Value;

use crate::forge::{log, policy};
use crate::recorded::recorded;
use crate::support::{read, say};

const SHA256: HashAlgorithm = HashAlgorithm::Sha256;

/// The folder of the corpus with clouds; says so when there is none.
fn cloud(name: &str) -> Option<PathBuf> {
    let corpus = std::env::var_os("PREMEASURE_CORPUS").map(PathBuf::from);
    if corpus.is_none() {
        say(&format!("SKIPPED {name}: PREMEASURE_CORPUS is not set"));
    }
    corpus.map(|corpus| corpus.join("cloud").join(name))
}

/// A policy of one value.
fn expects(pcr: u32, bank: HashAlgorithm, value: &str) -> Policy {
    let pcr = PcrIndex::try_from(pcr).expect("a PCR");
    let digest = Digest::from_bytes(bank, &hex::decode(value).expect("hexadecimal")).expect("a digest");
    let values = PolicyValues { format: "test", accepts: Accepts::PerPcr([(pcr, [digest].into())].into()) };
    Policy::from_values(&values, Digest::zero(SHA256), &Selection::default()).expect("a policy")
}

#[track_caller]
fn accepted(appraisal: &Appraisal) {
    assert!(appraisal.is_affirming(), "{:#?}", appraisal.refusals);
}

#[track_caller]
fn refused(appraisal: &Appraisal, code: Code) {
    let codes: Vec<Code> = appraisal.refusals.iter().map(|refusal| refusal.code).collect();
    assert_eq!(codes, [code], "{:#?}", appraisal.refusals);
}

fn text(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

/// What PCR 6 of an Azure VM holds, from the id in its HCL report: the reader of this test, not the one under test.
fn pcr6(report: &[u8]) -> String {
    let start = report.windows(7).position(|window| window == b"{\"keys\"").expect("JSON");
    let json: Value = serde_json::Deserializer::from_slice(&report[start..])
        .into_iter()
        .next()
        .expect("JSON")
        .expect("JSON");
    let id = json["vm-configuration"]["vmUniqueId"].as_str().expect("an id").to_uppercase();
    let measured = [format!("UUID: {id}").into_bytes(), vec![0; 4]];
    let value =
        measured.iter().fold(Digest::zero(SHA256), |value, data| extend(value, Digest::of(SHA256, data)));
    value.to_string()
}

fn report_of(value: &Value) -> Vec<u8> {
    use base64::Engine as _;
    let value = value.get("evidence").unwrap_or(value);
    let report = value.get("hcl_report").or_else(|| value.get("report")).expect("a report");
    match report.as_str() {
        Some(text) => base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .expect("base64"),
        None => serde_json::from_value(report.clone()).expect("bytes"),
    }
}

#[test]
fn quotes_of_azure_confidential_vms() {
    let names = [
        "azure-snp-early",
        "azure-snp-live",
        "azure-snp-milan-2026-06",
        "azure-snp-trustee-genoa",
        "azure-snp-trustee-v0",
        "azure-snp-trustee-v1",
        "azure-snp-trustee-v2",
        "azure-tdx-openhcl-live",
        "azure-tdx-trustee-v1",
    ];
    let mut fresh = 0;
    for name in names {
        let Some(path) = cloud(&format!("{name}.json")) else { return };
        let bytes = read(path);
        let report = report_of(&text(&bytes));
        let evidence = Evidence::read(&bytes).expect("evidence");
        assert_eq!(evidence.kind, "azure-vtpm");
        let nonce = Quote::read(&evidence.quotes[0].message).expect("a quote").extra_data.to_vec();
        let pinned = evidence.claimed_key.as_deref().cloned();
        let verifier = |pinned| Verifier {
            policy: expects(6, SHA256, &pcr6(&report)),
            pinned,
            anchors: Anchors::default(),
            at: Timestamp(1_780_000_000),
        };
        if nonce.is_empty() {
            // Made without a nonce: anybody may have kept it since.
            refused(&verifier(pinned).appraise(&evidence, &nonce), Code::NonceMismatch);
            continue;
        }
        fresh += 1;
        accepted(&verifier(pinned.clone()).appraise(&evidence, &nonce));
        refused(&verifier(pinned.clone()).appraise(&evidence, b"another nonce"), Code::NonceMismatch);
        // Evidence is no trust anchor: another key is pinned, or none.
        refused(&verifier(None).appraise(&evidence, &nonce), Code::KeyUntrusted);
        let other = AttestationKey::read(
            &hex::decode(&recorded().keys["rsa2048:rsassa-sha256"].public).expect("hexadecimal"),
        );
        refused(&verifier(other.ok()).appraise(&evidence, &nonce), Code::EvidenceUnbound);
        let mut changed = evidence.clone();
        changed.quotes[0].message.to_mut()[40] ^= 1;
        assert!(!verifier(pinned).appraise(&changed, &nonce).is_affirming());
    }
    assert!(fresh >= 5, "{fresh}");
}

/// The keys of the JSON are bound to the hardware report by its report data.
#[test]
fn an_hcl_report_with_another_key_is_refused() {
    let Some(path) = cloud("azure-snp-trustee-v0.json") else { return };
    let mut value = text(&read(path));
    let mut report = report_of(&value);
    let at = report.windows(8).position(|window| window == b"HCLAkPub").expect("the key") + 60;
    report[at] ^= 1;
    value["report"] = serde_json::to_value(report).expect("JSON");
    let bytes = serde_json::to_vec(&value).expect("JSON");
    assert_eq!(Evidence::read(&bytes).expect_err("changed").code, Code::EvidenceMalformed);
}

/// Witness of the value: the table of shim's and the templates' measurements, recomputed beside the sample.
#[test]
fn a_quote_of_azure_trusted_launch() {
    let Some(folder) = cloud("azure-trusted-launch-2026-07-27") else { return };
    let message = read(folder.join("quote.msg"));
    let selection = Quote::read(&message).expect("a quote").selection;
    let values = read_pcr_values(&read(folder.join("pcrs.bin")), &selection).expect("values");
    let quote = QuoteEvidence {
        message: message.into(),
        signature: read(folder.join("quote.sig")).into(),
        values: Some(values),
    };
    let nonce = String::from_utf8(read(folder.join("nonce.hex"))).expect("text");
    let nonce = hex::decode(nonce.trim()).expect("hexadecimal");
    let verifier = |key: &str| Verifier {
        policy: expects(7, SHA256, "f014e5cbfa297ee787a976abc51bc1d67e23e1b9e4a60128a1106dd0adef0c5b"),
        pinned: Some(AttestationKey::read(&read(folder.join(key))).expect("a key")),
        anchors: Anchors::default(),
        at: "2026-07-27T12:00:00Z".parse().expect("a time"),
    };
    let evidence = Evidence::of_quote(quote, Vec::new());
    accepted(&verifier("ak.pub").appraise(&evidence, &nonce));
    // That certificate is of Azure's own key, which did not make this quote.
    let wrong = verifier("akcert_0x01C101D0.der").appraise(&evidence, &nonce);
    assert!(wrong.has(Code::SignatureInvalid) || wrong.has(Code::CertificateExpired), "{:?}", wrong.refusals);
}

/// Witness of the values: PCR 0 follows from the firmware's version and the technology.
#[test]
fn quotes_of_gcp() {
    let samples = [
        (
            "gcp-sev-ubuntu-sb-on-2026-02-02.json",
            "a0b5ff3383a1116bd7dc6df177c0c2d433b9ee1813ea958fa5d166a202cb2a85",
        ),
        (
            "gcp-tdx-ubuntu-sb-on-2026-02-03.json",
            "0cca9ec161b09288802e5a112255d21340ed5b797f5fe29cecccfd8f67b9f802",
        ),
    ];
    for (name, value) in samples {
        let Some(path) = cloud(name) else { return };
        let bytes = read(path);
        let json = text(&bytes);
        let nonce = hex::decode(json["nonce"].as_str().expect("a nonce")).expect("hexadecimal");
        let chain = json["attestation"]["gcp"]["ak_cert_chain"].as_str().expect("a chain");
        let root = read_certificates(chain.as_bytes()).expect("certificates").pop().expect("a root");
        let fingerprint = Digest::of(SHA256, &root).to_string();
        assert_eq!(fingerprint, "594759594b9b61524f6c8ef668f7177f7b9066bc0674f2f49fe9e052be78beb2");
        let mut anchors = Anchors::default();
        anchors.add(&root).expect("an anchor");
        let evidence = Evidence::read(&bytes).expect("evidence");
        assert_eq!(evidence.kind, "vaportpm");
        let policy = expects(0, SHA256, value);
        let verifier = |at: &str, anchors: &Anchors| Verifier {
            policy: policy.clone(),
            pinned: None,
            anchors: anchors.clone(),
            at: at.parse().expect("a time"),
        };
        accepted(&verifier("2026-02-04T00:00:00Z", &anchors).appraise(&evidence, &nonce));
        refused(
            &verifier("2026-02-04T00:00:00Z", &anchors).appraise(&evidence, &nonce[1..]),
            Code::NonceMismatch,
        );
        refused(
            &verifier("2020-01-01T00:00:00Z", &anchors).appraise(&evidence, &nonce),
            Code::CertificateExpired,
        );
        refused(
            &verifier("2026-02-04T00:00:00Z", &Anchors::default()).appraise(&evidence, &nonce),
            Code::KeyUntrusted,
        );
        let mut no_chain = evidence.clone();
        no_chain.intermediates.clear();
        refused(&verifier("2026-02-04T00:00:00Z", &anchors).appraise(&no_chain, &nonce), Code::KeyUntrusted);
    }
}

/// Witness of the value: PCR 0 of AWS machines without SNP, published since 2023.
#[test]
fn a_document_of_aws_nitro_tpm() {
    const PCR0: &str =
        "6e901b16932f6e036747d7a57696e4a2cc864008ebc016826ca1d7bd42ab5ac8286ccf49cde6c0284cbc4b63d978a2ec";
    let Some(path) = cloud("aws-nitrotpm-2026-02-03.cose") else { return };
    let json = read(path.with_extension("json"));
    let document = read(path);
    let nonce = hex::decode(text(&json)["nonce"].as_str().expect("a nonce")).expect("hexadecimal");
    let mut anchors = Anchors::default();
    anchors.add(&root_of(&document)).expect("an anchor");
    let verifier = |at: &str| Verifier {
        policy: expects(0, HashAlgorithm::Sha384, PCR0),
        pinned: None,
        anchors: anchors.clone(),
        at: at.parse().expect("a time"),
    };
    let milliseconds: u64 =
        member(&document, "timestamp").as_integer().expect("a number").try_into().expect("positive");
    let at = Timestamp(milliseconds / 1000).to_string();
    // The document alone, and with the quote of the key that it names.
    for bytes in [&document, &json] {
        let evidence = Evidence::read(bytes).expect("evidence");
        accepted(&verifier(&at).appraise(&evidence, &nonce));
        refused(&verifier(&at).appraise(&evidence, b"other"), Code::NonceMismatch);
        refused(&verifier("2026-02-09T00:00:00Z").appraise(&evidence, &nonce), Code::CertificateExpired);
    }
    // Every part of it is signed.
    for position in (0..document.len()).step_by(97) {
        let mut changed = document.clone();
        changed[position] ^= 1;
        if let Ok(evidence) = Evidence::read(&changed) {
            let appraisal = verifier(&at).appraise(&evidence, &nonce);
            assert!(!appraisal.is_affirming(), "byte {position}");
        }
    }
    let mut other = Evidence::read(&json).expect("evidence");
    other.quotes[0].signature.to_mut()[20] ^= 1;
    assert!(verifier(&at).appraise(&other, &nonce).has(Code::SignatureInvalid));
}

/// A member of the payload, as another CBOR library reads it.
fn member(document: &[u8], name: &str) -> ciborium::Value {
    let value: ciborium::Value = ciborium::from_reader(document).expect("CBOR");
    let payload = value.as_array().expect("four")[2].as_bytes().expect("bytes").clone();
    let payload: ciborium::Value = ciborium::from_reader(payload.as_slice()).expect("CBOR");
    let members = payload.as_map().expect("a map").iter();
    members.clone().find(|(key, _)| key.as_text() == Some(name)).expect("a member").1.clone()
}

/// The root stands first in `cabundle`.
fn root_of(document: &[u8]) -> Vec<u8> {
    let root = member(document, "cabundle").as_array().expect("a list")[0].as_bytes().expect("bytes").clone();
    let fingerprint = Digest::of(SHA256, &root).to_string();
    assert_eq!(fingerprint, "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b");
    root
}

fn protobuf() -> Vec<u8> {
    read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify/attestation.pb"))
}

/// A length-delimited field of a protobuf message.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let (mut field, mut length) = (vec![number << 3 | 2], bytes.len());
    while length > 0x7F {
        field.push((length & 0x7F) as u8 | 0x80);
        length >>= 7;
    }
    field.push(length as u8);
    [field, bytes.to_vec()].concat()
}

#[test]
fn an_attestation_of_go_tpm_tools() {
    let recorded = recorded();
    let nonce = hex::decode(&recorded.nonce).expect("hexadecimal");
    let key = hex::decode(&recorded.keys["rsa2048:rsassa-sha256"].public).expect("hexadecimal");
    let enforce = [4, 9].map(PcrIndex::new).into();
    let verifier = Verifier {
        policy: policy(&Selection { enforce, ..Selection::default() }),
        pinned: Some(AttestationKey::read(&key).expect("a key")),
        anchors: Anchors::default(),
        at: Timestamp(1_780_000_000),
    };
    // A message is the concatenation of its parts: the log comes along as field 3.
    let bytes = [protobuf(), field(3, &log())].concat();
    let evidence = Evidence::read(&bytes).expect("evidence");
    assert_eq!((evidence.kind, evidence.logs.len(), evidence.quotes.len()), ("go-tpm-tools", 1, 1));
    let appraisal = verifier.appraise(&evidence, &nonce);
    accepted(&appraisal);
    assert!(
        appraisal
            .pcrs
            .iter()
            .filter(|entry| [4, 9].contains(&entry.pcr.get()))
            .all(|entry| entry.replayed == Some(true))
    );
    // Twice the same field, other fields in between, cut anywhere.
    let twice = [bytes.clone(), field(3, b"another log")].concat();
    assert_eq!(Evidence::read(&twice).expect_err("two logs").code, Code::EvidenceMalformed);
    let more = [protobuf(), field(4, b"instance"), field(15, b"unknown")].concat();
    accepted(&verifier.appraise(&Evidence::read(&more).expect("evidence"), &nonce));
    let whole = protobuf();
    for length in 1..whole.len() {
        if let Ok(evidence) = Evidence::read(&whole[..length]) {
            assert!(!verifier.appraise(&evidence, &nonce).is_affirming(), "{length}");
        }
    }
}

#[test]
fn what_is_no_evidence_is_refused_as_such() {
    for bytes in [&b""[..], b"{}", b"{\"tpm_quote\": 1}", b"\x0A\xFF", b"MZ", b"\xD2\x84", b"hEs="] {
        match Evidence::read(bytes) {
            Err(refusal) => assert_eq!(refusal.code, Code::EvidenceMalformed),
            Ok(evidence) => {
                let verifier = crate::forge::verifier(policy(&Selection::default()));
                refused(&verifier.appraise(&evidence, b"nonce"), Code::EvidenceMalformed);
            }
        }
    }
}
