//! Which stages a camera has, and why.

use std::fmt;
use std::sync::Arc;

use super::{Analysis, Inference, Sampler, StageKind};
use crate::config;
use crate::decode::Decoder;
use crate::infer::Detector;

/// A stage that a camera has, or has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Which one.
    pub kind: StageKind,
    /// Why, in terms of the configuration.
    pub why: String,
}

/// The stages of one camera, by its configuration alone.
#[derive(Clone, Debug)]
pub struct StagePlan {
    camera: Arc<config::Camera>,
    stages: Vec<Planned>,
    left_out: Vec<Planned>,
}

impl StagePlan {
    /// The stages that `camera` asks for.
    pub fn from_config(camera: &config::Camera) -> Self {
        let mut plan = Self { camera: Arc::new(camera.clone()), stages: Vec::new(), left_out: Vec::new() };
        let (detects, moves, detect) = (camera.detect.enabled, camera.motion.enabled, &camera.detect);
        let off = || "detect.enabled = false".to_owned();
        let pipeline = &camera.pipeline;
        let decoded_for = match (detects, pipeline.is_set(), moves) {
            (true, ..) => "for detection",
            (false, true, _) => "for its pipeline",
            (false, false, true) => "for motion",
            (false, false, false) => "for the live picture alone",
        };
        plan.push(StageKind::Decode, Ok(format!("decoder {}, {decoded_for}", camera.decode.decoder)));
        let is_paced = detects || moves || pipeline.is_set();
        let pace = is_paced.then(|| format!("at most {} pictures a second", detect.fps));
        plan.push(StageKind::Pace, pace.ok_or_else(|| "neither detection nor motion is wanted".to_owned()));
        let gate = if detects || pipeline.is_set() { "only what moves is inferred" } else { "motion is shown" };
        plan.push(StageKind::Gate, moves.then(|| gate.to_owned()).ok_or_else(|| "motion.enabled = false".to_owned()));
        let light = Some(&detect.light_model).filter(|name| !name.is_empty());
        let light = light.map(|name| format!(", {name} under load")).unwrap_or_default();
        let infer = match pipeline.replaces_model() {
            true => format!("pipeline {} in place of a model", pipeline.name),
            false => format!("model {}{light}", detect.model),
        };
        plan.push(StageKind::Infer, detects.then_some(infer).ok_or_else(off));
        let labels = if detect.labels.is_empty() { "all labels".to_owned() } else { detect.labels.join(", ") };
        plan.push(StageKind::Track, detects.then_some(labels).ok_or_else(off));
        let rules = match camera.rules.len() {
            0 => "every object is an event".to_owned(),
            count => format!("rules: {count}"),
        };
        plan.push(StageKind::Rules, detects.then_some(rules).ok_or_else(off));
        plan
    }

    fn push(&mut self, kind: StageKind, wanted: Result<String, String>) {
        match wanted {
            Ok(why) => self.stages.push(Planned { kind, why }),
            Err(why) => self.left_out.push(Planned { kind, why }),
        }
    }

    /// The stages, in the order of the data flow.
    pub fn stages(&self) -> &[Planned] {
        &self.stages
    }

    /// The stages that it does not have.
    pub fn left_out(&self) -> &[Planned] {
        &self.left_out
    }

    /// Whether it has this stage.
    pub fn has(&self, kind: StageKind) -> bool {
        self.stages.iter().any(|planned| planned.kind == kind)
    }

    /// Makes pictures of packets.
    pub fn decode(&self) -> Decoder {
        Decoder::new(self.camera.decode.clone())
    }

    /// Chooses the pictures that are worth a look, by pace and gate; `None` where there is neither.
    pub fn sample(&self) -> Option<Sampler> {
        self.has(StageKind::Pace).then(|| Sampler::new(&self.camera, self.has(StageKind::Gate)))
    }

    /// Finds objects with `detector`; `None` without detection.
    pub fn infer(&self, detector: Arc<Detector>) -> Option<Inference> {
        let min_score = self.camera.detector_score();
        self.has(StageKind::Infer).then_some(Inference { detector, min_score })
    }

    /// Tracks objects and applies the rules; `None` without detection.
    ///
    /// # Errors
    /// When zones, lines and rules do not fit together.
    pub fn follow(&self) -> Result<Option<Analysis>, String> {
        self.has(StageKind::Rules).then(|| Analysis::new(&self.camera)).transpose()
    }
}

/// `decode (decoder auto, for motion) -> pace (...); without infer (detect.enabled = false)`.
impl fmt::Display for StagePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |stages: &[Planned], between: &str| {
            let texts: Vec<_> = stages.iter().map(|Planned { kind, why }| format!("{kind} ({why})")).collect();
            texts.join(between)
        };
        f.write_str(&list(&self.stages, " -> "))?;
        if !self.left_out.is_empty() {
            write!(f, "; without {}", list(&self.left_out, ", "))?;
        }
        Ok(())
    }
}
