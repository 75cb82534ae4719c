//! What people ask the library for, and the line of text that they ask with.
//!
//! | part | finds |
//! |---|---|
//! | `heron` | what has a word that begins so in title, note, tags, name, description or camera |
//! | `"grey heron"` | what has exactly these words next to each other |
//! | `tag:`, `camera:`, `label:`, `album:`, `owner:`, `type:` | what has this tag, …; `tag:bird*` a tag that begins so |
//! | `is:favorite`, `is:private`, `is:video`, `is:picture`, `has:place` | what is so |
//! | `before:2024-05`, `after:2024-05-01`, `on:2024` | by the time on the wall; `after` begins with that time |
//! | `near:35.68,139.77,5` | what was taken within 5 km of a place; 1 km where no distance is given |
//! | `-tag:blurred` | what is not found by the rest |

use std::str::FromStr;

use jiff::ToSpan;
use jiff::civil::{Date, DateTime};

use super::terms::{Cell, Term, text_of};
use super::words::{Asked, asked_words, fold, phrase, spaced};
use super::{GeoPoint, Medium, Photo, PictureFormat};

/// Longest line that is read, bytes.
pub const LONGEST_SEARCH: usize = 500;
/// Farthest that `near:` looks, kilometres.
const FARTHEST_KM: f64 = 2000.0;
const FILTERS: &str = "tag, camera, label, album, owner, type, is, has, before, after, on, near";

/// A list of photos that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// What has this term.
    Term(Term),
    /// What has a term of this kind that begins so.
    Beginning(Term),
    /// What has at least one of these.
    Any(Vec<Term>),
    /// What is in an album with this title, folded, that the caller sees.
    AlbumTitled(String),
}

/// What all photos that are found fulfil.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What fulfils the rest is not found.
    pub negated: bool,
    /// All of it.
    pub all: Vec<Wanted>,
}

/// What is asked for; nothing in it: all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PhotoSearch {
    /// All of them hold.
    pub conditions: Vec<Condition>,
    /// Taken at this time on the wall or later.
    pub from: Option<DateTime>,
    /// Taken before this time on the wall.
    pub until: Option<DateTime>,
    /// Stretches of folded text that are in what is said of a photo.
    pub phrases: Vec<String>,
    /// Taken within so many kilometres of a place.
    pub near: Option<(GeoPoint, f64)>,
}

impl PhotoSearch {
    /// Whether all photos are asked for.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether what the terms found is to be looked at photo by photo.
    pub fn needs_look(&self) -> bool {
        !self.phrases.is_empty() || self.near.is_some()
    }

    /// Whether `photo`, which the terms found, is asked for.
    pub fn is_fulfilled(&self, photo: &Photo) -> bool {
        if let Some((centre, km)) = &self.near
            && photo.facts.place.is_none_or(|place| place.distance_km(centre) > *km)
        {
            return false;
        }
        if self.phrases.is_empty() {
            return true;
        }
        let text = spaced(&text_of(photo));
        self.phrases.iter().all(|phrase| text.contains(phrase))
    }

    fn require(&mut self, wanted: Wanted, negated: bool) {
        self.conditions.push(Condition { negated, all: vec![wanted] });
    }

    fn words(&mut self, text: &str, whole: bool, negated: bool) {
        let words = asked_words(text, whole);
        let wanted = |word: &Asked| match word {
            Asked::Whole(word) => Wanted::Term(Term::Word(word.clone())),
            Asked::Beginning(word) => Wanted::Beginning(Term::Word(word.clone())),
        };
        if words.is_empty() {
            return;
        }
        if !negated && words.len() > 1 {
            self.phrases.push(phrase(text, whole));
        }
        self.conditions.push(Condition { negated, all: words.iter().map(wanted).collect() });
    }

    fn filter(&mut self, key: &str, value: &str, negated: bool) -> Result<(), String> {
        match key {
            "tag" | "label" => {
                let (text, begins) = value.strip_suffix('*').map_or((value, false), |start| (start, true));
                let term = if key == "tag" { Term::Tag(fold(text)) } else { Term::Label(fold(text)) };
                self.require(if begins { Wanted::Beginning(term) } else { Wanted::Term(term) }, negated);
            }
            "camera" => {
                let all = asked_words(value, false).into_iter().map(|word| match word {
                    Asked::Whole(word) => Wanted::Term(Term::Device(word)),
                    Asked::Beginning(word) => Wanted::Beginning(Term::Device(word)),
                });
                self.conditions.push(Condition { negated, all: all.collect() });
            }
            "album" => self.require(Wanted::AlbumTitled(fold(value)), negated),
            "owner" => self.require(Wanted::Term(Term::Owner(value.to_owned())), negated),
            "type" => self.require(Wanted::Term(of_type(value)?), negated),
            "is" | "has" => self.require(Wanted::Term(of_state(key, value)?), negated),
            "before" | "after" | "on" => {
                let (start, end) = span(value)?;
                if negated {
                    return Err(format!("-{key}: cannot be asked for; ask with before: or after:"));
                }
                match key {
                    "before" => self.until = Some(self.until.map_or(start, |until| until.min(start))),
                    "after" => self.from = Some(self.from.map_or(start, |from| from.max(start))),
                    _ => {
                        self.from = Some(self.from.map_or(start, |from| from.max(start)));
                        self.until = Some(self.until.map_or(end, |until| until.min(end)));
                    }
                }
            }
            "near" if negated => return Err("-near: cannot be asked for".to_owned()),
            "near" => {
                let (place, km) = circle(value)?;
                self.require(Wanted::Any(Cell::around(&place, km).into_iter().map(Term::Cell).collect()), false);
                self.near = Some((place, km));
            }
            _ => {
                return Err(format!(
                    "{key}: is no filter; there are {FILTERS}. For the words themselves write \"{key}:{value}\" in quotes"
                ));
            }
        }
        Ok(())
    }
}

fn of_type(value: &str) -> Result<Term, String> {
    let name = fold(value);
    match &*name {
        "picture" | "photo" => return Ok(Term::Medium(Medium::Picture)),
        "video" => return Ok(Term::Medium(Medium::Video)),
        "event" => return Ok(Term::CameraEvent),
        _ => {}
    }
    let known = |format: &PictureFormat| {
        serde_json::to_value(format).is_ok_and(|known| known == name.as_str()) || format.extension() == name
    };
    PictureFormat::ALL.into_iter().find(known).map(Term::Format).ok_or_else(|| {
        format!("type:{value} is not known; there are picture, video, event, jpeg, png, webp, gif, tiff, heic, avif, raw, mp4, mov, matroska")
    })
}

/// The viewer's name is filled in by [`PhotoSearch::read`].
fn of_state(key: &str, value: &str) -> Result<Term, String> {
    match (key, value) {
        ("is", "favorite" | "favourite") => Ok(Term::FavoriteOf(String::new())),
        ("is", "private") => Ok(Term::Private),
        ("is", "video") => Ok(Term::Medium(Medium::Video)),
        ("is", "picture" | "photo") => Ok(Term::Medium(Medium::Picture)),
        ("has", "place") => Ok(Term::Placed),
        _ => Err(format!(
            "{key}:{value} is not known; there are is:favorite, is:private, is:video, is:picture, has:place"
        )),
    }
}

/// The span of time that `2024`, `2024-05`, `2024-05-01` or `2024-05-01T12:00` is.
fn span(value: &str) -> Result<(DateTime, DateTime), String> {
    let wrong = || format!("{value:?} is no time; write 2024, 2024-05, 2024-05-01 or 2024-05-01T12:00");
    let numbers: Option<Vec<i16>> = value.split('-').map(|part| part.parse().ok()).collect();
    let day = |year, month, day| Date::new(year, month, day).map_err(|_| wrong());
    let small = |n: i16| i8::try_from(n).map_err(|_| wrong());
    let (start, end) = match numbers.as_deref() {
        Some(&[year]) => (day(year, 1, 1)?, day(year, 1, 1)?.checked_add(1.year())),
        Some(&[year, month]) => (day(year, small(month)?, 1)?, day(year, small(month)?, 1)?.checked_add(1.month())),
        Some(&[year, month, date]) => {
            let date = day(year, small(month)?, small(date)?)?;
            (date, date.tomorrow())
        }
        _ => {
            let at = DateTime::from_str(value).map_err(|_| wrong())?;
            return Ok((at, at.checked_add(1.minute()).map_err(|_| wrong())?));
        }
    };
    let midnight = |date: Date| date.to_datetime(jiff::civil::Time::midnight());
    Ok((midnight(start), midnight(end.map_err(|_| wrong())?)))
}

fn circle(value: &str) -> Result<(GeoPoint, f64), String> {
    let wrong =
        || format!("near:{value} is no place; write near:35.68,139.77 or, with kilometres, near:35.68,139.77,5");
    let numbers: Option<Vec<f64>> = value.split(',').map(|part| part.trim().parse().ok()).collect();
    let (latitude, longitude, km) = match numbers.as_deref() {
        Some(&[latitude, longitude]) => (latitude, longitude, 1.0),
        Some(&[latitude, longitude, km]) => (latitude, longitude, km),
        _ => return Err(wrong()),
    };
    let place = GeoPoint::new(latitude, longitude, None).ok_or_else(wrong)?;
    if !(km > 0.0 && km <= FARTHEST_KM) {
        return Err(format!("near: looks up to {FARTHEST_KM} km far"));
    }
    Ok((place, km))
}

/// One part of a line: a filter's name, the text, whether it was in quotes, whether it is negated.
struct Part<'a> {
    key: Option<&'a str>,
    text: &'a str,
    quoted: bool,
    negated: bool,
}

fn next_part<'a>(line: &mut &'a str) -> Option<Part<'a>> {
    let rest = line.trim_start();
    let (rest, negated) = match rest.strip_prefix('-') {
        Some(after) if after.chars().next().is_some_and(|c| !c.is_whitespace()) => (after, true),
        _ => (rest, false),
    };
    if rest.is_empty() {
        return None;
    }
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let key = rest.get(letters..).filter(|after| letters > 0 && after.starts_with(':') && !after.starts_with("://"));
    let (key, body) = match key {
        Some(after) => (rest.get(..letters), after.get(1..).unwrap_or_default()),
        None => (None, rest),
    };
    let (text, quoted, after) = match body.strip_prefix('"') {
        // A quotation without end goes to the end of the line.
        Some(inner) => match inner.split_once('"') {
            Some((text, after)) => (text, true, after),
            None => (inner, true, ""),
        },
        None => {
            let end = body.find(char::is_whitespace).unwrap_or(body.len());
            let (text, after) = body.split_at_checked(end).unwrap_or((body, ""));
            (text, false, after)
        }
    };
    *line = after;
    Some(Part { key, text, quoted, negated })
}

impl PhotoSearch {
    /// Reads a line as `viewer` wrote it.
    ///
    /// # Errors
    /// A sentence that says what is wrong, and what is allowed.
    pub fn read(line: &str, viewer: &str) -> Result<Self, String> {
        if line.len() > LONGEST_SEARCH {
            return Err(format!("a search has {LONGEST_SEARCH} bytes at most"));
        }
        let (mut search, mut rest) = (Self::default(), line);
        while let Some(Part { key, text, quoted, negated }) = next_part(&mut rest) {
            match key {
                Some(key) if text.is_empty() => {
                    return Err(format!("{key}: what? Write it without a space behind the colon"));
                }
                Some(key) => search.filter(&key.to_ascii_lowercase(), text, negated)?,
                None => search.words(text, quoted, negated),
            }
        }
        for wanted in search.conditions.iter_mut().flat_map(|condition| &mut condition.all) {
            if let Wanted::Term(Term::FavoriteOf(user)) = wanted {
                viewer.clone_into(user);
            }
        }
        Ok(search)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> PhotoSearch {
        PhotoSearch::read(line, "anna").unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    #[test]
    fn a_line_is_read_part_by_part() {
        let search = read(r#"heron tag:"night bird" -is:favorite camera:canon after:2024-05 before:2024-06-02"#);
        let wanted: Vec<(bool, &Wanted)> =
            search.conditions.iter().flat_map(|c| c.all.iter().map(|wanted| (c.negated, wanted))).collect();
        assert_eq!(
            wanted,
            [
                (false, &Wanted::Beginning(Term::Word("heron".to_owned()))),
                (false, &Wanted::Term(Term::Tag("night bird".to_owned()))),
                (true, &Wanted::Term(Term::FavoriteOf("anna".to_owned()))),
                (false, &Wanted::Beginning(Term::Device("canon".to_owned()))),
            ]
        );
        let time = |text: &str| Some(text.parse().expect("a time"));
        assert_eq!((search.from, search.until), (time("2024-05-01T00:00"), time("2024-06-02T00:00")));
        assert!(read("  ").is_all() && read("\u{3000}").is_all());
    }

    #[test]
    fn spans_of_time_end_where_the_next_begins() {
        for (value, from, until) in [
            ("2024", "2024-01-01T00:00", "2025-01-01T00:00"),
            ("2024-12", "2024-12-01T00:00", "2025-01-01T00:00"),
            ("2024-02-29", "2024-02-29T00:00", "2024-03-01T00:00"),
            ("2024-02-29T10:30", "2024-02-29T10:30", "2024-02-29T10:31"),
        ] {
            let search = read(&format!("on:{value}"));
            let texts = [search.from, search.until].map(|at| at.map(|at| at.strftime("%Y-%m-%dT%H:%M").to_string()));
            assert_eq!(texts, [Some(from.to_owned()), Some(until.to_owned())], "{value}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_what_is_allowed() {
        for (line, says) in [
            ("place:tokyo", "is no filter"),
            ("tag:", "without a space"),
            ("on:yesterday", "is no time"),
            ("before:2024-13", "is no time"),
            ("near:tokyo", "is no place"),
            ("near:91,0", "is no place"),
            ("near:1,1,0", "km far"),
            ("type:doc", "is not known"),
            ("is:big", "is:favorite"),
            ("-near:1,1", "cannot"),
        ] {
            let error = PhotoSearch::read(line, "anna").expect_err(line);
            assert!(error.contains(says), "{line}: {error}");
        }
        assert!(PhotoSearch::read(&"a".repeat(501), "anna").is_err());
        assert!(read("http://example.org/a 10:30").conditions.len() == 2, "no filters");
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(line in "\\PC{0,80}") {
            drop(PhotoSearch::read(&line, "anna"));
        }
    }
}
