//! Asking for a password without showing it.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Context, Result, ensure};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// A new password: typed twice on a terminal, else the first line of standard input.
pub(super) fn new_password(name: &str) -> Result<String> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return first_line(&mut input.lock());
    }
    let first = ask(&format!("Password of {name}: "))?;
    ensure!(ask("The same again: ")? == first, "the two passwords differ; nothing was changed");
    Ok(first)
}

fn first_line(input: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    input.read_line(&mut line).context("read the password from standard input")?;
    let password = line.trim_end_matches(['\r', '\n']);
    ensure!(!password.is_empty(), "no password came on standard input: pipe one line to it, or use a terminal");
    Ok(password.to_owned())
}

/// Asks on the terminal, which does not show what is typed meanwhile.
fn ask(question: &str) -> Result<String> {
    let (input, mut output) = (std::io::stdin(), std::io::stderr());
    write!(output, "{question}")?;
    output.flush()?;
    let shown = tcgetattr(&input).context("ask on the terminal")?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&input, OptionalActions::Flush, &hidden).context("hide what is typed")?;
    let mut line = String::new();
    let read = input.lock().read_line(&mut line);
    let restored = tcsetattr(&input, OptionalActions::Now, &shown);
    writeln!(output)?;
    read.context("read the password")?;
    restored.context("show what is typed again")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_pipe_is_a_password_with_its_spaces() {
        let read = |text: &str| first_line(&mut text.as_bytes());
        assert_eq!(read("correct horse \r\nmore").expect("a password"), "correct horse ");
        assert!(read("").is_err() && read("\n").is_err());
    }
}
