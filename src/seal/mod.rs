//! Files that only the holder of a private key can read: the age format, version 1, with X25519 recipients.
//!
//! The box has public keys alone. What it seals can be opened by `outpost unseal`, and by `age` and `rage`, wherever the
//! private key is. The primitives are ring's and x25519-dalek's; the crate `age` would add some ninety crates to a daemon
//! that needs this one kind of recipient, and change the features of others. The format itself is small: a header with
//! the file's key, wrapped once for each recipient, and the content in pieces of 64 KiB, each authenticated by itself
//! ([`payload`]), so that neither end ever holds more than one.

mod bech32;
mod header;
mod keys;
mod payload;

use std::io::{self, Read, Write};

use ring::rand::{SecureRandom, SystemRandom};

pub use header::UnsealError;
pub use keys::{BadKey, Identity, Recipient};

/// Key of one file.
type FileKey = [u8; 16];

/// Encrypts `plain` to `recipients` into `sealed`.
///
/// # Errors
/// When one of both fails, or the system gives no random numbers.
pub fn seal(recipients: &[Recipient], plain: &mut dyn Read, sealed: &mut dyn Write) -> io::Result<()> {
    let (random, mut key) = (SystemRandom::new(), FileKey::default());
    let fill =
        |bytes: &mut [u8]| random.fill(bytes).map_err(|_| io::Error::other("the system gives no random numbers"));
    fill(&mut key)?;
    let mut secrets = Vec::with_capacity(recipients.len());
    for _ in recipients {
        let mut secret = [0; 32];
        fill(&mut secret)?;
        secrets.push(secret);
    }
    let mut nonce = [0; 16];
    fill(&mut nonce)?;
    let header =
        header::write(&key, recipients, &secrets).map_err(|_| io::Error::other("a public key is not usable"))?;
    sealed.write_all(&header)?;
    sealed.write_all(&nonce)?;
    payload::seal(&key, &nonce, plain, sealed)
}

/// Decrypts `sealed` with the first of `identities` that it was sealed to. What was written into `plain` before an error
/// is right as far as it goes, and must not be taken for the whole.
///
/// # Errors
/// See [`UnsealError`].
pub fn unseal(identities: &[Identity], sealed: &mut dyn Read, plain: &mut dyn Write) -> Result<(), UnsealError> {
    let key = header::read(sealed, identities)?;
    let mut nonce = [0; 16];
    sealed.read_exact(&mut nonce).map_err(|_| UnsealError::Damaged("it ends before its content"))?;
    payload::unseal(&key, &nonce, sealed, plain)
}

#[cfg(test)]
mod tests;
