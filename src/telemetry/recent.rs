//! The last lines of the log, in memory, for the page: also where the journal is out of reach.

use std::collections::VecDeque;
use std::sync::LazyLock;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
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
}

/// The log is one for the process.
static LINES: LazyLock<Mutex<Lines>> = LazyLock::new(Mutex::default);

/// Lines behind number `seq` that matter at least as much as `least`, the oldest first; the newest `limit` of them.
pub fn recent(seq: u64, least: LineLevel, limit: usize) -> Vec<LogLine> {
    LINES.lock().after(seq, least, limit)
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
        LINES.lock().push(Timestamp::now(), LineLevel::of(*event.metadata().level()), text);
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
