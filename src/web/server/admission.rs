//! How many connections may be open, and which one gives way when there are too many.
//!
//! Those of the local socket, of loopback and of elsewhere are counted apart, so that strangers cannot keep a person on
//! the box out. A new connection takes the place of the one that has waited for its next request longest, or else of the
//! one that has not taken its answer for longest. Where all are in use there are a few spare places, for health alone:
//! what watches the box learns that it lives.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::web::peer::Peer;

/// Connections of the local socket at once.
const MOST_LOCAL: usize = 64;
/// Connections of loopback at once: browsers behind a tunnel, programs on the box.
const MOST_LOOPBACK: usize = 128;
/// Connections of all other addresses at once.
const MOST_ELSEWHERE: usize = 256;
/// Connections of one address that is not loopback.
const MOST_OF_ONE: usize = 32;
/// Spare places of each of the three, where only health is answered.
const MOST_SPARE: usize = 8;
/// A connection gives way that took nothing of its answer for so long.
pub(super) const STALLED_AFTER: Duration = Duration::from_secs(5);

/// The connections that are open.
#[derive(Clone, Debug, Default)]
pub(super) struct Admission(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    origin: Origin,
    is_spare: bool,
    usage: Usage,
    cut: CancellationToken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Local,
    Loopback,
    Elsewhere(IpAddr),
}

impl Origin {
    fn of(peer: &Peer) -> Self {
        let Peer::Tcp { address, .. } = peer else { return Self::Local };
        match address.ip() {
            ip if ip.is_loopback() => Self::Loopback,
            // A household or a site has 2^64 addresses of IPv6.
            IpAddr::V6(ip) => Self::Elsewhere(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into()),
            ip => Self::Elsewhere(ip),
        }
    }

    /// Whether both share one limit in all.
    fn shares_pool_with(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    fn most(self) -> usize {
        match self {
            Self::Local => MOST_LOCAL,
            Self::Loopback => MOST_LOOPBACK,
            Self::Elsewhere(_) => MOST_ELSEWHERE,
        }
    }
}

impl Admission {
    /// A place for a connection of `peer`, which ends when `cut` is cancelled; a spare one where all places are in use,
    /// and none where those are too.
    pub(super) fn admit(&self, peer: &Peer, cut: &CancellationToken) -> Option<Place> {
        let origin = Origin::of(peer);
        let mut table = self.0.lock();
        let is_spare = !table.has_room_for(origin);
        if is_spare {
            table.make_room(MOST_SPARE, |other| other.is_spare && other.origin.shares_pool_with(origin))?;
        }
        let id = table.next;
        table.next += 1;
        let (usage, cut) = (Usage::new(), cut.child_token());
        table.open.insert(id, Entry { origin, is_spare, usage: usage.clone(), cut: cut.clone() });
        Some(Place { id, is_spare, usage, cut, of: self.clone() })
    }
}

impl Table {
    /// Whether there is a place for one more of `origin`, for all that it may ask; another may have to give way.
    fn has_room_for(&mut self, origin: Origin) -> bool {
        let is_elsewhere = matches!(origin, Origin::Elsewhere(_));
        let of_one = |other: &Entry| !other.is_spare && other.origin == origin;
        let of_all = |other: &Entry| !other.is_spare && other.origin.shares_pool_with(origin);
        (!is_elsewhere || self.make_room(MOST_OF_ONE, of_one).is_some())
            && self.make_room(origin.most(), of_all).is_some()
    }

    /// Makes room for one more where `most` are allowed of those that `is_counted` names.
    fn make_room(&mut self, most: usize, is_counted: impl Fn(&Entry) -> bool) -> Option<()> {
        let counted = || self.open.iter().filter(|(_, entry)| is_counted(entry));
        if counted().count() < most {
            return Some(());
        }
        let idle = counted().filter_map(|(id, entry)| Some((entry.usage.idle_since()?, *id))).min();
        let stalled = || counted().filter_map(|(id, entry)| Some((entry.usage.stalled_since()?, *id))).min();
        let (_, longest) = idle.or_else(stalled)?;
        self.open.remove(&longest)?.cut.cancel();
        Some(())
    }
}

/// The place of one connection, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    is_spare: bool,
    usage: Usage,
    cut: CancellationToken,
    of: Admission,
}

impl Place {
    /// Whether only health is answered there.
    pub(super) fn is_spare(&self) -> bool {
        self.is_spare
    }

    /// Requests of the connection are counted there.
    pub(super) fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Cancelled when the connection has to end at once.
    pub(super) fn cut(&self) -> &CancellationToken {
        &self.cut
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.0.lock().open.remove(&self.id);
    }
}

/// What a connection is used for.
#[derive(Clone, Debug)]
pub(super) struct Usage(Arc<Mutex<Counts>>);

#[derive(Debug)]
struct Counts {
    /// Requests whose answer is not at its end.
    open: usize,
    /// Since when there is none.
    since: Instant,
    /// It carries another protocol from now on.
    is_upgraded: bool,
    /// Since when the other end takes none of what is sent.
    stalled: Option<Instant>,
    /// Answers of which the other end has not taken what there is, and when it took some of one last.
    standing: usize,
    moved: Instant,
    answered: u64,
    given_up: u64,
    abuse: CancellationToken,
}

/// So many requests that the client gave up are no accident, if they are the most of all.
const MOST_GIVEN_UP: u64 = 500;

impl Usage {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Counts {
            open: 0,
            since: Instant::now(),
            is_upgraded: false,
            stalled: None,
            standing: 0,
            moved: Instant::now(),
            answered: 0,
            given_up: 0,
            abuse: CancellationToken::new(),
        })))
    }

    /// A request has come.
    pub(super) fn begin(&self) -> InFlight {
        self.0.lock().open += 1;
        InFlight { usage: self.clone(), is_answered: false, is_standing: false }
    }

    /// Since when the connection waits for a request; none while one is in flight.
    fn idle_since(&self) -> Option<Instant> {
        let counts = self.0.lock();
        (counts.open == 0 && !counts.is_upgraded).then_some(counts.since)
    }

    /// The other end takes nothing more for now; or takes it again.
    pub(super) fn stalls(&self, does: bool) {
        let mut counts = self.0.lock();
        counts.stalled = does.then(|| counts.stalled.unwrap_or_else(Instant::now));
    }

    /// Since when all answers stand still; none while one is made, moves or has nothing to send.
    pub(super) fn standing_since(&self) -> Option<Instant> {
        let counts = self.0.lock();
        (counts.standing > 0 && counts.standing == counts.open).then_some(counts.moved)
    }

    /// Since when the other end has taken nothing, where that is long.
    fn stalled_since(&self) -> Option<Instant> {
        let blocked = self.0.lock().stalled;
        blocked.or_else(|| self.standing_since()).filter(|since| since.elapsed() >= STALLED_AFTER)
    }

    /// Waits until no request has been in flight for `limit`.
    pub(super) async fn idle_for(&self, limit: Duration) {
        lasts(limit, || self.idle_since()).await;
    }

    /// Waits until all answers have stood still for `limit`: windows of HTTP/2 stay shut where no write waits.
    pub(super) async fn stood_still_for(&self, limit: Duration) {
        lasts(limit, || self.standing_since()).await;
    }

    /// Waits until the client has made many requests only to give them up: each costs the box work, and the client none.
    pub(super) async fn abused(&self) {
        let abuse = self.0.lock().abuse.clone();
        abuse.cancelled().await;
    }
}

/// Waits until something that `since` names the beginning of has lasted for `limit`.
async fn lasts(limit: Duration, since: impl Fn() -> Option<Instant>) {
    loop {
        let now = Instant::now();
        match since().map(|since| since + limit) {
            Some(end) if end <= now => return,
            Some(end) => tokio::time::sleep_until(end).await,
            None => tokio::time::sleep(limit).await,
        }
    }
}

/// A request that is being answered, until this is dropped.
#[derive(Debug)]
pub(super) struct InFlight {
    usage: Usage,
    is_answered: bool,
    /// The other end has not taken what there is of the answer.
    is_standing: bool,
}

impl InFlight {
    /// There is an answer, which may have to be sent yet.
    pub(super) fn answered(&mut self) {
        self.is_answered = true;
    }

    /// There is more of the answer than the other end has taken.
    pub(super) fn stands_still(&mut self) {
        if !std::mem::replace(&mut self.is_standing, true) {
            let mut counts = self.usage.0.lock();
            if counts.standing == 0 {
                counts.moved = Instant::now();
            }
            counts.standing += 1;
        }
    }

    /// The other end has taken all that there was.
    pub(super) fn moves(&mut self) {
        if std::mem::replace(&mut self.is_standing, false) {
            let mut counts = self.usage.0.lock();
            counts.standing -= 1;
            counts.moved = Instant::now();
        }
    }

    /// The connection carries another protocol from now on, and is in use until its end.
    pub(super) fn upgraded(&mut self) {
        self.usage.0.lock().is_upgraded = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut counts = self.usage.0.lock();
        counts.open -= 1;
        counts.standing -= usize::from(self.is_standing);
        counts.since = Instant::now();
        if self.is_answered {
            counts.answered += 1;
        } else {
            counts.given_up += 1;
        }
        if counts.given_up >= MOST_GIVEN_UP && counts.given_up > counts.answered {
            counts.abuse.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(ip: &str) -> Peer {
        Peer::Tcp { address: (ip.parse::<IpAddr>().expect("an address"), 5000).into(), is_tls: false }
    }

    fn open(admission: &Admission, peer: &Peer, n: usize) -> Vec<Option<Place>> {
        (0..n).map(|_| admission.admit(peer, &CancellationToken::new())).collect()
    }

    fn is_whole(place: Option<Place>) -> bool {
        place.is_some_and(|place| !place.is_spare())
    }

    #[test]
    fn places_of_loopback_and_the_local_socket_are_their_own() {
        let admission = Admission::default();
        let crowd: Vec<Place> = (0..MOST_ELSEWHERE)
            .flat_map(|n| open(&admission, &from(&format!("10.0.{}.7", n / 8)), 1))
            .map(|place| place.expect("room"))
            .collect();
        let busy: Vec<InFlight> = crowd.iter().map(|place| place.usage().begin()).collect();
        let spare: Vec<Place> = open(&admission, &from("10.9.9.9"), MOST_SPARE).into_iter().flatten().collect();
        assert!(spare.len() == MOST_SPARE && spare.iter().all(Place::is_spare), "all others are in use");
        let asking: Vec<InFlight> = spare.iter().map(|place| place.usage().begin()).collect();
        assert!(admission.admit(&from("10.9.9.9"), &CancellationToken::new()).is_none(), "all are in use");
        drop(asking);
        for peer in [from("127.0.0.1"), from("::1"), Peer::Local { uid: 0, gid: 0 }] {
            assert!(is_whole(admission.admit(&peer, &CancellationToken::new())), "{peer:?}");
        }
        drop((busy, crowd));
        assert!(is_whole(admission.admit(&from("10.9.9.9"), &CancellationToken::new())));
    }

    #[test]
    fn one_address_has_so_many_and_a_network_of_ipv6_counts_as_one() {
        for addresses in [["10.0.0.7", "10.0.0.7"], ["2001:db8::1", "2001:db8::ffff:2"]] {
            let admission = Admission::default();
            let mine: Vec<Place> = open(&admission, &from(addresses[0]), MOST_OF_ONE)
                .into_iter()
                .map(|place| place.expect("room"))
                .collect();
            let busy: Vec<InFlight> = mine.iter().map(|place| place.usage().begin()).collect();
            let more = || admission.admit(&from(addresses[1]), &CancellationToken::new());
            assert!(more().is_some_and(|place| place.is_spare()), "{addresses:?}");
            assert!(is_whole(admission.admit(&from("10.0.0.8"), &CancellationToken::new())));
            drop(busy);
            assert!(is_whole(more()), "{addresses:?}: one that waits gives way");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_waits_longest_gives_way_and_one_in_use_does_not() {
        let admission = Admission::default();
        let mut places = Vec::new();
        for _ in 0..MOST_LOCAL {
            places.extend(open(&admission, &Peer::Local { uid: 0, gid: 0 }, 1).into_iter().flatten());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let (used, mut upgraded) = (places[0].usage().begin(), places[1].usage().begin());
        upgraded.upgraded();
        drop((upgraded, places[2].usage().begin()));
        let newest = open(&admission, &Peer::Local { uid: 0, gid: 0 }, 1);
        assert!(newest[0].is_some());
        let cut: Vec<usize> = (0..places.len()).filter(|&n| places[n].cut().is_cancelled()).collect();
        assert_eq!(cut, [3], "0 is in use, 1 upgraded, 2 was used just now");
        drop(used);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_nothing_of_its_answer_gives_way_where_none_waits() {
        let admission = Admission::default();
        let one = || admission.admit(&from("127.0.0.1"), &CancellationToken::new()).expect("room");
        let places: Vec<Place> = (0..MOST_LOOPBACK).map(|_| one()).collect();
        let _busy: Vec<InFlight> = places.iter().map(|place| place.usage().begin()).collect();
        places[7].usage().stalls(true);
        assert!(one().is_spare(), "it may take more in a moment");
        tokio::time::advance(STALLED_AFTER).await;
        places[8].usage().stalls(true);
        assert!(!one().is_spare());
        let cut: Vec<usize> = (0..places.len()).filter(|&n| places[n].cut().is_cancelled()).collect();
        assert_eq!(cut, [7]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_all_of_whose_answers_stand_still_gives_way() {
        let admission = Admission::default();
        let one = || admission.admit(&from("127.0.0.1"), &CancellationToken::new()).expect("room");
        let places: Vec<Place> = (0..MOST_LOOPBACK).map(|_| one()).collect();
        let mut busy: Vec<InFlight> = places.iter().map(|place| place.usage().begin()).collect();
        let waits = places[8].usage().begin();
        busy[8].stands_still();
        busy[9].stands_still();
        tokio::time::advance(STALLED_AFTER).await;
        busy[9].moves();
        busy[9].stands_still();
        assert!(one().is_spare(), "8 has an answer that is being made, and 9 took some just now");
        drop(waits);
        assert!(!one().is_spare());
        let cut: Vec<usize> = (0..places.len()).filter(|&n| places[n].cut().is_cancelled()).collect();
        assert_eq!(cut, [8]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_only_without_a_request() {
        let place = Admission::default().admit(&from("127.0.0.1"), &CancellationToken::new()).expect("room");
        let usage = place.usage();
        let limit = Duration::from_secs(60);
        let request = usage.begin();
        assert!(tokio::time::timeout(limit * 10, usage.idle_for(limit)).await.is_err(), "a long download");
        drop(request);
        let begun = Instant::now();
        usage.idle_for(limit).await;
        assert!(begun.elapsed() >= limit);
    }

    #[test]
    fn requests_that_are_given_up_again_and_again_are_abuse() {
        let place = || Admission::default().admit(&from("127.0.0.1"), &CancellationToken::new()).expect("room");
        let is_abused = |place: &Place| place.usage().0.lock().abuse.is_cancelled();
        let (flood, person) = (place(), place());
        for _ in 0..MOST_GIVEN_UP {
            assert!(!is_abused(&flood));
            drop(flood.usage().begin());
            person.usage().begin().answered();
            drop(person.usage().begin());
        }
        assert!(is_abused(&flood));
        assert!(!is_abused(&person), "a person who jumps about in a video");
    }
}
