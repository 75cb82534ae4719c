//! What may be sent now: by hand, by the time of day, on a metered link, within the budget.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::time::sleep;

use super::config::{Allowed, Config};
use crate::allowance::{Budget, Exhausted, Limits, Meter, Share};
use crate::clock::Clock;
use crate::control::{Control, Switches};
use crate::destination::Destination;
use crate::store::Lane;
use crate::zone;

/// How often the clock and the link are looked at.
const LOOK: Duration = Duration::from_secs(15);

impl Allowed {
    fn up_to(self) -> Option<Lane> {
        match self {
            Self::Nothing => None,
            Self::Metadata => Some(Lane::Metadata),
            Self::Stills => Some(Lane::Stills),
            Self::All => Some(Lane::Rest),
        }
    }
}

/// What may go now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Permit {
    /// Up to which lane; none: nothing.
    pub up_to: Option<Lane>,
    /// Why not everything, in words for the operator.
    pub reason: Option<String>,
}

/// The rules of one destination.
#[derive(Debug)]
pub(super) struct Rules {
    destination: Destination,
    config: Config,
    switches: watch::Receiver<Arc<Switches>>,
    budget: Mutex<Budget>,
    meter: Meter,
    clock: Arc<dyn Clock>,
}

impl Rules {
    /// `spent` keeps what was sent within the budgets.
    pub(super) fn new(
        destination: Destination,
        config: Config,
        control: &Control,
        spent: Option<PathBuf>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let meter = Meter::new(config.metered);
        let limits = Limits { hour: config.hourly_bytes, day: config.daily_bytes, month: config.monthly_bytes };
        Self {
            destination,
            budget: Mutex::new(Budget::open(limits, spent, clock.clone(), zone::local)),
            config,
            switches: control.subscribe(),
            meter,
            clock,
        }
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock()
    }

    /// What may go now. The strictest rule decides.
    pub(super) fn permit(&self) -> Permit {
        if self.switches.borrow().paused.contains(&self.destination) {
            return Permit { up_to: None, reason: Some("paused by hand".to_owned()) };
        }
        let mut permit = Permit { up_to: Some(Lane::Rest), reason: None };
        let local = self.clock.wall().to_zoned(zone::local()).datetime();
        if !self.config.windows.is_active(local) {
            permit.restrict(self.config.outside_windows.up_to(), || "outside of its windows of time".to_owned());
        }
        if self.meter.is_metered() {
            permit.restrict(self.config.on_metered.up_to(), || "the link is metered".to_owned());
        }
        match self.budget().allows() {
            Ok(Share::Rest) => {}
            Ok(Share::Important) => permit.restrict(Some(Lane::Stills), || "little is left of a budget".to_owned()),
            Err(exhausted) => permit.restrict(None, || exhausted.to_string()),
        }
        permit
    }

    /// Whether something of `lane` may go now.
    pub(super) fn allows(&self, lane: Lane) -> Result<(), String> {
        let permit = self.permit();
        match permit.up_to {
            Some(up_to) if lane <= up_to => Ok(()),
            _ => Err(permit.reason.unwrap_or_default()),
        }
    }

    /// Whether the budgets have `bytes` left for something of `lane`.
    ///
    /// # Errors
    /// When one has not.
    pub(super) fn affords(&self, lane: Lane, bytes: u64) -> Result<(), Exhausted> {
        self.budget().affords(share(lane), bytes)
    }

    /// Spends `bytes` of the budgets.
    ///
    /// # Errors
    /// When one has not enough left for something of `lane`.
    pub(super) fn spend(&self, lane: Lane, bytes: u64) -> Result<(), Exhausted> {
        self.budget().spend(share(lane), bytes)
    }

    /// Corrects what was spent for a request by what it really sent.
    pub(super) fn settle(&self, lane: Lane, spent: u64, sent: u64) {
        if sent > spent {
            // Repetitions have gone over the line already, whatever is left.
            let _ = self.budget().spend(share(lane), sent - spent);
        } else {
            self.budget().refund(spent - sent);
        }
    }

    /// How long something for which no budget is left rests.
    pub(super) fn rest(&self) -> Duration {
        self.budget().ends_in().unwrap_or(LOOK).clamp(LOOK, Duration::from_secs(3600))
    }

    /// Returns when the rules may say something else.
    pub(super) async fn changed(&self) {
        let mut switches = self.switches.clone();
        switches.mark_unchanged();
        tokio::select! {
            // The sender lives as long as the daemon.
            _ = switches.changed() => {}
            () = sleep(LOOK) => {}
        }
        self.ask().await;
    }

    /// Asks now and then whether the link is metered.
    pub(super) async fn ask(&self) {
        self.meter.ask().await;
    }
}

/// Documents and pictures may use a budget to its last byte.
fn share(lane: Lane) -> Share {
    if lane <= Lane::Stills { Share::Important } else { Share::Rest }
}

impl Permit {
    fn restrict(&mut self, up_to: Option<Lane>, reason: impl FnOnce() -> String) {
        if up_to < self.up_to {
            (self.up_to, self.reason) = (up_to, Some(reason()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allowance::Metered;
    use crate::clock::{Mono, SimulatedClock};
    use crate::schedule::Schedule;

    fn rules(config: Config, at: &str, control: &Control) -> Rules {
        let wall = at.parse::<jiff::civil::DateTime>().expect("time").to_zoned(zone::local()).expect("zone");
        let clock = Arc::new(SimulatedClock::new(Mono(1), wall.timestamp()));
        Rules::new(Destination::upload("cloud"), config, control, None, clock)
    }

    #[test]
    fn the_strictest_rule_decides_and_says_why() {
        let control = Control::default();
        let windows = Schedule::parse(&["22:00-06:00"]).expect("a window");
        let config = Config { windows, metered: Metered::Yes, on_metered: Allowed::Metadata, ..Config::default() };
        let permit = |config: &Config, at: &str| rules(config.clone(), at, &control).permit();
        let metered = Some("the link is metered".to_owned());
        assert_eq!(permit(&config, "2026-06-01T12:00"), Permit { up_to: Some(Lane::Metadata), reason: metered });
        let free = Config { metered: Metered::No, ..config };
        let outside = Some("outside of its windows of time".to_owned());
        assert_eq!(permit(&free, "2026-06-01T12:00"), Permit { up_to: Some(Lane::Stills), reason: outside });
        assert_eq!(permit(&free, "2026-06-01T23:00"), Permit { up_to: Some(Lane::Rest), reason: None });
        let pause = |switches: &mut Switches| drop(switches.paused.replace(Destination::upload("cloud")));
        control.change(pause).expect("change");
        let paused = Some("paused by hand".to_owned());
        assert_eq!(permit(&free, "2026-06-01T23:00"), Permit { up_to: None, reason: paused });
    }
}
