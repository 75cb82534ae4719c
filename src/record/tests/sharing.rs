//! Events of one camera that overlap: what they show is recorded once.

use super::changes::{at, look, over, packets_of, played, timed};
use super::*;
use crate::archive::sidecar::write_event;
use crate::reception::Reception;

/// Begins and ends, in milliseconds, of the events of a camera that gives ten pictures a second, of which each twentieth is a
/// key frame. Gives the events once they are over.
fn recorded(archive: &Archive, events: &[(u64, u64)], until: u64) -> Vec<Event> {
    let roll = Duration::from_secs(2);
    let config = RecordConfig { pre_roll: roll, post_roll: roll, ..RecordConfig::default() };
    recorded_with(archive, config, events, until)
}

fn recorded_with(archive: &Archive, config: RecordConfig, events: &[(u64, u64)], until: u64) -> Vec<Event> {
    let recorder = Recorder::start(archive.clone(), "yard".into(), config, Reception::unknown()).expect("recorder");
    let known: Vec<Event> = (1..).take(events.len()).map(|n| event(n, "open")).collect();
    for packet in timed(&packets_of(usize::try_from(until / 100).expect("few")), 0, 100) {
        recorder.packet(&packet);
        for (event, (begin, end)) in known.iter().zip(events) {
            if packet.at == at(*begin) {
                let begun = Event { start: archive.clock.moment(packet.at), ..event.clone() };
                recorder.begin(begun, look(*begin));
            } else if packet.at == at(*end) {
                recorder.end(event.id, packet.at);
            }
        }
    }
    let ended = over(archive, events.len());
    recorder.stop();
    ended
}

/// Its shared parts: of which event, from where in its file and for how long, in milliseconds.
fn shares(event: &Event) -> Vec<(u8, u64, u64)> {
    let ms = |seconds: f64| (seconds * 1000.0).round() as u64;
    let of = |part: &crate::event::SharedClip| (part.event.to_bytes()[15], ms(part.offset_s), ms(part.duration_s));
    event.shares.iter().map(of).collect()
}

/// When its own clip begins, in milliseconds, and how many pictures it has.
fn own(archive: &Archive, event: &Event) -> Option<(u64, usize)> {
    let clip = event.clip.as_ref()?;
    Some((clip.start.mono_ns / 1_000_000, played(archive, event)[0].2))
}

#[test]
fn what_several_events_show_is_recorded_once() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let events = [(5000, 12_000), (8000, 10_000), (13_000, 20_000), (22_500, 24_000)];
    let ended = recorded(&archive, &events, 28_000);
    let [first, within, longer, later] = ended.as_slice() else { panic!("{ended:?}") };
    // From the key frame before the pre-roll to the post-roll's end.
    assert_eq!((own(&archive, first), shares(first)), (Some((2000, 121)), vec![]));
    assert_eq!((own(&archive, within), shares(within)), (None, vec![(1, 4000, 6000)]));
    // It goes on from the key frame at which the first one's clip ends.
    assert_eq!((own(&archive, longer), shares(longer)), (Some((14_000, 81)), vec![(1, 8000, 4000)]));
    // That clip was complete already, and the pre-roll lies in it.
    assert_eq!((own(&archive, later), shares(later)), (Some((22_000, 41)), vec![(3, 6000, 2000)]));
    assert_eq!(queued(&archive, "upload/cloud"), 4 * 4 + 3, "of each event four files, and three clips");
    for event in &ended {
        let sidecar = read_event(&archive.layout.folder("yard", event.id)).expect("a sidecar");
        assert_eq!(sidecar.shares, event.shares);
    }
}

#[test]
fn an_event_that_would_need_many_parts_is_recorded_once_more() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    // The pre-roll of each reaches over the clips of five before it.
    let events: Vec<(u64, u64)> = (0..8).map(|n| (9000 + n * 1500, 9100 + n * 1500)).collect();
    let (pre_roll, post_roll) = (Duration::from_secs(8), Duration::from_millis(100));
    let config = RecordConfig { pre_roll, post_roll, ..RecordConfig::default() };
    let ended = recorded_with(&archive, config, &events, 22_000);
    let mut longest = 0;
    for event in &ended {
        longest = longest.max(event.shares.len());
        let first = event.clip.as_ref().map(|clip| clip.start.mono_ns as f64 / 1e9);
        let start = event.start.mono_ns as f64 / 1e9;
        // One part after the other, without a gap, and its own clip behind them.
        let mut reached = start - 8.0;
        for part in &event.shares {
            assert!(start + part.after_s <= reached + 0.15, "a gap at {reached}: {event:#?}");
            reached = start + part.after_s + part.duration_s;
        }
        assert!(first.is_none_or(|first| first <= reached + 0.15), "a gap at {reached}: {event:#?}");
        assert!(first.is_some() || reached >= start + 0.1, "it ends at {reached}: {event:#?}");
    }
    assert_eq!(longest, 3, "{ended:#?}");
}

#[test]
fn one_event_after_the_other_leaves_its_clip_to_those_that_go_on() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    // Each of them begins while the one before goes on, and the last has the end to itself.
    let events = [(4000, 8000), (6000, 14_000), (7000, 21_000)];
    let ended = recorded(&archive, &events, 26_000);
    assert_eq!(
        ended.iter().map(|event| own(&archive, event)).collect::<Vec<_>>(),
        [Some((2000, 81)), Some((10_000, 61)), Some((16_000, 71))]
    );
    assert_eq!(shares(&ended[1]), [(1, 2000, 6000)]);
    assert_eq!(shares(&ended[2]), [(1, 2000, 6000), (2, 0, 6000)]);
}

#[test]
fn an_event_that_lasts_knows_its_parts_when_those_clips_are_long_forgotten() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let roll = Duration::from_secs(2);
    let max_clip = Duration::from_secs(10);
    let config = RecordConfig { pre_roll: roll, post_roll: roll, max_clip, ..RecordConfig::default() };
    // The second goes on in its own clip after the first, and lasts for longer than clips are remembered.
    let events = [(3000, 9000), (5000, 45_000), (34_000, 36_000)];
    let ended = recorded_with(&archive, config, &events, 50_000);
    assert_eq!((own(&archive, &ended[1]), shares(&ended[1])), (Some((10_000, 51)), vec![(1, 2000, 8000)]));
    assert_eq!(shares(&ended[2]), []);
}

#[test]
fn what_a_power_cut_leaves_of_events_that_share_a_clip_is_known() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let roll = Duration::from_secs(2);
    let config = RecordConfig { pre_roll: roll, post_roll: roll, ..RecordConfig::default() };
    let recorder = Recorder::start(archive.clone(), "yard".into(), config, Reception::unknown()).expect("recorder");
    let begun = |n: u128, ms: u64| Event { start: archive.clock.moment(at(ms)), ..event(n, "open") };
    let (first, within) = (begun(1, 5000), begun(2, 8000));
    for packet in timed(&packets_of(120), 0, 100) {
        recorder.packet(&packet);
        match packet.at {
            now if now == at(5000) => recorder.begin(first.clone(), look(5000)),
            now if now == at(8000) => recorder.begin(within.clone(), look(8000)),
            _ => {}
        }
    }
    let open = || archive.store.events().open().expect("read").len() == 2;
    crate::waiting::block_until("both are open", open);
    // The files as the power cut finds them.
    let left = tempfile::tempdir().expect("tempdir");
    let clip = archive.layout.folder("yard", first.id).join("clip.mp4");
    let written = || fs::metadata(&clip).is_ok_and(|at| at.len() > 0) && crate::mux::ClipReader::open(&clip).is_ok();
    crate::waiting::block_until("a part of the clip is on the disk", written);
    let other = super::archive(left.path());
    for id in [first.id, within.id] {
        let copy = other.layout.create_folder("yard", id).expect("a folder");
        for file in fs::read_dir(archive.layout.folder("yard", id)).expect("list").flatten() {
            fs::copy(file.path(), copy.join(file.file_name())).expect("copy");
        }
    }
    recorder.stop();
    let found = recover(&other, id(u128::MAX), &mut |_| ()).expect("recover");
    assert_eq!(found.interrupted, 2);
    let known = |id| other.store.events().get(id).wait().expect("read").expect("there");
    let (holder, sharer) = (known(first.id), known(within.id));
    let clip = holder.clip.as_ref().expect("a clip");
    assert!(sharer.clip.is_none());
    let [part] = sharer.shares.as_slice() else { panic!("{sharer:?}") };
    assert_eq!((part.event, part.file.as_str(), part.offset_s), (first.id, "clip.mp4", 4.0));
    assert!((part.offset_s + part.duration_s - clip.duration_s).abs() < 0.001, "{part:?} of {clip:?}");
    let end = sharer.end.expect("an end");
    assert!(end.mono_ns >= sharer.start.mono_ns && end.mono_ns == holder.end.expect("an end").mono_ns);

    // The same where the one with the clip was over already, and the index is lost.
    let lost = tempfile::tempdir().expect("tempdir");
    let fresh = super::archive(lost.path());
    for (from, id) in [(&other, first.id), (&archive, within.id)] {
        let copy = fresh.layout.create_folder("yard", id).expect("a folder");
        for file in fs::read_dir(from.layout.folder("yard", id)).expect("list").flatten() {
            fs::copy(file.path(), copy.join(file.file_name())).expect("copy");
        }
    }
    let open = Event { shares: vec![part.clone()], ..within };
    write_event(&fresh.layout.folder("yard", open.id), &open).expect("a sidecar");
    recover(&fresh, id(u128::MAX), &mut |_| ()).expect("recover");
    let again = fresh.store.events().get(open.id).wait().expect("read").expect("there");
    assert_eq!((again.shares, again.end.map(|end| end.mono_ns)), (vec![part.clone()], Some(end.mono_ns)));
}
