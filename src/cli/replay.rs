//! `outpost replay`: the stages of a camera over a clip, one after the other, nothing dropped.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::output;
use crate::clock::{Clock, Mono, SystemClock};
use crate::config::{self, Config};
use crate::detection::BBox;
use crate::event::{EventId, EventKind, IdSource, Phase};
use crate::frame::Frame;
use crate::infer::Detector;
use crate::pipeline::{Analysis, Inference, PipelineStage, Sampler, StagePlan};
use crate::rules::{Rule, Signal};
use crate::source::{self, Pace, Role, SourceError};
use crate::zone;

/// How often it is said how far a clip is.
const NOTE_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The clip: any container and coding that libav reads.
    clip: PathBuf,
    /// Take the camera's settings from this configuration.
    #[arg(long, short)]
    config: Option<PathBuf>,
    /// Which camera of the configuration; default: the first.
    #[arg(long, requires = "config")]
    camera: Option<String>,
    /// The model, instead of the camera's.
    #[arg(long)]
    model: Option<String>,
    /// Folder with models; default: the configuration's, or the installed one.
    #[arg(long)]
    model_dir: Option<PathBuf>,
    /// Labels that make events, instead of the camera's.
    #[arg(long, value_delimiter = ',')]
    labels: Option<Vec<String>>,
}

/// One finished event on standard output.
#[derive(Debug, Serialize)]
struct Line {
    id: EventId,
    camera: Arc<str>,
    rule: Arc<str>,
    kind: EventKind,
    label: Arc<str>,
    score: f32,
    /// Seconds from the clip's first picture.
    start: f64,
    end: f64,
    /// Box of the best frame, `[x, y, w, h]` in 0..1.
    #[serde(rename = "box")]
    bbox: BBox,
    zones: Vec<Arc<str>>,
}

pub(super) fn main(args: &Args) -> Result<()> {
    let (name, camera, model_dir) = settings(args)?;
    let detector = Detector::load(&model_dir, &camera.detect.model)?;
    camera.detect.check_labels(&detector).map_err(anyhow::Error::msg)?;
    super::runtime()?.block_on(replay(name, camera, detector))
}

fn settings(args: &Args) -> Result<(Arc<str>, config::Camera, PathBuf)> {
    let (name, mut camera, configured_dir) = match &args.config {
        None => {
            let rules = vec![Rule::each_object()];
            ("replay".into(), config::Camera { rules, ..config::Camera::default() }, None)
        }
        Some(path) => {
            let config = Config::load(path)?;
            let model_dir = config.infer.model_dir.clone();
            let (name, camera) = match &args.camera {
                Some(wanted) => match config.camera.get_key_value(wanted) {
                    Some(found) => found,
                    None => bail!("{} has no camera {wanted:?}", path.display()),
                },
                None => config.cameras().next().context("the configuration has no camera")?,
            };
            (name.as_str().into(), camera.clone(), Some(model_dir))
        }
    };
    camera.source = source::Config {
        url: format!("replay:{}", args.clip.display()),
        pace: Pace::Fast,
        ..source::Config::default()
    };
    // What is asked for here is detection, whatever the camera does at present.
    camera.detect.enabled = true;
    if let Some(model) = &args.model {
        camera.detect.model.clone_from(model);
    }
    if let Some(labels) = &args.labels {
        camera.detect.labels.clone_from(labels);
    }
    let model_dir = args.model_dir.clone().or(configured_dir).unwrap_or_else(super::find_model_dir);
    Ok((name, camera, model_dir))
}

async fn replay(name: Arc<str>, camera: config::Camera, detector: Detector) -> Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut source = source::connect(&camera.source, Role::Main, clock.clone()).await?;
    let plan = StagePlan::from_config(&camera);
    let mut decoder = plan.decode();
    let analysis = plan.follow().map_err(anyhow::Error::msg)?;
    let stages = plan.sample().zip(plan.infer(Arc::new(detector))).zip(analysis);
    let ((sampler, inference), analysis) = stages.context("the camera has no detection")?;
    let mut run = Run {
        ids: IdSource::new(clock.clone(), None),
        clock,
        sampler,
        inference,
        analysis,
        first: None,
        last: Mono::default(),
        open: HashMap::new(),
        name,
    };
    let (mut packets, mut pictures, mut why) = (0u64, 0u64, None);
    let mut progress = Progress::new();
    loop {
        match source.next().await {
            Ok(packet) => {
                let shown = packet.pts();
                run.first = Some(run.first.map_or(shown, |first| first.min(shown)));
                packets += 1;
                // A picture that does not decode is one picture less; the next key frame heals it.
                let frames = decoder.step(&packet).unwrap_or_else(|failure| {
                    why.get_or_insert(failure.to_string());
                    Vec::new()
                });
                for frame in frames {
                    pictures += 1;
                    run.frame(&frame)?;
                }
                progress.note(run.clip_time());
            }
            Err(SourceError::Ended) => break,
            Err(failure) => return Err(failure.into()),
        }
    }
    for frame in decoder.flush() {
        pictures += 1;
        run.frame(&frame)?;
    }
    if pictures == 0 {
        // Without a word it would look like a clip in which nothing happens.
        let why = why.unwrap_or_else(|| "it has no key frame".to_owned());
        bail!("{}: none of {packets} packets decoded: {why}", camera.source.display_url());
    }
    run.finish()
}

/// Says now and then how far a long clip is, to a person at a terminal.
struct Progress {
    is_wanted: bool,
    due: Instant,
}

impl Progress {
    fn new() -> Self {
        Self { is_wanted: std::io::stderr().is_terminal(), due: Instant::now() + NOTE_EVERY }
    }

    /// `done` is how much of the clip was looked at.
    fn note(&mut self, done: Duration) {
        if self.is_wanted && Instant::now() >= self.due {
            self.due = Instant::now() + NOTE_EVERY;
            output::note(&format!("{} s of the clip", done.as_secs()));
        }
    }
}

struct Run {
    name: Arc<str>,
    clock: Arc<dyn Clock>,
    ids: IdSource,
    sampler: Sampler,
    inference: Inference,
    analysis: Analysis,
    first: Option<Mono>,
    last: Mono,
    open: HashMap<u64, Open>,
}

struct Open {
    start: Mono,
    best_score: f32,
    bbox: BBox,
}

impl Run {
    /// How much of the clip was looked at.
    fn clip_time(&self) -> Duration {
        self.first.map_or(Duration::ZERO, |first| self.last.since(first))
    }

    fn frame(&mut self, frame: &Frame) -> Result<()> {
        self.last = frame.at;
        let following = self.analysis.objects() > 0;
        if !self.sampler.sample(frame, following).is_some_and(|sample| sample.look) {
            return Ok(());
        }
        let detections = self.inference.step(&*frame.picture)?;
        let local = self.local(frame.at);
        self.analysis.set_picture_size(frame.picture.width(), frame.picture.height());
        let signals = self.analysis.look(frame.at, local, &detections);
        self.signals(signals)
    }

    fn finish(mut self) -> Result<()> {
        // What is still in view when the clip ends, ends with it.
        let signals = self.analysis.end_all(self.last);
        self.signals(signals)
    }

    fn local(&self, at: Mono) -> jiff::civil::DateTime {
        self.clock.moment(at).wall.to_zoned(zone::local()).datetime()
    }

    fn signals(&mut self, signals: Vec<Signal>) -> Result<()> {
        for signal in signals {
            match signal.phase {
                Phase::Start => {
                    let open = Open { start: signal.at, best_score: signal.frame_score, bbox: signal.bbox };
                    self.open.insert(signal.key, open);
                }
                Phase::Update => {
                    if let Some(open) = self.open.get_mut(&signal.key)
                        && signal.seen
                    {
                        (open.best_score, open.bbox) = (signal.frame_score, signal.bbox);
                    }
                }
                Phase::End => self.end(signal)?,
            }
        }
        Ok(())
    }

    fn end(&mut self, signal: Signal) -> Result<()> {
        let Some(open) = self.open.remove(&signal.key) else { return Ok(()) };
        let first = self.first.unwrap_or_default();
        let seconds = |at: Mono| (at.since(first).as_secs_f64() * 1000.0).round() / 1000.0;
        output::list_json(&Line {
            id: self.ids.next(),
            camera: self.name.clone(),
            rule: signal.rule,
            kind: signal.kind,
            label: signal.label,
            score: signal.score,
            start: seconds(open.start),
            end: seconds(signal.at),
            bbox: open.bbox,
            zones: signal.zones,
        })
    }
}
