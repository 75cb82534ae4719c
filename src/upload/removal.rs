//! Documents that a destination is to remove.

use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::key;
use super::link::{Failure, is_bad_request, refuses_question};
use super::transfer::{Transfer, UNASKED, UNREAD, WRONG};
use crate::store::Document;

impl Transfer<'_> {
    /// Removes a document, sealed or not: whether the destination seals may have changed since it got this one.
    pub(super) async fn remove(&self, document: &Document) -> Result<(), Failure> {
        self.allowed()?;
        self.destination.check()?;
        let suffix = self.uploader.config.key_suffix(document.kind);
        for suffix in [Some(suffix), Some("").filter(|plain| *plain != suffix)].into_iter().flatten() {
            let named = Document { path: document.path.clone() + suffix, ..document.clone() };
            let key = key::document(&self.uploader.device, &named);
            match self.carry(0, None, self.destination.store.delete(&key)).await?.0 {
                Ok(()) => self.sync_removal(&key).await?,
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.sort(&error)),
            }
            self.verify_gone(&key).await?;
        }
        Ok(())
    }

    /// Makes a removal from a folder durable, which `object_store` does for what it writes alone.
    async fn sync_removal(&self, key: &Path) -> Result<(), Failure> {
        let Some(folder) = &self.destination.folder else { return Ok(()) };
        let removed = folder.join(key.as_ref());
        let sync = move || removed.parent().map_or(Ok(()), crate::durable::sync_folder);
        let synced = tokio::task::spawn_blocking(sync).await;
        synced
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(|error| Failure::Link(format!("sync a removal: {error}")))
    }

    async fn verify_gone(&self, key: &Path) -> Result<(), Failure> {
        match self.carry(0, None, self.destination.store.head(key)).await?.0 {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }) => {
                self.uploader.remark(UNREAD);
                Ok(())
            }
            Err(error) if refuses_question(&error) || is_bad_request(&error) => {
                self.uploader.remark(UNASKED);
                Ok(())
            }
            Err(error) => Err(self.sort(&error)),
            Ok(_) => Err(Failure::Item(WRONG, "the destination was asked to remove it and still has it".to_owned())),
        }
    }
}
