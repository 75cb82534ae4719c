//! Who may publish and play, and how offers are answered, over HTTP.

use super::*;
use crate::access::{NewKey, Role};
use crate::service::fixture::PHONE_TOKEN;

const SDP: &str = "Content-Type: application/sdp\r\n";
/// Enough of an offer to be read: one section of video.
const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux\r\n\
    a=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef01234567\r\na=setup:actpass\r\n\
    a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\n\
    a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack pli\r\na=ssrc:1234 cname:x\r\n";

/// A site whose sessions run.
async fn running(site: &Site) {
    let (publishing, stop) = (site.bench.services.publishing.clone(), site.stop.clone());
    tokio::spawn(async move { publishing.run(stop).await });
    while send(site, "DELETE", "/whip/phone/none", "Authorization: Bearer the-token-of-the-phone\r\n", "").await.status
        == 503
    {
        tokio::task::yield_now().await;
    }
}

async fn send(site: &Site, method: &str, target: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let host = site.address;
    let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {length}\r\n");
    site.send(&format!("{head}Connection: close\r\n\r\n{body}")).await
}

#[tokio::test]
async fn an_offer_is_answered_with_a_session_that_is_deleted_and_taken_meanwhile() {
    let site = Site::open(Bench::new()).await;
    running(&site).await;
    let begun = send(&site, "POST", "/whip/phone", SDP, OFFER).await;
    assert_eq!((begun.status, begun.header("content-type")), (201, "application/sdp"), "{}", begun.text());
    let session = begun.header("location").to_owned();
    assert!(session.starts_with("/whip/phone/") && session.len() > 40, "{session}");
    let tag = begun.header("etag").to_owned();
    assert!(tag.starts_with('"') && begun.text().contains("a=candidate:"), "{tag} {}", begun.text());
    assert!(begun.text().contains("a=recvonly") && begun.text().contains("a=ice-lite"), "{}", begun.text());
    assert_eq!(begun.header("access-control-expose-headers"), "location, etag");
    let second = send(&site, "POST", "/whip/phone", SDP, OFFER).await;
    assert_eq!((second.status, &second.problem()["code"]), (409, &"already_published".into()));

    let fragment = "Content-Type: application/trickle-ice-sdpfrag\r\n";
    let candidates = "a=candidate:1 1 udp 2130706431 192.0.2.7 50000 typ host\r\n";
    let add = async |tag: &str| {
        send(&site, "PATCH", &session, &format!("{fragment}If-Match: {tag}\r\n"), candidates).await.status
    };
    assert_eq!((add(&tag).await, add("\"other\"").await), (204, 412));
    assert_eq!(send(&site, "PATCH", &session, SDP, candidates).await.status, 415);

    // Another network: an ICE restart, which RFC 9725 sends with If-Match: *.
    let restart = format!("a=ice-ufrag:efgh\r\na=ice-pwd:0123456789abcdef01234567\r\n{candidates}");
    let restart =
        async |tag: &str| send(&site, "PATCH", &session, &format!("{fragment}If-Match: {tag}\r\n"), &restart).await;
    let restarted = restart("*").await;
    let kind = restarted.header("content-type");
    assert_eq!((restarted.status, kind), (200, "application/trickle-ice-sdpfrag"), "{}", restarted.text());
    assert!(restarted.text().contains("a=ice-ufrag:") && restarted.header("etag") != tag, "{}", restarted.text());
    assert_eq!((add(&tag).await, add(restarted.header("etag")).await), (412, 204), "the ICE session is another one");
    assert_eq!(restart("*").await.status, 204, "it is the one in use");
    assert_eq!(send(&site, "DELETE", "/whip/phone/guessed", "", "").await.status, 404);
    assert_eq!(send(&site, "DELETE", &session, "", "").await.status, 200);
    assert_eq!(send(&site, "DELETE", &session, "", "").await.status, 404);
    assert_eq!(send(&site, "POST", "/whip/phone", SDP, OFFER).await.status, 201, "it is free again");
}

#[tokio::test]
async fn what_is_no_offer_or_for_no_such_camera_is_refused_with_a_reason() {
    let site = Site::open(Bench::new()).await;
    running(&site).await;
    let refused = async |target: &str, headers: &str, body: &str| {
        let answer = send(&site, "POST", target, headers, body).await;
        (answer.status, answer.problem()["code"].as_str().expect("a code").to_owned())
    };
    let is = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(refused("/whip/phone", "Content-Type: application/json\r\n", "{}").await, is(415, "not_sdp"));
    assert_eq!(refused("/whip/phone", "", OFFER).await, is(415, "not_sdp"));
    assert_eq!(refused("/whip/phone", SDP, "hello").await, is(400, "bad_offer"));
    let audio = OFFER.replace("m=video", "m=audio").replace("VP8/90000", "opus/48000/2");
    assert_eq!(refused("/whip/phone", SDP, &audio).await, is(422, "unfit_offer"));
    assert_eq!(refused("/whip/yard", SDP, OFFER).await, is(404, "not_found"));
    assert_eq!(refused("/whip/none", SDP, OFFER).await, is(404, "not_found"));
    assert_eq!(refused("/whip/phone", SDP, &"a".repeat(70_000)).await, is(413, "too_large"));
    assert_eq!(refused("/whep/none", SDP, OFFER).await, is(404, "not_found"));
    assert_eq!(refused("/whep/yard", SDP, OFFER).await, is(503, "no_picture"));
    let foreign = format!("{SDP}Origin: http://evil.example\r\n");
    assert_eq!(refused("/whip/phone", &foreign, OFFER).await, is(403, "foreign_page"));
    assert_eq!(send(&site, "GET", "/whip/phone", "", "").await.status, 405);
    let asked = send(&site, "OPTIONS", "/whip/phone", "Origin: https://elsewhere.example\r\n", "").await;
    assert_eq!((asked.status, asked.header("accept-post")), (204, "application/sdp"));
    assert!(asked.header("access-control-allow-headers").contains("authorization"));
    assert_eq!(asked.header("access-control-allow-credentials"), "", "cookies stay at home");
}

#[tokio::test]
async fn what_is_published_ends_with_the_login_or_key_of_who_publishes() {
    let site = Site::with_users().await;
    running(&site).await;
    let access = &site.bench.access;
    let new = NewKey { name: "a program".into(), role: Role::Operator, cameras: None, expires: None };
    let key = access.add_key(new, "admin").expect("a key");
    let (by_key, by_login) = (format!("Authorization: Bearer {}\r\n", key.key), site.cookie("operator").await);
    let is_published = |camera: &str| site.bench.health.sessions(camera).is_some();
    let begin = async |camera: &str, headers: &str| {
        let begun = send(&site, "POST", &format!("/whip/{camera}"), &format!("{SDP}{headers}"), OFFER).await;
        assert_eq!(begun.status, 201, "{camera}: {}", begun.text());
        while !is_published(camera) {
            tokio::task::yield_now().await;
        }
        begun.header("location").to_owned()
    };
    let over = async |camera: &str| {
        while is_published(camera) {
            tokio::task::yield_now().await;
        }
    };
    // Without media all sessions end some time, the older one first.
    let older = begin("tablet", &by_login).await;
    begin("phone", &by_key).await;
    access.remove_key(&key.info.id).expect("removed");
    over("phone").await;
    assert!(is_published("tablet"), "another one's");
    assert_eq!(send(&site, "DELETE", &older, &by_login, "").await.status, 200);
    begin("phone", &site.cookie("admin").await).await;
    begin("tablet", &by_login).await;
    assert_eq!(site.post("/api/v1/logout", &by_login, "").await.status, 204);
    over("tablet").await;
    assert!(is_published("phone"), "another one's");
}

#[tokio::test]
async fn publishers_show_the_token_of_their_camera_or_may_operate_it() {
    let site = Site::with_users().await;
    running(&site).await;
    let publish = async |camera: &str, headers: &str| {
        let answer = send(&site, "POST", &format!("/whip/{camera}"), &format!("{SDP}{headers}"), OFFER).await;
        if answer.status == 201 {
            let session = answer.header("location").to_owned();
            assert_eq!(send(&site, "DELETE", &session, headers, "").await.status, 200);
        }
        answer.status
    };
    let token = &format!("Authorization: Bearer {PHONE_TOKEN}\r\n");
    assert_eq!(publish("phone", token).await, 201);
    assert_eq!(
        publish("phone", &format!("{token}Origin: https://elsewhere.example\r\n")).await,
        201,
        "any page has it"
    );
    assert_eq!(publish("phone", "").await, 401);
    let (elsewhere, home) =
        (send(&site, "POST", "/whip/phone", SDP, OFFER).await, site.ask("GET", "/api/v1/status", "").await);
    let readable = |answer: &Answer| answer.header("access-control-allow-origin").to_owned();
    assert_eq!((elsewhere.status, readable(&elsewhere)), (401, "*".to_owned()), "pages elsewhere see why");
    assert_eq!((home.status, readable(&home)), (401, String::new()));
    assert_eq!(publish("phone", "Authorization: Bearer another-token-of-16\r\n").await, 401);
    assert_eq!(publish("tablet", token).await, 401, "each camera has its own");
    assert_eq!(publish("phone", &site.cookie("viewer").await).await, 403);
    assert_eq!(publish("tablet", &site.cookie("operator").await).await, 201);
    for elsewhere in ["/api/v1/status", "/whep/phone", "/api/v1/cameras/phone/config"] {
        assert_eq!(site.ask("GET", elsewhere, token).await.status, if elsewhere == "/whep/phone" { 405 } else { 401 });
    }
    assert_eq!(send(&site, "POST", "/whep/phone", &format!("{SDP}{token}"), OFFER).await.status, 401);
}
