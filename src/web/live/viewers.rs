//! Who may look at cameras, how many at once, and until when.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::access::Caller;
use crate::web::problem::{Code, Problem};

/// Viewers of one camera at once. The camera's fragments are made once for all of them, but each has a copy sent.
const MOST_OF_ONE: usize = 8;

/// How often it is looked whether a viewer may still see its camera.
const SEES_EVERY: Duration = Duration::from_secs(5);

/// Those who look at cameras.
pub(in crate::web) struct Viewers {
    most: usize,
    all: Arc<Semaphore>,
    of_cameras: Mutex<HashMap<String, Arc<Semaphore>>>,
    stop: CancellationToken,
}

/// A viewer that was let in; it counts until this is dropped.
pub(super) struct AdmittedViewer {
    caller: Caller,
    camera: String,
    stop: CancellationToken,
    _permits: [OwnedSemaphorePermit; 2],
}

impl AdmittedViewer {
    /// Waits until the viewer has to go: its session or key was revoked, what it may see has ended, or the page stops.
    pub(super) async fn ended(&self) {
        let no_longer_sees = async {
            while self.caller.sees(&self.camera, Timestamp::now()) {
                tokio::time::sleep(SEES_EVERY).await;
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.caller.until.cancelled() => {}
            () = no_longer_sees => {}
        }
    }
}

impl Viewers {
    /// At most `most` at once. All end with `stop`.
    pub(in crate::web) fn new(most: usize, stop: CancellationToken) -> Self {
        let all = Arc::new(Semaphore::new(most));
        Self { most, all, of_cameras: Mutex::default(), stop }
    }

    /// Lets one more in, to look at `camera`, which exists and which `caller` sees.
    pub(super) fn admit(&self, caller: Caller, camera: &str) -> Result<AdmittedViewer, Problem> {
        let of_camera = {
            // Cameras come from the configuration, so this stays small.
            let mut of_cameras = self.of_cameras.lock();
            of_cameras.entry(camera.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(MOST_OF_ONE))).clone()
        };
        let full = |whose: &str, most: usize| {
            let message = format!("{whose} has {most} viewers already: close one, or raise web.max_viewers");
            Problem::new(Code::TooManyViewers, message)
        };
        let one = of_camera.try_acquire_owned().map_err(|_| {
            let message = format!("camera {camera:?} has {MOST_OF_ONE} viewers already: close one");
            Problem::new(Code::TooManyViewers, message)
        })?;
        let any = self.all.clone().try_acquire_owned().map_err(|_| full("the box", self.most))?;
        let (camera, stop) = (camera.to_owned(), self.stop.clone());
        Ok(AdmittedViewer { caller, camera, stop, _permits: [one, any] })
    }
}

/// Turns away viewers of a foreign page: the rules that keep such pages from reading answers do not hold for WebSockets.
pub(in crate::web) fn check_page(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    let is_ours = |origin: &str| {
        let named = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
        named.is_some_and(|named| named.eq_ignore_ascii_case(host))
    };
    // What is no text is no page of ours either.
    let foreign = headers.get(header::ORIGIN).is_some_and(|origin| !origin.to_str().is_ok_and(is_ours));
    let site = headers.get("sec-fetch-site").map(|site| site.to_str().unwrap_or_default());
    if foreign || site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        let message = "WebSockets are for the box's own page, and for programs".to_owned();
        return Err(Problem::new(Code::ForeignPage, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::access::{CallerKind, Grant};

    fn comes(pairs: &[(&'static str, &'static str)]) -> bool {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (name.parse::<header::HeaderName>().expect("name"), value.parse().expect("value"))
        };
        check_page(&pairs.iter().map(pair).collect()).is_ok()
    }

    #[test]
    fn only_our_own_page_and_programs_look() {
        let host = ("host", "127.0.0.1:8080");
        assert!(comes(&[host]), "a program");
        assert!(comes(&[host, ("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "same-origin")]));
        assert!(comes(&[host, ("origin", "https://127.0.0.1:8080")]));
        for origin in ["http://evil.example", "null", "http://127.0.0.1:8080.evil.example", "file://", ""] {
            assert!(!comes(&[host, ("origin", origin)]), "{origin}");
        }
        assert!(!comes(&[host, ("sec-fetch-site", "cross-site")]));
    }

    fn caller() -> Caller {
        Caller::admin("someone", CallerKind::Session)
    }

    #[test]
    fn viewers_are_bounded_in_all_and_for_each_camera_and_leave_room_when_they_go() {
        let viewers = Viewers::new(10, CancellationToken::new());
        let admit = |camera| viewers.admit(caller(), camera);
        let mut yard: Vec<AdmittedViewer> = (0..MOST_OF_ONE).map(|_| admit("yard").expect("let in")).collect();
        assert!(admit("yard").is_err(), "one camera");
        let gate = [admit("gate"), admit("gate")];
        assert!(gate.iter().all(Result::is_ok) && admit("lane").is_err(), "all");
        yard.pop();
        assert!(admit("lane").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_viewer_ends_with_the_page_with_its_session_and_with_what_it_may_see() {
        let stop = CancellationToken::new();
        let viewers = Viewers::new(10, stop.clone());
        let (anyone, revoked) = (caller(), caller());
        let grant = |until| Grant { since: None, until: Some(until) };
        let for_now = Caller { cameras: Some([("yard".into(), grant(Timestamp::MAX))].into()), ..caller() };
        let no_more = Caller { cameras: Some([("yard".into(), grant(Timestamp::UNIX_EPOCH))].into()), ..caller() };
        let admit = |caller: &Caller| viewers.admit(caller.clone(), "yard").expect("let in");
        let ended = |admission: &AdmittedViewer| admission.ended().now_or_never().is_some();
        let all = [&anyone, &revoked, &for_now].map(admit);
        assert!(!all.iter().any(ended) && ended(&admit(&no_more)));
        revoked.until.cancel();
        assert_eq!([&all[0], &all[1], &all[2]].map(ended), [false, true, false]);
        stop.cancel();
        assert!(all.iter().all(ended));
    }
}
