//! Why changes of users and keys are refused.

use super::{Cameras, Locked, Role};

/// Why a change of users or keys was not made.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// What was asked for cannot be: says why and what to do.
    #[error("{0}")]
    Refused(String),
    /// The password that was shown is wrong.
    #[error("the present password is another one")]
    WrongPassword,
    /// Too many were tried.
    #[error("too many tries: wait {} s", .0.wait.as_secs().max(1))]
    Locked(Locked),
    /// There is no such user, key or session.
    #[error("there is no {what} {name:?}")]
    Unknown {
        /// `user`, `key`, `session`.
        what: &'static str,
        /// What was asked for.
        name: String,
    },
    /// The disk or the system refused.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

impl AccessError {
    pub(super) fn refused(why: impl Into<String>) -> Self {
        Self::Refused(why.into())
    }

    pub(super) fn unknown(what: &'static str, name: &str) -> Self {
        Self::Unknown { what, name: name.to_owned() }
    }
}

/// A role that changes the box changes it for all cameras.
pub(super) fn check_cameras(role: Role, cameras: &Cameras) -> Result<(), AccessError> {
    if cameras.is_some() && role == Role::Admin {
        return Err(AccessError::refused("an admin sees all cameras: choose another role, or no cameras"));
    }
    Ok(())
}
