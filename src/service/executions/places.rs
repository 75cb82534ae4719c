//! Places of requests whose pictures are in memory: few, and not all for one user.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests whose pictures are in memory at once.
const MOST: usize = 8;
/// Those of one user.
const MOST_OF_ONE: usize = 6;
/// How long another one waits for a place.
const WITHIN: Duration = Duration::from_secs(10);

/// All places.
pub(super) struct Places {
    all: Arc<Semaphore>,
    shares: Mutex<BTreeMap<Arc<str>, Arc<Semaphore>>>,
}

/// A place; free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_share: OwnedSemaphorePermit,
}

impl Default for Places {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(MOST)), shares: Mutex::default() }
    }
}

impl Places {
    /// A place for `owner`; `None` where there is none for a while.
    pub(super) async fn take(&self, owner: &Arc<str>) -> Option<Place> {
        let share = {
            let mut shares = self.shares.lock();
            // Those that hold or wait for places have a share of their own in hand.
            shares.retain(|_, share| Arc::strong_count(share) > 1);
            shares.entry(owner.clone()).or_insert_with(|| Arc::new(Semaphore::new(MOST_OF_ONE))).clone()
        };
        let places = async {
            let of_share = share.acquire_owned().await.ok()?;
            Some(Place { _of_all: self.all.clone().acquire_owned().await.ok()?, _of_share: of_share })
        };
        tokio::time::timeout(WITHIN, places).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_user_leaves_places_to_others_and_gets_them_back() {
        let (places, anna, bob): (Places, Arc<str>, Arc<str>) = (Places::default(), "anna".into(), "bob".into());
        let mut held = Vec::new();
        while let Some(place) = places.take(&anna).await {
            held.push(place);
        }
        assert_eq!(held.len(), MOST_OF_ONE);
        let of_bob = [places.take(&bob).await, places.take(&bob).await];
        assert!(of_bob.iter().all(Option::is_some) && places.take(&bob).await.is_none(), "all are taken");
        held.pop();
        assert!(places.take(&anna).await.is_some());
        drop((held, of_bob));
        assert!(places.take(&bob).await.is_some());
        assert_eq!(places.shares.lock().len(), 1, "of those that hold none nothing is kept");
    }
}
