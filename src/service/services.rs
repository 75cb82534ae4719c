//! All services, made together.

use std::sync::Arc;

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use super::access::AccessService;
use super::backtest::BacktestService;
use super::camera_pipelines::CameraPipelines;
use super::config::ConfigService;
use super::context::Context;
use super::diagnostics::DiagnosticsService;
use super::events::EventService;
use super::executions::ExecutionService;
use super::folders::FolderService;
use super::jobs::JobService;
use super::joint_search::JointSearch;
use super::library::LibraryService;
use super::media::MediaService;
use super::models::ModelService;
use super::photo_labels::PhotoLabels;
use super::pipelines::PipelineService;
use super::playback::{ExportService, PlaybackService, PreviewService};
use super::probe::ProbeService;
use super::publishing::PublishService;
use super::queues::QueueService;
use super::status::StatusService;
use super::switches::SwitchService;
use super::timeline::TimelineService;
use crate::audit::Audit;
use crate::supervise::{Spec, Supervisor};

/// All services of the box, over one context. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    /// Who did what.
    pub audit: Audit,
    /// Logins, users and keys.
    pub access: AccessService,
    /// The box at this moment.
    pub status: StatusService,
    /// Events.
    pub events: EventService,
    /// Pictures and video.
    pub media: MediaService,
    /// The photo library.
    pub library: LibraryService,
    /// Photos and events together.
    pub search: JointSearch,
    /// Pipelines.
    pub pipelines: PipelineService,
    /// Pictures that people and programs send through pipelines.
    pub executions: ExecutionService,
    /// What goes on beside recording and answering.
    pub jobs: JobService,
    /// Folders whose files become photos.
    pub folders: FolderService,
    /// What models see in photos.
    labels: PhotoLabels,
    /// What became of a camera's time.
    pub timeline: TimelineService,
    /// Which files hold what was recorded.
    pub playback: PlaybackService,
    /// Pictures of the past.
    pub previews: PreviewService,
    /// Exports of what was recorded.
    pub exports: ExportService,
    /// Which configuration is in use.
    pub config: ConfigService,
    /// Rules that are tried.
    pub backtests: BacktestService,
    /// Models: which there are, how fast they are, what they see.
    pub models: ModelService,
    /// Cameras that could be added.
    pub probe: ProbeService,
    /// Phones and browsers as cameras, and as players.
    pub publishing: PublishService,
    /// What waits for delivery.
    pub queues: QueueService,
    /// How the daemon itself is.
    pub diagnostics: DiagnosticsService,
    /// What people switch at cameras.
    pub switches: SwitchService,
}

impl Services {
    /// Does what services do beside answering, until `stop`: exports, the upkeep of the library, and taking in what lies in
    /// folders.
    ///
    /// # Errors
    /// Never.
    pub async fn run(&self, stop: CancellationToken) -> Result<()> {
        tokio::join!(
            self.exports.run(stop.clone()),
            self.library.run(stop.clone()),
            self.labels.run(stop.clone()),
            self.executions.run(stop.clone()),
            self.folders.run(stop)
        );
        Ok(())
    }

    /// What the pipelines of cameras need; to be called within the runtime.
    pub fn camera_pipelines(&self) -> CameraPipelines {
        CameraPipelines::new(self.pipelines.clone(), self.executions.clone(), &self.models)
    }

    /// The same for pipelines that are tried against recordings.
    pub fn tried_pipelines(&self) -> CameraPipelines {
        CameraPipelines::for_trials(self.pipelines.clone(), self.executions.clone(), &self.models)
    }

    /// Hands what services do beside answering to `tasks`.
    pub fn start_in(&self, tasks: &mut Supervisor) {
        let (services, publishing) = (self.clone(), self.publishing.clone());
        tasks.task(Spec::new("services"), move |part| {
            let (services, stop) = (services.clone(), part.stop().clone());
            async move { services.run(stop).await }
        });
        tasks.task(Spec::new("webrtc"), move |part| {
            let (publishing, stop) = (publishing.clone(), part.stop().clone());
            async move { publishing.run(stop).await }
        });
    }

    /// Services that answer from `context`.
    pub fn new(context: Context) -> Self {
        let context = Arc::new(context);
        let backtests = context.backtests.clone();
        let (config, probe) = (context.config.clone(), ProbeService::new(context.discovery));
        let queues = QueueService::new(context.clone());
        let access = AccessService::new(context.access.clone(), context.device.clone());
        let audit = context.audit.clone();
        let (library, models) = (LibraryService::new(context.clone()), ModelService::new(context.clone()));
        let events = EventService::new(context.clone());
        let exports = ExportService::new(context.clone());
        let folders = FolderService::new(context.clone(), library.clone());
        let labels = PhotoLabels::new(context.clone(), library.clone(), models.clone());
        let pipelines = PipelineService::new(&context.pipelines, models.clone());
        let executions = ExecutionService::new(context.clone(), pipelines.clone(), models.clone(), library.clone());
        let status = StatusService::new(context.clone(), queues.clone());
        Self {
            audit,
            access,
            diagnostics: DiagnosticsService::new(context.clone(), status.clone()),
            status,
            search: JointSearch::new(library.clone(), events.clone()),
            events,
            media: MediaService::new(context.clone()),
            pipelines,
            executions,
            jobs: JobService {
                context: context.clone(),
                exports: exports.clone(),
                folders: folders.clone(),
                library: library.clone(),
                labels: labels.clone(),
            },
            folders,
            labels,
            library,
            playback: PlaybackService::new(context.clone()),
            previews: PreviewService::new(context.clone()),
            exports,
            timeline: TimelineService::new(context.clone()),
            models,
            publishing: PublishService::new(context.clone()),
            switches: SwitchService::new(context),
            config,
            backtests,
            probe,
            queues,
        }
    }
}
