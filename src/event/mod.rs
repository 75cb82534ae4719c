//! Events: the record that the whole box exists for, and its written form `event.json`.
//!
//! `event.json` is the truth; the index can be rebuilt from it. Its schema is versioned
//! ([`SCHEMA_VERSION`]) and documented in docs/event.md. Fields are only ever added; a reader ignores
//! what it does not know.

mod alert;
mod annotations;
mod clip;
#[cfg(test)]
pub mod fixture;
mod path_point;

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::asset::AssetId;
use crate::clock::Moment;
use crate::destination::Destination;
use crate::detection::BBox;
use crate::segment::SegmentRange;

pub use crate::asset::{IdSource, MediaFile};
pub use alert::Alert;
pub use annotations::{Annotations, Judgement, MOST_TAGS, Reviewed, Verdict, check_note, check_tag};
pub(crate) use clip::seconds_after;
pub use clip::{Clip, MOST_CLIPS, SharedClip, WHOLE_VIDEO};
pub use path_point::PathPoint;

/// Version of the written form.
pub const SCHEMA_VERSION: u32 = 1;

/// Identity of an event.
pub type EventId = AssetId;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// An object is in view.
    Object,
    /// Objects are in view that are new or move, all together.
    Activity,
    /// An object came into a zone.
    Enter,
    /// An object stayed in a zone for the dwell time.
    Dwell,
    /// An object left a zone.
    Leave,
    /// An object crossed a line.
    Cross,
    /// At least so many objects at once.
    Count,
    /// A pipeline alerts people; no rule has this kind.
    Alert,
}

/// Where the event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventState {
    /// Still going on, or still being recorded.
    Open,
    /// Over; media are complete.
    Ended,
    /// The box stopped in the middle; media reach as far as they reach.
    Interrupted,
}

/// Why a file was deleted from the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvictReason {
    /// It was older than its class may become.
    Age,
    /// All files together took more than they may.
    Quota,
    /// The volume had too little free space.
    MinFree,
    /// A person deleted the event.
    Person,
}

impl EvictReason {
    /// The name used in `event.json`, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Quota => "quota",
            Self::MinFree => "min_free",
            Self::Person => "person",
        }
    }
}

/// A file that the event had and that was deleted from the box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evicted {
    /// What it was.
    #[serde(flatten)]
    pub media: MediaFile,
    /// When it was deleted.
    pub at: Moment,
    /// Why.
    pub reason: EvictReason,
    /// Whether every configured destination had confirmed it by then.
    pub delivered: bool,
}

/// Why an event has fewer media than it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaSkipped {
    /// The volume was too full for them.
    NoSpace,
    /// The camera changed its codec sooner than another event could take what came: the clip has a gap or ends there.
    CodecChanges,
}

/// The best look at the object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// When.
    pub at: Moment,
    /// Score in that frame, 0..1.
    pub score: f32,
    /// Where: `[x, y, w, h]` in 0..1.
    #[serde(rename = "box")]
    pub bbox: BBox,
}

/// Everything known about one event; serialises to `event.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// [`SCHEMA_VERSION`] of the writer.
    pub version: u32,
    /// Identity.
    pub id: EventId,
    /// The box.
    pub device: Arc<str>,
    /// Where the box stands, as configured; may be empty.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub site: Arc<str>,
    /// Name of the camera in the config.
    pub camera: Arc<str>,
    /// Name of the rule that fired.
    pub rule: Arc<str>,
    /// What happened.
    pub kind: EventKind,
    /// Where it stands.
    pub state: EventState,
    /// Class of the object.
    pub label: Arc<str>,
    /// Highest median score so far, 0..1.
    pub score: f32,
    /// Most objects at once, for [`EventKind::Count`] and [`EventKind::Activity`]; else 1.
    pub count: u32,
    /// Classes of all objects, for those two, in the order in which they came; `label` is the commonest of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Arc<str>>,
    /// Track within the camera's run; events of one object share it.
    pub track: u64,
    /// Zones that the object was in so far, in order of entering.
    pub zones: Vec<Arc<str>>,
    /// When it began.
    pub start: Moment,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Moment>,
    /// The best look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<Best>,
    /// The model that saw it.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub model: Arc<str>,
    /// What people are alerted of, for [`EventKind::Alert`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Arc<str>>,
    /// Video, once it is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<Clip>,
    /// Its continuation, where the camera changed its parameters meanwhile: `clip-2.mp4` and so on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_clips: Vec<Clip>,
    /// Its video that other events' clips hold, in order; its own clip goes on from there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<SharedClip>,
    /// Stills: `snapshot.jpg` (clean), `snapshot-boxes.jpg` (annotated), `thumb.jpg`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pictures: Vec<MediaFile>,
    /// The day under which its files go into the cloud, `2026/11/22` in UTC. It is given once, when the clock can
    /// be trusted or the wait for that is over, and never changes, even where the times are corrected later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filed: Option<Arc<str>>,
    /// Continuous recording from pre-roll to post-roll, where the camera has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<SegmentRange>,
    /// Files that were deleted from the box to make room, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evicted: Vec<Evicted>,
    /// Why media were left out or cut short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_skipped: Option<MediaSkipped>,
    /// The event that this one goes on from, with the same start: its volume was lost, or came back, in the middle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<EventId>,
    /// It is to be kept, whatever its age and however little space there is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// Where the object was over time, oldest first; in `event.json` alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<PathPoint>,
    /// What people say of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
}

/// What is known of an event when it begins. Fields as in [`Event`].
#[derive(Clone, Debug)]
pub struct Beginning {
    /// Identity.
    pub id: EventId,
    /// The box.
    pub device: Arc<str>,
    /// Where the box stands; may be empty.
    pub site: Arc<str>,
    /// Name of the camera.
    pub camera: Arc<str>,
    /// Name of the rule.
    pub rule: Arc<str>,
    /// What happened.
    pub kind: EventKind,
    /// Class of the object.
    pub label: Arc<str>,
    /// Median score, 0..1.
    pub score: f32,
    /// Objects at once.
    pub count: u32,
    /// Classes of all objects.
    pub labels: Vec<Arc<str>>,
    /// Track within the camera's run.
    pub track: u64,
    /// Zones that the object was in.
    pub zones: Vec<Arc<str>>,
    /// The model that saw it; may be empty.
    pub model: Arc<str>,
    /// When it began.
    pub start: Moment,
}

impl Event {
    /// An event that begins: open, without media.
    pub fn begin(beginning: Beginning) -> Self {
        let Beginning { id, device, site, camera, rule, kind, label, score, count, labels, track, zones, model, start } =
            beginning;
        Self {
            version: SCHEMA_VERSION,
            id,
            device,
            site,
            camera,
            rule,
            kind,
            state: EventState::Open,
            label,
            score,
            count,
            labels,
            track,
            zones,
            start,
            end: None,
            best: None,
            model,
            clip: None,
            more_clips: Vec::new(),
            shares: Vec::new(),
            pictures: Vec::new(),
            filed: None,
            segments: None,
            evicted: Vec::new(),
            media_skipped: None,
            continues: None,
            pinned: false,
            path: Vec::new(),
            annotations: None,
            message: None,
        }
    }

    /// The event `id` that goes on from this one: with the same start and all that is known of it, without its files.
    #[must_use]
    pub fn successor(self, id: EventId) -> Self {
        let Self { device, site, camera, rule, kind, label, score, count, labels, track, zones, model, start, .. } =
            self;
        let beginning =
            Beginning { id, device, site, camera, rule, kind, label, score, count, labels, track, zones, model, start };
        Self {
            end: self.end,
            best: self.best,
            continues: Some(self.id),
            pinned: self.pinned,
            annotations: self.annotations,
            message: self.message,
            ..Self::begin(beginning)
        }
    }

    /// The event as the index may have it, in whose rows there is no room for the path.
    #[must_use]
    pub fn without_path(self) -> Self {
        Self { path: Vec::new(), ..self }
    }

    /// Whether an object of the class is in it.
    pub fn shows(&self, label: &str) -> bool {
        *self.label == *label || self.labels.iter().any(|of| **of == *label)
    }

    /// The media files that it names.
    pub fn media(&self) -> impl Iterator<Item = &MediaFile> {
        self.pictures.iter().chain(self.clips().map(|clip| &clip.media))
    }

    /// Its video in the order of time, in one file unless the camera changed its parameters meanwhile.
    pub fn clips(&self) -> impl Iterator<Item = &Clip> {
        self.clip.iter().chain(&self.more_clips)
    }

    /// From when to when its video reaches, pre-roll and post-roll among it, wherever it lies; one that goes on reaches to
    /// `now`.
    pub fn extent(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let end = self.end.as_ref().map_or(now, |end| end.wall).max(self.start.wall);
        let own = self.clips().map(|clip| (clip.start.wall, clip.duration_s));
        let shared = self.shares.iter().map(|part| (seconds_after(self.start.wall, part.after_s), part.duration_s));
        own.chain(shared).fold((self.start.wall, end), |(from, until), (begin, length)| {
            (from.min(begin), until.max(seconds_after(begin, length.max(0.0))))
        })
    }

    /// [`Event::clips`], to be changed.
    pub fn clips_mut(&mut self) -> impl Iterator<Item = &mut Clip> {
        self.clip.iter_mut().chain(&mut self.more_clips)
    }

    /// Names `clips` in place of those that it names.
    pub fn set_clips(&mut self, clips: impl IntoIterator<Item = Clip>) {
        let mut clips = clips.into_iter();
        (self.clip, self.more_clips) = (clips.next(), clips.collect());
    }

    /// Takes its clips out of it.
    pub fn take_clips(&mut self) -> Vec<Clip> {
        self.clip.take().into_iter().chain(std::mem::take(&mut self.more_clips)).collect()
    }

    /// Names only those of its clips that `keep` holds for.
    pub fn retain_clips(&mut self, keep: impl Fn(&Clip) -> bool) {
        let clips = self.take_clips();
        self.set_clips(clips.into_iter().filter(keep));
    }

    /// Length in seconds, once it ended.
    pub fn duration_s(&self) -> Option<f64> {
        let end = self.end.as_ref()?;
        Some(end.mono().since(self.start.mono()).as_secs_f64())
    }
}

/// The steps of an event's life that are reported to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It began.
    Start,
    /// Something worth an update changed: a better look, another zone.
    Update,
    /// It is over; media are named.
    End,
}

impl Phase {
    /// The name used in topics and on the page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Update => "update",
            Self::End => "end",
        }
    }
}

/// How far an outlet got with an event, or with one of its files. In the order in which they count: of several files
/// the first of these that one of them is in holds for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Given up after several tries. It is among the dead letters, and a person can have it tried again.
    Failed,
    /// In the queue, or to be queued once the event is over and has its day.
    Waiting,
    /// Taken out of the queue or of the dead letters before it was delivered: by a person, or because it was deleted
    /// from the box.
    Dropped,
    /// Never queued for this outlet, which was configured later.
    NotWanted,
    /// Confirmed by the other side.
    Delivered,
}

/// How far an outlet got with one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDelivery {
    /// Name in the event's folder.
    pub file: String,
    /// How far it got.
    pub state: DeliveryState,
}

/// How far an outlet got with an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutletDelivery {
    /// Where it delivers to.
    pub outlet: Destination,
    /// Of all files or alerts together.
    pub state: DeliveryState,
    /// Of each file, those included that were deleted from the box; empty for an outlet of alerts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileDelivery>,
}

impl OutletDelivery {
    /// Whether every one of `outlets` that takes files has confirmed `file`, and there is one at all.
    pub fn is_everywhere(outlets: &[Self], file: &str) -> bool {
        let mut destinations = outlets.iter().filter(|outlet| !outlet.files.is_empty()).peekable();
        let has = |outlet: &Self| outlet.files.iter().any(|of| of.file == file && of.state == DeliveryState::Delivered);
        destinations.peek().is_some() && destinations.all(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_has_all_that_is_known_of_an_event_but_its_files() {
        let event: Event =
            serde_json::from_str(include_str!("../../tests/fixtures/json/event.json")).expect("an event");
        let event = Event { pinned: true, filed: Some("2026/11/28".into()), ..event };
        let id = EventId::from_bytes([7; 16]);
        let json = |event: &Event| match serde_json::to_value(event) {
            Ok(serde_json::Value::Object(fields)) => fields,
            other => panic!("{other:?}"),
        };
        let (before, after) = (json(&event), json(&event.clone().successor(id)));
        let differ: Vec<&str> = before
            .keys()
            .chain(after.keys().filter(|key| !before.contains_key(*key)))
            .filter(|key| before.get(*key) != after.get(*key))
            .map(String::as_str)
            .collect();
        assert_eq!(
            (&after["id"], &after["continues"], &after["state"]),
            (&id.to_string().into(), &before["id"], &"open".into())
        );
        let of_files = ["clip", "filed", "id", "pictures", "segments", "state", "continues"];
        assert!(differ.iter().all(|key| of_files.contains(key)), "{differ:?}");
        assert!(!after.contains_key("clip") && !after.contains_key("pictures") && !after.contains_key("filed"));
    }

    #[test]
    fn an_event_reaches_as_far_as_its_video_wherever_that_lies() {
        let event: Event =
            serde_json::from_str(include_str!("../../tests/fixtures/json/event.json")).expect("an event");
        let (start, end) = (event.start.wall, event.end.as_ref().expect("an end").wall);
        let part = |after_s, duration_s| SharedClip {
            event: EventId::from_bytes([1; 16]),
            file: "clip.mp4".into(),
            after_s,
            offset_s: 3.0,
            duration_s,
        };
        let length = end.duration_since(start).as_secs_f64();
        let shares = vec![part(-12.5, 20.0), part(length, 7.5)];
        let event = Event { clip: None, more_clips: Vec::new(), shares, ..event };
        let extent = event.extent(Timestamp::MAX);
        assert_eq!((extent.0.duration_since(start), extent.1.duration_since(end)), (from(-12_500), from(7_500)));
    }

    fn from(millis: i64) -> jiff::SignedDuration {
        jiff::SignedDuration::from_millis(millis)
    }
}
