//! Logs: journald when systemd started us, readable on a terminal, JSON on request.

mod recent;

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use anyhow::{Result, anyhow};
use clap::ValueEnum;
use tracing::field::{Field, Value, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Scope};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

#[cfg(test)]
pub(crate) use recent::note;
pub use recent::{Behind, LineLevel, LogLine, LogPosition, behind, position, recent, written};

/// Where log lines go and how they look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// journald under systemd, else text.
    #[default]
    Auto,
    /// Lines for people, on standard error.
    Text,
    /// One JSON object a line, on standard error.
    Json,
    /// The systemd journal, with fields.
    Journal,
}

/// Sets up logging for the whole process. `RUST_LOG` overrides `level`.
///
/// # Errors
/// When the filter does not parse, or when the journal was asked for and does not answer.
pub fn init(format: LogFormat, level: &str) -> Result<()> {
    let spec = std::env::var("RUST_LOG").unwrap_or_else(|_| default_filter(level));
    let filter = EnvFilter::try_new(&spec).map_err(|e| anyhow!("log filter {spec:?} is not valid: {e}"))?;
    let layer = match format {
        LogFormat::Auto if is_journal(std::io::stderr()) => journal().unwrap_or_else(|_| text()),
        LogFormat::Auto | LogFormat::Text => text(),
        LogFormat::Json => {
            tracing_subscriber::fmt::layer().log_internal_errors(false).json().with_writer(std::io::stderr).boxed()
        }
        LogFormat::Journal => journal().map_err(|e| anyhow!("the systemd journal does not answer: {e}"))?,
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(layer)
        .with(recent::Recent)
        .try_init()
        .map_err(|e| anyhow!("set up logging: {e}"))
}

/// Says why the program ends, on standard error; the journal takes it for the error that it is.
pub fn complain(text: &str) {
    let level = if is_journal(std::io::stderr()) { "<3>" } else { "" };
    for line in text.lines() {
        // Where it cannot be said, the exit code still can.
        let _ = writeln!(std::io::stderr(), "{level}{line}");
    }
}

/// Whether a stream leads to the journal. systemd names that stream in JOURNAL_STREAM by device and inode; a program
/// further down inherits the variable, though its own output may go elsewhere.
fn is_journal(stream: impl AsFd) -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    let file = stream.as_fd().try_clone_to_owned().map(std::fs::File::from);
    let ours = file.and_then(|file| file.metadata());
    ours.is_ok_and(|ours| named == format!("{}:{}", ours.dev(), ours.ino()))
}

type BoxedLayer =
    Box<dyn Layer<tracing_subscriber::layer::Layered<EnvFilter, tracing_subscriber::Registry>> + Send + Sync>;

/// Our own level; libraries speak only when something is wrong.
fn default_filter(level: &str) -> String {
    format!("warn,outpost={level},retina=error,tract_core=error,tract_onnx=error,sled=error,str0m=error")
}

fn text() -> BoxedLayer {
    tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // It would say on the same stream that it cannot write there, and end the thread over it.
        .log_internal_errors(false)
        .boxed()
}

fn journal() -> std::io::Result<BoxedLayer> {
    Ok(Readable(tracing_journald::layer()?.with_syslog_identifier("outpost".to_owned())).boxed())
}

/// The journal's layer with all fields in the message too. They stay fields that one can filter by, but what
/// `journalctl` shows is the message alone, and "task failed" without which and why does not help.
struct Readable<L>(L);

/// Fields of a span, as words.
struct SpanWords(String);

/// Keeps the words of a span with it.
fn note_span<S>(attributes: &Attributes<'_>, id: &Id, ctx: &Context<'_, S>)
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let mut values = Values::default();
    attributes.record(&mut values);
    if let (Some(span), false) = (ctx.span(id), values.0.is_empty()) {
        let words = SpanWords(format!("{}{}", span.name(), values.words()));
        span.extensions_mut().replace(words);
    }
}

impl<S, L> Layer<S> for Readable<L>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    L: Layer<S>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        note_span(attributes, id, &ctx);
        self.0.on_new_span(attributes, id, ctx);
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, ctx: Context<'_, S>) {
        self.0.on_record(id, record, ctx);
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let mut values = Values::default();
        event.record(&mut values);
        let mut words = values.words();
        for span in ctx.event_scope(event).into_iter().flat_map(Scope::from_root) {
            if let Some(SpanWords(span)) = span.extensions().get() {
                words += &format!(" ({span})");
            }
        }
        if let Some(message) = values.0.iter_mut().find(|(field, _)| field.name() == MESSAGE) {
            message.1 += &words;
        }
        // The same event with another message: its callsite knows the order of the fields.
        let fields = event.metadata().fields();
        let value = |field: Field| values.0.iter().find(|(own, _)| *own == field).map(|(_, text)| text as &dyn Value);
        let ordered: Vec<Option<&dyn Value>> = fields.iter().map(value).collect();
        self.0.on_event(&Event::new(event.metadata(), &fields.value_set_all(&ordered)), ctx);
    }
}

/// Name of the field that holds an event's message.
const MESSAGE: &str = "message";

/// Values of fields as text.
#[derive(Default)]
struct Values(Vec<(Field, String)>);

impl Values {
    /// All but the message.
    fn words(&self) -> String {
        let others = self.0.iter().filter(|(field, _)| field.name() != MESSAGE);
        others.map(|(field, text)| format!(" {}={text}", field.name())).collect()
    }
}

impl Visit for Values {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.clone(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push((field.clone(), format!("{value:?}")));
    }
}
