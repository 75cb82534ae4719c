//! Cameras with the kernel's own drivers: vivid, which is a webcam but for the glass, and v4l2loopback, which gives
//! what is fed into it.

use std::path::Path;

use crate::harness::clips::assert_sound;
use crate::harness::config::{lamp_sections, with_rules};
use crate::harness::daemon::PROGRAM;
use crate::harness::guest::{Guest, config, delivered, lamp_clip};
use crate::harness::vm::Vm;
use crate::harness::{Scratch, port, seconds, setting, wait_for};

const WEBCAM: &str = "/dev/video0";
/// Devices that give what is fed into them; each keeps to the first format that it is fed.
const FED: &str = "/dev/video7";
const ALSO_FED: &str = "/dev/video8";
const DARK: &str = "v4l2-ctl -d /dev/video0 -c brightness=0";
const LIGHT: &str = "v4l2-ctl -d /dev/video0 -c brightness=255";
/// Out of the socket, and back in.
const UNPLUG: &str = "echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind; test ! -e /dev/video0";
const PLUG: &str = "echo vivid.0 >/sys/bus/platform/drivers/vivid/bind; v4l2-ctl -d /dev/video0 -c brightness=0";

/// A machine with a webcam in the dark, and devices to feed.
fn machine(scratch: &Scratch, port: u16) -> Vm {
    let mut vm = Vm::boot(scratch, port, &[]);
    vm.sh("modprobe -d /run/guest vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0x0");
    vm.sh("modprobe -d /run/guest v4l2loopback video_nr=7,8 exclusive_caps=1,1");
    vm.sh(DARK);
    vm
}

/// Feeds a clip into a device, again and again.
fn feed(vm: &mut Vm, device: &str, clip: &Path, options: &str) {
    let log = clip.with_extension("log");
    let (clip, log) = (clip.display(), log.display());
    vm.sh(&format!(
        "setsid ffmpeg -v error -re -stream_loop -1 -i {clip} {options} -f v4l2 {device} >{log} 2>&1 & \
         echo $! >/run/feed.pid\n\
         until v4l2-ctl -d {device} --get-fmt-video >/dev/null 2>&1; do kill -0 $(cat /run/feed.pid) || exit 1; done"
    ));
}

/// An event of the webcam, made by switching the light on and off.
fn webcam_event(vm: &mut Vm, guest: &Guest, known: &mut Vec<String>) -> serde_json::Value {
    vm.sh(LIGHT);
    guest.wait_event("webcam", "open", known);
    vm.sh(DARK);
    let event = guest.wait_event("webcam", "ended", known);
    known.push(event["id"].as_str().expect("an id").to_owned());
    event
}

#[test]
fn cameras_with_the_kernels_drivers_are_recorded_and_come_back_when_plugged_in_again() {
    let scratch = Scratch::new("v4l2");
    scratch.expect_log(&["it was unplugged", "camera offline", "/dev/video0 not found"]);
    let port = port::free();
    let mut vm = machine(&scratch, port);
    let share = Vm::share(&scratch);

    // Before there is a daemon: what the installer sees.
    let snapshot = share.join("snapshot.jpg");
    let probed = vm.sh(&format!("{PROGRAM} probe {WEBCAM} --snapshot {}", snapshot.display()));
    assert!(probed.contains("coding      YUYV") && probed.contains("size        1280x720"), "{probed}");
    assert!(snapshot.exists());
    let (status, missing) = vm.run(&format!("{PROGRAM} probe /dev/video5"));
    assert_eq!(status, 1);
    let expected = "/dev/video5 not found: no such device; the devices present are /dev/video0 (vivid-000-vid-cap)";
    assert!(missing.contains(expected), "{missing}");

    let clip = lamp_clip(&scratch, "mjpeg");
    feed(&mut vm, FED, &clip, "-c copy");
    let cloud = share.join("cloud");
    let config = config(port, "/run/box", &cloud.display().to_string())
        + &lamp_sections("webcam", &format!("url = \"v4l2:{WEBCAM}\"\nwidth = 320\nheight = 180\nfps = 10"))
        + &lamp_sections("street", &format!("url = \"v4l2:{FED}\""));
    vm.sh("mkdir /run/box");
    std::fs::create_dir_all(&cloud).expect("make the destination");
    let guest = Guest::start(&mut vm, &scratch, &with_rules(&config), port);
    assert_eq!(guest.wait_camera("webcam", "online")["codec"], "YUYV");
    assert_eq!(guest.wait_camera("street", "online")["codec"], "MJPEG");

    let (status, busy) = vm.run(&format!("{PROGRAM} probe {WEBCAM}"));
    assert_eq!(status, 1);
    assert!(busy.contains("/dev/video0 is busy: outpost (process "), "{busy}");

    // From the driver's buffers to a clip in the destination.
    let mut known = Vec::new();
    let event = webcam_event(&mut vm, &guest, &mut known);
    let clip = assert_sound(&delivered(&cloud, &event, "clip.mp4"));
    assert_eq!((clip.codec.as_str(), clip.width, clip.height), ("h264", 320, 180), "{clip:?}");
    assert!(clip.duration_s >= 2.0, "pre-roll and post-roll at least: {clip:?}");
    let event = guest.wait_event("street", "ended", &[]);
    let clip = assert_sound(&delivered(&cloud, &event, "clip.mp4"));
    assert_eq!((clip.codec.as_str(), clip.width, clip.height), ("h264", 320, 240), "{clip:?}");

    for round in 1..=setting("OUTPOST_UNPLUGGED", 1) {
        vm.sh(UNPLUG);
        let gone = guest.wait_camera("webcam", "offline");
        let reason = gone["reason"].as_str().expect("a reason");
        assert!(reason.starts_with("/dev/video0 ") && !reason.contains("os error"), "{reason}");
        assert_eq!(guest.camera("street").expect("status")["state"], "online", "one camera must not disturb another");
        vm.sh(PLUG);
        let back = guest.wait_camera("webcam", "online");
        assert!(back["reconnects"].as_u64() >= Some(round), "{back}");
        let event = webcam_event(&mut vm, &guest, &mut known);
        assert_sound(&delivered(&cloud, &event, "clip.mp4"));
    }
    assert!(guest.log().contains("/dev/video0 was lost: it was unplugged"), "{}", guest.log());
    guest.terminate(&mut vm);
}

#[test]
fn a_camera_that_encodes_by_itself_is_recorded_as_it_is() {
    let scratch = Scratch::new("v4l2-h264");
    // Devices that cannot be used, and a feed that ends.
    scratch.expect_log(&["camera offline", "camera degraded"]);
    let port = port::free();
    let mut vm = machine(&scratch, port);
    let share = Vm::share(&scratch);
    let cloud = share.join("cloud");
    std::fs::create_dir_all(&cloud).expect("make the destination");
    let config = config(port, "/run/box", &cloud.display().to_string())
        + &lamp_sections("street", &format!("url = \"v4l2:{FED}\""))
        + &lamp_sections("webcam", &format!("url = \"v4l2:{WEBCAM}\"\nformat = \"h264\""));
    vm.sh("mkdir /run/box");

    // Pictures that are not supported are refused by name.
    let clip = lamp_clip(&scratch, "h264");
    feed(&mut vm, ALSO_FED, &clip, "-c:v rawvideo -pix_fmt nv12");
    let (status, refused) = vm.run(&format!("{PROGRAM} probe {ALSO_FED}"));
    let expected = "/dev/video8 cannot be used: it gives NV12, but none of H264, MJPG and YUYV";
    assert!(status == 1 && refused.contains(expected), "{refused}");

    // A device without a feed cannot capture; a webcam without an encoder has no H.264: both are reported, neither ends it.
    let guest = Guest::start(&mut vm, &scratch, &with_rules(&config), port);
    let reason = |name: &str| {
        wait_for("a reason", seconds(60), || {
            let camera = guest.camera(name)?;
            camera["reason"].as_str().map(str::to_owned).ok_or_else(|| camera.to_string())
        })
    };
    assert!(reason("street").contains("does not capture video on this node"), "{}", reason("street"));
    let wrong = reason("webcam");
    assert!(wrong.contains("/dev/video0 cannot be used: it gives ") && wrong.contains("or to auto"), "{wrong}");

    feed(&mut vm, FED, &clip, "-c copy -bsf:v h264_mp4toannexb");
    assert_eq!(guest.wait_camera("street", "online")["codec"], "H.264");
    let event = guest.wait_event("street", "ended", &[]);
    let clip = assert_sound(&delivered(&cloud, &event, "clip.mp4"));
    assert_eq!((clip.codec.as_str(), clip.width, clip.height), ("h264", 320, 240), "{clip:?}");
    guest.terminate(&mut vm);
}
