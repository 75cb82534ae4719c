//! `outpost key`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::daemon::{Daemon, Edit, segment};
use super::output::{print, print_list};
use super::user::RoleName;
use crate::config::Config;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration of the daemon.
    #[arg(long, short, global = true, default_value_os_t = Config::default_path())]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All keys of programs.
    List {
        /// One JSON object per key.
        #[arg(long)]
        json: bool,
    },
    /// Make a key. It is printed, and not shown again.
    Add {
        /// What it is for.
        name: String,
        /// What it may do.
        #[arg(long, value_enum, default_value = "viewer")]
        role: RoleName,
        /// A camera that it sees, again for each; all without this option.
        #[arg(long)]
        camera: Vec<String>,
        /// After how many days it ends; never without this option.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: Option<u32>,
    },
    /// Remove a key; what uses it is refused from then on.
    Remove {
        /// Its id, as "outpost key list" prints it.
        id: String,
    },
}

pub(super) fn main(arguments: &Arguments) -> Result<()> {
    let daemon = Daemon::new(&arguments.config)?;
    super::runtime()?.block_on(run(&daemon, &arguments.command))
}

async fn run(daemon: &Daemon, command: &Command) -> Result<()> {
    match command {
        Command::List { json } => {
            let none = "there is no key yet: \"outpost key add NAME\" makes one\n";
            print_list(&daemon.get("keys", &[]).await?["keys"], *json, none, line)
        }
        Command::Add { name, role, camera, days } => {
            let cameras = camera.iter().map(|camera| (camera.clone(), json!({}))).collect::<Map<_, _>>();
            let mut key = json!({ "name": name, "role": role.role() });
            if !cameras.is_empty() {
                key["cameras"] = cameras.into();
            }
            if let Some(days) = days {
                let span = jiff::SignedDuration::from_hours(24 * i64::from(*days));
                let end = Timestamp::now().checked_add(span).context("the key would end after the calendar does")?;
                key["expires"] = json!(end);
            }
            let made = daemon.post_secret("keys", &key).await?;
            print(&format!("{}\n", made["key"].as_str().unwrap_or_default()))
        }
        Command::Remove { id } => {
            daemon.change(Edit::Remove, &format!("keys/{}", segment(id)), &json!({})).await?;
            print(&format!("the key {id} was removed\n"))
        }
    }
}

/// `3f2a0b1c9d8e7f60  viewer    home assistant, all cameras, never used`
fn line(key: &Value) -> String {
    let text = |name: &str| key[name].as_str().unwrap_or_default();
    let cameras = key["cameras"].as_object();
    let cameras = cameras.map_or("all cameras".to_owned(), |of| of.keys().cloned().collect::<Vec<_>>().join(" and "));
    let used = key["last_used"].as_str().map_or("never used".to_owned(), |at| format!("last used {at}"));
    let ends = key["expires"].as_str().map(|at| format!(", ends {at}")).unwrap_or_default();
    format!("{:<17} {:<9} {}, {cameras}, {used}{ends}\n", text("id"), text("role"), text("name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_line() {
        let key = json!({ "id": "3f2a", "name": "home assistant", "role": "viewer", "cameras": null });
        assert_eq!(line(&key), "3f2a              viewer    home assistant, all cameras, never used\n");
        let key = json!({ "id": "3f2a", "name": "x", "role": "admin", "cameras": { "gate": {}, "yard": {} },
            "last_used": "2026-11-29T00:00:00Z", "expires": "2027-11-29T00:00:00Z" });
        let ends = "ends 2027-11-29T00:00:00Z\n";
        assert_eq!(
            line(&key),
            format!("3f2a              admin     x, gate and yard, last used 2026-11-29T00:00:00Z, {ends}")
        );
    }
}
