//! The configuration: one TOML file, composed of every module's own `Config`.
//!
//! Unknown keys are refused with line, column and the nearest known name. Secrets are never in the file
//! itself: keys that end in `_file` name where they are.

pub mod camera_edit;
mod collect;
mod diagnostic;
mod edit;
mod files;
#[cfg(test)]
mod fuzz;
mod load;
mod preflight;
#[cfg(test)]
mod reference;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::asset::MediaKind;
use crate::destination::Destination;
use crate::execution::CameraPipeline;
use crate::{
    alert, archive, decode, executor, gate, infer, lake, library, record, reload, retention, rules, source, store,
    track, upload, web, webrtc,
};

pub use diagnostic::{ConfigError, Diagnostic};
pub use files::{Files, Part, Texts};
pub use preflight::{Findings, look};

/// Identity of the box. TOML `[device]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Device {
    /// Name of the box in topics and object keys: letters, digits, `-`, `_` and `.`. Default: the host's name.
    pub id: String,
    /// Where the box stands, for people. Default: empty.
    pub site: String,
}

/// Everything about one camera. TOML `[camera.<name>]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Camera {
    /// Whether the camera is used. Default: true.
    pub enabled: bool,
    /// Where its packets come from.
    pub source: source::Config,
    /// How they are decoded.
    pub decode: decode::Config,
    /// When a frame is worth looking at.
    pub motion: gate::Config,
    /// What is looked for.
    pub detect: infer::CameraConfig,
    /// How objects are followed.
    pub track: track::Config,
    /// Named areas.
    pub zones: BTreeMap<String, rules::Zone>,
    /// Named lines.
    pub lines: BTreeMap<String, rules::Line>,
    /// What makes an event. None: every object of the looked-for labels does.
    pub rules: Vec<rules::Rule>,
    /// The pipeline that its pictures go through.
    pub pipeline: CameraPipeline,
    /// What is recorded.
    pub record: record::RecordConfig,
}

impl Camera {
    /// Checks the pipeline.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn check_pipeline(&self) -> Result<(), String> {
        if self.pipeline.replaces_model() && !self.detect.enabled {
            return Err("mode is \"instead\", and detect.enabled is false: nothing would follow its objects".to_owned());
        }
        self.pipeline.validate()
    }

    /// The labels that rules and zones name, with the keys where they do.
    pub fn labels(&self) -> Vec<(String, &str)> {
        let rules = self.rules.iter().enumerate().map(|(n, rule)| (format!("rules.{n}.labels"), &rule.labels));
        let zones = self.zones.iter().map(|(name, zone)| (format!("zones.{name}.labels"), &zone.labels));
        let all = rules.chain(zones);
        all.flat_map(|(key, labels)| labels.iter().map(move |label| (key.clone(), label.as_str()))).collect()
    }

    /// Whether a model looks at its pictures.
    pub fn uses_model(&self) -> bool {
        self.detect.enabled && !self.pipeline.replaces_model()
    }

    /// The lowest score that detections are wanted of: weak ones may still continue a track.
    pub fn detector_score(&self) -> f32 {
        self.detect.min_score.min(self.track.low_score)
    }
}

impl Default for Camera {
    fn default() -> Self {
        Self {
            enabled: true,
            source: source::Config::default(),
            decode: decode::Config::default(),
            motion: gate::Config::default(),
            detect: infer::CameraConfig::default(),
            track: track::Config::default(),
            zones: BTreeMap::new(),
            lines: BTreeMap::new(),
            rules: Vec::new(),
            pipeline: CameraPipeline::default(),
            record: record::RecordConfig::default(),
        }
    }
}

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Identity of the box.
    pub device: Device,
    /// Where things lie.
    pub storage: store::Config,
    /// Where recording goes on while that volume is away.
    pub spool: archive::spool::Config,
    /// How clips and stills are made.
    pub archive: archive::Config,
    /// How much is kept, and for how long.
    pub retention: retention::Config,
    /// Bounds of the photo library.
    pub library: library::Config,
    /// Bounds of executions.
    pub executions: executor::Config,
    /// The model pool.
    pub infer: infer::Config,
    /// When the box has too much to do.
    pub load: crate::load::Config,
    /// How another configuration is tried while it runs.
    pub reload: reload::Config,
    /// The page.
    pub web: web::Config,
    /// Phones and browsers as cameras, and as players.
    pub webrtc: webrtc::Config,
    /// The broker that alerts go to; none: no alerts.
    pub mqtt: Option<alert::Config>,
    /// Addresses that alerts are posted to, by name; none: no webhooks.
    pub webhook: BTreeMap<String, alert::WebhookConfig>,
    /// Where archives go, by name; none: they stay on the box.
    pub upload: BTreeMap<String, upload::Config>,
    /// The tables that go to every destination.
    pub lake: lake::Config,
    /// The cameras, by name.
    pub camera: BTreeMap<String, Camera>,
}

impl Config {
    /// The destinations that need an outbox of the store.
    pub fn outboxes(&self) -> Vec<Destination> {
        let lake = self.has_lake().then_some(Destination::Lake);
        self.outlets().into_iter().chain(lake).collect()
    }

    /// Whether there is a lake: it goes to the destinations.
    pub fn has_lake(&self) -> bool {
        self.lake.enabled && !self.upload.is_empty()
    }

    /// The destinations outside the box.
    pub fn outlets(&self) -> Vec<Destination> {
        let mqtt = self.mqtt.iter().map(|_| Destination::Mqtt);
        let alerts = mqtt.chain(self.webhook.keys().map(|name| Destination::webhook(name)));
        alerts.chain(self.upload.keys().map(|name| Destination::upload(name))).collect()
    }

    /// The upload destinations whose originals of photos the box can read again: those that it does not seal for.
    pub fn openable(&self) -> Vec<Destination> {
        let is_open = |upload: &upload::Config| upload.key_suffix(MediaKind::Original).is_empty();
        self.upload.iter().filter(|(_, upload)| is_open(upload)).map(|(name, _)| Destination::upload(name)).collect()
    }

    /// The cameras that are used.
    pub fn cameras(&self) -> impl Iterator<Item = (&String, &Camera)> {
        self.camera.iter().filter(|(_, camera)| camera.enabled)
    }

    /// The cameras that phones and browsers publish to, with the files of their tokens.
    pub fn published(&self) -> BTreeMap<String, Option<PathBuf>> {
        let published = self.cameras().filter(|(_, camera)| camera.source.is_published());
        published.map(|(name, camera)| (name.clone(), camera.source.password_file.clone())).collect()
    }

    /// Where the service's configuration is installed.
    pub fn default_path() -> PathBuf {
        PathBuf::from("/etc/outpost/outpost.toml")
    }
}
