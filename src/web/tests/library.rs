//! The photo library for several users: what is private, what is shared, and what is found.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::access::PASSWORD;
use super::*;
use crate::access::{NewUser, Role, UserChange};
use crate::photo::{GeoPoint, Photo, PhotoId, PictureFormat, fixture};
use crate::web::routes::Route;

pub(super) struct Users {
    pub(super) site: Site,
    /// Headers of anna and bea (operators) and of cy, who sees the camera yard only.
    pub(super) anna: String,
    pub(super) bea: String,
    pub(super) cy: String,
    /// The user who set the box up.
    admin: String,
}

impl Users {
    pub(super) async fn new() -> Self {
        let site = Site::open(Bench::new()).await;
        site.add("admin", Role::Admin);
        site.add("anna", Role::Operator);
        site.add("bea", Role::Operator);
        let grant = [("yard".into(), crate::access::Grant::default())].into();
        let new = NewUser { name: "cy".into(), password: PASSWORD.into(), role: Role::Operator, cameras: Some(grant) };
        site.bench.access.add_user(new).expect("a user");
        let anna = site.cookie("anna").await;
        let (bea, cy, admin) = (site.cookie("bea").await, site.cookie("cy").await, site.cookie("admin").await);
        Self { site, anna, bea, cy, admin }
    }

    pub(super) fn photo(&self, n: u64, change: impl FnOnce(&mut Photo)) -> PhotoId {
        let now = self.site.bench.clock.now();
        let mut photo = fixture::photo(id(n), "anna", &format!("2024-03-{:02}T10:00:00", n % 28 + 1), now);
        photo.facts.place = GeoPoint::new(35.68, 139.77, None);
        photo.tags = vec!["heron".to_owned()];
        change(&mut photo);
        let storage = self.site.bench.archive.layout().storage();
        std::fs::create_dir_all(storage.join("library").join(crate::library::relative(&photo.sha256)))
            .expect("a folder");
        self.site.bench.store.photos().record_blocking(&photo, Vec::new()).expect("record");
        photo.id
    }

    async fn command(&self, method: &str, target: &str, headers: &str, body: &Value) -> Answer {
        let (body, host) = (body.to_string(), self.site.address);
        let json = "Content-Type: application/json\r\n";
        let length = body.len();
        self.site
            .send(&format!(
                "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{json}{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            ))
            .await
    }

    async fn ids(&self, target: &str, headers: &str) -> Vec<String> {
        let answer = self.site.ask("GET", target, headers).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        let of = |photo: &Value| photo["id"].as_str().expect("an id").to_owned();
        answer.json()["photos"].as_array().expect("photos").iter().map(of).collect()
    }

    async fn number(&self, target: &str, list: &str, headers: &str) -> u64 {
        let answer = self.site.ask("GET", target, headers).await.json();
        answer[list].as_array().expect("a list").iter().map(|one| one["photos"].as_u64().expect("a number")).sum()
    }
}

#[tokio::test]
async fn a_private_photo_is_on_no_route_for_anyone_but_its_owner() {
    let users = Users::new().await;
    let private = users.photo(1, |photo| photo.private = true);
    let shared = users.photo(2, |_| {});
    let trashed = users.photo(3, |photo| photo.trashed = Some(photo.added.clone()));
    let album =
        json!({ "title": "Herons", "everyone": true, "shared_with": ["bea", "cy"], "add": [private, shared, trashed] });
    let made = users.command("POST", "/api/v1/albums", &users.anna, &album).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!((&made.json()["count"], &made.json()["own"]), (&json!(2), &json!(true)));
    let album = made.json()["id"].as_str().expect("an id").to_owned();

    // Each route about a photo, from the table of all routes.
    let about_one = |route: &&Route| route.path.starts_with("/api/v1/photos/{id}");
    let routes: Vec<Route> = all_routes().finish().1.iter().filter(about_one).cloned().collect();
    assert!(routes.len() >= 6, "{routes:?}");
    for hidden in [private, trashed] {
        for headers in [&users.bea, &users.cy, &users.admin] {
            for route in &routes {
                let target = route.path.replace("{id}", &hidden.to_string());
                let body = if target.ends_with("favorite") { json!({"favorite": true}) } else { json!({"title": "x"}) };
                let answer = match route.method.as_str() {
                    "GET" => users.site.ask("GET", &target, headers).await,
                    method => users.command(method, &target, headers, &body).await,
                };
                assert_eq!(answer.status, 404, "{} {target}: {}", route.method, answer.text());
            }
        }
    }
    // Every list and every count.
    let seen = [shared.to_string()];
    let searches = ["", "?q=heron", "?q=tag:heron", "?q=is:private", "?q=owner:anna", "?q=near:35.68,139.77"];
    for (headers, all) in [(&users.bea, 1), (&users.admin, 1), (&users.anna, 2)] {
        for query in searches {
            let found = users.ids(&format!("/api/v1/photos{query}"), headers).await;
            let expected = match (query, all) {
                ("?q=is:private", 1) => vec![],
                ("?q=is:private", _) => vec![private.to_string()],
                (_, 1) => seen.to_vec(),
                _ => vec![shared.to_string(), private.to_string()],
            };
            assert_eq!(found, expected, "{query}");
        }
        assert_eq!(users.ids(&format!("/api/v1/photos?album={album}"), headers).await.len(), all);
        assert_eq!(users.number("/api/v1/photos/days", "days", headers).await, all as u64);
        for (query, exact) in
            [("", true), ("?q=tag:heron", true), ("?q=\"grey heron\"", false), ("?q=near:35,139", false)]
        {
            let target = format!("/api/v1/photos/days{}", query.replace(' ', "%20").replace('"', "%22"));
            assert_eq!(users.site.ask("GET", &target, headers).await.json()["exact"], json!(exact), "{query}");
        }
        assert_eq!(users.number("/api/v1/photos/tags", "tags", headers).await, all as u64);
        assert_eq!(users.number("/api/v1/photos/places", "places", headers).await, all as u64);
        let shown = users.site.ask("GET", &format!("/api/v1/albums/{album}"), headers).await.json();
        assert_eq!((&shown["count"], shown["photos"].is_null()), (&json!(all), true), "{shown}");
        assert_eq!(shown["face"], json!(if all == 1 { shared } else { private }), "{shown}");
    }
    // One's own trash is one's own.
    assert_eq!(users.ids("/api/v1/photos?trash=true", &users.anna).await, [trashed.to_string()]);
    assert!(users.ids("/api/v1/photos?trash=true", &users.bea).await.is_empty());
}

#[tokio::test]
async fn who_sees_some_cameras_sees_of_the_library_what_is_shared_by_name() {
    let users = Users::new().await;
    let (inside, outside) = (users.photo(1, |_| {}), users.photo(2, |_| {}));
    let made = users.command("POST", "/api/v1/albums", &users.anna, &json!({"title": "For cy", "add": [inside]})).await;
    let album = made.json()["id"].as_str().expect("an id").to_owned();
    let path = format!("/api/v1/albums/{album}");
    let (of_album, of_photo) = (format!("/api/v1/photos?album={album}"), format!("/api/v1/photos/{inside}"));
    for hidden in [&path, &of_album, &of_photo] {
        assert_eq!(users.site.ask("GET", hidden, &users.cy).await.status, 404, "{hidden}");
    }
    assert_eq!(users.site.ask("GET", "/api/v1/search", &users.cy).await.json()["found"], json!([]), "no event is seen");
    for refused in ["/api/v1/photos", "/api/v1/photos/days", "/api/v1/photos/tags", "/api/v1/photos/places"] {
        assert_eq!(users.site.ask("GET", refused, &users.cy).await.status, 403, "{refused}");
    }
    let unknown = users.command("PATCH", &path, &users.anna, &json!({"shared_with": ["cy", "si"]})).await;
    assert_eq!(unknown.status, 400, "{}", unknown.text());
    assert!(unknown.text().contains("there is no user"), "{}", unknown.text());
    let shared = users.command("PATCH", &path, &users.anna, &json!({"shared_with": ["cy"]})).await;
    assert_eq!(shared.status, 200, "{}", shared.text());
    assert_eq!(users.ids(&of_album, &users.cy).await, [inside.to_string()]);
    for seen in [&path, &of_photo] {
        assert_eq!(users.site.ask("GET", seen, &users.cy).await.status, 200, "{seen}");
    }
    let other = format!("/api/v1/photos/{outside}");
    assert_eq!(users.site.ask("GET", &other, &users.cy).await.status, 404);
    // To see is not to change.
    assert_eq!(users.command("PATCH", &path, &users.cy, &json!({"title": "Mine"})).await.status, 403);
    assert_eq!(users.command("PATCH", &of_photo, &users.cy, &json!({"title": "Mine"})).await.status, 403);
    assert_eq!(users.site.ask("GET", &path, &users.bea).await.status, 404, "shared with cy alone");
    // Nor is an album of one's own a way to photos that were not shared.
    let own = users.command("POST", "/api/v1/albums", &users.cy, &json!({"title": "Mine", "add": [outside]})).await;
    assert_eq!((own.status, users.site.ask("GET", &other, &users.cy).await.status), (403, 404), "{}", own.text());
}

#[tokio::test]
async fn jobs_are_listed_for_those_whose_they_are() {
    let users = Users::new().await;
    assert_eq!(users.site.ask("GET", "/api/v1/jobs", &users.anna).await.json(), json!({ "jobs": [] }));
    users.photo(1, |_| {});
    let jobs = users.site.ask("GET", "/api/v1/jobs", &users.anna).await.json();
    let check = json!({ "kind": "check", "subject": "", "state": "waiting", "done": 0, "total": 1 });
    assert_eq!(jobs, json!({ "jobs": [check] }));
    assert_eq!(users.site.ask("GET", "/api/v1/jobs", &users.cy).await.status, 403);
}

#[tokio::test]
async fn favorites_are_each_users_own() {
    let users = Users::new().await;
    let photo = users.photo(1, |_| {});
    let path = format!("/api/v1/photos/{photo}/favorite");
    let marked = users.command("PATCH", &path, &users.bea, &json!({"favorite": true})).await;
    assert_eq!((marked.status, &marked.json()["favorite"]), (200, &json!(true)), "{}", marked.text());
    assert!(marked.json()["favorite_of"].is_null(), "whose favourites they are is not said");
    assert_eq!(users.ids("/api/v1/photos?q=is:favorite", &users.bea).await, [photo.to_string()]);
    assert!(users.ids("/api/v1/photos?q=is:favorite", &users.anna).await.is_empty());
    let unmarked = users.command("PATCH", &path, &users.bea, &json!({"favorite": false})).await;
    assert_eq!(unmarked.json()["favorite"], json!(false));
    assert!(users.ids("/api/v1/photos?q=is:favorite", &users.bea).await.is_empty());
}

#[tokio::test]
async fn an_album_keeps_its_own_order_over_pages_and_is_changed_as_it_was_known() {
    let users = Users::new().await;
    let ids: Vec<PhotoId> = (1..=5).map(|n| users.photo(n, |_| {})).collect();
    let order = [3, 0, 4, 1, 2].map(|at| ids[at]);
    let album = json!({"title": "In order", "order": "given", "add": order, "cover": ids[4]});
    let made = users.command("POST", "/api/v1/albums", &users.anna, &album).await;
    let id = made.json()["id"].as_str().expect("an id").to_owned();
    let (mut shown, mut next) = (Vec::new(), String::new());
    loop {
        let page = users.site.ask("GET", &format!("/api/v1/photos?album={id}&limit=2{next}"), &users.anna).await.json();
        shown.extend(page["photos"].as_array().expect("photos").iter().map(|photo| photo["id"].clone()));
        let Some(place) = page["next"].as_str() else { break };
        next = format!("&before={place}");
    }
    assert_eq!(json!(shown), json!(order));
    let days = users.site.ask("GET", &format!("/api/v1/photos/days?album={id}"), &users.anna).await;
    assert_eq!(days.json()["exact"], json!(false), "its photos do not come day after day");
    let found = users.ids("/api/v1/photos?q=album:%22in+order%22&limit=3", &users.anna).await;
    assert_eq!(found, [ids[4], ids[3], ids[2]].map(|id| id.to_string()), "a search gives the newest first");

    let path = format!("/api/v1/albums/{id}");
    let known = users.site.ask("GET", &path, &users.anna).await;
    assert_eq!(known.json()["face"], json!(ids[4]));
    let tag = format!("If-Match: {}\r\n{}", known.header("etag"), users.anna);
    let renamed = users.command("PATCH", &path, &tag, &json!({"title": "Renamed"})).await;
    assert_eq!(renamed.status, 200, "{}", renamed.text());
    let late = users.command("PATCH", &path, &tag, &json!({"title": "Too late"})).await;
    assert_eq!((late.status, &late.problem()["code"]), (412, &json!("changed_meanwhile")));
    for (body, code) in [(json!({}), 400), (json!({"title": ""}), 400), (json!({"cover": id}), 400)] {
        assert_eq!(users.command("PATCH", &path, &users.anna, &body).await.status, code, "{body}");
    }
    assert_eq!(users.command("DELETE", &path, &users.anna, &json!({})).await.status, 204);
    assert_eq!(users.site.ask("GET", &path, &users.anna).await.status, 404);
    assert_eq!(users.ids("/api/v1/photos", &users.anna).await.len(), 5, "its photos stay");
}

#[tokio::test]
async fn a_search_that_cannot_be_read_says_what_is_allowed() {
    let users = Users::new().await;
    for query in ["q=place:tokyo", "q=on:yesterday", "south=91", "south=10&north=5", "album=x", "color=red"] {
        let answer = users.site.ask("GET", &format!("/api/v1/photos/places?{query}"), &users.anna).await;
        assert_eq!((answer.status, &answer.problem()["code"]), (400, &json!("bad_parameter")), "{query}");
    }
}

#[tokio::test]
async fn photos_and_albums_are_behind_links_as_their_owners_want_and_private_ones_behind_none() {
    let users = Users::new().await;
    let (private, shared) = (users.photo(1, |photo| photo.private = true), users.photo(2, |_| {}));
    let trashed = users.photo(3, |photo| photo.trashed = Some(photo.added.clone()));
    let video = users.photo(4, |photo| photo.facts.format = PictureFormat::Mp4);
    let others = users.photo(5, |photo| photo.owner = "bea".into());
    let all = json!({ "title": "Herons", "add": [private, shared, trashed, video] });
    let album = users.command("POST", "/api/v1/albums", &users.anna, &all).await.json()["id"].clone();
    let share = async |headers: &str, body: Value| users.command("POST", "/api/v1/shares", headers, &body).await;
    for (headers, body, status) in [
        (&users.anna, json!({ "photo": private }), 409),
        (&users.anna, json!({ "photo": trashed }), 409),
        (&users.anna, json!({ "photo": video }), 409),
        (&users.anna, json!({ "photo": others }), 403),
        (&users.bea, json!({ "photo": private }), 404),
        (&users.bea, json!({ "album": album }), 404),
        (&users.cy, json!({ "photo": shared }), 404),
        (&users.anna, json!({ "photo": shared, "album": album }), 400),
        (&users.anna, json!({ "event": id(4), "file": "a.mp4", "stripped": true }), 400),
        (&users.admin, json!({ "photo": others }), 201),
    ] {
        let answer = share(headers, body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
    let open = async |made: &Answer| {
        let link = json!({ "link": made.json()["link"] });
        let opened = users.command("POST", "/api/v1/shared/open", "", &link).await;
        assert_eq!(opened.status, 200, "{}", opened.text());
        opened.json()["url"].as_str().expect("a path").to_owned()
    };
    let made = share(&users.anna, json!({ "album": album, "stripped": false })).await;
    let list = open(&made).await;
    let page = users.site.get(&list).await.json();
    assert_eq!(page["title"], "Herons");
    let photos: Vec<(String, String)> = serde_json::from_value::<Vec<BTreeMap<String, Value>>>(page["photos"].clone())
        .expect("photos")
        .iter()
        .map(|photo| (photo["id"].as_str().expect("id").to_owned(), photo["name"].as_str().expect("name").to_owned()))
        .collect();
    let expected = [(video.to_string(), "video.mp4".to_owned()), (shared.to_string(), "picture.jpg".to_owned())];
    assert_eq!(photos, expected, "{page}");
    assert!(!page.to_string().contains("IMG_") && !page.to_string().contains("anna"), "nothing of the box: {page}");
    for hidden in [private, trashed, others] {
        for name in ["small.jpg", "large.jpg", "picture.jpg"] {
            assert_eq!(users.site.get(&format!("{list}/{hidden}/{name}")).await.status, 404, "{hidden} {name}");
        }
    }
    // A photo that its owner takes back is gone at once, and so is the link when it is withdrawn.
    let made = share(&users.anna, json!({ "photo": shared })).await;
    let url = open(&made).await;
    assert!(url.ends_with("/picture.jpg") && made.json()["stripped"] == true, "{url}");
    let change = json!({ "private": true });
    let changed = users.command("PATCH", &format!("/api/v1/photos/{shared}"), &users.anna, &change).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!(users.site.get(&url).await.status, 404);
    let again = users.command("POST", "/api/v1/shared/open", "", &json!({ "link": made.json()["link"] })).await;
    assert_eq!(again.status, 404);
    assert_eq!(users.site.get(&list).await.json()["photos"].as_array().map(Vec::len), Some(1), "the album shows less");
    // Who may see no more than some cameras shares nothing of the library any more.
    let grant = [("yard".to_owned(), crate::access::Grant::default())].into();
    let change = UserChange { cameras: Some(Some(grant)), ..UserChange::default() };
    users.site.bench.access.change_user("anna", change).expect("changed");
    assert_eq!(users.site.get(&list).await.status, 404);
}
