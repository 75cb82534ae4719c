//! Puts another configuration to use, tries it, and undoes it where it does not work.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tracing::{error, info, warn};

use super::{App, configured, start_governor, start_page};
use crate::cameras;
use crate::clock::Clock;
use crate::config::{Config, ConfigError, Files};
use crate::pipeline::Shared;
use crate::reload::{self, Change, Editor, Finding, Kept, Probes, Source, Subject, Trial, Verdict, refusal};
use crate::service::{
    CameraEdit, ConfigRequest, ConfigService, EditRefusal, EditRequest, Edited, ReloadQueue, SettingsRequest,
    SourceRequest,
};
use crate::status::{ConfigState, ConfigStatus};
use crate::supervise::systemd;
use crate::web;

/// How often a trial is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Reloads that are asked for, and the one that is on trial.
pub(super) struct Reloads {
    queue: ReloadQueue,
    file: Option<PathBuf>,
    /// Of the files; none where the configuration is in none.
    editor: Option<Editor>,
    kept: Kept,
    /// The last one that was good, with its text where it is in a file.
    good: (Arc<Config>, Option<String>),
    /// The text of the one in use.
    text: Option<String>,
    trial: Option<(Trial, Probes)>,
}

/// What is to be done.
pub(super) enum Due {
    /// Something is asked of the configuration.
    Asked(ConfigRequest),
    /// The trial has come to its end.
    Judged(Verdict),
}

impl Reloads {
    /// The queue of reloads, and the service that fills it.
    pub(super) fn new(source: Source, config: &Arc<Config>, state: &Path, clock: &dyn Clock) -> (Self, ConfigService) {
        let Source { file, text, error, undone } = source;
        let now = clock.wall();
        let in_use = if undone.is_some() { ConfigState::RolledBack } else { ConfigState::InUse };
        let status = ConfigStatus {
            state: if error.is_some() { ConfigState::LastGood } else { in_use },
            file: file.as_ref().map(|file| file.display().to_string()),
            read_at: now,
            tried_at: now,
            reason: error.as_ref().map(ToString::to_string).or(undone),
            problems: error.as_ref().map(reload::problems).unwrap_or_default(),
            ..ConfigStatus::default()
        };
        let (service, queue) = ConfigService::new(status);
        let good = (config.clone(), text.clone());
        let editor = file.as_ref().map(|file| Editor::new(Files::of_service(file), state));
        (Self { queue, file, editor, kept: Kept::of_service(), good, text, trial: None }, service)
    }

    /// All parts could be made: what the configuration says is good.
    pub(super) async fn note_started(&self) {
        self.keep().await;
    }

    /// What is to be done next; may be dropped and asked again.
    pub(super) async fn due(&mut self) -> Due {
        let trial = &self.trial;
        let judged = async {
            loop {
                match (trial, verdict(trial)) {
                    (_, Some(verdict)) => return verdict,
                    (Some(_), None) => tokio::time::sleep(LOOK_EVERY).await,
                    (None, None) => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            request = self.queue.requests.recv() => match request {
                Some(request) => Due::Asked(request),
                None => std::future::pending().await,
            },
            verdict = judged => Due::Judged(verdict),
        }
    }

    /// Reads the files again.
    async fn read(&self) -> Result<reload::Read, ConfigError> {
        let nowhere = || ConfigError::new("", "the configuration is in no file");
        let (editor, running) = (self.editor.clone().ok_or_else(nowhere)?, self.good.0.clone());
        let read = tokio::task::spawn_blocking(move || editor.read_again(&running)).await;
        read.unwrap_or_else(|failure| Err(ConfigError::new("", format!("the file could not be read: {failure}"))))
    }

    /// What the last change was about.
    fn changed(&self) -> String {
        self.status().changed.join(", ")
    }

    fn set_status(&self, change: impl FnOnce(&mut ConfigStatus)) {
        self.queue.status.send_modify(change);
    }

    fn status(&self) -> ConfigStatus {
        self.queue.status.borrow().clone()
    }

    /// Keeps the text of the last good one on the system disk, and what was changed.
    async fn keep(&self) {
        let Some(text) = self.good.1.clone() else { return };
        let (kept, editor) = (self.kept.clone(), self.editor.clone());
        let keep = move || {
            kept.save(&text);
            editor.inspect(|editor| editor.confirm(Some(&text)));
        };
        drop(tokio::task::spawn_blocking(keep).await);
    }

    /// Calls `act` with the files, on a thread that may block.
    async fn with_files<T: Send + 'static>(
        &self,
        act: impl FnOnce(Editor) -> Result<T, EditRefusal> + Send + 'static,
    ) -> Result<T, EditRefusal> {
        let nowhere = || EditRefusal::NotWritten("the configuration is in no file that could be changed".to_owned());
        let editor = self.editor.clone().ok_or_else(nowhere)?;
        let broken = |failure| Err(EditRefusal::NotWritten(format!("the files cannot be used: {failure}")));
        tokio::task::spawn_blocking(move || act(editor)).await.unwrap_or_else(broken)
    }

    /// The files say again what they said before what is not confirmed.
    async fn put_back(&self) {
        let undo = |editor: Editor| {
            editor.undo();
            Ok(())
        };
        // Without files there is nothing to put back.
        let _ = self.with_files(undo).await;
    }
}

impl App {
    pub(super) async fn carry_out(&mut self, due: Due) {
        match due {
            // Callers may be gone.
            Due::Asked(ConfigRequest::Settings(SettingsRequest { camera, reply })) => {
                let _ = reply.send(self.reloads.with_files(move |editor| editor.settings(&camera)).await);
            }
            Due::Asked(ConfigRequest::Source(SourceRequest { camera, source, reply })) => {
                let source = move |editor: Editor| editor.source(camera.as_deref(), &source);
                let _ = reply.send(self.reloads.with_files(source).await);
            }
            Due::Asked(ConfigRequest::Edit(EditRequest { edit, revision, reply })) => {
                systemd::reloading();
                let outcome = self.edit(edit, revision).await;
                systemd::reloaded();
                let _ = reply.send(outcome);
            }
            Due::Asked(ConfigRequest::Reload(request)) => {
                systemd::reloading();
                systemd::status(&self.cameras.status_line());
                self.reload().await;
                systemd::reloaded();
                if let Some(reply) = request.reply {
                    let _ = reply.send(self.reloads.status());
                }
            }
            Due::Judged(verdict) => self.end_trial(verdict).await,
        }
    }

    /// Reads the file again, and puts to use what it changes.
    async fn reload(&mut self) {
        let tried_at = self.shared.clock.wall();
        self.reloads.set_status(|status| status.tried_at = tried_at);
        let Some(file) = self.reloads.file.clone() else {
            return self.refuse(ConfigError::new("", "the configuration is in no file that could be read again"));
        };
        let read = match self.reloads.read().await {
            Ok(read) => read,
            Err(error) => return self.refuse(error),
        };
        let change = Change::between(&self.config.borrow(), read.config);
        let running = self.config.borrow().clone();
        let outcome = match prepare(&running, &change).await {
            Ok(()) => self.put_to_use(change, read.text.clone()).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {
                info!(file = %file.display(), changed = self.reloads.changed(), "the configuration was read again")
            }
            Err(error) => self.refuse(error.found_in(&read.text, Some(&file))),
        }
    }

    /// Changes a camera: checked, written, in use, on trial.
    async fn edit(&mut self, edit: CameraEdit, revision: Option<String>) -> Result<Edited, EditRefusal> {
        let draft = self.reloads.with_files(move |editor| editor.draft(edit, revision.as_deref())).await?;
        let running = self.config.borrow().clone();
        let change = Change::between(&running, draft.read.config.clone());
        if draft.is_same && change.is_empty() {
            let revision = self.reloads.with_files(|editor| editor.revision()).await?;
            return Ok(Edited { revision, file: None, status: self.reloads.status() });
        }
        prepare(&running, &change).await.map_err(|error| refusal(&error))?;
        let text = draft.read.text.clone();
        let written = self.reloads.with_files(move |editor| editor.write(&draft)).await?;
        let tried_at = self.shared.clock.wall();
        self.reloads.set_status(|status| status.tried_at = tried_at);
        if let Err(error) = self.put_to_use(change, text).await {
            self.reloads.put_back().await;
            return Err(refusal(&error));
        }
        let (file, changed) = (written.file.display().to_string(), self.reloads.changed());
        info!(file, changed, "the configuration was changed by the page or the API");
        Ok(Edited { revision: written.revision, file: Some(file), status: self.reloads.status() })
    }

    /// Puts what `change` is about to use, on trial; `text` says all of it. A change that cannot be used leaves what was.
    async fn put_to_use(&mut self, change: Change, text: String) -> Result<(), ConfigError> {
        let (parts, needs_restart) = (change.parts.clone(), change.needs_restart.clone());
        let subjects = self.subjects(&Change::between(&self.reloads.good.0, change.config.clone()));
        if let Err(failure) = self.apply_destinations(&change).await {
            return Err(failure.downcast().unwrap_or_else(|failure| ConfigError::new("", format!("{failure:#}"))));
        }
        if let Err(failure) = self.apply_rest(change).await {
            self.undo(&format!("{failure:#}")).await;
            return Ok(());
        }
        if !needs_restart.is_empty() {
            warn!(
                keys = needs_restart.join(", "),
                "these keys are read at the start only: restart outpost for them to hold"
            );
        }
        self.reloads.text = Some(text);
        let (now, within) = (self.shared.clock.mono(), self.config.borrow().reload.confirm_within);
        self.reloads.trial = Some((Trial::new(now, within, subjects), self.probes()));
        self.reloads.set_status(|status| {
            *status = ConfigStatus {
                state: ConfigState::Confirming,
                file: status.file.take(),
                read_at: status.tried_at,
                tried_at: status.tried_at,
                changed: parts,
                needs_restart,
                ..ConfigStatus::default()
            };
        });
        if let Some(verdict) = verdict(&self.reloads.trial) {
            self.end_trial(verdict).await;
        }
        Ok(())
    }

    /// The file is not put to use; what is in use goes on.
    fn refuse(&mut self, error: ConfigError) {
        error!(error = %error, "the configuration cannot be used, the one before goes on");
        systemd::status("the configuration cannot be used, the one before goes on: see the log");
        let is_on_trial = self.reloads.trial.is_some();
        self.reloads.set_status(|status| {
            // A trial goes on, and has its own end.
            if !is_on_trial {
                status.state = ConfigState::Refused;
            }
            status.problems = reload::problems(&error);
            status.reason = Some(error.to_string());
        });
    }

    /// What has to come up, and whether it works now.
    fn subjects(&self, change: &Change) -> Vec<(Subject, bool)> {
        let cameras = change.cameras.changed.iter().chain(&change.cameras.added).cloned().map(Subject::Camera);
        let destinations = change.config.outlets().into_iter().filter(|to| change.is_about(to));
        let destinations = destinations.map(|to| Subject::Destination(to.as_str().to_owned()));
        // Where several changes follow one another, what worked before the first counts.
        let probes = self.probes();
        let was_up = |subject: &Subject| {
            let known = self.reloads.trial.as_ref().and_then(|(trial, _)| trial.was_up(subject));
            known.unwrap_or_else(|| probes.find(subject) == Finding::Up)
        };
        cameras.chain(destinations).map(|subject| (subject.clone(), was_up(&subject))).collect()
    }

    /// What the cameras that run now, and the destinations, are looked at with.
    fn probes(&self) -> Probes {
        let Shared { clock, health, .. } = &self.shared;
        Probes { clock: clock.clone(), health: health.clone(), cameras: self.cameras.receptions() }
    }

    /// Puts the destinations of `change` to use, or leaves them as they are.
    async fn apply_destinations(&mut self, change: &Change) -> Result<()> {
        let before = self.config.borrow().clone();
        let Err(failure) = self.volumes.reconfigure(&Arc::new(change.config.clone())).await else { return Ok(()) };
        if let Err(again) = self.volumes.reconfigure(&before).await {
            error!(error = format!("{again:#}"), "an outlet that worked before cannot be started again");
        }
        Err(failure)
    }

    /// Puts all but the destinations of `change` to use. What it is not about goes on.
    async fn apply_rest(&mut self, change: Change) -> Result<()> {
        let Change { config, cameras, page, load, .. } = change;
        let config = Arc::new(config);
        self.config.send_replace(config.clone());
        let leaving: Vec<String> = cameras.removed.iter().chain(&cameras.changed).cloned().collect();
        self.cameras.stop(&leaving, &self.shared).await;
        self.models.want().await;
        self.start_cameras(&config, Duration::ZERO).await?;
        self.configured.send_replace(Arc::new(configured(&config, &self.cameras)));
        // What is replaced is asked to stop by being dropped.
        if load {
            self.governor = start_governor(&config, &self.shared, &self.stop.outlets);
        }
        if page {
            // The old one may be what asked for the change: it may finish its answers.
            self.page = Some(start_page(&config, &self.services, &self.shared, &self.stop.outlets));
        }
        Ok(())
    }

    async fn end_trial(&mut self, verdict: Verdict) {
        let remark = match verdict {
            Verdict::Undo(reason) => return self.undo(&reason).await,
            Verdict::Confirmed(remark) => remark,
        };
        self.reloads.trial = None;
        self.reloads.good = (self.config.borrow().clone(), self.reloads.text.clone());
        self.reloads.keep().await;
        info!(remark, "the changed configuration is confirmed");
        self.reloads.set_status(|status| {
            // Unless the file was changed again meanwhile, and refused.
            if status.problems.is_empty() {
                (status.state, status.reason) = (ConfigState::InUse, remark);
            } else {
                status.state = ConfigState::Refused;
            }
        });
    }

    /// Puts the last good configuration to use again.
    async fn undo(&mut self, reason: &str) {
        error!(reason, "the changed configuration is undone, the one before is used again");
        systemd::status("a changed configuration was undone: see the log");
        self.reloads.trial = None;
        self.reloads.put_back().await;
        let (good, text) = self.reloads.good.clone();
        let change = Change::between(&self.config.borrow(), (*good).clone());
        let applied = match self.apply_destinations(&change).await {
            Ok(()) => self.apply_rest(change).await,
            Err(failure) => self.apply_rest(change).await.and(Err(failure)),
        };
        if let Err(failure) = applied {
            // It worked before, so what is in the way is not the configuration.
            error!(error = format!("{failure:#}"), "not all of the configuration before can be used again");
        }
        self.reloads.text = text;
        let at = self.shared.clock.wall();
        self.reloads.set_status(|status| {
            (status.state, status.reason) = (ConfigState::RolledBack, Some(reason.to_owned()));
            (status.read_at, status.needs_restart) = (at, Vec::new());
        });
    }
}

/// What has become of a trial; `None` while it goes on, or where there is none.
fn verdict(trial: &Option<(Trial, Probes)>) -> Option<Verdict> {
    let (trial, probes) = trial.as_ref()?;
    trial.judge(probes.clock.mono(), |subject| probes.find(subject))
}

/// Finds out what can be before anything is changed.
async fn prepare(running: &Config, change: &Change) -> Result<(), ConfigError> {
    if change.page {
        let error = |key: &str, failure: anyhow::Error| ConfigError::new(key, format!("{failure:#}"));
        let (before, after) = (&running.web, &change.config.web);
        web::check_address(before, after).await.map_err(|failure| error("web.listen", failure))?;
        web::check_certificate(after).await.map_err(|failure| error("web.tls.certificate", failure))?;
    }
    cameras::check_names(&change.config, &change.cameras)
}
