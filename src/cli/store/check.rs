//! Compares the index with the disk, in both directions and without changing either.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Result;

use super::open_copy;
use crate::archive::{Layout, SIDECAR, Sidecar, Walk, look_at_event, measure};
use crate::event::{Event, EventId, EventState, MediaFile};
use crate::library;
use crate::store::{self, Query, Store};

/// Events that are asked for at a time.
const PAGE: usize = 500;

/// What a check saw.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub differences: u64,
    events: u64,
    photos: u64,
    files: u64,
    bytes: u64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { differences, events, photos, files, bytes } = self;
        write!(f, "{events} events, {photos} photos, {files} files, {bytes} bytes: {differences} differences")
    }
}

/// Writes a line to `out` for everything that does not fit.
pub(super) fn check(config: &store::Config, deep: bool, out: &mut dyn Write) -> Result<Outcome> {
    let mut check = Check { layout: Layout::new(&config.path), deep, out, outcome: Outcome::default() };
    let opened = open_copy(config)?;
    let store = match &opened {
        Some(opened) if !opened.store.was_reset() => Some(&opened.store),
        Some(_) => {
            check.differs("index", "damaged, the next start of the daemon makes a new one")?;
            None
        }
        None => {
            check.differs("index", "there is none, the next start of the daemon makes one")?;
            None
        }
    };
    let highest = EventId::from_bytes([0xff; 16]);
    for places in Walk::new(check.layout.clone(), highest) {
        for (id, camera) in places {
            check.folder(store, &camera, id)?;
        }
    }
    if let Some(store) = store {
        check.index(store)?;
    }
    check.photos(store)?;
    Ok(check.outcome)
}

struct Check<'a> {
    layout: Layout,
    deep: bool,
    out: &'a mut dyn Write,
    outcome: Outcome,
}

impl Check<'_> {
    fn differs(&mut self, what: &str, how: &str) -> Result<()> {
        self.outcome.differences += 1;
        Ok(writeln!(self.out, "{what}: {how}")?)
    }

    /// One folder on the disk, and what the index says of it.
    fn folder(&mut self, store: Option<&Store>, camera: &str, id: EventId) -> Result<()> {
        let (folder, name) = (self.layout.folder(camera, id), format!("{camera}/{id}"));
        self.outcome.events += 1;
        let event = match look_at_event(&folder, camera, id) {
            Ok(Sidecar::Good(event)) => *event,
            Ok(Sidecar::Missing) => return self.differs(&name, "no event.json"),
            Ok(Sidecar::Damaged(reason)) => return self.differs(&name, &format!("event.json is damaged: {reason}")),
            Err(error) => return self.differs(&name, &format!("{error:#}")),
        };
        self.files(&folder, &name, &event)?;
        let Some(store) = store else { return Ok(()) };
        match store.events().get(id).wait() {
            Ok(None) => self.differs(&name, "not in the index"),
            Ok(Some(known)) => self.compare(&name, &event, &known),
            Err(store::StoreError::Unreadable(reason)) => {
                self.differs(&name, &format!("unreadable in the index: {reason}"))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn files(&mut self, folder: &Path, name: &str, event: &Event) -> Result<()> {
        for media in event.media() {
            self.file(folder, name, media)?;
        }
        if event.state == EventState::Open {
            // Its files are named at its end.
            return Ok(());
        }
        let named: BTreeSet<&str> = event.media().map(|media| media.file.as_str()).chain([SIDECAR]).collect();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            if !named.contains(file.as_str()) {
                self.differs(&format!("{name}/{file}"), "not named in event.json")?;
            }
        }
        Ok(())
    }

    fn file(&mut self, folder: &Path, name: &str, media: &MediaFile) -> Result<()> {
        let what = format!("{name}/{}", media.file);
        self.outcome.files += 1;
        let bytes = match fs::metadata(folder.join(&media.file)) {
            Ok(about) => about.len(),
            Err(error) => return self.differs(&what, &error.to_string()),
        };
        self.outcome.bytes += bytes;
        if bytes != media.bytes {
            return self.differs(&what, &format!("{bytes} bytes, {} in event.json", media.bytes));
        }
        if !self.deep {
            return Ok(());
        }
        match measure(folder, &media.file) {
            Ok(measured) if measured.sha256 == media.sha256 => Ok(()),
            Ok(_) => self.differs(&what, "its SHA-256 is not the one in event.json"),
            Err(error) => self.differs(&what, &format!("{error:#}")),
        }
    }

    fn compare(&mut self, name: &str, event: &Event, known: &Event) -> Result<()> {
        // The index may keep a part of long lists only.
        let lists_fit = event.zones.starts_with(&known.zones)
            && event.pictures.starts_with(&known.pictures)
            && event.evicted.starts_with(&known.evicted);
        let lists = |event: &Event| {
            let event = event.clone().without_path();
            Event { zones: Vec::new(), pictures: Vec::new(), evicted: Vec::new(), ..event }
        };
        if event.state != known.state {
            return self.differs(name, &format!("{:?} in event.json, {:?} in the index", event.state, known.state));
        }
        if event.state == EventState::Open || lists_fit && lists(event) == lists(known) {
            return Ok(());
        }
        self.differs(name, "the index does not say what event.json says")
    }

    /// The photo library.
    fn photos(&mut self, store: Option<&Store>) -> Result<()> {
        let mut differences = 0;
        let mut differs = |what: &str, how: &str| {
            differences += 1;
            Ok(writeln!(self.out, "{what}: {how}")?)
        };
        let compared = library::compare(self.layout.storage(), store, self.deep, &mut differs)?;
        self.outcome.differences += differences;
        self.outcome.photos += compared.photos;
        self.outcome.files += compared.files;
        self.outcome.bytes += compared.bytes;
        Ok(())
    }

    /// The events of the index that have no folder, and its own numbers.
    fn index(&mut self, store: &Store) -> Result<()> {
        let (mut before, mut events, mut open) = (None, 0, 0);
        loop {
            let page = store.events().find(&Query { before, limit: PAGE, ..Query::default() }).wait()?;
            for event in &page {
                events += 1;
                open += u64::from(event.state == EventState::Open);
                if !self.layout.folder(&event.camera, event.id).is_dir() {
                    self.differs(&format!("{}/{}", event.camera, event.id), "in the index, but not on the disk")?;
                }
            }
            let Some(last) = page.last() else { break };
            before = Some(last.id);
        }
        let stats = store.stats().wait()?;
        if (stats.events, stats.open) != (events, open) {
            let counted = format!("it counts {} events, {} of them open", stats.events, stats.open);
            self.differs("index", &format!("{counted}, but has {events} and {open}"))?;
        }
        store.differences()?.iter().try_for_each(|difference| self.differs("index", difference))?;
        Ok(())
    }
}
