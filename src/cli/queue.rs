//! `outpost queue`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;

use super::daemon::Daemon;
use super::output::{list_json, list_line, print};
use super::select::{Select, confirm};
use crate::byte_size;
use crate::config::Config;
use crate::destination::Destination;
use crate::service::{QueueAnswer, QueueCommand, QueueItem};

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
    /// Try again now what was given up, or rests after a failure.
    Retry {
        #[command(flatten)]
        queue: Queue,
        #[command(flatten)]
        select: Select,
        /// Only say how many that would be.
        #[arg(long)]
        dry_run: bool,
    },
    /// Deliver no more. Files stay on the box, and are shown as dropped, also after a rebuild of the index. Asks before
    /// it drops more than one item that was named; a transfer that is under way may still arrive.
    Drop {
        #[command(flatten)]
        queue: Queue,
        #[command(flatten)]
        select: Select,
        /// Only say how many that would be.
        #[arg(long)]
        dry_run: bool,
        /// Do not ask. Needed where there is no terminal.
        #[arg(long, short)]
        yes: bool,
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
    /// The queue: upload/NAME, mqtt or webhook/NAME. Without it "list" shows all; others take the only upload.
    #[arg(long, short)]
    queue: Option<String>,
}

pub(super) fn main(arguments: &Arguments) -> Result<()> {
    let daemon = Daemon::new(&arguments.config)?;
    super::runtime()?.block_on(run(&daemon, &arguments.command))
}

async fn run(daemon: &Daemon, command: &Command) -> Result<()> {
    match command {
        Command::List { queue, dead, limit, json } => list(daemon, queue, *dead, *limit, *json).await,
        Command::Show { queue, seq } => show(daemon, queue, *seq).await,
        Command::Retry { queue, select, dry_run } => retry(daemon, queue, select, *dry_run).await,
        Command::Drop { queue, select, dry_run, yes } => drop(daemon, queue, select, *dry_run, *yes).await,
        Command::Pause { queue } => switch(daemon, "pause", queue).await,
        Command::Resume { queue } => switch(daemon, "resume", queue).await,
    }
}

const NONE: &str = "nothing is delivered anywhere: there is no [upload.NAME], no [webhook.NAME] and no [mqtt]";

/// An item with its queue.
#[derive(Serialize)]
struct Named<'a> {
    outlet: &'a str,
    #[serde(flatten)]
    item: &'a QueueItem,
}

/// The queues that a status names.
fn all_names(status: &Value) -> Vec<String> {
    let outlets = status["outlets"].as_array().into_iter().flatten();
    outlets.filter_map(|outlet| Some(outlet["name"].as_str()?.to_owned())).collect()
}

/// The queue that was named, or the only one that uploads.
async fn name_of(daemon: &Daemon, queue: &Queue) -> Result<String> {
    if let Some(name) = &queue.queue {
        return Ok(name.clone());
    }
    let names = all_names(&daemon.get("status", &[]).await?);
    let is_upload = |name: &&String| name.parse().is_ok_and(|destination: Destination| destination.takes_files());
    let uploads: Vec<&String> = names.iter().filter(is_upload).collect();
    match (uploads.as_slice(), names.as_slice()) {
        ([only], _) => Ok((*only).clone()),
        ([], [only]) => Ok(only.clone()),
        (_, []) => bail!("{NONE}"),
        _ => bail!("which queue? add --queue with one of {}", names.join(", ")),
    }
}

async fn items(daemon: &Daemon, queue: &str, dead: bool, limit: usize) -> Result<Vec<QueueItem>> {
    let (state, limit) = (if dead { "dead" } else { "waiting" }, limit.to_string());
    let mut answer = daemon.get("queue/items", &[("outlet", queue), ("state", state), ("limit", &limit)]).await?;
    serde_json::from_value(answer["items"].take()).context("understand the daemon's answer")
}

/// The queues that are meant: the one that was named, or all.
async fn names_of(daemon: &Daemon, queue: &Queue) -> Result<Vec<String>> {
    if let Some(name) = &queue.queue {
        return Ok(vec![name.clone()]);
    }
    let names = all_names(&daemon.get("status", &[]).await?);
    if names.is_empty() {
        bail!("{NONE}");
    }
    Ok(names)
}

async fn list(daemon: &Daemon, queue: &Queue, dead: bool, limit: usize, json: bool) -> Result<()> {
    for name in names_of(daemon, queue).await? {
        let items = items(daemon, &name, dead, limit).await?;
        if json {
            let named = |item: &QueueItem| list_json(&Named { outlet: &name, item });
            items.iter().try_for_each(named)?;
        } else {
            list_line(&describe_items(&name, &items, dead)?)?;
        }
    }
    Ok(())
}

/// The queue with its items, a line each.
fn describe_items(name: &str, items: &[QueueItem], dead: bool) -> Result<String> {
    if items.is_empty() {
        return Ok(format!("{name}: {}", if dead { "nothing was given up" } else { "nothing waits" }));
    }
    let mut text = format!("{name}:\n");
    for item in items {
        let event = item.event.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let state = serde_json::to_value(item.state)?;
        let state = state.as_str().unwrap_or_default().to_owned();
        let (size, what) = (byte_size::text(item.bytes), &item.what);
        let error = item.error.as_deref().map(|error| format!("  {error}")).unwrap_or_default();
        text += &format!("{:>18}  {state:<8} {event:<26}  {size:>9}  {what}{error}\n", item.seq);
    }
    Ok(text.trim_end().to_owned())
}

async fn show(daemon: &Daemon, queue: &Queue, seq: u64) -> Result<()> {
    let name = name_of(daemon, queue).await?;
    for dead in [false, true] {
        if let Some(item) = items(daemon, &name, dead, 1000).await?.iter().find(|item| item.seq == seq) {
            return list_json(item);
        }
    }
    bail!("{name} has no item {seq} among the next thousand and those that were given up")
}

async fn switch(daemon: &Daemon, action: &str, queue: &Queue) -> Result<()> {
    let name = name_of(daemon, queue).await?;
    let command = QueueCommand { outlet: name.clone(), ..QueueCommand::default() };
    let text = match (action, order(daemon, action, &command).await?.changed) {
        ("pause", 0) => format!("{name} is paused already\n"),
        ("pause", _) => format!("{name} is paused\n"),
        (_, 0) => format!("{name} was not paused\n"),
        _ => format!("{name} sends again\n"),
    };
    print(&text)
}

async fn order(daemon: &Daemon, action: &str, command: &QueueCommand) -> Result<QueueAnswer> {
    let answer = daemon.post(&format!("queue/{action}"), command).await?;
    serde_json::from_value(answer).context("understand the daemon's answer")
}

/// Counts what a command would be about. An item that was named has to be there.
async fn look(daemon: &Daemon, action: &str, command: &QueueCommand, select: &Select) -> Result<QueueAnswer> {
    let counted = order(daemon, action, &QueueCommand { dry_run: true, ..command.clone() }).await?;
    match select.only() {
        Some(seq) if counted.changed == 0 => bail!("{} has no item {seq}", command.outlet),
        _ => Ok(counted),
    }
}

/// `upload/cloud: 312 items (1.2 GB), 3 of them on their way`.
fn describe(name: &str, counted: &QueueAnswer) -> String {
    let QueueAnswer { changed, bytes: size, sending, more } = *counted;
    let items = if changed == 1 { "item" } else { "items" };
    let at_least = if more { "at least " } else { "" };
    let size = if size > 0 { format!(" ({})", byte_size::text(size)) } else { String::new() };
    let sending = if sending > 0 { format!(", {sending} of them on their way") } else { String::new() };
    format!("{name}: {at_least}{changed} {items}{size}{sending}")
}

async fn retry(daemon: &Daemon, queue: &Queue, select: &Select, dry_run: bool) -> Result<()> {
    let name = name_of(daemon, queue).await?;
    let command = QueueCommand { outlet: name.clone(), select: Some(select.selection()), ..QueueCommand::default() };
    let counted = look(daemon, "retry", &command, select).await?;
    if dry_run {
        return print(&format!("{} would be tried again\n", describe(&name, &counted)));
    }
    let QueueAnswer { changed, .. } = order(daemon, "retry", &command).await?;
    print(&format!("{name}: {changed} tried again\n"))
}

async fn drop(daemon: &Daemon, queue: &Queue, select: &Select, dry_run: bool, yes: bool) -> Result<()> {
    let name = name_of(daemon, queue).await?;
    let command = QueueCommand { outlet: name.clone(), select: Some(select.selection()), ..QueueCommand::default() };
    let counted = look(daemon, "drop", &command, select).await?;
    if dry_run {
        return print(&format!("{} would be dropped\n", describe(&name, &counted)));
    }
    let needs_no_question = yes || select.only().is_some() || (counted.changed == 0 && !counted.more);
    if !needs_no_question && !confirm(&describe(&name, &counted))? {
        return print("nothing was dropped\n");
    }
    let (mut dropped, mut sending) = (0, 0);
    loop {
        let answer = order(daemon, "drop", &command).await?;
        (dropped, sending) = (dropped + answer.changed, sending + answer.sending);
        if !answer.more {
            break;
        }
    }
    print(&format!("{name}: {dropped} dropped\n"))?;
    match sending {
        0 => Ok(()),
        1 => print("one of them was on its way and may still arrive\n"),
        _ => print(&format!("{sending} of them were on their way and may still arrive\n")),
    }
}
