//! `outpost queue`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use super::daemon::{Daemon, bytes};
use super::{print, print_json};
use crate::config::Config;
use crate::web::{QueueAnswer, QueueCommand, QueueItem};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration of the daemon.
    #[arg(long, short, global = true, default_value_os_t = Config::default_path())]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What waits, in the order in which it goes; with --dead what was given up.
    List {
        #[command(flatten)]
        queue: Queue,
        /// What was given up.
        #[arg(long)]
        dead: bool,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// One JSON object per item.
        #[arg(long)]
        json: bool,
    },
    /// One item, with all that is known of it, as JSON.
    Show {
        #[command(flatten)]
        queue: Queue,
        /// Its number.
        seq: u64,
    },
    /// Try again now: one item, or everything that was given up.
    Retry {
        #[command(flatten)]
        queue: Queue,
        #[command(flatten)]
        which: Which,
    },
    /// Deliver no more: one item, or everything that was given up. Files stay on the box, and are shown as dropped.
    Drop {
        #[command(flatten)]
        queue: Queue,
        #[command(flatten)]
        which: Which,
    },
    /// Send nothing until it is resumed, over restarts too.
    Pause {
        #[command(flatten)]
        queue: Queue,
    },
    /// Send again.
    Resume {
        #[command(flatten)]
        queue: Queue,
    },
}

#[derive(Debug, Args)]
struct Queue {
    /// The queue: upload/NAME or mqtt.
    #[arg(long, short)]
    queue: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The item's number.
    seq: Option<u64>,
    /// All that were given up.
    #[arg(long)]
    all_dead: bool,
}

pub(super) fn main(arguments: &Arguments) -> Result<()> {
    let daemon = Daemon::new(&arguments.config)?;
    super::runtime()?.block_on(run(&daemon, &arguments.command))
}

async fn run(daemon: &Daemon, command: &Command) -> Result<()> {
    match command {
        Command::List { queue, dead, limit, json } => list(daemon, queue, *dead, *limit, *json).await,
        Command::Show { queue, seq } => show(daemon, queue, *seq).await,
        Command::Retry { queue, which } => order(daemon, "retry", queue, which.seq).await,
        Command::Drop { queue, which } => order(daemon, "drop", queue, which.seq).await,
        Command::Pause { queue } => order(daemon, "pause", queue, None).await,
        Command::Resume { queue } => order(daemon, "resume", queue, None).await,
    }
}

/// The queue that was named, or the only one that uploads.
async fn name_of(daemon: &Daemon, queue: &Queue) -> Result<String> {
    if let Some(name) = &queue.queue {
        return Ok(name.clone());
    }
    let status = daemon.get("status", &[]).await?;
    let names = status["outlets"].as_array().into_iter().flatten().filter_map(|outlet| outlet["name"].as_str());
    let names: Vec<&str> = names.collect();
    let uploads: Vec<&str> = names.iter().copied().filter(|name| name.starts_with("upload/")).collect();
    match (uploads.as_slice(), names.as_slice()) {
        ([only], _) | ([], [only]) => Ok((*only).to_owned()),
        (_, []) => bail!("nothing is delivered anywhere: there is no [upload.NAME] and no [mqtt]"),
        _ => bail!("which queue? add --queue with one of {}", names.join(", ")),
    }
}

async fn items(daemon: &Daemon, queue: &str, dead: bool, limit: usize) -> Result<Vec<QueueItem>> {
    let (state, limit) = (if dead { "dead" } else { "waiting" }, limit.to_string());
    let mut answer = daemon.get("queue/items", &[("outlet", queue), ("state", state), ("limit", &limit)]).await?;
    serde_json::from_value(answer["items"].take()).context("understand the daemon's answer")
}

async fn list(daemon: &Daemon, queue: &Queue, dead: bool, limit: usize, json: bool) -> Result<()> {
    let name = name_of(daemon, queue).await?;
    let items = items(daemon, &name, dead, limit).await?;
    if json {
        return items.iter().try_for_each(print_json);
    }
    if items.is_empty() {
        return print(&format!("{name}: {}\n", if dead { "nothing was given up" } else { "nothing waits" }));
    }
    let mut text = String::new();
    for item in &items {
        let event = item.event.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let state = serde_json::to_value(item.state)?;
        let state = state.as_str().unwrap_or_default().to_owned();
        let (size, what) = (bytes(item.bytes), &item.what);
        let error = item.error.as_deref().map(|error| format!("  {error}")).unwrap_or_default();
        text += &format!("{:>18}  {state:<8} {event:<26}  {size:>9}  {what}{error}\n", item.seq);
    }
    print(&text)
}

async fn show(daemon: &Daemon, queue: &Queue, seq: u64) -> Result<()> {
    let name = name_of(daemon, queue).await?;
    for dead in [false, true] {
        if let Some(item) = items(daemon, &name, dead, 1000).await?.iter().find(|item| item.seq == seq) {
            return print_json(item);
        }
    }
    bail!("{name} has no item {seq} among the next thousand and those that were given up")
}

async fn order(daemon: &Daemon, action: &str, queue: &Queue, seq: Option<u64>) -> Result<()> {
    let name = name_of(daemon, queue).await?;
    let command = QueueCommand { outlet: name.clone(), seq };
    let answer = daemon.post(&format!("queue/{action}"), &command).await?;
    let QueueAnswer { changed } = serde_json::from_value(answer).context("understand the daemon's answer")?;
    let text = match (action, seq, changed) {
        ("pause", _, 0) => format!("{name} is paused already\n"),
        ("pause", ..) => format!("{name} is paused\n"),
        ("resume", _, 0) => format!("{name} was not paused\n"),
        ("resume", ..) => format!("{name} sends again\n"),
        (_, Some(seq), 0) => bail!("{name} has no item {seq}"),
        ("retry", ..) => format!("{name}: {changed} tried again\n"),
        _ => format!("{name}: {changed} dropped\n"),
    };
    print(&text)
}
