//! The events that lie on the disk, in the order of their ids, with a bounded number in memory.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use super::layout::Layout;
use super::removal::{GONE, remove_gone};
use crate::event::EventId;

/// Folders that one pass over the archive remembers. A pass reads names only.
const WINDOW: usize = if cfg!(test) { 3 } else { 64 * 1024 };

/// An event's folder: its id and its camera.
pub type Place = (EventId, Arc<str>);

/// Goes through the folders `<archive>/<camera>/<event-id>/` with ids below a bound, oldest first, so that what
/// is queued for delivery on the way is queued in its order. Names that are no event ids are foreign.
#[derive(Debug)]
pub struct Walk {
    layout: Layout,
    before: EventId,
    after: Option<Place>,
}

impl Walk {
    /// A walk over the events with ids below `before`.
    pub fn new(layout: Layout, before: EventId) -> Self {
        Self { layout, before, after: None }
    }

    /// The highest id on the disk.
    pub fn newest(&self) -> Option<EventId> {
        let mut newest = None;
        self.each(|id, _| newest = newest.max(Some(id)));
        newest
    }

    /// How many folders there are.
    pub fn folders(&self) -> u64 {
        let mut count = 0;
        self.each(|_, _| count += 1);
        count
    }

    /// Removes what a power cut left of events that were being deleted.
    pub(crate) fn remove_gone(&self) {
        for camera in fs::read_dir(self.layout.root()).into_iter().flatten().flatten() {
            for folder in fs::read_dir(camera.path()).into_iter().flatten().flatten() {
                if folder.path().extension().is_some_and(|extension| extension == GONE) {
                    remove_gone(&folder.path());
                }
            }
        }
    }

    fn each(&self, mut visit: impl FnMut(EventId, &Arc<str>)) {
        let Ok(cameras) = fs::read_dir(self.layout.root()) else { return };
        for camera in cameras.flatten() {
            let Ok(name) = camera.file_name().into_string() else { continue };
            let Ok(events) = fs::read_dir(camera.path()) else { continue };
            let name: Arc<str> = name.into();
            for event in events.flatten() {
                let folder = event.file_name();
                let id = folder.to_str().and_then(|name| name.parse::<EventId>().ok());
                // Other spellings of an id name another folder than the event's.
                if let Some(id) = id.filter(|id| *id < self.before && folder == *id.to_string()) {
                    visit(id, &name);
                }
            }
        }
    }
}

impl Iterator for Walk {
    type Item = Vec<Place>;

    fn next(&mut self) -> Option<Vec<Place>> {
        let mut window = BTreeSet::new();
        self.each(|id, camera| {
            let place = (id, camera.clone());
            let is_ahead = self.after.as_ref().is_none_or(|after| place > *after);
            if !is_ahead || window.len() >= WINDOW && window.last().is_some_and(|last| place > *last) {
                return;
            }
            window.insert(place);
            if window.len() > WINDOW {
                window.pop_last();
            }
        });
        self.after = Some(window.last()?.clone());
        Some(window.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_comes_once_in_the_order_of_ids_up_to_the_bound() {
        let dir = tempfile::tempdir().expect("tempdir");
        let layout = Layout::new(dir.path());
        let id = |n: u128| EventId::from_bytes(n.to_be_bytes());
        for n in [7, 1, 4, 9, 12] {
            let camera = if n % 2 == 0 { "gate" } else { "yard" };
            fs::create_dir_all(layout.folder(camera, id(n))).expect("a folder");
        }
        fs::create_dir_all(layout.root().join("yard/holiday pictures")).expect("a foreign folder");
        let walk = Walk::new(layout, id(12));
        assert_eq!((walk.folders(), walk.newest()), (4, Some(id(9))));
        let places: Vec<(EventId, String)> = walk.flatten().map(|(id, camera)| (id, camera.to_string())).collect();
        let expected = [(1, "yard"), (4, "gate"), (7, "yard"), (9, "yard")];
        assert_eq!(places, expected.map(|(n, camera)| (id(n), camera.to_owned())));
    }
}
