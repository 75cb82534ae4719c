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
    said: Mutex<Said>,
}

/// What NetworkManager said.
#[derive(Debug, Default)]
struct Said {
    is_metered: bool,
    /// When it was asked last.
    asked: Option<Instant>,
    /// A question has come to its end, be it without an answer: there may be no NetworkManager.
    is_settled: bool,
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
            Metered::Auto => self.said.lock().is_metered,
        }
    }

    /// Whether that was found out, as far as it can be.
    pub fn is_settled(&self) -> bool {
        self.setting != Metered::Auto || self.said.lock().is_settled
    }

    /// The link may be another one: it is asked again at once. Until then the last answer counts, and is not settled.
    pub fn unsettle(&self) {
        let mut said = self.said.lock();
        (said.asked, said.is_settled) = (None, false);
    }

    /// Asks NetworkManager, where it decides and was not asked within a minute.
    pub async fn ask(&self) {
        let due = || {
            let mut said = self.said.lock();
            let due = said.asked.is_none_or(|asked| asked.elapsed() >= ASK);
            if due {
                said.asked = Some(Instant::now());
            }
            due
        };
        if self.setting == Metered::Auto && due() {
            self.note(network_manager_says().await);
        }
    }

    /// A question without an answer changes nothing: the link is what it was.
    fn note(&self, answer: Option<bool>) {
        let mut said = self.said.lock();
        said.is_metered = answer.unwrap_or(said.is_metered);
        said.is_settled = true;
    }
}

/// What NetworkManager says of the link; nothing where there is none, or it does not answer.
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

/// `u 1` is yes, `u 3` a guess of yes, `u 2` and `u 4` are no, and so counts `u 0`, which is not known.
fn means_metered(said: &str) -> Option<bool> {
    match said.trim().strip_prefix("u ")?.parse().ok()? {
        1u32 | 3 => Some(true),
        0 | 2 | 4 => Some(false),
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
        assert_eq!(means, [Some(false), Some(true), Some(false), Some(true), Some(false), None, None]);
    }

    #[test]
    fn the_last_answer_counts_until_another_one_comes() {
        let meter = Meter::new(Metered::Auto);
        assert!(!meter.is_settled());
        meter.note(Some(true));
        assert!(meter.is_metered() && meter.is_settled());
        meter.note(None);
        assert!(meter.is_metered(), "a question that failed says nothing of the link");
        meter.unsettle();
        assert!(meter.is_metered() && !meter.is_settled());
        meter.note(means_metered("u 0\n"));
        assert!(!meter.is_metered() && meter.is_settled());
        assert!(Meter::new(Metered::No).is_settled(), "nothing is asked");
    }
}
