//! `outpost library`: what is known of the photos as one file.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::output::print;
use super::store::{INDEX, Place, give_to_owner, open_archive};
use crate::asset::LIBRARY;
use crate::clock::{Clock, SystemClock};
use crate::durable;
use crate::library::{BackupCounts, BackupOf, RestoreReport, Restored, compare_backup, restore_backup, write_backup};
use crate::telemetry::complain;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Write what is known of all photos and albums, without originals, to one file. The daemon may run.
    Backup {
        #[command(flatten)]
        place: Place,
        /// The file; one that is there is replaced when the new one is whole.
        file: PathBuf,
    },
    /// Take what is not here from a backup. What is here stays as it is, and what was deleted here stays deleted. The daemon
    /// must not run.
    Restore {
        #[command(flatten)]
        place: Place,
        /// The file.
        file: PathBuf,
        /// Only say what would be done; the daemon may run.
        #[arg(long)]
        dry_run: bool,
        /// Replace photos and albums that say something else here.
        #[arg(long)]
        replace: bool,
    },
}

pub(super) fn main(command: &Command) -> Result<()> {
    match command {
        Command::Backup { place, file } => backup(place, file),
        Command::Restore { place, file, dry_run, replace } => restore(place, file, *dry_run, *replace),
    }
}

fn backup(place: &Place, file: &Path) -> Result<()> {
    let (config, _) = place.find()?;
    let of = BackupOf::new(device(place)?, SystemClock::new().wall());
    let mut counts = BackupCounts::default();
    durable::replace_with(file, &file.with_added_extension("tmp"), |out| -> Result<()> {
        // It has what is private.
        out.get_ref().set_permissions(Permissions::from_mode(0o600))?;
        counts = write_backup(&config.path, &of, out, complain)?;
        Ok(())
    })
    .with_context(|| format!("write {}", file.display()))?;
    print(&format!("{}: {} photos, {} albums\n", file.display(), counts.photos, counts.albums))?;
    if counts.damaged > 0 {
        bail!("{} files are damaged and were left out", counts.damaged);
    }
    Ok(())
}

fn restore(place: &Place, file: &Path, is_dry: bool, replaces: bool) -> Result<()> {
    let (config, outboxes) = place.find()?;
    let openable = place.config()?.map(|config| config.openable()).unwrap_or_default();
    let how = Restored { replaces, originals_at: openable.into_iter().next() };
    if is_dry {
        let report = compare_backup(&config.path, file, &how)?;
        return say("Nothing was changed. This would be done:", &report, &how, device(place)?);
    }
    let (store, archive) = open_archive(&config, &outboxes.unwrap_or_default())?;
    let (restored, is_filled) = (restore_backup(&archive, file, &how), store.is_filled());
    drop(archive);
    store.close()?;
    give_to_owner(&config.path, &[INDEX, &[LIBRARY]].concat())?;
    say("Restored:", &restored?, &how, device(place)?)?;
    if !is_filled? {
        print("The next start of the daemon takes them into the index.\n")?;
    }
    Ok(())
}

/// Name of the box in object keys; `None` where a folder is meant.
fn device(place: &Place) -> Result<Option<String>> {
    Ok(place.config()?.map(|config| config.device.id))
}

fn say(begin: &str, report: &RestoreReport, how: &Restored, device: Option<String>) -> Result<()> {
    let RestoreReport { of, photos, albums, originals_away, originals_missing } = report;
    let from = of.device.as_deref().unwrap_or("a folder");
    let mut lines = vec![
        format!("backup of {from}, made {:.0}", of.made),
        begin.to_owned(),
        format!("  photos: {photos}"),
        format!("  albums: {albums}"),
    ];
    if *originals_away > 0 {
        let whence = how.originals_at.as_ref().map(|to| format!(", most at {to}")).unwrap_or_default();
        lines.push(format!("  originals that are not here{whence}: {originals_away}; the page brings them back"));
    }
    if *originals_missing > 0 {
        lines.push(format!(
            "  originals that are neither here nor at a destination that the box can read: {originals_missing}; give those files again"
        ));
    }
    if let (Some(from), Some(here)) = (&of.device, device.filter(|here| of.device.as_ref() != Some(here))) {
        lines.push(format!(
            "This box has the name {here}: what {from} delivered lies under another name. With device.id = \"{from}\" it is found."
        ));
    }
    print(&(lines.join("\n") + "\n"))
}
