//! How fast models are on this box: what their last runs took, as the threads ran them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::infer::{Detector, parse_reference};

/// Runs of a model that are kept.
const KEPT: usize = 256;

/// What the last runs of a model took, from the picture to the detections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speed {
    /// How many runs these are; at least one.
    pub runs: usize,
    /// Half of them took no longer.
    pub median: Duration,
    /// 95 of 100 took no longer.
    pub p95: Duration,
}

/// The runs of all models, by their names and versions.
#[derive(Debug, Default)]
pub(super) struct Speeds(BTreeMap<(Arc<str>, u32), Runs>);

#[derive(Debug, Default)]
struct Runs {
    detector: Weak<Detector>,
    took: VecDeque<Duration>,
}

impl Speeds {
    /// Notes a run. Those of a model that was loaded before under the same name and version, and is gone, are forgotten.
    pub(super) fn note(&mut self, detector: &Arc<Detector>, took: Duration) {
        let runs = self.0.entry((detector.name().clone(), detector.version())).or_default();
        if runs.detector.strong_count() == 0 {
            *runs = Runs { detector: Arc::downgrade(detector), took: VecDeque::new() };
        }
        if runs.took.len() == KEPT {
            runs.took.pop_front();
        }
        runs.took.push_back(took);
    }

    /// Of a model by its name, the newest version that is held, or `name/2`; `None` before its first run.
    pub(super) fn of(&self, model: &str) -> Option<Speed> {
        let held = self.runs(model).find(|runs| runs.detector.strong_count() > 0);
        let mut took: Vec<Duration> = held.or_else(|| self.runs(model).next())?.took.iter().copied().collect();
        took.sort_unstable();
        // The smallest value that so many are not above.
        let quantile = |percent: usize| took.get((took.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Speed { runs: took.len(), median: quantile(50)?, p95: quantile(95)? })
    }

    /// What ran by this name, the newest version, while something holds it.
    pub(super) fn detector(&self, model: &str) -> Option<Arc<Detector>> {
        self.runs(model).find_map(|runs| runs.detector.upgrade())
    }

    /// The newest version first.
    fn runs<'a>(&'a self, model: &'a str) -> impl Iterator<Item = &'a Runs> + 'a {
        let (name, version) = parse_reference(model);
        let is_meant =
            move |known: &(Arc<str>, u32)| *known.0 == *name && version.is_none_or(|wanted| wanted == known.1);
        self.0.iter().rev().filter(move |(known, _)| is_meant(known)).map(|(_, runs)| runs)
    }
}
