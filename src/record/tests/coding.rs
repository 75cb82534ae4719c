//! Cameras whose coding nothing here can make a clip of.

use bytes::Bytes;

use super::*;
use crate::detection::BBox;
use crate::frame::{Codec, Frame, Orientation, Packet, Rgb, StreamInfo};
use crate::health::Stage;
use crate::reception::Reception;
use crate::waiting::block_until;

/// Works with: clips | a coding that cannot be decoded, so that no clip can be made of it | keeps the event with its stills, and says on the camera why there is no clip, until one can be written
#[test]
fn a_camera_of_which_no_clip_can_be_made_says_so_beyond_the_event() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let (health, camera) = (archive.health.clone(), Arc::<str>::from("yard"));
    let recorder =
        Recorder::start(archive, camera.clone(), RecordConfig::default(), Reception::unknown()).expect("recorder");
    let stream = Arc::new(StreamInfo {
        codec: Codec::Other("smoke-signals".into()),
        width: 64,
        height: 36,
        extradata: Bytes::new(),
        fps: None,
        orientation: Orientation::default(),
    });
    let at = |second: u64| Mono(second * 1_000_000_000);
    let packet = |second| {
        let data = Bytes::from_static(b"puff");
        recorder.packet(&Packet::new(stream.clone(), at(second), true, data));
    };
    let trouble = |second| {
        let stages = health.cameras().get(&camera).cloned().unwrap_or_default().stages;
        stages.judge(at(second), true, true)
    };
    let picture = Arc::new(Rgb { width: 64, height: 36, data: vec![90; 64 * 36 * 3] });
    let bbox = BBox { x: 0.4, y: 0.4, w: 0.2, h: 0.4 };
    let event = event(1, "open");
    packet(5);
    recorder.begin(event.clone(), Look { frame: Frame { at: at(5), picture }, bbox, score: 0.8 });
    (6..10).for_each(&packet);
    recorder.end(event.id, at(9));
    // The event is over, and so is its post-roll.
    (10..60).for_each(&packet);
    block_until("it is degraded", || trouble(60).is_some());
    let trouble = trouble(60).expect("just seen");
    assert_eq!(trouble.stages, [Stage::Recording]);
    assert!(trouble.reason.ends_with("no decoder for smoke-signals"), "{}", trouble.reason);
    recorder.stop();
}
