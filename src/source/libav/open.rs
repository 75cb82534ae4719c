//! What libavformat is asked to open, with which limits, and how it is interrupted.

use std::ffi::CString;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ffmpeg_next as ffmpeg;
use ffmpeg_next::ffi;
use ffmpeg_next::format::context::Input;
use ffmpeg_next::util::interrupt;

use super::intake;
use crate::source::thread::StopFlag;
use crate::source::{Config, Transport};

/// What a stream, and whatever a playlist in it names, may be fetched with. Above all not `file`, `concat`,
/// `subfile`, `data` and the like, by which a playlist from the network could read the files of this box.
const PROTOCOLS: &str = "http,https,tcp,udp,rtp,rtsp,rtsps,rtmp,rtmps,tls,hls,crypto,srt";

/// The containers of live streams, and what HLS puts inside of its playlists.
const CONTAINERS: &str = "mpjpeg,mjpeg,jpeg_pipe,flv,live_flv,mpegts,hls,applehttp,rtsp,rtp,sdp,h264,hevc,mov,\
                          matroska,aac,ac3,mp3,webvtt";

/// Bytes after which the stream must have been recognised. One picture of MJPEG in 4K has a megabyte.
const PROBE_BYTES: &str = "5000000";

/// So much of the stream is read ahead at most to recognise it. Parameters that come later are learned later.
pub(super) const PROBE_TIME: Duration = Duration::from_secs(2);

/// Ends every wait of libavformat: at a deadline, and when the source was dropped.
#[derive(Clone)]
pub(super) struct Watch {
    stop: StopFlag,
    start: Instant,
    /// Milliseconds after `start`.
    deadline: Arc<AtomicU64>,
}

impl Watch {
    pub(super) fn new(stop: StopFlag) -> Self {
        Self { stop, start: Instant::now(), deadline: Arc::default() }
    }

    /// The next thing may take so long from now.
    pub(super) fn allow(&self, limit: Duration) {
        self.deadline
            .store(self.elapsed_ms() + u64::try_from(limit.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Only the end of the source ends a wait.
    pub(super) fn allow_any_time(&self) {
        self.deadline.store(u64::MAX, Ordering::Relaxed);
    }

    /// Whether the time is up.
    pub(super) fn is_over(&self) -> bool {
        self.elapsed_ms() >= self.deadline.load(Ordering::Relaxed)
    }

    fn interrupts(&self) -> bool {
        self.stop.is_set() || self.is_over()
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
    }
}

/// What to open and how.
#[derive(Clone)]
pub(super) struct Request {
    /// With the login, so it is never shown.
    pub(super) address: String,
    pub(super) scheme: String,
    pub(super) config: Config,
    /// How long it may take to open it.
    pub(super) limit: Duration,
}

impl Request {
    pub(super) fn has_login(&self) -> bool {
        self.config.username.is_some()
    }

    /// Options that a container or protocol does not know are left over and do no harm.
    fn options(&self) -> ffmpeg::Dictionary<'static> {
        let transport = match self.config.transport {
            Transport::Tcp => ("rtsp_transport", "tcp"),
            Transport::Udp => ("rtsp_transport", "udp"),
            // The other one comes next by itself.
            Transport::Auto => ("rtsp_flags", "prefer_tcp"),
        };
        let probe_time = PROBE_TIME.as_micros().to_string();
        let options = [
            ("protocol_whitelist", PROTOCOLS),
            ("format_whitelist", CONTAINERS),
            ("probesize", PROBE_BYTES),
            ("analyzeduration", &probe_time),
            // Guessing a rate from pictures would take 20 of them, which a slow camera sends in a minute.
            ("fpsprobesize", "0"),
            ("user_agent", concat!("outpost/", env!("CARGO_PKG_VERSION"))),
            // A live stream has no places to go to, and some cameras refuse the request for one.
            ("seekable", "0"),
            ("icy", "0"),
            // HLS would reuse a connection by a way that does not allow to count its bytes.
            ("http_persistent", "0"),
            // Cameras are reached directly, whatever the environment says about the way to the cloud.
            ("http_proxy", ""),
            ("tls_verify", if self.config.verify_tls { "1" } else { "0" }),
            transport,
            ("allowed_media_types", if self.config.takes_audio { "video+audio" } else { "video" }),
        ];
        let mut dictionary = ffmpeg::Dictionary::new();
        for (key, value) in options {
            dictionary.set(key, value);
        }
        dictionary
    }
}

/// The context as the interrupt callback sees it. libavformat frees a context before it closes the connection, which calls
/// back again: so this has to be dropped before the `Input`.
pub(super) struct Visible(Arc<AtomicPtr<ffi::AVFormatContext>>);

impl Drop for Visible {
    fn drop(&mut self) {
        self.0.store(ptr::null_mut(), Ordering::Relaxed);
    }
}

/// Connects and waits until the stream has been recognised.
#[allow(unsafe_code)]
pub(super) fn open(request: &Request, watch: Watch) -> Result<(Visible, Input), ffmpeg::Error> {
    let out_of_memory = ffmpeg::Error::Other { errno: ffmpeg::error::ENOMEM };
    let invalid = ffmpeg::Error::Other { errno: ffmpeg::error::EINVAL };
    let address = CString::new(request.address.as_str()).map_err(|_| invalid)?;
    // SAFETY: the context is used by this thread alone until `Input` owns it. The interrupt callback is called on this
    // thread, and sees the context as long as `Visible` lives, which is dropped before `Input` frees the context; its
    // guard outlives the context, here and in `Input`. A failed opening closes the connection before it frees.
    unsafe {
        let mut context = ffi::avformat_alloc_context();
        intake::count(context.as_mut().ok_or(out_of_memory)?);
        let visible = Visible(Arc::new(AtomicPtr::new(context)));
        let in_callback = visible.0.clone();
        let interrupt = interrupt::new(Box::new(move || {
            watch.interrupts() || intake::parsers_hold_too_much(in_callback.load(Ordering::Relaxed).as_ref())
        }));
        (*context).interrupt_callback = interrupt.interrupt;
        let mut options = request.options().disown();
        // Frees the context where it fails.
        let opened = ffi::avformat_open_input(&raw mut context, address.as_ptr(), ptr::null(), &raw mut options);
        drop(ffmpeg::Dictionary::own(options));
        if opened < 0 {
            return Err(opened.into());
        }
        let found = ffi::avformat_find_stream_info(context, ptr::null_mut());
        let input = Input::wrap_with_interrupt(context, interrupt.guard);
        if found < 0 {
            drop((visible, input));
            return Err(found.into());
        }
        Ok((visible, input))
    }
}
