//! The stages of a pipeline, and which of them a camera has.
//!
//! A [`PipelineStage`] is one step: what comes out depends on what goes in and on what went in before, and on nothing
//! else. It knows no thread, queue or clock, so that a live camera, a file that is replayed and a picture of a person
//! go through the same ones. Pictures are converted on request by the stage that needs pixels, once each.
//!
//! ```text
//! packet -> decode -> picture -> pace -> gate -> infer -> detections -> track -> tracks -> rules -> signals
//! ```
//!
//! A [`StagePlan`] says which of them a camera's configuration asks for, and builds them. Threads and queues around
//! them are those of [`Pipeline`](super::Pipeline); a live camera's pictures are inferred by the scheduler of `infer`.

mod follow;
mod plan;
mod sample;

use std::fmt;
use std::sync::Arc;

use crate::decode::{DecodeError, Decoder};
use crate::detection::Detection;
use crate::frame::{Frame, Packet, Picture};
use crate::infer::{Detector, InferError};

pub use follow::Analysis;
pub(super) use follow::Counts;
pub use plan::{Planned, StagePlan};
pub use sample::Sampler;

/// What goes from stage to stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// Coded, as a source gives it.
    Packet,
    /// Decoded.
    Picture,
    /// What is in one picture.
    Detections,
    /// Objects over several pictures.
    Tracks,
    /// Begin, update and end of events.
    Signals,
}

/// Which stage, in the order of the data flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StageKind {
    /// Makes pictures of packets.
    Decode,
    /// Lets so many pictures a second through.
    Pace,
    /// Lets pictures through in which pixels move.
    Gate,
    /// Finds objects in a picture.
    Infer,
    /// Finds the same object in picture after picture.
    Track,
    /// Decides when tracks are an event.
    Rules,
}

impl StageKind {
    /// Its name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Pace => "pace",
            Self::Gate => "gate",
            Self::Infer => "infer",
            Self::Track => "track",
            Self::Rules => "rules",
        }
    }

    /// What goes in.
    pub fn takes(self) -> Data {
        match self {
            Self::Decode => Data::Packet,
            Self::Pace | Self::Gate | Self::Infer => Data::Picture,
            Self::Track => Data::Detections,
            Self::Rules => Data::Tracks,
        }
    }

    /// What comes out.
    pub fn gives(self) -> Data {
        match self {
            Self::Decode | Self::Pace | Self::Gate => Data::Picture,
            Self::Infer => Data::Detections,
            Self::Track => Data::Tracks,
            Self::Rules => Data::Signals,
        }
    }
}

impl fmt::Display for StageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One step of a pipeline.
pub trait PipelineStage {
    /// Which one.
    const KIND: StageKind;
    /// What goes in.
    type Input<'a>;
    /// What comes out.
    type Output;

    /// Takes one step.
    fn step(&mut self, input: Self::Input<'_>) -> Self::Output;
}

impl PipelineStage for Decoder {
    const KIND: StageKind = StageKind::Decode;
    type Input<'a> = &'a Packet;
    type Output = Result<Vec<Frame>, DecodeError>;

    fn step(&mut self, packet: &Packet) -> Self::Output {
        self.decode(packet)
    }
}

/// A model at work on the thread that calls it. Live cameras have the scheduler do the same.
#[derive(Clone, Debug)]
pub struct Inference {
    detector: Arc<Detector>,
    min_score: f32,
}

impl PipelineStage for Inference {
    const KIND: StageKind = StageKind::Infer;
    type Input<'a> = &'a dyn Picture;
    type Output = Result<Vec<Detection>, InferError>;

    fn step(&mut self, picture: &dyn Picture) -> Self::Output {
        self.detector.detect(picture, self.min_score)
    }
}

#[cfg(test)]
mod tests;
