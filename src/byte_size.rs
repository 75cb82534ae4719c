//! Sizes as people write them: `500000000`, `"500 MB"`, `"10 GiB"`. For serde's `with`, on keys that hold bytes:
//! `#[serde(with = "crate::byte_size")]`, and `"crate::byte_size::optional"` on an `Option`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::ser::{Error as _, Serialize, Serializer};

/// Units and their bytes. K, M, G and T alone say neither of the two, and are refused.
const UNITS: [(&str, u64); 9] = [
    ("b", 1),
    ("kb", 1000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// The bytes that `text` names: a number, of bytes or with a unit such as MB (a million) or MiB (1048576).
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse(text: &str) -> Result<u64, String> {
    let bad = |why: &str| format!("{text:?} is not a size{why}; write \"500 MB\", \"10 GiB\" or a number of bytes");
    let text_of_number = text.trim();
    let end =
        text_of_number.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text_of_number.len());
    let (number, unit) = text_of_number.split_at(end);
    let number = number.replace('_', "");
    let unit = unit.trim().to_ascii_lowercase();
    let factor = match UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => *factor,
        None if unit.is_empty() => 1,
        None if matches!(&*unit, "k" | "m" | "g" | "t") => {
            let unit = unit.to_ascii_uppercase();
            return Err(bad(&format!(": {unit} may be {unit}B or {unit}iB")));
        }
        None => return Err(bad("")),
    };
    let (whole, part) = number.split_once('.').unwrap_or((&number, ""));
    let digits = |digits: &str| digits.parse::<u64>().ok();
    let whole = digits(whole).and_then(|whole| whole.checked_mul(factor)).ok_or_else(|| bad(""))?;
    let part = match part {
        "" if !number.contains('.') => 0,
        // Nine digits are more than any unit needs to be distinguished from its neighbour.
        part => {
            let part: String = part.chars().take(9).collect();
            let scale = 10u64.pow(u32::try_from(part.len()).unwrap_or(9));
            let share = digits(&part).map(|part| u128::from(part) * u128::from(factor) / u128::from(scale));
            share.and_then(|share| u64::try_from(share).ok()).ok_or_else(|| bad(""))?
        }
    };
    whole.checked_add(part).ok_or_else(|| bad(""))
}

/// `870 B`, `12.3 MB`: what people read.
#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
pub fn text(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let step = usize::try_from(count.checked_ilog10().unwrap_or_default() / 3).unwrap_or_default().min(UNITS.len() - 1);
    let unit = UNITS.get(step).copied().unwrap_or_default();
    if step == 0 {
        return format!("{count} {unit}");
    }
    format!("{:.1} {unit}", count as f64 / 1000f64.powi(i32::try_from(step).unwrap_or_default()))
}

struct Size<T>(PhantomData<T>);

impl<T: TryFrom<u64>> Visitor<'_> for Size<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"500 MB\", \"10 GiB\" or a number of bytes")
    }

    fn visit_u64<E: Error>(self, bytes: u64) -> Result<T, E> {
        T::try_from(bytes).map_err(|_| E::invalid_value(Unexpected::Unsigned(bytes), &self))
    }

    fn visit_i64<E: Error>(self, bytes: i64) -> Result<T, E> {
        let size = u64::try_from(bytes).ok().and_then(|bytes| T::try_from(bytes).ok());
        size.ok_or_else(|| E::invalid_value(Unexpected::Signed(bytes), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        self.visit_u64(parse(text).map_err(E::custom)?)
    }
}

/// Reads a size.
///
/// # Errors
/// When it is none.
pub fn deserialize<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(Size(PhantomData))
}

/// Writes a size as a number of bytes.
///
/// # Errors
/// When the format refuses.
pub fn serialize<S: Serializer, T: Copy + TryInto<u64>>(size: &T, serializer: S) -> Result<S::Ok, S::Error> {
    let bytes: Result<u64, _> = (*size).try_into();
    bytes.map_err(|_| S::Error::custom("a size that is too large"))?.serialize(serializer)
}

/// The same for sizes that may be left out.
pub mod optional {
    use serde::de::Deserializer;
    use serde::ser::{Serialize, Serializer};

    /// Reads a size.
    ///
    /// # Errors
    /// When it is none.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        super::deserialize(deserializer).map(Some)
    }

    /// Writes a size as a number of bytes.
    ///
    /// # Errors
    /// When the format refuses.
    pub fn serialize<S: Serializer>(size: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        size.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("10_000", 10_000),
            ("10 GB", 10_000_000_000),
            ("10GB", 10_000_000_000),
            (" 10 GiB ", 10 << 30),
            ("1.5 kib", 1536),
            ("0.1 GB", 100_000_000),
            ("7 B", 7),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn sizes_are_written_with_one_digit_behind_the_point() {
        for (bytes, written) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (12_345_678, "12.3 MB"),
            (5_000_000_000, "5.0 GB"),
            (u64::MAX, "18446744.1 TB"),
        ] {
            assert_eq!(text(bytes), written);
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_what_is() {
        for text in
            ["", "GB", "ten", "10 G", "-1", "1.2.3 MB", "10 parsecs", "18446744073709551616", "99999999 TB", "1e9"]
        {
            let said = parse(text).expect_err(text);
            assert!(said.contains("\"10 GiB\""), "{said}");
        }
        assert!(parse("10 G").expect_err("no unit").contains("G may be GB or GiB"));
    }

    #[test]
    fn keys_take_both_numbers_and_text_and_say_what_they_take() {
        #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        struct Limits {
            #[serde(with = "crate::byte_size")]
            memory: u64,
            #[serde(with = "crate::byte_size")]
            picture: usize,
            #[serde(with = "crate::byte_size::optional", skip_serializing_if = "Option::is_none")]
            day: Option<u64>,
        }
        impl Default for Limits {
            fn default() -> Self {
                Self { memory: 1, picture: 2, day: None }
            }
        }
        let read = toml::from_str::<Limits>;
        assert_eq!(read(""), Ok(Limits::default()));
        let limits = Limits { memory: 5, picture: 4096, day: Some(2_000_000) };
        assert_eq!(read("memory = 5\npicture = \"4 KiB\"\nday = \"2 MB\""), Ok(limits));
        assert_eq!(toml::to_string(&Limits::default()).expect("text"), "memory = 1\npicture = 2\n");
        for wrong in ["memory = -1", "memory = true", "day = 1.5", "day = \"5 apples\""] {
            let said = read(wrong).expect_err(wrong).to_string();
            assert!(said.contains("10 GiB"), "{said}");
        }
    }
}
