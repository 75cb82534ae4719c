//! `outpost check`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;

use super::{EXIT_CONFIG, EXIT_FAILURE, Reported, placed, print_json};
use crate::cameras;
use crate::config::{Config, ConfigError, Diagnostic};
use crate::zone;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: super::ConfigArg,
    /// Print what was found as one JSON object.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    file: PathBuf,
    ok: bool,
    /// Why the daemon would not start.
    errors: Vec<Diagnostic>,
    /// What will work in another way than one may expect.
    warnings: Vec<String>,
    /// The cameras that are used.
    cameras: Vec<String>,
}

pub(super) fn main(args: &Args) -> Result<()> {
    let path = &args.place.config;
    let outcome = check(path);
    if args.json {
        return report(path, outcome);
    }
    let cameras = outcome?;
    println!("{} is good: {}", path.display(), describe(&cameras));
    warnings(Some(&cameras)).iter().for_each(|warning| println!("warning: {warning}"));
    Ok(())
}

/// Checks everything that can be checked. Gives the cameras.
fn check(path: &Path) -> Result<Vec<String>> {
    let config = Config::load(path)?;
    cameras::check(&config).map_err(|error| placed(error, path))?;
    Ok(config.cameras().map(|(name, _)| name.clone()).collect())
}

fn describe(cameras: &[String]) -> String {
    if cameras.is_empty() {
        "no camera yet".to_owned()
    } else {
        format!("{} camera(s): {}", cameras.len(), cameras.join(", "))
    }
}

/// What is wrong with the system rather than with the file; and that nothing is recorded, where the `cameras` of a good
/// file are none.
fn warnings(cameras: Option<&[String]>) -> Vec<String> {
    let none = "no camera is used, so nothing is recorded: add one on the page (/cameras), where it works at once, or as \
                [camera.<name>.source] with its url in the file";
    let lacking = cameras.filter(|cameras| cameras.is_empty()).map(|_| none.to_owned());
    lacking.into_iter().chain(zone::known().trouble).collect()
}

fn report(path: &Path, outcome: Result<Vec<String>>) -> Result<()> {
    let (cameras, errors, code) = match outcome {
        Ok(cameras) => (cameras, Vec::new(), None),
        Err(error) => match error.downcast::<ConfigError>() {
            Ok(error) => (Vec::new(), error.into_diagnostics(), Some(EXIT_CONFIG)),
            Err(other) => (Vec::new(), vec![Diagnostic::new("", format!("{other:#}"))], Some(EXIT_FAILURE)),
        },
    };
    let warnings = warnings(code.is_none().then_some(&cameras));
    print_json(&Report { file: path.to_owned(), ok: code.is_none(), errors, warnings, cameras })?;
    code.map_or(Ok(()), |code| Err(Reported(code).into()))
}
