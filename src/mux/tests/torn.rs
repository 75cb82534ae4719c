//! Clips whose writing was interrupted, and files that are no clips.

use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;

#[test]
fn a_killed_writer_loses_about_a_second() {
    for packets in [h264().to_vec(), packets("size=160x96 -t 5 -c:v mjpeg", "m.mkv")] {
        let clip = killed(&packets);
        let facts = repair(&clip.path).expect("repair").expect("playable");
        assert_eq!((facts.frames, facts.start), (40, Mono(T0)));
        assert_eq!((facts.duration, facts.bytes), (Duration::from_secs(4), clip.bytes()));
        assert_eq!((facts.codec.as_str(), facts.width, facts.height), ("h264", 160, 96));
        assert_eq!(clip.play(), 40);
        assert_eq!(clip.probe("format=duration"), "4.000000");
        assert_eq!(repair(&clip.path).expect("repair"), Some(facts));
    }
}

/// Works with: clips | B-frames in a clip that a power cut tears | every picture of the complete fragments plays
#[test]
fn a_killed_writer_of_a_stream_with_b_frames_loses_about_a_second() {
    for coding in [PYRAMID, PYRAMID_265] {
        let clip = killed(&packets(&format!("size=160x96 -t 5 {coding}"), "a.mp4"));
        let facts = repair(&clip.path).expect("repair").expect("playable");
        assert!((38..50).contains(&facts.frames), "{coding}: {facts:?}");
        assert_eq!((clip.play(), facts.bytes), (facts.frames, clip.bytes()), "{coding}");
        assert_eq!(repair(&clip.path).expect("repair"), Some(facts), "{coding}");
    }
}

/// Works with: clips | a clip of a stream with B-frames that a kill -9 leaves complete on the disk | event.json says the same length as after an orderly stop
#[test]
fn a_clip_has_the_same_facts_whether_it_is_finished_or_repaired() {
    let two = "-c:v libx264 -preset veryfast -g 20 -bf 2 -pix_fmt yuv420p";
    for (coding, syncs) in [(X264, 7), (two, 100), (two, 7), (PYRAMID, 5), (PYRAMID_265, 7)] {
        let even = packets(&format!("size=160x96 -t 5 {coding}"), "a.mp4");
        for times in ["even", "slower and slower", "without a known offset"] {
            let mut packets = even.clone();
            for (n, packet) in packets.iter_mut().enumerate() {
                match times {
                    "slower and slower" => packet.at = packet.at + Duration::from_millis((n * n / 4) as u64),
                    "without a known offset" => packet.offset = packet.offset.saturating_sub(even[0].offset),
                    _ => {}
                }
            }
            for length in [50, 49, 48, 47, 41, 22] {
                let write = |clip: &Clip| {
                    let mut writer = clip.writer();
                    for (n, packet) in packets[..length].iter().enumerate() {
                        writer.write(packet).expect("write");
                        if n % syncs == syncs - 1 {
                            writer.sync().expect("sync");
                        }
                    }
                    writer
                };
                let (finished, killed) = (Clip::new(), Clip::new());
                let facts = write(&finished).finish().expect("finish");
                let mut writer = write(&killed);
                writer.sync().expect("sync");
                std::mem::forget(writer);
                let repaired = repair(&killed.path).expect("repair").expect("playable");
                let context = format!("{coding}, {length} pictures {times}, synced each {syncs}");
                assert_eq!((repaired.frames, repaired.duration), (facts.frames, facts.duration), "{context}");
                assert_eq!(repair(&finished.path).expect("repair").expect("playable"), facts, "{context}");
                // FFmpeg takes the end of the last picture that is decoded for the clip's.
                for clip in [finished, killed].into_iter().filter(|_| times == "even") {
                    let probed: f64 = clip.probe("format=duration").parse().expect("seconds");
                    assert!((probed - facts.duration.as_secs_f64()).abs() < 0.002, "{context}: {probed} {facts:?}");
                }
            }
        }
    }
}

#[test]
fn a_sync_saves_the_fragment_in_progress() {
    let clip = Clip::new();
    let mut writer = clip.writer();
    writer.sync().expect("nothing yet");
    for packet in &h264()[..25] {
        writer.write(packet).expect("write");
    }
    writer.sync().expect("sync");
    std::mem::forget(writer);
    assert_eq!(repair(&clip.path).expect("repair").expect("playable").frames, 25);
    assert_eq!(clip.play(), 25);
    // The header of one with B-frames waits for its first fragment.
    let reordered = packets(&format!("size=160x96 -t 5 {PYRAMID}"), "a.mp4");
    let clip = Clip::new();
    let mut writer = clip.writer();
    reordered[..5].iter().for_each(|packet| writer.write(packet).expect("write"));
    writer.sync().expect("sync");
    std::mem::forget(writer);
    assert_eq!(repair(&clip.path).expect("repair").expect("playable").frames, 5);
}

#[test]
fn writing_goes_on_after_a_sync() {
    let clip = Clip::new();
    let mut writer = clip.writer();
    for (i, packet) in h264().iter().enumerate() {
        writer.write(packet).expect("write");
        if i % 7 == 0 {
            writer.sync().expect("sync");
        }
    }
    assert_eq!(writer.finish().expect("finish").duration, Duration::from_secs(5));
    assert_eq!(clip.play(), 50);
    assert_eq!(clip.probe("format=duration"), "5.000000");
}

#[test]
fn a_finished_clip_is_left_alone_by_repair() {
    let clip = Clip::new();
    let facts = clip.write(h264());
    let before = std::fs::read(&clip.path).expect("read");
    assert_eq!(repair(&clip.path).expect("repair"), Some(facts));
    assert_eq!(std::fs::read(&clip.path).expect("read"), before);
}

#[test]
fn blocks_that_came_back_as_zeros_are_cut_off() {
    let clip = killed(h264());
    let file = reopen(&clip.path).expect("open");
    let layout = boxes::layout(&file).expect("read").expect("moov");
    let (_, end) = layout.fragments[2];
    file.write_all_at(&[0; 600], end - 600).expect("write");
    let facts = repair(&clip.path).expect("repair").expect("playable");
    assert_eq!((facts.frames, clip.play()), (20, 20));
}

#[test]
fn what_is_no_clip_is_not_touched() {
    let clip = Clip::new();
    for content in [&b""[..], b"no clip", &[0; 4096], b"\0\0\0\x08ftyp\0\0\0\x08moov", b"\0\0\0\x08moof\0\0\0\x08mdat"]
    {
        std::fs::write(&clip.path, content).expect("write");
        assert!(repair(&clip.path).expect("repair").is_none(), "{content:?}");
        assert_eq!(std::fs::read(&clip.path).expect("read"), content);
    }
    assert!(matches!(repair(&clip.dir.path().join("none.mp4")), Err(MuxError::Io { .. })));
}

#[test]
fn a_clip_whose_header_is_damaged_is_repaired_once() {
    // The duration stood where libav looked for the stream: entered there, it made a clip of none.
    let damaged = include_bytes!("../../../tests/fixtures/damaged-header.mp4");
    let clip = Clip::new();
    std::fs::write(&clip.path, damaged).expect("write");
    let first = repair(&clip.path).expect("repair");
    assert_eq!(repair(&clip.path).expect("repair"), first);
    assert!(first.is_some() || std::fs::read(&clip.path).expect("read") == damaged, "what is no clip is not touched");
}

/// A finished H.264 clip with start and end of each of its fragments.
type Finished = (Vec<u8>, Vec<(u64, u64)>);

fn finished() -> &'static Finished {
    static CLIP: OnceLock<Finished> = OnceLock::new();
    CLIP.get_or_init(|| {
        let clip = Clip::new();
        clip.write(h264());
        let layout = boxes::layout(&reopen(&clip.path).expect("open")).expect("read").expect("moov");
        (std::fs::read(&clip.path).expect("read"), layout.fragments)
    })
}

#[test]
fn bytes_of_others_that_fill_up_a_fragment_cost_no_more_than_that_fragment() {
    let (content, fragments) = finished();
    let end = usize::try_from(fragments[2].1).expect("small");
    for lacking in [1, 20, 63] {
        let clip = Clip::new();
        let tail = vec![0x5a; lacking];
        std::fs::write(&clip.path, [&content[..end - lacking], &tail[..]].concat()).expect("write");
        let facts = repair(&clip.path).expect("repair").expect("playable");
        // Its boxes and pictures have the lengths that they should have, so it counts.
        assert_eq!((facts.frames, facts.duration), (30, Duration::from_secs(3)), "{lacking}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_clip_cut_anywhere_plays_up_to_its_last_complete_fragment(
        cut in any::<prop::sample::Index>(),
        tail in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let (content, fragments) = finished();
        let cut = cut.index(content.len());
        let clip = Clip::new();
        // What follows the cut is whatever the disk held there before.
        std::fs::write(&clip.path, [&content[..cut], &tail[..]].concat()).expect("write");
        let up_to = |length: usize| fragments.iter().filter(|(_, end)| *end <= length as u64).count() as u64;
        let (whole, filled_up) = (up_to(cut), up_to(cut + tail.len()));
        let facts = repair(&clip.path).expect("repair");
        let kept = facts.as_ref().map_or(0, |facts| facts.frames / 10);
        // A tail that reaches the end of the fragment in progress may pass for the last bytes of a picture:
        // only their meaning is wrong, and nothing in the file says what they were.
        prop_assert!((whole..=filled_up).contains(&kept), "{kept} of {whole} to {filled_up}");
        if let Some(facts) = facts {
            prop_assert_eq!((facts.frames, facts.duration), (10 * kept, Duration::from_secs(kept)));
            if kept == whole {
                prop_assert_eq!(clip.play(), facts.frames);
            }
        }
    }

    #[test]
    fn damage_anywhere_never_makes_repair_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let (content, _) = finished();
        let mut content = content.clone();
        for (index, value) in flips {
            // Half of them into the header, which is small.
            let at = index.index(content.len());
            let at = if value & 1 == 0 { at % 900 } else { at };
            content[at] = value;
        }
        content.truncate(cut.index(content.len()) + 1);
        let clip = Clip::new();
        std::fs::write(&clip.path, &content).expect("write");
        match repair(&clip.path) {
            Ok(Some(facts)) => prop_assert_eq!(repair(&clip.path).expect("repair"), Some(facts), "it is a clip now"),
            Ok(None) => prop_assert_eq!(std::fs::read(&clip.path).expect("read"), content, "it is not touched"),
            Err(_) => {}
        }
    }

    #[test]
    fn the_nal_walk_survives_anything(data in prop::collection::vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..200)) {
        for codec in [Codec::H264, Codec::H265] {
            let parameters = params::in_band_parameters(&codec, &data);
            prop_assert!(parameters.is_empty() || params::is_annex_b(&parameters));
            prop_assert!(parameters.is_empty() || !params::sequences(&codec, &parameters).is_empty());
        }
        // A sample is whole when its lengths add up, so two whole ones are one.
        if boxes::is_whole_sample(&data, 4) {
            prop_assert!(boxes::is_whole_sample(&[&data[..], &data].concat(), 4));
        }
    }
}
