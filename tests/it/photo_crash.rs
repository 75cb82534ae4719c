//! Kills while photos come in: what was acknowledged is there, once, and a lost index gives the same library again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::dice::Dice;
use crate::harness::photos::{listed, pages, pictures, send};
use crate::harness::process::run;
use crate::harness::{Scratch, fixture, seconds, setting, wait_for};

/// Files of one request.
const TOGETHER: usize = 10;

fn originals(folder: &Path) -> usize {
    run(Command::new("find").arg(folder).args(["-name", "original.jpg"])).lines().count()
}

#[test]
fn killed_while_photos_come_in_it_has_each_that_was_acknowledged_once() {
    let number = usize::try_from(setting("OUTPOST_PHOTOS", 300)).expect("small");
    let kills = usize::try_from(setting("OUTPOST_PHOTO_KILLS", 6)).expect("small");
    let scratch = Scratch::new("photo-crash");
    let mut config =
        Config::new(&scratch).copies_to(&scratch.path("cloud")).played_once("yard", &fixture("leaves.mp4"), 4.0);
    config.add("[library]\ndetect = \"off\"\n");
    let mut daemon = Daemon::start(&scratch, config);
    let (page, mut dice) = (daemon.page(), Dice::new());
    let files: Vec<PathBuf> = pictures(&scratch).take(number).collect();
    let mut moments: Vec<usize> = (0..kills).map(|_| dice.below(number)).collect();
    moments.sort_unstable();

    let (count, again) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let acknowledged = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut acknowledged = BTreeMap::new();
            for batch in files.chunks(TOGETHER) {
                let kept = wait_for("the box to take photos in", seconds(120), || {
                    send(&page, batch).ok_or_else(|| {
                        again.fetch_add(1, Ordering::SeqCst);
                        "no answer".to_owned()
                    })
                });
                acknowledged.extend(kept);
                count.fetch_add(batch.len(), Ordering::SeqCst);
            }
            acknowledged
        });
        for moment in moments {
            wait_for("more photos", seconds(600), || {
                let now = count.load(Ordering::SeqCst);
                if now >= moment { Ok(()) } else { Err(now.to_string()) }
            });
            daemon.crash_and_restart();
        }
        sender.join().expect("the sender")
    });
    eprintln!("{number} photos, {kills} kills, {} requests without an answer", again.load(Ordering::SeqCst));

    assert_eq!(acknowledged.len(), number, "all were acknowledged in the end");
    let before = pages(daemon.port());
    let photos = listed(&before);
    let known: BTreeMap<&str, &str> =
        photos.iter().filter_map(|photo| Some((photo["name"].as_str()?, photo["id"].as_str()?))).collect();
    for (name, id) in &acknowledged {
        assert_eq!(known.get(name.as_str()), Some(&id.as_str()), "{name} was acknowledged");
    }
    let contents: BTreeSet<&str> = photos.iter().filter_map(|photo| photo["sha256"].as_str()).collect();
    assert_eq!((photos.len(), contents.len()), (number, number), "none is there twice");
    wait_for("all originals in the cloud", seconds(600), || {
        let there = originals(&scratch.path("cloud"));
        if there == number { Ok(()) } else { Err(there.to_string()) }
    });
    assert_eq!(originals(&scratch.path("box/library")), number);

    // The recovery of the last start comes to it while photos are taken in.
    wait_for("nothing half to be left", seconds(120), || {
        let left = fs::read_dir(scratch.path("box/library/incoming")).map_or(0, Iterator::count);
        if left == 0 { Ok(()) } else { Err(left.to_string()) }
    });
    assert!(daemon.terminate().success());
    fs::remove_dir_all(scratch.path("box/index")).expect("lose the index");
    scratch.expect_log(&["the index was begun afresh"]);
    daemon.start_again();
    wait_for("the library to be back", seconds(600), || {
        let now = pages(daemon.port());
        // Byte for byte.
        if now == before { Ok(()) } else { Err(format!("{} photos", listed(&now).len())) }
    });
}
