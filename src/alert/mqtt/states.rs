//! What the broker keeps of the box: retained topics, published when they change.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use crate::clock::Mono;
use crate::control::Switches;
use crate::destination::Destination;
use crate::health::{CameraHealth, Health, PipelineHealth, Stage};
use crate::status::CameraStatus;

use super::Alerter;
use super::device::{Camera, Report};
use super::message::{Content, Message};
use super::report::{BoxPayload, QueuePayload};
use super::suspects::Subject;

/// What was published on this connection, and what is to be published next.
#[derive(Debug, Default)]
pub(super) struct States {
    published: BTreeMap<String, Vec<u8>>,
    due: VecDeque<Message>,
    report: Option<Report>,
}

impl States {
    /// What the box knows of itself is this from now on.
    pub(super) fn set_report(&mut self, report: Report) {
        self.report = Some(report);
    }

    /// Looks at what is to be published now.
    pub(super) fn refresh(&mut self, alerter: &Alerter) {
        let mut states = Vec::new();
        of_box(alerter, self.report.as_ref(), &mut states);
        let (known, switches) = (alerter.device_context.status.cameras(), alerter.device_context.control.switches());
        for camera in &alerter.device_context.cameras {
            let unknown = || CameraStatus::new(camera.name.clone(), &CameraHealth::default(), Mono::default());
            let status = known.iter().find(|known| known.name == camera.name).cloned().unwrap_or_else(unknown);
            let now = alerter.deps.clock.wall();
            Of { alerter, camera, states: &mut states }.all(&status, &switches, now, self.report.as_ref());
        }
        let is_left_out = |topic: &String| {
            let subject = Subject::Topic(topic.clone());
            alerter.terms(|terms| terms.suspects.is_left_out(&subject, Instant::now()))
        };
        let updates = states.into_iter().filter(|(topic, payload, _)| self.published.get(topic) != Some(payload));
        let updates = updates.filter(|(topic, ..)| !is_left_out(topic));
        let qos = alerter.config.state_qos;
        self.due = updates.map(|(topic, payload, content)| Message::state(topic, payload, content, qos)).collect();
    }

    /// Everything is to be published again.
    pub(super) fn publish_all(&mut self) {
        self.published.clear();
    }

    /// The next that changed.
    pub(super) fn next(&mut self) -> Option<Message> {
        let message = self.due.pop_front()?;
        self.published.insert(message.topic.clone(), message.payload.clone());
        Some(message)
    }
}

type State = (String, Vec<u8>, Content);

fn of_box(alerter: &Alerter, report: Option<&Report>, states: &mut Vec<State>) {
    let (topics, health) = (&alerter.topics, &alerter.deps.health);
    let mut text = |topic: String, text: &str| states.push((topic, text.as_bytes().to_vec(), Content::Text));
    text(topics.availability(), "online");
    text(topics.store(), store_state(health));
    let switches = alerter.device_context.control.switches();
    for upload in &alerter.device_context.uploads {
        let paused = switches.paused.contains(&Destination::upload(upload));
        text(topics.upload(upload, "paused"), on_off(paused));
    }
    if let Some(report) = report {
        states.push((topics.of_box("health"), json(&BoxPayload::of(&report.status)), Content::Json));
        states.push((topics.of_box("queue"), json(&QueuePayload::all(&report.status)), Content::Json));
    }
}

fn store_state(health: &Health) -> &'static str {
    if health.is_spooling() { "spooling" } else { health.store().state.as_str() }
}

/// How a camera is doing, and why not well.
#[derive(Serialize)]
struct CameraReport<'a> {
    state: &'static str,
    reason: Option<&'a str>,
    /// What gives nothing although it is connected.
    stages: &'a [Stage],
    since: Timestamp,
}

/// What a camera's pipeline gives, and why not.
#[derive(Serialize)]
struct PipelineReport<'a> {
    name: &'a str,
    version: Option<u32>,
    values: &'a BTreeMap<String, serde_json::Value>,
    failure: Option<&'a str>,
}

impl<'a> PipelineReport<'a> {
    fn of(PipelineHealth { name, version, values, failure, .. }: &'a PipelineHealth) -> Self {
        Self { name, version: *version, values, failure: failure.as_deref() }
    }
}

/// The states of one camera.
struct Of<'a> {
    alerter: &'a Alerter,
    camera: &'a Camera,
    states: &'a mut Vec<State>,
}

impl Of<'_> {
    fn all(&mut self, status: &CameraStatus, switches: &Switches, now: Timestamp, report: Option<&Report>) {
        self.text("availability", status.state.as_str());
        let since = self.alerter.deps.clock.moment(status.since).wall.as_second();
        let published = CameraReport {
            state: status.state.as_str(),
            reason: status.reason.as_deref(),
            stages: &status.stages,
            since: Timestamp::from_second(since).unwrap_or_default(),
        };
        let topic = self.alerter.topics.of_camera(&self.camera.name, "health");
        self.states.push((topic, json(&published), Content::Json));
        self.text("motion", on_off(status.health.motion));
        self.counts(&status.health);
        if let Some(pipeline) = &status.health.pipeline {
            let topic = self.alerter.topics.of_camera(&self.camera.name, "pipeline");
            self.states.push((topic, json(&PipelineReport::of(pipeline)), Content::Json));
        }
        self.switches(switches, now);
        if let Some(coverage) = report.and_then(|report| report.coverage.get(&self.camera.name)) {
            let topic = self.alerter.topics.of_camera(&self.camera.name, "coverage");
            self.states.push((topic, json(coverage), Content::Json));
        }
    }

    fn text(&mut self, leaf: &str, text: &str) {
        let topic = self.alerter.topics.of_camera(&self.camera.name, leaf);
        self.states.push((topic, text.as_bytes().to_vec(), Content::Text));
    }

    /// Labels that are looked for are published from the beginning, others once they were seen.
    fn counts(&mut self, health: &CameraHealth) {
        if !self.camera.detects {
            return;
        }
        self.text("objects", &health.objects.to_string());
        let places = || self.camera.zones.iter().cloned().map(Some).chain([None]);
        let wanted =
            places().flat_map(|zone| self.camera.labels.iter().map(move |label| (zone.clone(), label.clone())));
        let mut counts: BTreeMap<(Option<Arc<str>>, Arc<str>), u32> = wanted.map(|place| (place, 0)).collect();
        counts.extend(health.counts.clone());
        for ((zone, label), count) in counts {
            let topic = self.alerter.topics.count(&self.camera.name, zone.as_deref(), &label);
            self.states.push((topic, count.to_string().into_bytes(), Content::Text));
        }
    }

    fn switches(&mut self, switches: &Switches, now: Timestamp) {
        let camera = self.camera;
        let switched = switches.cameras.get(&*camera.name).copied().unwrap_or_default();
        self.text("detect", on_off(camera.detects && !switched.detect_off));
        self.text("record", on_off(camera.records && !switched.record_off));
        let force = switched.force.filter(|force| now < force.until);
        let published = force.map_or_else(
            || "AUTO".to_owned(),
            |force| {
                let detect = if force.detect { "on" } else { "off" };
                serde_json::json!({ "detect": detect, "until": force.until }).to_string()
            },
        );
        self.text("override", &published);
    }
}

/// As Home Assistant and most others write it.
pub(super) fn on_off(is_on: bool) -> &'static str {
    if is_on { "ON" } else { "OFF" }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Plain fields serialise; without them there is nothing to publish.
    serde_json::to_vec(value).unwrap_or_default()
}
