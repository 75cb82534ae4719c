//! A browser that is driven: tests/browser/live.mjs.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use super::{installed, repository};

/// A running browser with tabs.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Browser {
    /// Opens one for the page at `url`.
    pub fn start(url: &str) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--", "node"]).arg(repository().join("tests/browser/live.mjs")).arg(url);
        command.env("OUTPOST_NODE_MODULES", installed("node/node_modules"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start a browser");
        let (commands, answers) = (child.stdin.take(), child.stdout.take().expect("its output"));
        Self { child, commands, answers: BufReader::new(answers) }
    }

    /// Does something in a tab; fails the test where that does not work.
    pub fn ask(&mut self, tab: u32, command: &str) -> Value {
        let commands = self.commands.as_mut().expect("its input");
        writeln!(commands, "{tab} {command}").expect("a command");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        let mut answer: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{command}: {e}: {line:?}"));
        assert!(answer.get("failed").is_none(), "{command}: {answer}");
        answer["answer"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends with its input, and its browser with it.
        self.commands.take();
        let _ = self.child.wait();
    }
}
