//! The models of the cameras: which there are, and what a camera says while its own cannot be used.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use crate::clock::Mono;
use crate::config::{self, Config, ConfigError, Diagnostic};
use crate::health::Health;
use crate::infer::{Detector, Loader, ModelError, Tried};
use crate::pipeline::{Models, Shared};
use crate::record::RecordMode;

/// Starts to load every model that an enabled camera wants, once. Cameras do not wait for it.
pub(super) fn start(config: &Arc<Config>, shared: &Shared) -> Loader {
    let (cameras, health, clock) = (config.clone(), shared.health.clone(), shared.clock.clone());
    let tried: Tried = Box::new(move |model, outcome| note(&cameras, &health, clock.mono(), model, outcome));
    let (health, clock) = (shared.health.clone(), shared.clock.clone());
    let supervisor = super::supervisor(shared, &CancellationToken::new());
    Loader::start(&config.infer, &wanted(config), health, clock, supervisor, tried)
}

/// The models of one camera.
pub(super) fn of_camera(camera: &config::Camera, loader: &Loader) -> Models {
    let model = |name: &String| loader.model(name).filter(|_| camera.detect.enabled);
    Models { usual: model(&camera.detect.model), light: model(&camera.detect.light_model) }
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
                match Detector::load_within(&config.infer.model_dir, name, config.infer.limits()) {
                    Ok(detector) => drop(detectors.insert(name.clone(), detector)),
                    Err(unknown @ ModelError::Unknown { .. }) => {
                        diagnostics.push(Diagnostic::new(place(key), unknown.to_string()));
                    }
                    Err(failure) => return Err(failure.into()),
                }
            }
            if let Some(Err(diagnostic)) = detectors.get(name).map(|detector| detect.check_labels(detector)) {
                diagnostics.push(Diagnostic::new(place("labels"), diagnostic));
            }
        }
    }
    ConfigError::unless_empty(diagnostics)?;
    Ok(())
}

fn enabled(config: &Config) -> impl Iterator<Item = (&String, &config::Camera)> {
    config.cameras().filter(|(_, camera)| camera.detect.enabled)
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
        let id = name.as_str().into();
        let records_all = camera.record.mode == RecordMode::Continuous;
        let what_follows = if records_all { "" } else { "; until it can be used no event begins" };
        health.set_no_detector(&id, now, outcome.err().map(|reason| format!("{reason}{what_follows}")));
        let Err(unknown_label) = outcome.map_or(Ok(()), |detector| camera.detect.check_labels(detector)) else {
            continue;
        };
        tracing::error!(camera = %name, reason = unknown_label, "a label is never detected");
        health.camera(&id, |camera| camera.not_detected = Some(unknown_label));
    }
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
        assert_eq!(wanted(&Config::parse(CAMERAS).expect("parse")), ["a", "c", "b"]);
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
