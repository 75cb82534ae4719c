//! What is wrong with a configuration, each with its place.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The file, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column in characters, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The key or section, with dots; empty where it is the whole file.
    pub key: String,
    /// What is wrong and what to do, in words.
    pub message: String,
}

impl Diagnostic {
    /// About `key`, whose place is found out later.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into(), ..Self::default() }
    }

    /// About what stands at byte `offset` of `text`.
    pub(super) fn at(mut self, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        self.line = Some(before.matches('\n').count() + 1);
        self.column = Some(before.chars().rev().take_while(|&c| c != '\n').count() + 1);
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.iter().cloned();
        let place = file.chain(self.line.iter().chain(&self.column).map(usize::to_string));
        let place: Vec<String> = place.collect();
        if !place.is_empty() {
            write!(f, "{}: ", place.join(":"))?;
        }
        // Messages that name their key need not have it twice.
        let last = self.key.rsplit('.').next().unwrap_or_default();
        if !self.key.is_empty() && !self.message.contains(&format!("`{last}`")) {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// The configuration cannot be used. One line a diagnostic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(Vec<Diagnostic>);

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Diagnostic::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl ConfigError {
    /// Something that only shows when the configuration is put to use.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self(vec![Diagnostic::new(key, message)])
    }

    /// `Err` with all diagnostics, if there are any.
    ///
    /// # Errors
    /// When there are.
    pub fn unless_empty(mut diagnostics: Vec<Diagnostic>) -> Result<(), Self> {
        diagnostics.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
        if diagnostics.is_empty() { Ok(()) } else { Err(Self(diagnostics)) }
    }

    /// Everything that is wrong.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.0
    }

    /// Everything that is wrong.
    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.0
    }

    /// Says where in `text`, the content of `file`, the keys stand.
    #[must_use]
    pub fn found_in(self, text: &str, file: Option<&Path>) -> Self {
        let (table, _) = DeTable::parse_recoverable(text);
        let place = |mut diagnostic: Diagnostic| {
            if diagnostic.line.is_none() {
                let offset = refine(&mut diagnostic, table.get_ref());
                diagnostic = offset.map_or_else(|| diagnostic.clone(), |offset| diagnostic.clone().at(text, offset));
            }
            diagnostic.file = diagnostic.file.take().or_else(|| Some(file?.display().to_string()));
            diagnostic
        };
        Self(self.0.into_iter().map(place).collect())
    }
}

/// Finds the key that a diagnostic about a section begins with, and gives the offset of what it is about.
fn refine(diagnostic: &mut Diagnostic, table: &DeTable<'_>) -> Option<usize> {
    let message = diagnostic.message.clone();
    let word = message.split([' ', ':', '=']).next().unwrap_or_default();
    // Some parts name their keys with the section, others without.
    let key = word.strip_prefix(&diagnostic.key).and_then(|rest| rest.strip_prefix('.')).unwrap_or(word);
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    let full = if diagnostic.key.is_empty() { key.to_owned() } else { format!("{}.{key}", diagnostic.key) };
    if is_key && let Some(offset) = offset_of(table, &full) {
        let rest = message.strip_prefix(word).unwrap_or_default();
        diagnostic.message = rest.strip_prefix(": ").map_or(message.clone(), str::to_owned);
        diagnostic.key = full;
        return Some(offset);
    }
    // The section, or the nearest one around it that is written down.
    let mut section = diagnostic.key.as_str();
    loop {
        if let Some(offset) = offset_of(table, section) {
            return Some(offset);
        }
        section = section.rsplit_once('.')?.0;
    }
}

/// Where the key with this dotted name stands.
fn offset_of(table: &DeTable<'_>, name: &str) -> Option<usize> {
    Some(find(table, name)?.0)
}

/// Where the key with this dotted name stands, if it is no section.
pub(super) fn value_at(table: &DeTable<'_>, name: &str) -> Option<usize> {
    let (offset, value) = find(table, name)?;
    (!matches!(value, DeValue::Table(_))).then_some(offset)
}

fn find<'a>(table: &'a DeTable<'a>, name: &str) -> Option<(usize, &'a DeValue<'a>)> {
    // Names may have dots themselves: the longest that there is.
    let mut ends: Vec<usize> = name.match_indices('.').map(|(at, _)| at).collect();
    ends.push(name.len());
    ends.iter().rev().find_map(|&end| {
        let (key, value) = table.get_key_value(name.get(..end)?)?;
        let Some(rest) = name.get(end + 1..) else { return Some((key.span().start, value.get_ref())) };
        inside(value, rest)
    })
}

fn inside<'a>(value: &'a Spanned<DeValue<'a>>, name: &str) -> Option<(usize, &'a DeValue<'a>)> {
    match value.get_ref() {
        DeValue::Table(table) => find(table, name),
        DeValue::Array(items) => {
            let (number, rest) = name.split_once('.').map_or((name, None), |(number, rest)| (number, Some(rest)));
            let item = items.get(number.parse::<usize>().ok()?)?;
            rest.map_or_else(|| Some((item.span().start, item.get_ref())), |rest| inside(item, rest))
        }
        _ => None,
    }
}

/// Takes what stands at byte `offset` out of `table`: the innermost key whose name or value is there. Gives its dotted
/// name.
pub(super) fn take_out(table: &mut DeTable<'_>, offset: usize) -> Option<String> {
    let inside = table.iter_mut().find_map(|(key, value)| {
        let inner = match value.get_mut() {
            DeValue::Table(inner) => take_out(inner, offset)?,
            DeValue::Array(items) => items.iter_mut().enumerate().find_map(|(number, item)| {
                let DeValue::Table(inner) = item.get_mut() else { return None };
                Some(format!("{number}.{}", take_out(inner, offset)?))
            })?,
            _ => return None,
        };
        Some(format!("{}.{inner}", key.get_ref()))
    });
    if inside.is_some() {
        return inside;
    }
    let is_there = |(key, value): &(&Spanned<_>, &Spanned<_>)| {
        Spanned::span(key).contains(&offset) || Spanned::span(value).contains(&offset)
    };
    let name = table.iter().find(is_there).map(|(key, _)| key.get_ref().to_string())?;
    table.remove(&*name);
    Some(name)
}
