//! The public keys of the proxy (RFC 7517), and signatures made with them (RFC 7515).

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;

use super::refusal::Refusal;

/// Keys of one set that are looked at; services publish two or three.
const MOST_KEYS: usize = 64;
/// Names are shown in the log.
const LONGEST_NAME: usize = 200;

/// How a token may be signed: with a private key that the box does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Ps256,
    Es256,
    EdDsa,
}

impl Algorithm {
    /// The one that a header names; `none` and those with a shared secret are not among them.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "PS256" => Some(Self::Ps256),
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

/// The keys that a proxy signs with.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<Key>);

#[derive(Debug)]
struct Key {
    name: Option<String>,
    /// The only algorithm that it is for, where it says so.
    algorithm: Option<Algorithm>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct PublishedKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    used_for: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// The keys of a JWKS that can verify a signature; others are left out.
    ///
    /// # Errors
    /// When it is no JWKS, or has no such key.
    pub(super) fn parse(text: &[u8]) -> Result<Self> {
        let Published { keys } =
            serde_json::from_slice(text).context("this is no JWKS: {\"keys\": […]} is expected")?;
        ensure!(keys.len() <= MOST_KEYS, "{} keys are too many: at most {MOST_KEYS} are read", keys.len());
        let usable = keys.into_iter().filter_map(|key| usable(serde_json::from_value(key).ok()?));
        let set = Self(usable.collect());
        ensure!(!set.0.is_empty(), "none of the keys is a public one for RS256, PS256, ES256 or EdDSA");
        Ok(set)
    }

    /// Finds out whether the key called `name` made `signature` of `message`. Without a name there has to be one fitting key
    /// only.
    ///
    /// # Errors
    /// When there is no such key, it is not for this algorithm, or did not make the signature.
    pub(super) fn verify(
        &self,
        algorithm: Algorithm,
        name: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Refusal> {
        let named: Vec<&Key> = match name {
            Some(name) => self.0.iter().filter(|key| key.name.as_deref() == Some(name)).collect(),
            None => self.0.iter().filter(|key| key.fits(algorithm)).collect(),
        };
        if named.is_empty() || (name.is_none() && named.len() > 1) {
            return Err(Refusal::UnknownKey);
        }
        let mut fitting = named.into_iter().filter(|key| key.fits(algorithm)).peekable();
        if fitting.peek().is_none() {
            return Err(Refusal::Algorithm);
        }
        if fitting.any(|key| key.verify(algorithm, message, signature)) { Ok(()) } else { Err(Refusal::Signature) }
    }
}

impl Key {
    fn fits(&self, algorithm: Algorithm) -> bool {
        let of_kind = match self.material {
            Material::Rsa { .. } => matches!(algorithm, Algorithm::Rs256 | Algorithm::Ps256),
            Material::P256(_) => algorithm == Algorithm::Es256,
            Material::Ed25519(_) => algorithm == Algorithm::EdDsa,
        };
        of_kind && self.algorithm.is_none_or(|only| only == algorithm)
    }

    fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let verified = match &self.material {
            Material::Rsa { n, e } => {
                let how = match algorithm {
                    Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
                    _ => &signature::RSA_PKCS1_2048_8192_SHA256,
                };
                RsaPublicKeyComponents { n, e }.verify(how, message, signature)
            }
            Material::P256(point) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Material::Ed25519(key) => UnparsedPublicKey::new(&signature::ED25519, key).verify(message, signature),
        };
        verified.is_ok()
    }
}

/// `None` for a key that cannot verify any signature that is taken, a shared secret above all.
fn usable(key: PublishedKey) -> Option<Key> {
    let is_for_signatures = key.used_for.as_deref().is_none_or(|used_for| used_for == "sig")
        && key.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
    if !is_for_signatures || key.kid.as_ref().is_some_and(|name| name.len() > LONGEST_NAME) {
        return None;
    }
    let algorithm = match &key.alg {
        Some(name) => Some(Algorithm::named(name)?),
        None => None,
    };
    let number = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
    let of_length = |text: &Option<String>, length| number(text).filter(|bytes| bytes.len() == length);
    let material = match (key.kty.as_str(), key.crv.as_deref()) {
        ("RSA", _) => Material::Rsa { n: without_zeros(number(&key.n)?), e: without_zeros(number(&key.e)?) },
        ("EC", Some("P-256")) => Material::P256([vec![4], of_length(&key.x, 32)?, of_length(&key.y, 32)?].concat()),
        ("OKP", Some("Ed25519")) => Material::Ed25519(of_length(&key.x, 32)?),
        _ => return None,
    };
    Some(Key { name: key.kid, algorithm, material })
}

/// Some services begin numbers with a zero, which `ring` refuses.
fn without_zeros(number: Vec<u8>) -> Vec<u8> {
    number.into_iter().skip_while(|byte| *byte == 0).collect()
}
