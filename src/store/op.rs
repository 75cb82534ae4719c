//! The changes of the database, each of which one commit may hold many.

use std::path::PathBuf;
use std::sync::Arc;

use super::import::{GivenUp, MigratedAlert};
use super::queue::ItemRef;
use super::reserve::Room;
use super::{AlertCounts, Change, Delivery, Document, StoreError};
use super::{catalog, event_log};
use crate::asset::FileId;
use crate::clock::{Clock, Moment};
use crate::coverage::Span;
use crate::destination::Destination;
use crate::event::{Event, EventId, EventState, Phase, Reviewed};
use crate::execution::{ExecutionId, ExecutionState, ExecutionSummary};
use crate::photo::{Album, AlbumId, FolderFile, Photo, PhotoId};
use crate::segment::{Segment, SegmentId, SegmentState};

/// One change of the database. Everything that can be refused was checked before, so that one bad change
/// cannot fail the others of its group.
#[derive(Debug)]
pub(super) enum Op {
    Record {
        event: Box<Event>,
        json: Vec<u8>,
        deliveries: Vec<Delivery>,
        now: Moment,
    },
    Segment(Box<Segment>),
    Span(Box<Span>),
    EvictSegment {
        camera: Arc<str>,
        id: SegmentId,
        span: Box<Span>,
    },
    ForgetSegment {
        camera: Arc<str>,
        id: SegmentId,
    },
    Ack(ItemRef),
    Nack {
        item: ItemRef,
        error: String,
    },
    DeadLetter {
        item: ItemRef,
        class: String,
        error: String,
    },
    /// It is not to be delivered any more.
    Drop(ItemRef),
    Progress {
        item: ItemRef,
        progress: Option<String>,
    },
    Revive(ItemRef),
    /// All of them or none.
    Several(Vec<Op>),
    Discard(ItemRef),
    /// Numbers are not below this one from now on.
    CountOn(u64),
    Catalog(Vec<catalog::Change>),
    Deliver {
        delivery: Delivery,
        now: Moment,
    },
    /// Something is to be done with a document and one destination.
    DeliverTo {
        outbox: Destination,
        document: Document,
        now: Moment,
    },
    /// An alert of another index, for one outbox alone.
    MigrateAlert {
        outbox: Destination,
        event: Box<Event>,
        phase: Phase,
        created: Moment,
        given_up: Option<GivenUp>,
    },
    /// What another index knows of the alerts of an event that comes from there.
    CountAlerts {
        id: EventId,
        counted: AlertCounts,
    },
    /// Who has looked an event through.
    Review {
        id: EventId,
        by: Vec<Reviewed>,
    },
    /// A file does not wait any more in one outbox.
    Withdraw {
        outbox: Destination,
        file: FileId,
    },
    /// A photo as it is now, and what the world has to get because of it.
    Photo {
        photo: Box<Photo>,
        json: Vec<u8>,
        deliveries: Vec<Delivery>,
        now: Moment,
    },
    /// A photo that is gone, and what the world has to get and to lose because of it.
    ForgetPhoto {
        id: PhotoId,
        deliveries: Vec<Delivery>,
        now: Moment,
    },
    /// An album as it is now, and what the world has to get because of it.
    Album {
        album: Box<Album>,
        json: Vec<u8>,
        deliveries: Vec<Delivery>,
        now: Moment,
    },
    /// An album that was deleted, and what the world has to get because of it.
    ForgetAlbum {
        id: AlbumId,
        deliveries: Vec<Delivery>,
        now: Moment,
    },
    /// A photo goes into the lists of its terms again, as it is by then.
    FillPhoto(PhotoId),
    /// Photos of an album go into its list again.
    FillAlbum(AlbumId),
    /// An execution as it is now, and what the world has to get because of it.
    Execution {
        summary: Box<ExecutionSummary>,
        json: Vec<u8>,
        key: Option<String>,
        deliveries: Vec<Delivery>,
        /// Files that one destination alone gets.
        posts: Vec<(Destination, Document)>,
        now: Moment,
    },
    /// An execution that is gone, and what the world has to lose because of it.
    ForgetExecution {
        id: ExecutionId,
        key: Option<String>,
        deliveries: Vec<Delivery>,
        now: Moment,
    },
    /// What became of files in watched folders.
    FolderFiles(Vec<(PathBuf, Option<FolderFile>)>),
    /// One document, or none, in place of several that wait.
    Supersede {
        paths: Vec<String>,
        by: Option<Delivery>,
        now: Moment,
    },
}

impl Op {
    pub(super) fn record(change: Change, clock: &Arc<dyn Clock>) -> Result<Self, StoreError> {
        change.deliveries.iter().try_for_each(Delivery::check)?;
        let (event, json) = event_log::index_form(change.event)?;
        Ok(Self::Record { event: Box::new(event), json, deliveries: change.deliveries, now: clock.now() })
    }

    pub(super) fn migrate_alert(alert: MigratedAlert) -> Result<Self, StoreError> {
        let MigratedAlert { outbox, phase, event, created, given_up } = alert;
        let (event, _) = event_log::index_form(event)?;
        Ok(Self::MigrateAlert { outbox, event: Box::new(event), phase, created, given_up })
    }

    /// Whether it may change what is said of an event or of its delivery.
    pub(super) fn concerns_events(&self) -> bool {
        let elsewhere = matches!(
            self,
            Self::Segment(_)
                | Self::Span(_)
                | Self::EvictSegment { .. }
                | Self::ForgetSegment { .. }
                | Self::Nack { .. }
                | Self::Progress { .. }
                | Self::CountOn(_)
                | Self::Photo { .. }
                | Self::ForgetPhoto { .. }
                | Self::Album { .. }
                | Self::ForgetAlbum { .. }
                | Self::FillAlbum(_)
                | Self::FillPhoto(_)
                | Self::FolderFiles(_)
                | Self::Execution { .. }
                | Self::ForgetExecution { .. }
        );
        !elsewhere
    }

    /// The room that must be there for it. New records are refused when space is low; completions, acknowledgements and deletions are always accepted.
    pub(super) fn room(&self) -> Room {
        match self {
            Self::Record { event, .. } if event.state == EventState::Open => Room::Enough,
            Self::Segment(segment) if segment.state == SegmentState::Open => Room::Enough,
            Self::Deliver { .. } | Self::Photo { .. } | Self::Album { .. } => Room::Enough,
            Self::Execution { summary, .. } if summary.state == ExecutionState::Queued => Room::Enough,
            _ => Room::Short,
        }
    }
}
