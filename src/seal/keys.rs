//! Public and private keys, and how the key of a file is wrapped for one of them.

use std::fmt;
use std::str::FromStr;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};

use super::{FileKey, bech32};

/// What distinguishes this use of the shared secret.
const INFO: &[u8] = b"age-encryption.org/v1/X25519";

/// Something is wrong with a key, or with what was made with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unusable;

/// A text that is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// No public key. The text is shown: it is no secret, unless somebody mixed them up.
    #[error("{0:?} is no public key of age: those begin with \"age1\" and have 62 characters")]
    Recipient(String),
    /// A private key where a public one belongs. It is not shown.
    #[error("this is a private key; only the public key, which begins with \"age1\", belongs on the box")]
    Secret,
    /// No private key. It is not shown.
    #[error("not a private key of age: those begin with \"AGE-SECRET-KEY-1\" and have 74 characters")]
    Identity,
}

/// A public key: whoever has the private one can open what is sealed to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient(pub(super) [u8; 32]);

impl Recipient {
    /// The key itself.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A private key.
#[derive(Clone)]
pub struct Identity([u8; 32]);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

impl FromStr for Recipient {
    type Err = BadKey;
    fn from_str(text: &str) -> Result<Self, BadKey> {
        if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
            return Err(BadKey::Secret);
        }
        let bytes = bech32::decode(text).filter(|(prefix, _)| prefix == "age").and_then(|(_, key)| key.try_into().ok());
        bytes.map(Self).ok_or_else(|| BadKey::Recipient(text.to_owned()))
    }
}

impl FromStr for Identity {
    type Err = BadKey;
    fn from_str(text: &str) -> Result<Self, BadKey> {
        let decoded = bech32::decode(text).filter(|(prefix, _)| prefix == "age-secret-key-");
        decoded.and_then(|(_, key)| key.try_into().ok()).map(Self).ok_or(BadKey::Identity)
    }
}

impl Identity {
    /// The private keys of a file as `age-keygen` writes it: one a line, beside comments.
    ///
    /// # Errors
    /// [`BadKey::Identity`] for a line that is neither.
    pub fn of_file(text: &str) -> Result<Vec<Self>, BadKey> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(str::parse).collect()
    }

    /// The public key that belongs to it.
    pub fn recipient(&self) -> Recipient {
        Recipient(x25519(self.0, X25519_BASEPOINT_BYTES))
    }

    /// The file's key from a stanza; `None` where it was wrapped for somebody else.
    pub(super) fn unwrap(&self, share: &[u8; 32], body: &[u8; 32]) -> Option<FileKey> {
        let key = wrapping_key(self.0, share, &share.iter().chain(&self.recipient().0).copied().collect::<Vec<_>>())?;
        let mut body = *body;
        let opened = key.open_in_place(Nonce::assume_unique_for_key([0; 12]), Aad::empty(), &mut body).ok()?;
        FileKey::try_from(&*opened).ok()
    }
}

impl Recipient {
    /// The ephemeral share of `secret`, and the file's key as only the private key can read it. The secret is used once.
    pub(super) fn wrap(&self, key: &FileKey, secret: [u8; 32]) -> Result<([u8; 32], Vec<u8>), Unusable> {
        let share = x25519(secret, X25519_BASEPOINT_BYTES);
        let salt: Vec<u8> = share.iter().chain(&self.0).copied().collect();
        let wrapping = wrapping_key(secret, &self.0, &salt).ok_or(Unusable)?;
        let mut body = key.to_vec();
        // The key is of this one stanza, so that one nonce does.
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        wrapping.seal_in_place_append_tag(nonce, Aad::empty(), &mut body).map_err(|_| Unusable)?;
        Ok((share, body))
    }
}

/// `None` for a public key that would make a secret which everybody knows.
fn wrapping_key(secret: [u8; 32], public: &[u8; 32], salt: &[u8]) -> Option<LessSafeKey> {
    let shared = x25519(secret, *public);
    if shared == [0; 32] {
        return None;
    }
    Some(cipher(&derive(&shared, salt, INFO)?))
}

pub(super) fn cipher(key: &[u8; 32]) -> LessSafeKey {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key);
    LessSafeKey::new(key.expect("a ChaCha20-Poly1305 key has 32 bytes"))
}

/// HKDF with SHA-256, 32 bytes.
pub(super) fn derive(secret: &[u8], salt: &[u8], info: &[u8]) -> Option<[u8; 32]> {
    struct Length;
    impl KeyType for Length {
        fn len(&self) -> usize {
            32
        }
    }
    let mut key = [0; 32];
    let derived = Salt::new(HKDF_SHA256, salt).extract(secret);
    derived.expand(&[info], Length).ok()?.fill(&mut key).ok()?;
    Some(key)
}
