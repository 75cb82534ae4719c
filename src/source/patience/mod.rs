//! How long a camera may give no picture. This is the only place that decides so: sources have limits for
//! their answers to requests, but none for pictures.
//!
//! Cameras differ by three orders of magnitude: 30 pictures a second, or one in 16 s; the first picture at once, or after
//! more than a minute, when the encoder starts or the next key frame brings the parameters. So the pace of each
//! camera is learned, over its reconnects: the longest pause seen, with room to spare, may come again, and a camera
//! that was given up is given twice as long the next time. A camera whose packets come, but make no picture yet, is
//! given the longest time at once: connecting again would only restart the wait.
//!
//! A camera that is slow and one that hangs look the same while nothing comes. They are distinguished by what their session
//! gave before: [`MANY`] pictures, spread over [`STEADY`] at least, show the pace of the camera, and the wait is three
//! times their longest pause or more. A longer silence is not its pace, so that more time would only be lost: such a
//! session does not lengthen the next wait, and ends the trial of a longer one. Fewer pictures show no pace yet (one
//! picture in 16 s: a session of 10 s has one), nor do many at once (a server that begins with those it kept).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Client, Config, Connect, Role, Source, SourceError};
use crate::clock::{Clock, Mono};
use crate::frame::{AudioOffer, Packet};
use crate::health::{Traffic, silent_after};

/// A camera of which nothing is known is given up after so long without a picture.
const SHORTEST: Duration = Duration::from_secs(10);

/// No camera is waited for longer, unless its configuration says so.
const LONGEST: Duration = Duration::from_secs(120);

/// Pauses are forgotten after one to two times as long: cameras are set up again, and networks fail.
const MEMORY: Duration = Duration::from_secs(3600);

/// A camera that was given up in the middle of its stream is given more time for so long. If its pauses are long, one of
/// them is seen by then.
const TRIAL: Duration = Duration::from_secs(600);

/// So many pictures of a session show the pace of its camera.
const MANY: u32 = 10;

/// If they did not all come within less time than this.
const STEADY: Duration = Duration::from_secs(1);

/// How often it is looked at what came instead of a picture.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A wait is worth words after so long, and again each time that it has doubled.
const WORTH_WORDS: Duration = Duration::from_secs(5);

/// What a source received that is no picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// Video that no picture could be made of.
    pub unusable: u64,
    /// Why not.
    pub why: Option<String>,
    /// Signs of life without video, such as reports of the sender.
    pub reports: u64,
    /// What to do if nothing at all comes.
    pub advice: Option<&'static str>,
}

impl Arrivals {
    /// Whether nothing at all has come.
    pub fn is_empty(&self) -> bool {
        self.unusable == 0 && self.reports == 0
    }
}

/// One kind of pause of one camera.
#[derive(Clone, Debug)]
struct Pace {
    /// Times the longest pause seen.
    room: u32,
    allowed: Duration,
    /// The longest pause of this stretch of [`MEMORY`] and of the one before.
    longest: [Duration; 2],
    stretch: Option<Mono>,
    /// A longer time is tried after the camera was given up; for so long after the next picture.
    trial: Duration,
    is_trial: bool,
    trial_since: Option<Mono>,
}

impl Pace {
    fn new(room: u32, trial: Duration) -> Self {
        Self {
            room,
            allowed: SHORTEST,
            longest: [Duration::ZERO; 2],
            stretch: None,
            trial,
            is_trial: false,
            trial_since: None,
        }
    }

    /// There was a pause, and then a picture.
    fn saw(&mut self, pause: Duration, now: Mono) {
        let [this, before] = &mut self.longest;
        if now.since(*self.stretch.get_or_insert(now)) >= MEMORY {
            (*before, *this, self.stretch) = (*this, pause, Some(now));
        }
        *this = pause.max(*this);
        let learned = self.learned();
        let trial_since = *self.trial_since.get_or_insert(now);
        self.is_trial = self.is_trial && now.since(trial_since) < self.trial;
        self.allowed = if self.is_trial { self.allowed.max(learned) } else { learned };
    }

    fn longest_pause(&self) -> Duration {
        self.longest.into_iter().max().unwrap_or_default()
    }

    /// The wait that the pauses seen explain.
    fn learned(&self) -> Duration {
        self.longest_pause().saturating_mul(self.room).clamp(SHORTEST, LONGEST)
    }

    /// `has_shown`: the session has shown the camera's pace, and more time would not help.
    fn gave_up(&mut self, has_shown: bool) {
        if has_shown {
            (self.is_trial, self.allowed) = (false, self.learned());
            return;
        }
        self.allowed = self.allowed.saturating_mul(2).min(LONGEST);
        (self.is_trial, self.trial_since) = (true, None);
    }
}

/// What is known of a camera's pace. It outlives its connections.
#[derive(Clone, Debug)]
pub struct Patience {
    /// Decided by the configuration, or by the kind of the source.
    fixed: Option<Duration>,
    answer: Pace,
    first: Pace,
    next: Pace,
    /// The last connection gave pictures at a steady pace before it was given up.
    hung: bool,
}

impl Patience {
    /// Nothing is known of the camera yet.
    pub fn new(config: &Config) -> Self {
        // A file's pauses are those that it was recorded with, and nothing is gained by playing it again.
        let fixed = config.max_silence.or(config.is_file().then_some(LONGEST));
        let at_once = Pace::new(2, Duration::ZERO);
        Self { fixed, answer: at_once.clone(), first: at_once, next: Pace::new(3, TRIAL), hung: false }
    }

    /// For single connections: the longest time at once.
    pub fn without_another_try(config: &Config) -> Self {
        let mut patience = Self::new(config);
        for pace in [&mut patience.answer, &mut patience.first, &mut patience.next] {
            pace.allowed = LONGEST;
        }
        patience
    }

    /// Connects to the camera by `connect`. Its answers may take as long as the camera was seen to need: a recorder that begins to
    /// fetch a stream when it is asked for one holds its answer back until then.
    ///
    /// # Errors
    /// Those of [`super::connect`].
    pub async fn connect(
        &mut self,
        connect: Connect,
        config: &Config,
        role: Role,
        clock: Arc<dyn Clock>,
    ) -> Result<Box<dyn Source>, SourceError> {
        // What the connection before showed says nothing of one that does not come about.
        self.hung = false;
        let limit = self.answer.allowed;
        let max_silence = Some(config.max_silence.unwrap_or(limit));
        let begun = clock.mono();
        let outcome = connect(Config { max_silence, ..config.clone() }, role, clock.clone()).await;
        let now = clock.mono();
        match &outcome {
            Ok(_) => self.answer.saw(now.since(begun), now),
            Err(SourceError::Unreachable { .. }) if now.since(begun) >= limit => self.answer.gave_up(false),
            Err(_) => {}
        }
        outcome
    }

    /// The longest pause between two pictures that was seen in the last hour or two.
    pub fn longest_pause(&self) -> Duration {
        self.next.longest_pause()
    }

    /// Whether the last connection gave pictures at a steady pace and was then given up for its silence: another
    /// connection helps, and soon.
    pub fn hung(&self) -> bool {
        self.hung
    }
}

/// What became of the wait for a picture.
#[derive(Debug)]
pub enum Next {
    /// It is here.
    Packet(Packet),
    /// Not yet; in words for the operator. Not more often than is worth an update.
    Waiting(String),
}

/// A connected source whose pictures are waited for.
pub struct Watched<'a> {
    source: Box<dyn Source>,
    wait: Wait<'a>,
    clock: Arc<dyn Clock>,
}

impl<'a> Watched<'a> {
    /// `source` was connected just now; `what` names it in errors.
    pub fn new(source: Box<dyn Source>, patience: &'a mut Patience, what: String, clock: Arc<dyn Clock>) -> Self {
        let wait = Wait::new(patience, what, clock.mono(), source.arrivals());
        Self { source, wait, clock }
    }

    /// What reads the stream, where there is a choice.
    pub fn client(&self) -> Option<Client> {
        self.source.client()
    }

    /// What came of its WebRTC session, where that is what it is.
    pub fn traffic(&self) -> Option<Traffic> {
        self.source.traffic()
    }

    /// What the camera offers to be heard; `None` where that is not known.
    pub fn audio(&self) -> Option<AudioOffer> {
        self.source.audio()
    }

    /// The longest pause between two pictures of the camera that is usual.
    pub fn longest_pause(&self) -> Duration {
        self.wait.patience.longest_pause()
    }

    /// The next picture, or word of the wait for it. Dropping the future loses no packet.
    ///
    /// # Errors
    /// What the source says, or that the camera gave no picture for too long. It is over then.
    pub async fn next(&mut self) -> Result<Next, SourceError> {
        loop {
            let until_look = self.wait.until_look(self.clock.mono(), &self.source.arrivals());
            let outcome = timeout(until_look, self.source.next()).await;
            let (now, arrivals) = (self.clock.mono(), self.source.arrivals());
            match outcome {
                Ok(Ok(packet)) => {
                    self.wait.picture(now, arrivals);
                    return Ok(Next::Packet(packet));
                }
                Ok(Err(failure)) => return Err(failure),
                Err(_) => {
                    if let Some(words) = self.wait.look(now, arrivals)? {
                        return Ok(Next::Waiting(words));
                    }
                }
            }
        }
    }
}

/// The wait for the next picture of one connection.
struct Wait<'a> {
    patience: &'a mut Patience,
    what: String,
    /// The last picture, or the connection.
    since: Mono,
    /// Pictures so far, and when the first of them came.
    pictures: u32,
    first: Mono,
    /// What had come until then.
    before: Arrivals,
    /// The length of the wait that words were last made of.
    worded: Duration,
}

impl<'a> Wait<'a> {
    fn new(patience: &'a mut Patience, what: String, now: Mono, before: Arrivals) -> Self {
        patience.hung = false;
        Self { patience, what, since: now, pictures: 0, first: now, before, worded: Duration::ZERO }
    }

    /// The picture is here; another one is waited for.
    fn picture(&mut self, now: Mono, arrivals: Arrivals) {
        let pause = now.since(self.since);
        self.pace().saw(pause, now);
        if !self.has_picture() {
            self.first = now;
        }
        self.pictures = self.pictures.saturating_add(1);
        (self.since, self.worded, self.before) = (now, Duration::ZERO, arrivals);
    }

    /// When to look again, at the latest.
    fn until_look(&self, now: Mono, arrivals: &Arrivals) -> Duration {
        self.limit(arrivals).saturating_sub(now.since(self.since)).min(LOOK_EVERY)
    }

    /// The picture is not here yet. Gives words where they are worth an update, or the end of the wait.
    fn look(&mut self, now: Mono, arrivals: Arrivals) -> Result<Option<String>, SourceError> {
        let waited = now.since(self.since);
        if waited >= self.limit(&arrivals) {
            return Err(self.give_up(arrivals));
        }
        if waited < self.worth_words().max(self.worded.saturating_mul(2)) {
            return Ok(None);
        }
        self.worded = waited;
        Ok(Some(self.words(waited, arrivals)))
    }

    /// The first picture may be awaited by a viewer; later ones are missed when they are later than ever.
    fn worth_words(&self) -> Duration {
        if self.has_picture() { silent_after(WORTH_WORDS, self.patience.longest_pause()) } else { WORTH_WORDS }
    }

    fn has_picture(&self) -> bool {
        self.pictures > 0
    }

    /// Whether the pictures of this session show the camera's pace.
    fn has_shown_pace(&self) -> bool {
        self.pictures >= MANY && self.since.since(self.first) >= STEADY
    }

    fn pace(&mut self) -> &mut Pace {
        if self.has_picture() { &mut self.patience.next } else { &mut self.patience.first }
    }

    fn packets_come(&self, arrivals: &Arrivals) -> bool {
        arrivals.unusable > self.before.unusable
    }

    fn limit(&self, arrivals: &Arrivals) -> Duration {
        let pace = if self.has_picture() { &self.patience.next } else { &self.patience.first };
        self.patience.fixed.unwrap_or(if self.packets_come(arrivals) { LONGEST } else { pace.allowed })
    }

    fn words(&self, waited: Duration, arrivals: Arrivals) -> String {
        let (seconds, limit) = (waited.as_secs(), self.limit(&arrivals).as_secs());
        let reports_come = arrivals.reports > self.before.reports;
        let packets_come = self.packets_come(&arrivals);
        let why = || arrivals.why.map(|why| format!(": {why}")).unwrap_or_default();
        if self.has_picture() {
            let missed = if packets_come {
                format!("packets come, but no pictures for more than {seconds} s{}", why())
            } else if reports_come {
                format!("the camera's reports come, but no pictures for more than {seconds} s")
            } else {
                format!("no pictures for more than {seconds} s")
            };
            return format!("{missed}; the connection is kept until {limit} s");
        }
        if packets_come {
            return format!("packets come, the first picture has been awaited for more than {seconds} s{}", why());
        }
        let comes = if reports_come { "the camera's reports come, but no video" } else { "no packets come" };
        format!("connected, {comes}: the first picture has been awaited for more than {seconds} s")
    }

    fn give_up(&mut self, arrivals: Arrivals) -> SourceError {
        let (limit, what) = (self.limit(&arrivals), self.what.clone());
        if self.packets_come(&arrivals) {
            let why = arrivals.why.unwrap_or_else(|| "none of them was complete".to_owned());
            let reason = format!("packets come, but no picture within {} s: {why}", limit.as_secs());
            return SourceError::Protocol { what, reason };
        }
        let has_shown = self.has_shown_pace();
        self.patience.hung = has_shown;
        self.pace().gave_up(has_shown);
        let next = self.limit(&arrivals);
        let mut reason = format!("no picture for {} s", limit.as_secs());
        let reports_come = arrivals.reports > self.before.reports;
        if reports_come {
            reason.push_str(", though the camera's reports come");
        }
        if let Some(advice) = arrivals.advice.filter(|_| !self.has_picture() && !reports_come) {
            reason = format!("{reason}; {advice}");
        }
        if next > limit {
            reason = format!("{reason}; the next wait may take {} s", next.as_secs());
        }
        SourceError::Lost { what, reason }
    }
}

#[cfg(test)]
mod tests;
