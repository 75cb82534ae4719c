//! A small picture of a camera at a moment of the past, for who looks for one on the timeline.
//!
//! Decoded on request only, one at a time, and not at all while the box sheds load: then thumbnails of events stand in.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::super::context::Context;
use super::MOST_LOAD;
use super::pieces::{self, Piece};
use crate::asset::MediaKind;
use crate::decode::{self, Decoder};
use crate::frame::Frame;
use crate::mux::ClipReader;
use crate::store::Query;

/// Width of a picture, pixels.
const WIDTH: u32 = 320;
/// JPEG quality, 1 to 100.
const QUALITY: u8 = 60;
/// Pictures that are kept; some 10 KB each.
const KEPT: usize = 256;
/// Who waits for a picture at most, the one that is being decoded included.
const WAITING: usize = 12;
/// Pictures of one file that lie closer together are one.
const STEP_S: f64 = 1.0;
/// Pictures behind a key frame that are tried where that gives none by itself.
const TRIED: usize = 90;
/// Thumbnails are larger than this only by mistake.
const LARGEST_THUMBNAIL: u64 = 1 << 20;

/// What there is to see.
#[derive(Clone, Debug, PartialEq)]
pub enum Preview {
    /// A JPEG, and of when.
    Picture(Bytes, Timestamp),
    /// There is neither video nor a thumbnail of that time.
    Nothing,
    /// There is video, but the box has too much to do, or too many wait.
    Busy(&'static str),
}

/// Makes the pictures.
#[derive(Clone)]
pub struct PreviewService {
    context: Arc<Context>,
    turns: Arc<Turns>,
}

struct Turns {
    waiting: Semaphore,
    decoder: Semaphore,
    kept: Mutex<VecDeque<(PathBuf, i64, Bytes)>>,
}

impl PreviewService {
    pub(in crate::service) fn new(context: Arc<Context>) -> Self {
        let (waiting, decoder) = (Semaphore::new(WAITING), Semaphore::new(1));
        Self { context, turns: Arc::new(Turns { waiting, decoder, kept: Mutex::default() }) }
    }

    /// What `camera` showed at `at`, or at the nearest time within `tolerance`. `sees` holds for times that may be seen.
    ///
    /// # Errors
    /// When the index is out of service, or the file is damaged.
    pub async fn picture(
        &self,
        camera: &str,
        at: Timestamp,
        tolerance: SignedDuration,
        sees: impl Fn(Timestamp, Timestamp) -> bool + Clone + Send + 'static,
    ) -> Result<Preview> {
        let Ok(_waiting) = self.turns.waiting.try_acquire() else {
            return Ok(Preview::Busy("others wait for pictures already"));
        };
        let (context, camera) = (self.context.clone(), camera.to_owned());
        let archive = context.volume.archive();
        let (time, store) = (around(at, tolerance), context.store());
        let looked_in = camera.clone();
        let of_events = sees.clone();
        let found = tokio::task::spawn_blocking(move || {
            let pieces = pieces::find(&store, &looked_in, &time, sees)?.pieces;
            Ok::<_, anyhow::Error>(pieces.into_iter().min_by_key(|piece| distance(piece, at)))
        });
        let Some(piece) = found.await?? else { return self.thumbnail(camera, at, tolerance, of_events).await };
        let path = piece.path(archive.layout(), &camera);
        let (offset, taken) = place(&piece, at);
        if let Some(known) = self.kept(&path, offset) {
            return Ok(Preview::Picture(known, taken));
        }
        if archive.pressure.level() > MOST_LOAD {
            return match self.thumbnail(camera, at, tolerance, of_events).await? {
                Preview::Nothing => Ok(Preview::Busy("the box has too much to do")),
                other => Ok(other),
            };
        }
        let _turn = self.turns.decoder.acquire().await?;
        if let Some(known) = self.kept(&path, offset) {
            return Ok(Preview::Picture(known, taken));
        }
        let decoded = path.clone();
        let jpeg = tokio::task::spawn_blocking(move || decode(&decoded, offset)).await??;
        self.keep(path, offset, jpeg.clone());
        Ok(Preview::Picture(jpeg, taken))
    }

    /// The thumbnail of the event nearest to `at`.
    async fn thumbnail(
        &self,
        camera: String,
        at: Timestamp,
        tolerance: SignedDuration,
        sees: impl Fn(Timestamp, Timestamp) -> bool + Send + 'static,
    ) -> Result<Preview> {
        let time = around(at, tolerance);
        let (store, layout) = (self.context.store(), self.context.volume.archive().layout().clone());
        let read = move || {
            let (since, until) = (Some(time.start), Some(time.end));
            let query = Query { camera: Some(camera.clone()), since, until, limit: 500, ..Query::default() };
            let mut events = store.events().find(&query).wait()?;
            events.retain(|event| {
                let (from, until) = event.extent(at);
                sees(from, until)
            });
            events.sort_by_key(|event| event.start.wall.duration_since(at).abs());
            let thumbnail = events.iter().find_map(|event| {
                let picture = event.pictures.iter().find(|picture| picture.kind == MediaKind::Thumbnail)?;
                Some((layout.folder(&camera, event.id).join(&picture.file), event.start.wall))
            });
            let Some((path, taken)) = thumbnail else { return Ok(Preview::Nothing) };
            let is_small = std::fs::metadata(&path).is_ok_and(|file| file.len() <= LARGEST_THUMBNAIL);
            Ok(match std::fs::read(&path) {
                Ok(jpeg) if is_small => Preview::Picture(jpeg.into(), taken),
                _ => Preview::Nothing,
            })
        };
        tokio::task::spawn_blocking(read).await?
    }

    fn kept(&self, path: &Path, offset: Duration) -> Option<Bytes> {
        let kept = self.turns.kept.lock();
        let wanted = step(offset);
        kept.iter().find(|(of, at, _)| *at == wanted && of == path).map(|(.., jpeg)| jpeg.clone())
    }

    fn keep(&self, path: PathBuf, offset: Duration, jpeg: Bytes) {
        let mut kept = self.turns.kept.lock();
        kept.truncate(KEPT - 1);
        kept.push_front((path, step(offset), jpeg));
    }
}

fn around(at: Timestamp, tolerance: SignedDuration) -> std::ops::Range<Timestamp> {
    let tolerance = tolerance.max(SignedDuration::from_secs(1));
    at.saturating_sub(tolerance).unwrap_or(Timestamp::MIN)..at.saturating_add(tolerance).unwrap_or(Timestamp::MAX)
}

fn distance(piece: &Piece, at: Timestamp) -> SignedDuration {
    at.clamp(piece.from, piece.until).duration_since(at).abs()
}

/// Where the picture of `at` lies in the file, in steps, and when it was taken, about.
fn place(piece: &Piece, at: Timestamp) -> (Duration, Timestamp) {
    let wanted = at.clamp(piece.from, piece.until).duration_since(piece.file_from());
    let seconds = (wanted.as_secs_f64() / STEP_S).floor().max(0.0) * STEP_S;
    let offset = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    (offset, piece.file_from().checked_add(offset).unwrap_or(piece.from))
}

fn step(offset: Duration) -> i64 {
    i64::try_from(offset.as_secs()).unwrap_or(i64::MAX)
}

/// The picture at `offset`: of the key frame at or before it.
fn decode(path: &Path, offset: Duration) -> Result<Bytes> {
    let mut reader = ClipReader::open(path).with_context(|| format!("open {}", path.display()))?;
    reader.go_to(offset)?;
    let mut decoder = Decoder::new(decode::Config::default());
    let stream = reader.stream().clone();
    let mut at = crate::clock::Mono(0);
    for _ in 0..TRIED {
        let Some(sample) = reader.next_sample()? else { break };
        at = at + Duration::from_millis(40);
        // What does not decode is passed over: the next picture may.
        let mut frames = decoder.decode(&sample.packet(&stream, at)).unwrap_or_default();
        if frames.is_empty() {
            frames = decoder.flush();
        }
        if let Some(frame) = frames.first() {
            return encode(frame);
        }
    }
    Err(anyhow!("{} has no picture that can be decoded there", path.display()))
}

fn encode(frame: &Frame) -> Result<Bytes> {
    let (width, height) = (frame.picture.width().max(1), frame.picture.height().max(1));
    let wanted = width.min(WIDTH);
    let scaled = u64::from(height) * u64::from(wanted) / u64::from(width);
    let scaled = u32::try_from(scaled).unwrap_or(height).max(1);
    Ok(frame.picture.rgb(wanted, scaled)?.to_jpeg(QUALITY)?.into())
}
