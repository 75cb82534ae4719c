//! `outpost store`: the index against what lies on the disk, while the daemon does not run.

mod check;

use std::fs;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use super::output::{Output, print_line};
use crate::archive::spool::NOTE;
use crate::archive::{self, Archive, Layout, volume};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::destination::Destination;
use crate::event::EventId;
use crate::library;
use crate::metrics::Metrics;
use crate::recovery::{Progress, recover};
use crate::store::{self, IndexCopy, Stats, Store, StoreError, set_index_aside};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Compare index, sidecars and files, changing nothing; one line per difference, and then exit code 1.
    Check {
        #[command(flatten)]
        place: Place,
        /// Read every file and compare its checksum too.
        #[arg(long)]
        deep: bool,
    },
    /// Set the index aside and make a new one from the sidecars; everything is queued for delivery again.
    Rebuild {
        #[command(flatten)]
        place: Place,
    },
    /// Go on with the volume that lies at storage.path now, although another one was there before.
    Adopt {
        /// The configuration file.
        #[arg(long, short, default_value_os_t = Config::default_path())]
        config: PathBuf,
    },
    /// Say what is in the store.
    Stats {
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// The configuration file, whose storage.path is meant.
    #[arg(long, short, default_value_os_t = Config::default_path(), conflicts_with = "dir")]
    config: PathBuf,
    /// The storage folder itself. Queues are then those that the index knows.
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Place {
    /// The configuration, unless a folder is meant.
    pub(super) fn config(&self) -> Result<Option<Config>> {
        Ok(if self.dir.is_some() { None } else { Some(Config::load(&self.config)?) })
    }

    /// Where the store is and, if the configuration says so, which queues it has.
    pub(super) fn find(&self) -> Result<(store::Config, Option<Vec<Destination>>)> {
        let of_dir = |dir: &PathBuf| store::Config { path: dir.clone(), ..store::Config::default() };
        let (config, outboxes) = match (self.config()?, &self.dir) {
            (Some(config), _) => (config.storage.clone(), Some(config.outboxes())),
            (None, dir) => (dir.as_ref().map(of_dir).unwrap_or_default(), None),
        };
        // The store would make it.
        if !config.path.is_dir() {
            bail!("there is no folder {}", config.path.display());
        }
        Ok((config, outboxes))
    }
}

pub(super) fn main(command: &Command) -> Result<()> {
    match command {
        Command::Check { place, deep } => {
            let (config, _) = place.find()?;
            let mut out = Output::of_result();
            let outcome = check::check(&config, *deep, &mut out)?;
            writeln!(out, "{outcome}")?;
            if outcome.differences > 0 {
                bail!("index and disk differ; `outpost store rebuild` rebuilds the index");
            }
            Ok(())
        }
        Command::Rebuild { place } => rebuild(place),
        Command::Adopt { config } => adopt(config),
        Command::Stats { place } => stats(place),
    }
}

/// Forgets which volume was there, so that the next look takes what there is.
fn adopt(config: &Path) -> Result<()> {
    let config = Config::load(config)?;
    let note = config.spool.folder_of_service().join(NOTE);
    let Some(known) = volume::recall(&note).filter(|known| known.path == config.storage.path) else {
        print_line(&format!("no volume is expected at {}: nothing to do", config.storage.path.display()))?;
        return Ok(());
    };
    fs::remove_file(&note).with_context(|| format!("remove {}", note.display()))?;
    print_line(&format!(
        "{}: volume {} is no longer expected, what lies there is taken",
        config.storage.path.display(),
        known.id
    ))?;
    Ok(())
}

/// A copy of the index, opened. The store is closed before its files go away: fields are dropped in this order.
struct Opened {
    store: Store,
    _copy: IndexCopy,
}

/// Opens a copy of the index, with the queues that it knows. `None`: there is no index.
fn open_copy(config: &store::Config) -> Result<Option<Opened>> {
    if !config.path.join("index").exists() {
        return Ok(None);
    }
    let copy = IndexCopy::new(&config.path).map_err(explain)?;
    let place = store::Config { path: copy.folder().to_owned(), ..config.clone() };
    let open = |outboxes: &[Destination]| Store::open(&place, outboxes, Arc::new(SystemClock::new()));
    let nameless = open(&[])?;
    if nameless.was_reset() {
        return Ok(Some(Opened { store: nameless, _copy: copy }));
    }
    let names = outboxes_of(&nameless.stats().wait()?);
    nameless.close()?;
    Ok(Some(Opened { store: open(&names)?, _copy: copy }))
}

fn outboxes_of(stats: &Stats) -> Vec<Destination> {
    stats.outboxes.iter().map(|outbox| outbox.name.clone()).collect()
}

/// What to do about a store that cannot be looked at.
fn explain(error: StoreError) -> anyhow::Error {
    let in_use = matches!(error, StoreError::InUse(_));
    let error = anyhow::Error::from(error);
    if in_use { error.context("the daemon is running: `systemctl stop outpost`, or look at its page") } else { error }
}

fn rebuild(place: &Place) -> Result<()> {
    let (config, outboxes) = place.find()?;
    let known = match open_copy(&config) {
        Ok(Some(opened)) if !opened.store.was_reset() => outboxes_of(&opened.store.stats().wait()?),
        Err(error) if is_refusal(&error) => return Err(error),
        _ => Vec::new(),
    };
    let outboxes = outboxes.unwrap_or(known);
    set_index_aside(&config.path, "asked for by `outpost store rebuild`").map_err(explain)?;
    let (store, archive) = open_archive(&config, &outboxes)?;
    let highest = EventId::from_bytes([0xff; 16]);
    let mut reported = None;
    // Before the index counts as filled.
    let photos = library::recover(&archive, highest)?;
    let found = recover(&archive, highest, &mut |progress| report(progress, &mut reported))?;
    let stats = store.stats().wait()?;
    drop(archive);
    store.close()?;
    give_to_owner(&config.path, INDEX)?;
    print_line(&format!(
        "{} events are in the index; {} of them were cut short by the last stop",
        stats.events, found.interrupted
    ))?;
    if photos > 0 {
        print_line(&format!("{photos} photos are in the index"))?;
    }
    for outbox in &stats.outboxes {
        print_line(&format!("{}: {} items wait, {} bytes", outbox.name, outbox.items, outbox.bytes))?;
    }
    if outboxes.is_empty() {
        print_line("nothing is queued for delivery: no queue is known; with --config those of the configuration are")?;
    }
    if found.damaged + found.unreadable > 0 {
        bail!("{} files are damaged or missing, {} events cannot be read", found.damaged, found.unreadable);
    }
    Ok(())
}

/// What a store makes in its folder.
pub(super) const INDEX: &[&str] = &["index", "index.reserve", "device-id"];

/// Opens the store of a daemon that does not run, with the archive around it. The archive is dropped before the store is
/// closed.
pub(super) fn open_archive(config: &store::Config, outboxes: &[Destination]) -> Result<(Store, Archive)> {
    let clock = Arc::new(SystemClock::new());
    let store = Store::open(config, outboxes, clock.clone()).map_err(explain)?;
    let layout = Layout::new(&config.path);
    let deps = archive::ArchiveDeps::new(&store.device_id(), clock.clone());
    let archive = Archive::new(layout, store.clone(), clock, Metrics::new(), archive::Config::default(), deps);
    Ok((store, archive))
}

/// Whether the index must not be touched.
fn is_refusal(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(StoreError::InUse(_) | StoreError::NewerSchema { .. }))
}

/// Every tenth of the way as a line; on a terminal one line that changes.
fn report(Progress { done, total, .. }: Progress, reported: &mut Option<u64>) {
    let tenth = 10 * done / total.max(1);
    let mut err = std::io::stderr().lock();
    // A closed terminal is no reason to stop.
    let _ = if err.is_terminal() {
        write!(err, "\r{done} of {total} events{}", if done == total { "\n" } else { "" })
    } else if reported.replace(tenth) != Some(tenth) {
        writeln!(err, "{done} of {total} events")
    } else {
        Ok(())
    };
}

/// What root made in the folder of the service's user has to be that user's.
pub(super) fn give_to_owner(path: &Path, made: &[&str]) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = fs::metadata(path).with_context(|| format!("look at {}", path.display()))?;
    let made: Vec<PathBuf> = made.iter().map(|name| path.join(name)).collect();
    made.iter().filter(|made| made.exists()).try_for_each(|made| give(made, owner.uid(), owner.gid()))
}

fn give(path: &Path, user: u32, group: u32) -> Result<()> {
    chown(path, Some(user), Some(group)).with_context(|| format!("change the owner of {}", path.display()))?;
    if !path.is_dir() {
        return Ok(());
    }
    let entries = fs::read_dir(path).with_context(|| format!("read {}", path.display()))?;
    entries.flatten().try_for_each(|entry| give(&entry.path(), user, group))
}

fn stats(place: &Place) -> Result<()> {
    let (config, _) = place.find()?;
    let Some(opened) = open_copy(&config)? else { bail!("there is no index in {}", config.path.display()) };
    let store = &opened.store;
    if store.was_reset() {
        bail!("the index is damaged; the next start of the daemon makes a new one");
    }
    let stats = store.stats().wait()?;
    print_line(&format!("events: {}, of these open: {}", stats.events, stats.open))?;
    let incomplete = if store.is_filled()? { "" } else { ", incomplete" };
    print_line(&format!("index: {} bytes{incomplete}", bytes_of(&config.path.join("index"))))?;
    print_line(&format!("archive: {} bytes", bytes_of(Layout::new(&config.path).root())))?;
    for outbox in &stats.outboxes {
        let dead = outbox.dead_letters;
        print_line(&format!("{}: {} items wait, {} bytes, {dead} given up", outbox.name, outbox.items, outbox.bytes))?;
    }
    Ok(())
}

/// Bytes that the files below `path` take on the disk.
fn bytes_of(path: &Path) -> u64 {
    let Ok(about) = fs::symlink_metadata(path) else { return 0 };
    let inside = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| bytes_of(&entry.path()));
    if about.is_dir() { inside.sum() } else { about.blocks() * 512 }
}
