//! What the pictures of a run take together: lists of pictures that are each small enough fill the memory too.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::output::BlockError;
use super::value::{Item, Value};

/// Most bytes of all pictures that the steps of one run made: ten times the largest one.
pub(super) const MOST_BYTES: u64 = 512 << 20;

/// The pictures of a run so far, each counted once.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Where they lie; they stay there while the run lasts.
    places: BTreeSet<usize>,
    bytes: u64,
}

impl Held {
    /// Counts the pictures in `item`.
    ///
    /// # Errors
    /// When they are too many with those before.
    pub(super) fn take(&mut self, item: &Item) -> Result<(), BlockError> {
        match item {
            Item::Absent => Ok(()),
            Item::Many(items) => items.iter().try_for_each(|item| self.take(item)),
            Item::One(Value::Image(image)) => {
                self.count(Arc::as_ptr(&image.picture).addr(), image.picture.data.len());
                if let Some(coded) = &image.encoded {
                    self.count(Arc::as_ptr(coded).addr(), coded.bytes.len());
                }
                check(self.bytes)
            }
            Item::One(_) => Ok(()),
        }
    }

    fn count(&mut self, place: usize, bytes: usize) {
        if self.places.insert(place) {
            self.bytes = self.bytes.saturating_add(bytes as u64);
        }
    }
}

/// Whether so many bytes of pictures may be there.
///
/// # Errors
/// When they are too many.
pub(super) fn check(bytes: u64) -> Result<(), BlockError> {
    if bytes <= MOST_BYTES {
        return Ok(());
    }
    let message = format!(
        "the pictures of all steps would have {bytes} bytes together, and {MOST_BYTES} are the most: make fewer or smaller ones"
    );
    Err(BlockError::too_large(message))
}

#[cfg(test)]
mod tests {
    use super::super::value::Image;
    use super::*;
    use crate::frame::Rgb;

    fn picture(megabytes: usize) -> Item {
        let (width, height) = (1 << 10, u32::try_from(megabytes << 10).expect("small"));
        Item::One(Value::Image(Image::whole(Rgb { width, height, data: vec![0; megabytes << 20] })))
    }

    #[test]
    fn pictures_are_counted_together_and_each_once() {
        let (mut held, large) = (Held::default(), picture(300));
        held.take(&large).expect("there is room");
        held.take(&Item::Many(vec![large.clone(), large.clone()])).expect("they are one");
        let other = picture(200);
        held.take(&other).expect("there is room");
        let list = Item::Many(vec![Item::Absent, picture(5), picture(8)]);
        let refused = held.take(&list).expect_err("513 MiB");
        assert!(refused.message.contains("537919488 bytes"), "{}", refused.message);
    }
}
