//! One export: what was asked for, how far it is, and what came of it. Kept beside its file as `<id>.json`.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::asset::AssetId;
use crate::clock::{Moment, TimeQuality};
use crate::zone;

/// Identity of an export; from the same source as those of events.
pub type ExportId = AssetId;

/// How long a finished export is kept.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
/// Version of the written form.
pub(super) const VERSION: u32 = 1;

/// Where an export stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportState {
    /// Others come first.
    Waiting,
    /// It is being written.
    Running,
    /// The file is there.
    Done,
    /// There is none; `error` says why.
    Failed,
}

/// Where a stretch of time lies in the file. Between two parts nothing was recorded, or other pictures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExportedPart {
    /// Where it begins in the file, seconds.
    pub at_s: f64,
    /// When its first picture was taken.
    pub from: Timestamp,
    /// When its last ended.
    pub until: Timestamp,
}

/// When what the one who asked may see begins and ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeenTime {
    /// Nothing of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Nothing of later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl SeenTime {
    /// Whether what was recorded from `from` to `until` may be seen.
    pub(super) fn covers(self, from: Timestamp, until: Timestamp) -> bool {
        self.since.is_none_or(|since| from >= since) && self.until.is_none_or(|granted| until <= granted)
    }

    fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// An export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Export {
    /// Version of the writer.
    pub version: u32,
    /// Identity.
    pub id: ExportId,
    /// Name of the camera.
    pub camera: Arc<str>,
    /// The time that was asked for.
    pub from: Timestamp,
    /// Its end.
    pub until: Timestamp,
    /// Who asked for it.
    pub by: Arc<str>,
    /// What they might see.
    #[serde(default, skip_serializing_if = "SeenTime::is_unlimited")]
    pub seen: SeenTime,
    /// When it was asked for.
    pub asked: Moment,
    /// Where it stands.
    pub state: ExportState,
    /// How much of it is written, 0 to 1.
    #[serde(default)]
    pub progress: f64,
    /// The name under which it is downloaded.
    pub file: String,
    /// Trust in its times: the least of its parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_quality: Option<TimeQuality>,
    /// What the file holds, once it is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<ExportedPart>,
    /// Size of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How long it plays, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    /// When it was finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Moment>,
    /// When it is deleted, by the time in `finished`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Why there is no file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How often it was begun: more than once where the box stopped in the middle of it.
    #[serde(default)]
    pub tries: u32,
}

impl Export {
    /// From when to when it shows something.
    pub fn shows(&self) -> (Timestamp, Timestamp) {
        let from = self.parts.first().map_or(self.from, |part| part.from.min(self.from));
        (from, self.parts.last().map_or(self.until, |part| part.until.max(self.until)))
    }

    /// Whether a file or the wish for one is still of interest.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self.state, ExportState::Waiting | ExportState::Running)
    }

    /// It has come to an end at `now`.
    pub(super) fn finish(&mut self, state: ExportState, now: Moment) {
        self.state = state;
        self.expires = now.wall.checked_add(KEPT_FOR).ok();
        self.finished = Some(now);
    }

    /// For how long it has been finished; `None` where no clock says: neither is it of this boot, nor are both times
    /// synchronised.
    pub(super) fn age(&self, now: &Moment) -> Option<Duration> {
        let finished = self.finished.as_ref()?;
        if finished.boot_id == now.boot_id {
            return Some(now.mono().since(finished.mono()));
        }
        let synchronised = |moment: &Moment| moment.time_quality == TimeQuality::Synchronised;
        (synchronised(finished) && synchronised(now))
            .then(|| now.wall.duration_since(finished.wall).max(SignedDuration::ZERO).unsigned_abs())
    }
}

/// `CAMERA_2026-11-29_03-15-00.mp4`, in local time; says so where the clock could not be trusted.
pub(super) fn file_name(camera: &str, from: Timestamp, quality: TimeQuality) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
    let camera: String = camera.chars().take(64).map(plain).collect();
    let at = from.to_zoned(zone::local());
    let doubt = if quality == TimeQuality::Synchronised { "" } else { "_time-uncertain" };
    format!("{camera}_{}{doubt}.mp4", at.strftime("%Y-%m-%d_%H-%M-%S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_camera_time_and_doubt_and_nothing_that_a_header_or_a_disk_minds() {
        let at: Timestamp = "2026-11-29T03:15:00.7Z".parse().expect("a time");
        let local = at.to_zoned(zone::local()).strftime("%Y-%m-%d_%H-%M-%S").to_string();
        assert_eq!(file_name("gate", at, TimeQuality::Synchronised), format!("gate_{local}.mp4"));
        let odd = file_name("dark/ \"side\"\r\nä", at, TimeQuality::Unsynchronised);
        assert_eq!(odd, format!("dark___side_____{local}_time-uncertain.mp4"));
    }
}
