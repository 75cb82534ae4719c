//! What page, API, MQTT and command line ask of the box and command: each fact is computed here, once.
//!
//! A service answers from the volume that is in use at the moment of the call ([`CurrentVolume`]). Outlets that report
//! facts themselves declare what they need (`alert::StatusProvider`, `lake::BoxStatusOf`); [`Services`] provides it.
//! The plain data of the answers lies in `status` where outlets share it, else beside the service.

mod access;
mod albums;
mod backtest;
mod camera_pipelines;
mod config;
mod configured;
mod context;
mod current_volume;
mod diagnostics;
mod event_changes;
mod event_terms;
mod events;
mod executions;
#[cfg(test)]
pub(crate) mod fixture;
mod folders;
mod jobs;
mod joint_search;
mod library;
mod library_changes;
mod library_export;
mod library_upkeep;
mod loaded_pipeline;
mod mark;
mod media;
mod model_choice;
mod model_facts;
mod model_versions;
mod models;
mod own_models;
mod photo_labels;
mod pipeline_trial;
mod pipelines;
mod playback;
mod probe;
mod publishing;
mod queues;
mod reports;
mod services;
mod settings;
mod similar;
mod similar_hashes;
mod status;
mod strip;
mod switches;
#[cfg(test)]
mod tests;
mod timeline;

pub use crate::store::{ChangeKind, Position};
pub use access::{AccessService, Crowded, LoginRequest};
pub use albums::AlbumRecord;
pub use backtest::{
    Backtest, BacktestBusy, BacktestJob, BacktestQueue, BacktestService, BacktestState, MOST_HOURS, TriedPipeline,
    WouldBe,
};
pub use camera_pipelines::CameraPipelines;
pub use config::{ConfigRequest, ConfigService, ReloadQueue, ReloadRequest, ReloadUnavailable};
pub use configured::{CameraUse, Configured};
pub use context::Context;
pub use current_volume::CurrentVolume;
pub use diagnostics::{Diagnostics, DiagnosticsService, PartStatus};
pub use event_changes::{BulkAction, BulkCommand, EventOutcome, EventPatch, EventRefusal, OutcomeState};
pub use events::{ChangedEvent, EventPage, EventQuery, EventRecord, EventService};
pub use executions::{
    Asked, ExecutionRefusal, ExecutionRequest, ExecutionService, ExecutionStatus, Followed, FollowedAll, GivenPicture,
    NextOfAll, OfCamera, PipelineStatistics, Place, ProgressEvent, ProgressKind, Trial, TriedStep,
};
pub use folders::{
    FolderService, FolderState, FolderStatus, Import, ImportId, ImportRefusal, ImportSource, ImportState, NewImport,
    RefusedFile,
};
pub use jobs::{Job, JobKind, JobService, JobState};
pub use joint_search::{FoundItem, JointPage, JointPlace, JointSearch};
pub use library::{
    LibraryService, ListError, MOST_PHOTOS, PhotoArea, PhotoDay, PhotoPage, PhotoQuery, PhotoRecord, PhotoTag, Viewer,
    read_cursor, record as photo_record,
};
pub use library_changes::LibraryChanges;
pub use library_export::PhotoExportError;
pub use library_upkeep::{Usage, UserUsage};
pub use loaded_pipeline::{LoadedPipeline, PipelineLoader};
pub use mark::Mark;
pub use media::{Live, MediaService};
pub use model_facts::{
    FoundThings, Inferred, ManifestFacts, ModelRefusal, ModelStatus, ModelTensors, ModelUse, SpeedStatus, VersionStatus,
};
pub use models::{LEAST_SCORE, MOST_PICTURE_BYTES, ModelService};
pub use pipeline_trial::{NumberSpan, PipelineTally, PipelineTrial, WouldAlert};
pub use pipelines::is_there as pipeline_is_there;
pub use pipelines::{PipelineEntry, PipelineRefusal, PipelineService};
#[cfg(test)]
pub(crate) use playback::fixture as recordings;
pub use playback::{
    CutRefusal, Export, ExportId, ExportRefusal, ExportService, ExportState, ExportedPart, NewExport, Piece, PieceKind,
    Pieces, PlaybackService, Preview, PreviewService, SeenTime,
};
pub use probe::{
    Collected, Decoded, Found, Look, ProbeFailure, ProbeService, ProbeSource, Probed, collect, decode_all,
};
pub use publishing::{Asker, PublishRefusal, PublishService, check_token};
pub use queues::{ItemState, QueueAction, QueueAnswer, QueueCommand, QueueItem, QueueQuery, QueueService, Refusal};
pub use services::Services;
pub use settings::{CameraEdit, CameraSettings, EditRefusal, EditRequest, Edited, SettingsRequest, SourceRequest};
pub use similar::{MOST_APART, MOST_GROUPS, SimilarGroup};
pub use status::{StatusService, midnight};
pub use strip::{Strip, StripMark, StripSpan};
pub use switches::{SwitchChange, SwitchService, Switched};
pub use timeline::{Timeline, TimelineService};
