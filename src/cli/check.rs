//! `outpost check`.

use std::path::Path;

use anyhow::Result;

use crate::app;
use crate::config::Config;

pub(super) fn main(path: &Path) -> Result<()> {
    let config = Config::load(path)?;
    app::check(&config)?;
    let cameras: Vec<&str> = config.cameras().map(|(name, _)| name.as_str()).collect();
    println!("{} is good: {} camera(s): {}", path.display(), cameras.len(), cameras.join(", "));
    Ok(())
}
