//! Sessions that ended here but not yet in the camera.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use retina::client::SessionGroup;
use tokio::time::timeout;
use tracing::{debug, info};
use url::Url;

use super::faults::first_sentence;

/// Old live555 firmware keeps sending into a closed session for 65 s.
const STALE_LIMIT: Duration = Duration::from_secs(70);

/// A camera that is there confirms the end of a session at once. Retina tries once for 5 s.
const TEARDOWN_LIMIT: Duration = Duration::from_secs(6);

/// What is known of the sessions of an address.
pub(super) struct Known {
    group: Weak<SessionGroup>,
    /// Whether the camera's software is one that sends a dead session's packets into a new one.
    sends_into_others: bool,
}

/// Sessions per address. Retina's own tasks keep a group alive as long as it has stale sessions, so
/// this holds nothing but what is in use.
pub(super) static GROUPS: LazyLock<Mutex<HashMap<Url, Known>>> = LazyLock::new(Mutex::default);

fn groups<R>(look: impl FnOnce(&mut HashMap<Url, Known>) -> R) -> R {
    look(&mut GROUPS.lock())
}

pub(super) fn group_of(url: &Url) -> Arc<SessionGroup> {
    groups(|groups| {
        groups.retain(|_, known| known.group.strong_count() > 0);
        if let Some(group) = groups.get(url).and_then(|known| known.group.upgrade()) {
            return group;
        }
        let group = Arc::new(SessionGroup::default());
        groups.insert(url.clone(), Known { group: Arc::downgrade(&group), sends_into_others: false });
        group
    })
}

/// Notes that the camera at `url` sends a dead session's packets into a new one.
pub(super) fn sends_into_others(url: &Url) {
    groups(|groups| {
        if let Some(known) = groups.get_mut(url) {
            known.sends_into_others = true;
        }
    });
}

/// Cameras have few sessions to give: the end of those that were dropped here is waited for. Packets of a session that
/// are unknown here are waited out only where the camera's software is known for them, for retina takes
/// every new synchronisation source for such a packet.
pub(super) async fn wait_out_stale_sessions(group: &SessionGroup, url: &Url, what: &str) {
    // One that is not confirmed is no reason to stay away: the worst is one more failure.
    if let Ok(Err(failure)) = timeout(TEARDOWN_LIMIT, group.await_teardown()).await {
        debug!(camera = what, error = first_sentence(&failure.to_string()), "RTSP teardown failed");
    }
    let status = group.stale_sessions();
    if status.num_sessions == 0 || !groups(|groups| groups.get(url).is_some_and(|known| known.sends_into_others)) {
        return;
    }
    info!(camera = what, sessions = status.num_sessions, "waiting for the camera to give up old sessions");
    let _ = timeout(STALE_LIMIT, group.await_stale_sessions(&status)).await;
}

/// Waits until dropped sessions are torn down.
pub(in crate::source) async fn settle(limit: Duration) {
    let groups: Vec<_> = groups(|groups| groups.values().filter_map(|known| known.group.upgrade()).collect());
    let all = join_all(groups.iter().map(|group| group.await_teardown()));
    match timeout(limit, all).await {
        Ok(outcomes) => {
            for failure in outcomes.into_iter().filter_map(Result::err) {
                debug!(error = first_sentence(&failure.to_string()), "RTSP teardown failed");
            }
        }
        Err(_) => info!("some RTSP cameras did not confirm the end of their sessions"),
    }
}
