//! Clips: made once from the test data, and judged by FFmpeg's own tools.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::fixture;
use super::process::run;

/// The people clip in another coding, made by FFmpeg and kept for the next test.
///
/// `mjpeg` and `av1` in Matroska, the others in MP4.
pub fn people_as(codec: &str) -> PathBuf {
    let (extension, options) = match codec {
        "h265" => (
            "mp4",
            "-c:v libx265 -preset veryfast -tag:v hvc1 \
             -x265-params log-level=error:keyint=20:min-keyint=20:scenecut=0:bframes=0",
        ),
        // RTP carries no Huffman tables, so the pictures must use those of the standard.
        "mjpeg" => ("mkv", "-c:v mjpeg -q:v 5 -huffman default -pix_fmt yuvj420p"),
        "av1" => ("mkv", "-c:v libsvtav1 -preset 12 -g 20 -pix_fmt yuv420p"),
        "h264-b-frames" => {
            ("mp4", "-c:v libx264 -preset veryfast -bf 3 -b-pyramid normal -x264-params keyint=16:scenecut=0:b-adapt=0")
        }
        // A minute whose only IDR picture is cut off, so that it looks like a stream that is joined late.
        "h264-gradual" => (
            "mp4",
            "-vf loop=loop=3:size=160 -c:v libx264 -preset veryfast -x264-params intra-refresh=1:keyint=20:bframes=0 \
             -bsf:v filter_units=remove_types=5",
        ),
        "h264-open-gop" => (
            "mp4",
            "-vf loop=loop=3:size=160 -c:v libx264 -preset veryfast \
             -x264-params keyint=16:min-keyint=8:open-gop=1:scenecut=0:bframes=2:b-adapt=0 \
             -bsf:v filter_units=remove_types=5",
        ),
        "h264-i-pictures" => (
            "mp4",
            "-vf loop=loop=3:size=160 -c:v libx264 -preset veryfast \
             -x264-params keyint=16:min-keyint=8:open-gop=1:scenecut=0:bframes=2:b-adapt=0 \
             -bsf:v filter_units=remove_types=5-6",
        ),
        _ => panic!("{codec}: no such coding"),
    };
    recoded("people", codec, extension, options)
}

/// The clip of leaves in the wind, padded to 8 Mbit/s, so that a disk fills quickly.
pub fn leaves_at_8mbit() -> PathBuf {
    let options = "-c:v libx264 -preset veryfast -b:v 8M -minrate 8M -maxrate 8M -bufsize 8M \
                   -x264-params nal-hrd=cbr:keyint=20:scenecut=0:bframes=0";
    recoded("leaves", "h264-8mbit", "mp4", options)
}

/// The first half of the people clip.
pub fn people_for_a_while() -> PathBuf {
    recoded("people", "half", "mp4", "-t 8 -c copy")
}

/// What a lamp camera shows.
#[derive(Clone, Copy, Debug)]
pub enum Lamp {
    /// Every four seconds the lamp burns for one and a half. 2 Mbit/s, so that a clip has about a megabyte.
    Blinking,
    /// The same with 16 Mbit/s.
    BlinkingLarge,
    /// The lamp burns twice, and the film ends.
    Twice,
    /// The lamp burns once, for six seconds of 24 Mbit/s: one clip of many parts.
    OnceLarge,
    /// It never burns: nothing happens.
    Off,
}

/// The people clip, small, and dark but for the moments in which a lamp burns: the model in tests/vm/models sees it, at
/// no cost worth mentioning. For tests of what becomes of events, not of how they are found.
pub fn lamp(lamp: Lamp) -> PathBuf {
    let (kind, length, burns, mbit) = match lamp {
        Lamp::Blinking => ("blinking", "16", "lt(mod(t+3,4),1.5)", 2),
        Lamp::BlinkingLarge => ("blinking-large", "16", "lt(mod(t+3,4),1.5)", 16),
        Lamp::Twice => ("twice", "8.5", "lt(mod(t+3,4),1.5)", 2),
        Lamp::OnceLarge => ("once-large", "8.5", "between(t,1,7)", 24),
        Lamp::Off => ("off", "16", "lt(t,0)", 2),
    };
    let options = format!(
        "-t {length} -vf scale=320:240,eq=eval=frame:brightness='if({burns},0.3,-0.5)' -c:v libx264 -preset veryfast \
         -b:v {mbit}M -minrate {mbit}M -maxrate {mbit}M -bufsize {mbit}M \
         -x264-params nal-hrd=cbr:keyint=10:scenecut=0:bframes=0 -pix_fmt yuv420p"
    );
    recoded("people", &format!("lamp-{kind}"), "mp4", &options)
}

/// The blinking lamp as the main stream of a camera whose substream is [`lamp`] shows it: large, with a key frame each 2 s.
pub fn lamp_of_main_stream() -> PathBuf {
    let options = "-t 16 -vf scale=1280:960,eq=eval=frame:brightness='if(lt(mod(t+3,4),1.5),0.3,-0.5)' -c:v libx264 \
                   -preset veryfast -x264-params keyint=20:scenecut=0:bframes=0 -pix_fmt yuv420p";
    recoded("people", "lamp-main", "mp4", options)
}

/// A clip of the test data, coded again with `options` unless it was already.
fn recoded(name: &str, kind: &str, extension: &str, options: &str) -> PathBuf {
    let source = fixture(&format!("{name}.mp4"));
    let bytes = std::fs::metadata(&source).expect("a clip of the test data").len();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clips");
    let made = folder.join(format!("{name}-{bytes}-{kind}.{extension}"));
    if !made.exists() {
        std::fs::create_dir_all(&folder).expect("make the folder of clips");
        // Another test may be making it too: the last rename wins, and both are whole.
        let half = folder.join(format!("half-{}.{extension}", std::process::id()));
        run(Command::new("ffmpeg").args(["-v", "error", "-y", "-i"]).arg(&source).args(options.split(' ')).arg(&half));
        std::fs::rename(half, &made).expect("name a clip");
    }
    made
}

/// What ffprobe says about a clip.
#[derive(Debug)]
pub struct Probe {
    pub codec: String,
    pub width: u64,
    pub height: u64,
    pub duration_s: f64,
    /// Pictures in it.
    pub packets: u64,
    /// Whether the first of them is a key frame.
    pub starts_with_key_frame: bool,
}

/// Whether the event has video, in a clip of its own or of another event.
pub fn has_video(event: &serde_json::Value) -> bool {
    event["clip"].is_object() || event["shares"].as_array().is_some_and(|parts| !parts.is_empty())
}

/// Asks ffprobe; fails the test when the file is no clip with one video stream.
pub fn probe(clip: &Path) -> Probe {
    let text = run(Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v", "-of", "json", "-show_packets"])
        .args(["-show_entries", "stream=codec_name,width,height:format=duration:packet=flags"])
        .arg(clip));
    let said: Value = serde_json::from_str(&text).expect("ffprobe speaks JSON");
    let stream = &said["streams"][0];
    let packets = said["packets"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    let flags = packets.first().and_then(|packet| packet["flags"].as_str()).unwrap_or_default();
    Probe {
        codec: stream["codec_name"].as_str().unwrap_or_default().to_owned(),
        width: stream["width"].as_u64().unwrap_or(0),
        height: stream["height"].as_u64().unwrap_or(0),
        duration_s: said["format"]["duration"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0.0),
        packets: packets.len() as u64,
        starts_with_key_frame: flags.starts_with('K'),
    }
}

/// When each picture of a clip is shown, in seconds, sorted.
pub fn shown(clip: &Path) -> Vec<f64> {
    let text = run(Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v", "-of", "csv=p=0", "-show_entries", "packet=pts_time"])
        .arg(clip));
    let mut times: Vec<f64> = text.lines().map(|line| line.trim_matches(',').parse().expect("seconds")).collect();
    times.sort_by(f64::total_cmp);
    times
}

/// Everything that FFmpeg complains about when it decodes a file from end to end; empty for a sound one.
pub fn decode_errors(file: &Path) -> String {
    let mut command = Command::new("ffmpeg");
    // Into a format without timestamps: FFmpeg's null output rounds them to the frame rate that it has guessed,
    // and then complains about cameras whose clocks are not as regular.
    command.args(["-v", "error", "-i"]).arg(file).args(["-f", "rawvideo", "-y", "/dev/null"]);
    let output = command.output().expect("run ffmpeg");
    let mut errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        errors += &format!("{}\n", output.status);
    }
    errors
}

/// Fails the test unless the file is a clip that every player takes: one video stream, a key frame first,
/// and not one picture that does not decode.
pub fn assert_sound(clip: &Path) -> Probe {
    let probe = probe(clip);
    assert!(probe.packets > 0, "{}: no pictures: {probe:?}", clip.display());
    assert!(probe.starts_with_key_frame, "{}: does not begin with a key frame: {probe:?}", clip.display());
    let errors = decode_errors(clip);
    assert!(errors.is_empty(), "{}: does not decode cleanly:\n{errors}", clip.display());
    probe
}

#[test]
fn the_test_data_are_sound_clips() {
    for (name, width, pictures) in [("people.mp4", 640, 160), ("leaves.mp4", 320, 297)] {
        let probe = assert_sound(&fixture(name));
        assert_eq!((probe.codec.as_str(), probe.width, probe.packets), ("h264", width, pictures), "{name}");
        assert!(probe.height > 0 && probe.duration_s > 15.0, "{probe:?}");
    }
    assert_eq!(assert_sound(&people_as("h265")).codec, "hevc");
    assert_eq!(assert_sound(&people_as("mjpeg")).codec, "mjpeg");
}

#[test]
fn a_damaged_clip_is_seen_to_be_damaged() {
    let scratch = super::Scratch::new("damaged");
    let mut bytes = std::fs::read(fixture("leaves.mp4")).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 2000].fill(0xa5);
    let path = scratch.path("damaged.mp4");
    std::fs::write(&path, bytes).expect("write");
    assert!(!decode_errors(&path).is_empty());
}
