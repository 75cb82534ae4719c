//! The first user: added with the link that the daemon prints while there is none.

use super::error::AccessError;
use super::users::NewUser;
use super::{Access, Role, UserInfo, random};

/// Why no first user was added.
#[derive(Debug, thiserror::Error)]
pub enum SetupRefusal {
    /// The link is another one, or there is a user already.
    #[error(
        "this link is not valid any more: the log of the box has the present one while there is no user, and \
         \"outpost user add\" on the box needs none"
    )]
    Over,
    /// The name or the password is not taken.
    #[error(transparent)]
    User(#[from] AccessError),
}

impl Access {
    /// The secret of the set-up link, the same until the daemon ends; `None` once there is a user.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn setup_secret(&self) -> anyhow::Result<Option<String>> {
        let mut state = self.0.state.lock();
        if state.damage.is_some() || !state.users.is_empty() {
            return Ok(None);
        }
        if state.setup.is_none() {
            state.setup = Some(random::token()?);
        }
        Ok(state.setup.clone())
    }

    /// Adds the first user, an admin.
    ///
    /// # Errors
    /// When the secret is not the present one, or name or password are not taken.
    pub fn set_up(&self, secret: &str, name: String, password: String) -> Result<UserInfo, SetupRefusal> {
        let is_present = {
            let state = self.0.state.lock();
            state.users.is_empty()
                && state.setup.as_deref().is_some_and(|kept| random::hash(kept) == random::hash(secret))
        };
        if !is_present {
            return Err(SetupRefusal::Over);
        }
        Ok(self.add_user(NewUser { name, password, role: Role::Admin, cameras: None })?)
    }
}
