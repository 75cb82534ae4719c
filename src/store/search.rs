//! Events by many conditions. One look at the index goes through a bounded number of rows, so that a condition that
//! matches nothing costs no more than one that matches all; the caller goes on from where it ended.

use std::borrow::Cow;
use std::ops::Bound;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use tracing::warn;

use super::annotations::Beside;
use super::packed::{Lookup, Scan};
use super::schema::{decode, id_of, prefix};
use super::trees::Database;
use super::{StoreError, annotations};
use crate::event::{Annotations, Event, EventId, EventState, Verdict};

/// Which events, newest first. Of the values of one list any may hold; an empty list does not count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Search {
    /// Of these cameras.
    pub cameras: Vec<String>,
    /// With these labels.
    pub labels: Vec<String>,
    /// Whose object was in these zones.
    pub zones: Vec<String>,
    /// Of these rules.
    pub rules: Vec<String>,
    /// In these states.
    pub states: Vec<EventState>,
    /// Begun at this wall time or later.
    pub since: Option<Timestamp>,
    /// Begun before this wall time.
    pub until: Option<Timestamp>,
    /// With this score or a higher one, 0..1.
    pub min_score: Option<f32>,
    /// Pinned, or not.
    pub pinned: Option<bool>,
    /// With these tags.
    pub tags: Vec<String>,
    /// Judged so; `None`: not judged.
    pub verdicts: Vec<Option<Verdict>>,
    /// Looked through by this user, or not.
    pub reviewed: Option<(Arc<str>, bool)>,
    /// Each of these words, in lower case, is part of the camera, label, rule, a zone, a tag or the note.
    pub words: Vec<String>,
    /// With a lower id.
    pub before: Option<EventId>,
    /// With a higher id.
    pub after: Option<EventId>,
    /// At most so many.
    pub limit: usize,
    /// Rows that are looked at, at most.
    pub rows: usize,
}

/// What one look at the index found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Events that match, newest first.
    pub events: Vec<Event>,
    /// Rows that were looked at.
    pub rows: usize,
    /// The last event that was looked at, where there may be more behind it.
    pub last: Option<EventId>,
    /// When that began.
    pub back_to: Option<Timestamp>,
}

/// What the conditions are about.
#[derive(Deserialize)]
struct Short<'a> {
    #[serde(borrow)]
    camera: Cow<'a, str>,
    #[serde(borrow)]
    rule: Cow<'a, str>,
    #[serde(borrow)]
    label: Cow<'a, str>,
    zones: Vec<Cow<'a, str>>,
    score: f32,
    state: EventState,
    start: Start,
    #[serde(default)]
    pinned: bool,
}

#[derive(Deserialize)]
struct Start {
    wall: Timestamp,
}

impl Search {
    /// Whether what people say counts.
    fn is_about_people(&self) -> bool {
        !self.tags.is_empty() || !self.verdicts.is_empty() || !self.words.is_empty()
    }

    fn matches(&self, event: &Short<'_>, said: Option<&Annotations>) -> bool {
        let any = |wanted: &[String], value: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == value);
        any(&self.cameras, &event.camera)
            && any(&self.labels, &event.label)
            && any(&self.rules, &event.rule)
            && (self.zones.is_empty() || event.zones.iter().any(|zone| any(&self.zones, zone)))
            && (self.states.is_empty() || self.states.contains(&event.state))
            && self.since.is_none_or(|since| event.start.wall >= since)
            && self.until.is_none_or(|until| event.start.wall < until)
            && self.min_score.is_none_or(|least| event.score >= least)
            && self.pinned.is_none_or(|pinned| event.pinned == pinned)
            && (self.tags.is_empty() || said.is_some_and(|said| said.tags.iter().any(|tag| any(&self.tags, tag))))
            && (self.verdicts.is_empty() || self.verdicts.contains(&said.and_then(|said| said.verdict)))
            && self.has_words(event, said)
    }

    fn has_words(&self, event: &Short<'_>, said: Option<&Annotations>) -> bool {
        if self.words.is_empty() {
            return true;
        }
        let named = [&event.camera, &event.label, &event.rule].into_iter().chain(&event.zones).map(|text| &**text);
        let by_people = said.into_iter().flat_map(|said| said.tags.iter().chain([&said.note])).map(|text| &**text);
        let texts: Vec<String> = named.chain(by_people).map(str::to_lowercase).collect();
        self.words.iter().all(|word| texts.iter().any(|text| text.contains(word)))
    }
}

pub(super) fn search(db: &Database, search: &Search) -> Result<Found, StoreError> {
    let mut found = Found::default();
    let mut rows = Rows::new(db, search);
    let mut people = People::new(db, search);
    while found.events.len() < search.limit && found.rows < search.rows {
        let Some((id, json)) = rows.next()? else {
            return Ok(Found { last: None, back_to: None, ..found });
        };
        found.rows += 1;
        found.last = Some(id);
        let Some(json) = json else { continue };
        let matches = match serde_json::from_slice::<Short<'_>>(&json) {
            Ok(short) => {
                found.back_to = Some(short.start.wall);
                search.matches(&short, people.said(id)?.as_ref()) && people.is_reviewed_as_wanted(id)?
            }
            Err(error) => {
                warn!(%error, "an event in the index is skipped");
                false
            }
        };
        if matches {
            found.events.push(annotations::with(db, decode(&json)?)?);
        }
    }
    Ok(found)
}

/// What people say of the events that are gone through, as far as it counts.
struct People<'a> {
    search: &'a Search,
    annotations: Option<Beside>,
    reviewed: Option<Beside>,
}

impl<'a> People<'a> {
    fn new(db: &Database, search: &'a Search) -> Self {
        let annotations = search.is_about_people().then(|| Beside::new(&db.annotations, search.before));
        let reviewed = search.reviewed.is_some().then(|| Beside::new(&db.reviewed, search.before));
        Self { search, annotations, reviewed }
    }

    fn said(&mut self, id: EventId) -> Result<Option<Annotations>, StoreError> {
        self.annotations.as_mut().map_or(Ok(None), |rows| rows.said(id))
    }

    fn is_reviewed_as_wanted(&mut self, id: EventId) -> Result<bool, StoreError> {
        let (Some((by, wanted)), Some(rows)) = (&self.search.reviewed, &mut self.reviewed) else { return Ok(true) };
        Ok(rows.is_by(id, by)? == *wanted)
    }
}

/// Events by falling id: all of them, or those of several cameras.
struct Rows<'a> {
    events: Option<Scan>,
    lookup: Lookup<'a>,
    cameras: Vec<(Scan, Option<EventId>)>,
    begun: bool,
}

impl<'a> Rows<'a> {
    fn new(db: &'a Database, search: &Search) -> Self {
        let bounds = |camera: &[u8]| {
            let key = |id: EventId| [camera, &id.to_bytes()].concat();
            let low = search.after.map_or_else(|| Bound::Included(camera.to_vec()), |id| Bound::Excluded(key(id)));
            // Past all ids: one byte more than the highest.
            let high = search.before.map_or_else(|| [camera, &[0xff; 17]].concat(), key);
            // Bounds that cross are none that a tree knows.
            let is_crossed = matches!(&low, Bound::Excluded(low) | Bound::Included(low) if *low >= high);
            (!is_crossed).then_some((low, Bound::Excluded(high)))
        };
        let cameras = search.cameras.iter().filter_map(|camera| Some(db.by_camera.range(bounds(&prefix(camera))?)));
        let cameras = cameras.map(|scan| (scan, None)).collect();
        let events = if search.cameras.is_empty() { bounds(&[]).map(|bounds| db.events.range(bounds)) } else { None };
        Self { events, lookup: db.events.lookup(), cameras, begun: false }
    }

    /// The next event and its JSON, which is not there where the event went meanwhile.
    fn next(&mut self) -> Result<Option<(EventId, Option<sled::IVec>)>, StoreError> {
        if let Some(scan) = &mut self.events {
            let Some(entry) = scan.next_back() else { return Ok(None) };
            let (key, json) = entry?;
            return Ok(id_of(&key).map(|id| (id, Some(json))));
        }
        if !self.begun {
            for (scan, head) in &mut self.cameras {
                *head = newest(scan)?;
            }
            self.begun = true;
        }
        let Some((scan, head)) = self.cameras.iter_mut().max_by_key(|(_, head)| *head) else { return Ok(None) };
        let Some(id) = *head else { return Ok(None) };
        *head = newest(scan)?;
        Ok(Some((id, self.lookup.get(&id.to_bytes())?)))
    }
}

fn newest(scan: &mut Scan) -> Result<Option<EventId>, StoreError> {
    let entry = scan.next_back().transpose()?;
    Ok(entry.and_then(|(key, _)| id_of(&key)))
}
