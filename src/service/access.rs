//! Logins, users and keys, as the page, the API and the command line use them.
//!
//! What computes or writes runs on threads for that, a bounded number of calls at a time: a crowd at the door costs the
//! rest of the box nothing.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::anyhow;
use tokio::sync::Semaphore;

use crate::access::{
    Access, AccessError, Caller, Enrolment, FactorProof, KeyAdded, KeyInfo, LoggedIn, Login, LoginRefusal, NewKey,
    NewShare, NewUser, SetupRefusal, ShareAdded, ShareInfo, ShareOpened, ShareRefusal, UserChange, UserInfo,
};

/// Calls that compute or write at the same time, those that wait for their turn included.
const AT_ONCE: usize = 16;

/// Why a call was not carried out: too many others are waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many logins at once: try again in a moment")]
pub struct Crowded;

/// A login as the page sends it.
#[derive(Clone, Debug)]
pub struct LoginRequest {
    /// The user's name.
    pub name: String,
    /// The password.
    pub password: String,
    /// A code of an app, or a recovery code.
    pub code: Option<String>,
    /// From where.
    pub address: IpAddr,
    /// The browser's description of itself.
    pub agent: String,
}

/// Logs users in, and changes users and keys.
#[derive(Clone, Debug)]
pub struct AccessService {
    access: Access,
    device: Arc<str>,
    turns: Arc<Semaphore>,
}

impl AccessService {
    pub(super) fn new(access: Access, device: Arc<str>) -> Self {
        Self { access, device, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// What is known in memory, without waiting: callers, lists.
    pub fn known(&self) -> &Access {
        &self.access
    }

    /// Lets a user in.
    ///
    /// # Errors
    /// [`Crowded`], and within why the user is not let in.
    pub async fn log_in(&self, login: LoginRequest) -> Result<Result<LoggedIn, LoginRefusal>, Crowded> {
        let failed = |error| LoginRefusal::Failed(AccessError::Failed(error));
        let outcome = self.run(move |access| {
            let LoginRequest { name, password, code, address, agent } = &login;
            access.log_in(&Login { name, password, code: code.as_deref(), address: *address, agent })
        });
        Ok(outcome.await?.unwrap_or_else(|error| Err(failed(error))))
    }

    /// Adds the first user.
    ///
    /// # Errors
    /// [`Crowded`], and within why none was added.
    pub async fn set_up(
        &self,
        secret: String,
        name: String,
        password: String,
    ) -> Result<Result<UserInfo, SetupRefusal>, Crowded> {
        let outcome = self.run(move |access| access.set_up(&secret, name, password)).await?;
        Ok(outcome.unwrap_or_else(|error| Err(SetupRefusal::User(AccessError::Failed(error)))))
    }

    /// Adds a user.
    ///
    /// # Errors
    /// [`Crowded`], and within why none was added.
    pub async fn add_user(&self, new: NewUser) -> Result<Result<UserInfo, AccessError>, Crowded> {
        self.change(move |access| access.add_user(new)).await
    }

    /// Changes a user.
    ///
    /// # Errors
    /// [`Crowded`], and within why nothing changed.
    pub async fn change_user(
        &self,
        name: String,
        change: UserChange,
    ) -> Result<Result<UserInfo, AccessError>, Crowded> {
        self.change(move |access| access.change_user(&name, change)).await
    }

    /// Removes a user.
    ///
    /// # Errors
    /// [`Crowded`], and within why nothing changed.
    pub async fn remove_user(&self, name: String) -> Result<Result<(), AccessError>, Crowded> {
        self.change(move |access| access.remove_user(&name)).await
    }

    /// Changes the password of the caller.
    ///
    /// # Errors
    /// [`Crowded`], and within why nothing changed.
    pub async fn change_own_password(
        &self,
        caller: &Caller,
        present: String,
        new: String,
        address: IpAddr,
    ) -> Result<Result<(), AccessError>, Crowded> {
        let (name, session) = (caller.name.clone(), caller.session.clone());
        self.change(move |access| access.change_own_password(&name, session.as_deref(), &present, &new, address)).await
    }

    /// Begins to set up a second factor of the caller.
    ///
    /// # Errors
    /// [`Crowded`], and within why none can be.
    pub async fn begin_second_factor(
        &self,
        caller: &Caller,
        password: String,
        code: Option<String>,
        address: IpAddr,
    ) -> Result<Result<Enrolment, AccessError>, Crowded> {
        let (name, device) = (caller.name.clone(), self.device.clone());
        self.change(move |access| {
            let proof = FactorProof { password: &password, code: code.as_deref(), address };
            access.begin_second_factor(&name, &device, &proof)
        })
        .await
    }

    /// Asks for the caller's second factor from now on. Gives the recovery codes.
    ///
    /// # Errors
    /// [`Crowded`], and within why not.
    pub async fn confirm_second_factor(
        &self,
        caller: &Caller,
        code: String,
    ) -> Result<Result<Vec<String>, AccessError>, Crowded> {
        let name = caller.name.clone();
        self.change(move |access| access.confirm_second_factor(&name, &code)).await
    }

    /// Ends a session, of `user` only where one is given.
    ///
    /// # Errors
    /// [`Crowded`], and within that there is none.
    pub async fn end_session(&self, id: String, user: Option<Arc<str>>) -> Result<Result<(), AccessError>, Crowded> {
        self.change(move |access| access.end_session(&id, user.as_deref()).map(drop)).await
    }

    /// Makes a key.
    ///
    /// # Errors
    /// [`Crowded`], and within why none was made.
    pub async fn add_key(&self, new: NewKey, by: &Caller) -> Result<Result<KeyAdded, AccessError>, Crowded> {
        let by = by.name.clone();
        self.change(move |access| access.add_key(new, &by)).await
    }

    /// Removes a key.
    ///
    /// # Errors
    /// [`Crowded`], and within that there is none.
    pub async fn remove_key(&self, id: String) -> Result<Result<KeyInfo, AccessError>, Crowded> {
        self.change(move |access| access.remove_key(&id)).await
    }

    /// Makes a link to a file.
    ///
    /// # Errors
    /// [`Crowded`], and within why none was made.
    pub async fn add_share(&self, new: NewShare, by: Caller) -> Result<Result<ShareAdded, AccessError>, Crowded> {
        self.change(move |access| access.add_share(new, &by)).await
    }

    /// Withdraws a link, one of `by` only where that is given.
    ///
    /// # Errors
    /// [`Crowded`], and within that there is none.
    pub async fn remove_share(
        &self,
        id: String,
        by: Option<Arc<str>>,
    ) -> Result<Result<ShareInfo, AccessError>, Crowded> {
        self.change(move |access| access.remove_share(&id, by.as_deref())).await
    }

    /// Opens a link to a file.
    ///
    /// # Errors
    /// [`Crowded`], and within why it is not opened.
    pub async fn open_share(
        &self,
        link: String,
        password: Option<String>,
        address: IpAddr,
    ) -> Result<Result<ShareOpened, ShareRefusal>, Crowded> {
        let outcome = self.run(move |access| access.open_share(&link, password.as_deref(), address)).await?;
        Ok(outcome.unwrap_or_else(|error| Err(ShareRefusal::Failed(error))))
    }

    /// Writes down now and then when sessions were used. Does not wait for the disk.
    pub fn write_if_due(&self) {
        if self.access.is_write_due()
            && let Ok(turn) = self.turns.clone().try_acquire_owned()
        {
            let access = self.access.clone();
            tokio::task::spawn_blocking(move || {
                access.write_sessions();
                drop(turn);
            });
        }
    }

    async fn change<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Access) -> Result<T, AccessError> + Send + 'static,
    ) -> Result<Result<T, AccessError>, Crowded> {
        Ok(self.run(act).await?.unwrap_or_else(|error| Err(AccessError::Failed(error))))
    }

    /// On a thread that may block; a call that panicked is an error.
    async fn run<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Access) -> T + Send + 'static,
    ) -> Result<anyhow::Result<T>, Crowded> {
        let turn = self.turns.clone().try_acquire_owned().map_err(|_| Crowded)?;
        let access = self.access.clone();
        let outcome = tokio::task::spawn_blocking(move || {
            let done = act(&access);
            drop(turn);
            done
        });
        Ok(outcome.await.map_err(|error| anyhow!("the call broke off: {error}")))
    }
}
