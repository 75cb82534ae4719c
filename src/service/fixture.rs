//! A box for tests of services and faces: a real index and archive in a temporary folder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::backtest::BacktestService;
use super::config::{ConfigService, ReloadQueue};
use super::configured::{CameraUse, Configured};
use super::context::Context;
use super::current_volume::CurrentVolume;
use super::playback::ExportService;
use super::services::Services;
use crate::access::Access;
use crate::archive::{self, Archive, ArchiveDeps, Layout};
use crate::audit::Audit;
use crate::clock::{Clock, Mono, SimulatedClock, TimeQuality};
use crate::control::Control;
use crate::destination::destination;
use crate::discovery::Discovery;
use crate::event::{Event, EventId, EventKind, EventState, MediaFile, Phase, fixture};
use crate::frame::{Frame, LatestFrame, Rgb};
use crate::health::{CameraState, Health};
use crate::infer::{self, Scheduler};
use crate::live::{Broadcast, Outlines};
use crate::metrics::Metrics;
use crate::retention;
use crate::source::Publishers;
use crate::status::ConfigStatus;
use crate::store::{self, Change, Delivery, Store};
use crate::supervise::Heartbeats;
use crate::webrtc;

/// The outlets of the box, in the order of its configuration.
pub(crate) const OUTLETS: [&str; 3] = ["mqtt", "webhook/ops", "upload/cloud"];

/// What publishers show to camera `phone`.
pub(crate) const PHONE_TOKEN: &str = "the-token-of-the-phone";

/// A box whose camera `yard` is online and gives pictures, `lost` gave some, and `dark/ side` none yet.
pub(crate) struct Bench {
    _dir: TempDir,
    pub(crate) access: Access,
    pub(crate) clock: Arc<SimulatedClock>,
    pub(crate) store: Store,
    pub(crate) archive: Archive,
    pub(crate) health: Health,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) control: Control,
    pub(crate) services: Services,
    _inference: Scheduler,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with_config().0
    }

    /// With the end of the service that is asked to change the configuration.
    pub(crate) fn with_config() -> (Self, ReloadQueue) {
        let dir = tempfile::tempdir().expect("temporary folder");
        let clock = Arc::new(SimulatedClock::new(Mono(1_000_000_000), jiff::Timestamp::UNIX_EPOCH));
        clock.step_wall("2026-11-22T10:00:00Z".parse().expect("a time"), TimeQuality::Synchronised);
        let config = store::Config {
            path: dir.path().to_owned(),
            deadline: Duration::from_secs(60),
            ..store::Config::default()
        };
        let token = dir.path().join("phone.token");
        std::fs::write(&token, PHONE_TOKEN).expect("write the token");
        let store = Store::open(&config, &OUTLETS.map(destination), clock.clone()).expect("open the store");
        let (metrics, deps) = (Metrics::new(), ArchiveDeps::new("box-7", clock.clone()));
        let (health, heartbeats, control) = (deps.health.clone(), deps.heartbeats.clone(), deps.control.clone());
        let kept = archive::Config::default();
        let archive = Archive::new(Layout::new(dir.path()), store.clone(), clock.clone(), metrics.clone(), kept, deps);
        let frames: BTreeMap<String, Arc<LatestFrame>> =
            ["yard", "lost", "dark/ side"].map(|name| (name.to_owned(), Arc::default())).into();
        let broadcasts = frames.keys().map(|name| {
            let ground = (name.clone(), vec![[0.0, 0.5], [1.0, 0.5], [0.5, 1.0]]);
            (name.clone(), Broadcast::new(name, Outlines::new([ground], []), &metrics))
        });
        let broadcasts = broadcasts.collect();
        let started = clock.mono();
        frames["lost"].set(frame(started));
        clock.advance(Duration::from_secs(83));
        let since = clock.mono();
        health.camera(&"yard".into(), |camera| (camera.state, camera.since) = (CameraState::Online, since));
        for outlet in OUTLETS {
            health.outlet(outlet, since, Ok(()));
        }
        clock.advance(Duration::from_secs(7));
        frames["yard"].set(frame(clock.mono()));
        let (config, queue) = ConfigService::new(ConfigStatus::default());
        let access = Access::open(&dir.path().join("access"), clock.clone());
        let infer = infer::Config { model_dir: models_of_the_repository(), workers: 1, ..infer::Config::default() };
        let inference = Scheduler::start(&infer, metrics.clone(), clock.clone(), &Heartbeats::new(clock.clone()));
        let services = Services::new(Context {
            publishers: Publishers::default(),
            device: "box-7".into(),
            site: "Gate".into(),
            volume: CurrentVolume::new(&archive, &store),
            clock: clock.clone(),
            started,
            health: health.clone(),
            heartbeats: heartbeats.clone(),
            metrics,
            control: control.clone(),
            access: access.clone(),
            audit: Audit::open(&dir.path().join("audit"), clock.clone()),
            backtests: BacktestService::new(clock.clone()).0,
            pipelines: dir.path().join("pipelines").into(),
            jobs: inference.jobs(),
            discovery: Discovery { group: ([127, 0, 0, 1], 9).into(), within: Duration::from_millis(10) },
            config,
            configured: Configured {
                published: BTreeMap::from([("phone".to_owned(), Some(token)), ("tablet".to_owned(), None)]),
                webrtc: webrtc::Config { listen: "127.0.0.1:0".parse().expect("address"), ..Default::default() },
                outlets: OUTLETS.map(destination).to_vec(),
                openable: vec![destination("upload/cloud")],
                retention: retention::Config::default(),
                library: Arc::default(),
                executions: Arc::default(),
                frames,
                broadcasts,
                uses: BTreeMap::from([(
                    "yard".to_owned(),
                    CameraUse { pipeline: "watch".to_owned(), ..CameraUse::default() },
                )]),
                infer,
                models: BTreeMap::from([("nanodet-g-320".to_owned(), vec!["yard".to_owned()])]),
            }
            .fixed(),
        });
        let bench = Self {
            _dir: dir,
            access,
            clock,
            store,
            archive,
            health,
            heartbeats,
            control,
            services,
            _inference: inference,
        };
        (bench, queue)
    }

    /// An event that is over, whose alerts were delivered.
    pub(crate) async fn record(&self, n: u64, camera: &str, files: Vec<Delivery>) -> Event {
        let event = event(&*self.clock, n, camera);
        let deliveries = files.into_iter().chain([Delivery::Alert(Phase::End)]).collect();
        self.store.events().record(Change { event: event.clone(), deliveries }).expect("record");
        for outlet in ["mqtt", "webhook/ops"] {
            let outbox = self.store.outboxes().get(&destination(outlet)).expect("outbox");
            for lease in outbox.lease(100).await.expect("lease") {
                outbox.ack(&lease).await.expect("acknowledge");
            }
        }
        event
    }

    /// Exports as a daemon that starts again finds them.
    pub(crate) fn restarted(&self) -> ExportService {
        self.services.exports.as_after_restart()
    }

    /// Where users, keys and links lie.
    pub(crate) fn access_folder(&self) -> PathBuf {
        self._dir.path().join("access")
    }

    /// The folder of event `n`, which is made.
    pub(crate) fn folder(&self, n: u64, camera: &str) -> PathBuf {
        let folder = self.archive.layout().folder(camera, id(n));
        std::fs::create_dir_all(&folder).expect("make a folder");
        folder
    }
}

fn models_of_the_repository() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "models"].iter().collect()
}

fn frame(at: Mono) -> Frame {
    Frame { at, picture: Arc::new(Rgb { width: 1280, height: 720, data: vec![90; 1280 * 720 * 3] }) }
}

pub(crate) fn id(n: u64) -> EventId {
    EventId::from_bytes(u128::from(n).to_be_bytes())
}

pub(crate) fn upload(file: &str, bytes: u64) -> Delivery {
    Delivery::Upload(MediaFile::new(file, bytes, "00".repeat(32)))
}

fn event(clock: &dyn Clock, n: u64, camera: &str) -> Event {
    let file = |name: &str| MediaFile::new(name, 10, "00".repeat(32));
    Event {
        device: "box-7".into(),
        site: "Gate".into(),
        rule: "r".into(),
        kind: EventKind::Enter,
        state: EventState::Ended,
        track: n,
        zones: vec![],
        end: Some(clock.now()),
        pictures: vec![file("digits.mp4"), file("gone.jpg"), file("folder")],
        ..fixture::event(id(n), camera, clock.now())
    }
}
