//! Which pictures are worth a look: by pace, and by pixels that move.

use std::time::Duration;

use tracing::debug;

use super::{PipelineStage, StageKind};
use crate::clock::Mono;
use crate::config;
use crate::frame::Frame;
use crate::gate::{self, Gate};

/// An idle camera is looked at this often all the same: something may stand there without moving.
const IDLE_LOOK: Duration = Duration::from_secs(10);
/// And this often while objects are in view that do not move: they may have gone unnoticed. Less than the
/// time for which the tracker believes in what it does not see.
const STILL_LOOK: Duration = Duration::from_secs(1);

/// Lets so many pictures a second through.
#[derive(Debug)]
pub struct Pace {
    usual_period: Duration,
    period: Duration,
    due: Option<Mono>,
}

impl Pace {
    fn new(fps: f32) -> Self {
        let period = Duration::from_secs_f32(1.0 / fps.max(0.01));
        Self { usual_period: period, period, due: None }
    }
}

impl PipelineStage for Pace {
    const KIND: StageKind = StageKind::Pace;
    /// When the picture was taken.
    type Input<'a> = Mono;
    /// Whether it goes on.
    type Output = bool;

    fn step(&mut self, at: Mono) -> bool {
        let due = *self.due.get_or_insert(at);
        if at < due {
            return false;
        }
        // Keep the beat; after a gap start a new one instead of catching up.
        self.due = Some(if at.since(due) > self.period { at + self.period } else { due + self.period });
        true
    }
}

/// Says whether pixels move.
#[derive(Debug)]
pub struct MotionGate(Gate);

/// What the gate says of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Motion {
    /// It is worth a look.
    pub admitted: bool,
    /// Pixels move.
    pub moves: bool,
}

impl MotionGate {
    fn new(config: &gate::Config) -> Self {
        Self(Gate::new(config))
    }
}

impl PipelineStage for MotionGate {
    const KIND: StageKind = StageKind::Gate;
    type Input<'a> = &'a Frame;
    type Output = Motion;

    fn step(&mut self, frame: &Frame) -> Motion {
        let (width, height) = Gate::plane_size(frame.picture.width(), frame.picture.height());
        match frame.picture.luma(width, height) {
            Ok(plane) => {
                let verdict = self.0.admit(frame.at, &plane);
                Motion { admitted: verdict.is_admitted(), moves: !verdict.regions.is_empty() }
            }
            Err(failure) => {
                debug!(error = %failure, "no grey plane, letting the frame through");
                Motion { admitted: true, moves: false }
            }
        }
    }
}

/// Decides which frames the detector is offered. Shared by live cameras and replay, so both see the same.
#[derive(Debug)]
pub struct Sampler {
    pace: Pace,
    gate: Option<MotionGate>,
    last_look: Option<Mono>,
}

impl Sampler {
    /// For one camera; without a gate, all pictures that the pace lets through are worth a look.
    pub(super) fn new(config: &config::Camera, gated: bool) -> Self {
        let gate = gated.then(|| MotionGate::new(&config.motion));
        Self { pace: Pace::new(config.detect.fps), gate, last_look: None }
    }

    /// Samples so many times more slowly from now on.
    pub fn slow_down(&mut self, times: u32) {
        self.pace.period = self.pace.usual_period * times;
    }

    /// Whether the frame is worth a look, and whether pixels move. `following`: objects are being tracked.
    /// `None`: it is not yet time for the next frame.
    pub fn sample(&mut self, frame: &Frame, following: bool) -> Option<Sample> {
        if !self.pace.step(frame.at) {
            return None;
        }
        let ungated = Motion { admitted: true, moves: false };
        let Motion { admitted, moves } = self.gate.as_mut().map_or(ungated, |gate| gate.step(frame));
        let longest = if following { STILL_LOOK } else { IDLE_LOOK };
        let look = admitted || self.last_look.is_none_or(|last| frame.at.since(last) >= longest);
        if look {
            self.last_look = Some(frame.at);
        }
        Some(Sample { look, motion: moves })
    }
}

/// What the sampler says of a frame whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Offer it to the detector.
    pub look: bool,
    /// Pixels move.
    pub motion: bool,
}
