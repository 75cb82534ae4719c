//! What serde and toml say of a value that does not fit, in words for people who write configurations.

const DURATION: &str = "a length of time in quotes, such as \"30s\" or \"5m\"";
const SOCKET: &str = "an address and a port in quotes, such as \"127.0.0.1:8080\"";

/// A message of the deserializer without the names of the program's types.
pub(super) fn plain(message: &str) -> String {
    let message = message.trim_end();
    let parts = |prefix: &str| message.strip_prefix(prefix)?.rsplit_once(", expected ");
    if let Some((found, expected)) = parts("invalid type: ") {
        return format!("this should be {}, and is {}", thing(expected), value(found));
    }
    if let Some((found, expected)) = parts("invalid value: ") {
        return format!("{} is not allowed here, only {}", value(found), thing(expected));
    }
    if let Some((found, expected)) = parts("invalid length ") {
        return format!("a list of {found} is not allowed here, only {}", thing(expected));
    }
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let known = rest.replace("there are no fields", "there are none");
        return with_nearest("unknown key ", &known);
    }
    if let Some(rest) = message.strip_prefix("unknown variant ") {
        return with_nearest("unknown value ", &rest.replace("there are no variants", "there are none"));
    }
    for (theirs, ours) in [("missing field ", "the key is missing: "), ("duplicate field ", "the key is there twice: ")]
    {
        if let Some(rest) = message.strip_prefix(theirs) {
            return format!("{ours}{rest}");
        }
    }
    if message.starts_with("failed to parse") && message.contains("duration") {
        return format!("this should be {DURATION}");
    }
    if message == "invalid socket address syntax" {
        return format!("this should be {SOCKET}");
    }
    if message.starts_with("data did not match any variant of untagged enum") {
        return "the value has none of the forms that this key takes".to_owned();
    }
    message.to_owned()
}

/// "`x`, expected one of `a`, `b`", and the known name that looks most like `x`.
fn with_nearest(kind: &str, rest: &str) -> String {
    match nearest_name(rest) {
        Some(nearest) => format!("{kind}{rest}; did you mean `{nearest}`?"),
        None => format!("{kind}{rest}"),
    }
}

fn nearest_name(rest: &str) -> Option<&str> {
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    let score = |name: &str| strsim::jaro_winkler(unknown, name);
    quoted.filter(|name| score(name) > 0.7).max_by(|a, b| score(a).total_cmp(&score(b)))
}

/// What was found: "string \"x\"", "integer `3`", "map".
fn value(found: &str) -> String {
    let inner = |prefix: &str| found.strip_prefix(prefix).map(|rest| rest.trim_matches('`'));
    if let Some(text) = inner("string ") {
        return format!("the text {text}");
    }
    if let Some(number) = inner("integer ").or_else(|| inner("floating point ")) {
        return format!("the number {number}");
    }
    if let Some(truth) = inner("boolean ") {
        return truth.to_owned();
    }
    match found {
        "map" | "table" => "a section".to_owned(),
        "sequence" | "array" => "a list".to_owned(),
        other => other.to_owned(),
    }
}

/// What is expected, by the names of types.
fn thing(expected: &str) -> String {
    let words = match expected {
        "f32" | "f64" => "a number",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "u128" | "usize" => "a whole number from 0 on",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "a boolean" | "bool" => "true or false",
        "a string" | "a borrowed string" | "a character" | "string or map" => "text in quotes",
        "path string" => "a path in quotes",
        "a map" | "a table" => "a section",
        "a sequence" => "a list in square brackets",
        "an unsigned duration string" => DURATION,
        "socket address" => SOCKET,
        other => return counted(other).unwrap_or_else(|| other.to_owned()),
    };
    words.to_owned()
}

/// "an array of length 2", "a tuple of size 2", "struct Config", "tuple struct Point with 2 elements".
fn counted(expected: &str) -> Option<String> {
    let kinds = ["an array of length ", "a tuple of size ", "an array of size "];
    if let Some(number) = kinds.iter().find_map(|kind| expected.strip_prefix(kind)) {
        return Some(format!("a list of {number} in square brackets"));
    }
    if let Some(rest) = expected.strip_prefix("tuple struct ") {
        let number = rest.split_whitespace().find(|word| word.chars().all(|c| c.is_ascii_digit()));
        return Some(
            number.map_or_else(|| "a list".to_owned(), |number| format!("a list of {number} in square brackets")),
        );
    }
    let named = ["struct ", "internally tagged enum ", "enum ", "adjacently tagged enum "];
    named.iter().any(|kind| expected.starts_with(kind)).then(|| {
        if expected.starts_with("enum ") { "one of the words that the documentation names" } else { "a section" }
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_speaks_of_types() {
        for (theirs, ours) in [
            ("invalid type: string \"fast\", expected f32", "this should be a number, and is the text \"fast\""),
            ("invalid type: integer `3`, expected a string", "this should be text in quotes, and is the number 3"),
            (
                "invalid type: floating point `1.5`, expected u64",
                "this should be a whole number from 0 on, and is the number 1.5",
            ),
            ("invalid type: map, expected a boolean", "this should be true or false, and is a section"),
            (
                "invalid type: string \"a, expected b\", expected u16",
                "this should be a whole number from 0 to 65535, and is the text \"a, expected b\"",
            ),
            ("invalid type: boolean `true`, expected struct Config", "this should be a section, and is true"),
            (
                "invalid value: integer `300`, expected u8",
                "the number 300 is not allowed here, only a whole number from 0 to 255",
            ),
            (
                "invalid length 3, expected an array of length 2",
                "a list of 3 is not allowed here, only a list of 2 in square brackets",
            ),
            (
                "unknown field `modle`, expected one of `fps`, `model`",
                "unknown key `modle`, expected one of `fps`, `model`; did you mean `model`?",
            ),
            (
                "unknown variant `often`, expected `events` or `off`",
                "unknown value `often`, expected `events` or `off`",
            ),
            ("missing field `when`", "the key is missing: `when`"),
        ] {
            assert_eq!(plain(theirs), ours);
        }
    }
}
