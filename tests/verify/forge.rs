//! A TPM in software whose key is known: signs whatever a test wants to have signed.

use std::borrow::Cow;

use p256::ecdsa::signature::Signer as _;
use premeasure::attest::{
    Anchors, Appraisal, AttestationKey, Evidence, Policy, QuoteEvidence, Selection, Timestamp, Verifier,
};
use premeasure::tcg::{Digest, HashAlgorithm, Hasher, PcrIndex, PcrValues};

use crate::support::{fixture, premeasure, read, scratch};

pub(crate) const NONCE: &[u8] = &[0x5A; 32];
pub(crate) const BOOT: &str = "t-tiny-257";

/// The time of tests, within the validity of the certificates in `certificates`.
pub(crate) const NOW: Timestamp = Timestamp(1_780_000_000);

/// A quote in the making. Everything can be changed before it is signed.
#[derive(Clone)]
pub(crate) struct Forge {
    pub(crate) scalar: [u8; 32],
    pub(crate) magic: u32,
    pub(crate) kind: u16,
    pub(crate) nonce: Vec<u8>,
    pub(crate) selection: Vec<(HashAlgorithm, Vec<u8>)>,
    /// What the digest is made of.
    pub(crate) values: PcrValues,
    /// What is handed over beside the quote.
    pub(crate) claimed: Option<PcrValues>,
    pub(crate) trailing: Vec<u8>,
    pub(crate) log: Option<Vec<u8>>,
}

pub(crate) fn log() -> Vec<u8> {
    read(fixture("boots").join(BOOT).join("eventlog.bin"))
}

/// The values that the TPM of the boot had, as the guest read them.
pub(crate) fn observed() -> PcrValues {
    let text = String::from_utf8(read(fixture("boots").join(BOOT).join("pcrs.json"))).expect("text");
    premeasure::source::parse_registers(&text).expect("values")
}

impl Forge {
    /// A quote that there is nothing wrong with.
    pub(crate) fn honest() -> Self {
        let values = observed();
        Self {
            scalar: [7; 32],
            magic: 0xFF54_4347,
            kind: 0x8018,
            nonce: NONCE.to_vec(),
            selection: vec![(HashAlgorithm::Sha256, vec![4, 7, 8, 9, 11, 12, 13, 14, 15])],
            claimed: Some(values.clone()),
            values,
            trailing: Vec::new(),
            log: Some(log()),
        }
    }

    /// A machine that really extended what `log` says, and quotes that.
    pub(crate) fn of_log(log: Vec<u8>) -> Self {
        let replayed = premeasure::tcg::eventlog::EventLog::parse(&log[..]).expect("sound").replay().values();
        let mut values = observed();
        for (_, pcrs) in replayed.banks() {
            pcrs.iter().for_each(|(pcr, value)| values.set(*pcr, *value));
        }
        Self { values: values.clone(), claimed: Some(values), log: Some(log), ..Self::honest() }
    }

    pub(crate) fn key(&self) -> AttestationKey {
        let key = p256::ecdsa::SigningKey::from_slice(&self.scalar).expect("a scalar");
        let point = key.verifying_key().to_sec1_point(false);
        let mut spki =
            hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").expect("hexadecimal");
        spki.extend_from_slice(point.as_bytes());
        AttestationKey::read(&spki).expect("a key")
    }

    pub(crate) fn message(&self) -> Vec<u8> {
        let mut message = self.magic.to_be_bytes().to_vec();
        message.extend(self.kind.to_be_bytes());
        sized(&mut message, &[0x00, 0x0B]);
        sized(&mut message, &self.nonce);
        message.extend(1000_u64.to_be_bytes());
        message.extend(7_u32.to_be_bytes());
        message.extend(0_u32.to_be_bytes());
        message.push(1);
        message.extend(0x2026_u64.to_be_bytes());
        message.extend((self.selection.len() as u32).to_be_bytes());
        let mut hasher = Hasher::new(HashAlgorithm::Sha256);
        for (bank, pcrs) in &self.selection {
            message.extend(bank.id().0.to_be_bytes());
            let mut bitmap = [0_u8; 3];
            for pcr in pcrs {
                bitmap[usize::from(pcr / 8)] |= 1 << (pcr % 8);
                let value = self.values.get(*bank, PcrIndex::new(*pcr)).expect("a value");
                hasher.update(value.as_bytes());
            }
            message.push(3);
            message.extend(bitmap);
        }
        sized(&mut message, hasher.finish().as_bytes());
        message.extend(&self.trailing);
        message
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let key = p256::ecdsa::SigningKey::from_slice(&self.scalar).expect("a scalar");
        let signature: p256::ecdsa::DerSignature = key.sign(message);
        signature.as_bytes().to_vec()
    }

    pub(crate) fn evidence(&self) -> Evidence<'static> {
        let message = self.message();
        let signature = self.sign(&message);
        let quote = QuoteEvidence {
            message: Cow::Owned(message),
            signature: Cow::Owned(signature),
            values: self.claimed.clone(),
        };
        Evidence::of_quote(quote, self.log.clone().map(Cow::Owned).into_iter().collect())
    }

    /// Appraised by somebody who pinned the honest key.
    pub(crate) fn appraise(&self) -> Appraisal {
        verifier(policy(&Selection::default())).appraise(&self.evidence(), NONCE)
    }
}

fn sized(message: &mut Vec<u8>, bytes: &[u8]) {
    message.extend((bytes.len() as u16).to_be_bytes());
    message.extend(bytes);
}

pub(crate) fn verifier(policy: Policy) -> Verifier {
    Verifier { policy, pinned: Some(Forge::honest().key()), anchors: Anchors::default(), at: NOW }
}

/// The document of the boot; its initrd and host run no systemd, so that every stage is that of the record.
pub(crate) fn document() -> std::path::PathBuf {
    let path = scratch().join(format!("verify-{}.json", std::process::id()));
    if !path.exists() {
        let uki = fixture(BOOT).join("uki.efi");
        let fixed = ["--secure-boot", "off", "--initrd-systemd", "none", "--host-systemd", "none", "-o"];
        let arguments = ["predict".as_ref(), uki.as_os_str()].into_iter();
        let run = premeasure(arguments.chain(fixed.map(AsRef::as_ref)).chain([path.as_os_str()]));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
    }
    path
}

pub(crate) fn policy(selection: &Selection) -> Policy {
    let bytes = read(document());
    let loaded = premeasure::export::load("reference.json", &bytes).expect("a document");
    Policy::from_document(&loaded, selection).expect("a policy")
}

/// A record of a crypto-agile log in all four banks of the fixtures.
pub(crate) fn record(pcr: u32, kind: u32, measured: &[u8], data: &[u8]) -> Vec<u8> {
    let banks = [HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512];
    let mut bytes = [pcr, kind, 4].map(u32::to_le_bytes).concat();
    for bank in banks {
        bytes.extend(bank.id().0.to_le_bytes());
        bytes.extend(Digest::of(bank, measured).as_bytes());
    }
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

/// Where the records of a log begin, and where the last one ends.
pub(crate) fn boundaries(log: &[u8]) -> Vec<usize> {
    let parsed = premeasure::tcg::eventlog::EventLog::parse(log).expect("sound");
    let starts = parsed.events().map(|event| event.offset as usize);
    starts.chain([parsed.end() as usize]).collect()
}
