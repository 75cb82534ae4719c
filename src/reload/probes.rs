//! What a trial looks at: the parts themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::trial::{Finding, Subject};
use crate::clock::Clock;
use crate::health::{CameraState, Health};
use crate::reception::Reception;

/// Finds out whether cameras and destinations work, while the daemon does its work.
pub struct Probes {
    /// The box's clock.
    pub clock: Arc<dyn Clock>,
    /// What the destinations know of themselves.
    pub health: Health,
    /// How the connection to each camera is.
    pub cameras: BTreeMap<String, watch::Receiver<Reception>>,
}

impl Probes {
    /// How `subject` is now.
    pub fn find(&self, subject: &Subject) -> Finding {
        match subject {
            Subject::Camera(name) => self.find_camera(name),
            Subject::Destination(name) => self.find_destination(name),
        }
    }

    fn find_camera(&self, name: &str) -> Finding {
        let Some(reception) = self.cameras.get(name) else { return Finding::Down("it does not run".to_owned()) };
        let reception = reception.borrow();
        match reception.state {
            CameraState::Online | CameraState::Finished | CameraState::Idle => Finding::Up,
            _ => Finding::Down(reception.reason.clone().unwrap_or_else(|| "it gives no pictures".to_owned())),
        }
    }

    fn find_destination(&self, name: &str) -> Finding {
        let known = self.health.outlets().into_iter().find(|outlet| outlet.name == name);
        let Some(outlet) = known else { return Finding::Unknown };
        match outlet.online {
            None => Finding::Unknown,
            Some(true) => Finding::Up,
            Some(false) => Finding::Down(outlet.last_error.unwrap_or_else(|| "no link".to_owned())),
        }
    }
}
