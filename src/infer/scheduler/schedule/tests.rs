//! The rules on chosen and on random histories. No thread runs here, and time is a number.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;
const MOST: usize = 3;

/// A job with a number of its own.
#[derive(Clone, Debug)]
struct Numbered {
    id: u64,
    cancelled: Rc<Cell<bool>>,
}

impl Schedulable for Numbered {
    fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }
}

fn job(id: u64) -> Numbered {
    Numbered { id, cancelled: Rc::default() }
}

fn ids(jobs: Vec<Numbered>) -> Vec<u64> {
    jobs.into_iter().map(|job| job.id).collect()
}

fn started(schedule: &mut Schedule<Numbered>, thread: u64, now: Mono) -> Option<u64> {
    schedule.take(thread, now).map(|(job, _)| job.id)
}

fn queue(schedule: &mut Schedule<Numbered>, priority: Priority, id: u64, now: Mono) {
    schedule.queue(priority, MOST, job(id), now, Mono(u64::MAX)).map_err(|(_, why)| why).expect("taken in");
}

fn offer(schedule: &mut Schedule<Numbered>, slot: u64, id: u64) -> Option<u64> {
    let older = schedule.replace(slot, job(id), Mono(0)).map_err(|(_, why)| why).expect("taken in");
    older.map(|job| job.id)
}

#[test]
fn cameras_take_turns_and_none_has_two_frames_in_work() {
    let mut schedule = Schedule::new(2);
    let [a, b] = [schedule.add_slot(), schedule.add_slot()];
    offer(&mut schedule, a, 1);
    assert_eq!(started(&mut schedule, 7, Mono(0)), Some(1));
    offer(&mut schedule, a, 2);
    assert_eq!(started(&mut schedule, 8, Mono(0)), None, "a has a frame in work already");
    offer(&mut schedule, b, 3);
    assert_eq!(started(&mut schedule, 8, Mono(0)), Some(3));
    for thread in [7, 8] {
        assert!(schedule.complete(thread).is_some());
        schedule.finish(thread, Mono(0));
    }
    let mut served = Vec::new();
    for _ in 0..6 {
        // Both always have a frame: a greedy pool would serve `a` only.
        offer(&mut schedule, a, a);
        offer(&mut schedule, b, b);
        served.push(started(&mut schedule, 7, Mono(0)).expect("a job"));
        schedule.finish(7, Mono(0));
    }
    assert_eq!(served, [a, b, a, b, a, b]);
}

#[test]
fn a_thread_whose_slot_is_gone_has_nothing_to_deliver_and_does_not_count_as_hung() {
    let mut schedule = Schedule::new(1);
    let slot = schedule.add_slot();
    offer(&mut schedule, slot, 1);
    assert_eq!(started(&mut schedule, 7, Mono(0)), Some(1));
    offer(&mut schedule, slot, 2);
    assert_eq!(ids(schedule.remove_slot(slot)), [2, 1]);
    assert!(schedule.complete(7).is_none());
    assert!(schedule.finish(7, Mono(0)).is_none());
    assert!(schedule.give_up_hung(Mono(u64::MAX), Duration::from_secs(10)).is_empty());
    assert!(matches!(schedule.replace(slot, job(3), Mono(0)), Err((_, NotTaken::NoSource))));
}

#[test]
fn a_camera_that_comes_back_has_saved_up_nothing() {
    let mut schedule = Schedule::new(1);
    let [busy, back] = [schedule.add_slot(), schedule.add_slot()];
    let mut now = Mono(0);
    let mut run = |schedule: &mut Schedule<Numbered>| {
        let id = started(schedule, 1, now).expect("a job");
        now = now + Duration::from_millis(100);
        schedule.finish(1, now);
        id
    };
    for _ in 0..600 {
        offer(&mut schedule, busy, busy);
        run(&mut schedule);
    }
    let mut served = Vec::new();
    for _ in 0..6 {
        offer(&mut schedule, busy, busy);
        offer(&mut schedule, back, back);
        served.push(run(&mut schedule));
    }
    assert_eq!(served.iter().filter(|id| **id == busy).count(), 3, "{served:?}");
}

#[test]
fn people_go_before_programs_which_get_every_fourth_turn() {
    let mut schedule = Schedule::new(1);
    let mut served = Vec::new();
    for id in 0..8 {
        for priority in [Priority::Person, Priority::Program] {
            if schedule.waiting(priority) == 0 {
                queue(&mut schedule, priority, id, Mono(0));
            }
        }
        let other = schedule.waiting(Priority::Program);
        started(&mut schedule, 1, Mono(0)).expect("a job");
        served.push(if schedule.waiting(Priority::Program) < other { 'p' } else { 'P' });
        schedule.finish(1, Mono(0));
    }
    assert_eq!(served.into_iter().collect::<String>(), "PPPpPPPp");
}

#[test]
fn a_full_queue_says_how_many_wait_and_each_priority_has_its_own() {
    let mut schedule = Schedule::new(1);
    for id in 0..MOST as u64 {
        queue(&mut schedule, Priority::Program, id, Mono(0));
    }
    let refused = schedule.queue(Priority::Program, MOST, job(9), Mono(0), Mono(u64::MAX));
    assert_eq!(refused.map_err(|(job, why)| (job.id, why)), Err((9, NotTaken::Full(MOST))));
    queue(&mut schedule, Priority::Person, 10, Mono(0));
    assert_eq!(Priority::ALL.map(|priority| schedule.waiting(priority)), [0, 1, MOST]);
    assert_eq!(ids(schedule.clear()), [10, 0, 1, 2]);
}

#[test]
fn a_hung_job_comes_back_and_its_camera_goes_on() {
    let mut schedule = Schedule::new(2);
    let slot = schedule.add_slot();
    offer(&mut schedule, slot, 1);
    queue(&mut schedule, Priority::Person, 2, Mono(0));
    assert_eq!((started(&mut schedule, 1, Mono(5)), started(&mut schedule, 2, Mono(7))), (Some(1), Some(2)));
    offer(&mut schedule, slot, 3);
    let hung = schedule.give_up_hung(Mono(MS + 6), Duration::from_millis(1));
    let hung: Vec<_> = hung.into_iter().map(|hung| (hung.thread, hung.job.map(|job| job.id), hung.since)).collect();
    assert_eq!(hung, [(1, Some(1), Mono(5))]);
    assert!(schedule.complete(1).is_none(), "it came back too late");
    assert_eq!(started(&mut schedule, 3, Mono(MS + 6)), Some(3));
}

/// What a box whose threads never rest did for each camera, and for people and programs.
#[derive(Debug, Default)]
struct Served {
    turns: u64,
    time: Duration,
    last: Duration,
    longest_pause: Duration,
}

/// One source that always has a job, which takes so long.
#[derive(Clone, Copy, Debug)]
enum Load {
    Camera(u64),
    Other(Priority, u64),
}

/// Runs a box at its limit for a minute. By turns: no time is charged, so that only the turns count.
fn saturate(threads: u64, loads: &[Load], by_turns: bool) -> Vec<Served> {
    let mut schedule = Schedule::new(threads as usize);
    let slots: Vec<u64> = loads.iter().map(|_| schedule.add_slot()).collect();
    let mut served: Vec<Served> = loads.iter().map(|_| Served::default()).collect();
    let mut in_work: BTreeMap<u64, (Mono, Mono)> = BTreeMap::new();
    let mut now = Mono(0);
    while now < Mono(60_000 * MS) {
        for (at, load) in loads.iter().enumerate() {
            match load {
                Load::Camera(_) => drop(schedule.replace(slots[at], job(at as u64), now)),
                Load::Other(priority, _) => drop(schedule.queue(*priority, 1, job(at as u64), now, Mono(u64::MAX))),
            }
        }
        for thread in 0..threads {
            if in_work.contains_key(&thread) {
                continue;
            }
            let Some((job, _)) = schedule.take(thread, now) else { continue };
            let at = job.id as usize;
            let (Load::Camera(cost) | Load::Other(_, cost)) = loads[at];
            let cost = Duration::from_millis(cost);
            let it = &mut served[at];
            it.longest_pause = it.longest_pause.max(now.since(Mono(0)) - it.last);
            (it.turns, it.time, it.last) = (it.turns + 1, it.time + cost, now.since(Mono(0)));
            in_work.insert(thread, (now, now + cost));
        }
        let Some((&thread, &(since, end))) = in_work.iter().min_by_key(|(_, (_, end))| *end) else { continue };
        in_work.remove(&thread);
        now = end;
        schedule.finish(thread, if by_turns { since } else { now });
    }
    for it in &mut served {
        it.longest_pause = it.longest_pause.max(now.since(Mono(0)) - it.last);
    }
    served
}

/// Why cameras share time and not turns: three cameras keep two and a half times the rate beside a fourth whose model
/// takes ten times as long, which still has its quarter of the time.
#[test]
fn a_camera_with_a_slow_model_slows_down_only_itself() {
    let loads = [Load::Camera(500), Load::Camera(50), Load::Camera(50), Load::Camera(50)];
    let rates = |by_turns| saturate(1, &loads, by_turns).iter().map(|it| it.turns).collect::<Vec<_>>();
    let (turns, time) = (rates(true), rates(false));
    let quarter = |cost: u64| 60_000 / 4 / cost;
    for (at, cost) in [500, 50, 50, 50].into_iter().enumerate() {
        assert!(time[at].abs_diff(quarter(cost)) <= quarter(cost) / 20 + 1, "{time:?}");
        assert!(turns[at].abs_diff(60_000 / 650) <= 2, "{turns:?}");
    }
    println!("turns a minute, slow model first: by turns {turns:?}, by time {time:?}");
}

#[test]
fn a_camera_whose_turns_take_seconds_still_waits_no_longer_than_the_others_use_up_a_second_each() {
    let loads = [&[Load::Camera(5000)][..], &[Load::Camera(50); 9]].concat();
    let served = saturate(1, &loads, false);
    let most = MOST_CHARGED * 9 + Duration::from_millis(5000 + 9 * 50);
    assert!(served[0].longest_pause <= most, "{served:?}");
    // By turns these would be 11.
    assert!(served.iter().skip(1).all(|it| it.turns >= 70), "{served:?}");
}

#[derive(Clone, Debug)]
enum Op {
    Frame(usize),
    Submit(Priority, u64),
    Cancel(u64),
    Pass(u64),
    Start(u64),
    End(u64),
    GiveUp,
    Unplug(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let priority = prop_oneof![Just(Priority::Person), Just(Priority::Program)];
    let op = prop_oneof![
        6 => (0..3usize).prop_map(Op::Frame),
        4 => (priority, 0..5000u64).prop_map(|(priority, within)| Op::Submit(priority, within)),
        1 => (0..60u64).prop_map(Op::Cancel),
        6 => (0..900u64).prop_map(Op::Pass),
        8 => (0..3u64).prop_map(Op::Start),
        8 => (0..3u64).prop_map(Op::End),
        1 => Just(Op::GiveUp),
        1 => (0..12usize).prop_map(Op::Unplug),
    ];
    prop::collection::vec(op, 1..200)
}

/// What the test knows of the jobs, by its own book-keeping.
#[derive(Default)]
struct Books {
    /// Where each job came from: the slot, or the priority.
    from: BTreeMap<u64, SourceId>,
    jobs: BTreeMap<u64, Numbered>,
    start_by: BTreeMap<u64, Mono>,
    since: BTreeMap<u64, Mono>,
    newest: BTreeMap<u64, u64>,
    waiting: Vec<u64>,
    running: BTreeMap<u64, (u64, Mono)>,
    left: BTreeMap<u64, &'static str>,
    others_due: Mono,
}

impl Books {
    fn leave(&mut self, id: u64, how: &'static str) {
        self.waiting.retain(|waiting| *waiting != id);
        assert_eq!(self.left.insert(id, how), None, "job {id} left twice");
    }

    fn is_other(&self, id: u64) -> bool {
        matches!(self.from[&id], SourceId::Queue(_))
    }

    fn others_in_work(&self) -> usize {
        self.running.values().filter(|(id, _)| self.is_other(*id)).count()
    }

    fn camera_waits(&self) -> bool {
        let is_free = |id: &u64| self.running.values().all(|(running, _)| self.from[running] != self.from[id]);
        self.waiting.iter().any(|id| !self.is_other(*id) && is_free(id))
    }

    fn check_start(&self, id: u64, threads: usize, now: Mono) {
        assert!(self.waiting.contains(&id));
        if let SourceId::Slot(slot) = self.from[&id] {
            assert_eq!(self.newest[&slot], id, "the newest frame wins");
            assert!(self.running.values().all(|(running, _)| self.from[running] != self.from[&id]), "one in work");
            return;
        }
        assert!(self.start_by[&id] > now && !self.jobs[&id].cancelled.get());
        assert!(self.others_in_work() < threads.saturating_sub(1).max(1), "cameras keep a thread");
        if self.camera_waits() {
            let longest =
                self.waiting.iter().filter(|id| self.is_other(**id)).map(|id| now.since(self.since[id])).max();
            assert!(longest >= Some(OVERTAKES_AFTER), "cameras first");
            assert!(self.others_in_work() == 0 && now >= self.others_due, "no more than its share");
        }
    }

    /// A run that was given up is charged as a short one: another thread takes its place.
    fn end(&mut self, thread: u64, now: Mono, given_up: bool) {
        let Some((id, since)) = self.running.remove(&thread) else { return };
        if self.is_other(id) {
            let charged = if given_up { MOST_CHARGED } else { now.since(since) };
            self.others_due = self.others_due.max(now + charged * CAMERA_SHARE);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn in_any_history_each_job_leaves_once_and_the_rules_hold(threads in 1..4usize, ops in ops()) {
        let mut schedule = Schedule::new(threads);
        let mut slots: Vec<u64> = (0..3).map(|_| schedule.add_slot()).collect();
        let (mut books, mut now, mut next) = (Books::default(), Mono(0), 0u64);
        for op in ops {
            match op {
                Op::Frame(at) => {
                    let slot = slots[at];
                    books.from.insert(next, SourceId::Slot(slot));
                    let older = schedule.replace(slot, job(next), now).map_err(|(_, why)| why).expect("a slot");
                    if let Some(older) = older {
                        assert_eq!(books.newest[&slot], older.id);
                        books.leave(older.id, "replaced");
                    }
                    books.newest.insert(slot, next);
                    books.waiting.push(next);
                    next += 1;
                }
                Op::Submit(priority, within) => {
                    let (job, start_by) = (job(next), now + Duration::from_millis(within));
                    books.from.insert(next, SourceId::Queue(priority));
                    books.jobs.insert(next, job.clone());
                    books.start_by.insert(next, start_by);
                    books.since.insert(next, now);
                    let here = |id: &&u64| books.from[*id] == SourceId::Queue(priority);
                    let before = books.waiting.iter().filter(here).count();
                    match schedule.queue(priority, MOST, job, now, start_by) {
                        Ok(()) => books.waiting.push(next),
                        Err((job, why)) => {
                            assert_eq!((job.id, why, before), (next, NotTaken::Full(MOST), MOST));
                            books.leave(next, "refused");
                        }
                    }
                    assert!(schedule.waiting(priority) <= MOST);
                    next += 1;
                }
                Op::Cancel(id) => {
                    if let Some(job) = books.jobs.get(&id) {
                        job.cancelled.set(true);
                    }
                }
                Op::Pass(ms) => now = now + Duration::from_millis(ms),
                Op::Start(thread) => {
                    if thread >= threads as u64 || books.running.contains_key(&thread) {
                        continue;
                    }
                    for (job, why) in schedule.sweep(now) {
                        let is_over = job.cancelled.get() || books.start_by[&job.id] <= now;
                        assert!(is_over && (why == Skipped::Cancelled) == job.cancelled.get());
                        books.leave(job.id, "skipped");
                    }
                    match started(&mut schedule, thread, now) {
                        Some(id) => {
                            books.check_start(id, threads, now);
                            books.waiting.retain(|waiting| *waiting != id);
                            books.running.insert(thread, (id, now));
                        }
                        None => {
                            assert!(!books.camera_waits(), "a thread rests while a camera waits");
                            let others = books.waiting.iter().any(|id| books.is_other(*id));
                            let all = books.others_in_work() >= threads.saturating_sub(1).max(1);
                            assert!(!others || all, "a thread rests while other work waits");
                        }
                    }
                }
                Op::End(thread) => {
                    if let Some(job) = schedule.complete(thread) {
                        assert_eq!(books.running[&thread].0, job.id);
                        books.leave(job.id, "answered");
                    }
                    assert!(schedule.finish(thread, now).is_none());
                    books.end(thread, now, false);
                }
                Op::GiveUp => {
                    for hung in schedule.give_up_hung(now, Duration::from_secs(2)) {
                        assert!(now.since(hung.since) > Duration::from_secs(2));
                        if let Some(job) = hung.job {
                            books.leave(job.id, "hung");
                        }
                        books.end(hung.thread, now, true);
                    }
                }
                Op::Unplug(at) => {
                    let Some(slot) = slots.get_mut(at) else { continue };
                    for job in schedule.remove_slot(*slot) {
                        assert_eq!(books.from[&job.id], SourceId::Slot(*slot));
                        books.leave(job.id, "unplugged");
                    }
                    *slot = schedule.add_slot();
                }
            }
        }
        for job in schedule.clear() {
            books.leave(job.id, "shut down");
        }
        for thread in 0..threads as u64 {
            if let Some(job) = schedule.finish(thread, now) {
                books.leave(job.id, "unfinished");
            }
        }
        assert_eq!(books.left.len() as u64, next, "each job left");
        assert!(Priority::ALL.into_iter().all(|priority| schedule.waiting(priority) == 0));
    }

    #[test]
    fn under_full_load_nothing_starves_and_cameras_keep_their_share(
        threads in 1..4u64,
        cameras in prop::collection::vec(10..1000u64, 1..6),
        person in 10..900u64,
        program in 10..900u64,
    ) {
        let others = [Load::Other(Priority::Person, person), Load::Other(Priority::Program, program)];
        let loads: Vec<Load> = cameras.iter().copied().map(Load::Camera).chain(others).collect();
        let served = saturate(threads, &loads, false);
        let (cameras, others) = served.split_at(cameras.len());
        let slowest = Duration::from_millis(1000);
        // The one before it may have been the longest; then a thread must become free, for each job that goes first.
        let round = OVERTAKES_AFTER.max(slowest * CAMERA_SHARE) + slowest * 2;
        assert!(others[0].longest_pause <= round * 2, "people: {served:?}");
        assert!(others[1].longest_pause <= round * (PEOPLE_IN_A_ROW + 1), "programs: {served:?}");
        for camera in cameras {
            let most = MOST_CHARGED * 2 * cameras.len() as u32 + slowest * 4;
            assert!(camera.longest_pause <= most, "{served:?}");
        }
        let all_busy = cameras.len() as u64 > threads;
        let other_time = others.iter().map(|it| it.time).sum::<Duration>();
        if all_busy {
            assert!(other_time <= Duration::from_secs(6) + slowest * 2, "more than a tenth: {served:?}");
        }
        if threads == 1 && all_busy {
            let times = || cameras.iter().map(|it| it.time);
            let (least, most) = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
            assert!(most - least <= slowest * 2, "an equal share of time: {served:?}");
        }
    }
}
