//! Viewers of a broadcast, with packets of a real encoder.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;

use super::*;
use crate::detection::{BBox, TrackState};
use crate::frame::{Orientation, StreamInfo};
use crate::mux::tests::packets;

const X264: &str = "-c:v libx264 -preset ultrafast -g 10 -bf 0 -pix_fmt yuv420p";

/// Six seconds, ten pictures each, a key frame every second.
fn stream() -> &'static [Packet] {
    static PACKETS: OnceLock<Vec<Packet>> = OnceLock::new();
    PACKETS.get_or_init(|| packets(&format!("size=160x96 -t 6 {X264}"), "a.ts"))
}

fn broadcast() -> (Arc<Broadcast>, Metrics) {
    let metrics = Metrics::new();
    (Broadcast::new("yard", Outlines::default(), &metrics), metrics)
}

fn give(broadcast: &Broadcast, packets: &[Packet]) {
    packets.iter().for_each(|packet| broadcast.packet(packet));
}

/// What there is for a viewer at this moment.
fn drain(viewer: &mut Viewer) -> Vec<Chunk> {
    std::iter::from_fn(|| viewer.next().now_or_never()).map(|chunk| chunk.expect("it goes on")).collect()
}

/// As a player would read it: the times of the pictures by `ffprobe`, seconds since the first packet.
fn shown(chunks: &[Chunk]) -> Vec<f64> {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("live.mp4");
    std::fs::write(&path, bytes(chunks).concat()).expect("write");
    let args = ["-v", "error", "-show_entries", "packet=pts_time", "-of", "csv=p=0"];
    let done = std::process::Command::new("ffprobe").args(args).arg(&path).output().expect("run");
    assert!(done.status.success() && done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).expect("text");
    let since = stream()[0].at.as_secs_f64();
    let time = |line: &str| line.trim_matches(',').parse::<f64>().expect("seconds") - since;
    text.lines().map(|line| (time(line) * 10.0).round() / 10.0).collect()
}

fn bytes(chunks: &[Chunk]) -> Vec<Bytes> {
    let data = |chunk: &Chunk| match chunk {
        Chunk::Init(init, _) => Some(init.data.clone()),
        Chunk::Fragment(data) => Some(data.clone()),
        Chunk::Objects(_) => None,
    };
    chunks.iter().filter_map(data).collect()
}

fn tenths(range: std::ops::Range<u32>) -> Vec<f64> {
    range.map(|tenth| f64::from(tenth) / 10.0).collect()
}

fn dropped(metrics: &Metrics) -> u64 {
    metrics.dropped.get_or_create(&metrics::dropped("yard", "live_viewer")).get()
}

#[test]
fn a_viewer_begins_at_once_with_the_last_key_frame_and_gets_what_comes() {
    let (broadcast, _) = broadcast();
    assert_eq!(broadcast.showable(), Showable::NothingYet);
    give(&broadcast, &stream()[..25]);
    assert_eq!(broadcast.showable(), Showable::Video);
    let mut viewer = broadcast.join();
    let mut chunks = drain(&mut viewer);
    assert!(matches!(&chunks[..], [Chunk::Init(init, _), Chunk::Fragment(_)] if init.width == 160), "{chunks:?}");
    // The last picture's length is not known before the next one comes.
    assert_eq!(shown(&chunks), tenths(20..24));
    give(&broadcast, &stream()[25..28]);
    chunks.extend(drain(&mut viewer));
    assert_eq!(shown(&chunks), tenths(20..27));
}

#[tokio::test]
async fn a_viewer_that_waits_is_woken() {
    let (broadcast, _) = broadcast();
    let mut viewer = broadcast.join();
    let first = tokio::spawn(async move { viewer.next().await });
    tokio::task::yield_now().await;
    give(&broadcast, &stream()[..2]);
    assert!(matches!(first.await.expect("ended"), Some(Chunk::Init(..))));
    let mut viewer = broadcast.join();
    drain(&mut viewer);
    let last = tokio::spawn(async move { viewer.next().await });
    tokio::task::yield_now().await;
    broadcast.close();
    assert!(last.await.expect("ended").is_none(), "the camera was stopped");
}

#[test]
fn two_viewers_get_the_same_bytes_which_were_made_once() {
    let (broadcast, _) = broadcast();
    give(&broadcast, &stream()[..12]);
    let (mut one, mut two) = (broadcast.join(), broadcast.join());
    for viewer in [&mut one, &mut two] {
        drain(viewer);
    }
    give(&broadcast, &stream()[12..18]);
    let (one, two) = (bytes(&drain(&mut one)), bytes(&drain(&mut two)));
    assert_eq!(one.len(), 6);
    assert!(one.iter().zip(&two).all(|(one, two)| one.as_ptr() == two.as_ptr()), "not a copy");
}

#[test]
fn a_late_viewer_fits_in_and_costs_the_others_nothing() {
    let (broadcast, _) = broadcast();
    give(&broadcast, &stream()[..12]);
    let mut one = broadcast.join();
    let mut first = drain(&mut one);
    for packet in &stream()[12..36] {
        broadcast.packet(packet);
        first.extend(drain(&mut one));
    }
    let mut two = broadcast.join();
    let second = drain(&mut two);
    assert_eq!((shown(&second), shown(&first)), (tenths(30..35), tenths(10..35)));
    drop(one);
    give(&broadcast, &stream()[36..38]);
    assert_eq!(bytes(&drain(&mut two)).len(), 2, "it goes on without the one that came before");
}

#[test]
fn a_slow_viewer_goes_on_with_a_key_frame_is_counted_and_the_others_miss_nothing() {
    let (broadcast, metrics) = broadcast();
    give(&broadcast, &stream()[..2]);
    let (mut slow, mut quick) = (broadcast.join(), broadcast.join());
    let (mut of_slow, mut of_quick) = (drain(&mut slow), drain(&mut quick));
    for packet in &stream()[2..55] {
        broadcast.packet(packet);
        of_quick.extend(drain(&mut quick));
    }
    of_slow.extend(drain(&mut slow));
    assert_eq!(shown(&of_quick), tenths(0..54));
    assert_eq!(dropped(&metrics), 39, "the ring began with picture 40");
    // It had picture 0.
    assert_eq!(shown(&of_slow), [tenths(0..1), tenths(50..54)].concat());
    assert!(of_slow.iter().filter(|chunk| matches!(chunk, Chunk::Init(..))).count() == 1, "the same header holds");
}

#[test]
fn without_viewers_nothing_is_made_and_one_gop_is_referred_to() {
    let (broadcast, _) = broadcast();
    give(&broadcast, &stream()[..38]);
    assert_eq!(broadcast.ring.lock().numbers(), 30..38);
    let mut viewer = broadcast.join();
    drain(&mut viewer);
    give(&broadcast, &stream()[38..48]);
    assert_eq!(broadcast.ring.lock().numbers(), 30..48);
    drop(viewer);
    assert_eq!(broadcast.viewers(), 0);
    assert_eq!(broadcast.ring.lock().numbers(), 40..48);
    assert!(broadcast.ring.lock().is_unmade(), "and forgotten when the last one leaves");
}

#[test]
fn other_parameters_bring_another_header_to_those_who_look() {
    let small = packets(&format!("size=96x64 -t 2 {X264}"), "a.ts");
    let later = stream()[11].at;
    let small: Vec<Packet> = small
        .iter()
        .map(|packet| Packet {
            at: later + packet.at.since(stream()[0].at) + Duration::from_millis(100),
            ..packet.clone()
        })
        .collect();
    let (broadcast, _) = broadcast();
    give(&broadcast, &stream()[..12]);
    let mut viewer = broadcast.join();
    drain(&mut viewer);
    // Nothing can be made of those before the key frame.
    give(&broadcast, &small[5..15]);
    let chunks = drain(&mut viewer);
    let [Chunk::Fragment(_), Chunk::Init(init, _), rest @ ..] = &chunks[..] else { panic!("{chunks:?}") };
    assert_eq!(((init.width, init.height), rest.len()), ((96, 64), 4));
    assert_eq!(shown(&chunks[1..]), tenths(22..26));
}

#[test]
fn a_viewer_of_an_open_gop_gets_no_picture_that_refers_to_what_it_does_not_have() {
    let open = "-c:v libx264 -preset veryfast -bf 2 -pix_fmt yuv420p \
                -x264-params keyint=10:min-keyint=5:open-gop=1:scenecut=0:b-adapt=0";
    let packets = packets(&format!("size=160x96 -t 4 {open}"), "a.ts");
    let keys: Vec<usize> = (0..packets.len()).filter(|i| packets[*i].key_frame).collect();
    // An IDR picture comes once; here begins what follows a recovery point.
    let recovery = |at: usize| Packet { key_frame: true, ..packets[at].clone() };
    let leads = |key: usize| packets[key + 1..].iter().take_while(|packet| packet.pts() < packets[key].pts()).count();
    let start = (1..packets.len()).find(|i| leads(*i) > 0 && !keys.contains(i)).unwrap_or(keys[1]);
    let leading = leads(start);
    assert!(leading > 0, "it has some");
    let (broadcast, _) = broadcast();
    broadcast.packet(&recovery(start));
    let mut viewer = broadcast.join();
    assert_eq!(drain(&mut viewer).len(), 0);
    for packet in &packets[start + 1..start + 1 + leading] {
        broadcast.packet(packet);
        assert_eq!(drain(&mut viewer).len(), 0, "more may follow");
    }
    give(&broadcast, &packets[start + 1 + leading..start + 4 + leading]);
    let chunks = drain(&mut viewer);
    let times = shown(&chunks);
    let first = (packets[start].pts().since(stream()[0].at)).as_secs_f64();
    assert!(times.len() > 1 && times.iter().all(|time| *time >= first - 0.05), "{first}: {times:?}");
}

#[test]
fn a_stream_that_becomes_whole_bit_by_bit_begins_one_key_frame_earlier() {
    let (broadcast, _) = broadcast();
    let gradual: Vec<Packet> =
        stream().iter().map(|packet| Packet { gradual: packet.key_frame, ..packet.clone() }).collect();
    give(&broadcast, &gradual[..35]);
    assert_eq!(shown(&drain(&mut broadcast.join())), tenths(20..34));
}

#[test]
fn memory_is_bounded_where_key_frames_do_not_come() {
    let (broadcast, _) = broadcast();
    let mut viewer = broadcast.join();
    let key = Packet { data: vec![0; 30 << 20].into(), ..stream()[0].clone() };
    broadcast.packet(&key);
    for packet in &stream()[1..9] {
        broadcast.packet(&Packet { data: vec![0; 1 << 20].into(), key_frame: false, ..packet.clone() });
    }
    assert_eq!(broadcast.ring.lock().numbers(), 1..9, "the key frame is gone, its viewers go on");
    drain(&mut viewer);
    drop(viewer);
    broadcast.packet(&stream()[9]);
    assert_eq!(broadcast.ring.lock().numbers(), 9..9, "and without any of them there is nothing to keep");
}

#[test]
fn motion_jpeg_is_not_shown_as_video() {
    let (broadcast, _) = broadcast();
    let stream = StreamInfo {
        codec: Codec::Mjpeg,
        width: 4,
        height: 4,
        extradata: Bytes::new(),
        fps: None,
        orientation: Orientation::default(),
    };
    broadcast.packet(&Packet::new(Arc::new(stream), Mono(0), true, Bytes::from_static(b"x")));
    assert_eq!(broadcast.showable(), Showable::Not(Codec::Mjpeg));
    assert!(broadcast.ring.lock().numbers().is_empty());
}

#[test]
fn packets_come_from_the_last_key_frame_on_and_a_late_viewer_goes_on_with_one() {
    let (broadcast, metrics) = broadcast();
    give(&broadcast, &stream()[..25]);
    let mut viewer = broadcast.join_packets();
    let take = |viewer: &mut PacketViewer| {
        let packets: Vec<Packet> = std::iter::from_fn(|| viewer.next().now_or_never().flatten()).collect();
        packets
    };
    let first = take(&mut viewer);
    assert_eq!(first.len(), 5, "pictures 20 to 24");
    assert!(first[0].key_frame && first.iter().zip(&stream()[20..]).all(|(got, had)| got.data == had.data));
    let times: Vec<_> = first.iter().map(|packet| packet.at).collect();
    assert!(times.is_sorted() && times[4] == stream()[24].at, "{times:?}");
    assert!(times[4].since(times[0]) < Duration::from_millis(50), "those before it came pass quickly");
    give(&broadcast, &stream()[25..27]);
    assert_eq!(
        take(&mut viewer).iter().map(|packet| packet.at).collect::<Vec<_>>(),
        [stream()[25].at, stream()[26].at]
    );
    // The ring holds the last two groups.
    give(&broadcast, &stream()[27..55]);
    let later = take(&mut viewer);
    assert!(later[0].key_frame && later.len() == 5, "{}", later.len());
    assert_eq!(dropped(&metrics), 23);
    drop(viewer);
    assert_eq!(broadcast.viewers(), 0);
}

#[test]
fn objects_come_with_the_time_of_their_picture_to_those_who_look() {
    let (broadcast, _) = broadcast();
    let track = |state| Track {
        id: 7,
        label: "person".into(),
        state,
        bbox: BBox { x: 0.1, y: 0.2, w: 0.3, h: 0.4 },
        score: 0.876,
        median_score: 0.8,
        first_seen: Mono(0),
        last_seen: Mono(0),
    };
    let seen = [track(TrackState::Confirmed), track(TrackState::Tentative)];
    broadcast.objects(stream()[0].at, &seen);
    give(&broadcast, &stream()[..12]);
    let mut viewer = broadcast.join();
    drain(&mut viewer);
    for tracks in [&[][..], &seen, &[], &[]] {
        broadcast.objects(stream()[11].at, tracks);
    }
    let looks: Vec<String> = drain(&mut viewer)
        .iter()
        .filter_map(|chunk| match chunk {
            Chunk::Objects(seen) => Some(serde_json::to_string(&**seen).expect("JSON")),
            _ => None,
        })
        .collect();
    let at = serde_json::to_string(&stream()[11].at.as_secs_f64()).expect("JSON");
    let person = r#"{"id":7,"label":"person","score":0.88,"box":[0.1,0.2,0.3,0.4],"seen":true}"#;
    // That there is none is said once.
    assert_eq!(looks, [format!(r#"{{"at":{at},"objects":[{person}]}}"#), format!(r#"{{"at":{at},"objects":[]}}"#)]);
}
