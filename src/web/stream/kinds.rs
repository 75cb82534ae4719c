//! What a client wants to follow.

use url::form_urlencoded;

use crate::web::problem::Problem;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinds {
    /// Changes of events.
    pub(super) events: bool,
    /// The state of the box.
    pub(super) status: bool,
    /// Exports and how far they are.
    pub(super) exports: bool,
    /// Changes of the library.
    pub(super) photos: bool,
}

impl Kinds {
    const ALL: Self = Self { events: true, status: true, exports: true, photos: true };
    const NONE: Self = Self { events: false, status: false, exports: false, photos: false };

    /// Reads `kinds` of a query; all where it is left out.
    pub(super) fn parse(query: &str) -> Result<Self, Problem> {
        let mut kinds = Self::ALL;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if name != "kinds" {
                return Err(Problem::parameter(&name, &value, "the parameter kinds"));
            }
            kinds = Self::NONE;
            for kind in value.split(',') {
                match kind {
                    "events" => kinds.events = true,
                    "status" => kinds.status = true,
                    "exports" => kinds.exports = true,
                    "photos" => kinds.photos = true,
                    _ => {
                        return Err(Problem::parameter(
                            &name,
                            &value,
                            "events, status, exports and photos, with commas between",
                        ));
                    }
                }
            }
        }
        Ok(kinds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_and_all_without() {
        assert_eq!(Kinds::parse("").expect("all"), Kinds::ALL);
        let some = Kinds { events: true, exports: true, ..Kinds::NONE };
        assert_eq!(Kinds::parse("kinds=exports,events").expect("two"), some);
        for wrong in ["kinds=", "kinds=log", "kinds=events,", "sorts=events"] {
            assert!(Kinds::parse(wrong).is_err(), "{wrong}");
        }
    }
}
