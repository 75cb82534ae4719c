//! `outpost run`.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::Result;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::placed;
use crate::app::App;
use crate::config::{Config, ConfigError, Files};
use crate::reload::{self, Kept, Source};
use crate::service::ConfigService;
use crate::{supervise, zone};

pub(super) fn main(path: &Path) -> Result<()> {
    let (config, source) = read(path, &Kept::of_service())?;
    info!(version = env!("CARGO_PKG_VERSION"), config = %path.display(), device = %config.device.id, "starting");
    zone::log_at_start();
    let runtime = super::runtime()?;
    let outcome = runtime.block_on(async {
        let stop = CancellationToken::new();
        supervise::on_signals(stop.clone())?;
        let hangups = Arc::new(Hangups::default());
        let noted = hangups.clone();
        supervise::on_hangup(move || noted.note())?;
        let app = App::build(config, source, stop).await.map_err(|error| placed(error, path))?;
        hangups.serve(app.config());
        app.run().await
    });
    // What is left on its threads hangs in a dead disk; it is not waited for.
    runtime.shutdown_background();
    outcome
}

/// Reloads that SIGHUP asks for. One that comes before all parts are made is carried out then.
#[derive(Default)]
struct Hangups {
    service: OnceLock<ConfigService>,
    is_asked: AtomicBool,
}

impl Hangups {
    fn note(&self) {
        self.is_asked.store(true, Ordering::SeqCst);
        self.carry_out();
    }

    fn serve(&self, service: ConfigService) {
        let _ = self.service.set(service);
        self.carry_out();
    }

    fn carry_out(&self) {
        let Some(service) = self.service.get() else { return };
        if self.is_asked.swap(false, Ordering::SeqCst)
            && let Err(error) = service.request()
        {
            warn!(%error, "the configuration is not read again");
        }
    }
}

/// The configuration in the file; where that cannot be used, the last one that was good: a mistake in the file must not
/// keep the box from recording when it starts with no one around.
fn read(path: &Path, kept: &Kept) -> Result<(Config, Source), ConfigError> {
    let (file, files) = (Some(path.to_owned()), Files::of_service(path));
    let undone = reload::recover(&files);
    let read = reload::read(&files);
    let read = match read {
        Ok(read) if read.config.camera.is_empty() => {
            let known = kept.load().map(|good| good.config).unwrap_or_default();
            reload::unless_lost(read, &known)
        }
        other => other,
    };
    match read {
        Ok(read) => Ok((read.config, Source { file, text: Some(read.text), error: None, undone })),
        Err(error) => {
            let Some(good) = kept.load() else { return Err(error) };
            let from = kept.file().unwrap_or(path).display();
            error!(%error, from = %from, "the configuration cannot be used, starting with the last good one");
            Ok((good.config, Source { file, text: Some(good.text), error: Some(error), undone }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::ConfigStatus;

    const GOOD: &str = "[camera.yard.source]\nurl = \"rtsp://h/1\"\n";

    #[test]
    fn a_hangup_before_all_parts_are_made_is_carried_out_then() {
        let (service, mut queue) = ConfigService::new(ConfigStatus::default());
        let hangups = Hangups::default();
        hangups.note();
        assert!(queue.requests.try_recv().is_err());
        hangups.serve(service);
        assert!(queue.requests.try_recv().is_ok() && queue.requests.try_recv().is_err());
        hangups.note();
        assert!(queue.requests.try_recv().is_ok() && queue.requests.try_recv().is_err());
    }

    #[test]
    fn a_file_that_cannot_be_used_gives_way_to_the_last_good_one() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (file, kept) = (dir.path().join("outpost.toml"), Kept::in_folder(dir.path()));
        std::fs::write(&file, "[camera.yard]\nsorce = 1\n").expect("write");
        read(&file, &kept).expect_err("nothing is kept");
        kept.save(GOOD);
        let (config, source) = read(&file, &kept).expect("the last good one");
        assert_eq!((config.camera.len(), source.text.as_deref()), (1, Some(GOOD)));
        let said = source.error.expect("why").to_string();
        assert!(said.contains("outpost.toml:2:1: unknown key `sorce`"), "{said}");
        std::fs::write(&file, "\n").expect("write");
        let (config, source) = read(&file, &kept).expect("the last good one");
        assert!(config.camera.len() == 1 && source.error.is_some(), "what a power cut left");
        std::fs::write(&file, "# no cameras\n").expect("write");
        assert!(read(&file, &kept).expect("what a person wants").0.camera.is_empty());
        std::fs::write(&file, GOOD).expect("write");
        assert!(read(&file, &kept).expect("good").1.error.is_none());
    }
}
