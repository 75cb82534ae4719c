//! What a publisher sends.

use std::time::{Duration, Instant};

use bytes::Bytes;
use str0m::Rtc;
use str0m::format::Codec;
use str0m::media::{KeyframeRequestKind, MediaData, Mid};

use crate::source::{PublishedCodec, PublishedPicture, Publisher};

/// Between two requests for a key frame: it takes one way there and one back.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// A publisher that sends no picture for so long has gone: its phone sleeps.
const SILENT: Duration = Duration::from_secs(60);

/// The pictures of one publisher.
#[derive(Debug)]
pub(super) struct Ingress {
    publisher: Publisher,
    last_picture: Instant,
    /// The video of which a key frame is needed.
    needs_key_frame: Option<Mid>,
    asked: Option<Instant>,
    /// How long it may send no picture.
    silent: Option<Duration>,
}

impl Ingress {
    pub(super) fn new(publisher: Publisher, now: Instant) -> Self {
        Self { publisher, last_picture: now, needs_key_frame: None, asked: None, silent: Some(SILENT) }
    }

    /// The same, whose silence others judge.
    pub(super) fn watched(self) -> Self {
        Self { silent: None, ..self }
    }

    /// Takes what str0m put together of packets.
    pub(super) fn picture(&mut self, media: MediaData, now: Instant) {
        let codec = match media.params.spec().codec {
            Codec::H264 => PublishedCodec::H264,
            Codec::Vp8 => PublishedCodec::Vp8,
            _ => return,
        };
        self.last_picture = now;
        let ns = i128::from(media.time.numer()) * 1_000_000_000 / i128::from(media.time.denom());
        let stream_ns = i64::try_from(ns).unwrap_or(i64::MAX);
        let data = Bytes::copy_from_slice(&media.data);
        let picture = PublishedPicture { codec, stream_ns, is_contiguous: media.contiguous, data };
        self.needs_key_frame = self.publisher.publish(picture).then_some(media.mid);
    }

    /// Asks for a key frame where one is needed, not too often. Gives whether it asked.
    pub(super) fn ask(&mut self, rtc: &mut Rtc, now: Instant) -> bool {
        let Some(mid) = self.needs_key_frame else { return false };
        if self.asked.is_some_and(|asked| now.duration_since(asked) < ASK_EVERY) {
            return false;
        }
        self.asked = Some(now);
        let Some(mut writer) = rtc.writer(mid) else { return false };
        let kinds = [KeyframeRequestKind::Pli, KeyframeRequestKind::Fir];
        let possible = kinds.into_iter().find(|kind| writer.is_request_keyframe_possible(*kind));
        possible.is_some_and(|kind| writer.request_keyframe(None, kind).is_ok())
    }

    /// Why it is over, if it is.
    pub(super) fn is_over(&self, now: Instant) -> Option<&'static str> {
        if self.publisher.is_replaced() {
            return Some("another phone or browser took its place");
        }
        if self.publisher.is_unwanted() {
            return Some("the camera takes no pictures any more: it was removed or configured otherwise");
        }
        let is_silent = self.silent.is_some_and(|silent| now.duration_since(self.last_picture) > silent);
        is_silent.then_some("it has sent no picture for a minute; the phone may sleep")
    }

    pub(super) fn end(self, reason: &str) {
        self.publisher.end(reason);
    }
}
