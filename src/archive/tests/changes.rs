//! Cameras that change their parameters while an event is recorded.

use std::process::Command;
use std::time::Instant;

use super::super::clip_files::ClipFiles;
use super::super::footage;
use super::super::mux::tests::packets;
use super::super::recording::uploads;
use super::*;
use crate::clock::Moment;
use crate::detection::BBox;
use crate::event::{Clip, EvictReason, Evicted, MOST_CLIPS, MediaFile};
use crate::frame::{Frame, Packet, Rgb};

const X264: &str = "-c:v libx264 -preset ultrafast -g 20 -bf 0 -pix_fmt yuv420p";
const MS: u64 = 1_000_000;

/// Streams of two sizes, a key frame with the first picture and each 20.
fn day_and_night(pictures: u32) -> [Vec<Packet>; 2] {
    ["160x96", "96x64"].map(|size| packets(&format!("size={size} -frames:v {pictures} {X264}"), "a.mp4"))
}

fn at(ms: u64) -> Mono {
    Mono(ms * MS)
}

/// The same pictures, from `from_ms` on and `step_ms` apart.
fn timed(packets: &[Packet], from_ms: u64, step_ms: u64) -> Vec<Packet> {
    let times = (0..).map(|n| at(from_ms + n * step_ms));
    packets.iter().zip(times).map(|(packet, at)| Packet { at, ..packet.clone() }).collect()
}

fn look(ms: u64) -> Look {
    let picture = Arc::new(Rgb { width: 64, height: 36, data: vec![90; 64 * 36 * 3] });
    Look { frame: Frame { at: at(ms), picture }, bbox: BBox { x: 0.4, y: 0.4, w: 0.2, h: 0.4 }, score: 0.8 }
}

/// Waits until the index has as many events that are over.
fn over(archive: &Archive, events: usize) -> Vec<Event> {
    let begun = Instant::now();
    loop {
        let mut known = archive.store.events(&store::Query::default()).expect("events");
        known.retain(|event| event.state != EventState::Open);
        if known.len() >= events {
            known.sort_by_key(|event| event.id);
            return known;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{known:?}");
        std::thread::yield_now();
    }
}

/// Decodes the files of an event's clip; gives their names, sizes and pictures.
fn played(archive: &Archive, event: &Event) -> Vec<(String, u32, usize)> {
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
    let recorder = Recorder::start(archive.clone(), "yard".into(), config).expect("recorder");
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

    // Everybody who deals with files knows of all of them.
    let folder = archive.layout.folder("yard", ended.id);
    assert_eq!(read_event(&folder).expect("a sidecar"), ended);
    assert_eq!(queued(&archive, "upload/cloud"), 7, "event.json, three pictures, three files of the clip");
    let held = archive.store.files_of(ended.id).expect("the catalogue");
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
    let known = rebuilt.store.event(ended.id).expect("read").expect("there");
    assert_eq!(known.clips().collect::<Vec<_>>(), ended.clips().filter(|c| c.width == 160).collect::<Vec<_>>());
    assert_eq!(queued(&rebuilt, "upload/cloud"), 6);
    let sidecar = super::super::sidecar::measure(&copy, SIDECAR).expect("measure");
    assert_eq!(uploads(&known, sidecar).len(), 6);
}

#[test]
fn a_stop_in_the_second_file_of_a_clip_costs_neither() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let [day, night] = day_and_night(70);
    let open = event(1, "open");
    put_sidecar(&archive, &open);
    archive.store.record(store::Change { event: open.clone(), deliveries: Vec::new() }).expect("record");
    let folder = archive.layout.folder("yard", open.id);
    let mut clip = ClipFiles::none(&folder, &archive.config.encoder);
    clip.begin().expect("a file");
    for packet in timed(&day[..30], 4000, 100).iter().chain(&timed(&night[..45], 7000, 100)) {
        clip.write(packet).expect("write");
    }
    // As a kill leaves it.
    std::mem::forget(clip);
    recover(&archive, id(10), &mut |_| ()).expect("recover");
    let closed = archive.store.event(open.id).expect("read").expect("there");
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
    let recorder = Recorder::start(archive.clone(), "yard".into(), RecordConfig::default()).expect("recorder");
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

#[test]
fn a_camera_that_changes_its_parameters_all_the_time_makes_no_flood_of_events() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let streams = day_and_night(10);
    let recorder = Recorder::start(archive.clone(), "yard".into(), RecordConfig::default()).expect("recorder");
    let open = event(1, "open");
    for piece in 0..10 {
        for packet in timed(&streams[usize::from(piece % 2 == 1)], 5000 + piece * 1000, 100) {
            recorder.packet(&packet);
            if packet.at == at(5000) {
                recorder.begin(open.clone(), look(5000));
            }
        }
    }
    recorder.end(open.id, at(15_000));
    recorder.stop();
    let known = over(&archive, 1);
    assert_eq!((known.len(), known[0].clips().count()), (1, MOST_CLIPS));
    assert!(known[0].clips().last().expect("clips").truncated, "it says that it lacks the rest");
}

#[test]
fn an_event_with_all_its_files_fits_into_the_index_also_when_they_are_deleted() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let mut ended = event(1, "ended");
    (ended.camera, ended.rule, ended.site) =
        ("entrance of the yard".into(), "somebody at night".into(), "north".into());
    ended.zones = vec!["driveway".into(), "gate".into(), "steps".into()];
    let media = |file: String| MediaFile { file, bytes: 123_456_789, sha256: "0123456789abcdef".repeat(4) };
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
    let record = |event: &Event| archive.store.record(store::Change { event: event.clone(), deliveries: Vec::new() });
    record(&ended).expect("fits");
    assert_eq!(archive.store.event(ended.id).expect("read").as_ref(), Some(&ended), "whole");
    let (at, reason, delivered) = (start, EvictReason::MinFree, true);
    let gone = |media: &MediaFile| Evicted { media: media.clone(), at: at.clone(), reason, delivered };
    let evicted = ended.media().map(gone).collect();
    // Long names leave less room: the index keeps a part of the lists then.
    let zones = vec![Arc::from("the part of the yard that lies behind the gate ".repeat(2)); 8];
    let deleted = Event { evicted, zones, clip: None, more_clips: Vec::new(), pictures: Vec::new(), ..ended };
    record(&deleted).expect("fits");
    let known = archive.store.event(deleted.id).expect("read").expect("there");
    assert!(known.evicted.len() >= 2 && deleted.evicted.starts_with(&known.evicted), "{known:?}");
}
