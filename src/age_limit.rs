//! Lengths of time in which days are counted, as people write them: `30d`, `12h`, `1d 12h`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A length of time in which days may be counted: `30d`, `12h`, `1d 12h`. A day has 24 hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Age(pub Duration);

impl FromStr for Age {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not an age such as \"30d\", \"12h\" or \"1d 12h\"");
        let days = text.split_once('d').and_then(|(days, rest)| Some((days.trim().parse::<u32>().ok()?, rest.trim())));
        let rest = match days.map_or(text.trim(), |(_, rest)| rest) {
            "" if days.is_some() => Duration::ZERO,
            rest => rest.parse::<SignedDuration>().ok().and_then(|rest| rest.try_into().ok()).ok_or_else(bad)?,
        };
        Ok(Self(DAY * days.map_or(0, |(days, _)| days) + rest))
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.0.as_secs() / DAY.as_secs();
        let rest = self.0 - DAY * u32::try_from(days).unwrap_or(u32::MAX);
        match (days, rest) {
            (days, Duration::ZERO) => write!(f, "{days}d"),
            (0, rest) => write!(f, "{}s", rest.as_secs()),
            (days, rest) => write!(f, "{days}d {}s", rest.as_secs()),
        }
    }
}

impl TryFrom<String> for Age {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Age> for String {
    fn from(age: Age) -> String {
        age.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_with_days() {
        let day = Duration::from_secs(24 * 3600);
        let cases = [
            ("30d", 30 * day, "30d"),
            ("0d", Duration::ZERO, "0d"),
            ("36h", day * 3 / 2, "1d 43200s"),
            ("1d 12h", day * 3 / 2, "1d 43200s"),
            ("90 seconds", Duration::from_secs(90), "90s"),
        ];
        for (text, age, written) in cases {
            let parsed: Age = text.parse().expect(text);
            assert_eq!((parsed.0, parsed.to_string().as_str()), (age, written));
            assert_eq!(written.parse::<Age>().expect(written), parsed);
        }
        for bad in ["", "d", "-3d", "3 days ago", "1d -2h", "five"] {
            assert!(bad.parse::<Age>().is_err(), "{bad}");
        }
    }
}
