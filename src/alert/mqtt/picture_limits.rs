//! When pictures of cameras may be published: not too often, not over a metered link, within budgets. What a person asks for
//! by a command is not limited.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Config;
use crate::allowance::{Budget, Exhausted, Limits, Meter, Share};
use crate::clock::{Clock, Mono};
use crate::zone;

/// Name of the file that keeps what was spent.
const SPENT: &str = "mqtt.spent.json";

#[derive(Debug)]
pub(super) struct PictureLimits {
    config: Config,
    meter: Meter,
    budget: Mutex<Budget>,
    /// When the last picture of each camera was made.
    last: Mutex<BTreeMap<Arc<str>, Mono>>,
    clock: Arc<dyn Clock>,
}

impl PictureLimits {
    /// What was spent is kept beside the file `beside`; in memory only where there is none.
    pub(super) fn new(config: &Config, beside: Option<&Path>, clock: Arc<dyn Clock>) -> Self {
        let limits = Limits { hour: None, day: config.snapshot_daily_bytes, month: config.snapshot_monthly_bytes };
        let spent = beside.map(|file| file.with_file_name(SPENT));
        let budget = Mutex::new(Budget::open(limits, spent, clock.clone(), zone::local));
        Self { config: config.clone(), meter: Meter::new(config.metered), budget, last: Mutex::default(), clock }
    }

    /// A connection begins, by what may be another link.
    pub(super) fn connected(&self) {
        self.meter.unsettle();
    }

    /// Asks now and then whether the link is metered.
    pub(super) async fn ask(&self) {
        self.meter.ask().await;
    }

    /// Whether pictures are published at all.
    pub(super) fn are_wanted(&self) -> bool {
        self.config.snapshots && (self.config.snapshots_on_metered || !self.meter.is_metered())
    }

    /// Whether it is known by now which link it is; until then those that are wanted wait.
    pub(super) fn is_link_known(&self) -> bool {
        self.config.snapshots_on_metered || self.meter.is_settled()
    }

    /// Whether the last picture of `camera` was made long enough ago.
    pub(super) fn is_due(&self, camera: &str) -> bool {
        let now = self.clock.mono();
        self.last.lock().get(camera).is_none_or(|last| now.since(*last) >= self.config.snapshot_every)
    }

    /// A picture of `camera` is being made.
    pub(super) fn note(&self, camera: &Arc<str>) {
        self.last.lock().insert(camera.clone(), self.clock.mono());
    }

    /// Spends the bytes of a picture. Blocks on the disk now and then.
    ///
    /// # Errors
    /// When a budget has less left.
    pub(super) fn spend(&self, bytes: usize) -> Result<(), Exhausted> {
        self.budget.lock().spend(Share::Important, bytes as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::allowance::Metered;
    use crate::clock::SimulatedClock;

    fn limits(config: Config) -> (PictureLimits, Arc<SimulatedClock>) {
        let clock = Arc::new(SimulatedClock::new(Mono(1), "2026-06-01T10:20:00Z".parse().expect("a time")));
        (PictureLimits::new(&config, None, clock.clone()), clock)
    }

    #[test]
    fn a_camera_has_its_next_picture_after_a_while_and_others_do_not_wait() {
        let (limits, clock) = limits(Config::default());
        assert!(limits.is_due("gate"));
        limits.note(&"gate".into());
        assert!(!limits.is_due("gate") && limits.is_due("yard"));
        clock.advance(Duration::from_secs(30));
        assert!(limits.is_due("gate"));
    }

    #[test]
    fn a_metered_link_carries_none_unless_that_is_wanted() {
        let wanted = |metered, snapshots_on_metered, snapshots| {
            limits(Config { metered, snapshots_on_metered, snapshots, ..Config::default() }).0.are_wanted()
        };
        assert!(wanted(Metered::Auto, false, true) && wanted(Metered::No, false, true));
        assert!(!wanted(Metered::Yes, false, true) && wanted(Metered::Yes, true, true));
        assert!(!wanted(Metered::No, true, false));
    }

    #[test]
    fn pictures_wait_until_the_link_of_a_connection_is_known() {
        let known = |metered, snapshots_on_metered| {
            limits(Config { metered, snapshots_on_metered, ..Config::default() }).0.is_link_known()
        };
        assert!(!known(Metered::Auto, false) && known(Metered::Auto, true) && known(Metered::No, false));
    }

    #[test]
    fn a_budget_that_is_spent_takes_no_more_until_the_next_day() {
        let (limits, clock) = limits(Config { snapshot_daily_bytes: Some(100_000), ..Config::default() });
        assert!(limits.spend(60_000).is_ok());
        let spent = limits.spend(60_000).expect_err("too much");
        assert_eq!(spent.to_string(), "the budget of this day is spent (100000 bytes)");
        clock.advance(Duration::from_secs(24 * 3600));
        assert!(limits.spend(60_000).is_ok());
    }
}
