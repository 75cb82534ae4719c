//! Random input for parsers of foreign bytes. Each parser's target lies beside it, in a module `fuzz`.
//!
//! Inputs are changed seeds: valid files, rows and messages. An input whose outcome was not seen before becomes a seed
//! too. A target fails on a panic, on an input that takes longer than [`LONGEST`], and on one that takes more memory
//! than [`MOST_MEMORY`]; the input is saved in the folder for temporary files. From the environment:
//!
//! - `OUTPOST_FUZZ_SECONDS`: how long each target runs, 1 s without it
//! - `OUTPOST_FUZZ_SEED`: the random numbers of an earlier run, which printed them
//! - `OUTPOST_FUZZ_INPUT`: a file with the one input that is tried

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// One input may take so long, on a machine whose processors are busy.
const LONGEST: Duration = Duration::from_secs(60);
/// The process may grow by so much with one input, bytes.
const MOST_MEMORY: u64 = 1 << 30;
/// Inputs that are kept as seeds.
const MOST_SEEDS: usize = 2_000;
/// No input is longer, bytes; but for seeds.
const LONGEST_INPUT: usize = 1 << 20;
/// Numbers at which lengths and counters break.
const EDGES: [u64; 14] =
    [0, 1, 2, 7, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, u64::MAX];

/// Tries `target` with changed `seeds` until the time is over. `words` are put in as they are.
///
/// What `target` gives says what became of an input, roughly: the kind of an error, what was found. Inputs with a new
/// outcome are changed further.
pub(crate) fn run(name: &str, seeds: &[&[u8]], words: &[&str], target: impl Fn(&[u8]) -> String) {
    let guard = Guard::start(name);
    if let Some(file) = std::env::var_os("OUTPOST_FUZZ_INPUT") {
        let input = std::fs::read(&file).expect("read OUTPOST_FUZZ_INPUT");
        println!("{name}: {}", guard.check(&input, &target));
        return;
    }
    let limit = Duration::from_secs(number("OUTPOST_FUZZ_SECONDS").unwrap_or(1));
    let random = number("OUTPOST_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("{name}: OUTPOST_FUZZ_SEED={random}");
    let mut mutator = Mutator { random: fastrand::Rng::with_seed(random), words };
    let mut known = Vec::new();
    let mut outcomes = HashSet::new();
    for seed in seeds {
        outcomes.insert(guard.check(seed, &target));
        known.push(seed.to_vec());
    }
    let begun = Instant::now();
    let mut inputs = 0;
    while begun.elapsed() < limit {
        let input = mutator.next(&known);
        let outcome = guard.check(&input, &target);
        inputs += 1;
        if outcomes.insert(outcome) && known.len() < MOST_SEEDS {
            known.push(input);
        }
    }
    println!("{name}: {inputs} inputs, {} outcomes", outcomes.len());
}

/// A message without what it quotes: numbers, and texts in quotation marks. For outcomes.
pub(crate) fn kind(message: &str) -> String {
    let unquoted = message.split(['"', '`', '\'']).step_by(2).collect::<Vec<_>>().join("_");
    unquoted.chars().filter(|c| !c.is_ascii_digit()).take(100).collect()
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Makes inputs.
struct Mutator<'a> {
    random: fastrand::Rng,
    words: &'a [&'a str],
}

impl Mutator<'_> {
    /// One of the seeds with one to eight changes.
    fn next(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.random.choice(seeds).cloned().unwrap_or_default();
        for _ in 0..=self.random.usize(..8).min(self.random.usize(..8)) {
            self.change(&mut input, seeds);
        }
        input.truncate(LONGEST_INPUT);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.place(input);
        match self.random.u8(..10) {
            0 if at < input.len() => input[at] ^= 1 << self.random.u8(..8),
            1 if at < input.len() => input[at] = self.random.u8(..),
            2 => self.put_number(input, at),
            3 => self.put_digits(input, at),
            4 => {
                let end = (at + self.length()).min(input.len());
                input.drain(at..end);
            }
            5 => {
                let end = (at + self.length()).min(input.len());
                let (piece, to) = (input[at..end].to_vec(), self.place(input));
                input.splice(to..to, piece);
            }
            6 => {
                let other = self.random.choice(seeds).cloned().unwrap_or_default();
                let from = self.place(&other);
                let end = (from + self.length()).min(other.len());
                let over = if self.random.bool() { at } else { (at + end - from).min(input.len()) };
                input.splice(at..over, other[from..end].iter().copied());
            }
            7 => {
                let word = self.random.choice(self.words).copied().unwrap_or("\0");
                let over = if self.random.bool() { at } else { (at + word.len()).min(input.len()) };
                input.splice(at..over, word.bytes());
            }
            8 if self.random.u8(..4) == 0 => input.truncate(at),
            _ => {
                let bytes: Vec<u8> = (0..self.random.usize(1..5)).map(|_| self.random.u8(..)).collect();
                input.splice(at..at, bytes);
            }
        }
    }

    /// Somewhere in `input`; its beginning, where headers are, as often as the rest.
    fn place(&mut self, input: &[u8]) -> usize {
        let end = if self.random.bool() { input.len() } else { input.len().min(600) };
        self.random.usize(..=end)
    }

    fn length(&mut self) -> usize {
        1 << self.random.u32(..9)
    }

    /// A number of 1, 2, 4 or 8 bytes, at an edge or near one.
    fn put_number(&mut self, input: &mut [u8], at: usize) {
        let value = self.random.choice(EDGES).unwrap_or_default().wrapping_add(self.random.u64(..3)).wrapping_sub(1);
        let size = 1 << self.random.u32(..4);
        let bytes = if self.random.bool() { value.to_be_bytes() } else { value.swap_bytes().to_be_bytes() };
        let bytes = if self.random.bool() { &bytes[8 - size..] } else { &bytes[..size] };
        for (to, from) in input.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    }

    /// Another number in the place of the digits behind `at`.
    fn put_digits(&mut self, input: &mut Vec<u8>, at: usize) {
        let Some(begin) = input[at..].iter().position(u8::is_ascii_digit).map(|digit| at + digit) else { return };
        let end = input[begin..].iter().position(|byte| !byte.is_ascii_digit()).map_or(input.len(), |end| begin + end);
        let edge = self.random.choice(EDGES).unwrap_or_default();
        let number = match self.random.u8(..4) {
            0 => format!("-{edge}"),
            1 => format!("{edge}.{edge}"),
            2 => format!("{edge}{edge}{edge}"),
            _ => edge.to_string(),
        };
        input.splice(begin..end, number.bytes());
    }
}

/// Watches the input that is being tried.
struct Guard {
    name: String,
    current: Arc<Mutex<Current>>,
    inputs: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    watcher: Option<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Current {
    input: Vec<u8>,
    since: Option<Instant>,
}

impl Guard {
    fn start(name: &str) -> Self {
        let mut guard = Self {
            name: name.to_owned(),
            current: Arc::default(),
            inputs: Arc::default(),
            is_over: Arc::default(),
            watcher: None,
        };
        let (name, current) = (guard.name.clone(), guard.current.clone());
        let (inputs, is_over) = (guard.inputs.clone(), guard.is_over.clone());
        let watch = move || watch(&name, &current, &inputs, &is_over);
        guard.watcher = Some(std::thread::Builder::new().name("fuzz".to_owned()).spawn(watch).expect("spawn a thread"));
        guard
    }

    /// The outcome of an input; one that makes the target panic is saved.
    fn check(&self, input: &[u8], target: &impl Fn(&[u8]) -> String) -> String {
        {
            let mut current = self.current.lock();
            current.input.clear();
            current.input.extend_from_slice(input);
            current.since = Some(Instant::now());
        }
        self.inputs.fetch_add(1, Ordering::Relaxed);
        let outcome = catch_unwind(AssertUnwindSafe(|| target(input)));
        self.current.lock().since = None;
        outcome.unwrap_or_else(|panic| {
            println!("{}", saved(&self.name, input, "panics"));
            resume_unwind(panic)
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(watcher) = self.watcher.take() {
            watcher.thread().unpark();
            let _ = watcher.join();
        }
    }
}

/// Ends the process when an input takes too long or too much memory: nothing else ends what hangs.
fn watch(name: &str, current: &Mutex<Current>, inputs: &AtomicU64, is_over: &AtomicBool) {
    let (mut at, mut before) = (0, memory());
    while !is_over.load(Ordering::Relaxed) {
        std::thread::park_timeout(Duration::from_millis(20));
        let (now, number) = (memory(), inputs.load(Ordering::Relaxed));
        if number != at {
            (at, before) = (number, before.min(now));
        }
        let problem = {
            let current = current.lock();
            let hangs = current.since.is_some_and(|since| since.elapsed() > LONGEST);
            let problem = if hangs { "hangs" } else { "takes too much memory" };
            (hangs || now.saturating_sub(before) > MOST_MEMORY).then(|| saved(name, &current.input, problem))
        };
        if let Some(problem) = problem {
            eprintln!("{problem}");
            std::process::abort();
        }
    }
}

/// Memory of this process, bytes.
fn memory() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()));
    pages.unwrap_or_default() * rustix::param::page_size() as u64
}

fn saved(name: &str, input: &[u8], problem: &str) -> String {
    let file = place_of(name);
    match std::fs::write(&file, input) {
        Ok(()) => format!("{name} {problem}: OUTPOST_FUZZ_INPUT={}", file.display()),
        Err(error) => format!("{name} {problem}; the input cannot be saved: {error}"),
    }
}

fn place_of(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("outpost-fuzz-{name}-{}", std::process::id()))
}

#[test]
fn a_panic_that_needs_a_word_and_a_number_is_found_and_its_input_saved() {
    // A number that is believed, behind a word.
    let target = |input: &[u8]| {
        let length = input.strip_prefix(b"size ").and_then(|rest| std::str::from_utf8(rest).ok()?.parse::<u64>().ok());
        assert!(length != Some(u64::from(u16::MAX)), "believed");
        format!("{}", length.is_some())
    };
    let search = || {
        for _ in 0..200 {
            run("self-test", &[b"10", b"other"], &["size "], target);
        }
    };
    catch_unwind(search).expect_err("found");
    let file = place_of("self-test");
    let saved = std::fs::read_to_string(&file).expect("saved");
    let number = saved.strip_prefix("size ").and_then(|rest| rest.parse().ok());
    assert_eq!(number, Some(u64::from(u16::MAX)), "{saved}");
    std::fs::remove_file(file).expect("clean up");
}
