//! Child processes that end with the test.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::wait_for;

/// Lines of a log that a failing test prints.
const TAIL: usize = 25;
/// Characters of such a line.
const WIDTH: usize = 300;

/// How long one that was killed is waited for.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// A running server or daemon. Its output goes to a file; it is killed when this is dropped, or by the
/// kernel when the test process ends in any other way.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with `arguments`, its output appended to `log`.
    pub fn start<S: AsRef<std::ffi::OsStr>>(
        name: &str,
        program: impl AsRef<Path>,
        arguments: &[S],
        log: PathBuf,
    ) -> Self {
        let program = program.as_ref();
        let output = File::options().create(true).append(true).open(&log).expect("open a log");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments);
        // A group of its own, so that it can be asked whether anything of it is left.
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("share a log")).stderr(output).process_group(0);
        let child = command.spawn().unwrap_or_else(|e| panic!("start {name} ({}): {e}", program.display()));
        Self { name: name.to_owned(), child, log }
    }

    /// Everything that it wrote so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until `ready` says yes; fails at once when the process ends instead.
    pub fn wait_ready(&mut self, patience: Duration, mut ready: impl FnMut(&str) -> bool) {
        let what = format!("{} to be ready", self.name);
        wait_for(&what, patience, || {
            if let Some(status) = self.child.try_wait().expect("look after a child") {
                panic!("{} ended with {status}", self.name);
            }
            let log = self.log();
            if ready(&log) { Ok(()) } else { Err(last_lines(&log, 3)) }
        });
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Its process id, for what the system's own tools do with it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to it, and to it alone.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap_or_else(|e| panic!("signal {}: {e}", self.name));
    }

    /// Whether it runs. One whose threads are held by a dead disk after it was told to end does not, as for a service
    /// manager, though the system cannot remove it.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("look after a child").is_none() && !self.is_held()
    }

    fn is_held(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('Z'))
    }

    /// Ends it as a power cut would, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let status = self.child.wait().expect("wait for a child");
        assert!(status.signal() == Some(9) || status.code().is_some(), "{}: {status}", self.name);
    }

    /// Asks it to end and waits until it has.
    pub fn terminate(&mut self, patience: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        let what = format!("{} to end", self.name);
        wait_for(&what, patience, || {
            self.child.try_wait().expect("look after a child").ok_or_else(|| last_lines(&self.log(), 3))
        })
    }

    /// Processes of its group that still run, as `pid name`.
    pub fn left_behind(&self) -> Vec<String> {
        let group = self.child.id().to_string();
        let entries = std::fs::read_dir("/proc").expect("list processes");
        entries
            .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok())
            .filter_map(|stat| {
                // "pid (name) state ppid pgrp ...", where the name may hold anything.
                let (head, tail) = stat.rsplit_once(") ")?;
                let fields: Vec<&str> = tail.split(' ').collect();
                (fields.get(2) == Some(&group.as_str()) && fields.first() != Some(&"Z")).then(|| head.to_owned())
            })
            .collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        // One that a dead disk holds is gone once the disk is.
        let until = Instant::now() + GONE_WITHIN;
        while !matches!(self.child.try_wait(), Ok(Some(_))) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        if std::thread::panicking() {
            eprintln!("--- end of the log of {} ---\n{}", self.name, last_lines(&self.log(), TAIL));
        }
    }
}

fn last_lines(text: &str, n: usize) -> String {
    let lines: Vec<String> = text.lines().map(|line| line.chars().take(WIDTH).collect()).collect();
    lines[lines.len().saturating_sub(n)..].join("\n")
}

/// Runs a command to its end; fails the test unless it succeeds. Gives standard output.
pub fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

#[test]
fn a_process_dies_with_its_owner() {
    let scratch = super::Scratch::new("process");
    let process = Process::start("sleeper", "sleep", &["100"], scratch.path("log"));
    let pid = process.pid();
    assert!(process.left_behind().len() == 1, "{:?}", process.left_behind());
    drop(process);
    assert!(rustix::process::test_kill_process(pid).is_err(), "{pid:?} still runs");
}
