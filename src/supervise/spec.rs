//! How a long-lived part runs, and what is done when it fails or hangs.

use std::sync::Arc;
use std::time::Duration;

use super::{Backoff, Heartbeat, Heartbeats};

/// Threads of one part that were given up and may be around at once; each holds memory, and a core if it spins.
pub const MOST_ABANDONED: usize = 3;

/// A silent part is looked at this often, or four times within its deadline.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What to do when a part ends without a stop request.
#[derive(Clone, Debug)]
pub enum Restart {
    /// Start it again after a pause, for ever.
    Always(Backoff),
    /// Nothing works without it: the whole daemon stops, so that the service manager starts it afresh.
    Fatal,
    /// It is logged, and the rest goes on without it.
    Never,
}

/// What to do when a part misses the deadline of its heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hang {
    /// It is logged.
    Report,
    /// Another run takes over. A task is dropped where it waits. A thread cannot be ended from outside: it loses its state
    /// and is left alone. While `most` such threads are around, none is started, and the part becomes critical.
    Replace {
        /// Threads that may be around without their state.
        most: usize,
    },
    /// The watchdog is not fed any more, and the service manager starts the process afresh.
    Critical,
}

/// Name and policies of one part.
#[derive(Clone, Debug)]
pub struct Spec {
    pub(super) name: String,
    pub(super) restart: Restart,
    pub(super) hang: Hang,
    pub(super) ends_within: Option<Duration>,
    pub(super) consequence: Option<&'static str>,
    part: Option<&'static str>,
    camera: Option<Arc<str>>,
    thread_name: Option<String>,
    deadline: Option<Duration>,
}

impl Spec {
    /// A part called `name` in the log, the metrics and the list of heartbeats. It is started again after 1 s to 60 s,
    /// and has no heartbeat.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            restart: Restart::Always(Backoff::for_connections()),
            hang: Hang::Report,
            ends_within: None,
            consequence: None,
            part: None,
            camera: None,
            thread_name: None,
            deadline: None,
        }
    }

    /// The part `part` of `camera`: both are fields of its log lines.
    pub fn of_camera(part: &'static str, camera: &Arc<str>) -> Self {
        Self { part: Some(part), camera: Some(camera.clone()), ..Self::new(format!("{part} {camera}")) }
    }

    /// With another policy for its end.
    #[must_use]
    pub fn restart(self, restart: Restart) -> Self {
        Self { restart, ..self }
    }

    /// It shows life at least every `deadline`.
    #[must_use]
    pub fn heartbeat(self, deadline: Duration, hang: Hang) -> Self {
        Self { deadline: Some(deadline), hang, ..self }
    }

    /// The name of its thread, of which the system shows 15 bytes; otherwise it is that of the part.
    #[must_use]
    pub fn thread_name(self, name: impl Into<String>) -> Self {
        Self { thread_name: Some(name.into()), ..self }
    }

    /// What follows from a restart, in words for the log. Restarts are logged as errors then.
    #[must_use]
    pub fn consequence(self, consequence: &'static str) -> Self {
        Self { consequence: Some(consequence), ..self }
    }

    /// A thread that is still at work so long after the stop request is left behind without its state; otherwise that
    /// happens after the grace of its supervisor.
    #[must_use]
    pub fn ends_within(self, limit: Duration) -> Self {
        Self { ends_within: Some(limit), ..self }
    }

    pub(super) fn os_thread_name(&self) -> &str {
        self.thread_name.as_deref().unwrap_or(&self.name)
    }

    /// The field `camera` of its log lines.
    pub(super) fn camera(&self) -> Option<&str> {
        self.camera.as_deref()
    }

    /// The field `part` of its log lines.
    pub(super) fn part(&self) -> &str {
        self.part.unwrap_or(&self.name)
    }

    /// How often a part is looked at that is replaced when it hangs.
    pub(super) fn look_every(&self) -> Option<Duration> {
        self.deadline.filter(|_| matches!(self.hang, Hang::Replace { .. })).map(|deadline| LOOK_EVERY.min(deadline / 4))
    }

    /// A heartbeat for the next run, which counts as having beaten now.
    pub fn register(&self, heartbeats: &Heartbeats) -> Heartbeat {
        match self.deadline {
            Some(deadline) => heartbeats.register(self.name.clone(), deadline, self.hang == Hang::Critical),
            None => heartbeats.detached(),
        }
    }
}

/// Why a part ended, with what its supervisor should know of it. Other errors are logged, and count as failures of a part
/// that did not work yet.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// In words for the operator.
    pub reason: String,
    /// The part has logged it.
    pub is_logged: bool,
    /// The part did its work before, however short: it is started again after the shortest pause.
    pub had_worked: bool,
}
