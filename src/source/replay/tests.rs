use std::process::Command;

use jiff::Timestamp;

use super::*;
use crate::clock::SimulatedClock;
use crate::frame::{Codec, Orientation};
use crate::source::Role;

const START: Mono = Mono(70_000_000_000);

/// Makes a clip of two seconds, 20 frames, a key frame every ten.
fn clip(dir: &Path, name: &str, codec: &[&str]) -> PathBuf {
    let picture = ["-f", "lavfi", "-i", "testsrc2=size=160x120:rate=10", "-t", "2", "-g", "10"];
    ffmpeg_makes(dir.join(name), &[&picture[..], codec].concat())
}

fn ffmpeg_makes(path: PathBuf, arguments: &[&str]) -> PathBuf {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error"]).args(arguments).arg("-y").arg(&path);
    assert!(command.status().expect("the ffmpeg command must be installed").success());
    path
}

const X264: [&str; 6] = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"];

fn config(path: &Path) -> Config {
    Config { url: format!("replay:{}", path.display()), pace: Pace::Fast, ..Config::default() }
}

async fn open(config: &Config) -> Result<Box<dyn Source>, SourceError> {
    let clock = SimulatedClock::new(START, Timestamp::UNIX_EPOCH);
    super::super::connect(config, Role::Main, Arc::new(clock)).await
}

/// All packets and the error that ended them.
async fn play(config: &Config) -> (Vec<Packet>, SourceError) {
    let mut source = open(config).await.expect("opens");
    let mut packets = Vec::new();
    loop {
        match source.next().await {
            Ok(packet) => packets.push(packet),
            Err(end) => return (packets, end),
        }
    }
}

/// Works with: clips | files with B-frames | pictures are taken at the times at which the file shows them
#[tokio::test]
async fn a_file_with_b_frames_gives_both_times() {
    let dir = tempfile::tempdir().expect("tempdir");
    let coding = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-x264-params", "b-adapt=0"];
    let (packets, _) = play(&config(&clip(dir.path(), "b.mp4", &coding))).await;
    assert!(packets.windows(2).all(|w| w[1].at > w[0].at), "{packets:?}");
    let mut shown: Vec<_> = packets.iter().map(|packet| packet.pts()).collect();
    assert!(!shown.is_sorted(), "the fixture has no B-frames");
    shown.sort();
    assert!(shown.windows(2).all(|w| w[1].since(w[0]).as_millis() == 100), "{shown:?}");
}

#[tokio::test]
async fn an_mp4_plays_once_with_its_own_times_and_parameters() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (packets, end) = play(&config(&clip(dir.path(), "a.mp4", &X264))).await;
    assert_eq!((packets.len(), end), (20, SourceError::Ended));
    let stream = &packets[0].stream;
    assert_eq!((&stream.codec, stream.width, stream.height, stream.fps), (&Codec::H264, 160, 120, Some(10.0)));
    assert_eq!(stream.extradata.first(), Some(&1), "an avcC record");
    let times: Vec<_> = packets.iter().map(|p| p.at.since(START).as_millis()).collect();
    assert_eq!(times, (0..20).map(|i| i * 100).collect::<Vec<_>>());
    let keys: Vec<_> = (0..20).filter(|i| packets[*i].key_frame).collect();
    assert_eq!(keys, [0, 10]);
    assert!(packets.iter().all(|p| Arc::ptr_eq(&p.stream, stream) && p.loss == 0));
    let first = &packets[0].data;
    let length = u32::from_be_bytes([first[0], first[1], first[2], first[3]]);
    assert!((length as usize) < first.len(), "length-prefixed, not start codes");
}

#[tokio::test]
async fn times_grow_strictly_with_b_frames_and_without_times_in_the_file() {
    let dir = tempfile::tempdir().expect("tempdir");
    let b_frames =
        [&["-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "3"][..], &["-x264-params", "b-adapt=0"]].concat();
    for name in ["b.mp4", "b.mkv", "b.h264"] {
        let (packets, _) = play(&config(&clip(dir.path(), name, &b_frames))).await;
        assert_eq!(packets.len(), 20, "{name}");
        assert!(packets.windows(2).all(|w| w[1].at > w[0].at), "{name}: {packets:?}");
        if name == "b.mp4" {
            let even = packets.windows(2).all(|w| w[1].at.since(w[0].at).as_millis() == 100);
            assert!(even, "decoding order has even times: {packets:?}");
        }
        let length = packets[19].at.since(START);
        assert!((1500..=2100).contains(&length.as_millis()), "{name}: {length:?}");
    }
}

#[tokio::test]
async fn other_codecs_keep_their_names() {
    let dir = tempfile::tempdir().expect("tempdir");
    let cases = [
        ("a.mkv", vec!["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"], Codec::Mjpeg),
        ("b.mp4", vec!["-c:v", "mpeg4"], Codec::Other("mpeg4".into())),
        ("c.mp4", vec!["-c:v", "libx265", "-x265-params", "log-level=error", "-pix_fmt", "yuv420p"], Codec::H265),
    ];
    for (name, arguments, codec) in cases {
        let (packets, _) = play(&config(&clip(dir.path(), name, &arguments))).await;
        assert_eq!((packets.len(), &packets[0].stream.codec), (20, &codec), "{name}");
    }
}

#[tokio::test]
async fn a_repeated_file_goes_on_in_time_with_the_same_parameters() {
    let dir = tempfile::tempdir().expect("tempdir");
    let short = [&X264[..], &["-frames:v", "5"]].concat();
    let config = Config { repeat: true, ..config(&clip(dir.path(), "a.mp4", &short)) };
    let mut source = open(&config).await.expect("opens");
    let mut packets = Vec::new();
    while packets.len() < 50 {
        packets.push(source.next().await.expect("never ends"));
    }
    let times: Vec<_> = packets.iter().map(|p| p.at.since(START).as_millis()).collect();
    assert_eq!(times, (0..50).map(|i| i * 100).collect::<Vec<_>>());
    assert!(packets[5].key_frame && Arc::ptr_eq(&packets[0].stream, &packets[49].stream));
}

#[tokio::test]
async fn real_pace_follows_the_clock_and_a_drop_does_not_wait_for_it() {
    let dir = tempfile::tempdir().expect("tempdir");
    let config = Config { pace: Pace::Real, ..config(&clip(dir.path(), "a.mp4", &X264)) };
    let clock = Arc::new(SimulatedClock::new(START, Timestamp::UNIX_EPOCH));
    let mut source = super::super::connect(&config, Role::Main, clock.clone()).await.expect("opens");
    source.next().await.expect("the first is due at once");
    for _ in 0..5 {
        assert!(futures::FutureExt::now_or_never(source.next()).is_none(), "the next is not due");
        clock.advance(Duration::from_millis(100));
        let packet = source.next().await.expect("due now");
        assert_eq!(packet.at, clock.mono());
    }
    drop(source);
}

#[tokio::test]
async fn useless_files_say_what_is_wrong_with_them() {
    let dir = tempfile::tempdir().expect("tempdir");
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("empty.mp4"), b"").expect("write");
    std::fs::write(at("text.mp4"), b"this is no film at all").expect("write");
    let whole = std::fs::read(clip(dir.path(), "whole.mp4", &X264)).expect("read");
    // Without `faststart` the index is at the end, and gone.
    std::fs::write(at("headless.mp4"), &whole[..whole.len() / 2]).expect("write");
    let cases = [
        (at("missing.mp4"), "no such file"),
        (at("empty.mp4"), "it is empty"),
        (at("text.mp4"), "it is no video"),
        (at("headless.mp4"), "it is no video"),
        (dir.path().to_owned(), "not a regular file"),
        (ffmpeg_makes(at("sound.mp4"), &["-f", "lavfi", "-i", "sine=d=1", "-c:a", "aac"]), "holds no video"),
    ];
    for (path, expected) in cases {
        let message = open(&config(&path)).await.err().expect(expected).to_string();
        assert!(message.contains(expected) && message.contains(&path.display().to_string()), "{message}");
    }
    assert!(matches!(open(&config(&at("missing.mp4"))).await, Err(SourceError::NotFound { .. })));
}

#[tokio::test]
async fn a_reason_in_brackets_is_never_empty() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("noise.mp4");
    std::fs::write(&path, b"this is no film at all").expect("write");
    let message = open(&config(&path)).await.err().expect("no film").to_string();
    assert!(message.contains("damaged (") && !message.contains("()"), "{message}");
}

/// Works with: clips | MP4 and MOV files of telephones and mounted cameras with a display matrix (all eight) | takes the orientation along from the file
#[tokio::test]
async fn the_display_matrix_comes_with_the_stream() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = clip(dir.path(), "a.mp4", &X264);
    let file = std::fs::read(&path).expect("read");
    // The matrix follows version, flags, times, number, length, layer and volume.
    let at = file.windows(4).position(|four| four == b"tkhd").expect("a track header") + 44;
    for orientation in Orientation::ALL.into_iter().skip(1) {
        let mut turned = file.clone();
        let matrix = orientation.display_matrix(160, 120).expect("a matrix");
        turned[at..at + 36].copy_from_slice(&matrix.map(i32::to_be_bytes).concat());
        std::fs::write(&path, turned).expect("write");
        let mut source = open(&config(&path)).await.expect("opens");
        let stream = source.next().await.expect("a packet").stream;
        assert_eq!((stream.orientation, stream.width, stream.height), (orientation, 160, 120));
    }
    let mut source = open(&config(&clip(dir.path(), "b.mp4", &X264))).await.expect("opens");
    assert_eq!(source.next().await.expect("a packet").stream.orientation, Orientation::Upright);
}

#[tokio::test]
async fn a_truncated_file_plays_up_to_the_cut() {
    let dir = tempfile::tempdir().expect("tempdir");
    let front = [&X264[..], &["-movflags", "faststart"]].concat();
    let fragments = [&X264[..], &["-movflags", "frag_keyframe+empty_moov"]].concat();
    for (name, arguments) in [("front.mp4", front), ("fragments.mp4", fragments), ("plain.ts", X264.to_vec())] {
        let path = clip(dir.path(), name, &arguments);
        let whole = std::fs::read(&path).expect("read");
        std::fs::write(&path, &whole[..whole.len() * 3 / 4]).expect("write");
        let (packets, end) = play(&config(&path)).await;
        assert_eq!(end, SourceError::Ended, "{name}");
        assert!((8..20).contains(&packets.len()), "{name}: {}", packets.len());
    }
}
