//! The command line.

mod check;
mod daemon;
mod demo;
mod detect;
mod key;
mod library;
mod manual;
mod output;
mod password;
mod probe;
mod queue;
mod reload;
mod replay;
mod run;
mod select;
mod status;
mod store;
mod unseal;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigError};
use crate::picture;
use crate::telemetry::{self, LogFormat};
use output::Output;

/// Everything went well.
const EXIT_OK: u8 = 0;
/// Something failed while running.
const EXIT_FAILURE: u8 = 1;
/// The command line is wrong (`EX_USAGE`).
const EXIT_USAGE: u8 = 64;
/// The configuration is wrong (`EX_CONFIG`).
const EXIT_CONFIG: u8 = 78;

/// Cameras in, local inference, durable events, delivery when the link allows.
#[derive(Debug, Parser)]
#[command(name = "outpost", version, max_term_width = 100)]
struct Args {
    /// Where log lines go.
    #[arg(long, value_enum, default_value_t, global = true)]
    log: LogFormat,
    /// How much is logged: error, warn, info, debug or trace.
    #[arg(long, default_value = "info", global = true)]
    log_level: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Run(ConfigArg),
    /// Check the configuration without starting anything.
    Check(check::Args),
    /// Show the main job on a clip that comes with Outpost: a camera, a cloud folder and the page.
    Demo(demo::Args),
    /// Look at a camera: coding, size, frame rate, decoding speed, and a snapshot.
    Probe(probe::Args),
    /// Run a clip through detection, tracking and rules as fast as it goes; one JSON object per event.
    Replay(replay::Args),
    /// Detect objects in pictures; one JSON object per object.
    Detect(detect::Args),
    /// What the daemon that runs on this box does.
    Status(status::Arguments),
    /// Read the configuration again while it records, and wait until what changed has come up.
    Reload(reload::Arguments),
    /// What waits for delivery, and what can be done about it.
    Queue(queue::Arguments),
    /// Who may log in.
    User(user::Arguments),
    /// Which programs may ask.
    Key(key::Arguments),
    /// Open files that a destination got sealed (`seal_to`).
    Unseal(unseal::Arguments),
    /// Look after the recordings of a daemon that does not run.
    #[command(subcommand)]
    Store(store::Command),
    /// Back up and restore what is known of the photos.
    #[command(subcommand)]
    Library(library::Command),
    /// Print the completions of a shell.
    Completions(manual::CompletionsArgs),
    /// Print the manual page, or write one for each command.
    Man(manual::ManArgs),
    /// What the daemon starts to read files of the photo library; of no use otherwise.
    #[command(hide = true)]
    InspectPictures,
}

#[derive(Debug, clap::Args)]
struct ConfigArg {
    /// The configuration file.
    #[arg(long, short, default_value_os_t = Config::default_path())]
    config: PathBuf,
}

/// Parses the command line, runs the command and turns its outcome into an exit code:
/// 0 well, 1 failed, 64 wrong usage, 78 wrong configuration.
pub fn main() -> ExitCode {
    crate::allocator::bound_arenas();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version come this way too, and are no mistake.
            let code = if error.use_stderr() { EXIT_USAGE } else { EXIT_OK };
            let is_lost = error.print().is_err_and(|lost| lost.kind() != std::io::ErrorKind::BrokenPipe);
            return if is_lost { EXIT_FAILURE.max(code) } else { code }.into();
        }
    };
    let level = match args.command {
        // Commands that speak to a person or a pipe themselves keep quiet otherwise.
        Command::Demo(_)
        | Command::Probe(_)
        | Command::Replay(_)
        | Command::Detect(_)
        | Command::Status(_)
        | Command::Queue(_)
        | Command::Reload(_)
        | Command::Unseal(_)
        | Command::User(_)
        | Command::Key(_)
        | Command::Store(_)
        | Command::Library(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::InspectPictures
            if args.log_level == "info" =>
        {
            "warn"
        }
        _ => &args.log_level,
    };
    if let Err(error) = telemetry::init(args.log, level) {
        telemetry::complain(&format!("outpost: {error:#}"));
        return EXIT_USAGE.into();
    }
    let outcome = match args.command {
        Command::Run(arg) => run::main(&arg.config),
        Command::Check(args) => check::main(&args),
        Command::Demo(arg) => demo::main(&arg),
        Command::Probe(arg) => probe::main(&arg),
        Command::Replay(arg) => replay::main(&arg),
        Command::Detect(arg) => detect::main(&arg),
        Command::Status(arguments) => status::main(&arguments),
        Command::Reload(arguments) => reload::main(&arguments),
        Command::Queue(arguments) => queue::main(&arguments),
        Command::User(arguments) => user::main(&arguments),
        Command::Key(arguments) => key::main(&arguments),
        Command::Unseal(arguments) => unseal::main(&arguments),
        Command::Store(command) => store::main(&command),
        Command::Library(command) => library::main(&command),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::man(&args),
        Command::InspectPictures => {
            picture::serve(std::io::stdin().lock(), Output::of_list()).map_err(anyhow::Error::from)
        }
    };
    match outcome {
        Ok(()) => EXIT_OK.into(),
        Err(error) if output::is_unread(&error) => EXIT_OK.into(),
        Err(error) if error.is::<Reported>() => {
            error.downcast::<Reported>().map_or(EXIT_FAILURE, |reported| reported.0).into()
        }
        Err(error) => {
            telemetry::complain(&format!("outpost: {error:#}"));
            let is_config = error.chain().any(|cause| cause.is::<ConfigError>());
            if is_config { EXIT_CONFIG.into() } else { EXIT_FAILURE.into() }
        }
    }
}

/// A command failed with this exit code, and has printed why.
#[derive(Debug, thiserror::Error)]
#[error("failed, as was printed")]
struct Reported(u8);

/// Says where in the file at `path` the keys stand that an error of the configuration is about.
fn placed(error: anyhow::Error, path: &std::path::Path) -> anyhow::Error {
    match error.downcast::<ConfigError>() {
        Ok(error) => {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            error.found_in(&text, Some(path)).into()
        }
        Err(other) => other,
    }
}

/// Where models are looked up by default.
fn find_model_dir() -> PathBuf {
    let mut config = crate::infer::Config::default();
    config.find_models();
    config.model_dir
}

/// The runtime of the network parts.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    use anyhow::Context;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("net")
        .enable_all()
        .build()
        .context("start the network runtime")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// Commands that do something, with the words that call them.
    fn commands(command: &clap::Command, words: &str, found: &mut Vec<(String, clap::Command)>) {
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            let words = format!("{words} {}", below.get_name());
            if below.has_subcommands() {
                commands(below, &words, found);
            } else {
                found.push((words, below.clone()));
            }
        }
    }

    #[test]
    fn every_command_and_option_is_documented() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md");
        let page = std::fs::read_to_string(page).expect("read docs/cli.md");
        let mut found = Vec::new();
        commands(&Args::command(), "outpost", &mut found);
        assert!(found.len() > 10, "{found:?}");
        let section = |words: &str| {
            let (_, rest) = page.split_once(&format!("\n## `{words}`\n"))?;
            rest.split("\n## ").next()
        };
        let mut missing = Vec::new();
        for (words, command) in found.iter().filter(|(_, command)| !command.is_hide_set()) {
            let Some(own) = section(words) else {
                missing.push(words.clone());
                continue;
            };
            // What the commands of a group share stands above them; the configuration, at the top of the page.
            let shared = words.rsplit_once(' ').and_then(|(group, _)| section(group)).unwrap_or_default();
            let is_there = |name: &str| [own, shared].iter().any(|text| text.contains(&format!("`--{name}`")));
            let options = command.get_arguments().filter_map(clap::Arg::get_long).filter(|name| *name != "config");
            missing.extend(options.filter(|name| !is_there(name)).map(|name| format!("{words} --{name}")));
        }
        assert!(missing.is_empty(), "docs/cli.md lacks {missing:#?}");
    }
}
