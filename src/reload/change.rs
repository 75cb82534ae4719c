//! What differs between the configuration in use and another.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::config::{Camera, Config};
use crate::destination::Destination;

/// Which cameras are started, stopped, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CameraChanges {
    /// In use from now on.
    pub added: Vec<String>,
    /// Not in use any more.
    pub removed: Vec<String>,
    /// In use with other settings.
    pub changed: Vec<String>,
}

impl CameraChanges {
    fn between(old: &Config, new: &Config) -> Self {
        let find = |config: &Config, name: &str| -> Option<Camera> {
            config.camera.get(name).filter(|camera| camera.enabled).cloned()
        };
        let mut changes = Self::default();
        for (name, camera) in new.cameras() {
            match find(old, name) {
                None => changes.added.push(name.clone()),
                Some(before) if before != *camera => changes.changed.push(name.clone()),
                Some(_) => {}
            }
        }
        let gone = old.cameras().filter(|(name, _)| find(new, name).is_none());
        changes.removed = gone.map(|(name, _)| name.clone()).collect();
        changes
    }
}

/// What another configuration changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What is in use from now on: the new one, but for what is read at the start alone.
    pub config: Config,
    /// The cameras.
    pub cameras: CameraChanges,
    /// The page moves.
    pub page: bool,
    /// Load is shed in another way.
    pub load: bool,
    /// All whose own settings differ, in words: `camera yard`, `upload/cloud`, `mqtt`. What names something of these is
    /// replaced with them: MQTT, where a camera has other zones.
    pub parts: Vec<String>,
    /// Keys whose new values hold from the next start on.
    pub needs_restart: Vec<String>,
}

impl Change {
    /// What has to be done for `new` to be in use in place of `running`.
    pub fn between(running: &Config, new: Config) -> Self {
        let needs_restart = start_only(running, &new);
        let mut config = new;
        config.device = running.device.clone();
        config.storage = running.storage.clone();
        config.spool = running.spool.clone();
        config.archive = running.archive.clone();
        config.infer = running.infer.clone();
        let cameras = CameraChanges::between(running, &config);
        let (page, load) = (running.web != config.web, running.load != config.load);
        let parts = parts(running, &config, &cameras);
        Self { config, cameras, page, load, parts, needs_restart }
    }

    /// Whether destination `to` has other settings, or is new.
    pub fn is_about(&self, to: &Destination) -> bool {
        self.parts.iter().any(|part| part == to.as_str())
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

fn parts(old: &Config, new: &Config, cameras: &CameraChanges) -> Vec<String> {
    let CameraChanges { added, removed, changed } = cameras;
    let mut parts: Vec<String> =
        [added, changed, removed].into_iter().flatten().map(|c| format!("camera {c}")).collect();
    parts.extend(differing(&old.upload, &new.upload).map(|name| Destination::upload(name).as_str().to_owned()));
    parts.extend(differing(&old.webhook, &new.webhook).map(|name| Destination::webhook(name).as_str().to_owned()));
    let sections = [
        (Destination::Mqtt.as_str(), old.mqtt != new.mqtt),
        ("lake", old.lake != new.lake),
        ("retention", old.retention != new.retention),
        ("library", old.library != new.library),
        ("executions", old.executions != new.executions),
        ("load", old.load != new.load),
        ("web", old.web != new.web),
        ("webrtc", old.webrtc != new.webrtc),
        ("reload", old.reload != new.reload),
    ];
    parts.extend(sections.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()));
    parts
}

/// Entries of a section that are not the same in both.
fn differing<'a, T: PartialEq>(
    old: &'a BTreeMap<String, T>,
    new: &'a BTreeMap<String, T>,
) -> impl Iterator<Item = &'a String> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names.into_iter().filter(|name| old.get(*name) != new.get(*name))
}

/// Keys with other values in sections that are read at the start alone: identity, folders and the model pool.
fn start_only(old: &Config, new: &Config) -> Vec<String> {
    let sections = |config: &Config| {
        [
            ("device", serde_json::to_value(&config.device)),
            ("storage", serde_json::to_value(&config.storage)),
            ("spool", serde_json::to_value(&config.spool)),
            ("archive", serde_json::to_value(&config.archive)),
            ("infer", serde_json::to_value(&config.infer)),
        ]
    };
    let mut keys = Vec::new();
    for ((section, old), (_, new)) in sections(old).into_iter().zip(sections(new)) {
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        differences(section, &old, &new, &mut keys);
    }
    keys
}

fn differences(key: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                let of = |values: &serde_json::Map<String, Value>| values.get(name).cloned().unwrap_or_default();
                differences(&format!("{key}.{name}"), &of(old), &of(new), found);
            }
        }
        (old, new) if old != new => found.push(key.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "[camera.yard.source]\nurl = \"rtsp://h/1\"\n[camera.gate.source]\nurl = \"rtsp://h/2\"\n";

    fn config(text: &str) -> Config {
        Config::parse(text).expect("a good configuration")
    }

    fn change(more: &str) -> Change {
        Change::between(&config(BASE), config(&(BASE.to_owned() + more)))
    }

    #[test]
    fn nothing_is_done_where_nothing_differs() {
        let change = change("# a comment\n");
        assert!(change.is_empty() && change.needs_restart.is_empty());
        assert_eq!(change.config, config(BASE));
    }

    #[test]
    fn cameras_are_compared_one_by_one() {
        let more = "[camera.yard.record]\npost_roll = \"9s\"\n[camera.pier.source]\nurl = \"rtsp://h/3\"\n\
                    [camera.shed]\nenabled = false\n[camera.shed.source]\nurl = \"rtsp://h/4\"\n";
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let forth = change(more);
        assert_eq!(forth.cameras.added, names(&["pier"]));
        assert_eq!(forth.cameras.changed, names(&["yard"]));
        assert_eq!(forth.cameras.removed, names(&[]));
        assert_eq!(forth.parts, ["camera pier", "camera yard"]);
        let back = Change::between(&forth.config, config(BASE));
        assert_eq!(back.cameras.removed, names(&["pier"]));
        let off = config(&(BASE.to_owned() + "[camera.gate]\nenabled = false\n"));
        assert_eq!(Change::between(&config(BASE), off).cameras.removed, names(&["gate"]), "switched off");
    }

    #[test]
    fn what_is_read_at_the_start_alone_keeps_its_value_and_is_named() {
        let change =
            change("[storage]\npath = \"/mnt/other\"\n[infer]\nworkers = 3\n[web]\nlisten = \"127.0.0.1:9000\"\n");
        assert_eq!(change.needs_restart, ["storage.path", "infer.workers"]);
        assert_eq!(change.config.storage, config(BASE).storage);
        assert_eq!(change.config.infer, config(BASE).infer);
        assert!(change.page && !change.load);
        assert_eq!(change.parts, ["web"]);
    }

    #[test]
    fn every_section_is_named_by_a_change_of_it() {
        let sections = [
            ("[device]\nsite = \"Pier\"\n", "device.site"),
            ("[spool]\nmax_bytes = \"9 GiB\"\n", "spool.max_bytes"),
            ("[archive]\nsnapshot_quality = 50\n", "archive.snapshot_quality"),
            ("[upload.a]\nurl = \"file:///srv/a\"\n", "upload/a"),
            ("[webhook.a]\nurl = \"https://h/x\"\n", "webhook/a"),
            ("[mqtt]\nurl = \"mqtt://h\"\n", "mqtt"),
            ("[lake]\nenabled = false\n", "lake"),
            ("[retention]\nmax_bytes = \"9 GiB\"\n", "retention"),
            ("[load]\ncpu = 0.5\n", "load"),
            ("[reload]\nconfirm_within = \"5s\"\n", "reload"),
        ];
        for (text, name) in sections {
            let change = change(text);
            let named: Vec<&String> = change.parts.iter().chain(&change.needs_restart).collect();
            assert_eq!(named, [name], "{text}");
        }
    }
}
