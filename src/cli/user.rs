//! `outpost user`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::daemon::{Daemon, Edit, segment};
use super::output::{print, print_list};
use super::password::new_password;
use crate::access::Role;
use crate::config::Config;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration of the daemon.
    #[arg(long, short, global = true, default_value_os_t = Config::default_path())]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

/// What a user may do.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum RoleName {
    /// Looks.
    Viewer,
    /// Also acts on events and deliveries.
    Operator,
    /// Everything.
    Admin,
}

impl RoleName {
    pub(super) fn role(self) -> Role {
        match self {
            Self::Viewer => Role::Viewer,
            Self::Operator => Role::Operator,
            Self::Admin => Role::Admin,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All users.
    List {
        /// One JSON object per user.
        #[arg(long)]
        json: bool,
    },
    /// Add a user. The password is asked for, or read from standard input.
    Add {
        /// Its name.
        name: String,
        /// What it may do.
        #[arg(long, value_enum, default_value = "viewer")]
        role: RoleName,
        /// A camera that it sees, again for each; all without this option.
        #[arg(long)]
        camera: Vec<String>,
    },
    /// Change a user.
    Set {
        /// Its name.
        name: String,
        /// What it may do.
        #[arg(long, value_enum)]
        role: Option<RoleName>,
        /// Keep it out; its sessions end.
        #[arg(long, conflicts_with = "enable")]
        disable: bool,
        /// Let it in again.
        #[arg(long)]
        enable: bool,
        /// Ask for another password; its sessions end.
        #[arg(long)]
        password: bool,
        /// Let it log in without the authenticator app that it lost.
        #[arg(long)]
        remove_second_factor: bool,
        /// Forget its failed logins.
        #[arg(long)]
        unlock: bool,
    },
    /// Remove a user.
    Remove {
        /// Its name.
        name: String,
    },
}

pub(super) fn main(arguments: &Arguments) -> Result<()> {
    let daemon = Daemon::new(&arguments.config)?;
    super::runtime()?.block_on(run(&daemon, &arguments.command))
}

async fn run(daemon: &Daemon, command: &Command) -> Result<()> {
    match command {
        Command::List { json } => {
            let none = "there is no user yet: \"outpost user add NAME --role admin\" adds the first one\n";
            print_list(&daemon.get("users", &[]).await?["users"], *json, none, line)
        }
        Command::Add { name, role, camera } => {
            let cameras = camera.iter().map(|camera| (camera.clone(), json!({}))).collect::<Map<_, _>>();
            let password = new_password(name)?;
            let mut user = json!({ "name": name, "password": password, "role": role.role() });
            if !cameras.is_empty() {
                user["cameras"] = cameras.into();
            }
            daemon.post_secret("users", &user).await?;
            print(&format!("{name} may log in now\n"))
        }
        Command::Set { name, role, disable, enable, password, remove_second_factor, unlock } => {
            let path = format!("users/{}", segment(name));
            let mut change = Map::new();
            if let Some(role) = role {
                change.insert("role".to_owned(), json!(role.role()));
            }
            if *disable || *enable {
                change.insert("disabled".to_owned(), json!(disable));
            }
            if *password {
                change.insert("password".to_owned(), json!(new_password(name)?));
            }
            if *remove_second_factor {
                change.insert("second_factor".to_owned(), json!(false));
            }
            if *unlock {
                daemon.post(&format!("{path}/unlock"), &json!({})).await?;
            }
            if *password {
                daemon.change_secret(&path, &change).await?;
            } else if !change.is_empty() || !unlock {
                daemon.change(Edit::Change, &path, &change).await?;
            }
            print(&format!("{name} was changed\n"))
        }
        Command::Remove { name } => {
            daemon.change(Edit::Remove, &format!("users/{}", segment(name)), &json!({})).await?;
            print(&format!("{name} was removed\n"))
        }
    }
}

/// `anna  admin  all cameras, authenticator app`
fn line(user: &Value) -> String {
    let text = |key: &str| user[key].as_str().unwrap_or_default();
    let cameras = user["cameras"].as_object();
    let cameras = cameras.map_or("all cameras".to_owned(), |of| of.keys().cloned().collect::<Vec<_>>().join(", "));
    let factor = if user["second_factor"] == true { ", authenticator app" } else { "" };
    let disabled = if user["disabled"] == true { ", kept out" } else { "" };
    format!("{:<20} {:<9} {cameras}{factor}{disabled}\n", text("name"), text("role"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_line() {
        let user = json!({ "name": "vera", "role": "viewer", "cameras": { "gate": {}, "yard": {} }, "disabled": true });
        assert_eq!(line(&user), "vera                 viewer    gate, yard, kept out\n");
        let user = json!({ "name": "anna", "role": "admin", "cameras": null, "second_factor": true });
        assert_eq!(line(&user), "anna                 admin     all cameras, authenticator app\n");
    }
}
