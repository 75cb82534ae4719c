//! The tables: their names and columns. The one list that the files, the compaction and the tests of docs/lake.md use.
//!
//! Columns are only ever added, at the end. A file says in its key-value metadata `outpost.schema` which version wrote it.

use std::fmt;

/// Version of the columns, for readers that want to know; raised when columns are added.
pub const SCHEMA: &str = "2";

/// What kind of values a column holds. Every value may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// 64-bit integer.
    Int,
    /// Double.
    Real,
    /// Yes or no.
    Flag,
    /// Microseconds since 1970, UTC.
    Time,
}

/// Name and kind of a column.
pub type Column = (&'static str, Kind);

/// The tables of the lake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Events that are over; every version of each.
    Events,
    /// Who changed, or looked at, what.
    Audit,
    /// Files that were deleted from the box.
    Tombstones,
    /// What became of every second of a camera.
    Coverage,
    /// How the box was.
    Health,
}

impl Table {
    /// All tables, the most precious first.
    pub const ALL: [Self; 5] = [Self::Events, Self::Audit, Self::Tombstones, Self::Coverage, Self::Health];

    /// The name of its folder.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Audit => "audit",
            Self::Tombstones => "tombstones",
            Self::Coverage => "coverage",
            Self::Health => "health",
        }
    }

    /// Its columns, in order.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::Events => EVENTS,
            Self::Audit => AUDIT,
            Self::Tombstones => TOMBSTONES,
            Self::Coverage => COVERAGE,
            Self::Health => HEALTH,
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const EVENTS: &[Column] = &[
    ("recorded", Kind::Int),
    ("event", Kind::Text),
    ("site", Kind::Text),
    ("camera", Kind::Text),
    ("rule", Kind::Text),
    ("kind", Kind::Text),
    ("state", Kind::Text),
    ("label", Kind::Text),
    ("score", Kind::Real),
    ("count", Kind::Int),
    ("track", Kind::Int),
    ("zones", Kind::Text),
    ("started_at", Kind::Time),
    ("ended_at", Kind::Time),
    ("duration_s", Kind::Real),
    ("time_quality", Kind::Text),
    ("boot", Kind::Text),
    ("boot_s", Kind::Real),
    ("model", Kind::Text),
    ("best_at", Kind::Time),
    ("best_score", Kind::Real),
    ("best_x", Kind::Real),
    ("best_y", Kind::Real),
    ("best_w", Kind::Real),
    ("best_h", Kind::Real),
    ("clip_bytes", Kind::Int),
    ("clip_duration_s", Kind::Real),
    ("clip_codec", Kind::Text),
    ("clip_width", Kind::Int),
    ("clip_height", Kind::Int),
    ("stills", Kind::Int),
    ("media_skipped", Kind::Text),
    ("continues", Kind::Text),
    ("pinned", Kind::Flag),
    ("folder", Kind::Text),
    ("tags", Kind::Text),
    ("note", Kind::Text),
    ("verdict", Kind::Text),
    ("said_by", Kind::Text),
    ("said_at", Kind::Time),
    ("labels", Kind::Text),
    ("shared_event", Kind::Text),
    ("shared_file", Kind::Text),
    ("shared_offset_s", Kind::Real),
    ("shared_duration_s", Kind::Real),
];

const AUDIT: &[Column] = &[
    ("recorded", Kind::Int),
    ("seq", Kind::Int),
    ("at", Kind::Time),
    ("time_quality", Kind::Text),
    ("who", Kind::Text),
    ("kind", Kind::Text),
    ("address", Kind::Text),
    ("action", Kind::Text),
    ("target", Kind::Text),
    ("status", Kind::Int),
];

const TOMBSTONES: &[Column] = &[
    ("recorded", Kind::Int),
    ("event", Kind::Text),
    ("camera", Kind::Text),
    ("file", Kind::Text),
    ("bytes", Kind::Int),
    ("sha256", Kind::Text),
    ("deleted_at", Kind::Time),
    ("time_quality", Kind::Text),
    ("reason", Kind::Text),
    ("delivered", Kind::Flag),
];

const COVERAGE: &[Column] = &[
    ("recorded", Kind::Int),
    ("camera", Kind::Text),
    ("from_at", Kind::Time),
    ("until_at", Kind::Time),
    ("state", Kind::Text),
    ("reason", Kind::Text),
    ("complete", Kind::Flag),
    ("written_at", Kind::Time),
    ("time_quality", Kind::Text),
];

const HEALTH: &[Column] = &[
    ("recorded", Kind::Int),
    ("sampled_at", Kind::Time),
    ("time_quality", Kind::Text),
    ("boot", Kind::Text),
    ("boot_s", Kind::Real),
    ("uptime_s", Kind::Real),
    ("free_bytes", Kind::Int),
    ("resident_bytes", Kind::Int),
    ("temperature_c", Kind::Real),
    ("load_level", Kind::Text),
    ("cameras", Kind::Int),
    ("cameras_online", Kind::Int),
    ("left_out", Kind::Text),
    ("outlet", Kind::Text),
    ("outlet_online", Kind::Flag),
    ("queue_items", Kind::Int),
    ("queue_bytes", Kind::Int),
    ("dead_letters", Kind::Int),
];

#[cfg(test)]
mod tests {
    use super::*;

    const MANUAL: &str = include_str!("../../docs/lake.md");

    #[test]
    fn the_manual_has_every_column_in_order_and_no_other() {
        for table in Table::ALL {
            let section = MANUAL.split(&format!("\n## {table}\n")).nth(1).expect("a section for each table");
            let section = section.split("\n## ").next().expect("a section");
            let rows = section.lines().filter(|line| line.starts_with("| `"));
            let documented: Vec<(&str, &str)> = rows
                .map(|row| {
                    let mut cells = row.trim_matches('|').split('|').map(str::trim);
                    (cells.next().expect("a name").trim_matches('`'), cells.next().expect("a type"))
                })
                .collect();
            let word = |kind: Kind| match kind {
                Kind::Text => "text",
                Kind::Int => "integer",
                Kind::Real => "double",
                Kind::Flag => "boolean",
                Kind::Time => "timestamp",
            };
            let columns: Vec<(&str, &str)> = table.columns().iter().map(|(name, kind)| (*name, word(*kind))).collect();
            assert_eq!(documented, columns, "{table}");
        }
    }
}
