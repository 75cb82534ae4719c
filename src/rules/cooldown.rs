//! Quiet after an event: the next one of the same rule and label has to wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Mono;

/// When each label may start again.
#[derive(Debug)]
pub(super) struct Cooldown {
    pause: Duration,
    /// Bounded by the labels of the model.
    started: BTreeMap<Arc<str>, Mono>,
}

impl Cooldown {
    pub(super) fn new(pause: Duration) -> Self {
        Self { pause, started: BTreeMap::new() }
    }

    /// Whether an event of `label` may start; if so, the pause begins.
    pub(super) fn try_start(&mut self, label: &Arc<str>, now: Mono) -> bool {
        if self.pause.is_zero() {
            return true;
        }
        if self.started.get(label).is_some_and(|&last| now.since(last) < self.pause) {
            return false;
        }
        self.started.insert(label.clone(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_label_waits_for_itself_and_a_refusal_does_not_prolong_the_wait() {
        let (person, dog): (Arc<str>, Arc<str>) = ("person".into(), "dog".into());
        let mut cooldown = Cooldown::new(Duration::from_nanos(10));
        let cases = [(&person, 5, true), (&dog, 6, true), (&person, 14, false), (&person, 15, true), (&dog, 15, false)];
        for (label, now, expected) in cases {
            assert_eq!(cooldown.try_start(label, Mono(now)), expected, "{label} at {now}");
        }
        let mut none = Cooldown::new(Duration::ZERO);
        assert!(none.try_start(&person, Mono(1)) && none.try_start(&person, Mono(1)));
    }
}
