//! The page in a real browser.

use std::process::Command;

use serde_json::Value;

use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::process::run;
use crate::harness::{Scratch, fixture, installed, repository, seconds};

/// What a person's browser saw of a page; see tests/browser/look.mjs. `OUTPOST_SCREENSHOT` names a PNG to write.
pub fn look(url: &str) -> Value {
    let script = repository().join("tests/browser/look.mjs");
    let text =
        run(Command::new("node").arg(script).arg(url).env("OUTPOST_NODE_MODULES", installed("node/node_modules")));
    serde_json::from_str(&text).expect("the browser's report")
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().map(|item| item.as_str().expect("text")).collect()
}

#[test]
fn the_page_shows_events_without_errors_and_asks_no_other_host() {
    let scratch = Scratch::new("browser");
    let people = fixture("people.mp4");
    let daemon = Daemon::start(&scratch, Config::new(&scratch).replay("gate", &people));
    daemon.wait_for_ended(3, seconds(90));

    let seen = look(&daemon.page());
    assert_eq!(strings(&seen["errors"]), Vec::<&str>::new(), "on the console");
    assert_eq!(strings(&seen["failed"]), Vec::<&str>::new(), "answers");
    let page = daemon.page();
    let elsewhere: Vec<&str> = strings(&seen["requests"])
        .into_iter()
        .filter(|url| !url.starts_with(&page) && !url.starts_with("data:") && !url.starts_with("blob:"))
        .collect();
    assert!(elsewhere.is_empty(), "asked of others: {elsewhere:?}");
    let images = seen["images"].as_array().expect("a list");
    let thumbnails: Vec<&Value> =
        images.iter().filter(|image| image["src"].as_str().is_some_and(|src| src.contains("thumb"))).collect();
    assert!(thumbnails.len() >= 3, "{images:?}");
    assert!(thumbnails.iter().all(|image| image["width"].as_u64() > Some(0)), "not loaded: {thumbnails:?}");
    assert!(seen["title"].as_str().is_some_and(|title| title.contains("Outpost")), "{}", seen["title"]);
    let words = seen["text"].as_str().expect("text");
    assert!(words.contains("gate") && words.contains("person"), "{words}");
    assert!(words.contains("Last 24 h:") && words.contains("recorded"), "{words}");
}
