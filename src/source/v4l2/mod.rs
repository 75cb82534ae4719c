//! Cameras on this box: USB, and whatever else has a V4L2 driver.

mod choose;
mod device;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tracing::{info, warn};
use v4l::buffer::{Flags, Metadata, Type};
use v4l::io::mmap;
use v4l::io::traits::{CaptureStream, Stream};

use self::choose::Coding;
use self::device::Camera;
pub(super) use self::device::devices;
use super::access_point::{Access, AccessPoints};
use super::thread::{OPEN_LIMIT, Outlet, ThreadSource};
use super::timeline::LiveTimeline;
use super::{Config, Source, SourceError, annexb};
use crate::clock::{Clock, Mono};
use crate::frame::{Codec, Packet, StreamInfo};

/// Buffers shared with the driver: one that we copy from and three that it may fill meanwhile.
const BUFFERS: u32 = 4;

/// How often the thread looks whether it is still wanted.
const POLL_MS: i32 = 100;

/// The crate waits for a buffer only after the device said that it has one.
const BUFFER_LIMIT: Duration = Duration::from_secs(10);

/// An older buffer has a timestamp of another clock.
const OLDEST: Duration = Duration::from_secs(5);

/// Opens the device on its thread.
pub(super) async fn connect(
    config: &Config,
    path: PathBuf,
    clock: Arc<dyn Clock>,
) -> Result<Box<dyn Source>, SourceError> {
    let what = path.display().to_string();
    let name = path.file_name().map_or("v4l2".into(), |name| name.to_string_lossy().into_owned());
    let config = config.clone();
    ThreadSource::start(&name, what, OPEN_LIMIT, move |outlet| match capture(&path, &config, &*clock, outlet) {
        Err(failure) => failure,
        // The receiver is gone.
        Ok(()) => SourceError::Ended,
    })
    .await
}

/// Runs until the receiver is dropped, which is `Ok`.
fn capture(path: &Path, config: &Config, clock: &dyn Clock, outlet: &mut Outlet) -> Result<(), SourceError> {
    let camera = Camera::open(path, config)?;
    let fault_of = |e: io::Error| device::fault(path, "it cannot be started", &e);
    let mut stream = mmap::Stream::with_buffers(&camera.device, Type::VideoCapture, BUFFERS).map_err(fault_of)?;
    stream.set_timeout(BUFFER_LIMIT);
    let outcome = start(&mut stream).map_err(fault_of).and_then(|()| {
        outlet.opened();
        let (width, height) = (camera.width, camera.height);
        info!(device = %path.display(), coding = ?camera.coding, width, height, fps = camera.fps, "V4L2 camera runs");
        Shaper::new(path, &camera, clock).pump(&mut stream, outlet)
    });
    // The crate panics when it cannot stop a stream on drop, and a second time when it cannot free the
    // buffers, which would end the whole process. What cannot be stopped is left to the kernel instead.
    if let Err(failure) = Stream::stop(&mut stream)
        && failure.raw_os_error() != Some(libc::ENODEV)
    {
        warn!(device = %path.display(), error = %failure, "a V4L2 stream does not stop, its buffers are left behind");
        std::mem::forget(stream);
    }
    outcome
}

/// Queues all buffers but the first, which the crate queues itself when the first frame is asked for.
/// From then on there is something to poll for, so that the thread need not block in the crate.
fn start(stream: &mut mmap::Stream<'_>) -> io::Result<()> {
    let mut index = 1;
    // The driver decides how many there are; the crate does not say, but the first one too many fails.
    while index < 32 && CaptureStream::queue(stream, index).is_ok() {
        index += 1;
    }
    Stream::start(stream)
}

/// Makes packets out of the driver's buffers.
struct Shaper<'a> {
    path: &'a Path,
    camera: &'a Camera,
    clock: &'a dyn Clock,
    timeline: LiveTimeline,
    access_points: AccessPoints,
    stream: Option<Arc<StreamInfo>>,
    /// Number and arrival of the last buffer.
    last_buffer: Option<(u32, Mono)>,
    /// Frames that the driver, the channel or we dropped before the next packet.
    lost: u16,
}

impl<'a> Shaper<'a> {
    fn new(path: &'a Path, camera: &'a Camera, clock: &'a dyn Clock) -> Self {
        let (timeline, access_points) = (LiveTimeline::default(), AccessPoints::default());
        let mut shaper =
            Self { path, camera, clock, timeline, access_points, stream: None, last_buffer: None, lost: 0 };
        if camera.coding != Coding::H264 {
            shaper.learn(Bytes::new());
        }
        shaper
    }

    fn pump(&mut self, stream: &mut mmap::Stream<'_>, outlet: &Outlet) -> Result<(), SourceError> {
        let handle = stream.handle();
        let fault_of = |e: io::Error| device::fault(self.path, "capturing failed", &e);
        while !outlet.stopped() {
            match handle.poll(libc::POLLIN, POLL_MS) {
                Ok(0) => continue,
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(fault_of(e)),
            }
            let (buffer, meta) = match CaptureStream::next(stream) {
                Ok(frame) => frame,
                Err(e) => return Err(fault_of(e)),
            };
            match self.packet(buffer, meta, self.clock.mono()) {
                Some(packet) => {
                    let loss = packet.loss;
                    // Recording must never stall the driver: it would drop frames by itself, uncounted.
                    self.lost = if outlet.offer(packet) { 0 } else { loss.saturating_add(1) };
                }
                None => {
                    self.lost = self.lost.saturating_add(1);
                    outlet.unusable(|| format!("it gives buffers without a usable {:?} picture", self.camera.coding));
                }
            }
        }
        Ok(())
    }

    /// Nothing where the buffer holds no picture: errors, and the empty ones that some drivers begin with.
    fn packet(&mut self, buffer: &[u8], meta: &Metadata, now: Mono) -> Option<Packet> {
        self.count_skipped(meta.sequence, now);
        if meta.flags.contains(Flags::ERROR) {
            return None;
        }
        let used = usize::try_from(meta.bytesused).unwrap_or(usize::MAX).min(buffer.len());
        let (data, access) = self.picture(buffer.get(..used)?, now)?;
        let stream = self.stream.clone()?;
        let at = self.timeline.place(taken_at(meta, now), now);
        let Access { key_frame, gradual } = access;
        Some(Packet { loss: self.lost, gradual, ..Packet::new(stream, at, key_frame, data) })
    }

    fn picture(&mut self, data: &[u8], now: Mono) -> Option<(Bytes, Access)> {
        let whole = Access { key_frame: true, gradual: false };
        match self.camera.coding {
            Coding::Mjpeg => Some((Bytes::copy_from_slice(choose::trim_jpeg(data)?), whole)),
            Coding::Yuyv => {
                // Black is 16, 128, 128: a buffer of zeros was never written to.
                data.iter().any(|byte| *byte != 0).then_some(())?;
                let (row, rows) =
                    (usize::try_from(self.camera.width).ok()? * 2, usize::try_from(self.camera.height).ok()?);
                Some((choose::pack_rows(data, self.camera.stride, row, rows)?.into(), whole))
            }
            Coding::H264 => {
                annexb::has_start_code(data).then_some(())?;
                let access = self.access_points.access(&Codec::H264, &[], data, now);
                if access.key_frame
                    && let Some(sets) = annexb::parameter_sets(&Codec::H264, data)
                {
                    self.learn(sets.into());
                }
                Some((Bytes::copy_from_slice(data), access))
            }
        }
    }

    /// Takes over parameters; the old `Arc` stays where they are the same.
    fn learn(&mut self, extradata: Bytes) {
        let codec = match self.camera.coding {
            Coding::H264 => Codec::H264,
            Coding::Mjpeg => Codec::Mjpeg,
            Coding::Yuyv => Codec::Yuyv,
        };
        let Camera { width, height, fps, .. } = *self.camera;
        let info =
            StreamInfo { codec, width, height, extradata, fps, orientation: crate::frame::Orientation::default() };
        if self.stream.as_ref().is_none_or(|known| **known != info) {
            self.stream = Some(Arc::new(info));
        }
    }

    fn count_skipped(&mut self, sequence: u32, now: Mono) {
        if let Some((last, then)) = self.last_buffer {
            let skipped = choose::skipped(last, sequence, now.since(then).as_secs_f32(), self.camera.fps);
            self.lost = self.lost.saturating_add(skipped);
        }
        self.last_buffer = Some((sequence, now));
    }
}

/// The driver's timestamp on the boot clock. Drivers use the monotonic clock, which stands still while
/// the box sleeps, so it is the age of the buffer that is carried over. Where the age makes no sense,
/// the timestamp is of another clock and arrival must do.
fn taken_at(meta: &Metadata, now: Mono) -> i64 {
    let arrival = i64::try_from(now.0).unwrap_or(i64::MAX);
    let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let monotonic = monotonic.tv_sec.saturating_mul(1_000_000_000).saturating_add(monotonic.tv_nsec);
    let taken =
        meta.timestamp.sec.saturating_mul(1_000_000_000).saturating_add(meta.timestamp.usec.saturating_mul(1000));
    let age = monotonic.saturating_sub(taken);
    let believable = 0..=i64::try_from(OLDEST.as_nanos()).unwrap_or(i64::MAX);
    if believable.contains(&age) { arrival.saturating_sub(age) } else { arrival }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::source::Role;

    async fn refused(path: &str) -> SourceError {
        let config = Config { url: format!("v4l2:{path}"), ..Config::default() };
        let opened = super::super::connect(&config, Role::Main, Arc::new(SystemClock::new())).await;
        opened.err().expect("must not open")
    }

    #[tokio::test]
    async fn what_is_no_camera_is_refused_in_plain_words() {
        let missing = refused("/dev/video-none").await;
        assert!(matches!(missing, SourceError::NotFound { .. }), "{missing}");
        assert!(missing.to_string().starts_with("/dev/video-none not found: no such device"), "{missing}");
        let null = refused("/dev/null").await;
        assert_eq!(null.to_string(), "/dev/null cannot be used: it is not a video device");
        let file = tempfile::NamedTempFile::new().expect("tempfile");
        let file = refused(&file.path().display().to_string()).await;
        assert!(file.to_string().ends_with("cannot be used: it is not a device"), "{file}");
    }

    #[test]
    fn a_buffers_age_is_carried_over_and_an_absurd_one_is_not() {
        let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now = Mono(1_000_000_000_000);
        let stamped = |sec: i64| {
            let timestamp = v4l::timestamp::Timestamp { sec, usec: monotonic.tv_nsec / 1000 };
            taken_at(&Metadata { timestamp, ..Metadata::default() }, now)
        };
        let second_old = stamped(monotonic.tv_sec - 1);
        assert!((998_000_000_000..=999_000_000_000).contains(&second_old), "{second_old}");
        assert_eq!(stamped(0).min(stamped(monotonic.tv_sec + 100)), 1_000_000_000_000);
    }
}
