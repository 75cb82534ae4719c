//! Links to files, as their makers and people without a login use them.

use serde_json::json;

use super::*;
use crate::access::{Role, UserChange};

const JSON: &str = "Content-Type: application/json\r\n";

impl Site {
    async fn command(&self, method: &str, target: &str, headers: &str, body: &str) -> Answer {
        let (host, length) = (self.address, body.len());
        self.send(&format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n{JSON}{headers}\
             Connection: close\r\n\r\n{body}"
        ))
        .await
    }

    async fn share(&self, cookie: &str, more: &str) -> Answer {
        let body = format!(r#"{{"event": "{}", "file": "digits.mp4"{more}}}"#, id(4));
        self.command("POST", "/api/v1/shares", cookie, &body).await
    }

    async fn open_link(&self, link: &str, password: Option<&str>) -> Answer {
        let body = json!({ "link": link, "password": password }).to_string();
        self.command("POST", "/api/v1/shared/open", "", &body).await
    }
}

/// A box with a clip, an admin and two operators.
async fn site() -> Site {
    let site = Site::open(with_files().await).await;
    for (name, role) in [("admin", Role::Admin), ("olga", Role::Operator), ("otto", Role::Operator)] {
        site.add(name, role);
    }
    site
}

#[tokio::test]
async fn a_link_shows_one_file_under_a_neutral_name_to_someone_without_a_login() {
    let site = site().await;
    let olga = site.cookie("olga").await;
    let made = site.share(&olga, "").await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    let link = made["link"].as_str().expect("a link");
    let kept = std::fs::read_to_string(site.bench.access_folder().join("links.json")).expect("links");
    assert!(!kept.contains(link.split_once('_').expect("two parts").1), "only a hash is kept");
    let opened = site.open_link(link, None).await;
    assert_eq!(opened.status, 200, "{}", opened.text());
    let opened = opened.json();
    assert_eq!(opened["name"], "video.mp4");
    assert_eq!(opened.as_object().map(|fields| fields.len()), Some(3), "nothing of the box: {opened}");
    let url = opened["url"].as_str().expect("a path");
    let part = site.ask("GET", url, "Range: bytes=2-4\r\n").await;
    assert_eq!((part.status, part.text()), (206, "234"));
    assert_eq!(part.header("content-disposition"), "inline; filename=\"video.mp4\"");
    assert_eq!(part.header("cache-control"), "no-store");
    assert_eq!(site.get(&url.replace("video.mp4", "picture.jpg")).await.status, 404, "this file alone");
    let listed = site.ask("GET", "/api/v1/shares", &olga).await.json();
    assert_eq!((&listed["shares"][0]["views"], listed["shares"].as_array().map(Vec::len)), (&json!(1), Some(1)));
    let audit = site.ask("GET", "/api/v1/audit?text=shared", &site.cookie("admin").await).await;
    assert!(audit.text().contains(made["id"].as_str().expect("an id")), "{}", audit.text());
    assert!(!audit.text().contains(link), "the secret is in no log");
}

#[tokio::test]
async fn a_link_that_does_not_hold_any_more_is_like_one_that_never_was() {
    let site = site().await;
    let (olga, otto, admin) = (site.cookie("olga").await, site.cookie("otto").await, site.cookie("admin").await);
    let never = site.open_link("0123456789abcdef_x", None).await;
    assert_eq!((never.status, &never.problem()["code"]), (404, &json!("not_found")));
    let same = |answer: &Answer| answer.status == 404 && answer.text() == never.text();

    // Opened often enough; who opened it goes on.
    let once = site.share(&olga, r#", "most_views": 1"#).await.json();
    let link = once["link"].as_str().expect("a link").to_owned();
    let url = site.open_link(&link, None).await.json()["url"].as_str().expect("a path").to_owned();
    assert!(same(&site.open_link(&link, None).await));
    assert_eq!(site.get(&url).await.status, 200);

    // Withdrawn: by its maker or an admin, and by no one else; what is read by it ends too.
    let path = format!("/api/v1/shares/{}", once["id"].as_str().expect("an id"));
    assert_eq!(site.command("DELETE", &path, &otto, "").await.status, 404);
    assert_eq!(site.command("DELETE", &path, &admin, "").await.status, 204);
    assert!(same(&site.get(&url).await));

    // Over.
    let ends = site.bench.clock.wall().checked_add(jiff::SignedDuration::from_hours(1)).expect("in range");
    let short = site.share(&olga, &format!(r#", "expires": "{ends}""#)).await.json();
    let link = short["link"].as_str().expect("a link").to_owned();
    let url = site.open_link(&link, None).await.json()["url"].as_str().expect("a path").to_owned();
    site.bench.clock.advance(Duration::from_secs(3601));
    assert!(same(&site.open_link(&link, None).await) && same(&site.get(&url).await));

    // Its maker may not see the event any more.
    let made = site.share(&otto, "").await.json();
    let link = made["link"].as_str().expect("a link").to_owned();
    assert_eq!(site.open_link(&link, None).await.status, 200);
    let change = UserChange { disabled: Some(true), ..UserChange::default() };
    site.bench.access.change_user("otto", change).expect("disabled");
    assert!(same(&site.open_link(&link, None).await));
}

#[tokio::test]
async fn a_password_is_asked_for_and_cannot_be_guessed() {
    let site = site().await;
    let olga = site.cookie("olga").await;
    let made = site.share(&olga, r#", "password": "haystack""#).await.json();
    let link = made["link"].as_str().expect("a link").to_owned();
    let code = |answer: Answer| (answer.status, answer.problem()["code"].as_str().expect("a code").to_owned());
    assert_eq!(code(site.open_link(&link, None).await), (401, "password_needed".to_owned()));
    for _ in 0..5 {
        assert_eq!(code(site.open_link(&link, Some("needle")).await), (401, "wrong_password".to_owned()));
    }
    assert_eq!(code(site.open_link(&link, Some("haystack")).await), (429, "too_many_tries".to_owned()));
    site.bench.clock.advance(Duration::from_secs(6));
    assert_eq!(site.open_link(&link, Some("haystack")).await.status, 200);
    let listed = site.ask("GET", "/api/v1/shares", &olga).await.json();
    assert_eq!(listed["shares"][0]["views"], 1, "only what was shown counts");
}

#[tokio::test]
async fn what_cannot_be_shared_is_refused_with_the_reason() {
    let site = site().await;
    let olga = site.cookie("olga").await;
    for (more, status, code) in [
        (r#", "most_views": 0"#, 409, "refused"),
        (r#", "expires": "2020-01-01T00:00:00Z""#, 409, "refused"),
        (r#", "expires": "2999-01-01T00:00:00Z""#, 409, "refused"),
        (r#", "password": "abc""#, 409, "refused"),
        (r#", "passwort": "abcd""#, 400, "bad_command"),
    ] {
        let answer = site.share(&olga, more).await;
        assert_eq!((answer.status, &answer.problem()["code"]), (status, &json!(code)), "{more}");
    }
    for (event, file) in [(4, "event.json"), (4, "clip-9.mp4"), (5, "digits.mp4")] {
        let body = json!({ "event": id(event), "file": file }).to_string();
        let answer = site.command("POST", "/api/v1/shares", &olga, &body).await;
        assert_eq!((answer.status, &answer.problem()["code"]), (404, &json!("not_found")), "{event} {file}");
    }
    // Of a camera that the caller does not see.
    let gate = std::collections::BTreeMap::from([("gate".to_owned(), crate::access::Grant::default())]);
    let change = UserChange { cameras: Some(Some(gate)), ..UserChange::default() };
    site.bench.access.change_user("olga", change).expect("changed");
    let olga = site.cookie("olga").await;
    assert_eq!(site.share(&olga, "").await.status, 404);
}
