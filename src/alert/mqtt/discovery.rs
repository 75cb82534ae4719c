//! Home Assistant's MQTT discovery: the box and its cameras introduce themselves.
//!
//! What was announced is kept on the disk before it is announced, so that it can be taken back once a camera has
//! left the configuration, or discovery was switched off: Home Assistant keeps for ever what is not retracted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::destination::Destination;
use crate::durable;

use super::device::Camera;
use super::message::{Content, Message};
use super::topics::Topics;
use super::{Alerter, Config, OUTLET};

/// What is announced, and what is to be taken back.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    configs: BTreeMap<String, Vec<u8>>,
    pub(super) stale: BTreeSet<String>,
}

/// The file that remembers it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Announced {
    topics: BTreeSet<String>,
}

impl Plan {
    /// Everything, in the order in which it is sent: an empty payload takes back.
    pub(super) fn messages(&self) -> VecDeque<Message> {
        let back = self.stale.iter().map(|topic| (topic, Vec::new()));
        let all = back.chain(self.configs.iter().map(|(topic, payload)| (topic, payload.clone())));
        all.map(|(topic, payload)| Message::state(topic.clone(), payload, Content::Json, 1)).collect()
    }

    /// The topics that are announced.
    pub(super) fn current(&self) -> BTreeSet<String> {
        self.configs.keys().cloned().collect()
    }
}

/// What to do, with `configs` to be announced. Blocks on the disk.
///
/// # Errors
/// When the disk refuses; nothing may be announced then that could not be taken back.
pub(super) fn plan(file: Option<&Path>, configs: BTreeMap<String, Vec<u8>>) -> Result<Plan> {
    let known = file.map_or_else(BTreeSet::new, read);
    let stale = known.iter().filter(|topic| !configs.contains_key(*topic)).cloned().collect();
    let plan = Plan { configs, stale };
    let all: BTreeSet<String> = known.union(&plan.current()).cloned().collect();
    if all != known {
        keep(file, &all)?;
    }
    Ok(plan)
}

/// Keeps what is announced. Blocks on the disk.
///
/// # Errors
/// When the disk refuses.
pub(super) fn keep(file: Option<&Path>, topics: &BTreeSet<String>) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    let json = serde_json::to_vec_pretty(&Announced { topics: topics.clone() })?;
    durable::replace(file, &json).with_context(|| format!("write {}", file.display()))
}

fn read(file: &Path) -> BTreeSet<String> {
    let read = std::fs::read(file).and_then(|json| Ok(serde_json::from_slice::<Announced>(&json)?));
    match read {
        Ok(announced) => announced.topics,
        Err(failure) if failure.kind() == ErrorKind::NotFound => BTreeSet::new(),
        Err(error) => {
            warn!(file = %file.display(), %error, "what was announced to Home Assistant cannot be read: what left the configuration stays there");
            BTreeSet::new()
        }
    }
}

/// Where Home Assistant says that it started.
pub(super) fn birth_topic(config: &Config) -> String {
    format!("{}/status", config.homeassistant_prefix)
}

/// What is announced: payload by topic. Nothing where discovery is off.
pub(super) fn configs(alerter: &Alerter) -> BTreeMap<String, Vec<u8>> {
    let mut book = Book { alerter, topics: &alerter.topics, entries: BTreeMap::new() };
    if alerter.config.homeassistant_discovery {
        book.of_box();
        for camera in &alerter.device_context.cameras {
            book.of_camera(camera);
        }
    }
    book.entries
}

/// The announcements in the making.
struct Book<'a> {
    alerter: &'a Alerter,
    topics: &'a Topics,
    entries: BTreeMap<String, Vec<u8>>,
}

/// Home Assistant ignores what is neither of the two payloads, and the box has more of them. A file that was played to
/// its end is no fault: what is known of it stays available.
const ONLINE: &str = "{{ 'online' if value in ('online', 'degraded', 'finished', 'idle') else 'offline' }}";
/// `None` is how Home Assistant writes "unknown".
const IS_ONLINE: &str =
    "{{ 'ON' if value in ('online', 'degraded') else 'None' if value in ('finished', 'idle') else 'OFF' }}";
const IS_DEGRADED: &str = "{{ 'ON' if value_json.state == 'degraded' else 'OFF' }}";

impl Book<'_> {
    fn box_id(&self) -> String {
        format!("outpost_{}", identifier(&self.alerter.deps.device))
    }

    fn camera_id(&self, camera: &Camera) -> String {
        format!("{}_{}", self.box_id(), identifier(&camera.name))
    }

    /// Adds `entity` of `component` to the device `device`, which is there when all `availability` topics say so.
    fn add(&mut self, component: &str, device: &Value, unique: &str, availability: &[String], mut entity: Value) {
        let Some(fields) = entity.as_object_mut() else { return };
        let there = |topic: &String| json!({ "topic": topic, "value_template": ONLINE });
        fields.insert("unique_id".to_owned(), unique.into());
        // Home Assistant took the first until 2026.3 and takes the second since 2025.10.
        fields.insert("object_id".to_owned(), unique.into());
        fields.insert("default_entity_id".to_owned(), format!("{component}.{unique}").into());
        fields.insert("device".to_owned(), device.clone());
        fields.insert("origin".to_owned(), json!({ "name": "Outpost", "sw_version": env!("CARGO_PKG_VERSION") }));
        if !availability.is_empty() {
            fields.insert("availability_mode".to_owned(), "all".into());
            fields.insert("availability".to_owned(), availability.iter().map(there).collect());
        }
        let topic =
            format!("{}/{component}/{}/{unique}/config", self.alerter.config.homeassistant_prefix, self.box_id());
        self.entries.insert(topic, serde_json::to_vec(&entity).unwrap_or_default());
    }

    fn of_box(&mut self) {
        let (id, name) = (self.box_id(), self.alerter.deps.device.clone());
        let mut device = json!({
            "identifiers": [id], "name": format!("Outpost {name}"), "manufacturer": "Outpost", "model": "edge box",
            "sw_version": env!("CARGO_PKG_VERSION"),
        });
        if let (Some(device), site @ 1..) = (device.as_object_mut(), self.alerter.device_context.site.len()) {
            device.insert("suggested_area".to_owned(), self.alerter.device_context.site.get(..site).into());
        }
        let there = [self.topics.availability()];
        let health = self.topics.of_box("health");
        self.add(
            "binary_sensor",
            &device,
            &format!("{id}_online"),
            &[],
            json!({
                "name": "Connection", "state_topic": there[0], "value_template": IS_ONLINE,
                "device_class": "connectivity", "entity_category": "diagnostic",
            }),
        );
        self.add(
            "sensor",
            &device,
            &format!("{id}_disk_free"),
            &there,
            json!({
                "name": "Disk free", "state_topic": health, "value_template": "{{ value_json.disk_free_bytes }}",
                "device_class": "data_size", "unit_of_measurement": "B", "state_class": "measurement",
                "entity_category": "diagnostic",
            }),
        );
        if self.alerter.device_context.has_temperature {
            self.add(
                "sensor",
                &device,
                &format!("{id}_temperature"),
                &there,
                json!({
                    "name": "Temperature", "state_topic": health, "value_template": "{{ value_json.temperature_c }}",
                    "device_class": "temperature", "unit_of_measurement": "°C", "state_class": "measurement",
                    "entity_category": "diagnostic",
                }),
            );
        }
        let uploads = self.alerter.device_context.uploads.clone();
        for outlet in std::iter::once(OUTLET).chain(uploads.iter().map(|name| Destination::upload(name))) {
            self.add(
                "sensor",
                &device,
                &format!("{id}_queue_{}", identifier(outlet.as_str())),
                &there,
                json!({
                    "name": format!("Queue {outlet}"), "state_topic": self.topics.of_box("queue"),
                    "value_template": format!("{{{{ value_json['{outlet}']['items'] }}}}"),
                    "state_class": "measurement", "entity_category": "diagnostic",
                }),
            );
        }
        for upload in uploads.iter().filter(|_| self.alerter.config.commands) {
            let paused = self.topics.upload(upload, "paused");
            self.add(
                "switch",
                &device,
                &format!("{id}_pause_{}", identifier(upload)),
                &there,
                json!({
                    "name": format!("Pause upload {upload}"), "state_topic": paused,
                    "command_topic": format!("{paused}/set"), "icon": "mdi:cloud-off-outline",
                }),
            );
        }
    }

    fn of_camera(&mut self, camera: &Camera) {
        let id = self.camera_id(camera);
        let device = json!({
            "identifiers": [id], "name": camera.name, "manufacturer": "Outpost", "model": "camera",
            "via_device": self.box_id(),
        });
        let topic = |leaf: &str| self.topics.of_camera(&camera.name, leaf);
        let (boxed, both) = ([self.topics.availability()], [self.topics.availability(), topic("availability")]);
        let (availability, motion, objects, coverage, snapshot) =
            (topic("availability"), topic("motion"), topic("objects"), topic("coverage"), topic("snapshot"));
        self.add(
            "binary_sensor",
            &device,
            &format!("{id}_online"),
            &boxed,
            json!({
                "name": "Connection", "state_topic": availability, "value_template": IS_ONLINE,
                "device_class": "connectivity", "entity_category": "diagnostic",
            }),
        );
        let health = topic("health");
        self.add(
            "binary_sensor",
            &device,
            &format!("{id}_problem"),
            &boxed,
            json!({
                "name": "Problem", "state_topic": health, "value_template": IS_DEGRADED,
                "json_attributes_topic": health, "device_class": "problem", "entity_category": "diagnostic",
            }),
        );
        self.add(
            "binary_sensor",
            &device,
            &format!("{id}_motion"),
            &both,
            json!({
                "name": "Motion", "state_topic": motion, "device_class": "motion",
            }),
        );
        self.add(
            "sensor",
            &device,
            &format!("{id}_recorded"),
            &boxed,
            json!({
                "name": "Recorded today", "state_topic": coverage, "value_template": "{{ value_json.recorded_s }}",
                "device_class": "duration", "unit_of_measurement": "s", "entity_category": "diagnostic",
            }),
        );
        if self.alerter.config.snapshots {
            self.add(
                "image",
                &device,
                &format!("{id}_snapshot"),
                &boxed,
                json!({
                    "name": "Snapshot", "image_topic": snapshot, "content_type": "image/jpeg",
                }),
            );
        }
        if camera.detects {
            self.add(
                "sensor",
                &device,
                &format!("{id}_objects"),
                &both,
                json!({
                    "name": "Objects", "state_topic": objects, "state_class": "measurement",
                }),
            );
            self.counts(camera, &device, &both);
        }
        if self.alerter.config.commands {
            self.switches(camera, &device, &boxed);
        }
    }

    fn counts(&mut self, camera: &Camera, device: &Value, there: &[String]) {
        let id = self.camera_id(camera);
        for label in &camera.labels {
            let count = self.topics.count(&camera.name, None, label);
            let key = identifier(label);
            self.add(
                "binary_sensor",
                device,
                &format!("{id}_occupancy_{key}"),
                there,
                json!({
                    "name": format!("Occupancy {label}"), "state_topic": count, "device_class": "occupancy",
                    "value_template": "{{ 'ON' if value | int(0) > 0 else 'OFF' }}",
                }),
            );
            self.add(
                "sensor",
                device,
                &format!("{id}_count_{key}"),
                there,
                json!({
                    "name": format!("Count {label}"), "state_topic": count, "state_class": "measurement",
                }),
            );
            for zone in &camera.zones {
                let unique = format!("{id}_zone_{}_{key}", identifier(zone));
                self.add(
                    "sensor",
                    device,
                    &unique,
                    there,
                    json!({
                        "name": format!("Count {label} in {zone}"), "state_class": "measurement",
                        "state_topic": self.topics.count(&camera.name, Some(zone), label),
                    }),
                );
            }
        }
    }

    fn switches(&mut self, camera: &Camera, device: &Value, there: &[String]) {
        let id = self.camera_id(camera);
        let switches = [("detect", "Detection", camera.detects), ("record", "Recording", camera.records)];
        for (leaf, name, _) in switches.into_iter().filter(|(.., is_there)| *is_there) {
            let topic = self.topics.of_camera(&camera.name, leaf);
            self.add(
                "switch",
                device,
                &format!("{id}_{leaf}"),
                there,
                json!({
                    "name": name, "state_topic": topic, "command_topic": format!("{topic}/set"),
                }),
            );
        }
        if self.alerter.config.snapshots {
            let topic = format!("{}/set", self.topics.of_camera(&camera.name, "snapshot"));
            self.add(
                "button",
                device,
                &format!("{id}_take_snapshot"),
                there,
                json!({
                    "name": "Take snapshot", "command_topic": topic, "payload_press": "NOW",
                }),
            );
        }
    }
}

/// A name as part of ids and topics, where only letters, digits and `_` may stand. Two names never get one id.
fn identifier(name: &str) -> String {
    let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if plain == name {
        return plain;
    }
    let hash = hex::encode(Sha256::digest(name.as_bytes()));
    format!("{plain}_{}", hash.get(..6).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configs(names: &[&str]) -> BTreeMap<String, Vec<u8>> {
        names.iter().map(|name| ((*name).to_owned(), b"{}".to_vec())).collect()
    }

    #[test]
    fn what_left_is_taken_back_and_then_forgotten() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("announced.json");
        let first = plan(Some(&file), configs(&["a", "b"])).expect("plan");
        assert!(first.stale.is_empty());
        assert_eq!(read(&file).len(), 2, "kept before it is announced");
        let second = plan(Some(&file), configs(&["b", "c"])).expect("plan");
        assert_eq!(second.stale, BTreeSet::from(["a".to_owned()]));
        let sent: Vec<_> = second.messages().into_iter().map(|m| (m.topic, m.payload.is_empty(), m.retain)).collect();
        let expected = [("a", true), ("b", false), ("c", false)].map(|(topic, empty)| (topic.to_owned(), empty, true));
        assert_eq!(sent, expected);
        assert_eq!(plan(Some(&file), configs(&["b", "c"])).expect("plan").stale.len(), 1, "until the broker has it");
        keep(Some(&file), &second.current()).expect("keep");
        assert!(plan(Some(&file), configs(&["b", "c"])).expect("plan").stale.is_empty());
        assert_eq!(plan(Some(&file), BTreeMap::new()).expect("plan").stale.len(), 2, "switched off");
    }

    #[test]
    fn a_damaged_memory_takes_nothing_back() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("announced.json");
        std::fs::write(&file, "{").expect("write");
        assert!(plan(Some(&file), configs(&["a"])).expect("plan").stale.is_empty());
        assert_eq!(read(&file).len(), 1);
    }

    #[test]
    fn names_become_ids_and_stay_different() {
        assert_eq!(identifier("front_door2"), "front_door2");
        let ids: BTreeSet<String> = ["a.b", "a_b", "a-b", "a/b", "süd"].into_iter().map(identifier).collect();
        assert_eq!(ids.len(), 5);
        assert!(ids.iter().flat_map(|id| id.chars()).all(|c| c.is_ascii_alphanumeric() || c == '_'), "{ids:?}");
    }
}
