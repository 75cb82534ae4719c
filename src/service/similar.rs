//! Photos that look alike, in groups, by the hashes of what they look like.
//!
//! The hashes of all photos are kept in memory, 24 bytes each; what was added since is read before each answer. What a
//! photo is, and whether the viewer sees it, is asked of the index for each photo of an answer.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use serde::Serialize;

use super::library::{LibraryService, PhotoRecord, Viewer, record};
use super::similar_hashes::Hashes;
use crate::photo::{Photo, PhotoId};

/// Bits of 64 that hashes of similar pictures differ in at most.
pub const MOST_APART: u32 = 5;
/// Parts of a hash. With one more than bits that may differ, one part at least is the same.
const BANDS: u32 = MOST_APART + 1;
/// Groups of one answer.
pub const MOST_GROUPS: usize = 100;
/// Photos of one group that are given.
const MOST_IN_GROUP: usize = 50;
/// Photos that are read of the index at once.
const PAGE: usize = 500;

/// Photos that look alike, the best first: most pixels, then most bytes, then what was added first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SimilarGroup {
    /// The photos.
    pub photos: Vec<PhotoRecord>,
}

impl LibraryService {
    /// Groups of photos that look alike, of those that the viewer sees and may change where `own_only`; the largest groups
    /// first, `skip` of them left out.
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn similar(&self, viewer: &Viewer, own_only: bool, skip: usize) -> Result<Vec<SimilarGroup>> {
        let groups = self.groups().await?;
        let (mut found, mut skipped) = (Vec::new(), 0);
        for group in groups {
            let photos = self.context.store().photos().some(group).await?;
            let is_shown = |photo: &Photo| {
                let is_seen = *photo.owner == *viewer.name || viewer.sees_all && !photo.private;
                is_seen && photo.trashed.is_none() && (!own_only || *photo.owner == *viewer.name)
            };
            let mut photos: Vec<Photo> = photos.into_iter().filter(is_shown).collect();
            if photos.len() < 2 {
                continue;
            }
            if skipped < skip {
                skipped += 1;
                continue;
            }
            photos.sort_by_key(|photo| {
                let pixels = u64::from(photo.facts.width) * u64::from(photo.facts.height);
                (std::cmp::Reverse((pixels, photo.bytes)), photo.id)
            });
            photos.truncate(MOST_IN_GROUP);
            let photos = photos.into_iter().map(|photo| record(photo, &viewer.name)).collect();
            found.push(SimilarGroup { photos });
            if found.len() == MOST_GROUPS {
                break;
            }
        }
        Ok(found)
    }

    /// Groups of ids, the largest first.
    async fn groups(&self) -> Result<Vec<Vec<PhotoId>>> {
        let mut hashes = self.hashes.clone().lock_owned().await;
        let storage = self.context.volume.archive().layout().storage().to_owned();
        if hashes.storage != storage {
            *hashes = Hashes { storage, ..Hashes::default() };
        }
        loop {
            let photos = self.context.store().photos().by_id(hashes.after, PAGE).await?;
            let Some(last) = photos.last().map(|photo| photo.id) else { break };
            let hash =
                |photo: &Photo| Some((photo.id, u64::from_str_radix(photo.facts.perceptual.as_deref()?, 16).ok()?));
            hashes.known.extend(photos.iter().filter_map(hash));
            hashes.after = Some(last);
        }
        Ok(tokio::task::spawn_blocking(move || group(&hashes.known)).await?)
    }
}

/// Puts together what is at most [`MOST_APART`] bits apart, directly or by what lies between; each group by id.
fn group(known: &[(PhotoId, u64)]) -> Vec<Vec<PhotoId>> {
    let mut groups = Groups((0..known.len()).collect());
    let width = 64_u32.div_ceil(BANDS);
    for band in 0..BANDS {
        let mut alike: HashMap<u64, Vec<usize>> = HashMap::new();
        for (at, (_, hash)) in known.iter().enumerate() {
            let part = hash.checked_shr(band * width).unwrap_or(0) & ((1 << width) - 1);
            alike.entry(part).or_default().push(at);
        }
        for places in alike.into_values() {
            for (n, first) in places.iter().enumerate() {
                for second in places.iter().skip(n + 1) {
                    let of = |at: &usize| known.get(*at).map_or(0, |(_, hash)| *hash);
                    if (of(first) ^ of(second)).count_ones() <= MOST_APART {
                        groups.join(*first, *second);
                    }
                }
            }
        }
    }
    let mut members: BTreeMap<usize, Vec<PhotoId>> = BTreeMap::new();
    for (at, (id, _)) in known.iter().enumerate() {
        members.entry(groups.root(at)).or_default().push(*id);
    }
    let mut found: Vec<Vec<PhotoId>> = members.into_values().filter(|group| group.len() > 1).collect();
    found.sort_by_key(|group| std::cmp::Reverse(group.len()));
    found
}

/// A forest of places, each tree a group.
struct Groups(Vec<usize>);

impl Groups {
    fn root(&mut self, mut at: usize) -> usize {
        loop {
            let up = self.0.get(at).copied().unwrap_or(at);
            if up == at {
                return at;
            }
            let above = self.0.get(up).copied().unwrap_or(up);
            if let Some(place) = self.0.get_mut(at) {
                *place = above;
            }
            at = up;
        }
    }

    fn join(&mut self, first: usize, second: usize) {
        let (first, second) = (self.root(first), self.root(second));
        if let Some(place) = self.0.get_mut(first.max(second)) {
            *place = first.min(second);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> PhotoId {
        PhotoId::from_bytes((n as u128).to_be_bytes())
    }

    /// By a look at each pair.
    fn expected(known: &[(PhotoId, u64)]) -> Vec<Vec<PhotoId>> {
        let mut groups: Vec<Vec<(PhotoId, u64)>> = Vec::new();
        for one in known {
            let is_alike =
                |group: &Vec<(PhotoId, u64)>| group.iter().any(|other| (other.1 ^ one.1).count_ones() <= MOST_APART);
            let (alike, mut rest): (Vec<_>, Vec<_>) = groups.into_iter().partition(is_alike);
            rest.push(alike.into_iter().flatten().chain([*one]).collect());
            groups = rest;
        }
        let mut found: Vec<Vec<PhotoId>> = groups
            .into_iter()
            .filter(|group| group.len() > 1)
            .map(|group| {
                let mut ids: Vec<PhotoId> = group.into_iter().map(|(id, _)| id).collect();
                ids.sort_unstable();
                ids
            })
            .collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn groups_are_those_that_a_look_at_each_pair_gives() {
        let mut dice = fastrand::Rng::with_seed(3);
        for _ in 0..40 {
            let seeds: Vec<u64> = (0..8).map(|_| dice.u64(..)).collect();
            let known: Vec<(PhotoId, u64)> = (0..120)
                .map(|n| {
                    let mut hash = *dice.choice(&seeds).expect("one");
                    for _ in 0..dice.u8(0..14) {
                        hash ^= 1 << dice.u8(0..64);
                    }
                    (id(n), hash)
                })
                .collect();
            let mut found = group(&known);
            assert!(found.is_sorted_by_key(|group| std::cmp::Reverse(group.len())));
            found.sort_unstable();
            assert_eq!(found, expected(&known));
        }
        assert_eq!(group(&[(id(1), 0), (id(2), 0b11_1111)]), Vec::<Vec<PhotoId>>::new(), "six bits apart");
        assert_eq!(group(&[(id(1), 0), (id(2), 0b11_1110)]), [[id(1), id(2)]]);
        assert_eq!(group(&[(id(1), 1 << 63), (id(2), 0)]), [[id(1), id(2)]], "the last bit counts");
    }
}
