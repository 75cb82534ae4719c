//! The outlets, retention, timekeeper and lake of one volume, and what each works with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use futures::FutureExt;
use tokio::runtime::Handle;

use super::alert_settings::{alert_cameras, rule_ages};
use super::open::OpenVolume;
use super::parts::OutletPart;
use super::storage::Place;
use crate::alert::{self, AlertQueue};
use crate::asset::MediaKind;
use crate::config::{Config, ConfigError};
use crate::coverage_export::Export;
use crate::destination::Destination;
use crate::event::Event;
use crate::executor::ExecutionArchive;
use crate::lake::{self, Lake};
use crate::load;
use crate::pipeline::Shared;
use crate::retention::Retention;
use crate::service::Services;
use crate::store::Outbox;
use crate::supervise::{Context as Part, Hang, MOST_ABANDONED, Spec, Supervisor};
use crate::timekeeper::Timekeeper;
use crate::upload::{self, Uploader};

/// An outlet hangs when it shows no life for so long. It beats in every wait that has a limit, however slow the
/// link; what is left are calls of the system, the longest of which is reading a large file for its checksum.
const OUTLET_SILENT: Duration = Duration::from_secs(600);
/// The timekeeper is stuck when it shows no life for so long.
const TIMEKEEPER_SILENT: Duration = Duration::from_secs(120);
/// The lake is stuck when it shows no life for so long.
const LAKE_SILENT: Duration = Duration::from_secs(120);
/// Folder of what uploaders keep beside their queues.
const UPLOADS: &str = "uploads";
/// How long retention may be silent: one batch on a slow card.
const RETENTION_STALLED: Duration = Duration::from_secs(120);

/// Outlets that hang are dropped and restarted.
const REPLACED: Hang = Hang::Replace { most: MOST_ABANDONED };

/// What outlets publish beside events; outlives sessions.
#[derive(Clone)]
pub struct OutletContext {
    pub services: Services,
    /// Where is kept what was announced to Home Assistant.
    pub announced: PathBuf,
}

/// What outlets are started with.
pub(super) struct Start<'a> {
    pub volume: &'a OpenVolume,
    pub config: &'a Config,
    pub shared: &'a Shared,
    pub context: &'a OutletContext,
}

impl Start<'_> {
    /// Hands `part` to `outlets`, which runs it.
    pub(super) fn part(&self, part: &OutletPart, outlets: &mut Supervisor) -> Result<()> {
        match part {
            OutletPart::Upload(name) => self.upload(name, outlets),
            OutletPart::Alerts => self.alerts(outlets),
            OutletPart::Webhook(name) => self.webhook(name, outlets),
            OutletPart::Retention => {
                self.retention(outlets);
                Ok(())
            }
            OutletPart::Timekeeper => {
                self.timekeeper(outlets);
                Ok(())
            }
            OutletPart::Lake => self.lake(outlets),
        }
    }

    fn upload(&self, name: &str, outlets: &mut Supervisor) -> Result<()> {
        let Some(upload) = self.config.upload.get(name) else { return Ok(()) };
        let task = format!("upload {name}");
        let (name, upload, shared) = (name.to_owned(), upload.clone(), self.shared.clone());
        let outbox = self.volume.store.outboxes().get(&Destination::upload(&name))?;
        let storage: PathBuf = self.volume.archive.layout().storage().to_owned();
        let deps = upload::Deps {
            device: shared.device.clone(),
            storage,
            state: Some(self.shared.state.join(UPLOADS)),
            outbox,
            control: shared.control.clone(),
            health: shared.health.clone(),
            metrics: shared.metrics.clone(),
            clock: shared.clock.clone(),
        };
        let place = format!("upload.{name}");
        let make = move || Uploader::new(&name, upload.clone(), deps.clone());
        make().map_err(|error| refused(place, &error))?;
        outlets.task(Spec::new(task).heartbeat(OUTLET_SILENT, REPLACED), move |part| {
            let uploader = make().map(|uploader| uploader.with_heartbeat(part.heartbeat().clone()));
            async move { uploader?.run(part.stop().clone()).await }
        });
        Ok(())
    }

    /// What every outlet of alerts works with, beside its queue.
    fn deps(&self, destination: &Destination) -> Result<(alert::Deps, Outbox)> {
        let (config, shared) = (self.config, self.shared);
        let key_device = shared.device.clone();
        // Alerts name the keys of one destination; with several it is the first by name.
        let first = config.upload.values().next().cloned().unwrap_or_default();
        let prefix = first.key_prefix();
        let object_key: alert::ObjectKey = Arc::new(move |event, file| {
            prefix.clone()
                + &upload::object_key(
                    &key_device,
                    event,
                    &(file.to_owned() + first.key_suffix(MediaKind::of_file(file))),
                )
        });
        let outbox = self.volume.store.outboxes().get(destination)?;
        let deps = alert::Deps {
            device: shared.device.clone(),
            queue: AlertQueue::new(outbox.clone()),
            object_key: (!config.upload.is_empty()).then_some(object_key),
            posts: self.posts(),
            rule_ages: Arc::new(rule_ages(config)),
            health: shared.health.clone(),
            metrics: shared.metrics.clone(),
            clock: shared.clock.clone(),
        };
        Ok((deps, outbox))
    }

    /// Reads what webhooks get of executions.
    fn posts(&self) -> alert::ReadPost {
        let executions = ExecutionArchive::new(&self.volume.archive, Arc::new(self.config.executions.clone()));
        Arc::new(move |path| executions.post(path))
    }

    fn alerts(&self, outlets: &mut Supervisor) -> Result<()> {
        let (config, shared) = (self.config, self.shared);
        let Some(mqtt) = &config.mqtt else { return Ok(()) };
        let (deps, outbox) = self.deps(&Destination::Mqtt)?;
        let device = alert::DeviceContext {
            site: shared.site.clone(),
            cameras: alert_cameras(config),
            uploads: config.upload.keys().cloned().collect(),
            has_temperature: load::hottest(&config.load.thermal_dir).is_some(),
            control: shared.control.clone(),
            status: Arc::new(self.context.services.clone()),
            announced: Some(self.context.announced.clone()),
        };
        let made = alert::Alerter::new(mqtt.clone(), deps.clone(), device.clone());
        made.map_err(|error| refused("mqtt", &error))?;
        let mqtt = mqtt.clone();
        outlets.task(Spec::new("alerts").heartbeat(OUTLET_SILENT, REPLACED), move |part| {
            // A fresh one: leases that a run which panicked or hung still held are free again.
            let queue = AlertQueue::new(outbox.clone());
            let alerter = alert::Alerter::new(mqtt.clone(), alert::Deps { queue, ..deps.clone() }, device.clone());
            async move { alerter?.with_heartbeat(part.heartbeat().clone()).run(part.stop().clone()).await }
        });
        Ok(())
    }

    fn webhook(&self, name: &str, outlets: &mut Supervisor) -> Result<()> {
        let Some(webhook) = self.config.webhook.get(name) else { return Ok(()) };
        let (deps, outbox) = self.deps(&Destination::webhook(name))?;
        let (name, webhook) = (name.to_owned(), webhook.clone());
        let made = alert::Webhook::new(&name, &webhook, deps.clone());
        made.map_err(|error| refused(format!("webhook.{name}"), &error))?;
        let spec = Spec::new(format!("webhook {name}")).heartbeat(OUTLET_SILENT, REPLACED);
        outlets.task(spec, move |part| {
            let queue = AlertQueue::new(outbox.clone());
            let hook = alert::Webhook::new(&name, &webhook, alert::Deps { queue, ..deps.clone() });
            async move { hook?.with_heartbeat(part.heartbeat().clone()).run(part.stop().clone()).await }
        });
        Ok(())
    }

    fn retention(&self, outlets: &mut Supervisor) {
        let (config, shared) = (self.config, self.shared);
        let limits = match self.volume.place {
            Place::Main => config.retention.clone(),
            Place::Spool => config.retention.for_spool(config.spool.max_bytes),
        };
        let (archive, heartbeat) = (self.volume.archive.clone(), shared.heartbeats.detached());
        let retention = Retention::new(archive, limits, shared.health.clone(), heartbeat);
        outlets.task(Spec::new("retention").heartbeat(RETENTION_STALLED, Hang::Report), move |part| {
            retention.clone().with_heartbeat(part.heartbeat().clone()).run(part.stop().clone())
        });
    }

    /// Corrects wall times once the clock is synchronised.
    fn timekeeper(&self, outlets: &mut Supervisor) {
        let cameras: Vec<String> = self.config.camera.keys().cloned().collect();
        let (archive, first_id) = (self.volume.archive.clone(), self.volume.first_id);
        outlets.thread(Spec::new("timekeeper").heartbeat(TIMEKEEPER_SILENT, Hang::Report), (), move || {
            let (archive, cameras) = (archive.clone(), cameras.clone());
            Some(Box::new(move |part: Part| {
                let mut export = Export::new(archive.clone(), cameras.clone());
                let keeper = Timekeeper::new(archive, cameras, first_id);
                keeper.run(part.stop(), |trusted| export.step(trusted), || part.beat());
                Err(ended_early())
            }))
        });
    }

    /// Writes the tables that a fleet is searched by. Events of the spool come to the archive, and so to the lake, when
    /// the volume is back.
    fn lake(&self, outlets: &mut Supervisor) -> Result<()> {
        let (config, shared) = (self.config, self.shared);
        if !config.has_lake() || self.volume.place == Place::Spool {
            return Ok(());
        }
        let (store, archive, device) = (&self.volume.store, self.volume.archive.clone(), shared.device.clone());
        let uploads: Result<Vec<_>, _> =
            config.upload.keys().map(|name| store.outboxes().get(&Destination::upload(name))).collect();
        let (status, queues) = (self.context.services.status.clone(), self.context.services.queues.clone());
        let folder_of = move |event: &Event| upload::object_key(&device, event, "");
        let deps = lake::Deps {
            storage: archive.layout().storage().to_owned(),
            store: store.clone(),
            outbox: store.outboxes().get(&Destination::Lake)?,
            uploads: uploads?,
            audit: self.context.services.audit.clone(),
            may_write: Arc::new(move || archive.layout().check_volume().map(|()| archive.level().has_stills())),
            folder_of: Arc::new(move |event| folder_of(event).trim_end_matches('/').to_owned()),
            status: Arc::new(move || {
                let status = status.clone();
                async move { status.read().await }.boxed()
            }),
            queue_status: Arc::new(move |name, stats| queues.status(name, stats)),
            clock: shared.clock.clone(),
            runtime: Handle::current(),
        };
        let config = config.lake.clone();
        outlets.thread(Spec::new("lake").heartbeat(LAKE_SILENT, Hang::Report), (), move || {
            let (config, deps) = (config.clone(), deps.clone());
            Some(Box::new(move |part: Part| {
                Lake::new(config, deps, part.heartbeat().clone()).run(part.stop());
                Err(ended_early())
            }))
        });
        Ok(())
    }
}

/// An outlet makes no connection when it is created: what it does not take is the configuration.
fn refused(key: impl Into<String>, error: &anyhow::Error) -> ConfigError {
    ConfigError::new(key, format!("{error:#}"))
}

/// Why a thread ended that runs until the stop; after a stop that is no failure.
fn ended_early() -> anyhow::Error {
    anyhow!("it ended without being asked to")
}
