//! Another configuration for a daemon that runs: what differs, whether it works, and the last one that did.
//!
//! ```text
//! file --read--> Change --app applies it--> Trial --all came up--> Kept: the last good one
//!                  |                          \--something that worked does not come up--> the one before, again
//!                  \--cannot be used: the one before goes on
//! ```
//!
//! What page and API change of a camera goes the same way: it is checked and written before ([`Editor`]), and what the files
//! said is put back where it is undone, also by the start after a power cut.
//!
//! Only what a change is about is replaced. Sections that are read at the start alone ([`Change::needs_restart`]) keep
//! their values until then.

mod change;
mod editor;
mod journal;
mod kept;
mod passwords;
mod probes;
mod trial;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{self, ConfigError, Files};
use crate::status::ConfigProblem;

pub use change::{CameraChanges, Change};
pub use editor::{Draft, Editor, Written, recover, refusal};
pub use kept::Kept;
pub use probes::Probes;
pub use trial::{Finding, Subject, Trial, Verdict};

/// `[reload]`: how another configuration is tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long changed cameras and destinations that worked before may take to work again, e.g. `90s`; otherwise the
    /// configuration before is used again. Default `90s`.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub confirm_within: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { confirm_within: Duration::from_secs(90) }
    }
}

impl Config {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the key and what it may be.
    pub fn validate(&self) -> Result<(), String> {
        let allowed = Duration::from_secs(1)..=Duration::from_secs(3600);
        if allowed.contains(&self.confirm_within) {
            return Ok(());
        }
        Err(format!("reload.confirm_within: {:?} is not from 1s to 1h", self.confirm_within))
    }
}

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The file; none: it cannot be read again.
    pub file: Option<PathBuf>,
    /// What stands in it, where that is the configuration in use.
    pub text: Option<String>,
    /// Why the file is not the configuration in use.
    pub error: Option<ConfigError>,
    /// What was undone at the start, in words.
    pub undone: Option<String>,
}

/// A configuration and its text.
#[derive(Clone, Debug)]
pub struct Read {
    /// What it says.
    pub config: config::Config,
    /// The text of the files, in one.
    pub text: String,
}

/// Reads and checks `files`.
///
/// # Errors
/// Everything that is wrong with them.
pub fn read(files: &Files) -> Result<Read, ConfigError> {
    let (config, text) = files.parse(&files.texts()?)?;
    Ok(Read { config, text })
}

/// What was read, unless it says nothing at all where there are cameras in `known`: a power cut may leave a file empty.
///
/// # Errors
/// What to do about it.
pub fn unless_lost(read: Read, known: &config::Config) -> Result<Read, ConfigError> {
    if read.text.trim().is_empty() && known.cameras().next().is_some() {
        let why =
            "the file is empty, as a power cut may leave it: put its text back, or a comment where no camera is wanted";
        return Err(ConfigError::new("", why));
    }
    Ok(read)
}

/// The same for the status of the box, where files have no place.
pub fn problems(error: &ConfigError) -> Vec<ConfigProblem> {
    let problem = |diagnostic: &config::Diagnostic| ConfigProblem {
        line: diagnostic.line,
        column: diagnostic.column,
        key: diagnostic.key.clone(),
        message: diagnostic.message.clone(),
    };
    error.diagnostics().iter().map(problem).collect()
}
