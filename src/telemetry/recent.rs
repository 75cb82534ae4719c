//! The last lines of the log, in memory, for the page: also where the journal is out of reach.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::sync::LazyLock;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, Scope};

use super::{MESSAGE, SpanWords, Values, note_span};

/// Lines that are kept.
const KEPT: usize = 1000;
/// Bytes of a line that are kept.
const LONGEST: usize = 2000;

/// How much a line matters, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LineLevel {
    /// Something failed.
    Error,
    /// Something is not as it should be.
    Warn,
    /// What the daemon does.
    Info,
    /// What developers want to know.
    Debug,
}

impl LineLevel {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Error, Self::Warn, Self::Info, Self::Debug];

    /// The name used by the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    fn of(level: Level) -> Self {
        match level {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warn,
            Level::INFO => Self::Info,
            _ => Self::Debug,
        }
    }
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// Its number since the start, from 1.
    pub seq: u64,
    /// When it was written, by the box's wall clock.
    pub time: Timestamp,
    /// How much it matters.
    pub level: LineLevel,
    /// Message, fields and the spans that it lies in.
    pub text: String,
}

/// Where a reader of the log is. Written `<run>-<seq>`, the run in hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPosition {
    /// The run of the daemon; each numbers its lines from 1.
    run: u64,
    /// Number of the line that was read last; 0: none.
    pub seq: u64,
}

impl LogPosition {
    /// The position at line `seq` of the same run.
    #[must_use]
    pub fn at(self, seq: u64) -> Self {
        Self { seq, ..self }
    }

    /// Whether `earlier` is a position of the same run, and none behind this one.
    pub fn follows(self, earlier: Self) -> bool {
        self.run == earlier.run && earlier.seq <= self.seq
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.run, self.seq)
    }
}

/// A text that is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPosition;

impl FromStr for LogPosition {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let (run, seq) = text.split_once('-').ok_or(NoPosition)?;
        let run = u64::from_str_radix(run, 16).map_err(|_| NoPosition)?;
        Ok(Self { run, seq: seq.parse().map_err(|_| NoPosition)? })
    }
}

/// What follows a position.
#[derive(Debug, PartialEq, Eq)]
pub struct Behind {
    /// Lines of whatever level that were there and are not kept any more.
    pub lost: u64,
    /// The lines, the oldest first.
    pub lines: Vec<LogLine>,
    /// Number of the line that was looked at last, wanted or not.
    pub reached: u64,
}

/// The last lines.
#[derive(Debug, Default)]
struct Lines {
    last: u64,
    kept: VecDeque<LogLine>,
}

impl Lines {
    fn push(&mut self, time: Timestamp, level: LineLevel, mut text: String) {
        if text.len() > LONGEST {
            text.truncate(text.floor_char_boundary(LONGEST));
            text.push('…');
        }
        self.last += 1;
        self.kept.push_back(LogLine { seq: self.last, time, level, text });
        if self.kept.len() > KEPT {
            self.kept.pop_front();
        }
    }

    fn after(&self, seq: u64, least: LineLevel, limit: usize) -> Vec<LogLine> {
        let wanted = self.kept.iter().rev().take_while(|line| line.seq > seq).filter(|line| line.level <= least);
        let mut lines: Vec<LogLine> = wanted.take(limit).cloned().collect();
        lines.reverse();
        lines
    }

    fn behind(&self, seq: u64, least: LineLevel, limit: usize) -> Behind {
        let oldest = self.last - self.kept.len() as u64;
        let from = seq.max(oldest).min(self.last);
        let skipped = usize::try_from(from - oldest).unwrap_or(usize::MAX);
        let (mut lines, mut reached) = (Vec::new(), from);
        for line in self.kept.iter().skip(skipped) {
            if line.level <= least {
                if lines.len() == limit {
                    break;
                }
                lines.push(line.clone());
            }
            reached = line.seq;
        }
        Behind { lost: from.saturating_sub(seq), lines, reached }
    }
}

/// The log is one for the process.
static LINES: LazyLock<Mutex<Lines>> = LazyLock::new(Mutex::default);

/// Lines behind number `seq` that matter at least as much as `least`, the oldest first; the newest `limit` of them.
pub fn recent(seq: u64, least: LineLevel, limit: usize) -> Vec<LogLine> {
    LINES.lock().after(seq, least, limit)
}

/// The number of the last line, for all that follow the log.
static WRITTEN: LazyLock<watch::Sender<u64>> = LazyLock::new(|| watch::Sender::new(0));

/// This run of the daemon.
static RUN: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));

/// The position behind the last line.
pub fn position() -> LogPosition {
    LogPosition { run: *RUN, seq: LINES.lock().last }
}

/// What follows line `seq`: the oldest `limit` lines that matter at least as much as `least`.
pub fn behind(seq: u64, least: LineLevel, limit: usize) -> Behind {
    LINES.lock().behind(seq, least, limit)
}

/// Changes with each line: the number of the last one.
pub fn written() -> watch::Receiver<u64> {
    WRITTEN.subscribe()
}

/// Keeps a line, and wakes all that follow the log.
pub(crate) fn note(level: LineLevel, text: String) {
    let last = {
        let mut lines = LINES.lock();
        lines.push(Timestamp::now(), level, text);
        lines.last
    };
    WRITTEN.send_replace(last);
}

/// Keeps what goes into the log.
pub(super) struct Recent;

impl<S> Layer<S> for Recent
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attributes: &tracing::span::Attributes<'_>, id: &tracing::span::Id, ctx: Context<'_, S>) {
        note_span(attributes, id, &ctx);
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let mut values = Values::default();
        event.record(&mut values);
        let mut text: String =
            values.0.iter().filter(|(field, _)| field.name() == MESSAGE).map(|(_, text)| text.as_str()).collect();
        text += &values.words();
        for span in ctx.event_scope(event).into_iter().flat_map(Scope::from_root) {
            if let Some(SpanWords(span)) = span.extensions().get() {
                text += &format!(" ({span})");
            }
        }
        note(LineLevel::of(*event.metadata().level()), text);
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn lines_are_kept_with_their_fields_and_spans() {
        let subscriber = tracing_subscriber::registry().with(Recent);
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("camera", name = "yard 7f3a");
            let _entered = span.enter();
            tracing::warn!(reason = "no route", "lost");
            tracing::debug!("a detail of yard 7f3a");
        });
        // Other tests log too.
        let lines = recent(0, LineLevel::Debug, KEPT);
        let ours: Vec<&LogLine> = lines.iter().filter(|line| line.text.contains("yard 7f3a")).collect();
        assert_eq!(ours.iter().map(|line| line.level).collect::<Vec<_>>(), [LineLevel::Warn, LineLevel::Debug]);
        assert_eq!(ours[0].text, "lost reason=no route (camera name=yard 7f3a)");
        let less = recent(ours[0].seq - 1, LineLevel::Warn, KEPT);
        assert!(less.iter().any(|line| line.seq == ours[0].seq) && less.iter().all(|line| line.seq != ours[1].seq));
    }

    #[test]
    fn a_reader_that_is_too_slow_hears_how_many_lines_it_lost() {
        let mut lines = Lines::default();
        assert_eq!(lines.behind(0, LineLevel::Info, 9), Behind { lost: 0, lines: Vec::new(), reached: 0 });
        for n in 0..KEPT as u64 + 5 {
            let level = if n % 2 == 0 { LineLevel::Info } else { LineLevel::Debug };
            lines.push(Timestamp::UNIX_EPOCH, level, n.to_string());
        }
        let numbers = |seq, limit| {
            let behind = lines.behind(seq, LineLevel::Info, limit);
            (behind.lost, behind.lines.iter().map(|line| line.seq).collect::<Vec<_>>(), behind.reached)
        };
        assert_eq!(numbers(2, 2), (3, vec![7, 9], 10));
        assert_eq!(numbers(10, 1), (0, vec![11], 12));
        assert_eq!(numbers(1001, 9), (0, vec![1003, 1005], 1005));
        assert_eq!(numbers(1005, 9), (0, Vec::new(), 1005));
        assert_eq!(numbers(2000, 9), (0, Vec::new(), 1005), "a number of another run");
    }

    #[test]
    fn a_position_is_read_as_it_is_written_and_belongs_to_its_run() {
        let now = position();
        assert_eq!(now.to_string().parse(), Ok(now));
        assert!(now.follows(now) && !now.follows(now.at(now.seq + 1)));
        assert!(!now.follows(LogPosition { run: now.run.wrapping_add(1), seq: 0 }));
        for wrong in ["", "7", "-", "x-1", "1-x", "1--1"] {
            assert_eq!(wrong.parse::<LogPosition>(), Err(NoPosition), "{wrong}");
        }
    }

    #[test]
    fn their_number_and_length_are_bounded() {
        let mut lines = Lines::default();
        for n in 0..KEPT + 5 {
            lines.push(Timestamp::UNIX_EPOCH, LineLevel::Info, format!("{n} {}", "ä".repeat(LONGEST)));
        }
        let kept = lines.after(0, LineLevel::Info, usize::MAX);
        assert_eq!((kept.len(), kept[0].seq, kept[KEPT - 1].seq), (KEPT, 6, 1005));
        assert!(kept.iter().all(|line| line.text.len() <= LONGEST + '…'.len_utf8()));
        assert_eq!(lines.after(1003, LineLevel::Info, 9).len(), 2);
        assert_eq!(lines.after(0, LineLevel::Info, 2)[0].seq, 1004, "the newest");
    }
}
