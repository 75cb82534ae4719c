//! Files that only the holder of a private key can read: the age format, version 1, with X25519 recipients.
//!
//! The box has public keys alone. What it seals can be opened by `outpost unseal`, and by `age` and `rage`, wherever the
//! private key is. Neither end ever holds more than a piece of 64 KiB.

#[cfg_attr(not(feature = "age"), path = "absent.rs")]
mod format;

use std::io;

pub use format::{Identity, Recipient, seal, unseal};

/// A text that is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// No public key. The text is shown: it is no secret, unless they were mixed up.
    #[error("{0:?} is no public key of age: those begin with \"age1\" and have 62 characters")]
    Recipient(String),
    /// A private key where a public one belongs. It is not shown.
    #[error("this is a private key; only the public key, which begins with \"age1\", belongs on the box")]
    Secret,
    /// No private key. It is not shown.
    #[error("not a private key of age: those begin with \"AGE-SECRET-KEY-1\" and have 74 characters")]
    Identity,
    /// Any key, in a program without the format.
    #[error("this program was built without sealed copies: build it with the Cargo feature \"age\"")]
    Absent,
}

/// Why a file does not open.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// It is no sealed file.
    #[error("it is not a sealed file: it does not begin as files of age do")]
    NotSealed,
    /// None of the identities is one of its recipients.
    #[error("it was sealed to other keys than these")]
    OtherKey,
    /// Part of it is missing, or not as it was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// It could not be read, or its content not written.
    #[error(transparent)]
    Io(#[from] io::Error),
}
