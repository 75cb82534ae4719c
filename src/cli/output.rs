//! What commands print on standard output, and notes for the person on standard error: written here alone.
//!
//! A reader that has seen enough (`outpost replay clip.mp4 | head`) is no failure. What only lists things then ends; what
//! has a result, such as whether the configuration is good, goes on in silence, and its exit code says it all the same.
//! Output that cannot be written, such as to a full disk, fails the command, which says so.

use std::io::{self, Write};

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

/// Standard output.
#[derive(Debug)]
pub(super) struct Output {
    ends_with_reader: bool,
}

/// Why standard output takes no more.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no one reads standard output any more")]
    Unread,
    #[error("standard output cannot be written ({0}): make room where it leads to, or send it elsewhere")]
    Broken(io::Error),
}

impl Output {
    /// Of what only lists things: it fails once no one reads any more, which ends the command as it should.
    pub(super) fn of_list() -> Self {
        Self { ends_with_reader: true }
    }

    /// Of what has a result: what no one reads is dropped.
    pub(super) fn of_result() -> Self {
        Self { ends_with_reader: false }
    }

    /// `length` bytes that were to be written are dropped where that is as it should be.
    fn settle<T>(&self, outcome: io::Result<T>, dropped: T) -> io::Result<T> {
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                if self.ends_with_reader {
                    return Err(io::Error::new(io::ErrorKind::BrokenPipe, Failure::Unread));
                }
                Ok(dropped)
            }
            // `write_all` tries it again.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(io::Error::new(error.kind(), Failure::Broken(error))),
            Ok(value) => Ok(value),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.settle(io::stdout().write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.settle(io::stdout().flush(), ())
    }
}

/// Whether a command ended only because no one reads what it prints.
pub(super) fn is_unread(error: &anyhow::Error) -> bool {
    let unread = |io: &io::Error| {
        let failure = io.get_ref().and_then(|inner| inner.downcast_ref::<Failure>());
        matches!(failure, Some(Failure::Unread))
    };
    error.chain().any(|cause| cause.downcast_ref().is_some_and(unread))
}

/// Prints `text`, part of a result.
pub(super) fn print(text: &str) -> Result<()> {
    write(Output::of_result(), text)
}

/// Prints one line of a result.
pub(super) fn print_line(line: &str) -> Result<()> {
    print(&format!("{line}\n"))
}

/// Prints a result as one line of JSON.
pub(super) fn print_json(value: &impl Serialize) -> Result<()> {
    print_line(&serde_json::to_string(value)?)
}

/// Prints one of many lines.
pub(super) fn list_line(line: &str) -> Result<()> {
    write(Output::of_list(), &format!("{line}\n"))
}

/// Prints one of many objects as a line of JSON.
pub(super) fn list_json(value: &impl Serialize) -> Result<()> {
    write(Output::of_list(), &(serde_json::to_string(value)? + "\n"))
}

/// Prints each of `rows`: as JSON, or as the line that `line` makes of it; `none` where there are none.
pub(super) fn print_list(rows: &Value, as_json: bool, none: &str, line: impl Fn(&Value) -> String) -> Result<()> {
    let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
    match rows {
        rows if as_json => rows.iter().try_for_each(list_json),
        [] => print(none),
        rows => rows.iter().try_for_each(|row| write(Output::of_list(), &line(row))),
    }
}

/// A line for the person at the terminal. Where there is no one, nothing is missed.
pub(super) fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn write(mut output: Output, text: &str) -> Result<()> {
    output.write_all(text.as_bytes())?;
    output.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: io::ErrorKind) -> io::Result<usize> {
        Err(kind.into())
    }

    #[test]
    fn a_reader_that_has_gone_ends_a_list_and_not_a_result() {
        let gone = Output::of_list().settle(failed(io::ErrorKind::BrokenPipe), 7).expect_err("the list ends");
        assert!(is_unread(&anyhow::Error::from(gone).context("print the list")));
        assert_eq!(Output::of_result().settle(failed(io::ErrorKind::BrokenPipe), 7).expect("dropped"), 7);
    }

    #[test]
    fn a_disk_that_is_full_fails_both_and_other_pipes_are_not_output() {
        for output in [Output::of_list(), Output::of_result()] {
            let full = output.settle(failed(io::ErrorKind::StorageFull), 7).expect_err("it is lost");
            assert!(full.to_string().contains("standard output cannot be written"), "{full}");
            assert!(!is_unread(&full.into()));
        }
        assert!(!is_unread(&io::Error::from(io::ErrorKind::BrokenPipe).into()), "a socket that broke is a failure");
    }
}
