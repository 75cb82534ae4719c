//! While there is no link, at a stop between any two steps, and when there is no room for more.

use std::collections::BTreeSet;

use anyhow::bail;

use super::*;
use crate::destination::Destination;
use crate::destination::destination;

/// The newest version of every event: its count by its id.
fn newest(cloud: &Cloud) -> BTreeMap<String, String> {
    table(cloud, Table::Events).into_iter().map(|row| (row["event"].clone(), row["count"].clone())).collect()
}

fn expected(counts: &[(u128, u32)]) -> BTreeMap<String, String> {
    counts.iter().map(|(n, count)| (event(*n, "2026/11/21").id.to_string(), count.to_string())).collect()
}

#[test]
fn days_without_a_link_leave_few_files_and_every_row() {
    let site = Site::new();
    let (mut a, mut b) = (Cloud::new(), Cloud::new());
    let mut lake = site.lake();
    let (mut counts, mut most) = (Vec::new(), 0);
    for n in 0..72_u32 {
        let day = ["2026/11/22", "2026/11/23", "2026/11/24", "2026/11/25"][(n as usize + 10) / 24];
        site.record(&Event { count: n, ..event(u128::from(n), day) });
        counts.push((u128::from(n), n));
        site.clock.advance(HOUR);
        lake.look().expect("look");
        most = most.max(site.files().len());
        // One destination sees the first day.
        if n == 20 {
            site.send("upload/b", &mut b);
        }
    }
    assert!(most <= 3 * 9 + 3, "{most} files at once");
    let waiting: Vec<String> = site.files().into_iter().filter(|path| path.contains("/events/")).collect();
    let of_past = waiting.iter().filter(|path| !path.contains("date=2026-11-25")).count();
    // Those that one destination has and the other lacks stay apart from those that both lack.
    assert!(of_past <= 5, "{waiting:?}");
    site.send("upload/a", &mut a);
    site.send("upload/b", &mut b);
    for cloud in [&a, &b] {
        assert_eq!(newest(cloud), expected(&counts));
        assert_eq!(table(cloud, Table::Events).len(), counts.len(), "no row came twice");
    }
    lake.look().expect("look");
    assert_eq!(site.files(), Vec::<String>::new());
}

/// Lets the lake stop at its `stop`-th step. Returns whether it came to that.
fn stop_at(lake: &mut Lake, stop: usize) -> bool {
    let mut step = 0;
    lake.between_steps = Box::new(move || {
        step += 1;
        if step == stop { bail!("stopped") } else { Ok(()) }
    });
    match lake.look() {
        Ok(()) => false,
        Err(failure) => {
            assert_eq!(failure.to_string(), "stopped");
            true
        }
    }
}

#[test]
fn a_stop_between_any_two_steps_loses_nothing_and_rewrites_nothing() {
    let mut stops = 0;
    for stop in 1.. {
        let mut site = Site::new();
        let mut cloud = Cloud::new();
        write_account(&site, &account(&site, "2026-11-20", "unplugged"));
        let mut lake = site.lake();
        // Two files of a day that is over wait, so that merging is among the steps.
        for n in 0..2 {
            site.record(&event(n, "2026/11/20"));
            site.clock.advance(HOUR);
            if n == 0 {
                lake.look().expect("look");
            }
        }
        site.record(&Event { count: 9, ..event(0, "2026/11/20") });
        let stopped = stop_at(&mut lake, stop);
        drop(lake);
        // Some of it may have gone out before the next start.
        if stop % 2 == 0 {
            site.send("upload/a", &mut cloud);
        }
        site = site.restart();
        let mut lake = site.lake();
        site.clock.advance(HOUR);
        lake.look().expect("look");
        site.send("upload/a", &mut cloud);
        assert_eq!(newest(&cloud), expected(&[(0, 9), (1, 1)]), "stopped at step {stop}");
        let days: BTreeSet<_> = all(&table(&cloud, Table::Coverage), "from_at").into_iter().collect();
        assert_eq!(days.len(), 2, "stopped at step {stop}");
        assert!(table(&cloud, Table::Events).len() <= 2 * 3, "stopped at step {stop}");
        let mut other = Cloud::new();
        site.send("upload/b", &mut other);
        assert_eq!(newest(&other), newest(&cloud), "stopped at step {stop}");
        lake.look().expect("look");
        assert_eq!(site.files(), Vec::<String>::new(), "stopped at step {stop}");
        if !stopped {
            break;
        }
        stops += 1;
    }
    assert!(stops >= 8, "{stops} steps");
}

#[test]
fn what_was_given_up_stays_for_another_try() {
    let site = Site::new();
    let mut lake = site.lake();
    site.record(&event(1, "2026/11/21"));
    site.clock.advance(HOUR);
    lake.look().expect("look");
    let path = site.files()[0].clone();
    for name in CLOUDS {
        let outbox = site.store.outboxes().get(&destination(name)).expect("outbox");
        for lease in site.runtime.block_on(outbox.lease(100)).expect("lease") {
            let refused = matches!(&lease.item, Delivery::Document(document) if document.path == path);
            let settle =
                async { if refused { outbox.dead_letter(&lease, "no").await } else { outbox.ack(&lease).await } };
            site.runtime.block_on(settle).expect("settle");
        }
    }
    lake.look().expect("look");
    assert_eq!(site.files(), std::slice::from_ref(&path));
    for name in CLOUDS {
        let outbox = site.store.outboxes().get(&destination(name)).expect("outbox");
        for letter in site.runtime.block_on(outbox.dead_letters(10)).expect("letters") {
            site.runtime.block_on(outbox.discard(letter.seq)).expect("discard");
        }
    }
    lake.look().expect("look");
    assert_eq!(site.files(), Vec::<String>::new());
}

#[test]
fn with_too_much_on_the_box_the_least_precious_goes() {
    let mut site = Site::new();
    let mut lake = site.lake();
    for n in 0..30 {
        site.record(&event(n, "2026/11/21"));
        site.clock.advance(HOUR);
        lake.look().expect("look");
    }
    let bytes = |site: &Site| -> u64 { LakeFolder::new(site.dir.path()).pieces().iter().map(|(_, bytes)| bytes).sum() };
    let before = site.files();
    site.max_bytes = bytes(&site) - 1;
    site.lake().look().expect("look");
    assert!(bytes(&site) <= site.max_bytes);
    let files = site.files();
    let gone: Vec<&String> = before.iter().filter(|path| !files.contains(path)).collect();
    assert!(gone.len() == 1 && gone[0].starts_with("lake/health/date=2026-11-22"), "{gone:?}");
    let mut cloud = Cloud::new();
    site.send("upload/a", &mut cloud);
    assert_eq!(table(&cloud, Table::Events).len(), 30, "events go last: {files:?}");
}

#[test]
fn nothing_is_written_while_there_is_no_room() {
    let site = Site::new();
    let mut lake = site.lake();
    lake.deps.may_write = Arc::new(|| Ok(false));
    site.record(&event(1, "2026/11/21"));
    site.clock.advance(HOUR * 2);
    lake.look().expect("look");
    assert!(!site.dir.path().join(FOLDER).exists());
    assert_eq!(site.store.outboxes().count_items(&Destination::Lake).expect("count"), 1);
}
