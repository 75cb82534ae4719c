//! Logs: journald when systemd started us, readable on a terminal, JSON on request.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use anyhow::{Result, anyhow};
use clap::ValueEnum;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

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
        LogFormat::Json => tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr).boxed(),
        LogFormat::Journal => journal().map_err(|e| anyhow!("the systemd journal does not answer: {e}"))?,
    };
    tracing_subscriber::registry().with(filter).with(layer).try_init().map_err(|e| anyhow!("set up logging: {e}"))
}

/// Says why the program ends, on standard error; the journal takes it for the error that it is.
pub fn complain(text: &str) {
    let level = if is_journal(std::io::stderr()) { "<3>" } else { "" };
    for line in text.lines() {
        eprintln!("{level}{line}");
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
    format!("warn,outpost={level},retina=error,tract_core=error,tract_onnx=error,sled=error")
}

fn text() -> BoxedLayer {
    tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .boxed()
}

fn journal() -> std::io::Result<BoxedLayer> {
    Ok(tracing_journald::layer()?.with_syslog_identifier("outpost".to_owned()).boxed())
}
