//! What people look at when something is wrong: parts, the log, and all of it in one file.

use std::sync::Arc;

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

use super::context::Context;
use super::status::StatusService;
use crate::status::{BoxStatus, Concern};
use crate::telemetry::{self, Behind, LineLevel, LogLine, LogPosition};

/// A part of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartStatus {
    /// Its name.
    pub name: String,
    /// Seconds since it last showed progress.
    pub silent_for_s: u64,
    /// Whether that is longer than it may take.
    pub late: bool,
    /// Whether the daemon is restarted without it.
    pub critical: bool,
}

/// All that helps someone who is not at the box. Holds no passwords and no keys.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnostics {
    /// When it was made.
    pub made_at: Timestamp,
    /// Operating system and kernel.
    pub system: String,
    /// What is not as it should be.
    pub concerns: Vec<Concern>,
    /// The box.
    pub status: BoxStatus,
    /// Its parts.
    pub parts: Vec<PartStatus>,
    /// The newest lines of the log.
    pub log: Vec<LogLine>,
}

/// Knows how the daemon itself is.
#[derive(Clone)]
pub struct DiagnosticsService {
    context: Arc<Context>,
    status: StatusService,
}

impl DiagnosticsService {
    pub(super) fn new(context: Arc<Context>, status: StatusService) -> Self {
        Self { context, status }
    }

    /// The parts that show signs of life, in the order of their names.
    pub fn parts(&self) -> Vec<PartStatus> {
        let mut parts: Vec<PartStatus> = self
            .context
            .heartbeats
            .parts()
            .into_iter()
            .map(|part| PartStatus {
                name: part.name,
                silent_for_s: part.silent_for.as_secs(),
                late: part.is_late,
                critical: part.critical,
            })
            .collect();
        parts.sort_by(|one, other| one.name.cmp(&other.name));
        parts
    }

    /// Lines of the log behind number `seq` that matter at least as much as `least`; the newest `limit`, oldest first.
    pub fn log(&self, seq: u64, least: LineLevel, limit: usize) -> Vec<LogLine> {
        telemetry::recent(seq, least, limit)
    }

    /// The position behind the last line of the log.
    pub fn log_position(&self) -> LogPosition {
        telemetry::position()
    }

    /// What follows line `seq` of the log: the oldest `limit` lines that matter at least as much as `least`.
    pub fn log_behind(&self, seq: u64, least: LineLevel, limit: usize) -> Behind {
        telemetry::behind(seq, least, limit)
    }

    /// Changes with each line of the log.
    pub fn log_written(&self) -> watch::Receiver<u64> {
        telemetry::written()
    }

    /// All of it.
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn all(&self) -> Result<Diagnostics> {
        let status = self.status.read().await?;
        let system = tokio::task::spawn_blocking(system).await?;
        Ok(Diagnostics {
            made_at: self.context.clock.wall(),
            system,
            concerns: status.concerns(),
            status,
            parts: self.parts(),
            log: self.log(0, LineLevel::Debug, usize::MAX).into_iter().map(without_setup_secret).collect(),
        })
    }
}

/// The set-up link lets its reader in for as long as there is no user.
fn without_setup_secret(mut line: LogLine) -> LogLine {
    const SECRET: &str = "#setup=";
    if let Some(at) = line.text.find(SECRET) {
        line.text.truncate(at + SECRET.len());
        line.text.push('…');
    }
    line
}

fn system() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let release = read("/etc/os-release");
    let name =
        release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown").trim_matches('"');
    format!("{name}, {}, {}", read("/proc/sys/kernel/osrelease").trim(), std::env::consts::ARCH)
}
