//! What a block gives, or why it has no result.

use std::collections::BTreeMap;

use super::effect::Effect;
use super::value::{Item, Value};
use crate::execution::FailureReason;

/// Why a block has no result.
#[derive(Debug)]
pub(super) struct BlockError {
    pub reason: FailureReason,
    pub message: String,
    /// The same may work later.
    pub is_transient: bool,
}

impl BlockError {
    /// A step cannot do what it is asked.
    pub(super) fn step(message: impl Into<String>) -> Self {
        Self { reason: FailureReason::Step, message: message.into(), is_transient: false }
    }

    /// It would need too much.
    pub(super) fn too_large(message: impl Into<String>) -> Self {
        Self { reason: FailureReason::TooLarge, message: message.into(), is_transient: false }
    }
}

/// What a block gives.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) items: BTreeMap<&'static str, Item>,
    pub(super) effects: Vec<Effect>,
}

impl Output {
    /// One value under one name.
    pub(super) fn of(name: &'static str, value: Value) -> Self {
        Self::default().and(name, value)
    }

    /// A further value.
    #[must_use]
    pub(super) fn and(mut self, name: &'static str, value: Value) -> Self {
        self.items.insert(name, Item::One(value));
        self
    }

    /// A list.
    #[must_use]
    pub(super) fn list(mut self, name: &'static str, values: impl IntoIterator<Item = Value>) -> Self {
        self.items.insert(name, Item::Many(values.into_iter().map(Item::One).collect()));
        self
    }

    /// Nothing but an effect.
    pub(super) fn effect(effect: Effect) -> Self {
        Self { items: BTreeMap::new(), effects: vec![effect] }
    }
}
