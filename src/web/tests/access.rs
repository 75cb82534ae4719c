//! Who gets what: each route for each role, logins, sessions that end.

use super::*;
use crate::access::{Grant, NewKey, NewUser, Role, UserChange};
use crate::clock::Clock;
use crate::event::{Event, EventState, fixture};
use crate::store::Change;
use crate::web::refusal::Spoken;
use crate::web::routes::Needs;

pub(super) const PASSWORD: &str = "correct horse battery";
const JSON: &str = "Content-Type: application/json\r\n";

impl Site {
    /// With the users `admin`, `operator` and `viewer`, each of the role of its name.
    pub(super) async fn with_users() -> Self {
        let site = Self::open(Bench::new()).await;
        for role in [Role::Admin, Role::Operator, Role::Viewer] {
            site.add(role.as_str(), role);
        }
        site
    }

    pub(super) fn add(&self, name: &str, role: Role) {
        let new = NewUser { name: name.into(), password: PASSWORD.into(), role, cameras: None };
        self.bench.access.add_user(new).expect("a user");
    }

    pub(super) async fn post(&self, target: &str, headers: &str, body: &str) -> Answer {
        let length = body.len();
        let host = self.address;
        self.send(&format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\n{JSON}{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ))
        .await
    }

    async fn log_in(&self, name: &str, password: &str) -> Answer {
        let body = serde_json::json!({ "name": name, "password": password });
        self.post("/api/v1/login", "", &body.to_string()).await
    }

    /// The header that shows the session of a fresh login.
    pub(super) async fn cookie(&self, name: &str) -> String {
        let answer = self.log_in(name, PASSWORD).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let cookie = answer.header("set-cookie");
        for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        format!("Cookie: {}\r\n", cookie.split(';').next().expect("a pair"))
    }

    fn key(&self, role: Role) -> String {
        let new = NewKey { name: "a program".into(), role, cameras: None, expires: None };
        format!("Authorization: Bearer {}\r\n", self.bench.access.add_key(new, "admin").expect("a key").key)
    }
}

/// What `needs` says to a caller with `role`; `None`: let through.
fn refusal(needs: Needs, role: Option<Role>, is_page: bool) -> Option<u16> {
    match (needs, role) {
        (Needs::Nothing, _) | (Needs::Login, Some(_)) => None,
        (Needs::Role(needed), Some(role)) => (role < needed).then_some(if is_page { 303 } else { 403 }),
        (Needs::Login | Needs::Role(_), None) => Some(if is_page { 303 } else { 401 }),
    }
}

#[tokio::test]
async fn every_route_lets_through_those_that_its_table_says() {
    let site = Site::with_users().await;
    let mut callers = vec![
        (None, String::new(), "no one"),
        (None, "Cookie: outpost_session=guessed\r\n".to_owned(), "a guessed session"),
        (None, "Authorization: Bearer outpost_key_00_guessed\r\n".to_owned(), "a guessed key"),
        (None, "Authorization: Basic YWRtaW46eA==\r\n".to_owned(), "another scheme"),
    ];
    for role in Role::ALL {
        callers.push((Some(role), site.cookie(role.as_str()).await, role.as_str()));
        callers.push((Some(role), site.key(role), "a key"));
    }
    let table = all_routes().finish().1;
    assert!(table.len() > 30, "{}", table.len());
    for route in &table {
        // What ends the session that asks is tried elsewhere.
        if route.path == "/api/v1/logout" {
            continue;
        }
        let target = ["{name}", "{id}", "{file}", "{ticket}"]
            .iter()
            .fold(route.path.to_owned(), |path, part| path.replace(part, "x"));
        for (role, headers, who) in &callers {
            // The answers of streams do not end.
            let is_stream = ["/api/v1/stream", "/api/v1/log/stream", "/api/v1/executions/events"].contains(&route.path);
            let method = if is_stream { "HEAD" } else { route.method.as_str() };
            let answer = site.ask(method, &target, headers).await;
            let spoken = Spoken::at(&target);
            let expected = refusal(route.needs, *role, spoken == Spoken::Page);
            // What gRPC answers has its status in a header.
            let status = match answer.headers.get("grpc-status").map(String::as_str) {
                Some("16") => 401,
                Some("7") => 403,
                _ => answer.status,
            };
            let got = Some(status).filter(|status| matches!(status, 303 | 401 | 403));
            assert_eq!(got, expected, "{} {target} by {who}: {} {}", route.method, answer.status, answer.text());
        }
    }
    let open: Vec<&str> = table.iter().filter(|route| route.needs == Needs::Nothing).map(|route| route.path).collect();
    let expected = [
        "/login",
        "/shared",
        "/cameras/{name}/publish",
        "/assets/{file}",
        "/healthz",
        "/readyz",
        "/api/v1/login",
        "/api/v1/setup",
        "/api/v1/access",
        "/api/v1/shared/open",
        "/api/v1/shared/{ticket}/{name}",
        "/api/v1/shared/{ticket}/photos",
        "/api/v1/shared/{ticket}/photos/{id}/small.jpg",
        "/api/v1/shared/{ticket}/photos/{id}/{name}",
        // What browsers ask before they send a token of another site's page.
        "/whep/{name}",
        "/whep/{name}/{id}",
        "/whip/{name}",
        "/whip/{name}/{id}",
    ];
    assert_eq!(open, expected, "a route that is open to all is decided on, never forgotten");
}

#[tokio::test]
async fn without_users_the_box_itself_may_do_everything_and_the_first_one_ends_that() {
    let site = Site::open(Bench::new()).await;
    assert_eq!(site.get("/api/v1/access").await.json()["setup"], true);
    assert_eq!(site.get("/api/v1/me").await.json()["kind"], "unprotected");
    assert_eq!(site.get("/").await.status, 200);
    let wrong = site.post("/api/v1/setup", "", r#"{"secret": "x", "name": "anna", "password": "correct horse"}"#).await;
    assert_eq!((wrong.status, &wrong.problem()["code"]), (403, &"setup_over".into()));
    let secret = site.bench.access.setup_secret().expect("randomness").expect("no user yet");
    let body = serde_json::json!({ "secret": secret, "name": "anna", "password": PASSWORD }).to_string();
    let done = site.post("/api/v1/setup", "", &body).await;
    assert_eq!((done.status, &done.json()["role"]), (200, &"admin".into()), "{}", done.text());
    assert!(done.header("set-cookie").starts_with("outpost_session="), "the first user is logged in");
    assert_eq!(site.post("/api/v1/setup", "", &body).await.status, 403, "the link works once");
    assert_eq!(site.get("/api/v1/me").await.status, 401);
    assert_eq!(site.get("/").await.header("location"), "/login");
}

#[tokio::test]
async fn a_login_that_fails_says_neither_which_part_was_wrong_nor_who_exists() {
    let site = Site::with_users().await;
    let (wrong, unknown) = (site.log_in("viewer", "wrong horse").await, site.log_in("stranger", "wrong horse").await);
    assert_eq!((wrong.status, wrong.text()), (401, unknown.text()));
    assert_eq!(wrong.header("set-cookie"), "");
    for _ in 0..4 {
        site.log_in("viewer", "wrong horse").await;
    }
    let locked = site.log_in("viewer", PASSWORD).await;
    assert_eq!((locked.status, &locked.problem()["code"]), (429, &"too_many_tries".into()), "{}", locked.text());
    assert_eq!(site.log_in("admin", PASSWORD).await.status, 200, "others may");
}

#[tokio::test]
async fn a_login_has_a_token_of_its_own_whatever_the_browser_showed_before() {
    let site = Site::with_users().await;
    let (first, chosen) = (site.cookie("viewer").await, "Cookie: outpost_session=chosen-by-another\r\n");
    let body = serde_json::json!({ "name": "admin", "password": PASSWORD }).to_string();
    for shown in [first.as_str(), chosen] {
        let answer = site.post("/api/v1/login", shown, &body).await;
        let given = answer.header("set-cookie").split(';').next().expect("a pair").to_owned();
        assert!(answer.status == 200 && !shown.contains(&given), "{given}");
    }
    assert_eq!(site.ask("GET", "/api/v1/me", chosen).await.status, 401);
    assert_eq!(site.ask("GET", "/api/v1/me", &first).await.json()["name"], "viewer", "the session is what it was");
}

#[tokio::test]
async fn a_session_ends_on_logout_by_an_admin_and_with_its_user() {
    let site = Site::with_users().await;
    let (admin, viewer) = (site.cookie("admin").await, site.cookie("viewer").await);
    let other = site.cookie("viewer").await;
    assert_ne!(viewer, other, "each login has a token of its own, so none can be planted");
    let mine = async |cookie: String| site.ask("GET", "/api/v1/me", &cookie).await.status;
    let out = site.post("/api/v1/logout", &other, "").await;
    assert_eq!((out.status, out.header("clear-site-data")), (204, "\"cache\""), "no picture stays in the browser");
    assert_eq!((mine(other.clone()).await, mine(viewer.clone()).await), (401, 200));
    let sessions = site.ask("GET", "/api/v1/me/sessions", &viewer).await.json();
    let id = sessions["own"].as_str().expect("an id").to_owned();
    let operator = site.cookie("operator").await;
    let end = async |path: &str, cookie: &str| {
        site.ask("DELETE", &format!("{path}/{id}"), &format!("{cookie}{JSON}")).await.status
    };
    assert_eq!(end("/api/v1/me/sessions", &operator).await, 404, "another's session");
    assert_eq!(end("/api/v1/sessions", &operator).await, 403);
    assert_eq!(end("/api/v1/sessions", &admin).await, 204);
    assert_eq!(mine(viewer).await, 401);
    let change = UserChange { disabled: Some(true), ..UserChange::default() };
    site.bench.access.change_user("operator", change).expect("disabled");
    assert_eq!(mine(operator).await, 401);
}

#[tokio::test]
async fn a_foreign_page_changes_nothing_with_the_cookie_of_a_user() {
    let site = Site::with_users().await;
    let admin = site.cookie("admin").await;
    let body = r#"{"name": "eve", "password": "correct horse battery", "role": "admin"}"#;
    let foreign = ["Origin: http://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n"];
    for header in foreign {
        let answer = site.post("/api/v1/users", &format!("{admin}{header}"), body).await;
        assert_eq!((answer.status, &answer.problem()["code"]), (403, &"foreign_page".into()));
    }
    let form = format!("{admin}Content-Type: application/x-www-form-urlencoded\r\n");
    assert_eq!(site.ask("POST", "/api/v1/users", &form).await.status, 415, "what a form can send");
    assert!(site.bench.access.user("eve").is_none());
    assert_eq!(site.post("/api/v1/users", &admin, body).await.status, 201);
}

#[tokio::test]
async fn passwords_and_second_factors_are_changed_by_their_user() {
    let site = Site::with_users().await;
    let viewer = site.cookie("viewer").await;
    let change = |present: &str| serde_json::json!({ "present": present, "new": "purple goat staircase" }).to_string();
    let wrong = site.post("/api/v1/me/password", &viewer, &change("wrong horse")).await;
    assert_eq!((wrong.status, &wrong.problem()["code"]), (401, &"wrong_password".into()));
    assert_eq!(site.post("/api/v1/me/password", &viewer, &change(PASSWORD)).await.status, 204);
    assert_eq!(site.log_in("viewer", PASSWORD).await.status, 401);
    assert_eq!(site.log_in("viewer", "purple goat staircase").await.status, 200);
    let proof = r#"{"password": "purple goat staircase"}"#;
    assert_eq!(site.post("/api/v1/me/second-factor", &viewer, "{}").await.status, 400, "a session alone is not enough");
    let begun = site.post("/api/v1/me/second-factor", &viewer, proof).await.json();
    assert!(begun["qr"].as_str().is_some_and(|qr| qr.contains("<svg")), "{begun}");
    let confirmed = site.post("/api/v1/me/second-factor/confirm", &viewer, r#"{"code": "000000"}"#).await;
    assert_eq!(confirmed.status, 409, "{}", confirmed.text());
    let key = site.key(Role::Viewer);
    assert_eq!(site.post("/api/v1/me/second-factor", &key, proof).await.status, 409, "a key has no account");
    let guess = async || site.post("/api/v1/me/password", &viewer, &change("wrong horse")).await;
    for _ in 0..5 {
        guess().await;
    }
    let limited = guess().await;
    assert_eq!((limited.status, &limited.problem()["code"]), (429, &"too_many_tries".into()));
    assert!(limited.headers["retry-after"].parse::<u32>().is_ok_and(|seconds| seconds > 0), "{:?}", limited.headers);
}

#[tokio::test]
async fn what_a_proxy_on_the_box_passes_on_is_not_of_the_box() {
    let site = Site::open(Bench::new()).await;
    assert_eq!(site.get("/api/v1/status").await.status, 200);
    for header in ["X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1", "X-Real-IP: 192.0.2.1", "Via: 1.1 tunnel"]
    {
        assert_eq!(site.ask("GET", "/api/v1/status", &format!("{header}\r\n")).await.status, 401, "{header}");
    }
}

#[tokio::test]
async fn who_is_not_logged_in_comes_back_to_the_page_that_was_asked_for() {
    let site = Site::with_users().await;
    let to = async |page: &str| {
        let answer = site.ask("GET", page, "").await;
        (answer.status, answer.headers["location"].clone())
    };
    assert_eq!(to("/").await, (303, "/login".to_owned()));
    assert_eq!(to("/events/01KA?a=b&c").await, (303, "/login?to=%2Fevents%2F01KA%3Fa%3Db%26c".to_owned()));
    assert_eq!(site.ask("GET", "/api/v1/status", "").await.status, 401);
}

#[tokio::test]
async fn a_user_of_some_cameras_sees_nothing_of_the_others_nor_of_times_before() {
    let bench = with_files().await;
    let (yard, gate) = (id(4), id(9));
    bench.record(9, "gate", Vec::new()).await;
    let site = Site::open(bench).await;
    site.add("admin", Role::Admin);
    let grant = |since: &str| serde_json::json!({ "yard": { "since": since } });
    let add = |name: &str, since: &str| {
        let cameras = serde_json::from_value(grant(since)).expect("grants");
        let new = NewUser { name: name.into(), password: PASSWORD.into(), role: Role::Viewer, cameras };
        site.bench.access.add_user(new).expect("a user");
    };
    // A minute's event that began within the time of both, and reaches out of it.
    let (start, end) = (bench_time(&site, 0), bench_time(&site, 60));
    let over =
        Event { state: EventState::Ended, end: Some(end.clone()), ..fixture::event(id(12), "yard", start.clone()) };
    site.bench.store.events().record(Change { event: over, deliveries: Vec::new() }).expect("record");
    let short = |name: &str, since: &crate::clock::Moment, until: &crate::clock::Moment| {
        let cameras = serde_json::json!({ "yard": { "since": since.wall, "until": until.wall } });
        let cameras = serde_json::from_value(cameras).expect("grants");
        let new = NewUser { name: name.into(), password: PASSWORD.into(), role: Role::Viewer, cameras };
        site.bench.access.add_user(new).expect("a user");
    };
    short("whole", &start, &end);
    short("early", &start, &bench_time(&site, 59));
    short("after", &bench_time(&site, 1), &end);
    for (name, expected) in [("whole", 200), ("early", 404), ("after", 404)] {
        let cookie = site.cookie(name).await;
        let answer = site.ask("GET", &format!("/api/v1/events/{}", id(12)), &cookie).await;
        assert_eq!(answer.status, expected, "{name}");
    }
    add("vera", "2026-01-01T00:00:00Z");
    add("late", "2026-11-23T00:00:00Z");
    let (admin, vera, late) = (site.cookie("admin").await, site.cookie("vera").await, site.cookie("late").await);
    let status = async |target: &str, cookie: &str| site.ask("GET", target, cookie).await.status;
    let media = ["", "/digits.mp4", "/event.json"];
    for file in media {
        let of = |id: &crate::event::EventId| format!("/api/v1/events/{id}{file}");
        let expected = status(&of(&yard), &admin).await;
        assert_ne!(status(&of(&yard), &vera).await, 401);
        assert_eq!(status(&of(&yard), &vera).await, expected, "{file}");
        assert_eq!(status(&of(&yard), &late).await, 404, "before access was granted: {file}");
        assert_eq!(status(&of(&gate), &vera).await, 404, "another camera: {file}");
    }
    let listed = async |cookie: &str| {
        let events = site.ask("GET", "/api/v1/events?limit=200", cookie).await.json()["events"].take();
        let cameras = events.as_array().expect("a list").iter().map(|e| e["event"]["camera"].to_string());
        cameras.collect::<std::collections::BTreeSet<_>>()
    };
    assert!(listed(&admin).await.len() > 1);
    assert_eq!(listed(&vera).await.into_iter().collect::<Vec<_>>(), ["\"yard\""]);
    assert!(listed(&late).await.is_empty());
    for (target, of_vera) in [
        ("/api/v1/cameras/yard/frame.jpg", 200),
        ("/api/v1/cameras/lost/last.jpg", 404),
        ("/api/v1/cameras/yard/timeline?since=2026-11-22T00:00:00Z&until=2026-11-22T12:00:00Z", 200),
        ("/api/v1/cameras/lost/timeline?since=2026-11-22T00:00:00Z&until=2026-11-22T12:00:00Z", 404),
        ("/api/v1/queue/items?outlet=mqtt", 403),
        ("/metrics", 403),
    ] {
        assert_eq!(status(target, &vera).await, of_vera, "{target}");
        assert_eq!(status(target, &admin).await, 200, "{target}");
    }
    let of_status = site.ask("GET", "/api/v1/status", &vera).await.json();
    assert_eq!(of_status["cameras"].as_array().map(Vec::len), Some(1), "{of_status}");
    // Events that a user does not see are not counted for it either.
    let counted = async |cookie: &str| {
        let status = site.ask("GET", "/api/v1/status", cookie).await.json();
        let yard = status["cameras"].as_array().expect("a list").iter().find(|camera| camera["name"] == "yard");
        (status.get("events_total").is_some(), yard.expect("the camera").get("events_today").is_some())
    };
    assert_eq!((counted(&admin).await, counted(&vera).await), ((true, true), (false, true)));
    assert_eq!(counted(&site.cookie("after").await).await, (false, false), "only a minute of today");
    let day = "/api/v1/cameras/yard/timeline?since=2026-11-22T00:00:00Z&until=2026-11-22T12:00:00Z";
    let of_late = site.ask("GET", day, &late).await.json();
    assert_eq!((&of_late["events"], &of_late["segments"]), (&serde_json::json!([]), &serde_json::json!([])));
}

/// The moment some seconds from now.
fn bench_time(site: &Site, seconds: i64) -> crate::clock::Moment {
    let now = site.bench.clock.now();
    let wall = now.wall.checked_add(jiff::SignedDuration::from_secs(seconds)).expect("a time");
    crate::clock::Moment { wall, ..now }
}

/// Where a camera's or an event's name stands in a route, what is about one of them.
fn about_one(path: &str) -> Option<String> {
    let event = id(4).to_string();
    let of_camera = path.strip_prefix("/api/v1/cameras/{").and_then(|rest| rest.split_once('}'));
    let of_event = path.strip_prefix("/api/v1/events/{").and_then(|rest| rest.split_once('}'));
    let (beginning, rest) = match (of_camera, of_event) {
        (Some((_, rest)), _) => ("/api/v1/cameras/yard".to_owned(), rest),
        (_, Some((_, rest))) => (format!("/api/v1/events/{event}"), rest),
        _ => return None,
    };
    let rest = [("{file}", "digits.mp4"), ("{name}", "x")]
        .iter()
        .fold(rest.to_owned(), |rest, (part, value)| rest.replace(part, value));
    Some(beginning + &rest)
}

#[tokio::test]
async fn no_route_about_a_camera_or_an_event_answers_those_who_do_not_see_it() {
    let site = Site::open(with_files().await).await;
    site.add("admin", Role::Admin);
    let cameras = serde_json::from_value(serde_json::json!({ "gate": {} })).expect("grants");
    let new = NewUser { name: "otto".into(), password: PASSWORD.into(), role: Role::Operator, cameras };
    site.bench.access.add_user(new).expect("a user");
    let otto = format!("Content-Type: application/json\r\n{}", site.cookie("otto").await);
    let before = site.ask("GET", &format!("/api/v1/events/{}", id(4)), &site.cookie("admin").await).await;
    let table = all_routes().finish().1;
    let routes: Vec<_> = table.iter().filter_map(|route| Some((route, about_one(route.path)?))).collect();
    assert!(routes.len() >= 8, "{routes:?}");
    for (route, target) in routes {
        let answer = site.ask(route.method.as_str(), &target, &otto).await;
        // A command that is not one is refused before anything is looked up.
        let is_refused = match route.method {
            axum::http::Method::GET => answer.status == 404 || answer.status == 403,
            _ => matches!(answer.status, 400 | 403 | 404),
        };
        assert!(is_refused, "{} {target}: {} {}", route.method, answer.status, answer.text());
    }
    let after = site.ask("GET", &format!("/api/v1/events/{}", id(4)), &site.cookie("admin").await).await;
    assert_eq!((before.status, after.status, after.text()), (200, 200, before.text()));
}

#[tokio::test]
async fn what_is_made_under_one_key_is_made_once() {
    let site = Site::open(with_files().await).await;
    site.add("admin", Role::Admin);
    let cookie = site.cookie("admin").await;
    let headers = format!("{cookie}Idempotency-Key: 7f3a\r\n");
    let share = serde_json::json!({ "event": id(4), "file": "digits.mp4" }).to_string();
    for (path, list, body) in [
        ("/api/v1/users", "users", r#"{"name": "ben", "password": "correct horse battery", "role": "viewer"}"#),
        ("/api/v1/keys", "keys", r#"{"name": "a program", "role": "viewer"}"#),
        ("/api/v1/shares", "shares", share.as_str()),
    ] {
        let count = async || site.ask("GET", path, &cookie).await.json()[list].as_array().map_or(0, Vec::len);
        let before = count().await;
        let headers = headers.replace("7f3a", list);
        let (first, again) = (site.post(path, &headers, body).await, site.post(path, &headers, body).await);
        assert_eq!((first.status, again.status), (201, 201), "{path}: {} {}", first.text(), again.text());
        assert_eq!((first.json(), again.header("idempotency-replayed")), (again.json(), "true"), "{path}");
        assert_eq!(count().await, before + 1, "{path}");
    }
}

#[tokio::test]
async fn commands_logins_and_looks_are_in_the_audit_log_without_secrets() {
    let site = Site::open(with_files().await).await;
    site.add("admin", Role::Admin);
    let admin = site.cookie("admin").await;
    site.log_in("admin", "wrong horse").await;
    site.log_in("mallory", "wrong horse").await;
    let body = r#"{"name": "ben", "password": "correct horse battery", "role": "viewer"}"#;
    assert_eq!(site.post("/api/v1/users", &admin, body).await.status, 201);
    assert_eq!(site.post("/api/v1/queue/retry", "", "{}").await.status, 401);
    for _ in 0..3 {
        site.ask("GET", &media("digits.mp4"), &admin).await;
    }
    site.ask("GET", "/api/v1/status", &admin).await;
    let answer = site.ask("GET", "/api/v1/audit", &admin).await;
    assert!(!answer.text().contains("horse"), "{}", answer.text());
    let entries = answer.json()["entries"].take();
    let text = |entry: &serde_json::Value| {
        format!(
            "{} {} {}",
            entry["who"].as_str().expect("a name"),
            entry["target"].as_str().expect("a target"),
            entry["status"]
        )
    };
    let found: Vec<String> = entries.as_array().expect("a list").iter().map(text).collect();
    let look = format!("admin {} of camera yard at 2026-11-22T10:01:30Z 200", media("digits.mp4"));
    let expected = [
        look.as_str(),
        " /api/v1/queue/retry 401",
        "admin /api/v1/users ben as viewer 201",
        " /api/v1/login mallory 401",
        " /api/v1/login admin 401",
        " /api/v1/login admin 200",
    ];
    assert_eq!(found, expected);
    let page = site.ask("GET", "/api/v1/audit?limit=2&text=login", &admin).await.json();
    assert_eq!((page["entries"].as_array().map(Vec::len), page["next"].is_u64()), (Some(2), true));
}

#[tokio::test]
async fn strangers_do_not_push_others_out_of_the_audit_log() {
    let site = Site::with_users().await;
    let admin = site.cookie("admin").await;
    for n in 0..40 {
        assert_eq!(site.post(&format!("/api/v1/keys?n={n}"), "", "{}").await.status, 401);
    }
    let entries = site.ask("GET", "/api/v1/audit?limit=1000", &admin).await.json()["entries"].take();
    let of_strangers = entries.as_array().expect("a list").iter().filter(|entry| entry["who"] == "").count();
    // The login is of a caller that is not known yet either, and succeeded.
    assert_eq!(of_strangers, 21, "{entries}");
}

#[tokio::test]
async fn what_runs_on_a_camera_is_changed_by_who_sees_it_and_not_removed() {
    let site = Site::with_users().await;
    let cameras = Some([("gate".to_owned(), Grant::default())].into());
    let limited = NewUser { name: "limited".into(), password: PASSWORD.into(), role: Role::Operator, cameras };
    site.bench.access.add_user(limited).expect("a user");
    let steps = r#""steps": [{"id": "one", "type": "number@1", "parameters": {"number": 1}}]"#;
    let save = async |name: &str, who: &str| {
        let cookie = site.cookie(who).await;
        site.post("/api/v1/pipelines", &cookie, &format!(r#"{{"name": "{name}", {steps}}}"#)).await
    };
    assert_eq!(save("watch", "operator").await.status, 201);
    let refused = save("watch", "limited").await;
    assert_eq!((refused.status, &refused.problem()["code"]), (403, &"not_allowed".into()), "{}", refused.text());
    assert_eq!(save("another", "limited").await.status, 201);
    let removed = async |name: &str, who: &str| {
        let cookie = site.cookie(who).await;
        site.ask("DELETE", &format!("/api/v1/pipelines/{name}"), &format!("{JSON}{cookie}")).await
    };
    assert_eq!(removed("watch", "limited").await.status, 403);
    let used = removed("watch", "admin").await;
    assert!(used.status == 409 && used.text().contains("runs on yard"), "{} {}", used.status, used.text());
    assert_eq!(removed("another", "limited").await.status, 204);
}
