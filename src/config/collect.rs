//! Finds everything that is wrong with a configuration: what was found is left out, to find the next.

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, Deserializer};

use super::Config;
use super::diagnostic::{Diagnostic, take_out, value_at};
use super::words::plain;

/// More is not reported at once.
const MOST: usize = 100;

/// What `table`, read from `text`, says without the values that do not fit their types, and all that is wrong with it.
/// `complete` adds to a configuration what the file leaves to the box.
pub(super) fn collect(
    text: &str,
    table: Spanned<DeTable<'_>>,
    complete: &dyn Fn(Config) -> Config,
) -> (Config, Vec<Diagnostic>) {
    let mut collector = Collector { text, table, diagnostics: Vec::new(), left_out: Vec::new() };
    let config = complete(collector.fit());
    let mut rest = config.clone();
    // A section says the first that is wrong with it: without that it says the next.
    while let Err(found) = rest.validate() {
        if !collector.leave_out(found.found_in(text, None).into_diagnostics()) {
            break;
        }
        rest = complete(collector.fit());
    }
    (config, collector.diagnostics)
}

struct Collector<'a> {
    text: &'a str,
    table: Spanned<DeTable<'a>>,
    diagnostics: Vec<Diagnostic>,
    /// Keys that are not in the table any more.
    left_out: Vec<String>,
}

impl Collector<'_> {
    /// The configuration without what does not fit; the default where nothing does.
    fn fit(&mut self) -> Config {
        loop {
            let error = match Config::deserialize(Deserializer::from(self.table.clone())) {
                Ok(config) => return config,
                Err(error) => error,
            };
            let key = error.span().and_then(|span| take_out(self.table.get_mut(), span.start));
            let is_last = key.is_none() || self.diagnostics.len() + 1 >= MOST;
            let key = key.unwrap_or_default();
            // What was left out is missed now, which is no mistake of its own.
            let missing = error.message().strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
            let missing = missing.map(|name| format!("{key}.{name}"));
            if !missing.is_some_and(|missing| self.left_out.contains(&missing)) {
                self.diagnostics.push(diagnostic_of(self.text, &error, key.clone()));
            }
            self.left_out.push(key);
            if is_last {
                return Config::default();
            }
        }
    }

    /// Notes what `found` says that is new, and takes the keys that it is about out of the table. Gives whether there were any.
    fn leave_out(&mut self, found: Vec<Diagnostic>) -> bool {
        let mut is_other = false;
        for diagnostic in found {
            // What was left out is missed by its section, which is no mistake of its own.
            let is_missed = self.left_out.iter().any(|gone| is_within(gone, &diagnostic.key));
            if is_missed || self.diagnostics.contains(&diagnostic) || self.diagnostics.len() >= MOST {
                continue;
            }
            if let Some(offset) = value_at(self.table.get_ref(), &diagnostic.key)
                && let Some(key) = take_out(self.table.get_mut(), offset)
            {
                self.left_out.push(key);
                is_other = true;
            }
            self.diagnostics.push(diagnostic);
        }
        is_other
    }
}

fn is_within(key: &str, section: &str) -> bool {
    key.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

pub(super) fn diagnostic_of(text: &str, error: &toml::de::Error, key: String) -> Diagnostic {
    let diagnostic = Diagnostic::new(key, plain(error.message()));
    error.span().map_or_else(|| diagnostic.clone(), |span| diagnostic.clone().at(text, span.start))
}
