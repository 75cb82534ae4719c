//! Users that a proxy identifies, request by request.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use super::keys::PREFIX;
use super::users::check_name;
use super::{Access, Caller, CallerKind, Role};

/// Users of a proxy at once.
const MOST: usize = 1000;

/// Users that a proxy identified, by name.
#[derive(Debug, Default)]
pub(super) struct Proxied(BTreeMap<String, Shown>);

#[derive(Debug)]
struct Shown {
    /// When the last of the user's tokens is over, seconds since 1970.
    ends: i64,
    until: CancellationToken,
}

impl Proxied {
    /// Ends what goes on for `user`.
    pub(super) fn end_of_user(&mut self, user: &str) {
        if let Some(shown) = self.0.remove(user) {
            shown.until.cancel();
        }
    }

    fn until(&mut self, user: &str, ends: i64) -> CancellationToken {
        if self.0.len() >= MOST
            && !self.0.contains_key(user)
            && let Some(first) = self.0.iter().min_by_key(|(_, shown)| shown.ends).map(|(name, _)| name.clone())
        {
            self.end_of_user(&first);
        }
        let new = || Shown { ends, until: CancellationToken::new() };
        let shown = self.0.entry(user.to_owned()).or_insert_with(new);
        shown.ends = shown.ends.max(ends);
        shown.until.child_token()
    }
}

impl Access {
    /// On whose behalf a request comes that a proxy vouches for, until `ends` (seconds since 1970). `None` for a user who is
    /// kept out, and for one who is unknown, unless these have a role. A box without users lets none in.
    pub fn of_proxy(&self, name: &str, unknown: Option<Role>, ends: i64) -> Option<Caller> {
        let mut state = self.0.state.lock();
        if state.damage.is_some() || state.users.is_empty() {
            return None;
        }
        let (role, cameras) = match state.users.get(name) {
            Some(user) if user.disabled => return None,
            Some(user) => (user.role, user.cameras.clone()),
            None => (unknown.filter(|_| check_name(name).is_ok())?, None),
        };
        let until = state.proxied.until(name, ends);
        Some(Caller { name: name.into(), kind: CallerKind::Proxy, role, cameras, session: None, until })
    }

    /// Ends what goes on with tokens that are over at `now`, seconds since 1970.
    pub fn end_proxied(&self, now: i64) {
        self.0.state.lock().proxied.0.retain(|_, shown| {
            let stays = shown.ends > now;
            if !stays {
                shown.until.cancel();
            }
            stays
        });
    }

    /// Whether `text` looks like a key of a program, right or wrong.
    pub fn is_key(text: &str) -> bool {
        text.starts_with(PREFIX)
    }
}
