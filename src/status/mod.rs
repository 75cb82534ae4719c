//! Plain data: the box at one moment, its cameras, queues and disk.
//!
//! There is one type for each fact. Services fill them, and page, API, MQTT, command line and lake read them; formats that
//! differ are made of them where they are written.

mod cause;
mod concerns;
mod config;
mod facts;
#[cfg(test)]
pub(crate) mod fixture;
mod forecast;
mod summary;
mod wording;

pub use cause::{CAUSES, Cause};
pub use concerns::{Concern, ConcernCode, Level, Remedy};
pub use config::{ConfigProblem, ConfigState, ConfigStatus};
pub use facts::{
    BoxStatus, CameraCoverage, CameraStatus, DetectUse, DiskStatus, LoadStatus, PublisherStatus, QueueStatus,
    RecordUse, SessionsStatus, TransferStatus,
};
pub use forecast::{Facts as ForecastFacts, Forecast, ForecastState, Kind as ForecastKind, Limit};
pub use summary::Summary;
