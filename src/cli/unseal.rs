//! `outpost unseal`.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;

use super::output::{Output, print};
use crate::durable;
use crate::seal::{Identity, UnsealError, unseal};
use crate::telemetry::complain;

/// What names of sealed files end in.
const SUFFIX: &str = "age";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// File with the private key, as age-keygen writes it; several are tried in order.
    #[arg(long, short, required = true, value_name = "KEYFILE")]
    identity: Vec<PathBuf>,
    /// Folder that the opened files go to. Default: beside the sealed ones.
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Sealed files, whose names end in .age; without any, standard input goes to standard output.
    files: Vec<PathBuf>,
}

/// # Errors
/// When a key cannot be used, or a file could not be opened; the other files are.
pub(super) fn main(arguments: &Arguments) -> Result<()> {
    let mut identities = Vec::new();
    for file in &arguments.identity {
        let text = fs::read_to_string(file).with_context(|| format!("read the key file {}", file.display()))?;
        identities.extend(Identity::of_file(&text).with_context(|| format!("read the key file {}", file.display()))?);
    }
    ensure!(!identities.is_empty(), "no private key is in the key file; age-keygen makes one");
    if arguments.files.is_empty() {
        ensure!(arguments.output.is_none(), "--output is for files; name those to open");
        let mut out = BufWriter::new(Output::of_list());
        unseal(&identities, std::io::stdin().lock(), &mut out).context("open standard input")?;
        return out.flush().context("write standard output");
    }
    let mut failed = 0;
    for file in &arguments.files {
        match open(&identities, file, arguments.output.as_deref()) {
            Ok(opened) => print(&format!("{}\n", opened.display()))?,
            Err(failure) => {
                complain(&format!("outpost: {}: {failure:#}", file.display()));
                failed += 1;
            }
        }
    }
    match (failed, arguments.files.len()) {
        (0, _) => Ok(()),
        (failed, all) => bail!("{failed} of {all} files could not be opened"),
    }
}

/// Gives where the opened file lies. What is not whole never has its name.
fn open(identities: &[Identity], sealed: &Path, folder: Option<&Path>) -> Result<PathBuf> {
    ensure!(sealed.extension().is_some_and(|extension| extension == SUFFIX), "its name does not end in .{SUFFIX}");
    let beside = sealed.with_extension("");
    let opened = match (folder, beside.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => beside,
    };
    let input = BufReader::new(File::open(sealed)?);
    ensure!(!opened.exists(), "{} is there already; move it away first", opened.display());
    let draft = opened.with_added_extension("part");
    // Durable, because the sealed file may be deleted next.
    durable::replace_with(&opened, &draft, |out| unseal(identities, input, out)).map_err(|error| match error {
        UnsealError::Io(error) => anyhow!(error).context(format!("write {}", opened.display())),
        refused => refused.into(),
    })?;
    Ok(opened)
}
