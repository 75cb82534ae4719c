//! The people who may log in.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::error::{AccessError, check_cameras};
use super::keys::Keys;
use super::totp::{self, Enrolment, SecondFactor};
use super::{Access, Cameras, Grant, Role, State, passwords};
use crate::clock::{Moment, TimeQuality};

/// Users of one box at most.
const MOST_USERS: usize = 1000;
/// Longest name, bytes.
pub(super) const LONGEST_NAME: usize = 64;

pub(super) type Users = BTreeMap<String, User>;

/// A user as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct User {
    pub(super) role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cameras: Cameras,
    pub(super) password: String,
    #[serde(default)]
    pub(super) disabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) second_factor: Option<SecondFactor>,
    /// A second factor that was begun and not confirmed yet.
    #[serde(skip)]
    pub(super) enrolling: Option<String>,
    pub(super) created: Timestamp,
}

/// A user as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UserInfo {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Which cameras it sees, and when; null: all.
    pub cameras: Cameras,
    /// Whether it is kept out.
    pub disabled: bool,
    /// Whether a code of an app is asked for too.
    pub second_factor: bool,
    /// Recovery codes that are left.
    pub recovery_codes: usize,
    /// When it was added.
    pub created: Timestamp,
}

/// A user to be added.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// Its name: letters, digits and `.-_@`, 64 bytes at most.
    pub name: String,
    /// Its password.
    pub password: String,
    /// What it may do.
    pub role: Role,
    /// Which cameras it sees; absent: all.
    #[serde(default)]
    pub cameras: Cameras,
}

/// What is to be changed of a user; what is absent stays.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UserChange {
    /// Another role.
    pub role: Option<Role>,
    /// Other cameras; null: all.
    #[serde(deserialize_with = "present")]
    pub cameras: Option<Cameras>,
    /// Another password: ends all of the user's sessions.
    pub password: Option<String>,
    /// Keeps the user out, or lets it in again.
    pub disabled: Option<bool>,
    /// `false` removes the second factor of a user who lost it.
    pub second_factor: Option<bool>,
}

impl std::fmt::Display for UserChange {
    /// What changes, without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { role, cameras, password, disabled, second_factor } = self;
        let cameras = cameras.as_ref().map(|of| match of {
            None => "all cameras".to_owned(),
            Some(of) => format!("cameras {}", of.keys().map(String::as_str).collect::<Vec<_>>().join(", ")),
        });
        let parts = [
            role.map(|role| format!("role {}", role.as_str())),
            cameras,
            password.as_ref().map(|_| "another password".to_owned()),
            disabled.map(|disabled| if disabled { "kept out" } else { "let in again" }.to_owned()),
            second_factor.map(|_| "second factor removed".to_owned()),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// What a user shows before another second factor is set up.
#[derive(Clone, Copy, Debug)]
pub struct FactorProof<'a> {
    /// The password.
    pub password: &'a str,
    /// A code of the present factor.
    pub code: Option<&'a str>,
    /// Where the user comes from.
    pub address: IpAddr,
}

/// Makes null differ from what is absent.
fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Cameras>, D::Error> {
    Cameras::deserialize(value).map(Some)
}

impl User {
    fn info(&self, name: &str) -> UserInfo {
        UserInfo {
            name: name.to_owned(),
            role: self.role,
            cameras: self.cameras.clone(),
            disabled: self.disabled,
            second_factor: self.second_factor.is_some(),
            recovery_codes: self.second_factor.as_ref().map_or(0, |factor| factor.recovery.len()),
            created: self.created,
        }
    }

    /// Whether links that it made to what `camera` took at `at` still hold.
    pub(super) fn may_share(&self, camera: &str, at: Timestamp) -> bool {
        let sees = |cameras: &BTreeMap<String, Grant>| cameras.get(camera).is_some_and(|grant| grant.covers(at));
        !self.disabled && self.role >= Role::Operator && self.cameras.as_ref().is_none_or(sees)
    }

    /// Whether links that it made to what belongs to no camera still hold.
    pub(super) fn may_share_all(&self) -> bool {
        !self.disabled && self.role >= Role::Operator && self.cameras.is_none()
    }

    fn is_working_admin(&self) -> bool {
        self.role == Role::Admin && !self.disabled && self.cameras.is_none()
    }
}

impl Access {
    /// All users.
    pub fn users(&self) -> Vec<UserInfo> {
        self.0.state.lock().users.iter().map(|(name, user)| user.info(name)).collect()
    }

    /// One user.
    pub fn user(&self, name: &str) -> Option<UserInfo> {
        self.0.state.lock().users.get(name).map(|user| user.info(name))
    }

    /// Adds a user. The first one has to be an admin.
    ///
    /// # Errors
    /// A name or password that is not taken; a disk that refuses.
    pub fn add_user(&self, new: NewUser) -> Result<UserInfo, AccessError> {
        let NewUser { name, password, role, cameras } = new;
        check_name(&name)?;
        check_password(&password, &name)?;
        check_cameras(role, &cameras)?;
        let password = self.0.hashing.hash(&password)?;
        let created = self.0.clock.wall();
        let user = User { role, cameras, password, disabled: false, second_factor: None, enrolling: None, created };
        let info = user.info(&name);
        self.change_users(|state| {
            if state.users.keys().any(|known| known.to_lowercase() == name.to_lowercase()) {
                return Err(AccessError::refused(format!("there is a user {name:?} already")));
            }
            if state.users.is_empty() && !user.is_working_admin() {
                return Err(AccessError::refused("the first user has to be an admin who sees all cameras"));
            }
            if state.users.len() >= MOST_USERS {
                return Err(AccessError::refused(format!("there are {MOST_USERS} users, which is the most")));
            }
            state.proxied.end_of_user(&name);
            state.users.insert(name, user);
            state.setup = None;
            state.unprotected.cancel();
            Ok(())
        })?;
        Ok(info)
    }

    /// Changes a user. Its sessions end where its password changes or it is disabled; another role or other cameras hold
    /// from the next request on, and open streams end.
    ///
    /// # Errors
    /// As [`Access::add_user`]; the last admin cannot be disabled or made less.
    pub fn change_user(&self, name: &str, change: UserChange) -> Result<UserInfo, AccessError> {
        let UserChange { role, cameras, password, disabled, second_factor } = change;
        if second_factor == Some(true) {
            return Err(AccessError::refused("a second factor is set up by its user, on the page of the own account"));
        }
        let password = match password {
            Some(password) => {
                check_password(&password, name)?;
                Some(self.0.hashing.hash(&password)?)
            }
            None => None,
        };
        self.change_users(|state| {
            let user = state.users.get_mut(name).ok_or_else(|| AccessError::unknown("user", name))?;
            let ends_sessions = password.is_some() || disabled == Some(true) || role.is_some() || cameras.is_some();
            user.role = role.unwrap_or(user.role);
            user.cameras = cameras.unwrap_or_else(|| user.cameras.clone());
            user.password = password.unwrap_or_else(|| user.password.clone());
            user.disabled = disabled.unwrap_or(user.disabled);
            if second_factor == Some(false) {
                user.second_factor = None;
            }
            check_cameras(user.role, &user.cameras)?;
            let info = user.info(name);
            keep_an_admin(state)?;
            if ends_sessions {
                state.sessions.end_of_user(name, None);
                state.proxied.end_of_user(name);
                state.keys.interrupt_of(name);
            }
            state.limits.unlock(name);
            Ok(info)
        })
    }

    /// Removes a user with its sessions.
    ///
    /// # Errors
    /// As [`Access::change_user`].
    pub fn remove_user(&self, name: &str) -> Result<(), AccessError> {
        self.change_users(|state| {
            state.users.remove(name).ok_or_else(|| AccessError::unknown("user", name))?;
            keep_an_admin(state)?;
            state.sessions.end_of_user(name, None);
            state.proxied.end_of_user(name);
            Ok(())
        })
    }

    /// Lets a user try again who failed too often.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn unlock_user(&self, name: &str) -> Result<(), AccessError> {
        let mut state = self.0.state.lock();
        if !state.users.contains_key(name) {
            return Err(AccessError::unknown("user", name));
        }
        state.limits.unlock(name);
        Ok(())
    }

    /// Whether `present` is the password of a user who is logged in; who has only the session is to guess it as slowly as
    /// others at the login.
    fn check_present(&self, name: &str, present: &str, address: IpAddr) -> Result<(), AccessError> {
        let (now, is_known) = (self.0.clock.mono(), true);
        let kept = {
            let state = self.0.state.lock();
            state.limits.admit(name, address, is_known, now).map_err(AccessError::Locked)?;
            state.users.get(name).map(|user| user.password.clone())
        };
        let is_right = self.0.hashing.verify(present, kept.as_deref());
        let mut state = self.0.state.lock();
        if is_right {
            state.limits.succeeded(name, address);
            return Ok(());
        }
        state.limits.failed(name, address, is_known, now);
        Err(AccessError::WrongPassword)
    }

    /// Changes the own password of a user, who knows the present one and comes from `address`. All other sessions of the user
    /// end.
    ///
    /// # Errors
    /// When the present one is wrong, too many were tried, or the new one is not taken.
    pub fn change_own_password(
        &self,
        name: &str,
        session: Option<&str>,
        present: &str,
        new: &str,
        address: IpAddr,
    ) -> Result<(), AccessError> {
        self.check_present(name, present, address)?;
        check_password(new, name)?;
        let password = self.0.hashing.hash(new)?;
        self.change_users(|state| {
            let user = state.users.get_mut(name).ok_or_else(|| AccessError::unknown("user", name))?;
            user.password = password;
            state.sessions.end_of_user(name, session);
            Ok(())
        })
    }

    /// Begins to set up a second factor of a user, who knows the password, and has a code of the present one where there is
    /// one; nothing is asked for until it is confirmed.
    ///
    /// # Errors
    /// When the password or the code is wrong or too many were tried, or the system has no randomness.
    pub fn begin_second_factor(
        &self,
        name: &str,
        device: &str,
        proof: &FactorProof<'_>,
    ) -> Result<Enrolment, AccessError> {
        let FactorProof { password, code, address } = *proof;
        self.check_present(name, password, address)?;
        let (now, is_trusted) = self.time();
        let is_asked = self.0.state.lock().users.get(name).is_some_and(|user| user.second_factor.is_some());
        if is_asked {
            let code =
                code.ok_or_else(|| AccessError::refused("a code of the present app, or a recovery code, is needed"))?;
            let taken = self.change_users(|state| {
                let factor = state.users.get_mut(name).and_then(|user| user.second_factor.as_mut());
                Ok(factor.is_some_and(|factor| factor.take(code, now, is_trusted)))
            })?;
            if !taken {
                self.0.state.lock().limits.failed(name, address, true, self.0.clock.mono());
                return Err(AccessError::refused("the code of the present app is wrong or was used already"));
            }
        }
        let secret = totp::new_secret()?;
        let enrolment = totp::enrolment(&secret, name, device)?;
        let mut state = self.0.state.lock();
        let user = state.users.get_mut(name).ok_or_else(|| AccessError::unknown("user", name))?;
        user.enrolling = Some(secret);
        Ok(enrolment)
    }

    /// Asks for the second factor from now on, since the app gave a right code. Gives the recovery codes, which are not
    /// shown again.
    ///
    /// # Errors
    /// When nothing was begun or the code is wrong.
    pub fn confirm_second_factor(&self, name: &str, code: &str) -> Result<Vec<String>, AccessError> {
        let (now, trusted) = self.time();
        self.change_users(|state| {
            let user = state.users.get_mut(name).ok_or_else(|| AccessError::unknown("user", name))?;
            let secret =
                user.enrolling.clone().ok_or_else(|| AccessError::refused("no second factor is being set up"))?;
            let (mut factor, codes) = SecondFactor::new(secret)?;
            if !factor.take(code, now, trusted) {
                return Err(AccessError::refused(
                    "the code is wrong or from another time: compare the clocks of the box and of the phone",
                ));
            }
            (user.second_factor, user.enrolling) = (Some(factor), None);
            Ok(codes)
        })
    }

    /// The wall clock, and whether it is known to be right.
    pub(super) fn time(&self) -> (Timestamp, bool) {
        (self.0.clock.wall(), self.0.clock.quality() == TimeQuality::Synchronised)
    }

    /// Whether what was made at `made` and ends at `end` is over: by the wall clock where it was right then and is now, else
    /// by the running time of this boot.
    pub(super) fn is_over(&self, end: Timestamp, made: Option<&Moment>) -> bool {
        let now = self.0.clock.now();
        let is_right = |moment: &Moment| moment.time_quality == TimeQuality::Synchronised;
        match made.filter(|made| made.boot_id == now.boot_id) {
            Some(made) if !is_right(made) || !is_right(&now) => {
                let holds = end.duration_since(made.wall).max(SignedDuration::ZERO).unsigned_abs();
                now.mono().since(made.mono()) >= holds
            }
            _ => is_right(&now) && end <= now.wall,
        }
    }

    /// Refuses an end of `what` that is past, or further away than `longest`.
    pub(super) fn check_end(&self, what: &str, end: Timestamp, longest: Option<Duration>) -> Result<(), AccessError> {
        let (now, is_trusted) = self.time();
        let lasts = end.duration_since(now);
        let hint =
            if is_trusted { "" } else { "; the clock of the box is not synchronised: set it, or leave the end out" };
        if !lasts.is_positive() {
            return Err(AccessError::Refused(format!("the {what} would end at {end}, which is past{hint}")));
        }
        if longest.is_some_and(|longest| lasts.unsigned_abs() > longest) {
            return Err(AccessError::Refused(format!("a {what} holds for a year at most{hint}")));
        }
        Ok(())
    }

    /// Carries out `change`, and takes it back where it cannot be written. It holds for requests that come meanwhile.
    pub(super) fn change_users<T>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, AccessError>,
    ) -> Result<T, AccessError> {
        let _turn = self.0.writing.lock();
        let (before, outcome, after) = {
            let mut state = self.0.state.lock();
            if let Some(damage) = &state.damage {
                return Err(AccessError::Refused(damage.clone()));
            }
            let before = (state.users.clone(), state.keys.clone());
            let outcome = change(&mut state);
            (before, outcome, (state.users.clone(), state.keys.clone()))
        };
        let outcome = outcome.and_then(|done| {
            self.0.files.save_users(&after.0, &after.1)?;
            Ok(done)
        });
        match &outcome {
            Ok(_) => self.0.files.save_sessions_or_log(&self.written_sessions()),
            Err(_) => self.take_back(before),
        }
        outcome
    }

    fn take_back(&self, (users, keys): (Users, Keys)) {
        let mut state = self.0.state.lock();
        (state.users, state.keys) = (users, keys);
        if state.users.is_empty() && state.unprotected.is_cancelled() {
            state.unprotected = CancellationToken::new();
        }
    }
}

pub(super) fn check_name(name: &str) -> Result<(), AccessError> {
    let is_fine = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '@');
    let is_plain = name.chars().all(is_fine) && name.chars().next().is_some_and(char::is_alphanumeric);
    if name.len() > LONGEST_NAME || !is_plain {
        let why = format!(
            "{name:?} is no name for a user: allowed are letters, digits and . - _ @, a letter or digit first, \
             {LONGEST_NAME} bytes at most"
        );
        return Err(AccessError::Refused(why));
    }
    Ok(())
}

fn check_password(password: &str, name: &str) -> Result<(), AccessError> {
    passwords::refusal(password, name).map_or(Ok(()), |why| Err(AccessError::Refused(why)))
}

/// Refuses a change after which only a login on the box itself could change anything.
fn keep_an_admin(state: &State) -> Result<(), AccessError> {
    if state.users.values().any(User::is_working_admin) {
        return Ok(());
    }
    Err(AccessError::refused("this is the last admin who can log in: make another user an admin first"))
}
