//! The format itself, through the `age` crate.

use std::fmt;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::str::FromStr;

use age::{DecryptError, Decryptor, Encryptor, x25519};

use super::{BadKey, UnsealError};

/// What every file of the format begins with, whatever its version.
const BEGINNING: &[u8] = b"age-encryption.org/";
const SECRET: &str = "AGE-SECRET-KEY-";

/// A public key: the owner of the private one can open what is sealed to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient(x25519::Recipient);

impl FromStr for Recipient {
    type Err = BadKey;
    fn from_str(text: &str) -> Result<Self, BadKey> {
        if text.to_ascii_uppercase().starts_with(SECRET) {
            return Err(BadKey::Secret);
        }
        text.parse().map(Self).map_err(|_| BadKey::Recipient(text.to_owned()))
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A private key.
#[derive(Clone)]
pub struct Identity(x25519::Identity);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

impl FromStr for Identity {
    type Err = BadKey;
    fn from_str(text: &str) -> Result<Self, BadKey> {
        text.parse().map(Self).map_err(|_| BadKey::Identity)
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
}

/// Encrypts `plain` to `recipients` into `sealed`.
///
/// # Errors
/// When one of both fails, or there is no recipient.
pub fn seal(recipients: &[Recipient], plain: &mut dyn Read, sealed: &mut dyn Write) -> io::Result<()> {
    let keys = recipients.iter().map(|recipient| &recipient.0 as &dyn age::Recipient);
    let mut writer = Encryptor::with_recipients(keys).map_err(io::Error::other)?.wrap_output(sealed)?;
    io::copy(plain, &mut writer)?;
    writer.finish().map(|_| ())
}

/// Decrypts `sealed` with the first of `identities` that it was sealed to. What was written into `plain` before an error
/// is right as far as it goes, and must not be taken for the whole.
///
/// # Errors
/// See [`UnsealError`].
pub fn unseal(identities: &[Identity], sealed: impl BufRead, plain: &mut dyn Write) -> Result<(), UnsealError> {
    let mut beginning = Vec::new();
    let mut sealed = sealed;
    sealed.by_ref().take(BEGINNING.len() as u64).read_to_end(&mut beginning)?;
    if beginning != BEGINNING {
        return Err(UnsealError::NotSealed);
    }
    let keys = identities.iter().map(|identity| &identity.0 as &dyn age::Identity);
    let mut reader =
        Decryptor::new_buffered(BEGINNING.chain(sealed)).and_then(|found| found.decrypt(keys)).map_err(sort)?;
    let mut piece = vec![0; 64 << 10];
    loop {
        match reader.read(&mut piece).map_err(damage)? {
            0 => return Ok(()),
            length => plain.write_all(piece.get(..length).unwrap_or_default())?,
        }
    }
}

fn sort(error: DecryptError) -> UnsealError {
    match error {
        DecryptError::NoMatchingKeys => UnsealError::OtherKey,
        DecryptError::Io(error) => damage(error),
        other => UnsealError::Damaged(other.to_string()),
    }
}

/// What the format's reader finds wrong, or the disk.
fn damage(error: io::Error) -> UnsealError {
    match error.kind() {
        ErrorKind::UnexpectedEof => UnsealError::Damaged("its end is missing".to_owned()),
        ErrorKind::InvalidData => UnsealError::Damaged(error.to_string()),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests;
