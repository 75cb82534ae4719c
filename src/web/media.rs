//! Files of an event, streamed from disk, with ranges, so that a browser can seek in a clip.

use std::io::SeekFrom;
use std::path::Path;
use std::time::UNIX_EPOCH;

use axum::body::Body;
use axum::http::header::{self, HeaderMap, HeaderName};
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use futures::{Stream, stream};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::problem::{Code, Problem};
use crate::asset::MediaKind;

/// Bytes read from disk at once.
const CHUNK: u64 = 64 * 1024;

/// Answers with `path`, or with the part of it that is asked for.
pub(super) async fn answer(path: &Path, name: &str, request: &HeaderMap) -> Result<Response<Body>, Problem> {
    let gone = || Problem::not_found(format!("{name:?} is not on this box any more"));
    let mut file = File::open(path).await.map_err(|_| gone())?;
    let metadata = file.metadata().await.map_err(|_| gone())?;
    if !metadata.is_file() {
        return Err(gone());
    }
    let len = metadata.len();
    let modified = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let tag = format!("\"{len:x}-{:x}\"", modified.as_nanos());
    let base = Response::builder()
        .header(header::ETAG, &tag)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CACHE_CONTROL, "private, no-cache")
        .header(header::CONTENT_TYPE, content_type(MediaKind::of_file(name)));
    if text(request, header::IF_NONE_MATCH).is_some_and(|tags| tags == "*" || tags.contains(&tag)) {
        return finish(base.status(StatusCode::NOT_MODIFIED), Body::empty());
    }
    let still_the_same = text(request, header::IF_RANGE).is_none_or(|wanted| wanted == tag);
    let range = text(request, header::RANGE).filter(|_| still_the_same);
    match Slice::of(range, len) {
        Slice::Whole => {
            let response = base.status(StatusCode::OK).header(header::CONTENT_LENGTH, len);
            finish(response, Body::from_stream(chunks(file, len)))
        }
        Slice::Part { first, last } => {
            file.seek(SeekFrom::Start(first)).await.map_err(|_| gone())?;
            let part = last - first + 1;
            let response = base
                .status(StatusCode::PARTIAL_CONTENT)
                .header(header::CONTENT_LENGTH, part)
                .header(header::CONTENT_RANGE, format!("bytes {first}-{last}/{len}"));
            finish(response, Body::from_stream(chunks(file, part)))
        }
        Slice::Outside => {
            let response = Response::builder().status(StatusCode::RANGE_NOT_SATISFIABLE).header(header::ETAG, &tag);
            finish(response.header(header::CONTENT_RANGE, format!("bytes */{len}")), Body::empty())
        }
    }
}

fn finish(response: axum::http::response::Builder, body: Body) -> Result<Response<Body>, Problem> {
    let broken = |_| Problem::new(Code::Internal, "no answer could be made".to_owned());
    response.body(body).map_err(broken)
}

fn text(request: &HeaderMap, name: HeaderName) -> Option<&str> {
    request.get(name).and_then(|value| value.to_str().ok())
}

/// The next `left` bytes of `file`. A file that became shorter breaks the answer off, which the browser notices.
fn chunks(file: File, left: u64) -> impl Stream<Item = std::io::Result<Bytes>> {
    stream::try_unfold((file, left), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let mut chunk = vec![0; usize::try_from(left.min(CHUNK)).unwrap_or_default()];
        let read = file.read(&mut chunk).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        chunk.truncate(read);
        let left = left.saturating_sub(u64::try_from(read).unwrap_or(left));
        Ok(Some((Bytes::from(chunk), (file, left))))
    })
}

fn content_type(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Clip | MediaKind::SegmentVideo => "video/mp4",
        MediaKind::Snapshot | MediaKind::SnapshotBoxes | MediaKind::Thumbnail => "image/jpeg",
        MediaKind::EventSidecar
        | MediaKind::SegmentSidecar
        | MediaKind::CoverageAccount
        | MediaKind::PhotoSidecar
        | MediaKind::ExecutionSidecar => "application/json",
        MediaKind::LakeTable | MediaKind::Original | MediaKind::ExecutionFile | MediaKind::Other => {
            "application/octet-stream"
        }
    }
}

/// Which part of a file is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slice {
    Whole,
    Part { first: u64, last: u64 },
    Outside,
}

impl Slice {
    /// Resolves a Range header. What is not one well-formed byte range counts as not asked for, as RFC 9110
    /// wants it; several ranges at once are answered with the whole file, which it allows.
    fn of(range: Option<&str>, len: u64) -> Self {
        let Some((first, last)) =
            range.and_then(|range| range.trim().strip_prefix("bytes=")).and_then(|set| set.trim().split_once('-'))
        else {
            return Self::Whole;
        };
        let number = |text: &str| -> Option<u64> {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            // More than fits is further than any file.
            digits.then(|| text.parse().unwrap_or(u64::MAX))
        };
        match (first.trim(), last.trim()) {
            ("", suffix) => match number(suffix) {
                None => Self::Whole,
                Some(0) => Self::Outside,
                Some(_) if len == 0 => Self::Outside,
                Some(suffix) => Self::Part { first: len.saturating_sub(suffix), last: len - 1 },
            },
            (first, last) => match (number(first), number(last), last.is_empty()) {
                (Some(first), Some(last), _) if last < first => Self::Whole,
                (Some(first), Some(_), _) | (Some(first), None, true) if first >= len => Self::Outside,
                (Some(first), Some(last), _) => Self::Part { first, last: last.min(len - 1) },
                (Some(first), None, true) => Self::Part { first, last: len - 1 },
                _ => Self::Whole,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges() {
        let part = |first, last| Slice::Part { first, last };
        let cases = [
            (None, Slice::Whole),
            (Some("bytes=0-0"), part(0, 0)),
            (Some("bytes=2-5"), part(2, 5)),
            (Some("bytes=2-"), part(2, 9)),
            (Some("bytes=-3"), part(7, 9)),
            (Some("bytes=-30"), part(0, 9)),
            (Some("bytes=5-99999999999999999999999"), part(5, 9)),
            (Some("bytes=10-"), Slice::Outside),
            (Some("bytes=10-20"), Slice::Outside),
            (Some("bytes=-0"), Slice::Outside),
            (Some("bytes=5-2"), Slice::Whole),
            (Some("bytes=-"), Slice::Whole),
            (Some("bytes=0-1,4-5"), Slice::Whole),
            (Some("bytes=a-b"), Slice::Whole),
            (Some("bytes=+1-2"), Slice::Whole),
            (Some("lines=1-2"), Slice::Whole),
        ];
        for (range, expected) in cases {
            assert_eq!(Slice::of(range, 10), expected, "{range:?}");
        }
        assert_eq!(Slice::of(Some("bytes=0-"), 0), Slice::Outside);
        assert_eq!(Slice::of(Some("bytes=-1"), 0), Slice::Outside);
    }

    proptest! {
        #[test]
        fn a_part_is_never_outside_of_the_file(range in "(bytes=)?[0-9]{0,21}-?[0-9]{0,21}.?", len in 0..2000u64) {
            if let Slice::Part { first, last } = Slice::of(Some(&range), len) {
                prop_assert!(first <= last && last < len);
            }
        }
    }
}
