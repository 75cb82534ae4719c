//! Values of executions: the body is read from the disk when it is sent.

use anyhow::Context;

use super::Webhook;
use super::request::{Outcome, Request};
use crate::alert::{Post, payload};
use crate::clock::Moment;

impl Webhook {
    /// Sends the values of one step once. Returns how many bytes that were, and what became of it.
    pub(super) async fn post(&self, post: &Post, now: &Moment) -> (u64, Outcome) {
        let later = |reason: String| (0, Outcome::Later { reason, rest: None, may_be_its_own: true });
        let (read, path) = (self.deps.posts.clone(), post.path.clone());
        let read = tokio::task::spawn_blocking(move || read(&path)).await.context("read what is posted");
        let values = match read.and_then(|values| values) {
            Ok(Some(values)) => values,
            Ok(None) => {
                let reason =
                    format!("{} is gone from the disk: its execution was removed before it was sent", post.path);
                return (0, Outcome::Gone(reason));
            }
            Err(error) => return later(format!("{error:#}")),
        };
        let body = match payload::encode_post(post, values, now) {
            Ok(body) => body,
            Err(error) => return (0, Outcome::Gone(format!("{error:#}"))),
        };
        let bytes = body.len() as u64;
        let request = Request { body, kind: payload::PIPELINE, seq: post.seq, now: now.wall };
        (bytes, self.sender.send(request).await)
    }
}
