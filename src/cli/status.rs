//! `outpost status`.

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::ConfigArg;
use super::daemon::{Daemon, duration};
use super::output::{print, print_json};
use crate::byte_size;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigArg,
    /// Everything that is known, as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn main(arguments: &Arguments) -> Result<()> {
    let daemon = Daemon::new(&arguments.config.config)?;
    let status = super::runtime()?.block_on(daemon.get("status", &[]))?;
    if arguments.json {
        return print_json(&status);
    }
    print(&describe(&status))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_default()
}

fn describe(status: &Value) -> String {
    let mut lines = vec![
        format!("{} {}: {}", text(status, "device"), text(status, "site"), text(&status["summary"], "text")),
        format!("up {}, {} events", duration(number(status, "uptime_s")), number(status, "events_total")),
    ];
    lines.extend(status["cameras"].as_array().into_iter().flatten().map(describe_camera));
    for outlet in status["outlets"].as_array().into_iter().flatten() {
        lines.extend(describe_outlet(outlet));
    }
    let disk = &status["disk"];
    let (free, size) = (number(disk, "free_bytes"), number(disk, "size_bytes"));
    let room = format!("{} free of {}", byte_size::text(free), byte_size::text(size));
    let room = if size == 0 { "its size is not known".to_owned() } else { room };
    lines.push(format!("disk {}: {room}", text(disk, "path")));
    lines.extend(disk["forecast"]["text"].as_str().filter(|text| !text.is_empty()).map(|text| format!("  {text}")));
    lines.extend(disk["trouble"].as_str().map(|trouble| format!("  {trouble}")));
    if let Some(sha256) = status["certificate"]["sha256"].as_str() {
        let maker = if status["certificate"]["self_signed"] == true { ", which the box made" } else { "" };
        lines.push(format!("certificate of the page{maker}: SHA-256 {sha256}"));
    }
    lines.join("\n") + "\n"
}

fn describe_camera(camera: &Value) -> String {
    let reasons = ["reason", "not_detected"].iter().filter_map(|key| camera[*key].as_str());
    let reason: String = reasons.map(|reason| format!(": {reason}")).collect();
    let state = text(camera, "state");
    let is_connected = matches!(state, "online" | "degraded");
    // A camera that is lost or over has no rate.
    let rate = camera["fps"].as_f64().filter(|_| is_connected).map(|fps| format!(", {fps:.1} pictures/s"));
    format!("camera {}: {state}{}{reason}", text(camera, "name"), rate.unwrap_or_default())
}

fn describe_outlet(outlet: &Value) -> Vec<String> {
    let transfers = &outlet["transfers"];
    let online = outlet["online"].as_bool().map_or("not tried yet", |online| if online { "online" } else { "offline" });
    let link = transfers["link"].as_str().unwrap_or(online);
    let (items, size) = (number(outlet, "queued_items"), byte_size::text(number(outlet, "queued_bytes")));
    let mut line = format!("{}: {link}, {items} waiting ({size})", text(outlet, "name"));
    if let Some(rate) = transfers["bytes_per_s"].as_u64() {
        line += &format!(", {} kbit/s", rate * 8 / 1000);
    }
    if let Some(left) = transfers["left_s"].as_u64().filter(|_| items > 0) {
        line += &format!(", done in about {}", duration(left));
    }
    if let Some(dead) = outlet["dead_letters"].as_u64().filter(|dead| *dead > 0) {
        line += &format!(", {dead} given up");
    }
    let mut lines = vec![line];
    lines.extend(transfers["held"].as_str().map(|held| format!("  {held}")));
    lines.extend(outlet["last_error"].as_str().map(|error| format!("  {error}")));
    lines.extend(transfers["current"].as_array().into_iter().flatten().map(|transfer| {
        let (done, all) = (byte_size::text(number(transfer, "done")), byte_size::text(number(transfer, "bytes")));
        format!("  {} ({done} of {all})", text(transfer, "key"))
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_camera_has_a_rate_while_it_is_connected() {
        let camera = |state: &str, fps: f64, reason: Option<&str>| {
            describe_camera(
                &json!({"name": "yard", "state": state, "fps": fps, "reason": reason, "not_detected": null}),
            )
        };
        assert_eq!(camera("online", 9.96, None), "camera yard: online, 10.0 pictures/s");
        let silent = "no pictures for more than 5 s; the connection is kept until 10 s";
        assert_eq!(camera("degraded", 0.0, Some(silent)), format!("camera yard: degraded, 0.0 pictures/s: {silent}"));
        let over = camera("finished", 0.0, Some("the file was played to its end"));
        assert_eq!(over, "camera yard: finished: the file was played to its end");
    }

    #[test]
    fn a_person_sees_what_waits_and_why() {
        let outlet = json!({
            "name": "upload/cloud", "online": true, "queued_items": 12, "queued_bytes": 34_000_000, "dead_letters": 2,
            "last_error": null,
            "transfers": {
                "link": "online", "held": "the link is metered", "bytes_per_s": 16_000, "left_s": 2125,
                "current": [{"key": "box/2026/clip.mp4", "bytes": 20_000_000, "done": 5_000_000}],
            },
        });
        assert_eq!(
            describe_outlet(&outlet),
            [
                "upload/cloud: online, 12 waiting (34.0 MB), 128 kbit/s, done in about 35 min, 2 given up",
                "  the link is metered",
                "  box/2026/clip.mp4 (5.0 MB of 20.0 MB)",
            ]
        );
        let quiet = json!({"name": "mqtt", "online": null, "queued_items": 0, "queued_bytes": 0, "dead_letters": 0});
        assert_eq!(describe_outlet(&quiet), ["mqtt: not tried yet, 0 waiting (0 B)"]);
    }
}
