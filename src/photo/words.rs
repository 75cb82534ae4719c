//! Text as it is searched: in one spelling, and cut into words.
//!
//! Spelling: compatibility forms are made one (NFKC), letters small, accents of Latin, Greek and Cyrillic letters
//! left out. Scripts that are written without spaces have no words to cut at: there each character and each pair of
//! neighbours is a word, so that any part of a text is found.

use std::collections::BTreeSet;

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};

/// Longest word that is searched, bytes of UTF-8; the end of a longer one is cut.
const LONGEST: usize = 48;

/// `text` in the spelling that is compared.
pub fn fold(text: &str) -> String {
    let apart = DecomposingNormalizerBorrowed::new_nfkd().normalize(text);
    let plain: String = apart.chars().filter(|c| !('\u{300}'..='\u{36f}').contains(c)).collect();
    let small: String = ComposingNormalizerBorrowed::new_nfkc().normalize(&plain).to_lowercase();
    // The small form of a letter may have an accent again, such as the dot of a Turkish capital I.
    small.chars().filter(|c| !('\u{300}'..='\u{36f}').contains(c)).collect()
}

/// How a script is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// Between words.
    Spaces,
    /// Nowhere: Han, kana, Thai, Lao, Khmer, Burmese.
    Pairs,
}

fn cut_of(c: char) -> Option<Cut> {
    match c {
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' => Some(Cut::Pairs),
        '\u{3005}'..='\u{3007}' | '\u{3041}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' => Some(Cut::Pairs),
        '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}' => {
            Some(Cut::Pairs)
        }
        c if c.is_alphanumeric() => Some(Cut::Spaces),
        _ => None,
    }
}

/// Stretches of `folded` text of one way of cutting each.
fn runs(folded: &str) -> impl Iterator<Item = (Cut, &str)> {
    let mut rest = folded;
    std::iter::from_fn(move || {
        let start = rest.char_indices().find_map(|(at, c)| Some((at, cut_of(c)?)));
        let (at, cut) = start?;
        let tail = rest.get(at..)?;
        let length = tail.find(|c| cut_of(c) != Some(cut)).unwrap_or(tail.len());
        let (run, after) = tail.split_at_checked(length)?;
        rest = after;
        Some((cut, run))
    })
}

fn shortened(word: &str) -> String {
    word.get(..word.floor_char_boundary(LONGEST)).unwrap_or_default().to_owned()
}

/// The words under which `text` is found, folded.
pub fn words_of(text: &str) -> BTreeSet<String> {
    let folded = fold(text);
    let mut words = BTreeSet::new();
    for (cut, run) in runs(&folded) {
        match cut {
            Cut::Spaces => drop(words.insert(shortened(run))),
            Cut::Pairs => {
                words.extend(run.chars().map(String::from));
                words.extend(pairs(run));
            }
        }
    }
    words
}

fn pairs(run: &str) -> impl Iterator<Item = String> {
    run.chars().zip(run.chars().skip(1)).map(|(first, second)| String::from_iter([first, second]))
}

/// A word that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Asked {
    /// A word that begins so.
    Beginning(String),
    /// The word itself.
    Whole(String),
}

/// What has to be among the words of a text so that `asked` may be in it. `whole`: no word may go on after it.
pub fn asked_words(asked: &str, whole: bool) -> Vec<Asked> {
    let folded = fold(asked);
    let mut words = Vec::new();
    for (cut, run) in runs(&folded) {
        match cut {
            Cut::Spaces if whole || run.chars().nth(1).is_none() || run.len() > LONGEST => {
                words.push(Asked::Whole(shortened(run)));
            }
            Cut::Spaces => words.push(Asked::Beginning(run.to_owned())),
            Cut::Pairs if run.chars().nth(1).is_none() => words.push(Asked::Whole(run.to_owned())),
            Cut::Pairs => words.extend(pairs(run).map(Asked::Whole)),
        }
    }
    words.dedup();
    words
}

/// `text` folded, its words with one space before, between and after them: what phrases are looked for in.
pub fn spaced(text: &str) -> String {
    let folded = fold(text);
    runs(&folded).fold(String::from(" "), |text, (_, run)| text + run + " ")
}

/// What spaced text contains that has `asked` in it, words next to each other. `whole`: no word may go on after it.
pub fn phrase(asked: &str, whole: bool) -> String {
    let folded = fold(asked);
    let all: Vec<(Cut, &str)> = runs(&folded).collect();
    let is_word = |run: Option<&(Cut, &str)>| run.is_some_and(|(cut, _)| *cut == Cut::Spaces);
    let inner = all.iter().map(|(_, run)| *run).collect::<Vec<_>>().join(" ");
    let before = if is_word(all.first()) { " " } else { "" };
    let after = if whole && is_word(all.last()) { " " } else { "" };
    format!("{before}{inner}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_word_are_one() {
        for (text, folded) in [
            ("Zürich", "zurich"),
            ("ＡＢＣ１２", "abc12"),
            ("ガード", "ガード"),
            ("ｶﾞｰﾄﾞ", "ガード"),
            ("Ёлка", "елка"),
            ("İstanbul", "istanbul"),
            ("ﬁsh", "fish"),
        ] {
            assert_eq!(fold(text), folded, "{text}");
        }
    }

    #[test]
    fn text_without_spaces_is_cut_into_pairs() {
        let words: Vec<String> = words_of("北海道の鹿, Deer 2024").into_iter().collect();
        assert_eq!(
            words,
            ["2024", "deer", "の", "の鹿", "北", "北海", "海", "海道", "道", "道の", "鹿"].map(ToOwned::to_owned)
        );
    }

    #[test]
    fn what_is_asked_is_found_among_the_words_of_the_text_that_has_it() {
        let text = "Die Höhle der Löwen 北海道の鹿 x-ray";
        let words = words_of(text);
        for asked in ["hoh", "HÖHLE", "海道", "鹿", "löw 北海", "x-ray", "道の鹿"] {
            for word in asked_words(asked, false) {
                let is_there = match &word {
                    Asked::Whole(word) => words.contains(word),
                    Asked::Beginning(start) => words.iter().any(|word| word.starts_with(start)),
                };
                assert!(is_there, "{asked}: {word:?}");
            }
        }
        assert_eq!(asked_words("hoh", true), [Asked::Whole("hoh".to_owned())]);
        assert_eq!(asked_words(" .,!", false), []);
    }

    #[test]
    fn a_phrase_is_found_where_its_words_are_next_to_each_other() {
        let text = spaced("The grey-heron, by 北海道の池 at x-ray");
        for (asked, whole, is_there) in [
            ("grey heron", true, true),
            ("grey her", true, false),
            ("grey her", false, true),
            ("rey heron", false, false),
            ("海道", true, true),
            ("道の池 at", true, true),
            ("北海の", true, false),
            ("x-ra", false, true),
        ] {
            assert_eq!(text.contains(&phrase(asked, whole)), is_there, "{asked}");
        }
    }

    #[test]
    fn a_word_without_end_is_cut_at_a_character() {
        let long = "ä".repeat(100);
        assert!(words_of(&long).iter().all(|word| word.len() <= LONGEST));
        assert_eq!(asked_words(&long, false), [Asked::Whole("a".repeat(48))]);
    }
}
