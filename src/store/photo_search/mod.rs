//! Finding photos by what is said of them: lists of terms are combined, the newest of the result are read.
//!
//! A search reads the lists of its terms, a few hundred short rows for a million photos. What is left of them comes in the
//! order of time until a page is full, see [`positions`]. What only a look at a photo
//! decides (words next to each other, a distance) is decided photo by photo, from the newest on, up to [`MOST_LOOKS`] of
//! them.

mod chunks;
mod positions;
mod postings;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::StoreError;
use super::photo_scope::{MAX_LIMIT, PhotoPosition, Scope};
use super::schema::{decode, id_of};
use super::trees::Database;
use crate::photo::{AlbumId, Cell, Photo, PhotoId, PhotoSearch, Term, Wanted, terms_of};
use chunks::Numbers;
use positions::{Positions, WAYS, Ways};
use postings::{ABSENT, TAIL, TIMES, term_key};

/// Photos that are read one by one for a page of a search that needs it.
const MOST_LOOKS: usize = 1000;
/// Rows of terms that begin with what is asked for.
const MOST_ROWS: usize = 50_000;
/// Rows of tags that are counted; a hundred thousand photos have fifty of each tag.
const MOST_TAG_ROWS: usize = 200_000;
/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PhotosFound {
    /// The photos, those that were taken last first.
    pub photos: Vec<Photo>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<PhotoPosition>,
    /// How many there are in all, where that is known without a look at each.
    pub total: Option<u64>,
}

/// A square of the map with photos in it.
#[derive(Clone, Debug, PartialEq)]
pub struct PhotoCell {
    /// Which.
    pub cell: Cell,
    /// Photos in it.
    pub photos: u64,
    /// One of them.
    pub example: Option<PhotoId>,
}

/// The keys of all terms of a photo, the scope among them.
pub(super) fn keys_of(photo: &Photo) -> BTreeSet<Vec<u8>> {
    let scope = scope_key(&Scope::of(photo));
    terms_of(photo).iter().map(Term::to_bytes).chain([scope]).collect()
}

/// Takes all lists and numbers out, where nothing else changes the index meanwhile.
pub(super) fn clear(db: &Database) -> Result<(), StoreError> {
    for tree in [&db.photo_terms, &db.photo_times, &db.photo_numbers, &db.photo_ids, &db.photo_usage] {
        tree.tree().clear()?;
    }
    Ok(())
}

/// The key of the list of an album.
pub(super) fn album_key(id: AlbumId) -> Vec<u8> {
    Term::Album(id).to_bytes()
}

/// How many photos of `scopes` an album has.
pub(super) fn count_album(db: &Database, scopes: &[Scope], id: AlbumId) -> Result<u64, StoreError> {
    Ok(list(db, &album_key(id))?.and(&any(db, scopes.iter().map(scope_key))?).len())
}

/// Whether a photo is in one of `albums`.
pub(super) fn is_in_albums(db: &Database, photo: PhotoId, albums: &[AlbumId]) -> Result<bool, StoreError> {
    let Some(number) = db.photo_numbers.get(photo.to_bytes())? else { return Ok(false) };
    let number = number.as_ref().try_into().map_or(u32::MAX, u32::from_be_bytes);
    for album in albums {
        let row = db.photo_terms.get(term_key(&album_key(*album), chunks::chunk_of(number)))?;
        if row.is_some_and(|row| chunks::contains(&row, number)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The key of a scope: terms begin with other letters.
fn scope_key(scope: &Scope) -> Vec<u8> {
    let mut key = [b"S".as_slice(), &scope.prefix()].concat();
    key.retain(|byte| *byte != 0);
    key
}

/// The list of one term.
fn list(db: &Database, term: &[u8]) -> Result<Numbers, StoreError> {
    any(db, [term])
}

fn chunk_of(key: &[u8]) -> u32 {
    key.last_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// The lists of all terms that begin so, together.
fn lists(db: &Database, start: &[u8]) -> Result<Numbers, StoreError> {
    let mut numbers = Numbers::default();
    for (rows, entry) in db.photo_terms.scan_prefix(start).enumerate() {
        if rows >= MOST_ROWS {
            return Err(StoreError::TooMany("words begin with that: write more letters, or the word in quotes"));
        }
        let (key, row) = entry?;
        numbers.add_row(chunk_of(&key), &row);
    }
    Ok(numbers)
}

fn wanted(db: &Database, wanted: &Wanted) -> Result<Numbers, StoreError> {
    match wanted {
        Wanted::Term(term) => list(db, &term.to_bytes()),
        Wanted::Beginning(term) => lists(db, &term.to_bytes()),
        Wanted::Any(terms) => any(db, terms.iter().map(Term::to_bytes)),
        // The caller has put identities in its place.
        Wanted::AlbumTitled(_) => Ok(Numbers::default()),
    }
}

/// The lists of these terms, together. Those of squares side by side lie side by side, and are read at once: a row of sled
/// has many of them.
fn any(db: &Database, terms: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<Numbers, StoreError> {
    let mut stretches: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for term in terms {
        let term = term.as_ref().to_vec();
        match stretches.last_mut().filter(|(_, last)| is_next_square(last, &term)) {
            Some((_, last)) => *last = term,
            None => stretches.push((term.clone(), term)),
        }
    }
    let mut numbers = Numbers::default();
    for (first, last) in stretches {
        for entry in db.photo_terms.range(term_key(&first, 0)..=term_key(&last, u32::MAX)) {
            let (key, row) = entry?;
            numbers.add_row(chunk_of(&key), &row);
        }
    }
    Ok(numbers)
}

fn is_next_square(one: &[u8], other: &[u8]) -> bool {
    let (Some(one), Some(other)) = (Cell::from_key(one), Cell::from_key(other)) else { return false };
    Some(other.column) == one.column.checked_add(1) && Cell { column: other.column, ..one } == other
}

/// What the conditions and the span of a search leave of `scopes`.
fn candidates(db: &Database, scopes: &[Scope], search: &PhotoSearch) -> Result<Numbers, StoreError> {
    let mut found = within_span(db, any(db, scopes.iter().map(scope_key))?, search)?;
    for condition in &search.conditions {
        if found.is_empty() {
            break;
        }
        let mut all: Option<Numbers> = None;
        for part in &condition.all {
            let list = wanted(db, part)?;
            all = Some(all.map_or_else(|| list.clone(), |known| known.and(&list)));
        }
        let all = all.unwrap_or_default();
        found = if condition.negated { found.without(&all) } else { found.and(&all) };
    }
    Ok(found)
}

/// Those taken within the search's span: by the lists of its days, and by their times on days that it takes a part of.
fn within_span(db: &Database, found: Numbers, search: &PhotoSearch) -> Result<Numbers, StoreError> {
    let (from, until) = (search.from.map(wall_ms), search.until.map(wall_ms));
    if from.is_none() && until.is_none() {
        return Ok(found);
    }
    let (first, end) = (from.unwrap_or(i64::MIN), until.unwrap_or(i64::MAX));
    let mut of_span = Numbers::default();
    for day in days_between(db, first, end) {
        let (day, chunk, row) = day?;
        let start = i64::from(day) * DAY_MS;
        if (first..end).contains(&start) && start + DAY_MS <= end {
            of_span.add_row(chunk, &row);
            continue;
        }
        let mut part = Numbers::default();
        part.add_row(chunk, &row);
        let times: BTreeMap<u32, i64> =
            timed(db, &part)?.into_iter().map(|(wall_ms, number)| (number, wall_ms)).collect();
        let part = part.only(|number| times.get(&number).is_some_and(|wall_ms| (first..end).contains(wall_ms)));
        of_span = of_span.or(&part);
    }
    Ok(found.and(&of_span))
}

fn wall_ms(at: jiff::civil::DateTime) -> i64 {
    jiff::tz::Offset::UTC.to_timestamp(at).map_or(0, |at| at.as_millisecond())
}

/// The rows of the lists of days that touch the time from `first` to `end`: day, chunk, row.
fn days_between(
    db: &Database,
    first: i64,
    end: i64,
) -> impl DoubleEndedIterator<Item = Result<(i32, u32, sled::IVec), StoreError>> {
    let day =
        |ms: i64| Term::Day(i32::try_from(ms.div_euclid(DAY_MS)).unwrap_or(if ms < 0 { i32::MIN } else { i32::MAX }));
    let (low, high) = (day(first).to_bytes(), term_key(&day(end).to_bytes(), u32::MAX));
    // A span that ends before it begins is none.
    let high = high.max(low.clone());
    let row = |entry: Result<(sled::IVec, sled::IVec), StoreError>| {
        let (key, row) = entry?;
        let day = key.get(..key.len().saturating_sub(TAIL)).and_then(Term::day_of).unwrap_or(i32::MAX);
        Ok((day, chunk_of(&key), row))
    };
    db.photo_terms.range(low..=high).map(row)
}

/// The numbers with their times.
fn timed(db: &Database, numbers: &Numbers) -> Result<Vec<(i64, u32)>, StoreError> {
    let (mut timed, mut rows, mut row) = (Vec::new(), db.photo_times.lookup(), None);
    for number in numbers.iter() {
        let at = number / TIMES;
        if row.as_ref().is_none_or(|(known, _)| *known != at) {
            row = Some((at, rows.get(&at.to_be_bytes())?));
        }
        let Some((_, Some(times))) = &row else { continue };
        let start = (number % TIMES) as usize * 8;
        let wall_ms =
            times.get(start..start + 8).and_then(|bytes| bytes.try_into().ok()).map_or(ABSENT, i64::from_be_bytes);
        if wall_ms != ABSENT {
            timed.push((wall_ms, number));
        }
    }
    Ok(timed)
}

/// Photos of `scopes` that `search` asks for, those that were taken last first; `before` is where the page before ended.
pub(super) fn find(
    db: &Database,
    scopes: &[Scope],
    search: &PhotoSearch,
    before: Option<PhotoPosition>,
    limit: usize,
) -> Result<PhotosFound, StoreError> {
    find_by(db, scopes, search, before, limit, WAYS)
}

/// The same, with the choice of the way to what was taken last.
fn find_by(
    db: &Database,
    scopes: &[Scope],
    search: &PhotoSearch,
    before: Option<PhotoPosition>,
    limit: usize,
    ways: Ways,
) -> Result<PhotosFound, StoreError> {
    let limit = limit.clamp(1, MAX_LIMIT);
    let numbers = candidates(db, scopes, search)?;
    let total = (!search.needs_look()).then(|| numbers.len());
    // One more shows whether there is a further page.
    let count = if search.needs_look() { MOST_LOOKS } else { limit + 1 };
    let mut positions = Positions::new(db, scopes, numbers, before, count, ways)?;
    let (mut photos, mut rows, mut last) = (Vec::new(), db.photos.lookup(), None);
    for _ in 0..count {
        let Some(position) = positions.next()? else { return Ok(PhotosFound { photos, next: None, total }) };
        if photos.len() == limit {
            break;
        }
        last = Some(position);
        let Some(json) = rows.get(&position.id.to_bytes())? else { continue };
        let photo: Photo = decode(&json)?;
        // It may have changed since its lists were read.
        if scopes.contains(&Scope::of(&photo)) && search.is_fulfilled(&photo) {
            photos.push(photo);
        }
    }
    Ok(PhotosFound { photos, next: last, total })
}

/// How many photos there are of each day on the wall, days since 1970.
pub(super) fn days(db: &Database, scopes: &[Scope], search: &PhotoSearch) -> Result<BTreeMap<i64, u64>, StoreError> {
    let numbers = candidates(db, scopes, search)?;
    let mut days = BTreeMap::new();
    for row in days_between(db, i64::MIN, i64::MAX) {
        let (day, chunk, row) = row?;
        let photos = numbers.count_in(chunk, &row);
        if photos > 0 {
            *days.entry(i64::from(day)).or_default() += photos;
        }
    }
    Ok(days)
}

/// The tags, or the labels, that photos of `scopes` have, with how many have each, the most frequent first.
pub(super) fn texts(
    db: &Database,
    scopes: &[Scope],
    kind: &Term,
    limit: usize,
) -> Result<Vec<(String, u64)>, StoreError> {
    let seen = any(db, scopes.iter().map(scope_key))?;
    let (mut counted, mut current) = (Vec::new(), None::<(Vec<u8>, Numbers)>);
    let mut close = |term: Option<(Vec<u8>, Numbers)>| {
        if let Some((key, numbers)) = term
            && let Some(text) = Term::text_of(&key)
        {
            counted.push((text.to_owned(), numbers.and(&seen).len()));
        }
    };
    for entry in db.photo_terms.scan_prefix(kind.to_bytes()).take(MOST_TAG_ROWS) {
        let (key, row) = entry?;
        let term = key.get(..key.len().saturating_sub(TAIL)).unwrap_or_default();
        if current.as_ref().is_none_or(|(known, _)| known != term) {
            close(current.replace((term.to_vec(), Numbers::default())));
        }
        if let Some((_, numbers)) = &mut current {
            numbers.add_row(chunk_of(&key), &row);
        }
    }
    close(current);
    counted.retain(|(_, count)| *count > 0);
    counted.sort_by(|(a, many), (b, few)| few.cmp(many).then_with(|| a.cmp(b)));
    counted.truncate(limit);
    Ok(counted)
}

/// The squares of `cells` that have photos of `scopes` in them which `search` finds by its terms and times.
pub(super) fn places(
    db: &Database,
    scopes: &[Scope],
    search: &PhotoSearch,
    cells: &[Cell],
) -> Result<Vec<PhotoCell>, StoreError> {
    let seen = candidates(db, scopes, search)?;
    let mut found = Vec::new();
    for cell in cells {
        let numbers = list(db, &Term::Cell(*cell).to_bytes())?.and(&seen);
        let Some(last) = numbers.iter().last() else { continue };
        let example = db.photo_ids.get(last.to_be_bytes())?.and_then(|bytes| id_of(&bytes));
        found.push(PhotoCell { cell: *cell, photos: numbers.len(), example });
    }
    Ok(found)
}
