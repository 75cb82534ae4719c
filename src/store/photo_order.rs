//! Photos in the order of time, newest first, of several scopes together.
//!
//! Keys of `photo_order` begin with a scope: what all users see, what one user alone sees, and what lies in one user's
//! trash. So what a caller may not see is not read for it. The value is the photo's number.

use super::StoreError;
use super::packed::Scan;
use super::photo_scope::{PhotoPosition, Scope};
use super::trees::Database;

/// The key of a photo that stands there.
pub(super) fn order_key(scope: &Scope, position: PhotoPosition) -> Vec<u8> {
    [scope.prefix(), position.to_bytes()].concat()
}

/// Photos from one position on, going back in time.
pub(super) struct Walk(Vec<Head>);

/// One scope, and the next of it.
struct Head {
    rows: Scan,
    prefix: usize,
    next: Option<(PhotoPosition, Option<u32>)>,
}

impl Walk {
    /// All photos of `scopes` below `before`.
    pub(super) fn new(db: &Database, scopes: &[Scope], before: Option<PhotoPosition>) -> Result<Self, StoreError> {
        // Past all positions: one byte more than the highest.
        let end = before.map_or_else(|| vec![0x7f; 25], PhotoPosition::to_bytes);
        let head = |scope: &Scope| {
            let prefix = scope.prefix();
            let rows = db.photo_order.range(prefix.clone()..[prefix.as_slice(), &end].concat());
            let mut head = Head { rows, prefix: prefix.len(), next: None };
            head.step()?;
            Ok(head)
        };
        scopes.iter().map(head).collect::<Result<_, _>>().map(Self)
    }

    /// The next photo, and its number where it is in the lists.
    pub(super) fn next(&mut self) -> Result<Option<(PhotoPosition, Option<u32>)>, StoreError> {
        let newest = self.0.iter_mut().filter(|head| head.next.is_some()).max_by_key(|head| head.next);
        newest.map_or(Ok(None), Head::step)
    }
}

impl Head {
    /// Gives the photo that was next.
    fn step(&mut self) -> Result<Option<(PhotoPosition, Option<u32>)>, StoreError> {
        let next = match self.rows.next_back().transpose()? {
            Some((key, row)) => {
                let number = row.as_ref().try_into().ok().map(u32::from_be_bytes);
                key.get(self.prefix..).and_then(PhotoPosition::from_bytes).map(|position| (position, number))
            }
            None => None,
        };
        Ok(std::mem::replace(&mut self.next, next))
    }
}
