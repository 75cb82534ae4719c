//! What a connection does beside alerts: states, reports, pictures, commands, discovery.
//!
//! Nothing of it waits for the disk or the index on the connection's own turn, and everything that waits is bounded.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Publish, RetainForwardRule};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::event::Phase;

use super::commands::{Command, CommandParser, Request};
use super::device::Report;
use super::discovery::{self, Plan};
use super::message::Message;
use super::pictures::{self, Shot, Snapshot};
use super::states::States;
use super::{Alerter, Item};

/// Commands that wait for the one in hand. More are left out.
const COMMANDS: usize = 32;
/// Answers that wait for the line. More are left out.
const ANSWERS: usize = 64;

/// Messages about executions that wait for the line. More are left out: what came of each is asked of the API.
const PROGRESS: usize = 256;

/// Something that went on beside the connection has come to its end.
pub(super) enum Done {
    Report(Result<Box<Report>>),
    Executed(Request, Result<(), String>, Option<Snapshot>),
    Shot(Arc<str>, Result<Snapshot>),
    Planned(Result<Plan>),
    Forgotten(Result<()>),
    /// Something happened to an execution.
    Progress(Vec<u8>),
    /// It was asked whether the link is metered.
    Asked,
}

pub(super) struct BackgroundJobs<'a> {
    alerter: &'a Alerter,
    states: States,
    answers: VecDeque<Message>,
    /// What happens to executions, once the connection is open.
    executions: BoxStream<'static, Vec<u8>>,
    progress: VecDeque<Message>,
    /// Discovery, in its order.
    announcements: VecDeque<Message>,
    plan: Plan,
    pictures: BTreeMap<Arc<str>, Message>,
    shots: BTreeMap<Arc<str>, Shot>,
    commands: VecDeque<Request>,
    is_commanding: bool,
    is_shooting: bool,
    is_asking: bool,
    /// When the next report is due; none while one is being made.
    report_due: Option<Instant>,
    jobs: FuturesUnordered<BoxFuture<'a, Done>>,
}

impl<'a> BackgroundJobs<'a> {
    pub(super) fn new(alerter: &'a Alerter) -> Self {
        Self {
            alerter,
            states: States::default(),
            answers: VecDeque::new(),
            executions: futures::stream::pending().boxed(),
            progress: VecDeque::new(),
            announcements: VecDeque::new(),
            plan: Plan::default(),
            pictures: BTreeMap::new(),
            shots: BTreeMap::new(),
            commands: VecDeque::new(),
            is_commanding: false,
            is_shooting: false,
            is_asking: false,
            report_due: Some(Instant::now()),
            jobs: FuturesUnordered::new(),
        }
    }

    /// After CONNACK. Gives what is to be subscribed to.
    pub(super) fn open(&mut self) -> Vec<Filter> {
        let (config, device_context) = (&self.alerter.config, &self.alerter.device_context);
        self.states.refresh(self.alerter);
        self.alerter.pictures.connected();
        self.ask_for_link();
        if config.execution_progress {
            self.executions = device_context.status.executions();
        }
        let plan = discovery::configs(self.alerter);
        let file = device_context.announced.clone();
        self.jobs.push(Box::pin(async move {
            let planned = tokio::task::spawn_blocking(move || discovery::plan(file.as_deref(), plan));
            Done::Planned(planned.await.context("plan the announcements").and_then(|plan| plan))
        }));
        let subscribe = |path, preserve_retain| Filter {
            preserve_retain,
            retain_forward_rule: RetainForwardRule::OnEverySubscribe,
            ..Filter::new(path, QoS::AtLeastOnce)
        };
        let mut filters = Vec::new();
        if config.commands {
            // Retained as published: a command that the broker keeps is known as one also when it has just been sent.
            filters.extend(self.alerter.topics.command_filters().into_iter().map(|path| subscribe(path, true)));
        }
        if config.homeassistant_discovery {
            // Whether Home Assistant started now shows in that the broker did not keep it.
            filters.push(subscribe(discovery::birth_topic(config), false));
        }
        filters
    }

    /// A second passed.
    pub(super) fn tick(&mut self) {
        self.states.refresh(self.alerter);
        if self.report_due.is_some_and(|due| Instant::now() >= due) {
            self.report_due = None;
            let status = &self.alerter.device_context.status;
            self.jobs.push(Box::pin(async move { Done::Report(status.report().await.map(Box::new)) }));
        }
        self.ask_for_link();
        self.capture_snapshot();
    }

    /// Finds out whether the link is metered, where that is due.
    fn ask_for_link(&mut self) {
        if !std::mem::replace(&mut self.is_asking, true) {
            let pictures = &self.alerter.pictures;
            self.jobs.push(Box::pin(async move {
                pictures.ask().await;
                Done::Asked
            }));
        }
    }

    /// The next message; states before all others.
    pub(super) fn next_state(&mut self) -> Option<Message> {
        self.states.next()
    }

    /// The next message that is no state.
    pub(super) fn next_other(&mut self) -> Option<Message> {
        let other = self.answers.pop_front().or_else(|| self.announcements.pop_front());
        let other = other.or_else(|| self.progress.pop_front());
        other.or_else(|| self.pictures.pop_first().map(|(_, message)| message))
    }

    /// The broker has a message that is no alert.
    pub(super) fn confirmed(&mut self, topic: &str) {
        if self.plan.stale.remove(topic) && self.plan.stale.is_empty() {
            let (file, left) = (self.alerter.device_context.announced.clone(), self.plan.current());
            self.jobs.push(Box::pin(async move {
                let kept = tokio::task::spawn_blocking(move || discovery::keep(file.as_deref(), &left));
                Done::Forgotten(kept.await.context("keep what is announced").and_then(|kept| kept))
            }));
        }
    }

    /// An alert is on its way: the picture of its camera is another.
    pub(super) fn publishing(&mut self, item: &Item, is_late: bool) {
        if !self.alerter.pictures.are_wanted() {
            return;
        }
        let shot = match item.phase {
            Phase::Start if !is_late => Shot::Live,
            Phase::End if !item.event.pictures.is_empty() => Shot::Of(Box::new(item.event.clone())),
            _ => return,
        };
        self.shots.insert(item.event.camera.clone(), shot);
        self.capture_snapshot();
    }

    /// A message came; `is_retaining`: the broker keeps messages.
    pub(super) fn incoming(&mut self, publish: &Publish, is_retaining: bool) {
        let (config, clock) = (&self.alerter.config, &*self.alerter.deps.clock);
        if config.homeassistant_discovery && publish.topic == discovery::birth_topic(config).as_bytes() {
            if !publish.retain && *publish.payload == *b"online" {
                info!("Home Assistant started, announcing again");
                self.announcements = self.plan.messages();
                if !is_retaining {
                    // The broker kept nothing that could inform Home Assistant of states.
                    self.states.publish_all();
                    self.states.refresh(self.alerter);
                }
            }
            return;
        }
        let parser =
            CommandParser { topics: &self.alerter.topics, device_context: &self.alerter.device_context, clock };
        let Some(request) = parser.read(publish).filter(|_| config.commands) else { return };
        if self.commands.len() >= COMMANDS {
            debug!("too many commands at once, one is left out");
            return;
        }
        self.commands.push_back(request);
        self.execute_next();
    }

    /// Takes up the next command.
    fn execute_next(&mut self) {
        if self.is_commanding {
            return;
        }
        let Some(request) = self.commands.pop_front() else { return };
        self.is_commanding = true;
        let (alerter, control) = (self.alerter, self.alerter.device_context.control.clone());
        self.jobs.push(Box::pin(async move {
            match request.command.clone() {
                Err(error) => Done::Executed(request, Err(error), None),
                Ok(Command::Snapshot(camera)) => match shot(alerter, camera.into(), Shot::Live).await {
                    Ok(snapshot) => Done::Executed(request, Ok(()), Some(snapshot)),
                    Err(failure) => Done::Executed(request, Err(format!("{failure:#}")), None),
                },
                Ok(command) => {
                    let outcome = command.execute(control).await.map_err(|failure| format!("{failure:#}"));
                    Done::Executed(request, outcome, None)
                }
            }
        }));
    }

    /// Makes the next picture.
    fn capture_snapshot(&mut self) {
        if self.is_shooting {
            return;
        }
        let limits = &self.alerter.pictures;
        if !limits.are_wanted() {
            // The link became metered while they waited; they are old when it is free again.
            self.shots.clear();
            return;
        }
        if !limits.is_link_known() {
            return;
        }
        let due = self.shots.keys().find(|camera| limits.is_due(camera)).cloned();
        let Some((camera, which)) = due.and_then(|camera| self.shots.remove_entry(&camera)) else { return };
        self.is_shooting = true;
        limits.note(&camera);
        let (alerter, limits) = (self.alerter, limits.clone());
        self.jobs.push(Box::pin(async move {
            let taken = shot(alerter, camera.clone(), which).await;
            let within = taken.map(|snapshot| {
                tokio::task::spawn_blocking(move || limits.spend(snapshot.jpeg.len()).map(|()| snapshot))
            });
            let taken = match within {
                Ok(spent) => spent.await.context("note what pictures take").and_then(|spent| Ok(spent?)),
                Err(failure) => Err(failure),
            };
            Done::Shot(camera, taken)
        }));
    }

    /// The next thing that has come to its end; for ever pending while there is none. Cancel safe.
    pub(super) async fn done(&mut self) -> Done {
        tokio::select! {
            Some(done) = self.jobs.next(), if !self.jobs.is_empty() => done,
            Some(event) = self.executions.next() => Done::Progress(event),
            else => std::future::pending().await,
        }
    }

    pub(super) fn settle(&mut self, done: Done) {
        match done {
            Done::Report(report) => {
                self.report_due = Some(Instant::now() + self.alerter.config.report_every);
                match report {
                    Ok(report) => self.states.set_report(*report),
                    Err(failure) => debug!(error = format!("{failure:#}"), "no report"),
                }
                self.states.refresh(self.alerter);
            }
            Done::Executed(request, outcome, snapshot) => {
                self.is_commanding = false;
                if let (Some(snapshot), Ok(Command::Snapshot(camera))) = (snapshot, &request.command) {
                    self.show(camera.as_str().into(), snapshot);
                }
                // The states before the answer: the receiver of the answer may read them.
                self.states.refresh(self.alerter);
                let room = ANSWERS.saturating_sub(self.answers.len());
                self.answers.extend(request.answers(&outcome).into_iter().take(room));
                self.execute_next();
            }
            Done::Shot(camera, taken) => {
                self.is_shooting = false;
                match taken {
                    Ok(snapshot) => self.show(camera, snapshot),
                    Err(failure) => debug!(%camera, error = format!("{failure:#}"), "no picture for the broker"),
                }
                self.capture_snapshot();
            }
            Done::Planned(Ok(plan)) => {
                self.plan = plan;
                self.announcements = self.plan.messages();
            }
            Done::Planned(Err(failure)) | Done::Forgotten(Err(failure)) => {
                warn!(error = format!("{failure:#}"), "what was announced to Home Assistant cannot be kept");
            }
            Done::Forgotten(Ok(())) => {}
            Done::Asked => {
                self.is_asking = false;
                self.capture_snapshot();
            }
            Done::Progress(event) => {
                if self.progress.len() < PROGRESS {
                    let topic = self.alerter.topics.of_box("execution");
                    self.progress.push_back(Message::passing(topic, event, self.alerter.config.state_qos));
                }
            }
        }
    }

    fn show(&mut self, camera: Arc<str>, snapshot: Snapshot) {
        let config = &self.alerter.config;
        let topic = self.alerter.topics.of_camera(&camera, "snapshot");
        let Snapshot { jpeg, origin } = snapshot;
        let message = Message::picture(topic, jpeg, config.snapshot_qos, config.retain_snapshots, origin);
        self.pictures.insert(camera, message);
    }
}

async fn shot(alerter: &Alerter, camera: Arc<str>, which: Shot) -> Result<Snapshot> {
    let (status, config) = (alerter.device_context.status.clone(), alerter.config.clone());
    let taken = tokio::task::spawn_blocking(move || pictures::take(&*status, &camera, &which, &config));
    taken.await.context("make a picture")?
}
