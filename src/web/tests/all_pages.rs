//! The pages themselves: what they are made of, and what they name.

use super::super::texts::Language;
use super::*;

/// All pages but the overview, and one that is not there.
pub(super) const PAGES: [&str; 15] = [
    "/models",
    "/pipelines",
    "/login",
    "/account",
    "/people",
    "/system",
    "/audit",
    "/shared",
    "/events",
    "/events/x",
    "/timeline",
    "/photos",
    "/cameras",
    "/cameras/x/publish",
    "/nothing",
];

#[tokio::test]
async fn the_page_and_its_files_come_with_a_strict_policy_and_name_no_other_host() {
    let site = Site::open(Bench::new()).await;
    let page = site.get("/").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'self';") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"));
    let mut pending = vec![page.text().to_owned()];
    for other in PAGES {
        pending.push(site.get(other).await.text().to_owned());
        pending.push(site.ask("GET", other, "Accept-Language: ja\r\n").await.text().to_owned());
    }
    let mut seen = std::collections::BTreeSet::new();
    while let Some(text) = pending.pop() {
        assert!(!text.replace("http://www.w3.org/", "").contains("http"), "names another host: {text}");
        assert!(!text.contains("innerHTML") && !text.contains("insertAdjacentHTML"));
        // In a script it may be a name.
        let has_style = text.starts_with('<') && text.contains(" style=");
        assert!(!has_style && !text.contains("onclick=") && !text.contains("<style"), "inline: {text}");
        let named =
            text.split(['"', '\'']).filter_map(|word| word.strip_prefix("./").or(word.strip_prefix("/assets/")));
        for name in named.filter(|name| !name.is_empty()).map(str::to_owned).collect::<Vec<_>>() {
            if seen.insert(name.clone()) {
                let asset = site.get(&format!("/assets/{name}")).await;
                assert_eq!(asset.status, 200, "{name}");
                pending.push(asset.text().to_owned());
            }
        }
    }
    assert_eq!(seen.len(), pages::FILES.len() + Language::ALL.len(), "each file is used: {seen:?}");
    for target in ["/", "/assets/app.js", "/assets/ja.json"] {
        let tag = site.get(target).await.header("etag").to_owned();
        let again = site.ask("GET", target, &format!("If-None-Match: {tag}\r\n")).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{target}");
    }
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let site = Site::open(with_files().await).await;
    for target in ["/", "/nothing", "/api/v1/status", "/api/v1/nothing", "/healthz", "/metrics", &media("digits.mp4")] {
        let answer = site.get(target).await;
        for (name, value) in
            [("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"), ("x-frame-options", "DENY")]
        {
            assert_eq!(answer.header(name), value, "{target}");
        }
        assert!(answer.headers.contains_key("content-security-policy"), "{target}");
        assert!(!answer.headers.contains_key("access-control-allow-origin"), "{target}");
        if target.starts_with("/api/") && !target.ends_with(".mp4") {
            assert_eq!(answer.header("cache-control"), "no-store", "{target}");
        }
    }
}
