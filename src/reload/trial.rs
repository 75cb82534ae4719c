//! Whether another configuration works: what it changed has to come up within a limit.

use std::time::Duration;

use crate::clock::Mono;

/// Something that a change is about, which comes up or does not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A camera, by its name.
    Camera(String),
    /// A destination, by its written form.
    Destination(String),
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Camera(name) => write!(f, "camera {name}"),
            Self::Destination(name) => f.write_str(name),
        }
    }
}

/// How a subject is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It works.
    Up,
    /// It does not work; why, in words for the operator.
    Down(String),
    /// Nothing has shown yet: a destination that had nothing to get.
    Unknown,
}

/// What became of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays; what was not seen to work, in words.
    Confirmed(Option<String>),
    /// It is undone; why, in words for the operator.
    Undo(String),
}

/// A configuration in use that may be undone.
#[derive(Clone, Debug)]
pub struct Trial {
    until: Mono,
    within: Duration,
    /// With whether it worked before.
    subjects: Vec<(Subject, bool)>,
}

impl Trial {
    /// One that begins at `now`. `subjects` come with whether they worked before.
    pub fn new(now: Mono, within: Duration, subjects: Vec<(Subject, bool)>) -> Self {
        Self { until: now + within, within, subjects }
    }

    /// Whether `subject` worked before; `None` where this trial is not about it.
    pub fn was_up(&self, subject: &Subject) -> Option<bool> {
        self.subjects.iter().find(|(known, _)| known == subject).map(|(_, was_up)| *was_up)
    }

    /// What follows at `now` from what is found; `None`: it goes on. What works now, and what worked before, decides: a camera
    /// that was down before the change may be down for any reason, and the change may be what mends it later.
    pub fn judge(&self, now: Mono, find: impl Fn(&Subject) -> Finding) -> Option<Verdict> {
        let found: Vec<_> = self.subjects.iter().map(|(subject, was_up)| (subject, *was_up, find(subject))).collect();
        if found.iter().all(|(.., finding)| *finding == Finding::Up) {
            return Some(Verdict::Confirmed(None));
        }
        if now < self.until {
            return None;
        }
        let down = found.iter().filter_map(|(subject, was_up, finding)| match finding {
            Finding::Down(reason) if *was_up => Some(format!("{subject} worked before and does not now: {reason}")),
            _ => None,
        });
        let down: Vec<String> = down.collect();
        if !down.is_empty() {
            return Some(Verdict::Undo(format!("within {} s {}", self.within.as_secs(), down.join("; "))));
        }
        let unseen =
            found.iter().filter(|(.., finding)| *finding != Finding::Up).map(|(subject, ..)| subject.to_string());
        Some(Verdict::Confirmed(Some(format!("not seen to work yet: {}", unseen.collect::<Vec<_>>().join(", ")))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(90);

    fn camera(name: &str) -> Subject {
        Subject::Camera(name.to_owned())
    }

    fn trial(subjects: &[(&str, bool)]) -> Trial {
        Trial::new(Mono(0), WITHIN, subjects.iter().map(|(name, was_up)| (camera(name), *was_up)).collect())
    }

    fn down() -> Finding {
        Finding::Down("refused".to_owned())
    }

    #[test]
    fn it_is_confirmed_as_soon_as_everything_is_up() {
        let trial = trial(&[("yard", true), ("gate", false)]);
        let find =
            |up: bool| move |subject: &Subject| if up || *subject == camera("yard") { Finding::Up } else { down() };
        assert_eq!(trial.judge(Mono(1), find(false)), None);
        assert_eq!(trial.judge(Mono(1), find(true)), Some(Verdict::Confirmed(None)));
        assert_eq!(Trial::new(Mono(0), WITHIN, vec![]).judge(Mono(0), |_| down()), Some(Verdict::Confirmed(None)));
    }

    #[test]
    fn what_worked_before_and_does_not_come_up_undoes_it_at_the_end_alone() {
        let trial = trial(&[("yard", true)]);
        let end = Mono(0) + WITHIN;
        assert_eq!(trial.judge(Mono(end.0 - 1), |_| down()), None);
        let Some(Verdict::Undo(why)) = trial.judge(end, |_| down()) else { panic!("it stays") };
        assert_eq!(why, "within 90 s camera yard worked before and does not now: refused");
    }

    #[test]
    fn what_was_down_before_or_says_nothing_undoes_nothing() {
        let trial = trial(&[("yard", false), ("cloud", true)]);
        let find = |subject: &Subject| if *subject == camera("yard") { down() } else { Finding::Unknown };
        let confirmed = trial.judge(Mono(0) + WITHIN, find);
        let why = "not seen to work yet: camera yard, camera cloud".to_owned();
        assert_eq!(confirmed, Some(Verdict::Confirmed(Some(why))));
    }
}
