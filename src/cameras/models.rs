//! The models of the cameras: which there are, and what a camera says while its own cannot be used.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Mono;
use crate::config::{self, Config, ConfigError, Diagnostic};
use crate::health::{Health, ModelState};
use crate::infer::{self, Detector, Loader, Model, Tried};
use crate::pipeline::{self, Shared};
use crate::record::RecordMode;
use crate::reload::CameraChanges;
use crate::supervise::Supervisor;

/// The models of all cameras. Those that another configuration wants as well are loaded beside the ones that are there.
pub struct Models {
    loaders: Vec<Loader>,
    shared: Shared,
    /// The configuration in use, for what is said at each camera.
    config: watch::Receiver<Arc<Config>>,
}

impl Models {
    /// Starts to load every model that an enabled camera wants, once. Cameras do not wait for it.
    pub async fn start(config: watch::Receiver<Arc<Config>>, shared: &Shared) -> Self {
        let mut models = Self { loaders: Vec::new(), shared: shared.clone(), config };
        models.want().await;
        models
    }

    /// Loads what the configuration in use wants and is not there, and gives up what it does not want any more.
    pub async fn want(&mut self) {
        let config = self.config.borrow().clone();
        let wanted = wanted(&config);
        let (stay, leave) = std::mem::take(&mut self.loaders)
            .into_iter()
            .partition(|loader: &Loader| loader.names().any(|name| wanted.iter().any(|wanted| wanted == name)));
        self.loaders = stay;
        for loader in leave {
            let names: Vec<String> = loader.names().map(str::to_owned).collect();
            loader.stop().await;
            names.iter().for_each(|name| self.shared.health.forget_model(name));
        }
        let missing: Vec<String> = wanted.into_iter().filter(|name| self.model(name).is_none()).collect();
        if missing.is_empty() {
            return;
        }
        let (cameras, health, clock) = (self.config.clone(), self.shared.health.clone(), self.shared.clock.clone());
        let tried: Tried = Box::new(move |model, outcome| {
            let config = cameras.borrow().clone();
            note(&config, &health, clock.mono(), model, outcome);
        });
        let Shared { health, clock, heartbeats, metrics, .. } = &self.shared;
        let supervisor = Supervisor::new(CancellationToken::new(), heartbeats, metrics);
        self.loaders.push(Loader::start(&config.infer, &missing, health.clone(), clock.clone(), supervisor, tried));
    }

    fn model(&self, name: &str) -> Option<Arc<Model>> {
        self.loaders.iter().find_map(|loader| loader.model(name))
    }

    /// The models of one camera. What is known of them already is said at the camera.
    pub fn of_camera(&self, name: &str, camera: &config::Camera) -> pipeline::Models {
        let model = |name: &String| self.model(name).filter(|_| camera.uses_model());
        let models = pipeline::Models { usual: model(&camera.detect.model), light: model(&camera.detect.light_model) };
        if let Some(usual) = &models.usual {
            let known = self.shared.health.models().remove(&**usual.name());
            let broken = known.filter(|known| known.state == ModelState::Broken).and_then(|known| known.reason);
            let detector = usual.detector();
            let outcome = match (detector.as_deref(), &broken) {
                (Some(detector), _) => Some(Ok(detector)),
                (None, Some(reason)) => Some(Err(reason.as_str())),
                (None, None) => None,
            };
            if let Some(outcome) = outcome {
                note_at(name, camera, &self.shared.health, self.shared.clock.mono(), outcome);
            }
        }
        models
    }

    /// Waits until every model was tried once, `at_most` so long.
    pub async fn wait_until_tried(&self, at_most: Duration) {
        let all = self.loaders.iter().map(|loader| loader.wait_until_tried(at_most));
        futures::future::join_all(all).await;
    }

    /// Ends the threads that load.
    pub async fn stop(self) {
        futures::future::join_all(self.loaders.into_iter().map(Loader::stop)).await;
    }
}

/// Loads everything that a run would need, without starting it.
///
/// # Errors
/// [`ConfigError`] where a camera names a model or a label that there is not; else what keeps a model from being used.
pub fn check(config: &Config) -> Result<()> {
    let (mut detectors, mut diagnostics) = (BTreeMap::new(), Vec::new());
    for (camera_name, camera) in enabled(config) {
        let detect = &camera.detect;
        let place = |key: &str| format!("camera.{camera_name}.detect.{key}");
        for (key, name) in [("model", &detect.model), ("light_model", &detect.light_model)] {
            if name.is_empty() {
                continue;
            }
            if !detectors.contains_key(name) {
                match Detector::load_newer(&config.infer.model_dir, name, 0, config.infer.limits()) {
                    Ok((detector, failed)) => {
                        // The daemon goes on with the version before, but who installed it wants to know.
                        let newer = failed.into_iter().map(|(version, failure)| {
                            format!("version {version}, the newest, cannot be used: {failure}")
                        });
                        diagnostics.extend(newer.map(|why| Diagnostic::new(place(key), why)));
                        detectors.insert(name.clone(), detector);
                    }
                    Err(failure) => diagnostics.push(Diagnostic::new(place(key), failure.to_string())),
                }
            }
            if let Some(detector) = detectors.get(name) {
                let labels = camera.labels().into_iter();
                let unknown = labels.filter_map(|(key, label)| Some((key, detector.lacks(label)?)));
                diagnostics
                    .extend(unknown.map(|(key, why)| Diagnostic::new(format!("camera.{camera_name}.{key}"), why)));
            }
            if let Some(Err(diagnostic)) = detectors.get(name).map(|detector| detect.check_labels(detector)) {
                diagnostics.push(Diagnostic::new(place("labels"), diagnostic));
            }
        }
    }
    ConfigError::unless_empty(diagnostics)?;
    Ok(())
}

/// Checks that there are the models that changed cameras name, without loading them.
///
/// # Errors
/// Names those that there are not.
pub fn check_names(config: &Config, changes: &CameraChanges) -> Result<(), ConfigError> {
    let is_changed = |name: &String| changes.added.contains(name) || changes.changed.contains(name);
    let mut diagnostics = Vec::new();
    for (camera_name, camera) in enabled(config).filter(|(name, _)| is_changed(name)) {
        for (key, model) in [("model", &camera.detect.model), ("light_model", &camera.detect.light_model)] {
            if !model.is_empty()
                && let Err(unknown) = infer::find(&config.infer.model_dir, model)
                && unknown.is_unknown()
            {
                diagnostics.push(Diagnostic::new(format!("camera.{camera_name}.detect.{key}"), unknown.to_string()));
            }
        }
    }
    ConfigError::unless_empty(diagnostics)
}

/// Cameras whose pictures a model looks at.
fn enabled(config: &Config) -> impl Iterator<Item = (&String, &config::Camera)> {
    config.cameras().filter(|(_, camera)| camera.uses_model())
}

/// The models that enabled cameras use, with their cameras.
pub fn models_in_use(config: &Config) -> BTreeMap<String, Vec<String>> {
    let mut models: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, camera) in enabled(config) {
        for model in [&camera.detect.model, &camera.detect.light_model].into_iter().filter(|model| !model.is_empty()) {
            let cameras = models.entry(model.clone()).or_default();
            if !cameras.contains(name) {
                cameras.push(name.clone());
            }
        }
    }
    models
}

/// Names of the models, in the order of the cameras: what they use all the time before what they use in need.
fn wanted(config: &Config) -> Vec<String> {
    let usual = enabled(config).map(|(_, camera)| &camera.detect.model);
    let light = enabled(config).map(|(_, camera)| &camera.detect.light_model);
    let mut names: Vec<String> = Vec::new();
    for name in usual.chain(light).filter(|name| !name.is_empty()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// Says at each camera that uses `model` what is wrong, or that nothing is.
fn note(config: &Config, health: &Health, now: Mono, model: &str, outcome: Result<&Detector, &str>) {
    for (name, camera) in enabled(config).filter(|(_, camera)| camera.detect.model == model) {
        note_at(name, camera, health, now, outcome);
    }
}

fn note_at(name: &str, camera: &config::Camera, health: &Health, now: Mono, outcome: Result<&Detector, &str>) {
    let id = name.into();
    let records_all = camera.record.mode == RecordMode::Continuous;
    let what_follows = if records_all { "" } else { "; until it can be used no event begins" };
    health.set_no_detector(&id, now, outcome.err().map(|reason| format!("{reason}{what_follows}")));
    let Err(unknown_label) = outcome.map_or(Ok(()), |detector| camera.detect.check_labels(detector)) else {
        return;
    };
    tracing::error!(camera = %name, reason = unknown_label, "a label is never detected");
    health.camera(&id, |camera| camera.not_detected = Some(unknown_label));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::CameraState;

    const CAMERAS: &str = "[camera.gate.source]\nurl = \"rtsp://h/1\"\n[camera.gate.record]\nmode = \"continuous\"\n\
        [camera.gate.detect]\nmodel = \"a\"\nlight_model = \"b\"\n\
        [camera.yard.source]\nurl = \"rtsp://h/2\"\n[camera.yard.detect]\nmodel = \"c\"\nlight_model = \"a\"\n\
        [camera.dark.source]\nurl = \"rtsp://h/3\"\n[camera.dark.detect]\nmodel = \"d\"\nenabled = false\n";

    #[test]
    fn each_model_is_wanted_once_and_the_usual_ones_first() {
        let config = Config::parse(CAMERAS).expect("parse");
        assert_eq!(wanted(&config), ["a", "c", "b"]);
        let used = models_in_use(&config);
        assert_eq!(
            (used["a"].as_slice(), used["b"].as_slice()),
            (&["gate".into(), "yard".into()][..], &["gate".into()][..])
        );
        assert!(!used.contains_key("d"), "its camera looks for nothing");
    }

    #[test]
    fn a_camera_says_what_is_left_while_its_model_is_broken() {
        let (config, health) = (Config::parse(CAMERAS).expect("parse"), Health::default());
        note(&config, &health, Mono(1), "a", Err("x.onnx is missing"));
        note(&config, &health, Mono(1), "c", Err("x.onnx is missing"));
        note(&config, &health, Mono(1), "b", Err("a light model is not what detects"));
        let said = |name: &str| {
            health.camera(&name.into(), |camera| camera.state = CameraState::Online);
            health.assess(&name.into(), Mono(2), true);
            health.cameras().get(name).and_then(|camera| camera.shown().reason.map(str::to_owned))
        };
        assert_eq!(said("gate").as_deref(), Some("recorded without detection: x.onnx is missing"));
        assert_eq!(
            said("yard").as_deref(),
            Some("recorded without detection: x.onnx is missing; until it can be used no event begins")
        );
        assert_eq!(said("dark"), None);
    }
}
