//! Rust source text as names and punctuation, without comments and literals.

/// A name, `::`, or one character of punctuation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// Line in the file, from 1.
    pub line: usize,
    pub text: &'a str,
}

impl Token<'_> {
    /// Whether it is an identifier or keyword.
    pub fn is_name(&self) -> bool {
        self.text.starts_with(is_name_char)
    }
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Takes a text apart.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = skipped(rest).unwrap_or_else(|| {
            let length = if rest.starts_with("::") {
                2
            } else if is_name_char(c) {
                rest.find(|c| !is_name_char(c)).unwrap_or(rest.len())
            } else {
                c.len_utf8()
            };
            if !c.is_whitespace() {
                let line = text[..text.len() - rest.len()].matches('\n').count() + 1;
                found.push(Token { line, text: &rest[..length] });
            }
            length
        });
        rest = &rest[length..];
    }
    found
}

/// Length of the comment or literal that the text begins with, if it does.
fn skipped(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment(text));
    }
    // b"", c"", r"", br#""#: the letters belong to the literal.
    let letters = text.find(|c| !matches!(c, 'b' | 'c' | 'r')).unwrap_or(0);
    let after = &text[letters..];
    let hashes = after.len() - after.trim_start_matches('#').len();
    if letters <= 2 && after[hashes..].starts_with('"') && (hashes == 0 || text[..letters].ends_with('r')) {
        let begin = letters + hashes + 1;
        let length = if text[..letters].ends_with('r') {
            let end = format!("\"{}", "#".repeat(hashes));
            text[begin..].find(&end).map_or(text.len() - begin, |at| at + end.len())
        } else {
            quoted(&text[begin..], '"')
        };
        return Some(begin + length);
    }
    let mut chars = text.strip_prefix('\'')?.chars();
    match (chars.next()?, chars.next()?) {
        ('\\', _) => Some(1 + quoted(&text[1..], '\'')),
        (c, '\'') => Some(2 + c.len_utf8()),
        // A lifetime: the tick alone.
        _ => Some(1),
    }
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length up to and with the closing `quote`.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[test]
fn comments_and_literals_vanish() {
    let words = |text| tokens(text).iter().map(|token| token.text.to_owned()).collect::<Vec<_>>().join(" ");
    let cases = [
        ("a::b // c\nd", "a :: b d"),
        ("a /* b /* c */ d */ e", "a e"),
        (r#"f("x \" y", 'z', '\'', b"w")"#, "f ( , , , )"),
        ("r#\"a \" b\"# c br\"d\" r#type", "c r # type"),
        ("fn f<'a>(x: &'a str) {}", "fn f < a > ( x : & a str ) { }"),
        ("crab(\"\")", "crab ( )"),
        ("/// ünï\n'ü' x", "x"),
    ];
    for (text, expected) in cases {
        assert_eq!(words(text), expected, "{text}");
    }
    assert_eq!(tokens("a\n\n  b")[1], Token { line: 3, text: "b" });
}
