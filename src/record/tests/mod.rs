//! Clips, segments and the ledger as recorders write them.

mod changes;
mod coding;
mod ledger;
mod sharing;
mod stills;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::archive::bench::{archive, archive_and_clock, event, id, put_sidecar, queued, read_event};
use crate::archive::filing::uploads;
use crate::archive::sidecar::measure;
use crate::archive::{Archive, SIDECAR};
use crate::clock::{Mono, SimulatedClock};
use crate::coverage_export::footage;
use crate::event::{Event, EventState};
use crate::mux::tests::packets;
use crate::recovery::recover;
use crate::store;
