//! Waiting in unit tests: for a condition that another thread or task brings about.
//!
//! The limit only ends what hangs. A test that passes never waits for it, and a machine with busy processors must not
//! fail one.

use std::time::{Duration, Instant};

/// How long a condition may take to come true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks.
const POLL: Duration = Duration::from_millis(2);

/// Waits until `condition` holds; fails the test with `what` when it does not come true.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    // By the clock of the machine: that of tokio may be paused.
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "never came true: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// [`until`] on a thread.
pub(crate) fn block_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "never came true: {what}");
        std::thread::sleep(POLL);
    }
}
