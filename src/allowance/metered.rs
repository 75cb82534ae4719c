//! Whether a link costs by the byte.

use std::process::Stdio;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

/// How often NetworkManager is asked.
const ASK: Duration = Duration::from_secs(60);
/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Whether sending costs by the byte, as it is configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metered {
    /// As NetworkManager says, where there is one.
    #[default]
    Auto,
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// Knows whether the link is metered.
#[derive(Debug)]
pub struct Meter {
    setting: Metered,
    /// What NetworkManager said last, and when it was asked.
    said: Mutex<(bool, Option<Instant>)>,
}

impl Meter {
    /// As `setting` has it; nothing is asked yet.
    pub fn new(setting: Metered) -> Self {
        Self { setting, said: Mutex::default() }
    }

    /// Whether the link is metered, as far as is known.
    pub fn is_metered(&self) -> bool {
        match self.setting {
            Metered::Yes => true,
            Metered::No => false,
            Metered::Auto => self.said.lock().0,
        }
    }

    /// Asks NetworkManager, where it decides and was not asked within a minute.
    pub async fn ask(&self) {
        let due = || {
            let mut said = self.said.lock();
            let due = said.1.is_none_or(|asked| asked.elapsed() >= ASK);
            if due {
                said.1 = Some(Instant::now());
            }
            due
        };
        if self.setting == Metered::Auto && due() {
            let said = network_manager_says().await.unwrap_or_default();
            self.said.lock().0 = said;
        }
    }
}

/// What NetworkManager says of the link; nothing where there is none.
async fn network_manager_says() -> Option<bool> {
    let mut command = tokio::process::Command::new("busctl");
    command
        .args(["--system", "get-property", "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager"])
        .args(["org.freedesktop.NetworkManager", "Metered"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(ANSWER, command.output()).await.ok()?.ok()?;
    means_metered(&String::from_utf8(output.stdout).ok()?)
}

/// `u 1` is yes, `u 3` a guess of yes, `u 2` and `u 4` are no, and `u 0` is not known.
fn means_metered(said: &str) -> Option<bool> {
    match said.trim().strip_prefix("u ")?.parse().ok()? {
        1u32 | 3 => Some(true),
        2 | 4 => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_network_manager_says_is_understood() {
        let said = ["u 0\n", "u 1\n", "u 2\n", "u 3\n", "u 4\n", "", "no such service"];
        let means = said.map(means_metered);
        assert_eq!(means, [None, Some(true), Some(false), Some(true), Some(false), None, None]);
    }
}
