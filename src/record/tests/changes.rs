//! Cameras that change their parameters while an event is recorded.

use std::process::Command;

use super::super::clip_files::ClipFiles;
use super::*;
use crate::archive::holders::MOST_PARTS;
use crate::clock::Moment;
use crate::detection::BBox;
use crate::event::{Clip, EventId, EvictReason, Evicted, MOST_CLIPS, MediaFile, MediaSkipped, SharedClip};
use crate::frame::{Frame, Packet, Rgb};
use crate::reception::Reception;
use crate::waiting::block_until;

const X264: &str = "-c:v libx264 -preset ultrafast -g 20 -bf 0 -pix_fmt yuv420p";
const MS: u64 = 1_000_000;

/// Streams of two sizes, a key frame with the first picture and each 20.
fn day_and_night(pictures: u32) -> [Vec<Packet>; 2] {
    ["160x96", "96x64"].map(|size| packets(&format!("size={size} -frames:v {pictures} {X264}"), "a.mp4"))
}

/// Pictures of one size, a key frame with the first one and each 20.
pub(super) fn packets_of(pictures: usize) -> Vec<Packet> {
    packets(&format!("size=160x96 -frames:v {pictures} {X264}"), "a.mp4")
}

pub(super) fn at(ms: u64) -> Mono {
    Mono(ms * MS)
}

/// The same pictures, from `from_ms` on and `step_ms` apart.
pub(super) fn timed(packets: &[Packet], from_ms: u64, step_ms: u64) -> Vec<Packet> {
    let times = (0..).map(|n| at(from_ms + n * step_ms));
    packets.iter().zip(times).map(|(packet, at)| Packet { at, ..packet.clone() }).collect()
}

pub(super) fn look(ms: u64) -> Look {
    let picture = Arc::new(Rgb { width: 64, height: 36, data: vec![90; 64 * 36 * 3] });
    Look { frame: Frame { at: at(ms), picture }, bbox: BBox { x: 0.4, y: 0.4, w: 0.2, h: 0.4 }, score: 0.8 }
}

/// Waits until the index has as many events that are over.
pub(super) fn over(archive: &Archive, events: usize) -> Vec<Event> {
    let known = || {
        let mut known = archive.store.events().find(&store::Query::default()).wait().expect("events");
        known.retain(|event| event.state != EventState::Open);
        known.sort_by_key(|event| event.id);
        known
    };
    block_until("so many events are over", || known().len() >= events);
    known()
}

/// Decodes the files of an event's clip; gives their names, sizes and pictures.
pub(super) fn played(archive: &Archive, event: &Event) -> Vec<(String, u32, usize)> {
    let play = |clip: &Clip| {
        let folder = archive.layout.folder(&event.camera, event.id);
        let args = "-nostdin -v error -xerror -vsync passthrough -f framecrc -";
        let mut command = Command::new("ffmpeg");
        command.args(["-i", &clip.media.file]).args(args.split(' ')).current_dir(folder);
        let output = command.output().expect("run ffmpeg");
        assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("text");
        (clip.media.file.clone(), clip.width, text.lines().filter(|line| !line.starts_with('#')).count())
    };
    event.clips().map(play).collect()
}

fn seconds(event: &Event) -> f64 {
    event.clips().map(|clip| clip.duration_s).sum()
}

/// Works with: cameras | a size, codec or parameters that change in the middle of an event, as at each switch to night vision | the event's clip goes on in a further file; nothing is left out, not even of the time before the event
#[test]
fn a_clip_goes_on_in_another_file_when_the_camera_changes_its_parameters() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let [day, night] = day_and_night(70);
    let (pre_roll, post_roll) = (Duration::from_secs(4), Duration::from_secs(2));
    let config = RecordConfig { pre_roll, post_roll, ..RecordConfig::default() };
    let recorder = Recorder::start(archive.clone(), "yard".into(), config, Reception::unknown()).expect("recorder");
    // The event begins after 5 s, while it is night, and its pre-roll while it is day.
    let open = event(1, "open");
    let pieces = [timed(&day[..30], 0, 100), timed(&night[..50], 3000, 100), timed(&day[..60], 8000, 100)];
    for packet in pieces.iter().flatten() {
        recorder.packet(packet);
        match packet.at {
            now if now == at(5000) => recorder.begin(open.clone(), look(5000)),
            now if now == at(10_000) => recorder.end(open.id, now),
            _ => {}
        }
    }
    let ended = over(&archive, 1).remove(0);
    recorder.stop();
    let expected = [("clip.mp4", 160, 30), ("clip-2.mp4", 96, 50), ("clip-3.mp4", 160, 41)];
    assert_eq!(played(&archive, &ended), expected.map(|(file, width, n)| (file.to_owned(), width, n)));
    assert!((seconds(&ended) - 12.1).abs() < 0.01, "{ended:?}");
    let starts: Vec<u64> = ended.clips().map(|clip| clip.start.mono_ns / MS).collect();
    assert_eq!((starts, ended.state), (vec![0, 3000, 8000], EventState::Ended));
    assert!(ended.clips().all(|clip| !clip.truncated));

    // All parts that handle files know of all of them.
    let folder = archive.layout.folder("yard", ended.id);
    assert_eq!(read_event(&folder).expect("a sidecar"), ended);
    assert_eq!(queued(&archive, "upload/cloud"), 7, "event.json, three pictures, three files of the clip");
    let held = archive.store.assets().files_of(ended.id).expect("the catalogue");
    assert_eq!(held.iter().filter(|held| held.class == store::Class::Clips).count(), 3);
    let footage = footage::of_events(std::slice::from_ref(&ended), &[Vec::new()], ended.start.wall);
    let length: f64 = footage.iter().map(|piece| piece.until.duration_since(piece.from).as_secs_f64()).sum();
    assert!((length - 12.1).abs() < 0.01 && footage.windows(2).all(|w| w[0].until == w[1].from), "{footage:?}");
    let mut without_first = ended.clone();
    without_first.retain_clips(|clip| clip.media.file != "clip.mp4");
    assert_eq!(played(&archive, &without_first), played(&archive, &ended)[1..]);

    // An index that is filled from the disk knows them too, and a file that is damaged costs that file.
    let elsewhere = tempfile::tempdir().expect("tempdir");
    let rebuilt = super::archive(elsewhere.path());
    let copy = rebuilt.layout.create_folder("yard", ended.id).expect("a folder");
    for file in fs::read_dir(&folder).expect("list").flatten() {
        fs::copy(file.path(), copy.join(file.file_name())).expect("copy");
    }
    fs::write(copy.join("clip-2.mp4"), b"torn").expect("damage");
    let found = recover(&rebuilt, id(u128::MAX), &mut |_| ()).expect("recover");
    assert_eq!((found.reindexed, found.damaged), (1, 1));
    let known = rebuilt.store.events().get(ended.id).wait().expect("read").expect("there");
    assert_eq!(known.clips().collect::<Vec<_>>(), ended.clips().filter(|c| c.width == 160).collect::<Vec<_>>());
    assert_eq!(queued(&rebuilt, "upload/cloud"), 6);
    let sidecar = measure(&copy, SIDECAR).expect("measure");
    assert_eq!(uploads(&known, sidecar).len(), 6);
}

#[test]
fn a_stop_in_the_second_file_of_a_clip_costs_neither() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let [day, night] = day_and_night(70);
    let open = event(1, "open");
    put_sidecar(&archive, &open);
    archive.store.events().record(store::Change { event: open.clone(), deliveries: Vec::new() }).expect("record");
    let folder = archive.layout.folder("yard", open.id);
    let mut clip = ClipFiles::none(&folder, &archive.config.encoder);
    clip.begin().expect("a file");
    for packet in timed(&day[..30], 4000, 100).iter().chain(&timed(&night[..45], 7000, 100)) {
        clip.write(packet, false).expect("write");
    }
    // As a kill leaves it.
    std::mem::forget(clip);
    recover(&archive, id(10), &mut |_| ()).expect("recover");
    let closed = archive.store.events().get(open.id).wait().expect("read").expect("there");
    let expected = [("clip.mp4", 160, 30), ("clip-2.mp4", 96, 40)];
    assert_eq!(played(&archive, &closed), expected.map(|(file, width, n)| (file.to_owned(), width, n)));
    assert_eq!(
        (closed.state, closed.end.as_ref().map(|end| end.mono_ns / MS)),
        (EventState::Interrupted, Some(11_000))
    );
    assert_eq!(closed.clips().map(|clip| clip.truncated).collect::<Vec<_>>(), [false, true]);
    assert_eq!(queued(&archive, "upload/cloud"), 3);
}

#[test]
fn an_event_that_has_all_the_files_it_may_have_goes_on_in_another_one() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let streams = day_and_night(20);
    let recorder = Recorder::start(archive.clone(), "yard".into(), RecordConfig::default(), Reception::unknown())
        .expect("recorder");
    let open = event(1, "open");
    // Ten seconds of each.
    for piece in 0..=MOST_CLIPS as u64 {
        for packet in timed(&streams[usize::from(piece % 2 == 1)], 5000 + piece * 10_000, 500) {
            recorder.packet(&packet);
            if packet.at == at(5000) {
                recorder.begin(open.clone(), look(5000));
            }
        }
    }
    recorder.stop();
    let [first, second] = &over(&archive, 2)[..] else { panic!("two events") };
    assert_eq!((first.id, second.continues, first.clips().count()), (open.id, Some(open.id), MOST_CLIPS));
    assert_eq!((second.clips().count(), second.start.mono_ns), (1, first.start.mono_ns));
    assert!((seconds(first) - 40.0).abs() < 0.01 && (seconds(second) - 10.0).abs() < 0.01, "{first:?} {second:?}");
    let begun = second.clip.as_ref().map(|clip| clip.start.mono_ns / MS);
    assert_eq!(begun, Some(45_000), "where the first one ended");
}

/// Two streams of one coding and two sizes, ten pictures each.
fn two_sizes(coding: &str, file: &str) -> [Vec<Packet>; 2] {
    ["160x96", "96x64"].map(|size| packets(&format!("size={size} -frames:v 10 {coding}"), file))
}

/// Plays the streams in turn, a second of each, from 5 s on, while an event goes on that ends after `seconds`.
fn record_in_turn(archive: &Archive, streams: &[Vec<Packet>; 2], pieces: u64, ends_after: u64) -> Event {
    let recorder = Recorder::start(archive.clone(), "yard".into(), RecordConfig::default(), Reception::unknown())
        .expect("recorder");
    let open = event(1, "open");
    for piece in 0..pieces {
        for packet in timed(&streams[usize::from(piece % 2 == 1)], 5000 + piece * 1000, 100) {
            recorder.packet(&packet);
            match packet.at {
                now if now == at(5000) => recorder.begin(open.clone(), look(5000)),
                now if now == at(5000 + ends_after * 1000) => recorder.end(open.id, now),
                _ => {}
            }
        }
    }
    recorder.stop();
    open
}

/// Works with: cameras | parameters that change every second, as of a camera that flickers between day and night | one event with at most four files, the last of which takes all further changes; nothing is left out, not even the post-roll
#[test]
fn a_camera_that_changes_its_parameters_all_the_time_makes_no_flood_of_events_and_loses_nothing() {
    let x265 = "-c:v libx265 -preset ultrafast -x265-params log-level=error:bframes=0 -pix_fmt yuv420p";
    for (coding, file) in
        [(X264, "a.mp4"), (X264, "a.h264"), (x265, "a.mp4"), (x265, "a.hevc"), ("-c:v mjpeg", "a.mkv")]
    {
        let dir = tempfile::tempdir().expect("tempdir");
        let archive = archive(dir.path());
        record_in_turn(&archive, &two_sizes(coding, file), 18, 10);
        let known = over(&archive, 1);
        let files: Vec<usize> = played(&archive, &known[0]).into_iter().map(|(.., pictures)| pictures).collect();
        // Ten seconds of the event, and five after it.
        assert_eq!((known.len(), files), (1, vec![10, 10, 10, 121]), "{coding} {file}");
        assert!((seconds(&known[0]) - 15.1).abs() < 0.01, "{coding} {file}: {known:?}");
        assert!(known[0].clips().all(|clip| !clip.truncated) && known[0].media_skipped.is_none(), "{coding} {file}");
    }
}

/// Works with: cameras | a codec that changes every second | what no file takes is left out until the event goes on in another one, 30 s after it began; event.json says so
#[test]
fn a_camera_that_changes_its_codec_all_the_time_leaves_a_gap_that_is_noted() {
    let x265 = "-c:v libx265 -preset ultrafast -x265-params log-level=error:bframes=0 -pix_fmt yuv420p";
    let streams = [X264, x265].map(|coding| packets(&format!("size=96x64 -frames:v 10 {coding}"), "a.mp4"));
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    record_in_turn(&archive, &streams, 40, 32);
    let [first, second] = &over(&archive, 2)[..] else { panic!("two events") };
    assert_eq!((first.clips().count(), first.media_skipped), (MOST_CLIPS, Some(MediaSkipped::CodecChanges)));
    assert!(first.clips().last().expect("clips").truncated && (seconds(first) - 4.0).abs() < 0.01, "{first:?}");
    assert_eq!((second.continues, second.clips().count()), (Some(first.id), MOST_CLIPS));
    let begun = second.clip.as_ref().map(|clip| clip.start.mono_ns / MS);
    assert_eq!((begun, second.media_skipped), (Some(35_000), Some(MediaSkipped::CodecChanges)));
    let text = fs::read_to_string(archive.layout.folder("yard", first.id).join(SIDECAR)).expect("a sidecar");
    assert!(text.contains("\"media_skipped\": \"codec_changes\""), "{text}");
    assert_eq!(archive.store.events().find(&store::Query::default()).wait().expect("events").len(), 2);
}

/// Works with: disks | a disk that is full when an event has to go on in another one | the event goes on in the other one, or is completed, as soon as there is room
#[test]
fn an_event_that_cannot_go_on_in_another_one_for_want_of_room_is_completed_later() {
    for ends_meanwhile in [false, true] {
        let dir = tempfile::tempdir().expect("tempdir");
        let (archive, clock) = archive_and_clock(dir.path());
        let streams = day_and_night(20);
        let recorder = Recorder::start(archive.clone(), "yard".into(), RecordConfig::default(), Reception::unknown())
            .expect("recorder");
        let open = event(1, "open");
        // Ten seconds of each.
        let play = |piece: u64| {
            for packet in timed(&streams[usize::from(piece % 2 == 1)], 5000 + piece * 10_000, 500) {
                recorder.packet(&packet);
                if packet.at == at(5000) {
                    recorder.begin(open.clone(), look(5000));
                }
            }
        };
        (0..MOST_CLIPS as u64).for_each(play);
        let folder = archive.layout.folder("yard", open.id);
        let last_file = folder.join(Clip::file_name(MOST_CLIPS - 1));
        block_until("the last file is begun", || last_file.exists());
        // Updates are due.
        clock.advance(Duration::from_secs(2));
        // The next attempt to write the sidecar finds the disk full.
        let draft = folder.join(".event.json.tmp");
        std::os::unix::fs::symlink("/dev/full", &draft).expect("a link");
        play(MOST_CLIPS as u64);
        block_until("the draft is gone", || fs::symlink_metadata(&draft).is_err());
        // What is sent behind the attempt is seen in the index once the attempt is over.
        let (label, zones) = (open.label.clone(), Vec::new());
        recorder.update(open.id, Change { label, score: 0.95, count: 1, labels: Vec::new(), zones, look: None });
        block_until("the event is updated", || {
            archive.store.events().get(open.id).wait().expect("read").is_some_and(|known| known.score > 0.9)
        });
        if ends_meanwhile {
            recorder.end(open.id, at(50_000));
        }
        clock.advance(Duration::from_secs(5));
        play(MOST_CLIPS as u64 + 1);
        over(&archive, 1);
        recorder.stop();
        let known = over(&archive, if ends_meanwhile { 1 } else { 2 });
        let first = &known[0];
        assert_eq!(
            (first.id, first.clips().count(), first.media_skipped),
            (open.id, MOST_CLIPS, Some(MediaSkipped::NoSpace))
        );
        assert!(first.clips().last().expect("clips").truncated && (seconds(first) - 40.0).abs() < 0.01, "{first:?}");
        assert_eq!(read_event(&folder).expect("a sidecar"), *first);
        let state = if ends_meanwhile { EventState::Ended } else { EventState::Interrupted };
        assert_eq!((first.state, known.len()), (state, if ends_meanwhile { 1 } else { 2 }));
        if let Some(second) = known.get(1) {
            assert_eq!((second.continues, second.clips().count()), (Some(open.id), 1), "{second:?}");
        }
        assert_eq!(archive.store.events().open().expect("read"), Vec::new());
    }
}

#[test]
fn an_event_with_all_its_files_fits_into_the_index_also_when_they_are_deleted() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let mut ended = event(1, "ended");
    (ended.camera, ended.rule, ended.site) =
        ("entrance of the yard".into(), "a person at night".into(), "north".into());
    ended.zones = vec!["driveway".into(), "gate".into(), "steps".into()];
    let media = |file: String| MediaFile::new(file, 123_456_789, "0123456789abcdef".repeat(4));
    ended.pictures = ["snapshot.jpg", "snapshot-boxes.jpg", "thumb.jpg"].map(|name| media(name.to_owned())).to_vec();
    let start = Moment { boot_id: "01234567-89ab-cdef-0123-456789abcdef".into(), ..ended.start.clone() };
    ended.set_clips((0..MOST_CLIPS).map(|n| Clip {
        media: media(Clip::file_name(n)),
        start: start.clone(),
        duration_s: 123.456_789,
        codec: "h264".into(),
        width: 2560,
        height: 1440,
        truncated: false,
    }));
    let part = |n| SharedClip {
        event: EventId::from_bytes([n; 16]),
        file: Clip::file_name(1),
        after_s: -12.345,
        offset_s: 123.456,
        duration_s: 12.345,
    };
    ended.shares = (1..).map(part).take(MOST_PARTS).collect();
    let record =
        |event: &Event| archive.store.events().record(store::Change { event: event.clone(), deliveries: Vec::new() });
    record(&ended).expect("fits");
    assert_eq!(archive.store.events().get(ended.id).wait().expect("read").as_ref(), Some(&ended), "whole");
    let (at, reason, delivered) = (start, EvictReason::MinFree, true);
    let gone = |media: &MediaFile| Evicted { media: media.clone(), at: at.clone(), reason, delivered };
    let evicted = ended.media().map(gone).collect();
    // Long names leave less room: the index keeps a part of the lists then.
    let zones = vec![Arc::from("the part of the yard that lies behind the gate ".repeat(2)); 8];
    let deleted = Event { evicted, zones, clip: None, more_clips: Vec::new(), pictures: Vec::new(), ..ended };
    record(&deleted).expect("fits");
    let known = archive.store.events().get(deleted.id).wait().expect("read").expect("there");
    assert!(known.evicted.len() >= 2 && deleted.evicted.starts_with(&known.evicted), "{known:?}");
}

#[test]
fn a_stop_closes_what_is_open_while_others_have_handles() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let (config, reception) = (RecordConfig::default(), Reception::unknown());
    let recorder = Arc::new(Recorder::start(archive.clone(), "yard".into(), config, reception).expect("recorder"));
    let other = recorder.clone();
    let open = event(1, "open");
    recorder.begin(open.clone(), look(5000));
    recorder.stop();
    let closed = archive.store.events().get(open.id).wait().expect("read").expect("there");
    assert_eq!(closed.state, EventState::Interrupted, "before the stop returns");
    other.stop();
}
