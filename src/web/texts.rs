//! The text of the page in its languages.
//!
//! All of it lies in `texts/`, one file for each language, for templates and scripts alike. Parameters stand in braces and
//! are filled in by the page's scripts (`assets/texts.js`).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::{HeaderMap, header};

/// What a person chose is kept in this cookie.
const COOKIE: &str = "outpost_language";

/// A language that the page has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Language {
    #[default]
    English,
    Japanese,
}

type Texts = BTreeMap<&'static str, String>;

static ENGLISH: LazyLock<Texts> = LazyLock::new(|| parsed(Language::English));
static JAPANESE: LazyLock<Texts> = LazyLock::new(|| parsed(Language::Japanese));

fn parsed(language: Language) -> Texts {
    // Files of the program itself, which a test reads.
    serde_json::from_str(language.file()).unwrap_or_default()
}

impl Language {
    pub(super) const ALL: [Self; 2] = [Self::English, Self::Japanese];

    /// Its tag (BCP 47).
    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Japanese => "ja",
        }
    }

    /// What its speakers call it.
    pub(super) fn own_name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::Japanese => "日本語",
        }
    }

    /// All its texts, as JSON.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::English => include_str!("texts/en.json"),
            Self::Japanese => include_str!("texts/ja.json"),
        }
    }

    /// The text of `key`; the English one where this language has none, the key itself where there is none at all.
    pub(super) fn text(self, key: &'static str) -> &'static str {
        let texts: &'static Texts = match self {
            Self::English => &ENGLISH,
            Self::Japanese => &JAPANESE,
        };
        texts.get(key).or_else(|| ENGLISH.get(key)).map_or(key, String::as_str)
    }

    /// What a request asks for: the language that was chosen, else the first of its preferences that there is.
    pub(super) fn of_request(headers: &HeaderMap) -> Self {
        let lines = |name| headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        let pairs =
            lines(header::COOKIE).flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let chosen = pairs.filter(|(name, _)| *name == COOKIE).find_map(|(_, tag)| Self::of_tag(tag));
        chosen.or_else(|| preferred(lines(header::ACCEPT_LANGUAGE))).unwrap_or_default()
    }

    /// By its tag, or that of a variant: "ja-JP".
    fn of_tag(tag: &str) -> Option<Self> {
        let primary = tag.trim().split('-').next().unwrap_or_default();
        Self::ALL.into_iter().find(|language| language.tag().eq_ignore_ascii_case(primary))
    }
}

/// The language that is wanted most: by weight, then by order (RFC 9110).
fn preferred<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Language> {
    let ranges = lines.flat_map(|line| line.split(',')).filter_map(|range| {
        let (tag, parameters) = range.split_once(';').unwrap_or((range, ""));
        let weight = parameters.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>).unwrap_or(0.0);
        Language::of_tag(tag).filter(|_| weight > 0.0).map(|language| (language, weight))
    });
    let best = ranges.reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map(|(language, _)| language)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn asked(headers: &[(HeaderName, &str)]) -> Language {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value.parse().expect("a header"));
        }
        Language::of_request(&map)
    }

    #[test]
    fn a_request_gets_the_language_that_was_chosen_or_else_the_one_it_prefers() {
        let (accept, cookie) = (header::ACCEPT_LANGUAGE, header::COOKIE);
        for (preferences, language) in [
            ("ja", Language::Japanese),
            ("ja-JP,ja;q=0.9,en;q=0.8", Language::Japanese),
            ("de-CH, fr;q=0.9, en;q=0.4, ja;q=0.6", Language::Japanese),
            ("en-GB,en;q=0.9,ja;q=0.8", Language::English),
            ("ja;q=0, de", Language::English),
            ("", Language::English),
            (";;q=x,,ja;q=ä", Language::English),
        ] {
            assert_eq!(asked(&[(accept.clone(), preferences)]), language, "{preferences}");
        }
        let chosen = "a=b; outpost_language=ja; c=d";
        assert_eq!(asked(&[(accept.clone(), "en"), (cookie.clone(), chosen)]), Language::Japanese);
        assert_eq!(asked(&[(accept, "ja"), (cookie, "outpost_language=xx")]), Language::Japanese);
    }

    #[test]
    fn a_text_that_a_language_lacks_is_english_and_one_that_there_is_not_is_its_key() {
        assert_eq!(Language::Japanese.text("nav.overview"), "概要");
        assert_eq!(Language::Japanese.text("overview.version.one"), Language::English.text("overview.version.one"));
        assert_eq!(Language::English.text("no.such.key"), "no.such.key");
    }
}
