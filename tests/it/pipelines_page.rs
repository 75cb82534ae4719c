//! Pipelines as people draw them on the page.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::process::run;
use crate::harness::{Scratch, fixture, installed, repository};

/// Works with: page | a pipeline of five blocks, drawn by pointer, keyboard and forms in a browser, tried, saved and run | what each step gives and how long it takes on its node; no other host is asked
#[test]
fn a_pipeline_is_drawn_tried_saved_and_run_in_a_browser() {
    let scratch = Scratch::new("pipelines-page");
    // No one takes what the webhook is to have.
    scratch.expect_log(&["alerts wait, the receiver does not take them"]);
    let mut config = Config::new(&scratch).played_once("gate", &fixture("people.mp4"), 4.0);
    // Other tests make the box busy, and a busy box runs nothing.
    config.add("[load]\nenabled = false\n[webhook.office]\nurl = \"http://127.0.0.1:9/x\"\nallow_http = true");
    let mut daemon = Daemon::start(&scratch, config);
    let text = scratch.path("notes.jpg");
    std::fs::write(&text, "no picture").expect("write");
    let mut node = Command::new("node");
    node.arg(repository().join("tests/browser/pipelines.mjs")).arg(daemon.page());
    node.args([fixture("pictures/person.jpg"), text]);
    let report = run(node.env("OUTPOST_NODE_MODULES", installed("node/node_modules")));
    let seen: Value = serde_json::from_str(&report).expect("the browser's report");
    assert_eq!(seen["errors"], json!([]), "on the console");
    let violations = seen["violations"].as_object().expect("lists");
    assert!(violations.len() == 3 && violations.values().all(|found| *found == json!([])), "axe: {violations:#?}");
    let shifts = seen["shifts"].as_object().expect("numbers");
    assert!(shifts.values().all(|shift| shift.as_f64().is_some_and(|shift| shift < 0.1)), "{}", seen["moved"]);
    let page = daemon.page();
    let requests: Vec<&str> = seen["requests"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    // Pictures on nodes are in the answer itself.
    assert!(requests.iter().all(|url| url.starts_with(&page) || url.starts_with("data:image/jpeg;")), "{requests:?}");

    let steps = &seen["steps"];
    let says = |step: &str, words: &str| steps[step].as_str().is_some_and(|text| text.contains(words));
    assert_eq!(steps["drawn"], 5, "{steps}");
    assert_eq!(steps["connected"], "$steps.filter.objects", "{steps}");
    assert_eq!(steps["moved"], json!([0, 20]), "{steps}");
    assert_eq!((&steps["focus"], &steps["webhook"]), (&json!("count"), &json!("office")), "{steps}");
    assert!(steps["keys"].as_array().is_some_and(|keys| keys.contains(&json!("Delete"))), "{steps}");
    assert!(says("given", "person.jpg · visitors 1"), "{steps}");
    assert!(says("mistake", "7 is not a number from 0.01 to 1"), "{steps}");
    assert_eq!(steps["wrong"].as_array().map(Vec::len), Some(1), "{steps}");
    assert!(says("refused", "neither a picture nor a video"), "{steps}");
    assert!(says("tried", "ms"), "{steps}");
    let labels = steps["labels"].as_array().expect("labels");
    let label =
        |step: &str| labels.iter().filter_map(Value::as_str).find(|label| label.starts_with(step)).unwrap_or_default();
    assert!(label("Step detect, ").contains("person") && label("Step count, ").contains("number: "), "{labels:?}");
    // The picture with boxes, and the first of what was cut out.
    assert_eq!(steps["pictures"], 2, "{steps}");
    assert!(says("saved", "version 1") && says("result", "number: "), "{steps}");
    assert_eq!(steps["exported"], "visitors.toml", "{steps}");
    let difference = steps["difference"].to_string();
    assert!(difference.contains("filter") && difference.contains("person"), "{steps}");
    assert!(says("refusedName", "Another step has the name"), "{steps}");
    assert_eq!((&steps["typing"], &steps["unchecked"]), (&json!(["who comes", true]), &json!(true)), "{steps}");
    assert!(
        says("meanwhile", "version 3 is the newest")
            && says("restored", "version 4")
            && says("question", "the pipeline visitors"),
        "{steps}"
    );
    assert_eq!(steps["stays"], "visitors", "{steps}");
    assert!(says("unsaved", "Save the pipeline first") && says("taken", "a pipeline visitors already"), "{steps}");
    assert_eq!(steps["wide"], json!(true), "nothing is wider than the phone");
    assert!(daemon.terminate().success(), "{}", daemon.log());
}
