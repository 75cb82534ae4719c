//! `outpost reload`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::daemon::{Daemon, is_same};
use super::output::{print, print_json};
use crate::config::Config;

/// So many times the daemon may not answer in a row.
const MOST_SILENT: u32 = 20;
/// How often it is asked what became of a trial.
const ASK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration of the daemon.
    #[arg(long, short, default_value_os_t = Config::default_path())]
    config: PathBuf,
    /// Do not wait until changed cameras and destinations have come up.
    #[arg(long)]
    no_wait: bool,
    /// Print what came of it as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn main(arguments: &Arguments) -> Result<()> {
    // Mistakes are printed without the daemon, which would say the same.
    let daemon = Daemon::new(&arguments.config)?;
    super::runtime()?.block_on(run(&daemon, arguments))
}

async fn run(daemon: &Daemon, arguments: &Arguments) -> Result<()> {
    let mut status = daemon.get("config", &[]).await?;
    if let Some(file) = status["file"].as_str().filter(|file| !is_same(Path::new(file), &arguments.config)) {
        bail!("the daemon reads {file}, and not {}: name that file with --config", arguments.config.display());
    }
    status = daemon.post_any("config/reload", &json!({})).await?;
    let mut silent = 0;
    while status["state"] == "confirming" && !arguments.no_wait {
        tokio::time::sleep(ASK_EVERY).await;
        // The page itself may have moved, and open again in a moment.
        match daemon.get("config", &[]).await {
            Ok(answer) => (status, silent) = (answer, 0),
            Err(failure) if silent >= MOST_SILENT => return Err(failure),
            Err(_) => silent += 1,
        }
    }
    if arguments.json {
        print_json(&status)?;
    } else {
        print(&sentences(&status))?;
    }
    match status["state"].as_str() {
        Some("in_use" | "confirming") => Ok(()),
        _ => bail!("the configuration before is used: {}", status["reason"].as_str().unwrap_or("see the log")),
    }
}

fn sentences(status: &Value) -> String {
    let list = |key: &str| {
        let values = status[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        values.collect::<Vec<_>>().join(", ")
    };
    let (changed, needs_restart) = (list("changed"), list("needs_restart"));
    let mut text = match (status["state"].as_str(), changed.as_str()) {
        (Some("in_use"), "") => "nothing has changed\n".to_owned(),
        (Some("in_use"), changed) => format!("in use: {changed}\n"),
        (Some("confirming"), changed) => format!("in use, to be confirmed: {changed}\n"),
        _ => String::new(),
    };
    if !needs_restart.is_empty() {
        text += &format!("read at the start only, restart outpost for them to hold: {needs_restart}\n");
    }
    if let (Some("in_use"), Some(remark)) = (status["state"].as_str(), status["reason"].as_str()) {
        text += &format!("{remark}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_it_is_said_in_sentences() {
        let none: [&str; 0] = [];
        let status = |state: &str, changed: &[&str], restart: &[&str]| {
            sentences(&json!({"state": state, "changed": changed, "needs_restart": restart}))
        };
        assert_eq!(status("in_use", &none, &none), "nothing has changed\n");
        assert_eq!(status("in_use", &["camera yard", "mqtt"], &none), "in use: camera yard, mqtt\n");
        assert_eq!(
            status("confirming", &["camera yard"], &["storage.path"]),
            "in use, to be confirmed: camera yard\n\
             read at the start only, restart outpost for them to hold: storage.path\n"
        );
        assert_eq!(status("refused", &none, &none), "");
        let remark = json!({"state": "in_use", "changed": ["mqtt"], "reason": "not seen to work yet: mqtt"});
        assert_eq!(sentences(&remark), "in use: mqtt\nnot seen to work yet: mqtt\n");
    }
}
