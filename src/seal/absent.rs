//! In place of the format in a program without the feature `age`: no text is a key, so nothing is sealed or opened.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::str::FromStr;

use super::{BadKey, UnsealError};

/// A public key; there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient(Infallible);

/// A private key; there is none.
#[derive(Clone, Debug)]
pub struct Identity(Infallible);

impl fmt::Display for Recipient {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}

impl FromStr for Recipient {
    type Err = BadKey;
    fn from_str(_: &str) -> Result<Self, BadKey> {
        Err(BadKey::Absent)
    }
}

impl Identity {
    /// Finds no private key in the text of a file.
    ///
    /// # Errors
    /// Always [`BadKey::Absent`].
    pub fn of_file(_: &str) -> Result<Vec<Self>, BadKey> {
        Err(BadKey::Absent)
    }
}

/// Seals nothing.
///
/// # Errors
/// Always: there is no recipient.
pub fn seal(recipients: &[Recipient], _: &mut dyn Read, _: &mut dyn Write) -> io::Result<()> {
    match recipients.first() {
        Some(Recipient(never)) => match *never {},
        None => Err(io::Error::other(BadKey::Absent)),
    }
}

/// Opens nothing.
///
/// # Errors
/// Always: there is no identity.
pub fn unseal(identities: &[Identity], _: impl BufRead, _: &mut dyn Write) -> Result<(), UnsealError> {
    match identities.first() {
        Some(Identity(never)) => match *never {},
        None => Err(UnsealError::Io(io::Error::other(BadKey::Absent))),
    }
}
