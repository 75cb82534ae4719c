//! How many requests of one caller are worked on at once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::access::Caller;

/// Requests of one caller at once, before their answers begin. A browser asks for as many pictures as HTTP/2 allows.
pub(super) const MOST_OF_ONE: usize = 128;

/// The requests that are worked on, by caller.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<String, usize>>>);

/// A request that is worked on, until this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    who: String,
    of: Turns,
}

impl Turns {
    /// The turn of a request by `caller`, or by someone at `address`; `None` where they have as many as they may.
    pub(super) fn take(&self, caller: Option<&Caller>, address: IpAddr) -> Option<Turn> {
        let who = match caller {
            Some(caller) => format!("{} {}", caller.kind.as_str(), caller.name),
            None => address.to_string(),
        };
        let mut turns = self.0.lock();
        let taken = turns.entry(who.clone()).or_default();
        if *taken >= MOST_OF_ONE {
            return None;
        }
        *taken += 1;
        Some(Turn { who, of: self.clone() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = self.of.0.lock();
        if let Entry::Occupied(mut taken) = turns.entry(std::mem::take(&mut self.who)) {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::CallerKind;

    #[test]
    fn each_caller_has_turns_of_its_own_which_come_back() {
        let turns = Turns::default();
        let here = IpAddr::from([10, 0, 0, 7]);
        let (anna, key) = (Caller::admin("anna", CallerKind::Session), Caller::admin("anna", CallerKind::Key));
        let mut taken: Vec<Turn> = (0..MOST_OF_ONE).map(|_| turns.take(Some(&anna), here).expect("a turn")).collect();
        assert!(turns.take(Some(&anna), IpAddr::from([10, 0, 0, 8])).is_none(), "wherever she is");
        assert!(turns.take(Some(&key), here).is_some() && turns.take(None, here).is_some());
        taken.pop();
        assert!(turns.take(Some(&anna), here).is_some());
        drop(taken);
        assert!(turns.0.lock().is_empty());
    }
}
