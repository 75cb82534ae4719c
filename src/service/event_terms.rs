//! What an event of a camera is found by when photos and events are searched together: the same conditions as of a photo.

use std::collections::BTreeSet;

use jiff::civil::DateTime;

use crate::event::Event;
use crate::photo::{PhotoSearch, Term, Wanted, fold, spaced, words_of};
use crate::zone;

/// When it began, as clocks at the box show it.
pub(super) fn wall_of(event: &Event) -> DateTime {
    zone::local().to_datetime(event.start.wall)
}

/// All that is said of it, one text after the other.
fn text_of(event: &Event) -> String {
    let named = [&event.camera, &event.label, &event.rule].into_iter().chain(&event.zones);
    let by_people = event.annotations.iter().flat_map(|said| said.tags.iter().chain([&said.note]));
    named.chain(by_people).map(|text| &**text).collect::<Vec<_>>().join("\n")
}

fn terms_of(event: &Event) -> BTreeSet<Term> {
    let mut terms: BTreeSet<Term> = words_of(&text_of(event)).into_iter().map(Term::Word).collect();
    terms.extend(words_of(&event.camera).into_iter().map(Term::Device));
    terms.extend(event.annotations.iter().flat_map(|said| &said.tags).map(|tag| Term::Tag(fold(tag))));
    terms.insert(Term::Label(fold(&event.label)));
    terms.insert(Term::CameraEvent);
    terms
}

/// Whether `search` asks for the event. Of albums, owners, places and codings an event has none.
pub(super) fn is_asked_for(search: &PhotoSearch, event: &Event) -> bool {
    let at = wall_of(event);
    if search.from.is_some_and(|from| at < from)
        || search.until.is_some_and(|until| at >= until)
        || search.near.is_some()
    {
        return false;
    }
    let terms = terms_of(event);
    let holds = |wanted: &Wanted| match wanted {
        Wanted::Term(term) => terms.contains(term),
        Wanted::Beginning(start) => {
            let start = start.to_bytes();
            terms.iter().any(|term| term.to_bytes().starts_with(&start))
        }
        Wanted::Any(any) => any.iter().any(|term| terms.contains(term)),
        Wanted::AlbumTitled(_) => false,
    };
    let fulfils = |negated: bool, all: &[Wanted]| all.iter().all(holds) != negated;
    let text = spaced(&text_of(event));
    search.conditions.iter().all(|condition| fulfils(condition.negated, &condition.all))
        && search.phrases.iter().all(|phrase| text.contains(phrase))
}

/// Texts that are all in what is said of an event which is asked for, folded: by them most events are passed over unread.
pub(super) fn hints(search: &PhotoSearch) -> Vec<String> {
    let wanted = search.conditions.iter().filter(|condition| !condition.negated).flat_map(|condition| &condition.all);
    let text = |wanted: &Wanted| match wanted {
        Wanted::Term(term) | Wanted::Beginning(term) => match term {
            Term::Word(text) | Term::Tag(text) | Term::Device(text) | Term::Label(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    };
    wanted.filter_map(text).collect()
}

/// Whether an event may be asked for at all.
pub(super) fn may_be_event(search: &PhotoSearch) -> bool {
    let of_photos = |wanted: &Wanted| match wanted {
        Wanted::Term(term) | Wanted::Beginning(term) => {
            !matches!(term, Term::Word(_) | Term::Tag(_) | Term::Device(_) | Term::Label(_) | Term::CameraEvent)
        }
        Wanted::Any(_) | Wanted::AlbumTitled(_) => true,
    };
    let mut conditions = search.conditions.iter().filter(|condition| !condition.negated);
    search.near.is_none() && !conditions.any(|condition| condition.all.iter().any(of_photos))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{Clock, Mono, SimulatedClock};
    use crate::event::{Annotations, EventId, fixture};

    fn event() -> Event {
        let at = SimulatedClock::new(Mono(0), "2026-11-22T10:00:00Z".parse().expect("a time")).now();
        let said = Annotations {
            tags: vec![Arc::from("Red van")],
            note: "the baker’s Café".into(),
            verdict: None,
            by: "anna".into(),
            at: at.clone(),
        };
        let event = fixture::event(EventId::from_bytes([1; 16]), "north gate", at);
        Event { label: "person".into(), zones: vec!["drive".into()], annotations: Some(said), ..event }
    }

    #[test]
    fn events_are_found_by_the_words_and_filters_of_photos() {
        let event = event();
        let found = |line: &str| {
            let search = PhotoSearch::read(line, "anna").unwrap_or_else(|error| panic!("{line}: {error}"));
            let found = is_asked_for(&search, &event);
            assert!(!found || may_be_event(&search), "{line}: it would not have been looked for");
            let text = text_of(&event).to_lowercase();
            let plain = |hint: &String| text.contains(hint.as_str()) || !text.is_ascii();
            assert!(!found || hints(&search).iter().all(plain), "{line}: it would have been passed over");
            found
        };
        for line in [
            "",
            "pers",
            "cafe",
            "\"red van\"",
            "drive gate",
            "label:person",
            "label:per*",
            "tag:\"red van\"",
            "tag:red*",
            "camera:gate",
            "type:event",
            "-type:picture",
            "-tag:bird",
            "on:2026-11-22",
            "after:2026-11 before:2027",
            "-is:favorite",
        ] {
            assert!(found(line), "{line}");
        }
        for line in [
            "dog",
            "label:dog",
            "\"van red\"",
            "tag:van",
            "camera:canon",
            "type:picture",
            "-type:event",
            "is:favorite",
            "has:place",
            "near:35,139",
            "owner:anna",
            "on:2026-11-20",
            "before:2026-11-21",
            "-label:person",
        ] {
            assert!(!found(line), "{line}");
        }
    }
}
