//! What changes of the library, as a user sees it who follows it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::library::{LibraryService, Viewer};
use crate::photo::PhotoId;
use crate::store::{PhotoChange, Position, Scope};

/// What became of the photos in the list of one user, which has all that the user sees and nothing of the trash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LibraryChanges {
    /// Photos that are in it now.
    pub added: Vec<PhotoId>,
    /// Photos of which something is another.
    pub changed: Vec<PhotoId>,
    /// Photos that are not in it any more: deleted, in the trash, or private by now.
    pub removed: Vec<PhotoId>,
}

impl LibraryChanges {
    /// Of a photo that changed several times, what came of it in the end.
    fn of(changes: Vec<PhotoChange>, viewer: &Viewer) -> Self {
        let is_of_viewer = |change: &PhotoChange| match &change.favorite_of {
            Some(users) => users.contains(&viewer.name),
            None => true,
        };
        let mut photos: BTreeMap<PhotoId, (Option<Scope>, Option<Scope>)> = BTreeMap::new();
        for change in changes.into_iter().filter(is_of_viewer) {
            photos.entry(change.id).or_insert((change.before, None)).1 = change.after;
        }
        let (scopes, mut all) = (viewer.scopes(), Self::default());
        let is_listed = |scope: Option<Scope>| scope.is_some_and(|scope| scopes.contains(&scope));
        for (id, (before, after)) in photos {
            match (is_listed(before), is_listed(after)) {
                (false, true) => all.added.push(id),
                (true, true) => all.changed.push(id),
                (true, false) => all.removed.push(id),
                (false, false) => {}
            }
        }
        all
    }
}

impl LibraryService {
    /// The last change of a photo.
    pub fn position(&self) -> Position {
        *self.context.store().photos().changed().borrow()
    }

    /// What changed for `viewer` behind `position`, and where that ends; `None` where that is not known any more, or another
    /// index is in use since.
    pub fn changes(&self, position: Position, viewer: &Viewer) -> (Option<LibraryChanges>, Position) {
        let (changes, last) = self.context.store().photos().changes(position);
        (changes.map(|changes| LibraryChanges::of(changes, viewer)), last)
    }

    /// Returns when there may be a change behind `position`, or after `within`.
    pub async fn wait_for_change(&self, position: Position, within: Duration) {
        let mut changed = self.context.store().photos().changed();
        let another = async {
            // An index that is closed changes no more; another one may be in use by the end of the time.
            if changed.wait_for(|last| *last != position).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        // Whether it changed is asked again anyway.
        let _ = tokio::time::timeout(within, another).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> PhotoId {
        PhotoId::from_bytes(n.to_be_bytes())
    }

    #[test]
    fn each_user_is_said_what_became_of_its_own_list() {
        let change = |n, before: Option<Scope>, after: Option<Scope>| PhotoChange {
            id: id(n),
            before,
            after,
            favorite_of: None,
        };
        let (shared, private) = (|| Some(Scope::Shared), || Some(Scope::PrivateOf("anna".to_owned())));
        let trashed = || Some(Scope::TrashOf("anna".to_owned()));
        let favorite = PhotoChange { favorite_of: Some(vec!["bea".into()]), ..change(9, shared(), shared()) };
        let changes = vec![
            change(1, None, shared()),
            change(1, shared(), shared()),
            change(2, None, private()),
            change(3, shared(), private()),
            change(4, private(), shared()),
            change(5, shared(), trashed()),
            change(6, trashed(), None),
            change(7, None, shared()),
            change(7, shared(), None),
            change(8, shared(), None),
            favorite,
        ];
        let seen_by = |name: &str| {
            let viewer = Viewer { name: name.into(), sees_all: true };
            let LibraryChanges { added, changed, removed } = LibraryChanges::of(changes.clone(), &viewer);
            [added, changed, removed]
        };
        assert_eq!(seen_by("anna"), [vec![id(1), id(2)], vec![id(3), id(4)], vec![id(5), id(8)]]);
        assert_eq!(seen_by("bea"), [vec![id(1), id(4)], vec![id(9)], vec![id(3), id(5), id(8)]]);
        assert_eq!(seen_by("cy"), [vec![id(1), id(4)], vec![], vec![id(3), id(5), id(8)]]);
    }
}
