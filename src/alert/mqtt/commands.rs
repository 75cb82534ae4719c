//! Commands: what may be asked for, and what is answered.
//!
//! A command that the broker kept (retained) is never executed: it would strike again at every connection, long
//! after its sender's intention has changed.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use jiff::Timestamp;
use rumqttc::v5::mqttbytes::v5::Publish;
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::clock::{Clock, TimeQuality};
use crate::control::{Control, Force, Switches};
use crate::destination::Destination;

use super::device::{Camera, DeviceContext};
use super::message::Message;
use super::topics::Topics;

/// Longest payload of a command, bytes.
const MAX_PAYLOAD: usize = 1024;
/// Longest topic of a command or for an answer, bytes.
const MAX_TOPIC: usize = 1024;
/// Longest correlation data that is given back, bytes.
const MAX_CORRELATION: usize = 1024;
/// Detection is forced for so long at most.
const MAX_FORCE: Duration = Duration::from_secs(31 * 24 * 3600);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Detect(String, bool),
    Record(String, bool),
    Force(String, Option<Force>),
    Snapshot(String),
    Pause(String, bool),
}

/// What came, and where its answer goes.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub command: Result<Command, String>,
    answer_topics: Vec<String>,
    correlation: Option<Bytes>,
}

#[derive(Serialize)]
struct Answer<'a> {
    version: u32,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// The payload of `override/set`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForceRequest {
    detect: OnOff,
    until: Option<Timestamp>,
    #[serde(default, with = "jiff::fmt::serde::unsigned_duration::friendly::compact::optional")]
    r#for: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnOff {
    On,
    Off,
}

/// What commands are parsed by.
pub(super) struct CommandParser<'a> {
    pub topics: &'a Topics,
    pub device_context: &'a DeviceContext,
    pub clock: &'a dyn Clock,
}

impl CommandParser<'_> {
    /// Reads a message that came through the filters of commands. `None`: there is no one to answer.
    pub(super) fn read(&self, publish: &Publish) -> Option<Request> {
        let topic = std::str::from_utf8(&publish.topic).ok().filter(|topic| topic.len() <= MAX_TOPIC)?;
        let base = topic.strip_suffix("/set")?;
        // A retained command is cleared, which is none.
        if publish.retain && publish.payload.is_empty() {
            return None;
        }
        let asked = publish.properties.as_ref();
        let response = asked.and_then(|asked| asked.response_topic.clone()).filter(|topic| self.may_answer(topic));
        let correlation = asked.and_then(|asked| asked.correlation_data.clone());
        let command = if publish.retain {
            Err("a retained command is not executed, since it would strike at every connection: \
                 send it without the retain flag, and clear this one"
                .to_owned())
        } else {
            self.command(base, &publish.payload)
        };
        Some(Request {
            command,
            answer_topics: [format!("{base}/answer")].into_iter().chain(response).collect(),
            correlation: correlation.filter(|data| data.len() <= MAX_CORRELATION),
        })
    }

    /// A sender of commands must not be able to make the box publish to its own topics.
    fn may_answer(&self, topic: &str) -> bool {
        let is_name = !topic.is_empty() && !topic.contains(['+', '#', '\0']) && !topic.starts_with('$');
        is_name && topic.len() <= MAX_TOPIC && !self.topics.is_ours(topic)
    }

    fn command(&self, base: &str, payload: &[u8]) -> Result<Command, String> {
        if payload.len() > MAX_PAYLOAD {
            return Err(format!("the payload has {} bytes; allowed are {MAX_PAYLOAD}", payload.len()));
        }
        let text = std::str::from_utf8(payload).map_err(|_| "the payload is not UTF-8".to_owned())?.trim();
        for upload in &self.device_context.uploads {
            if base == self.topics.upload(upload, "paused") {
                return Ok(Command::Pause(upload.clone(), on_or_off(text)?));
            }
        }
        for camera in &self.device_context.cameras {
            let leaf = base.strip_prefix(&self.topics.of_camera(&camera.name, ""));
            if let Some(leaf) = leaf {
                return self.for_camera(camera, leaf, text);
            }
        }
        Err("this box has no such camera or destination".to_owned())
    }

    fn for_camera(&self, camera: &Camera, leaf: &str, text: &str) -> Result<Command, String> {
        let name = camera.name.to_string();
        let needs = |is_there: bool, key: &str| {
            let error = || {
                format!(
                    "{key} is off in the configuration of camera {name:?}; it can only be switched where it is on there"
                )
            };
            if is_there { Ok(()) } else { Err(error()) }
        };
        match leaf {
            "detect" => {
                needs(camera.detects, "detect").and(on_or_off(text)).map(|on| Command::Detect(name.clone(), on))
            }
            "record" => {
                needs(camera.records, "record").and(on_or_off(text)).map(|on| Command::Record(name.clone(), on))
            }
            "override" => {
                needs(camera.detects, "detect")?;
                Ok(Command::Force(name.clone(), self.force(text)?))
            }
            "snapshot" if text == "NOW" => Ok(Command::Snapshot(name.clone())),
            "snapshot" => Err(format!("{:?} is not understood; send NOW", shortened(text))),
            _ => Err("nothing can be set there; detect, record, override and snapshot can".to_owned()),
        }
    }

    fn force(&self, text: &str) -> Result<Option<Force>, String> {
        const FORM: &str =
            "send AUTO, {\"detect\":\"on\",\"for\":\"2h\"} or {\"detect\":\"off\",\"until\":\"2026-11-22T18:00:00Z\"}";
        if text == "AUTO" {
            return Ok(None);
        }
        let asked: ForceRequest =
            serde_json::from_str(text).map_err(|e| format!("{:?} is not understood ({e}); {FORM}", shortened(text)))?;
        if self.clock.quality() == TimeQuality::Implausible {
            return Err("this box does not know the time yet, so nothing can be set until a time".to_owned());
        }
        let now = self.clock.wall();
        let until = match (asked.until, asked.r#for) {
            (Some(until), None) => until,
            (None, Some(time)) => now.checked_add(time).map_err(|_| format!("\"for\" is too long; {FORM}"))?,
            _ => return Err(format!("one of \"until\" and \"for\" is needed; {FORM}")),
        };
        let latest = now.saturating_add(MAX_FORCE).unwrap_or(Timestamp::MAX);
        if until <= now || until > latest {
            return Err(format!("{until} is not in the next {} days", MAX_FORCE.as_secs() / 86_400));
        }
        Ok(Some(Force { detect: asked.detect == OnOff::On, until }))
    }
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "1" | "true" => Ok(true),
        "off" | "0" | "false" => Ok(false),
        _ => Err(format!("{:?} is not understood; send ON or OFF", shortened(text))),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

impl Request {
    /// The answers to it, once its outcome is known.
    pub(super) fn answers(&self, outcome: &Result<(), String>) -> Vec<Message> {
        let error = outcome.as_ref().err().map(String::as_str);
        let answer = Answer { version: 1, ok: outcome.is_ok(), error };
        let payload = serde_json::to_vec(&answer).unwrap_or_default();
        let topics = self.answer_topics.iter();
        topics.map(|topic| Message::answer(topic.clone(), payload.clone(), self.correlation.clone())).collect()
    }
}

impl Command {
    /// Switches. Returns once that is on the disk.
    ///
    /// # Errors
    /// When the disk refuses; nothing is switched then.
    pub(super) async fn execute(self, control: Control) -> Result<()> {
        info!(command = ?self, "a command came by MQTT");
        let change = move || control.change(|switches| self.change(switches));
        let changed = tokio::task::spawn_blocking(change).await.context("switch")?;
        changed.context("keep what was switched")
    }

    fn change(self, switches: &mut Switches) {
        match self {
            Self::Detect(camera, on) => switches.camera(&camera, |camera| camera.detect_off = !on),
            Self::Record(camera, on) => switches.camera(&camera, |camera| camera.record_off = !on),
            Self::Force(camera, force) => switches.camera(&camera, |camera| camera.force = force),
            Self::Pause(upload, on) => drop(switches.set_paused(&Destination::upload(&upload), on)),
            Self::Snapshot(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::PublishProperties;

    use super::*;
    use crate::alert::mqtt::device::NoStatus;
    use crate::clock::{Mono, SimulatedClock};

    fn device_context() -> DeviceContext {
        let camera = |name: &str, on| Camera { name: name.into(), detects: on, records: on, ..Camera::default() };
        DeviceContext {
            site: "".into(),
            cameras: vec![camera("yard", true), camera("a/b", true), camera("blind", false)],
            uploads: vec!["cloud".into()],
            has_temperature: true,
            control: Control::default(),
            status: Arc::new(NoStatus),
            announced: None,
        }
    }

    fn clock() -> SimulatedClock {
        SimulatedClock::new(Mono(0), "2026-11-22T12:00:00Z".parse().expect("a time"))
    }

    fn read(publish: &Publish) -> Option<Request> {
        let (device_context, clock) = (device_context(), clock());
        let topics = Topics::new("outpost", "box", &device_context.cameras).expect("topics");
        CommandParser { topics: &topics, device_context: &device_context, clock: &clock }.read(publish)
    }

    fn asked(topic: &str, payload: &str) -> Result<Command, String> {
        let publish = Publish::new(format!("outpost/box/{topic}"), QoS::AtLeastOnce, payload.to_owned(), None);
        read(&publish).expect("a request").command
    }

    #[test]
    fn commands_are_understood() {
        let forced = |on, until: &str| Some(Force { detect: on, until: until.parse().expect("a time") });
        let cases = [
            ("camera/yard/detect/set", "OFF", Command::Detect("yard".into(), false)),
            ("camera/yard/record/set", "on\n", Command::Record("yard".into(), true)),
            ("camera/a%2Fb/record/set", "off", Command::Record("a/b".into(), false)),
            ("camera/yard/snapshot/set", "NOW", Command::Snapshot("yard".into())),
            ("upload/cloud/paused/set", "ON", Command::Pause("cloud".into(), true)),
            ("camera/yard/override/set", "AUTO", Command::Force("yard".into(), None)),
            (
                "camera/yard/override/set",
                r#"{"detect":"on","for":"2h"}"#,
                Command::Force("yard".into(), forced(true, "2026-11-22T14:00:00Z")),
            ),
            (
                "camera/yard/override/set",
                r#"{"detect":"off","until":"2026-11-23T00:00:00+01:00"}"#,
                Command::Force("yard".into(), forced(false, "2026-11-22T23:00:00Z")),
            ),
        ];
        for (topic, payload, expected) in cases {
            assert_eq!(asked(topic, payload), Ok(expected), "{topic} {payload}");
        }
    }

    #[test]
    fn what_is_not_understood_is_explained() {
        let long = "x".repeat(MAX_PAYLOAD + 1);
        let cases = [
            ("camera/yard/detect/set", "maybe", "\"maybe\" is not understood; send ON or OFF"),
            ("camera/yard/detect/set", "", "send ON or OFF"),
            ("camera/yard/detect/set", &long, "the payload has 1025 bytes"),
            ("camera/yard/zoom/set", "ON", "nothing can be set there"),
            ("camera/gone/detect/set", "ON", "no such camera"),
            ("upload/gone/paused/set", "ON", "no such camera or destination"),
            ("camera/blind/detect/set", "ON", "detect is off in the configuration of camera \"blind\""),
            ("camera/blind/record/set", "ON", "record is off in the configuration"),
            ("camera/yard/snapshot/set", "later", "send NOW"),
            ("camera/yard/override/set", "{", "is not understood"),
            ("camera/yard/override/set", r#"{"detect":"on"}"#, "one of \"until\" and \"for\" is needed"),
            ("camera/yard/override/set", r#"{"detect":"on","for":"1h","more":1}"#, "unknown field"),
            (
                "camera/yard/override/set",
                r#"{"detect":"on","until":"2026-11-22T12:00:00Z"}"#,
                "is not in the next 31 days",
            ),
            ("camera/yard/override/set", r#"{"detect":"on","for":"9999h"}"#, "is not in the next 31 days"),
        ];
        for (topic, payload, expected) in cases {
            let error = asked(topic, payload).expect_err(topic);
            assert!(error.contains(expected), "{topic}: {error}");
        }
    }

    #[test]
    fn a_retained_command_is_answered_and_not_executed() {
        let mut publish = Publish::new("outpost/box/camera/yard/detect/set", QoS::AtLeastOnce, "OFF", None);
        publish.retain = true;
        let error = read(&publish).expect("a request").command.expect_err("not executed");
        assert!(error.contains("a retained command is not executed"), "{error}");
    }

    #[test]
    fn answers_go_where_they_were_asked_for_but_not_into_our_own_topics() {
        let with_response = |response: &str| {
            let properties = PublishProperties {
                response_topic: Some(response.to_owned()),
                correlation_data: Some(Bytes::from_static(b"42")),
                ..PublishProperties::default()
            };
            let topic = "outpost/box/camera/yard/detect/set";
            let request = read(&Publish::new(topic, QoS::AtLeastOnce, "ON", Some(properties))).expect("a request");
            let answers = request.answers(&Ok(()));
            assert!(answers.iter().all(|answer| answer.payload == br#"{"version":1,"ok":true}"#));
            assert!(answers.iter().all(|answer| answer.properties.correlation_data.as_deref() == Some(b"42")));
            answers.into_iter().map(|answer| answer.topic).collect::<Vec<_>>()
        };
        let usual = "outpost/box/camera/yard/detect/answer";
        assert_eq!(with_response("client/7"), [usual, "client/7"]);
        for bad in ["outpost/box/availability", "$SYS/x", "a/#", "+", "", &"x".repeat(2000)] {
            assert_eq!(with_response(bad), [usual], "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_comes_makes_it_panic(topic in "outpost/box/(camera|upload)/[ -~]{0,12}/[a-z]{0,9}/set", payload: Vec<u8>) {
            let _ = read(&Publish::new(topic, QoS::AtMostOnce, payload, None));
        }
    }
}
