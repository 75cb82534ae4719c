//! A camera's own H.264 or H.265 over a WebSocket, as fragmented MP4, with what was seen in it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures::{SinkExt, StreamExt};
use serde::Serialize;
use tokio::time::{Instant, interval, timeout};

use super::viewers::{AdmittedViewer, check_page};
use crate::live::{Broadcast, Chunk, ObjectsAt, Outlines, Showable, Viewer};
use crate::web::Shared;
use crate::web::problem::{Code, Problem};
use crate::web::session::Known;

/// How often a viewer is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(15);
/// A viewer that does not answer for so long is gone.
const SILENT: Duration = Duration::from_secs(45);
/// A viewer that takes nothing for so long is closed.
const TAKES_WITHIN: Duration = Duration::from_secs(8);
/// How long the last word may take.
const CLOSES_WITHIN: Duration = Duration::from_secs(1);
/// The last word to a viewer that may look no longer.
const ENDED: &str = "this view was ended";
/// Nothing is expected of viewers but answers to pings, bytes.
const MAX_MESSAGE: usize = 1024;

/// What a viewer has to know before the bytes of a header come.
#[derive(Serialize)]
struct Header<'a> {
    codec: &'a str,
    width: u32,
    height: u32,
    /// When the first picture behind it is shown, and the time of this message, seconds on the boot clock.
    start: f64,
    now: f64,
}

pub(super) async fn live(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    camera: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    check_page(&headers)?;
    let unknown = || Problem::not_found("there is no camera with this name");
    let Path(camera) = camera.map_err(|_| unknown())?;
    if !caller.sees(&camera, jiff::Timestamp::now()) {
        return Err(unknown());
    }
    let broadcast = shared.services.media.broadcast(&camera).ok_or_else(unknown)?;
    check_video(&camera, &broadcast)?;
    let admission = shared.viewers.admit(caller, &camera)?;
    let upgrade = upgrade.map_err(|_| {
        let message = "this is a WebSocket: docs/api.md says what it sends".to_owned();
        Problem::new(Code::WebsocketRequired, message)
    })?;
    let upgrade = upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let viewer = broadcast.join();
        let view = LiveView { shared, outlines: Some(broadcast.outlines().clone()), viewer };
        view.run(socket, &admission).await;
    }))
}

fn check_video(camera: &str, broadcast: &Broadcast) -> Result<(), Problem> {
    match broadcast.showable() {
        Showable::Video => Ok(()),
        Showable::NothingYet => {
            let message = format!("camera {camera:?} has given no picture yet");
            Err(Problem::new(Code::NoPicture, message))
        }
        Showable::Not(codec) => {
            let message = format!("camera {camera:?} sends {codec}, which is not sent as video: ask for live.mjpeg");
            Err(Problem::new(Code::NoVideo, message))
        }
    }
}

/// One viewer's connection.
struct LiveView {
    shared: Arc<Shared>,
    /// What is still to be sent once.
    outlines: Option<Outlines>,
    viewer: Viewer,
}

impl LiveView {
    async fn run(mut self, socket: WebSocket, admission: &AdmittedViewer) {
        let (mut sink, mut stream) = socket.split();
        let (mut ping, mut heard) = (interval(PING_EVERY), Instant::now());
        let ended = admission.ended();
        tokio::pin!(ended);
        let reason = 'view: loop {
            let messages = tokio::select! {
                biased;
                () = &mut ended => break ENDED,
                incoming = stream.next() => match incoming {
                    None | Some(Ok(Message::Close(_)) | Err(_)) => return,
                    Some(Ok(_)) => {
                        heard = Instant::now();
                        continue;
                    }
                },
                _ = ping.tick() => match heard.elapsed() {
                    silent if silent > SILENT => return,
                    _ => vec![Message::Ping(Bytes::new())],
                },
                chunk = self.viewer.next() => match chunk {
                    Some(chunk) => self.messages(chunk),
                    None => break "the camera was stopped or configured otherwise",
                },
            };
            for message in messages {
                let sent = timeout(TAKES_WITHIN, sink.send(message));
                let is_sent = tokio::select! {
                    () = &mut ended => break 'view ENDED,
                    sent = sent => matches!(sent, Ok(Ok(()))),
                };
                if !is_sent {
                    return;
                }
            }
        };
        let close = CloseFrame { code: close_code::AWAY, reason: reason.into() };
        // A viewer that is gone needs no last word.
        let _ = timeout(CLOSES_WITHIN, sink.send(Message::Close(Some(close)))).await;
    }

    fn messages(&mut self, chunk: Chunk) -> Vec<Message> {
        match chunk {
            Chunk::Fragment(data) => vec![Message::Binary(data)],
            Chunk::Objects(seen) => json::<ObjectsAt>(&seen),
            Chunk::Init(init, start) => {
                let now = self.shared.services.media.boot_time().as_secs_f64();
                let header = Header { codec: &init.codec, width: init.width, height: init.height, start, now };
                let outlines = self.outlines.take();
                let texts = json(&header).into_iter().chain(outlines.iter().flat_map(json));
                texts.chain([Message::Binary(init.data.clone())]).collect()
            }
        }
    }
}

fn json<T: Serialize>(value: &T) -> Vec<Message> {
    serde_json::to_string(value).map(|text| Message::Text(text.into())).into_iter().collect()
}
