//! Links to files of events, photos and albums, for people without a login: each ends, is counted, and can be revoked.
//!
//! The secret of a link stands behind `#`, so that a browser sends it in no address. Who has it gets a ticket, with which
//! what it leads to is read for an hour; so a view is counted once, however often a player asks for a part of the file.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::AccessError;
use super::shared_item::SharedItem;
use super::{Access, Caller, CallerKind, Locked, passwords, random};
use crate::clock::{Moment, Mono};

/// Links of one box at most.
const MOST_SHARES: usize = 1000;
/// How long a link holds where nothing is said.
const HOLDS_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// Longest time that a link holds.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long a ticket holds.
const TICKET_FOR: Duration = Duration::from_secs(3600);
/// Tickets at once; the oldest go first.
const MOST_TICKETS: usize = 1000;

/// A link as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Share {
    hash: String,
    #[serde(flatten)]
    item: SharedItem,
    created: Timestamp,
    /// The same on all clocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made: Option<Moment>,
    created_by: String,
    /// Whether that is a user, whose rights the link depends on.
    by_user: bool,
    expires: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    most_views: Option<u32>,
    #[serde(default)]
    views: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_view: Option<Timestamp>,
    /// As argon2id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

/// Links by their public id.
pub(super) type Shares = BTreeMap<String, Share>;

/// Who was let in by a link, by the hash of the ticket.
#[derive(Debug, Default)]
pub(super) struct Tickets(HashMap<String, Ticket>);

#[derive(Clone, Debug)]
struct Ticket {
    share: String,
    since: Mono,
}

/// A link to be made.
#[derive(Clone, Debug)]
pub struct NewShare {
    /// What it leads to.
    pub item: SharedItem,
    /// When it ends; absent: after a week.
    pub expires: Option<Timestamp>,
    /// How often it may be opened; absent: as often as one likes.
    pub most_views: Option<u32>,
    /// What has to be typed to open it.
    pub password: Option<String>,
}

/// A link as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShareInfo {
    /// Its public id.
    pub id: String,
    /// What it leads to.
    #[serde(flatten)]
    pub item: SharedItem,
    /// When it was made.
    pub created: Timestamp,
    /// Its maker: a user, a key, or the box itself.
    pub created_by: String,
    /// When it ends.
    pub expires: Timestamp,
    /// How often it may be opened.
    pub most_views: Option<u32>,
    /// How often it was.
    pub views: u32,
    /// When it was opened last.
    pub last_view: Option<Timestamp>,
    /// Whether a password is asked for.
    pub has_password: bool,
}

/// A link that was made.
#[derive(Clone, Debug, Serialize)]
pub struct ShareAdded {
    /// What is shown of it later too.
    #[serde(flatten)]
    pub info: ShareInfo,
    /// What the link consists of behind the page's address; not shown again.
    pub link: String,
}

/// A link that was opened.
#[derive(Clone, Debug)]
pub struct ShareOpened {
    /// The link's public id.
    pub id: String,
    /// What it leads to.
    pub item: SharedItem,
    /// Reads it for an hour.
    pub ticket: String,
}

/// Why a link is not opened.
#[derive(Debug, thiserror::Error)]
pub enum ShareRefusal {
    /// It never was, ended, was revoked or opened often enough: which of them is not said.
    #[error("this link does not lead anywhere: it has ended, was withdrawn, or is not complete")]
    Gone,
    /// It wants a password.
    #[error("this link needs a password")]
    PasswordNeeded,
    /// It wants another one.
    #[error("the password is wrong")]
    WrongPassword,
    /// Too many were tried.
    #[error("too many tries: wait {} s", .0.wait.as_secs().max(1))]
    Locked(Locked),
    /// The disk or the system refused.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

impl Share {
    fn info(&self, id: &str) -> ShareInfo {
        let Self { item, created, created_by, expires, most_views, views, last_view, password, .. } = self.clone();
        let has_password = password.is_some();
        ShareInfo { id: id.to_owned(), item, created, created_by, expires, most_views, views, last_view, has_password }
    }
}

impl Access {
    /// Links, those of all or those that `by` made.
    pub fn shares(&self, by: Option<&str>) -> Vec<ShareInfo> {
        let state = self.0.state.lock();
        let wanted = state.shares.iter().filter(|(_, share)| by.is_none_or(|by| share.created_by == by));
        wanted.map(|(id, share)| share.info(id)).collect()
    }

    /// Makes a link on behalf of `by`.
    ///
    /// # Errors
    /// An end in the past or too far away, a short password, a disk that refuses.
    pub fn add_share(&self, new: NewShare, by: &Caller) -> Result<ShareAdded, AccessError> {
        let NewShare { item, expires, most_views, password } = new;
        if by.kind == CallerKind::Proxy && self.user(&by.name).is_none() {
            // Nothing would end the link when the proxy no longer knows its maker.
            return Err(AccessError::refused("links are made by users of the box: an admin has to add you first"));
        }
        let made = self.0.clock.now();
        let now = made.wall;
        let expires = expires.unwrap_or_else(|| now.saturating_add(HOLDS_FOR).unwrap_or(Timestamp::MAX));
        self.check_end("link", expires, Some(LONGEST))?;
        if most_views == Some(0) {
            return Err(AccessError::refused("a link that may be opened 0 times is of no use: leave most_views out"));
        }
        let password = match password.as_deref() {
            None => None,
            Some(text) if text.chars().count() < 4 || text.len() > passwords::LONGEST => {
                return Err(AccessError::refused("the password of a link has 4 to 1024 characters"));
            }
            Some(text) => Some(self.0.hashing.hash(text)?),
        };
        let (id, token) = (random::id()?, random::token()?);
        let share = Share {
            hash: random::hash(&token),
            item,
            created: now,
            made: Some(made),
            created_by: by.name.to_string(),
            by_user: matches!(by.kind, CallerKind::Session | CallerKind::Proxy),
            expires,
            most_views,
            views: 0,
            last_view: None,
            password,
        };
        let info = share.info(&id);
        let link = format!("{id}_{token}");
        self.change_shares(|shares| {
            shares.retain(|_, share| !self.is_over(share.expires, share.made.as_ref()));
            if shares.len() >= MOST_SHARES {
                let why = format!("there are {MOST_SHARES} links, which is the most: withdraw some");
                return Err(AccessError::Refused(why));
            }
            shares.insert(id, share);
            Ok(())
        })?;
        Ok(ShareAdded { info, link })
    }

    /// Withdraws a link, one of `by` only where that is given. What is read by it ends with the next request.
    ///
    /// # Errors
    /// When there is none, or the disk refuses.
    pub fn remove_share(&self, id: &str, by: Option<&str>) -> Result<ShareInfo, AccessError> {
        self.change_shares(|shares| {
            let unknown = || AccessError::unknown("link", id);
            let is_own = shares.get(id).is_some_and(|share| by.is_none_or(|by| share.created_by == by));
            let share = if is_own { shares.remove(id) } else { None };
            Ok(share.ok_or_else(unknown)?.info(id))
        })
    }

    /// Opens `link` from `address`, which counts as a view.
    ///
    /// # Errors
    /// Why it is not opened.
    pub fn open_share(&self, link: &str, password: Option<&str>, address: IpAddr) -> Result<ShareOpened, ShareRefusal> {
        let (id, token) = link.split_once('_').ok_or(ShareRefusal::Gone)?;
        let share = self.usable(id).filter(|share| share.hash == random::hash(token)).ok_or(ShareRefusal::Gone)?;
        if share.most_views.is_some_and(|most| share.views >= most) {
            return Err(ShareRefusal::Gone);
        }
        if let Some(kept) = &share.password {
            self.check_share_password(id, kept, password.ok_or(ShareRefusal::PasswordNeeded)?, address)?;
        }
        let (now, _) = self.time();
        let counted = self.change_shares(|shares| {
            // Another may have opened it meanwhile.
            let share = shares.get_mut(id).filter(|share| share.most_views.is_none_or(|most| share.views < most));
            let share = share.ok_or_else(|| AccessError::unknown("link", id))?;
            (share.views, share.last_view) = (share.views.saturating_add(1), Some(now));
            Ok(())
        });
        match counted {
            Ok(()) => {}
            Err(AccessError::Failed(error)) => return Err(ShareRefusal::Failed(error)),
            Err(_) => return Err(ShareRefusal::Gone),
        }
        let ticket = random::token()?;
        let since = self.0.clock.mono();
        self.0.state.lock().tickets.add(random::hash(&ticket), Ticket { share: id.to_owned(), since });
        Ok(ShareOpened { id: id.to_owned(), item: share.item, ticket })
    }

    /// The link by which `ticket` was given, and what it leads to; `None` where either does not hold any more.
    pub fn of_ticket(&self, ticket: &str) -> Option<(String, SharedItem)> {
        let now = self.0.clock.mono();
        let found = self.0.state.lock().tickets.0.get(&random::hash(ticket)).cloned()?;
        if now.since(found.since) > TICKET_FOR {
            return None;
        }
        Some((found.share.clone(), self.usable(&found.share)?.item))
    }

    /// A link that has not ended and whose maker may still see what it leads to.
    fn usable(&self, id: &str) -> Option<Share> {
        let state = self.0.state.lock();
        let share = state.shares.get(id).filter(|share| !self.is_over(share.expires, share.made.as_ref()))?;
        let maker = state.users.get(&share.created_by).filter(|_| share.by_user);
        let is_allowed = maker.map_or(!share.by_user, |maker| share.item.is_seen_by(maker));
        is_allowed.then(|| share.clone())
    }

    fn check_share_password(&self, id: &str, kept: &str, password: &str, address: IpAddr) -> Result<(), ShareRefusal> {
        // No user has such a name.
        let account = format!("link {id}");
        let now = self.0.clock.mono();
        self.0.state.lock().limits.admit(&account, address, false, now).map_err(ShareRefusal::Locked)?;
        if self.0.hashing.verify(password, Some(kept)) {
            self.0.state.lock().limits.succeeded(&account, address);
            return Ok(());
        }
        self.0.state.lock().limits.failed(&account, address, false, now);
        Err(ShareRefusal::WrongPassword)
    }

    /// Carries out `change` once it is written.
    fn change_shares<T>(&self, change: impl FnOnce(&mut Shares) -> Result<T, AccessError>) -> Result<T, AccessError> {
        let _turn = self.0.writing.lock();
        let mut shares = {
            let state = self.0.state.lock();
            if let Some(damage) = &state.shares_damage {
                return Err(AccessError::Refused(damage.clone()));
            }
            state.shares.clone()
        };
        let done = change(&mut shares)?;
        self.0.files.save_shares(&shares)?;
        self.0.state.lock().shares = shares;
        Ok(done)
    }
}

impl Tickets {
    fn add(&mut self, hash: String, ticket: Ticket) {
        let now = ticket.since;
        self.0.retain(|_, known| now.since(known.since) <= TICKET_FOR);
        if self.0.len() >= MOST_TICKETS
            && let Some(oldest) = self.0.iter().min_by_key(|(_, known)| known.since).map(|(hash, _)| hash.clone())
        {
            self.0.remove(&oldest);
        }
        self.0.insert(hash, ticket);
    }
}
