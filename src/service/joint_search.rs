//! Photos and events of cameras in one list, by the time on the wall.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::event_terms::{hints, is_asked_for, may_be_event, wall_of};
use super::events::{EventRecord, EventService};
use super::library::{LibraryService, ListError, MOST_PHOTOS, PhotoPage, PhotoPlace, PhotoQuery, PhotoRecord};
use super::library::{cursor, read_cursor};
use crate::event::{Event, EventId};
use crate::photo::PhotoSearch;
use crate::store::{PhotoPosition, Search};
use crate::zone;

/// Rows of the index of events that are looked at for one page.
const LOOKED_AT: usize = 20_000;
/// Rows that are looked at in one go, and events that are read: other requests come between.
const AT_ONCE: usize = 2_000;
const READ_AT_ONCE: usize = 200;
/// What a clock may be turned back by where summer ends.
const TURNED_BACK: SignedDuration = SignedDuration::from_hours(2);
/// Between the places in photos and in events; in place of a place where there is nothing left.
const BETWEEN: char = '~';
const OVER: &str = "-";

/// A photo or an event.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FoundItem {
    /// A photo.
    Photo {
        /// When it was taken, on the wall.
        at: DateTime,
        /// The photo.
        photo: Box<PhotoRecord>,
    },
    /// An event of a camera.
    Event {
        /// When it began, on the wall.
        at: DateTime,
        /// The event, with its delivery.
        #[serde(flatten)]
        record: Box<EventRecord>,
    },
}

/// Photos and events, those of the latest time first.
#[derive(Clone, Debug, Default, Serialize)]
pub struct JointPage {
    /// What was found.
    pub found: Vec<FoundItem>,
    /// Where the next page begins; none after the last. A page may have nothing and a next one: there was no time to look
    /// through all events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Where a page ended: in the photos and in the events.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct JointPlace {
    photos: Side<PhotoPosition>,
    events: Side<EventId>,
}

/// Where one of the two lists goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Side<T> {
    #[default]
    Beginning,
    Behind(T),
    Over,
}

impl JointPlace {
    /// The place that [`JointPage::next`] gave; `None` for what is none.
    pub fn read(text: &str) -> Option<Self> {
        let (photos, events) = text.split_once(BETWEEN)?;
        let photos = match photos {
            "" => Side::Beginning,
            OVER => Side::Over,
            place => Side::Behind(read_cursor(place).and_then(PhotoPlace::time)?),
        };
        let events = match events {
            "" => Side::Beginning,
            OVER => Side::Over,
            id => Side::Behind(id.parse().ok()?),
        };
        Some(Self { photos, events })
    }

    fn text(self) -> Option<String> {
        let photos = match self.photos {
            Side::Beginning => String::new(),
            Side::Behind(position) => cursor(PhotoPlace::Time(position)),
            Side::Over => OVER.to_owned(),
        };
        let events = match self.events {
            Side::Beginning => String::new(),
            Side::Behind(id) => id.to_string(),
            Side::Over => OVER.to_owned(),
        };
        let is_over = self.photos == Side::Over && self.events == Side::Over;
        (!is_over).then(|| format!("{photos}{BETWEEN}{events}"))
    }
}

/// The events of a page before they are put among the photos.
struct Events {
    records: Vec<EventRecord>,
    /// Where to go on behind all of them.
    then: Side<EventId>,
    /// Up to which time on the wall there are no others; `None`: to the end.
    back_to: Option<i64>,
}

/// Searches in photos and events together.
#[derive(Clone)]
pub struct JointSearch {
    library: LibraryService,
    events: EventService,
}

impl JointSearch {
    pub(super) fn new(library: LibraryService, events: EventService) -> Self {
        Self { library, events }
    }

    /// A page of what `query` asks for, behind `place`. Of events those that `sees` holds for. A user who does not see the
    /// library is given events alone.
    ///
    /// # Errors
    /// [`ListError`].
    pub async fn find(
        &self,
        query: PhotoQuery,
        place: JointPlace,
        sees: impl Fn(&Event) -> bool,
    ) -> Result<JointPage, ListError> {
        let limit = query.limit.clamp(1, MOST_PHOTOS);
        let search = PhotoSearch::read(&query.search, &query.viewer.name).map_err(ListError::BadSearch)?;
        let photos = self.photos(query, place.photos).await?;
        let events = self.some_events(&search, place.events, limit, sees).await?;
        Ok(merge(photos, events, place, limit))
    }

    async fn photos(&self, query: PhotoQuery, from: Side<PhotoPosition>) -> Result<PhotoPage, ListError> {
        let nothing = PhotoPage { photos: Vec::new(), next: None, total: None };
        let before = match from {
            Side::Over => return Ok(nothing),
            _ if !query.viewer.sees_all => return Ok(nothing),
            Side::Beginning => None,
            Side::Behind(position) => Some(PhotoPlace::Time(position)),
        };
        self.library.list(PhotoQuery { before, ..query }).await
    }

    async fn some_events(
        &self,
        search: &PhotoSearch,
        from: Side<EventId>,
        limit: usize,
        sees: impl Fn(&Event) -> bool,
    ) -> Result<Events, ListError> {
        if from == Side::Over || !may_be_event(search) {
            return Ok(Events { records: Vec::new(), then: Side::Over, back_to: None });
        }
        let mut look = Search {
            since: search.from.and_then(|from| instant(from)?.checked_sub(TURNED_BACK).ok()),
            until: search.until.and_then(|until| instant(until)?.checked_add(TURNED_BACK).ok()),
            hints: hints(search),
            before: if let Side::Behind(id) = from { Some(id) } else { None },
            limit: READ_AT_ONCE,
            ..Search::default()
        };
        let (mut found, mut left) = (Vec::new(), LOOKED_AT);
        loop {
            look.rows = left.min(AT_ONCE);
            let some = self.events.context().store().events().search(look.clone()).await?;
            left = left.saturating_sub(some.rows.max(1));
            for event in some.events {
                if found.len() == limit {
                    let back_to = found.last().map(|event| wall_ms(wall_of(event)));
                    let then = found.last().map_or(Side::Over, |event: &Event| Side::Behind(event.id));
                    return Ok(Events { records: self.events.records(found).await?, then, back_to });
                }
                if sees(&event) && is_asked_for(search, &event) {
                    found.push(event);
                }
            }
            let Some(last) = some.last else {
                return Ok(Events { records: self.events.records(found).await?, then: Side::Over, back_to: None });
            };
            if left == 0 {
                let looked = some.back_to.map(|at| wall_ms(zone::local().to_datetime(at)));
                let back_to = Some(looked.unwrap_or(i64::MIN));
                return Ok(Events { records: self.events.records(found).await?, then: Side::Behind(last), back_to });
            }
            look.before = Some(last);
        }
    }
}

/// The earlier moment of two where clocks were turned back.
fn instant(at: DateTime) -> Option<Timestamp> {
    zone::local().to_ambiguous_zoned(at).earlier().ok().map(|at| at.timestamp())
}

fn wall_ms(at: DateTime) -> i64 {
    Offset::UTC.to_timestamp(at).map_or(0, |at| at.as_millisecond())
}

/// Puts photos and events in one order, as far as both are known.
fn merge(photos: PhotoPage, events: Events, place: JointPlace, limit: usize) -> JointPage {
    let photos_back_to = photos.next.as_ref().and(photos.photos.last()).map(|last| last.photo.taken.wall_ms());
    let photos_then = match photos.next.as_deref().and_then(read_cursor).and_then(PhotoPlace::time) {
        Some(position) => Side::Behind(position),
        None => Side::Over,
    };
    let (mut photos, mut records) = (photos.photos.into_iter().peekable(), events.records.into_iter().peekable());
    let (mut at, mut found) = (place, Vec::new());
    while found.len() < limit {
        let photo = photos.peek().map(|record| record.photo.taken.wall_ms());
        let event = records.peek().map(|record| wall_ms(wall_of(&record.event)));
        // What the other list has not shown yet may be later than this.
        let is_known = |ms: i64, other: Option<i64>, back_to: Option<i64>| {
            other.is_some_and(|other| ms >= other) || other.is_none() && back_to.is_none_or(|back_to| ms >= back_to)
        };
        if let Some(ms) = photo.filter(|ms| is_known(*ms, event, events.back_to))
            && let Some(record) = photos.next()
        {
            at.photos = Side::Behind(PhotoPosition { wall_ms: ms, id: record.photo.id });
            found.push(FoundItem::Photo { at: record.photo.taken.local, photo: Box::new(record) });
        } else if let Some(_) = event.filter(|ms| photo.is_some() || is_known(*ms, photo, photos_back_to))
            && let Some(record) = records.next()
        {
            at.events = Side::Behind(record.event.id);
            found.push(FoundItem::Event { at: wall_of(&record.event), record: Box::new(record) });
        } else {
            break;
        }
    }
    if photos.peek().is_none() {
        at.photos = photos_then;
    }
    if records.peek().is_none() {
        at.events = events.then;
    }
    JointPage { found, next: at.text() }
}
