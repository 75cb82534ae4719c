//! After a stop: what was being taken in is removed, and the index is made to say what the folders do.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};
use tracing::{info, warn};

use super::intake::place;
use super::layout::remove;
use super::{Config, ExecutionArchive, ExecutorError};
use crate::archive::Archive;
use crate::execution::ExecutionId;

/// Rows that are read at once.
const PAGE: usize = 1000;

/// Compares the executions on the disk with the index, and makes that say what they do. `first_id` is the first id of this
/// run: what is being taken in under it or a higher one is left alone. Nothing is run meanwhile. Blocks. Returns how many were taken into the index.
///
/// # Errors
/// When the index fails, or the disk. One whose file is damaged is logged and left where it is.
pub fn recover(archive: &Archive, first_id: ExecutionId) -> Result<u64> {
    let all = ExecutionArchive::new(archive, std::sync::Arc::new(Config::default()));
    for id in ids_in(&all.layout.incoming())? {
        if id < first_id {
            let is_known = archive.store().executions().get(id).wait()?.is_some();
            if is_known && !all.layout.folder(id).exists() && all.layout.beside(id).exists() {
                place(&all.layout, id)?;
            }
            remove(&all.layout.beside(id))?;
            remove(&all.layout.incoming().join(format!("{id}.run")))?;
        }
    }
    let (mut after, mut known) = (None, BTreeSet::new());
    loop {
        let page = archive.store().executions().by_id(after, PAGE).wait()?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        for summary in page {
            known.insert(summary.id);
            // One of this run may be between its row and its place.
            if summary.id < first_id && !all.layout.folder(summary.id).exists() {
                archive.store().executions().forget(summary.id, None, Vec::new())?;
            } else if !summary.state.is_over() {
                complete(&all, summary.id)?;
            }
        }
    }
    let mut found = 0;
    for id in ids_in(&all.layout.root())?.difference(&known) {
        // One that is just being taken in is recorded twice, with the same.
        found += u64::from(take_in(&all, *id)?);
    }
    if found > 0 {
        info!(executions = found, "took the executions on the disk into the index");
    }
    Ok(found)
}

/// Records one that was over when the stop came between its file and the index.
fn complete(all: &ExecutionArchive, id: ExecutionId) -> Result<()> {
    match all.read(id) {
        Ok(execution) if execution.state.is_over() => Ok(all.complete(&execution)?),
        _ => Ok(()),
    }
}

fn take_in(all: &ExecutionArchive, id: ExecutionId) -> Result<bool> {
    match all.read(id) {
        Ok(execution) => {
            all.take_in(&execution)?;
            Ok(true)
        }
        Err(ExecutorError::Unknown) => Ok(false),
        Err(error) => {
            warn!(execution = %id, %error, "the file of an execution is damaged, the execution is not shown");
            Ok(false)
        }
    }
}

/// The executions that have a folder in `folder`.
fn ids_in(folder: &std::path::Path) -> Result<BTreeSet<ExecutionId>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.with_context(|| format!("read folder {}", folder.display()))?,
    };
    let mut ids = BTreeSet::new();
    for entry in entries {
        let name = entry.with_context(|| format!("read folder {}", folder.display()))?.file_name();
        let stem = name.to_str().map(|name| name.strip_suffix(".run").unwrap_or(name));
        ids.extend(stem.and_then(|stem| stem.parse::<ExecutionId>().ok()));
    }
    Ok(ids)
}
