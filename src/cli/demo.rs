//! `outpost demo`: the main job on a clip that comes with the program. A file is the camera, a folder is the cloud.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

use super::output::list_line;
use crate::app::App;
use crate::config::Config;
use crate::event::{Event, EventKind, Phase};
use crate::reload::Source;
use crate::{supervise, zone};

/// People on a campus road; origin and licence in tests/fixtures/NOTICE.md.
const CLIP: &[u8] = include_bytes!("../../tests/fixtures/people.mp4");
/// The camera's settings in the demo.
const CONFIG: &str = include_str!("demo.toml");

/// How often the page is asked whether it answers.
const ASK_EVERY: Duration = Duration::from_millis(100);

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
    let begin =
        format!("camera  street: people walking, {} played in a loop\ncloud   {}", clip.display(), cloud.display());
    list_line(&begin)?;
    super::runtime()?.block_on(async {
        let stop = CancellationToken::new();
        supervise::on_signals(stop.clone())?;
        let app = App::build(config, Source::default(), stop.clone()).await?;
        let events = app.archive().announcements();
        let listen = args.listen;
        let printer = tokio::spawn(async move {
            // Without a reader there is no one to show it to.
            let _guard = stop.drop_guard();
            page_answers(listen).await;
            list_line(&format!("page    http://{listen}/\nCtrl-C ends it.\n"))?;
            print_events(events, cloud).await
        });
        app.run().await?;
        if printer.is_finished() {
            return printer.await.context("print events")?;
        }
        printer.abort();
        Ok(())
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

/// Waits until the page at `listen` answers.
async fn page_answers(listen: SocketAddr) {
    let answers = async || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(listen).await?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer.contains(" 200 "))
    };
    while !answers().await.unwrap_or(false) {
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Prints them as they come, for as long as someone reads.
async fn print_events(mut events: Receiver<(Phase, Arc<Event>)>, cloud: PathBuf) -> Result<()> {
    loop {
        match events.recv().await {
            Ok((Phase::Start, event)) => list_line(&sentence(&event))?,
            Ok((Phase::End, event)) => {
                let key = crate::upload::object_key(&event.device, &event, "");
                let (seconds, file) = (event.duration_s().unwrap_or(0.0), cloud.join(key));
                list_line(&format!("         {} ended after {seconds:.1} s -> {}", event.label, file.display()))?;
            }
            Ok((Phase::Update, _)) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

fn sentence(event: &Event) -> String {
    let time = event.start.wall.to_zoned(zone::local()).strftime("%H:%M:%S");
    let what = match event.kind {
        EventKind::Object => "in view",
        EventKind::Activity => "in view",
        EventKind::Enter => "came in",
        EventKind::Dwell => "stayed",
        EventKind::Leave => "left",
        EventKind::Cross => "crossed the line",
        EventKind::Count => "gathered",
        EventKind::Alert => event.message.as_deref().unwrap_or("is alerted of"),
    };
    format!("{time} {} {what} at {} (rule \"{}\", {:.0} %)", event.label, event.camera, event.rule, event.score * 100.0)
}
