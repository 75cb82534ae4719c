//! The store is killed at any moment, over and over: what was acknowledged is there, what was in the making is
//! there whole or not at all.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{RngAlgorithm, TestCaseError, TestRng, TestRunner};

use super::model::{BOXES, Call, Expected, Model, Subject, call, compare};
use super::*;
use crate::destination::destination;

/// What the child is given: the folder, the seed of the calls, and with which call each run began, this one last.
const CHILD_STORE: &str = "OUTPOST_TEST_CRASHING_STORE";
const CHILD_SEED: &str = "OUTPOST_TEST_CRASHING_SEED";
const CHILD_RUNS: &str = "OUTPOST_TEST_CRASHING_RUNS";
const CALLS: usize = 150;

fn calls(seed: u64) -> Vec<Call> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(proptest::test_runner::Config::default(), rng);
    let calls = proptest::collection::vec(call(), CALLS);
    calls.new_tree(&mut runner).expect("calls").current()
}

/// Every process has to make the same ones.
fn events() -> Vec<Event> {
    let clock = simulated();
    (1..=6u128).map(|n| event(EventId::from_bytes(n.to_be_bytes()), "yard", &*clock)).collect()
}

/// The model after `calls`, with a restart before each of `runs`.
fn replay(calls: &[Call], runs: &[usize]) -> (Model, Vec<Event>) {
    let (mut model, mut events) = (Model::default(), events());
    for (n, call) in calls.iter().enumerate() {
        if runs.contains(&n) {
            model.restart();
        }
        model.apply(&mut events, call);
    }
    (model, events)
}

/// How many calls, from `from` on, the child has in the making at once: it records what follows each other together.
fn burst(calls: &[Call], from: usize) -> usize {
    let records = calls[from..].iter().take_while(|call| matches!(call, Call::Record { .. })).count();
    records.max(usize::from(from < calls.len()))
}

#[test]
fn what_was_acknowledged_survives_being_killed_at_any_moment() {
    let setting = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (first, cases) = (setting("OUTPOST_TEST_SEED").unwrap_or(1), setting("OUTPOST_TEST_CRASHES").unwrap_or(12));
    let mut killed = 0;
    for seed in first..first + cases {
        let dir = TempDir::new().expect("temp dir");
        let (calls, mut random) = (calls(seed), fastrand::Rng::with_seed(seed));
        let mut runs = vec![0];
        loop {
            let begun_with = *runs.last().expect("one at least");
            let acknowledged = begun_with + run_child(dir.path(), seed, &runs, &mut random);
            killed += u32::from(acknowledged < calls.len());
            let survived = check(dir.path(), &calls, &runs, acknowledged)
                .unwrap_or_else(|wrong| panic!("OUTPOST_TEST_SEED={seed}: after runs {runs:?}: {wrong}"));
            if survived == calls.len() {
                break;
            }
            runs.push(survived);
        }
    }
    assert!(killed > 0, "no child was killed before its end");
}

/// Kills the child somewhere. Returns how many calls it had acknowledged.
fn run_child(path: &Path, seed: u64, runs: &[usize], random: &mut fastrand::Rng) -> usize {
    let runs: Vec<String> = runs.iter().map(usize::to_string).collect();
    let mut child = Command::new(std::env::current_exe().expect("own path"))
        .args(["--exact", "store::tests::crash::child_uses_the_store", "--ignored", "--nocapture"])
        .env(CHILD_STORE, path)
        .env(CHILD_SEED, seed.to_string())
        .env(CHILD_RUNS, runs.join(","))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("start");
    let mut acknowledged = 0;
    let kill_after = random.usize(1..60);
    let spin = random.u32(..200_000);
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        acknowledged += usize::from(line.expect("text") == "@");
        if acknowledged == kill_after {
            (0..spin).for_each(|n| {
                std::hint::black_box(n);
            });
            child.kill().expect("kill");
        }
    }
    child.kill().expect("kill");
    child.wait().expect("wait");
    acknowledged
}

/// How many calls the store has seen: those that were acknowledged, and perhaps of those that were in the making.
fn check(path: &Path, calls: &[Call], runs: &[usize], acknowledged: usize) -> Result<usize, TestCaseError> {
    pack_eagerly();
    let config = Config { path: path.to_owned(), deadline: Duration::from_secs(20), ..Config::default() };
    let store = Store::open(&config, &names(&BOXES), simulated()).expect("open");
    if store.was_reset() {
        return Err(TestCaseError::fail("the index was thrown away"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let mut wrong = TestCaseError::fail("nothing to compare with");
    for survived in acknowledged..=acknowledged + burst(calls, acknowledged) {
        let (mut model, _) = replay(&calls[..survived], runs);
        model.restart();
        match compare(&store, &model).and_then(|()| runtime.block_on(compare_queues(&store, &model))) {
            Ok(()) => return Ok(survived),
            Err(difference) => wrong = difference,
        }
    }
    Err(wrong)
}

/// Every item, in its order and as it is.
async fn compare_queues(store: &Store, model: &Model) -> Result<(), TestCaseError> {
    for (n, name) in BOXES.iter().enumerate() {
        let outbox = store.outboxes().get(&destination(name)).expect("outbox");
        let leases = outbox.lease(usize::MAX).await.expect("lease");
        let found: Vec<_> = leases.iter().map(|lease| (lease.seq, &lease.item, lease.attempts)).collect();
        let expected: Vec<_> = model.in_order(n).map(|(seq, item)| (*seq, &item.item, item.attempts)).collect();
        proptest::prop_assert_eq!(found, expected);
        let letters = outbox.dead_letters(usize::MAX).await.expect("dead letters");
        let found: Vec<_> = letters.iter().map(|letter| (letter.seq, letter.attempts)).collect();
        let expected: Vec<_> = model.dead[n].iter().map(|(seq, item)| (*seq, item.attempts)).collect();
        proptest::prop_assert_eq!(found, expected);
    }
    Ok(())
}

#[test]
#[ignore = "a part of what_was_acknowledged_survives_being_killed_at_any_moment, which starts it as a process"]
fn child_uses_the_store() {
    let reported = |name: &str| std::env::var(name).expect("started by its parent");
    let runs: Vec<usize> = reported(CHILD_RUNS).split(',').map(|run| run.parse().expect("a number")).collect();
    let calls = calls(reported(CHILD_SEED).parse().expect("a number"));
    let mut next = *runs.last().expect("one at least");
    let (mut model, mut events) = replay(&calls[..next], &runs);
    model.restart();
    let mut subject = Subject::new(Path::new(&reported(CHILD_STORE)));
    let acknowledge = |calls: usize| {
        let mut out = std::io::stdout().lock();
        out.write_all("\n@\n".repeat(calls).as_bytes()).and_then(|()| out.flush()).expect("report");
    };
    while next < calls.len() {
        let together = &calls[next..next + burst(&calls, next)];
        if let [call] = together {
            let expected = model.apply(&mut events, call);
            subject.apply(call, expected).expect("as the model says");
        } else {
            let changes = together.iter().map(|call| match model.apply(&mut events, call) {
                Expected::Recorded(event, deliveries) => change(&event, deliveries),
                _ => unreachable!("a burst consists of records"),
            });
            let outcomes = subject.store.events().record_all(changes.collect());
            outcomes.into_iter().for_each(|outcome| outcome.expect("record"));
        }
        acknowledge(together.len());
        next += together.len();
    }
}
