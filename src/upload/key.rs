//! Where a file goes in the cloud.

use object_store::path::Path;

use crate::asset::MediaKind;
use crate::event::Event;
use crate::store::Document;

/// `<device>/<yyyy>/<mm>/<dd>/<camera>/<event-id>/<file>`, by the day under which the event is filed: the UTC date
/// on which it began, as far as the box knew.
///
/// It depends on nothing that changes during an event's life, so that the same file always goes to the same
/// place. Characters that are not safe in a path are percent-encoded, each part by itself.
pub fn object_key(device: &str, event: &Event, file: &str) -> String {
    path(device, event, file).into()
}

pub(super) fn path(device: &str, event: &Event, file: &str) -> Path {
    let date = event.filed.as_deref().map_or_else(|| event.start.wall.strftime("%Y/%m/%d").to_string(), str::to_owned);
    let id = event.id.to_string();
    Path::from_iter([device].into_iter().chain(date.split('/')).chain([&*event.camera, &id, file]))
}

/// Where a document goes: `<device>/<path>`, but files of the lake, `lake/<table>/<rest>`, to
/// `lake/<table>/device=<device>/<rest>`, so that one table of all boxes lies in one folder.
pub(super) fn document(device: &str, document: &Document) -> Path {
    let parts: Vec<&str> = document.path.split('/').collect();
    match (document.kind, parts.as_slice()) {
        (MediaKind::LakeTable, [lake, table, rest @ ..]) => {
            let device = format!("device={device}");
            Path::from_iter([lake, table, &*device].into_iter().chain(rest.iter().copied()))
        }
        (_, parts) => Path::from_iter([device].iter().chain(parts).copied()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upload::tests::event;

    fn at(device: &str, path: &str) -> String {
        document(device, &Document::new(path, 1, "aa")).into()
    }

    #[test]
    fn the_key_names_device_utc_day_camera_event_and_file() {
        let event = event("01JD0000000000000000000000", "yard", "2026-03-01T23:59:59Z");
        assert_eq!(
            object_key("box-7", &event, "clip.mp4"),
            "box-7/2026/03/01/yard/01JD0000000000000000000000/clip.mp4"
        );
    }

    #[test]
    fn the_lake_lies_beside_the_boxes_and_is_parted_by_them() {
        assert_eq!(
            at("box-7", "lake/events/date=2026-11-22/1_2.parquet"),
            "lake/events/device=box-7/date=2026-11-22/1_2.parquet"
        );
        assert_eq!(at("box-7", "lake/events"), "box-7/lake/events");
        assert_eq!(at("box-7", "coverage/yard/2026-11-22.json"), "box-7/coverage/yard/2026-11-22.json");
    }

    #[test]
    fn no_name_can_leave_its_place() {
        let event = event("01JD0000000000000000000000", "../../other", "2026-03-01T00:00:00Z");
        let key = object_key("..", &event, "a/b#1");
        assert_eq!(key, "%2E%2E/2026/03/01/..%2F..%2Fother/01JD0000000000000000000000/a%2Fb%231");
        assert_eq!(at("box", "coverage/../a#1"), "box/coverage/%2E%2E/a%231");
    }
}
