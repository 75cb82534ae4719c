//! An alert of a pipeline: an event like those of cameras, so that it is kept, delivered and shown as they are.

use anyhow::{Context, Result};

use super::ExecutionService;
use crate::archive::sidecar::write_event;
use crate::archive::{Archive, filing, write_durable};
use crate::asset::SNAPSHOT;
use crate::block::Encoded;
use crate::event::{Alert, Event, EventId, EventState, Phase};
use crate::execution::{Execution, ExecutionId};
use crate::store::{Change, Delivery};

/// What stands in place of a camera.
const CAMERA: &str = "pipelines";

impl ExecutionService {
    /// Alerts people, once: the alert `number` of an execution has an id of its own.
    pub(super) async fn alert(
        &self,
        execution: &Execution,
        number: usize,
        message: &str,
        picture: Option<&Encoded>,
    ) -> Result<(), String> {
        let (archive, device, site) =
            (self.context.volume.archive(), self.context.device.clone(), self.context.site.clone());
        let event = Event::of_alert(Alert {
            id: id_of(execution.id, number),
            device,
            site,
            camera: CAMERA.into(),
            pipeline: &execution.pipeline.name,
            message,
            start: execution.created.clone(),
        });
        let picture = picture.map(|picture| picture.bytes.clone());
        let recorded = tokio::task::spawn_blocking(move || record(&archive, event, picture)).await;
        let failed = |error: String| format!("people could not be alerted: {error}");
        recorded.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(format!("{error:#}")))
    }
}

/// Makes the alert durable, with its delivery. Blocks.
fn record(archive: &Archive, mut event: Event, picture: Option<Vec<u8>>) -> Result<()> {
    let events = archive.store().events();
    if events.get(event.id).wait()?.is_some() {
        // It was, before a stop.
        return Ok(());
    }
    let folder = archive.layout().create_folder(&event.camera, event.id)?;
    if let Some(picture) = picture {
        event.pictures.push(write_durable(&folder, SNAPSHOT, &picture)?);
    }
    (event.state, event.end) = (EventState::Ended, Some(archive.now()));
    filing::file_if_possible(archive, &mut event);
    write_event(&folder, &event)?;
    let mut deliveries = filing::deliveries(archive, &event)?;
    deliveries.push(Delivery::Alert(Phase::Start));
    events.record(Change { event: event.clone(), deliveries }).context("record the alert")?;
    archive.announce(Phase::Start, &event);
    Ok(())
}

/// The id of an alert: the time of the execution, and what only this one of its alerts has.
fn id_of(execution: ExecutionId, number: usize) -> EventId {
    let mut bytes = execution.to_bytes();
    let number = u64::try_from(number).unwrap_or(u64::MAX).wrapping_add(1);
    // The first six bytes are the time.
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    for (byte, with) in bytes.iter_mut().skip(8).zip(mixed) {
        *byte ^= with;
    }
    EventId::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_alert_of_an_execution_has_an_id_of_the_same_time() {
        let execution = ExecutionId::from_bytes([7; 16]);
        let ids: BTreeSet<EventId> = (0..100).map(|number| id_of(execution, number)).collect();
        assert_eq!(ids.len(), 100);
        assert!(!ids.contains(&execution) && ids.iter().all(|id| id.to_bytes()[..6] == [7; 6]));
        assert_eq!(id_of(execution, 3), id_of(execution, 3));
    }
}
