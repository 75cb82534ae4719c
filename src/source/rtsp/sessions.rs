//! Sessions that ended here but not yet in the camera.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::future::join_all;
use retina::client::SessionGroup;
use tokio::time::timeout;
use tracing::{debug, info};
use url::Url;

use super::faults::first_sentence;

/// Old live555 firmware keeps sending into a closed session for 65 s.
const STALE_LIMIT: Duration = Duration::from_secs(70);

/// Sessions per address. Retina's own tasks keep a group alive as long as it has stale sessions, so
/// this holds nothing but what is in use.
pub(super) static GROUPS: LazyLock<Mutex<HashMap<Url, Weak<SessionGroup>>>> = LazyLock::new(Mutex::default);

pub(super) fn group_of(url: &Url) -> Arc<SessionGroup> {
    let mut groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
    groups.retain(|_, group| group.strong_count() > 0);
    if let Some(group) = groups.get(url).and_then(Weak::upgrade) {
        return group;
    }
    let group = Arc::new(SessionGroup::default());
    groups.insert(url.clone(), Arc::downgrade(&group));
    group
}

/// Cameras have few sessions to give, and old firmware sends a dead session's packets into a new one.
pub(super) async fn wait_out_stale_sessions(group: &SessionGroup, what: &str) {
    let status = group.stale_sessions();
    if status.num_sessions == 0 {
        return;
    }
    info!(camera = what, sessions = status.num_sessions, "waiting for the camera to give up old sessions");
    // After the limit it is tried anyway: the worst is one more failure.
    let _ = timeout(STALE_LIMIT, group.await_stale_sessions(&status)).await;
}

/// Waits until dropped sessions are torn down.
pub(in crate::source) async fn settle(limit: Duration) {
    let groups: Vec<_> =
        GROUPS.lock().unwrap_or_else(PoisonError::into_inner).values().filter_map(Weak::upgrade).collect();
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
