//! Events by many conditions. One look at the index goes through a bounded number of rows, so that a condition that
//! matches nothing costs no more than one that matches all; the caller goes on from where it ended.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use memchr::memmem::{self, Finder};
use serde::Deserialize;
use tracing::warn;

use super::annotations::Beside;
use super::event_times::{IdWalk, Walks};
use super::packed::Lookup;
use super::schema::{decode, prefix};
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
    /// Each of these, folded, is in what is said of the events that are wanted; which those are the caller sees itself. Passes
    /// over what has them not, where that is sure.
    pub hints: Vec<String>,
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
    #[serde(borrow, default)]
    labels: Vec<Cow<'a, str>>,
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
        !self.tags.is_empty() || !self.verdicts.is_empty() || !self.words.is_empty() || !self.hints.is_empty()
    }

    fn matches(&self, event: &Short<'_>, said: Option<&Annotations>) -> bool {
        let any = |wanted: &[String], value: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == value);
        any(&self.cameras, &event.camera)
            && (any(&self.labels, &event.label) || event.labels.iter().any(|label| any(&self.labels, label)))
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
        let own = [&event.camera, &event.label, &event.rule].into_iter();
        let named = own.chain(&event.labels).chain(&event.zones).map(|text| &**text);
        let by_people = said.into_iter().flat_map(|said| said.tags.iter().chain([&said.note])).map(|text| &**text);
        let texts: Vec<String> = named.chain(by_people).map(str::to_lowercase).collect();
        self.words.iter().all(|word| texts.iter().any(|text| text.contains(word)))
    }
}

pub(super) fn search(db: &Database, search: &Search) -> Result<Found, StoreError> {
    let mut found = Found::default();
    let mut rows = Rows::new(db, search)?;
    let mut people = People::new(db, search);
    let (mut words, mut hints, mut last) = (WordFilter::new(&search.words), WordFilter::new(&search.hints), None);
    while found.events.len() < search.limit && found.rows < search.rows {
        let Some((id, json)) = rows.next()? else {
            return Ok(Found { last: None, back_to: None, ..found });
        };
        found.rows += 1;
        found.last = Some(id);
        let Some(json) = json else { continue };
        let json = last.insert(json);
        let said = people.said(id)?;
        // Folded letters are those of the text where that is plain.
        if said.is_none() && (!words.may_match(json) || json.is_ascii() && !hints.may_match(json)) {
            continue;
        }
        let matches = match serde_json::from_slice::<Short<'_>>(json) {
            Ok(short) => search.matches(&short, said.as_ref()) && people.is_reviewed_as_wanted(id)?,
            Err(error) => {
                warn!(%error, "an event in the index is skipped");
                false
            }
        };
        if matches {
            found.events.push(annotations::with(db, decode(json)?)?);
        }
    }
    found.back_to = last.and_then(|json| Some(serde_json::from_slice::<Short<'_>>(&json).ok()?.start.wall));
    Ok(found)
}

/// Passes over events without a word that is wanted, from their bytes alone: most are no candidates, and reading one costs
/// ten times as much.
struct WordFilter {
    words: Vec<Finder<'static>>,
    lower: Vec<u8>,
}

/// Letters beyond ASCII whose small letters are not: the sign of Kelvin, and the dotted capital I.
const TO_ASCII: [&str; 2] = ["\u{212a}", "\u{130}"];

impl WordFilter {
    /// For words in lower case. Those that could be written otherwise in the JSON are left to who reads it.
    fn new(words: &[String]) -> Self {
        let is_plain = |c: char| {
            let is_caseless = || c.to_lowercase().eq([c]) && c.to_uppercase().eq([c]);
            c.is_ascii_alphanumeric() || !c.is_ascii() && is_caseless()
        };
        let plain = words.iter().filter(|word| word.chars().all(is_plain));
        Self { words: plain.map(|word| Finder::new(word.as_bytes()).into_owned()).collect(), lower: Vec::new() }
    }

    /// `false`: a word is nowhere in the event.
    fn may_match(&mut self, json: &[u8]) -> bool {
        if self.words.is_empty() {
            return true;
        }
        self.lower.clear();
        self.lower.extend(json.iter().map(u8::to_ascii_lowercase));
        self.words.iter().all(|word| word.find(&self.lower).is_some())
            || !json.is_ascii() && TO_ASCII.iter().any(|letter| memmem::find(json, letter.as_bytes()).is_some())
    }
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
    events: Option<IdWalk<'a>>,
    lookup: Lookup<'a>,
    cameras: Vec<(IdWalk<'a>, Option<EventId>)>,
}

impl<'a> Rows<'a> {
    fn new(db: &'a Database, search: &Search) -> Result<Self, StoreError> {
        let Search { since, until, before, after, .. } = search;
        let walks = Walks::new(db, *since, *until)?;
        let of_camera = |camera: &String| {
            let mut walk = walks.of(&db.by_camera, prefix(camera), *after, *before);
            let head = newest(&mut walk)?;
            Ok((walk, head))
        };
        let cameras: Vec<_> = search.cameras.iter().map(of_camera).collect::<Result<_, StoreError>>()?;
        let events = cameras.is_empty().then(|| walks.of(&db.events, Vec::new(), *after, *before));
        Ok(Self { events, lookup: db.events.lookup(), cameras })
    }

    /// The next event and its JSON, which is not there where the event went meanwhile.
    fn next(&mut self) -> Result<Option<(EventId, Option<sled::IVec>)>, StoreError> {
        if let Some(walk) = &mut self.events {
            return Ok(walk.next()?.map(|(id, json)| (id, Some(json))));
        }
        let Some((walk, head)) = self.cameras.iter_mut().max_by_key(|(_, head)| *head) else { return Ok(None) };
        let Some(id) = *head else { return Ok(None) };
        *head = newest(walk)?;
        Ok(Some((id, self.lookup.get(&id.to_bytes())?)))
    }
}

fn newest(walk: &mut IdWalk<'_>) -> Result<Option<EventId>, StoreError> {
    Ok(walk.next()?.map(|(id, _)| id))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::{Clock, Mono, SimulatedClock};
    use crate::event::fixture;

    fn json(texts: &[String; 4]) -> Vec<u8> {
        let [camera, label, rule, zone] = texts.each_ref().map(|text| Arc::from(text.as_str()));
        let event = fixture::event(
            EventId::from_bytes([1; 16]),
            "yard",
            SimulatedClock::new(Mono(1), Timestamp::UNIX_EPOCH).now(),
        );
        serde_json::to_vec(&Event { camera, label, rule, zones: vec![zone], ..event }).expect("write")
    }

    fn filter(words: &[&str]) -> WordFilter {
        WordFilter::new(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn events_without_a_word_are_passed_over_unread() {
        let json = json(&["Yard 北".to_owned(), "person".to_owned(), "night".to_owned(), "gate".to_owned()]);
        assert!(filter(&["yard", "北", "nig"]).may_match(&json));
        for word in ["courier", "南", "yard北"] {
            assert!(!filter(&["yard", word]).may_match(&json), "{word}");
        }
        assert!(filter(&["straße", "a\"b", "é"]).may_match(&json), "left to who reads it");
    }

    proptest! {
        #[test]
        fn no_event_with_the_words_is_passed_over(
            texts in [(); 4].map(|()| prop_oneof![
                "\\PC{0,12}",
                Just("\u{212a}elvin K".to_owned()),
                Just("\u{130}stanbul".to_owned()),
                Just("Blue \"Van\" \\ 海辺".to_owned()),
            ]),
            from in any::<prop::sample::Index>(),
            at in any::<prop::sample::Index>(),
            length in 1..5usize,
        ) {
            let lower = from.get(&texts).to_lowercase();
            let chars: Vec<char> = lower.chars().filter(|c| !c.is_whitespace()).collect();
            prop_assume!(!chars.is_empty());
            let word: String = chars.iter().skip(at.index(chars.len())).take(length).collect();
            let json = json(&texts);
            let search = Search { words: vec![word.clone()], ..Search::default() };
            let short: Short<'_> = serde_json::from_slice(&json).expect("read");
            if search.has_words(&short, None) {
                prop_assert!(WordFilter::new(&search.words).may_match(&json), "{word:?}");
            }
        }
    }
}
