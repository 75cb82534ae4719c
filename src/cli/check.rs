//! `outpost check`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;

use super::output::{print, print_json};
use super::{EXIT_CONFIG, Reported};
use crate::cameras;
use crate::config::{self, ConfigError, Diagnostic, Files};
use crate::telemetry::complain;
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
    let Checked { errors, warnings, cameras } = check(path)?;
    let code = (!errors.is_empty()).then_some(EXIT_CONFIG);
    let printed = if args.json {
        print_json(&Report { file: path.to_owned(), ok: code.is_none(), errors, warnings, cameras })
    } else if errors.is_empty() {
        let good = format!("{} is good: {}\n", path.display(), describe(&cameras));
        print(&warnings.iter().fold(good, |text, warning| text + &format!("warning: {warning}\n")))
    } else {
        let lines = errors.iter().map(Diagnostic::to_string);
        let lines: Vec<String> = lines.chain(warnings.iter().map(|warning| format!("warning: {warning}"))).collect();
        complain(&format!("outpost: {}", lines.join("\n")));
        Ok(())
    };
    // What is wrong with the configuration counts for more than where that was to be read.
    code.map_or(printed, |code| Err(Reported(code).into()))
}

/// What was found.
struct Checked {
    errors: Vec<Diagnostic>,
    warnings: Vec<String>,
    /// Those that are used.
    cameras: Vec<String>,
}

/// Checks everything that can be checked, also where a part is wrong: all mistakes are found at once.
fn check(path: &Path) -> Result<Checked> {
    let files = Files::of_service(path);
    let texts = match files.texts() {
        Ok(texts) => texts,
        Err(error) => return Ok(Checked { errors: error.into_diagnostics(), warnings: system(), cameras: Vec::new() }),
    };
    let (config, mut errors) = files.parse_most(&texts);
    let Some(config) = config else { return Ok(Checked { errors, warnings: system(), cameras: Vec::new() }) };
    let mut found = config::look(&config);
    if let Err(error) = cameras::check(&config) {
        found.errors.extend(error.downcast::<ConfigError>()?.into_diagnostics());
    }
    // What is wrong by itself stands in the file as something else than what was looked at.
    let is_new = |more: &Diagnostic| !errors.iter().any(|known| known.key == more.key);
    let more: Vec<Diagnostic> = files.find(found.errors, &texts).into_iter().filter(is_new).collect();
    errors.extend(more);
    errors.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    let cameras: Vec<String> = config.cameras().map(|(name, _)| name.clone()).collect();
    let warnings = files.find(found.warnings, &texts).iter().map(Diagnostic::to_string).collect::<Vec<_>>();
    let warnings = [no_camera(&cameras), warnings, system()].concat();
    Ok(Checked { errors, warnings, cameras })
}

fn describe(cameras: &[String]) -> String {
    if cameras.is_empty() {
        "no camera yet".to_owned()
    } else {
        format!("{} camera(s): {}", cameras.len(), cameras.join(", "))
    }
}

/// That nothing is recorded, where there are no `cameras`.
fn no_camera(cameras: &[String]) -> Vec<String> {
    let none = "no camera is used, so nothing is recorded: add one on the page (/cameras), where it works at once, or as \
                [camera.<name>.source] with its url in the file";
    if cameras.is_empty() { vec![none.to_owned()] } else { Vec::new() }
}

/// What is wrong with the system rather than with the file.
fn system() -> Vec<String> {
    zone::known().trouble.into_iter().collect()
}
