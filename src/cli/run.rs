//! `outpost run`.

use std::path::Path;

use anyhow::Result;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::placed;
use crate::app::App;
use crate::config::Config;
use crate::{supervise, zone};

pub(super) fn main(path: &Path) -> Result<()> {
    let config = Config::load(path)?;
    info!(version = env!("CARGO_PKG_VERSION"), config = %path.display(), device = %config.device.id, "starting");
    zone::log_at_start();
    let runtime = super::runtime()?;
    let outcome = runtime.block_on(async {
        let stop = CancellationToken::new();
        supervise::on_signals(stop.clone())?;
        supervise::ignore_hangup()?;
        App::build(config, stop).await.map_err(|error| placed(error, path))?.run().await
    });
    // What is left on its threads hangs in a dead disk; it is not waited for.
    runtime.shutdown_background();
    outcome
}
