//! Following the box.

use std::time::Instant;

use super::library::Users;
use super::*;
use crate::access::{Grant, NewKey, NewUser, Role};
use crate::clock::Clock;
use crate::photo::PhotoId;
use crate::service::recordings::{REORDERED, three_segments};
use crate::telemetry::{self, LineLevel};

/// How long something may take to come on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client that follows.
struct Follower {
    stream: TcpStream,
    text: String,
}

impl Follower {
    async fn start(site: &Site, headers: &str) -> Self {
        Self::start_at(site, "/api/v1/stream", headers).await
    }

    async fn start_at(site: &Site, target: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(site.address).await.expect("connect");
        let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n", site.address);
        stream.write_all(request.as_bytes()).await.expect("ask");
        Self { stream, text: String::new() }
    }

    /// Reads on until something contains `text`; gives what came up to the end of it, and forgets that.
    async fn until(&mut self, text: &str) -> String {
        let read = async {
            loop {
                if let Some(at) = self.text.find(text) {
                    let rest = self.text.split_off(at + text.len());
                    return std::mem::replace(&mut self.text, rest);
                }
                assert!(self.read().await > 0, "the stream ended before {text:?}: {}", self.text);
            }
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("no {text:?}"))
    }

    async fn read(&mut self) -> usize {
        let mut bytes = [0; 4096];
        let read = self.stream.read(&mut bytes).await.expect("read");
        self.text += &String::from_utf8_lossy(&bytes[..read]);
        read
    }

    /// The number of the next message with this name.
    async fn id_of(&mut self, name: &str) -> String {
        self.until(&format!("event: {name}\n")).await;
        self.until("id: ").await;
        self.until("\n").await.trim().to_owned()
    }
}

#[tokio::test]
async fn a_client_that_comes_again_is_sent_what_it_missed() {
    let site = Site::open(Bench::new()).await;
    let mut follower = Follower::start(&site, "").await;
    follower.id_of("begin").await;
    follower.until("event: status\ndata: {\"summary\"").await;
    site.bench.record(1, "yard", Vec::new()).await;
    let known = follower.id_of("end").await;
    follower.until(&format!("\"id\":\"{}\"", id(1))).await;
    drop(follower);
    site.bench.record(2, "yard", Vec::new()).await;
    site.bench.record(3, "gate", Vec::new()).await;
    let mut again = Follower::start(&site, &format!("Last-Event-ID: {known}\r\n")).await;
    let second = again.id_of("end").await;
    let text = again.until("\n").await;
    assert!(text.contains(&id(2).to_string()) && second != known, "{text}");
    again.id_of("end").await;
    assert!(again.until("\n").await.contains(&id(3).to_string()));
}

#[tokio::test]
async fn a_client_that_knows_another_sequence_starts_afresh() {
    let site = Site::open(Bench::new()).await;
    site.bench.record(1, "yard", Vec::new()).await;
    for known in ["0badcafe-1", "nonsense", ""] {
        let mut follower = Follower::start(&site, &format!("Last-Event-ID: {known}\r\n")).await;
        follower.id_of("reset").await;
        follower.until("event: status\n").await;
    }
}

#[tokio::test]
async fn deliveries_are_sent_when_they_get_on() {
    let site = Site::open(Bench::new()).await;
    let mut follower = Follower::start(&site, "").await;
    follower.until("event: status\n").await;
    site.bench.health.outlet("mqtt", site.bench.clock.mono(), Err("no broker".to_owned()));
    // The summary says so, too.
    follower.until("event: status\n").await;
    follower.until("no broker").await;
}

#[tokio::test]
async fn a_caller_follows_the_cameras_that_it_sees_until_its_key_is_over() {
    let site = Site::open(Bench::new()).await;
    let admin = NewUser { name: "anna".into(), password: "correct horse".into(), role: Role::Admin, cameras: None };
    site.bench.access.add_user(admin).expect("a user");
    let cameras = Some([("gate".to_owned(), Grant::default())].into());
    let key = NewKey { name: "a program".into(), role: Role::Viewer, cameras, expires: None };
    let key = site.bench.access.add_key(key, "anna").expect("a key");
    let refused = site.get("/api/v1/stream").await;
    assert_eq!((refused.status, &refused.problem()["code"]), (401, &"not_logged_in".into()));
    let mut follower = Follower::start(&site, &format!("Authorization: Bearer {}\r\n", key.key)).await;
    let status = follower.until("event: status\n").await + &follower.until("\n").await;
    assert!(status.contains("event: begin") && !status.contains("\"yard\""), "{status}");
    site.bench.record(1, "yard", Vec::new()).await;
    site.bench.record(2, "gate", Vec::new()).await;
    follower.id_of("end").await;
    assert!(follower.until("\n").await.contains(&id(2).to_string()), "that of another camera was sent");
    site.bench.access.remove_key(&key.info.id).expect("remove");
    let end = async { while follower.stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(PATIENCE, end).await.expect("the stream ends with the key");
}

#[tokio::test]
async fn streams_are_few_and_end_with_the_daemon() {
    let site = Site::open(Bench::new()).await;
    let mut followers = Vec::new();
    for _ in 0..16 {
        let mut follower = Follower::start(&site, "").await;
        follower.until("event: begin\n").await;
        followers.push(follower);
    }
    let refused = site.get("/api/v1/stream").await;
    assert_eq!((refused.status, &refused.problem()["code"]), (503, &"too_many_streams".into()));
    followers.pop();
    // The server notices that one went when it has something to send.
    let freed = async {
        loop {
            site.bench.record(1, "yard", Vec::new()).await;
            let mut follower = Follower::start(&site, "").await;
            follower.until("\r\n").await;
            let text = follower.until("\n").await + &follower.text;
            if !text.contains("problem+json") {
                return follower;
            }
        }
    };
    followers.push(tokio::time::timeout(PATIENCE, freed).await.expect("a place becomes free"));
    site.stop.cancel();
    tokio::time::timeout(PATIENCE, site.task).await.expect("the server ends").expect("no panic").expect("orderly");
    for mut follower in followers {
        let end = async { while follower.stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {} };
        tokio::time::timeout(PATIENCE, end).await.expect("the stream ends");
    }
}

#[tokio::test]
async fn a_client_is_sent_the_kinds_that_it_asks_for() {
    let site = Site::open(Bench::new()).await;
    let mut follower = Follower::start_at(&site, "/api/v1/stream?kinds=events", "").await;
    follower.id_of("begin").await;
    site.bench.record(1, "yard", Vec::new()).await;
    follower.id_of("end").await;
    assert!(!follower.until("\n").await.contains("event: status"));
    let mut follower = Follower::start_at(&site, "/api/v1/stream?kinds=status", "").await;
    let head = follower.until("event: status\n").await;
    assert!(!head.contains("event: begin"), "{head}");
    let refused = site.get("/api/v1/stream?kinds=log").await;
    assert_eq!((refused.status, &refused.problem()["code"]), (400, &"bad_parameter".into()));
}

#[tokio::test]
async fn exports_are_sent_as_they_get_on_and_when_they_are_gone() {
    let bench = Bench::new();
    let begin = three_segments(&bench, REORDERED);
    let site = Site::open(bench).await;
    let mut follower = Follower::start_at(&site, "/api/v1/stream?kinds=exports", "").await;
    follower.until("\r\n\r\n").await;
    let until = begin + Duration::from_secs(20);
    let command = serde_json::json!({ "camera": "yard", "from": begin, "until": until }).to_string();
    let asked = site.post("/api/v1/exports", "", &command).await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    let id = asked.json()["id"].as_str().expect("an id").to_owned();
    follower.until("event: export\ndata: ").await;
    let text = follower.until("\n").await;
    assert!(text.contains(&id) && text.contains("\"state\":\"waiting\""), "{text}");
    // One that comes later is sent what there is.
    let mut late = Follower::start_at(&site, "/api/v1/stream?kinds=exports", "").await;
    late.until(&id).await;
    let (exports, stop) = (site.bench.services.exports.clone(), CancellationToken::new());
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { exports.run(stop).await }
    });
    follower.until("\"state\":\"done\"").await;
    stop.cancel();
    running.await.expect("no panic");
    let json = "Content-Type: application/json\r\n";
    assert_eq!(site.ask("DELETE", &format!("/api/v1/exports/{id}"), json).await.status, 204);
    for follower in [&mut follower, &mut late] {
        follower.until(&format!("event: export_gone\ndata: {{\"id\":\"{id}\"}}")).await;
    }
}

/// The next message about photos, but for its name.
async fn photos(follower: &mut Follower) -> serde_json::Value {
    follower.until("event: photos\ndata: ").await;
    serde_json::from_str(&follower.until("\n").await).expect("JSON")
}

#[tokio::test]
async fn changes_of_the_library_are_sent_together_to_who_sees_them() {
    let users = Users::new().await;
    let follow = async |user: &str| {
        let mut follower = Follower::start_at(&users.site, "/api/v1/stream?kinds=photos", user).await;
        follower.until("\r\n\r\n").await;
        follower
    };
    let (mut anna, mut bea, mut cy) = (follow(&users.anna).await, follow(&users.bea).await, follow(&users.cy).await);
    let named = |ids: &[PhotoId]| serde_json::json!({ "count": ids.len(), "ids": ids });

    let private = users.photo(1, |photo| photo.private = true);
    assert_eq!(photos(&mut anna).await["added"], named(&[private]));
    let shared = users.photo(2, |_| {});
    for follower in [&mut anna, &mut bea] {
        let sent = photos(follower).await;
        assert_eq!(sent["added"], named(&[shared]), "a private photo is sent to its owner alone");
    }
    // One that becomes private is gone for the others.
    users.photo(2, |photo| photo.private = true);
    assert_eq!(photos(&mut anna).await["changed"], named(&[shared]));
    assert_eq!(photos(&mut bea).await["removed"], named(&[shared]));

    // Many at once are few messages.
    let begun = Instant::now();
    let many: Vec<PhotoId> = (10..310).map(|n| users.photo(n, |_| {})).collect();
    users.site.bench.store.photos().forget_blocking(many[0], Vec::new()).expect("forget");
    let (mut count, mut named, mut messages) = (0, 0, 0_u32);
    while count < 299 {
        let sent = photos(&mut bea).await;
        let number = |kind: &str| sent[kind]["count"].as_u64().expect("a number");
        count += number("added");
        count -= number("removed");
        let ids = sent["added"]["ids"].as_array().expect("a list").len();
        assert!(ids <= 50, "{ids} photos are named");
        (named, messages) = (named + ids, messages + 1);
    }
    assert!(Duration::from_secs(messages.saturating_sub(2).into()) <= begun.elapsed(), "{messages} messages");
    assert!(named > 0, "where they are few they are named");

    // Who sees some cameras only has no list, and is sent what is of these.
    let mut at_once = Follower::start_at(&users.site, "/api/v1/stream", &users.cy).await;
    at_once.id_of("begin").await;
    users.photo(500, |_| {});
    assert_eq!(photos(&mut anna).await["missing"], serde_json::Value::Null);
    users.site.bench.record(1, "yard", Vec::new()).await;
    at_once.id_of("end").await;
    users.site.stop.cancel();
    while cy.read().await > 0 {}
    assert!(!cy.text.contains("event: photos") && !at_once.text.contains("event: photos"), "{}", cy.text);
}

/// Writes `n` lines of the log that begin with `text`.
fn log(text: &str, n: usize) {
    (0..n).for_each(|n| telemetry::note(LineLevel::Warn, format!("{text} {n}")));
}

#[tokio::test]
async fn the_log_is_followed_from_where_a_client_was_and_what_it_lost_is_counted() {
    let site = Site::open(Bench::new()).await;
    log("before", 3);
    let mut follower = Follower::start_at(&site, "/api/v1/log/stream?level=warn&recent=2", "").await;
    follower.until("event: begin\n").await;
    follower.until("before 2\"}\n").await;
    log("while it is followed", 1);
    let known = follower.id_of("line").await;
    follower.until("while it is followed 0").await;
    drop(follower);
    log("missed", 2);
    let again = format!("Last-Event-ID: {known}\r\n");
    let mut follower = Follower::start_at(&site, "/api/v1/log/stream", &again).await;
    follower.until("missed 0").await;
    follower.until("missed 1").await;
    drop(follower);
    // More than are kept.
    log("many", 1100);
    let mut follower = Follower::start_at(&site, "/api/v1/log/stream", &again).await;
    follower.until("event: gap\n").await;
    follower.until("data: {\"lost\":").await;
    let lost = follower.until("}").await;
    let lost: u64 = lost.trim_end_matches('}').parse().expect("a number");
    assert!(lost >= 100, "{lost}");
    follower.until("many 1099").await;
    let other = "Last-Event-ID: 0000000000badcaf-7\r\n";
    let mut follower = Follower::start_at(&site, "/api/v1/log/stream?recent=1", other).await;
    follower.until("event: reset\n").await;
    follower.until("event: line\n").await;
}

#[tokio::test]
async fn the_log_is_for_admins_and_ends_with_their_key() {
    let site = Site::open(Bench::new()).await;
    let admin = NewUser { name: "anna".into(), password: "correct horse".into(), role: Role::Admin, cameras: None };
    site.bench.access.add_user(admin).expect("a user");
    let key = |role, cameras| {
        let key = site.bench.access.add_key(NewKey { name: "a program".into(), role, cameras, expires: None }, "anna");
        key.expect("a key")
    };
    let header = |key: &crate::access::KeyAdded| format!("Authorization: Bearer {}\r\n", key.key);
    let few = Some([("gate".to_owned(), Grant::default())].into());
    for refused in [key(Role::Operator, None), key(Role::Operator, few)] {
        assert_eq!(site.ask("GET", "/api/v1/log/stream", &header(&refused)).await.status, 403);
    }
    let admin = key(Role::Admin, None);
    let mut follower = Follower::start_at(&site, "/api/v1/log/stream", &header(&admin)).await;
    follower.until("event: begin\n").await;
    site.bench.access.remove_key(&admin.info.id).expect("remove");
    let end = async { while follower.stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(PATIENCE, end).await.expect("the stream ends with the key");
}
