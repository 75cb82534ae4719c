//! Pins, where the video of an event lies in clips of others.

use super::*;
use crate::event::SharedClip;

fn part_of(holder: &Event) -> SharedClip {
    SharedClip { event: holder.id, file: "clip.mp4".into(), after_s: 0.0, offset_s: 0.0, duration_s: 1.0 }
}

fn is_pinned(archive: &Archive, event: &Event) -> bool {
    archive.store.events().get(event.id).wait().expect("read").expect("there").pinned
}

#[test]
fn holders_of_its_video_are_pinned_before_an_event_is() {
    let bench = Bench::new();
    let archive = bench.archive(&["upload/cloud"]);
    let [first, second] = [1, 2].map(|n| put(&archive, bench.event(n, EventState::Ended), 1000));
    let shares = vec![part_of(&first), part_of(&second)];
    let event = put(&archive, Event { shares, ..bench.event(3, EventState::Ended) }, 1000);

    let folder = archive.layout.folder("yard", second.id);
    let aside = folder.with_extension("aside");
    fs::rename(&folder, &aside).expect("the disk loses the folder");
    archive.pin(event.id, true).expect_err("the video cannot be kept");
    assert!(!is_pinned(&archive, &event) && !is_pinned(&archive, &second), "nothing says that it is kept");

    fs::rename(&aside, &folder).expect("the disk has the folder");
    archive.pin(event.id, true).expect("pin");
    assert!([&first, &second, &event].iter().all(|event| is_pinned(&archive, event)));
    assert!(read_event(&folder).expect("a sidecar").pinned);

    // Of an earlier version the pin may be there without theirs.
    archive.pin(second.id, false).expect("unpin");
    archive.pin(event.id, true).expect("it is pinned already");
    assert!(is_pinned(&archive, &second));
}
