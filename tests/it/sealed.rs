//! Sealed destinations: what is in the bucket opens with the key, and with nothing else.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::clouds::{expected, outlet, wait_for_empty_queue};
use crate::harness::bucket::S3Server;
use crate::harness::clips::Lamp;
use crate::harness::config::Config;
use crate::harness::daemon::{Daemon, outpost};
use crate::harness::process::run;
use crate::harness::{Scratch, seconds, wait_for};

/// A key pair of age's own making: the file with the private key, and the public one.
fn key_pair(scratch: &Scratch, name: &str) -> (String, String) {
    let file = scratch.path(name).display().to_string();
    run(Command::new("age-keygen").args(["-o", &file]));
    let text = std::fs::read_to_string(&file).expect("a key file");
    let public = text.lines().find_map(|line| line.strip_prefix("# public key: ")).expect("a public key");
    (file, public.to_owned())
}

fn by_age(key: &str, sealed: &Path) -> Vec<u8> {
    let output = Command::new("age").args(["--decrypt", "-i", key]).arg(sealed).output().expect("run age");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What `outpost unseal` says of a file, read from standard input.
fn by_outpost(key: &str, sealed: &Path) -> Result<Vec<u8>, String> {
    let input = std::fs::File::open(sealed).expect("a sealed file");
    let program = crate::harness::daemon::PROGRAM;
    let output = Command::new(program).args(["unseal", "-i", key]).stdin(Stdio::from(input)).output();
    let output = output.expect("run outpost");
    if output.status.success() { Ok(output.stdout) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn clips_and_pictures_are_sealed_over_a_crash_in_mid_file_and_open_with_either_key() {
    let scratch = Scratch::new("sealed");
    let cloud = S3Server::start(&scratch);
    let [(one, to_one), (two, to_two), (stranger, _)] =
        ["one.txt", "two.txt", "other.txt"].map(|n| key_pair(&scratch, n));
    let mut config = Config::new(&scratch).uploads_to(&cloud);
    // Slow at first, so that it dies in the middle of a clip.
    const SLOW: &str = "max_kbit_per_s = 3000\nparallel = 1\n";
    config.add(&format!("seal_to = [\"{to_one}\", \"{to_two}\"]\n{SLOW}"));
    let mut daemon = Daemon::start(&scratch, config.lamp("gate", Lamp::OnceLarge));
    let copies = || std::fs::read_dir(scratch.path("box").join("sealed/cloud")).map_or(0, Iterator::count);
    wait_for("a clip to be on its way", seconds(120), || {
        let current = outlet(&daemon, "cloud")["transfers"]["current"].clone();
        let keys = current.as_array().into_iter().flatten().filter_map(|transfer| transfer["key"].as_str());
        if keys.into_iter().any(|key| key.ends_with("/clip.mp4.age")) && copies() > 0 {
            Ok(())
        } else {
            Err(current.to_string())
        }
    });
    let file = scratch.path("outpost.toml");
    let text = std::fs::read_to_string(&file).expect("the configuration");
    std::fs::write(&file, text.replace(SLOW, "")).expect("write the configuration");
    daemon.crash_and_restart();
    // It plays its clip once more.
    let events = wait_for("the clip to end and its events to be over", seconds(90), || {
        let finished = daemon.json("/api/v1/status")["cameras"][0]["state"] == "finished";
        let events = daemon.events();
        // Those of before are interrupted.
        let over = events.iter().all(|event| event["state"] != "open");
        if finished && over { Ok(events) } else { Err(format!("finished: {finished}, {} events", events.len())) }
    });
    wait_for_empty_queue(&daemon, "cloud");

    let plain = expected(&scratch, &events);
    let sealed: BTreeMap<String, _> = cloud.objects();
    let names = plain.keys().map(|key| if key.ends_with(".json") { key.clone() } else { format!("{key}.age") });
    assert_eq!(sealed.keys().cloned().collect::<Vec<_>>(), names.collect::<Vec<_>>(), "nothing else is there");
    let fetched = scratch.path("fetched.age");
    for (key, object) in plain.iter().filter(|(key, _)| !key.ends_with(".json")).take(8) {
        std::fs::write(&fetched, cloud.fetch(&format!("{key}.age"))).expect("keep an object");
        let path: std::path::PathBuf =
            key.splitn(6, '/').nth(5).map(|rest| scratch.path("box").join("archive").join(rest)).expect("a key");
        let original = std::fs::read(path).expect("the original");
        assert_eq!(original.len() as u64, object.bytes);
        assert!(by_age(&one, &fetched) == original && by_age(&two, &fetched) == original, "{key}");
        assert!(by_outpost(&one, &fetched).expect("open") == original, "{key}");
        let bytes = std::fs::read(&fetched).expect("an object");
        let middle = original.len() / 2;
        let piece = &original[middle..(middle + 64).min(original.len())];
        assert!(!bytes.windows(piece.len()).any(|window| window == piece), "{key} can be read");
    }
    let said = by_outpost(&stranger, &fetched).expect_err("another key");
    assert!(said.contains("sealed to other keys"), "{said}");
    let output = scratch.path("opened");
    std::fs::create_dir(&output).expect("a folder");
    let paths = [&fetched, &output].map(|path| path.display().to_string());
    let opened = outpost(&["unseal", "--identity", &two, "--output", &paths[1], &paths[0]]);
    assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
    assert!(std::fs::read(output.join("fetched")).expect("an opened file") == by_age(&one, &fetched));
    let again = outpost(&["unseal", "--identity", &two, "--output", &paths[1], &paths[0]]);
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("is there already"));
    wait_for(
        "the copies to be deleted",
        seconds(30),
        || if copies() == 0 { Ok(()) } else { Err(copies().to_string()) },
    );
    assert!(daemon.terminate().success());
}
