//! Files in folders outside the library: cards, sticks, shares of other programs. They are read and never changed.

mod settle;
mod take;
mod walk;

pub use settle::{SETTLE, Seen, Settling};
pub use take::{FileResult, FolderSource};
pub use walk::{Entry, files_below, is_wanted_below, look_at};
