//! What metrics are counted by.

use prometheus_client::encoding::EncodeLabelSet;

/// Label `camera`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CameraLabel {
    /// Name in the config.
    pub camera: String,
}

/// Labels `camera` and `reason`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DropLabel {
    /// Name in the config.
    pub camera: String,
    /// Which queue was full, in one word.
    pub reason: String,
}

/// Labels `camera` and `output`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutputLabel {
    /// Name in the config.
    pub camera: String,
    /// Which output of the camera's pipeline.
    pub output: String,
}

/// Labels `camera` and `stage`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StageLabel {
    /// Name in the config.
    pub camera: String,
    /// `decoding`, `detection`, `recording`.
    pub stage: String,
}

/// Labels of delivered and failed items.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutletLabel {
    /// `upload/<name>` or `mqtt`.
    pub outlet: String,
}

/// Labels of the state of a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LinkLabel {
    /// `upload/<name>`.
    pub outlet: String,
    /// `probing`, `online`, `degraded`, `offline`, `refused`.
    pub state: String,
}

/// Labels of a value read at scrape time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NameLabel {
    /// What the value is of.
    pub name: String,
}

/// Labels of files that were deleted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EvictedLabel {
    /// `continuous`, `clips`, `snapshots`, `metadata`.
    pub class: String,
    /// `age`, `quota`, `min_free`.
    pub reason: String,
}

/// Label of what became of a file that was given to the library.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// `added`, `known`, `refused`.
    pub outcome: String,
}

/// Label of a user whose photos have a quota.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OwnerLabel {
    /// The user's name.
    pub owner: String,
}

/// Label of a kind of inference work.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PriorityLabel {
    /// `camera`, `person`, `program`.
    pub priority: String,
}

/// Label of a version of a model.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ModelLabel {
    /// Its name.
    pub model: String,
    /// The number of the version.
    pub version: u32,
}

/// Label of why jobs of a version of a model have no result.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ModelFailureLabel {
    /// Its name.
    pub model: String,
    /// The number of the version.
    pub version: u32,
    /// `rejected`, `canceled`, `backend`, `other`.
    pub reason: &'static str,
}

/// Label of a class of files.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ClassLabel {
    /// `continuous`, `clips`, `snapshots`, `metadata`.
    pub class: String,
}

/// Label of a part of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PartLabel {
    /// `vision <camera>`, `analysis <camera>`, `recorder <camera>`, `upload <name>`, `alerts`, `governor`, ...
    pub part: String,
}

/// Labels `camera` and `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SessionLabel {
    /// Name in the config.
    pub camera: String,
    /// `publisher`, `player`, or `camera` where the box is the client.
    pub kind: &'static str,
}

/// The label set of the sessions of a camera.
pub fn session(camera: &str, kind: &'static str) -> SessionLabel {
    SessionLabel { camera: camera.to_owned(), kind }
}

/// The label set of a camera.
pub fn camera(name: &str) -> CameraLabel {
    CameraLabel { camera: name.to_owned() }
}

/// The label set of an output of a camera's pipeline.
pub fn output(camera: &str, output: &str) -> OutputLabel {
    OutputLabel { camera: camera.to_owned(), output: output.to_owned() }
}

/// The label set of a stage of a camera.
pub fn stage(camera: &str, stage: &str) -> StageLabel {
    StageLabel { camera: camera.to_owned(), stage: stage.to_owned() }
}

/// The label set of a shed item.
pub fn dropped(camera: &str, reason: &str) -> DropLabel {
    DropLabel { camera: camera.to_owned(), reason: reason.to_owned() }
}

/// The label set of a kind of inference work.
pub fn priority(name: &str) -> PriorityLabel {
    PriorityLabel { priority: name.to_owned() }
}

/// The label set of a version of a model.
pub fn model(name: &str, version: u32) -> ModelLabel {
    ModelLabel { model: name.to_owned(), version }
}

/// The label set of why jobs of a version of a model have no result.
pub fn model_failure(name: &str, version: u32, reason: &'static str) -> ModelFailureLabel {
    ModelFailureLabel { model: name.to_owned(), version, reason }
}

/// The label set of a part of the daemon.
pub fn part(name: &str) -> PartLabel {
    PartLabel { part: name.to_owned() }
}

/// The label set of deleted files.
pub fn evicted(class: &str, reason: &str) -> EvictedLabel {
    EvictedLabel { class: class.to_owned(), reason: reason.to_owned() }
}

/// The label set of what became of a file.
pub fn outcome(outcome: &str) -> OutcomeLabel {
    OutcomeLabel { outcome: outcome.to_owned() }
}

/// The label set of a user whose photos have a quota.
pub fn owner(owner: &str) -> OwnerLabel {
    OwnerLabel { owner: owner.to_owned() }
}

/// The label set of a class of files.
pub fn class(name: &str) -> ClassLabel {
    ClassLabel { class: name.to_owned() }
}

/// The label set of a state of a link.
pub fn link_state(name: &str, state: &str) -> LinkLabel {
    LinkLabel { outlet: name.to_owned(), state: state.to_owned() }
}

/// The label set of an outlet.
pub fn outlet(name: &str) -> OutletLabel {
    OutletLabel { outlet: name.to_owned() }
}
