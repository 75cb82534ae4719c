//! `outpost completions` and `outpost man`: what shells and readers of manuals know of the commands.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use super::output::{Output, print_line};

#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// Write a page for each command into this folder, instead of the first page to standard output.
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub(super) fn completions(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Args::command(), "outpost", &mut script);
    write(&script)
}

pub(super) fn man(args: &ManArgs) -> Result<()> {
    match &args.dir {
        Some(dir) => {
            let pages = pages(dir)?;
            print_line(&format!("{}: {pages} pages", dir.display()))
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(super::Args::command()).render(&mut page)?;
            write(&page)
        }
    }
}

/// Writes all pages into `dir`; gives how many there are.
fn pages(dir: &Path) -> Result<usize> {
    std::fs::create_dir_all(dir).with_context(|| format!("create folder {}", dir.display()))?;
    clap_mangen::generate_to(super::Args::command(), dir).with_context(|| format!("write into {}", dir.display()))?;
    let entries = std::fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.filter(|name| name.starts_with("outpost") && name.contains('.')).count())
}

fn write(text: &[u8]) -> Result<()> {
    let mut output = Output::of_result();
    output.write_all(text)?;
    Ok(output.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let dir = tempfile::tempdir().expect("tempdir");
        assert!(pages(dir.path()).expect("pages") > 10);
        let page = std::fs::read_to_string(dir.path().join("outpost-queue-list.1")).expect("a page");
        assert!(page.contains("\\-\\-limit"), "{page}");
        assert!(!dir.path().join("outpost-inspect-pictures.1").exists(), "it is of no use to people");
    }
}
