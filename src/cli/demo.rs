//! `outpost demo`: the main job on a clip that comes with the program. A file is the camera, a folder is the cloud.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::Config;
use crate::event::{Event, EventKind, Phase};
use crate::reload::Source;
use crate::{supervise, zone};

/// People on a campus road; origin and licence in tests/fixtures/NOTICE.md.
const CLIP: &[u8] = include_bytes!("../../tests/fixtures/people.mp4");
/// The camera's settings in the demo.
const CONFIG: &str = include_str!("demo.toml");

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder for the box's storage and for what stands for the cloud.
    #[arg(long, default_value = "demo-data")]
    dir: PathBuf,
    /// Address of the page.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

pub(super) fn main(args: &Args) -> Result<()> {
    std::fs::create_dir_all(&args.dir).with_context(|| format!("create folder {}", args.dir.display()))?;
    let dir = args.dir.canonicalize().with_context(|| format!("find folder {}", args.dir.display()))?;
    let clip = dir.join("people.mp4");
    std::fs::write(&clip, CLIP).with_context(|| format!("write {}", clip.display()))?;
    let cloud = dir.join("cloud");
    std::fs::create_dir_all(&cloud).with_context(|| format!("create folder {}", cloud.display()))?;
    let config = settings(&dir, &clip, &cloud, args.listen)?;
    println!("camera  street: people walking, {} played in a loop", clip.display());
    println!("cloud   {}", cloud.display());
    println!("page    http://{}/", args.listen);
    println!("Ctrl-C ends it.\n");
    super::runtime()?.block_on(async {
        let stop = CancellationToken::new();
        supervise::on_signals(stop.clone())?;
        let app = App::build(config, Source::default(), stop).await?;
        let events = app.archive().announcements();
        let printer = tokio::spawn(print_events(events, cloud));
        let outcome = app.run().await;
        printer.abort();
        outcome
    })
}

fn settings(dir: &Path, clip: &Path, cloud: &Path, listen: SocketAddr) -> Result<Config> {
    let mut config = Config::parse(CONFIG)?;
    config.storage.path = dir.join("box");
    config.web.listen = listen;
    config.infer.model_dir = super::find_model_dir();
    for upload in config.upload.values_mut() {
        upload.url = format!("file://{}", cloud.display());
    }
    for camera in config.camera.values_mut() {
        camera.source.url = format!("replay:{}", clip.display());
    }
    Ok(config)
}

async fn print_events(mut events: Receiver<(Phase, Arc<Event>)>, cloud: PathBuf) {
    loop {
        match events.recv().await {
            Ok((Phase::Start, event)) => println!("{}", sentence(&event)),
            Ok((Phase::End, event)) => {
                let key = crate::upload::object_key(&event.device, &event, "");
                println!(
                    "         {} ended after {:.1} s -> {}",
                    event.label,
                    event.duration_s().unwrap_or(0.0),
                    cloud.join(key).display()
                );
            }
            Ok((Phase::Update, _)) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

fn sentence(event: &Event) -> String {
    let time = event.start.wall.to_zoned(zone::local()).strftime("%H:%M:%S");
    let what = match event.kind {
        EventKind::Object => "in view",
        EventKind::Enter => "came in",
        EventKind::Dwell => "stayed",
        EventKind::Leave => "left",
        EventKind::Cross => "crossed the line",
        EventKind::Count => "gathered",
        EventKind::Alert => event.message.as_deref().unwrap_or("is alerted of"),
    };
    format!("{time} {} {what} at {} (rule \"{}\", {:.0} %)", event.label, event.camera, event.rule, event.score * 100.0)
}
