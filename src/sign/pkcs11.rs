//! Keys on tokens, through a PKCS #11 module (feature `pkcs11`).
//!
//! The token signs; the message is hashed here for ECDSA, whose hashing mechanisms few tokens have. What comes back is
//! verified before it is given out.

use std::path::Path;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use super::{KeyUri, PublicKey, SignError, SignatureAlgorithm, Signer};
use crate::tcg::{Digest, HashAlgorithm};

/// DER of the curves' object identifiers (SEC 2), as `CKA_EC_PARAMS` holds them.
const P256: &[u8] = &[0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x22];

/// A private key on a token.
pub struct TokenKey {
    session: Session,
    key: ObjectHandle,
    public: PublicKey,
}

impl TokenKey {
    /// Loads a module, opens the token and finds the key. `pin` is asked when the token wants a login and has no keypad.
    ///
    /// # Errors
    /// [`SignError`]: the module does not load, nothing or more than one thing fits the URI, the PIN is wrong, or the key is
    /// none that documents are signed with.
    pub fn open(
        module: &Path,
        uri: &KeyUri,
        pin: &mut dyn FnMut() -> Result<Zeroizing<String>, SignError>,
    ) -> Result<Self, SignError> {
        let pkcs11 = Pkcs11::new(module).map_err(failed)?;
        pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).map_err(failed)?;
        let slot = slot(&pkcs11, uri)?;
        let info = pkcs11.get_token_info(slot).map_err(failed)?;
        let session = pkcs11.open_ro_session(slot).map_err(failed)?;
        if info.protected_authentication_path() {
            session.login(UserType::User, None).map_err(failed)?;
        } else if info.login_required() {
            let pin = AuthPin::from(pin()?.as_str());
            session.login(UserType::User, Some(&pin)).map_err(failed)?;
        }
        let key = one(
            session.find_objects(&template(uri, ObjectClass::PRIVATE_KEY)).map_err(failed)?,
            "private keys",
        )?;
        let public = public_key(&session, key)?;
        Ok(Self { session, key, public })
    }

    fn sign_with(&self, mechanism: &Mechanism<'_>, data: &[u8]) -> Result<Vec<u8>, SignError> {
        self.session.sign(mechanism, self.key, data).map_err(failed)
    }
}

impl Signer for TokenKey {
    fn algorithm(&self) -> SignatureAlgorithm {
        self.public.algorithm()
    }

    fn public_key(&self) -> Result<PublicKey, SignError> {
        Ok(self.public.clone())
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let der = |error: p256::ecdsa::Error| SignError::Failed(error.to_string());
        let ecdsa = |bank| self.sign_with(&Mechanism::Ecdsa, Digest::of(bank, message).as_bytes());
        let signature = match self.algorithm() {
            SignatureAlgorithm::EcdsaP256Sha256 => {
                let signature = ecdsa(HashAlgorithm::Sha256)?;
                p256::ecdsa::Signature::from_slice(&signature).map_err(der)?.to_der().as_bytes().to_vec()
            }
            SignatureAlgorithm::EcdsaP384Sha384 => {
                let signature = ecdsa(HashAlgorithm::Sha384)?;
                p384::ecdsa::Signature::from_slice(&signature).map_err(der)?.to_der().as_bytes().to_vec()
            }
            SignatureAlgorithm::RsaPssSha256 => {
                let parameters = PkcsPssParams {
                    hash_alg: MechanismType::SHA256,
                    mgf: PkcsMgfType::MGF1_SHA256,
                    s_len: 32.into(),
                };
                self.sign_with(&Mechanism::Sha256RsaPkcsPss(parameters), message)?
            }
            SignatureAlgorithm::Ed25519 => return Err(token("Ed25519 keys on tokens are not supported")),
        };
        self.public.verify(message, &signature)?;
        Ok(signature)
    }

    fn sign_rsa_pkcs1_sha256(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        if self.algorithm() != SignatureAlgorithm::RsaPssSha256 {
            return Err(SignError::NotRsa(self.algorithm().name()));
        }
        let signature = self.sign_with(&Mechanism::Sha256RsaPkcs, message)?;
        self.public.verify_rsa_pkcs1_sha256(message, &signature)?;
        Ok(signature)
    }
}

/// The slot whose token fits the URI.
fn slot(pkcs11: &Pkcs11, uri: &KeyUri) -> Result<Slot, SignError> {
    let fits = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
    let mut slots = Vec::new();
    for slot in pkcs11.get_slots_with_token().map_err(failed)? {
        // A reader may have lost its card meanwhile: that is no reason not to look at the others.
        let Ok(info) = pkcs11.get_token_info(slot) else { continue };
        if info.token_initialized()
            && fits(&uri.token, info.label())
            && fits(&uri.manufacturer, info.manufacturer_id())
            && fits(&uri.model, info.model())
            && fits(&uri.serial, info.serial_number())
            && uri.slot_id.is_none_or(|wanted| wanted == slot.id())
        {
            slots.push(slot);
        }
    }
    one(slots, "tokens")
}

/// The only one: signing with whichever comes first would be a guess.
fn one<T>(mut found: Vec<T>, what: &str) -> Result<T, SignError> {
    match (found.pop(), found.len()) {
        (Some(only), 0) => Ok(only),
        (None, _) => Err(token(&format!("no {what} on the module fit the URI"))),
        (Some(_), others) => {
            let number = others.saturating_add(1);
            Err(token(&format!("{number} {what} fit the URI: name one with token=, serial=, object= or id=")))
        }
    }
}

fn template(uri: &KeyUri, class: ObjectClass) -> Vec<Attribute> {
    let label = uri.object.iter().map(|label| Attribute::Label(label.clone().into_bytes()));
    let id = uri.id.iter().map(|id| Attribute::Id(id.clone()));
    [Attribute::Class(class)].into_iter().chain(label).chain(id).collect()
}

fn public_key(session: &Session, key: ObjectHandle) -> Result<PublicKey, SignError> {
    let get = |object: ObjectHandle, kind: AttributeType| {
        session.get_attributes(object, &[kind]).ok().and_then(|found| found.into_iter().next())
    };
    let public_half = || {
        let Some(Attribute::Id(id)) = get(key, AttributeType::Id) else { return None };
        let template = [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Id(id)];
        session.find_objects(&template).ok()?.into_iter().next()
    };
    match get(key, AttributeType::KeyType) {
        Some(Attribute::KeyType(KeyType::RSA)) => {
            let exponent = get(key, AttributeType::PublicExponent)
                .or_else(|| get(public_half()?, AttributeType::PublicExponent));
            match (get(key, AttributeType::Modulus), exponent) {
                (Some(Attribute::Modulus(modulus)), Some(Attribute::PublicExponent(exponent))) => {
                    PublicKey::from_rsa(&modulus, &exponent)
                }
                _ => Err(token("it does not give out the RSA key's modulus and public exponent")),
            }
        }
        Some(Attribute::KeyType(KeyType::EC)) => {
            let point = public_half().and_then(|public| get(public, AttributeType::EcPoint));
            match (get(key, AttributeType::EcParams), point) {
                (Some(Attribute::EcParams(curve)), Some(Attribute::EcPoint(point))) => ec_key(&curve, &point),
                _ => Err(token("it has no public key with the private key's CKA_ID beside it")),
            }
        }
        _ => Err(token("the key is neither RSA nor on P-256 or P-384")),
    }
}

/// `CKA_EC_POINT` is the point in an OCTET STRING; older modules leave that out. The lengths tell them apart.
fn ec_key(curve: &[u8], point: &[u8]) -> Result<PublicKey, SignError> {
    let bare = |length: usize| match point {
        [0x04, size, rest @ ..] if usize::from(*size) == length && rest.len() == length => rest,
        _ => point,
    };
    let bad = |error: p256::ecdsa::Error| SignError::PublicKey(error.to_string());
    match curve {
        P256 => p256::ecdsa::VerifyingKey::from_sec1_bytes(bare(65)).map(PublicKey::P256).map_err(bad),
        P384 => p384::ecdsa::VerifyingKey::from_sec1_bytes(bare(97)).map(PublicKey::P384).map_err(bad),
        _ => Err(token("the key's curve is neither P-256 nor P-384")),
    }
}

fn token(problem: &str) -> SignError {
    SignError::Token(problem.to_owned())
}

fn failed(error: cryptoki::error::Error) -> SignError {
    SignError::Token(error.to_string())
}
