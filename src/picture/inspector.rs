//! The process that reads files of strangers: the same program, with limits, asked by one line and answering by one.
//!
//! It has no network, no rights that the daemon has not, a bounded memory, and small files to write. It is started when it
//! is needed, and gives way to a fresh one when it hangs, dies, or has looked at many files.

use std::io::{self, BufRead, Write};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, nice, set_parent_process_death_signal, setrlimit};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use super::request::Answer;
use super::{Inspected, PictureError, Request, inspect};

/// Longest that one file may take, and a video that is written again.
const PATIENCE: Duration = Duration::from_secs(60);
const LONG_PATIENCE: Duration = Duration::from_secs(300);
/// Files that are looked at at once.
const AT_ONCE: usize = 2;
/// Files after which a fresh process takes over, so that what a decoder leaks stays small.
const MOST_FILES: u32 = 1000;
/// Memory of the process, bytes of address space.
const MEMORY: u64 = 3 << 30;
/// Largest file that it may write.
const LARGEST_WRITTEN: u64 = 32 << 20;
/// What a copy of a video may be larger than that, bytes.
const SLACK: u64 = 32 << 20;
/// How much it gives way to the daemon.
const NICE: i32 = 19;
/// It goes before the daemon where memory is short.
const OOM_SCORE: &str = "500";

/// The command line's word for the process.
pub const COMMAND: &str = "inspect-pictures";

/// Looks at files in processes of their own. Clones share them.
#[derive(Clone, Debug)]
pub struct Inspector(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    /// In this process: for tests, which are another program.
    Here,
    /// In processes of their own.
    Apart {
        /// So many files are looked at at once; one that hangs holds up no other.
        turns: Semaphore,
        /// Those that have nothing to do; none until one is needed.
        idle: Mutex<Vec<Process>>,
    },
}

#[derive(Debug)]
struct Process {
    /// Killed when this is dropped.
    _child: Child,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    files: u32,
}

impl Default for Inspector {
    /// One with a process of its own; in unit tests, which are another program, one without.
    fn default() -> Self {
        if cfg!(test) { Self::here() } else { Self::apart() }
    }
}

impl Inspector {
    /// One that starts this program again.
    pub fn apart() -> Self {
        Self(Arc::new(Kind::Apart { turns: Semaphore::new(AT_ONCE), idle: Mutex::default() }))
    }

    /// One without a process of its own, for tests and commands.
    pub fn here() -> Self {
        Self(Arc::new(Kind::Here))
    }

    /// Looks at a file.
    ///
    /// # Errors
    /// [`PictureError::NotAPicture`]; else when the file cannot be read, or the process dies of it or hangs over it.
    pub async fn inspect(&self, request: Request) -> Result<Inspected, PictureError> {
        let Kind::Apart { turns, idle } = &*self.0 else {
            let look = move || inspect(&request);
            let looked = tokio::task::spawn_blocking(look).await;
            return looked.unwrap_or_else(|_| Err(PictureError::Inspector("the decoder panicked".to_owned())));
        };
        let _turn = turns.acquire().await;
        let known = idle.lock().pop();
        let mut process = match known.filter(|process| process.files < MOST_FILES) {
            Some(process) => process,
            None => Process::start().map_err(|error| {
                PictureError::Inspector(format!("the process that reads pictures cannot be started: {error}"))
            })?,
        };
        // Not put back, and so killed, unless it answers: also when the caller goes.
        let patience = if request.stripped { LONG_PATIENCE } else { PATIENCE };
        let answer = match tokio::time::timeout(patience, process.ask(&request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                warn!(file = request.name, %error, "the process that reads pictures died of a file");
                return Err(PictureError::Inspector(
                    "it cannot be read: the decoder failed or needed too much memory".to_owned(),
                ));
            }
            Err(_) => {
                warn!(file = request.name, "the process that reads pictures hung over a file");
                let seconds = patience.as_secs();
                return Err(PictureError::Inspector(format!(
                    "it cannot be read: the decoder took longer than {seconds} s"
                )));
            }
        };
        idle.lock().push(process);
        match answer {
            Answer::Inspected(inspected) => Ok(*inspected),
            Answer::NotAPicture => Err(PictureError::NotAPicture),
            Answer::Disk(reason) => Err(PictureError::Disk(reason)),
        }
    }
}

impl Process {
    fn start() -> io::Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .arg(COMMAND)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let pipe = || io::Error::other("it has no pipe");
        let questions = child.stdin.take().ok_or_else(pipe)?;
        let answers = BufReader::new(child.stdout.take().ok_or_else(pipe)?).lines();
        debug!(pid = child.id(), "started the process that reads pictures");
        Ok(Self { _child: child, questions, answers, files: 0 })
    }

    async fn ask(&mut self, request: &Request) -> io::Result<Answer> {
        self.files += 1;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.questions.write_all(&line).await?;
        let answer = self.answers.next_line().await?;
        Ok(serde_json::from_str(&answer.ok_or(io::ErrorKind::UnexpectedEof)?)?)
    }
}

/// Answers the questions of the daemon on standard input until that ends: what `outpost inspect-pictures` does.
///
/// # Errors
/// When a limit cannot be set, or the pipe breaks.
pub fn serve(questions: impl BufRead, mut answers: impl Write) -> io::Result<()> {
    limit()?;
    for question in questions.lines() {
        let answer = match inspect(&serde_json::from_str(&question?)?) {
            Ok(inspected) => Answer::Inspected(Box::new(inspected)),
            Err(PictureError::NotAPicture) => Answer::NotAPicture,
            Err(error) => Answer::Disk(error.to_string()),
        };
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        answers.write_all(&line)?;
        answers.flush()?;
    }
    Ok(())
}

/// Does `work`, which may write a file of `bytes` and a little more.
pub(super) fn with_room<T>(bytes: u64, work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let limit = getrlimit(Resource::Fsize);
    // In a process without limits, in tests, there is nothing to widen.
    let widened = limit.maximum.map(|most| Rlimit { current: Some(most.min(bytes + SLACK)), ..limit });
    if let Some(widened) = widened {
        setrlimit(Resource::Fsize, widened).map_err(|error| error.to_string())?;
    }
    let done = work();
    if widened.is_some() {
        setrlimit(Resource::Fsize, limit).map_err(|error| error.to_string())?;
    }
    done
}

/// Takes from this process what it does not need.
fn limit() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    let to = |most| Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::As, to(MEMORY))?;
    let most = super::LARGEST_STRIPPED + SLACK;
    setrlimit(Resource::Fsize, Rlimit { current: Some(LARGEST_WRITTEN), maximum: Some(most) })?;
    setrlimit(Resource::Core, to(0))?;
    setrlimit(Resource::Nofile, to(32))?;
    nice(NICE)?;
    // A system that has no such score has its own ways.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    Ok(())
}
