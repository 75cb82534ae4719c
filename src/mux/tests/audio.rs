//! Clips with audio.

use proptest::prelude::*;

use super::*;
use crate::frame::{AudioCodec, AudioPacket};

/// A tone of so many seconds in this coding, each packet at its time behind `T0`.
fn tone(codec: AudioCodec, seconds: f64) -> (Arc<AudioInfo>, Vec<AudioPacket>) {
    start_libav();
    let dir = tempfile::tempdir().expect("temp dir");
    let (encoder, file) = match codec {
        AudioCodec::Aac => ("-ar 16000 -c:a aac", "a.m4a"),
        AudioCodec::Opus => ("-ar 48000 -ac 2 -strict -2 -c:a libopus", "a.mkv"),
    };
    cli(
        "ffmpeg",
        dir.path(),
        &format!("-nostdin -v error -f lavfi -i sine=frequency=440 -t {seconds} {encoder} {file}"),
    );
    let mut input = ffmpeg::format::input(&dir.path().join(file)).expect("open fixture");
    let stream = input.streams().next().expect("a stream");
    let info = crate::mux::audio::info_of(&stream).expect("audio that clips hold");
    let lasts = match codec {
        AudioCodec::Aac => Duration::from_millis(64),
        AudioCodec::Opus => Duration::from_millis(20),
    };
    let packets = input.packets().enumerate().map(|(n, (_, packet))| {
        let at = Mono(T0) + lasts * u32::try_from(n).expect("few");
        AudioPacket { at, lasts, data: Bytes::copy_from_slice(packet.data().expect("data")) }
    });
    (Arc::new(info), packets.collect())
}

/// The pictures, each with the audio that came before it.
fn with_sound(pictures: &[Packet], info: &Arc<AudioInfo>, sound: &[AudioPacket]) -> Vec<Packet> {
    let mut rest = sound.iter().peekable();
    let beside = |picture: &Packet| {
        let packets = std::iter::from_fn(|| rest.next_if(|packet| packet.at + packet.lasts <= picture.at)).cloned();
        let audio = Audio { info: info.clone(), packets: packets.collect() };
        Packet { audio: Some(Arc::new(audio)), ..picture.clone() }
    };
    pictures.iter().map(beside).collect()
}

fn h264_with(codec: AudioCodec) -> Vec<Packet> {
    let (info, sound) = tone(codec, 5.2);
    with_sound(h264(), &info, &sound)
}

impl Clip {
    /// What ffprobe says of the audio.
    fn hear(&self, entries: &str) -> String {
        let args = format!("-v error -select_streams a -show_entries {entries} -of csv=p=0 clip.mp4");
        cli("ffprobe", self.dir.path(), &args).trim().to_owned()
    }

    /// Decodes the audio; any error fails the test. Gives its length in seconds.
    fn listen(&self) -> f64 {
        let args = "-nostdin -v error -xerror -i clip.mp4 -map 0:a -f s16le -ac 1 -ar 8000 tone.raw";
        cli("ffmpeg", self.dir.path(), args);
        let bytes = std::fs::metadata(self.dir.path().join("tone.raw")).expect("audio").len();
        std::fs::remove_file(self.dir.path().join("tone.raw")).expect("remove");
        bytes as f64 / 16_000.0
    }
}

/// Works with: clips | AAC or Opus beside H.264 | the clip has both tracks, which decode without an error
#[test]
fn audio_goes_in_unchanged_beside_the_pictures() {
    for (codec, name, tag) in [(AudioCodec::Aac, "aac", "mp4a"), (AudioCodec::Opus, "opus", "Opus")] {
        let clip = Clip::new();
        let facts = clip.write(&h264_with(codec));
        assert_eq!((facts.frames, facts.duration), (50, Duration::from_secs(5)), "{name}: those of the pictures");
        assert_eq!(clip.play(), 50 + clip.hear("packet=pts").lines().count() as u64, "{name}: both tracks");
        assert_eq!(clip.hear("stream=codec_name,codec_tag_string"), format!("{name},{tag}"));
        assert!((4.7..=5.1).contains(&clip.listen()), "{name}: {} s", clip.listen());
        assert_eq!(clip.probe("format=duration"), "5.000000", "{name}");
        assert_eq!(clip.header_durations(), (5.0, 5.0));
        let file = reopen(&clip.path).expect("open");
        let layout = boxes::layout(&file).expect("read").expect("moov");
        assert!(layout.finished && layout.fragments.len() == 5, "{name}: {:?}", layout.fragments);
    }
}

#[test]
fn audio_keeps_its_distance_to_the_pictures() {
    let (info, sound) = tone(AudioCodec::Aac, 5.0);
    // As with B-frames, where the first picture is decoded before it is shown.
    for pictures in [h264().to_vec(), packets(&format!("size=160x96 -t 5 {PYRAMID}"), "a.mp4")] {
        let shown = pictures[0].pts().since(Mono(T0));
        for late_ms in [0, 30, 250, 1700] {
            let late = |packet: &AudioPacket| AudioPacket {
                at: packet.at + shown + Duration::from_millis(late_ms),
                ..packet.clone()
            };
            let late: Vec<_> = sound.iter().map(late).collect();
            let clip = Clip::new();
            clip.write(&with_sound(&pictures, &info, &late));
            let times: Vec<f64> = clip.hear("packet=pts_time").lines().map(|t| t.parse().expect("time")).collect();
            let context = format!("{late_ms} ms, offset {shown:?}: {:?}", &times[..3]);
            assert!((times[0] - late_ms as f64 / 1000.0).abs() < 0.002, "{context}");
            assert!(times.windows(2).all(|w| (w[1] - w[0] - 0.064).abs() < 0.002), "{late_ms} ms: {times:?}");
            assert!(clip.probe("stream=start_time").starts_with("0.000"), "{late_ms} ms");
        }
    }
}

#[test]
fn a_clip_begins_with_a_picture_and_has_the_audio_from_then_on() {
    let packets = h264_with(AudioCodec::Aac);
    let clip = Clip::new();
    let facts = clip.write(&packets[5..]);
    assert_eq!(facts.start, Mono(T0 + 2000 * MS), "the second key frame");
    let first: f64 = clip.hear("packet=pts_time").lines().next().expect("audio").parse().expect("time");
    assert!((0.0..0.064).contains(&first), "{first}");
}

#[test]
fn a_gap_in_the_audio_stays_one() {
    let (info, mut sound) = tone(AudioCodec::Opus, 5.0);
    sound.drain(60..160);
    let clip = Clip::new();
    clip.write(&with_sound(h264(), &info, &sound));
    let times: Vec<f64> = clip.hear("packet=pts_time").lines().map(|t| t.parse().expect("time")).collect();
    let near = |wanted: f64| times.iter().any(|time| (time - wanted).abs() < 0.021);
    assert!(near(1.18) && near(3.22) && near(4.8), "{times:?}");
}

#[test]
fn a_file_without_a_track_for_it_makes_room_for_one_with_the_next_key_frame() {
    let (silent, loud) = (h264(), h264_with(AudioCodec::Aac));
    let clip = Clip::new();
    let mut writer = clip.writer();
    silent[..10].iter().chain(&loud[10..20]).for_each(|packet| writer.write(packet).expect("write"));
    assert!(matches!(writer.write(&loud[20]), Err(MuxError::StreamChanged)));
    assert_eq!(writer.finish().expect("finish").frames, 20);
    // The last file of an event goes on without it.
    let clip = Clip::new();
    let mut writer = ClipWriter::create_for_changes(&clip.path, &Config::default()).expect("create");
    silent[..20].iter().for_each(|packet| writer.write(packet).expect("write"));
    writer.write_changed(&loud[20]).expect("goes on");
    loud[21..].iter().for_each(|packet| writer.write(packet).expect("write"));
    assert_eq!(writer.finish().expect("finish").frames, 50);
    assert_eq!(clip.hear("stream=codec_name"), "");
    // And a camera that falls silent changes nothing.
    let clip = Clip::new();
    let mut writer = clip.writer();
    loud[..25].iter().chain(&silent[25..]).for_each(|packet| writer.write(packet).expect("write"));
    assert_eq!(writer.finish().expect("finish").frames, 50);
    assert_eq!(clip.hear("stream=codec_name"), "aac");
}

#[test]
fn damaged_audio_costs_no_pictures() {
    let (info, mut sound) = tone(AudioCodec::Aac, 5.0);
    // What libavformat takes for another framing, and nothing at all.
    sound[0].data = Bytes::from_static(b"\xff\xf1\x50\x80\x00");
    sound[7].data = Bytes::new();
    let bare = Arc::new(AudioInfo { extradata: Bytes::new(), ..(*info).clone() });
    for info in [info, bare] {
        let clip = Clip::new();
        assert_eq!(clip.write(&with_sound(h264(), &info, &sound)).frames, 50);
        assert!(clip.probe("packet=pts").lines().count() == 50);
    }
}

#[test]
fn pieces_of_clips_are_joined_with_their_audio() {
    let (whole, joined) = (Clip::new(), Clip::new());
    whole.write(&h264_with(AudioCodec::Aac));
    let mut writer = ClipWriter::create_for_changes(&joined.path, &Config::default()).expect("create");
    let mut end = T0 as i64;
    for begin_s in [2, 0] {
        let mut reader = ClipReader::open(&whole.path).expect("open");
        reader.go_to(Duration::from_secs(begin_s)).expect("go");
        let stream = reader.stream().clone();
        let start = end;
        for _ in 0..20 {
            let sample = reader.next_sample().expect("read").expect("a picture");
            let at = start + sample.decoded_ns - begin_s as i64 * 1_000_000_000;
            let packet = sample.packet(&stream, Mono(at as u64));
            match writer.write(&packet) {
                Err(MuxError::StreamChanged) => writer.write_changed(&packet).expect("goes on"),
                other => other.expect("write"),
            }
            end = at + 100_000_000;
        }
    }
    assert_eq!(writer.finish().expect("finish").frames, 40);
    assert_eq!(joined.hear("stream=codec_name"), "aac");
    assert!((3.6..=4.1).contains(&joined.listen()), "{} s", joined.listen());
    let times: Vec<f64> = joined.hear("packet=pts_time").lines().map(|t| t.parse().expect("time")).collect();
    assert!(times.windows(2).all(|w| w[1] > w[0] && w[1] - w[0] < 0.25), "{times:?}");
}

#[test]
fn a_torn_clip_keeps_both_tracks() {
    for codec in [AudioCodec::Aac, AudioCodec::Opus] {
        let clip = killed(&h264_with(codec));
        let facts = repair(&clip.path).expect("repair").expect("playable");
        assert_eq!((facts.frames, facts.duration, facts.start), (40, Duration::from_secs(4), Mono(T0)));
        assert!((3.7..=4.2).contains(&clip.listen()), "{codec}: {} s", clip.listen());
        assert_eq!(repair(&clip.path).expect("repair"), Some(facts));
    }
}

#[test]
fn a_sync_saves_the_audio_in_progress() {
    for pictures in [h264().to_vec(), packets(&format!("size=160x96 -t 5 {PYRAMID}"), "a.mp4")] {
        let (info, sound) = tone(AudioCodec::Aac, 5.0);
        let clip = Clip::new();
        let mut writer = clip.writer();
        for (n, packet) in with_sound(&pictures, &info, &sound)[..35].iter().enumerate() {
            writer.write(packet).expect("write");
            if n % 7 == 6 {
                writer.sync().expect("sync");
            }
        }
        std::mem::forget(writer);
        assert_eq!(repair(&clip.path).expect("repair").expect("playable").frames, 35);
        assert!((3.0..=3.6).contains(&clip.listen()), "{} s", clip.listen());
    }
}

/// Works with: clips | a clip with audio that a power cut tears at any byte | it is repaired: the complete fragments play with their audio
#[test]
fn cut_at_every_byte_it_is_repaired() {
    let (info, sound) = tone(AudioCodec::Aac, 2.0);
    let small = packets(&format!("size=32x32 -t 2 {X264}"), "a.mp4");
    let whole = killed(&with_sound(&small, &info, &sound));
    let bytes = std::fs::read(&whole.path).expect("clip");
    let layout = boxes::layout(&reopen(&whole.path).expect("open")).expect("read").expect("moov");
    let clip = Clip::new();
    let mut last = 0;
    for cut in (0..=bytes.len()).step_by(if bytes.len() > 20_000 { 7 } else { 1 }) {
        std::fs::write(&clip.path, &bytes[..cut]).expect("write");
        let repaired = repair(&clip.path).expect("repair");
        let complete = layout.fragments.iter().filter(|(_, end)| *end <= cut as u64).count();
        assert_eq!(repaired.is_some(), complete > 0, "{cut} of {}", bytes.len());
        let frames = repaired.map_or(0, |facts| facts.frames);
        assert!(frames >= last, "{cut} of {}", bytes.len());
        last = frames;
    }
    assert_eq!(last, 10);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_the_audio_is_the_pictures_play(
        sound in prop::collection::vec((-3_000i64..8_000, 0u64..3_000, prop::collection::vec(any::<u8>(), 0..40)), 0..60),
        sync in 1usize..20,
    ) {
        let info = tone_info();
        let packets = sound.into_iter().map(|(ms, lasts, data)| AudioPacket {
            at: Mono(T0.saturating_add_signed(ms * 1_000_000)),
            lasts: Duration::from_millis(lasts),
            data: data.into(),
        });
        let packets: Vec<_> = packets.collect();
        let clip = Clip::new();
        let mut writer = clip.writer();
        for (n, picture) in h264().iter().enumerate() {
            let share = packets.iter().skip(n).step_by(50).cloned().collect();
            let audio = Some(Arc::new(Audio { info: info.clone(), packets: share }));
            writer.write(&Packet { audio, ..picture.clone() }).expect("write");
            if n % sync == sync - 1 {
                writer.sync().expect("sync");
            }
        }
        let facts = writer.finish().expect("finish");
        prop_assert_eq!((facts.frames, facts.duration), (50, Duration::from_secs(5)));
        prop_assert_eq!(repair(&clip.path).expect("repair").expect("playable").duration, Duration::from_secs(5));
        let mut reader = ClipReader::open(&clip.path).expect("open");
        let pictures = std::iter::from_fn(|| reader.next_sample().expect("read"));
        prop_assert_eq!(pictures.count(), 50);
    }
}

/// Parameters of mono AAC with 16 kHz.
fn tone_info() -> Arc<AudioInfo> {
    let extradata = Bytes::from_static(&[0x14, 0x08]);
    Arc::new(AudioInfo { codec: AudioCodec::Aac, sample_rate: 16_000, channels: 1, extradata })
}
