//! What a block is given for one run.

use std::collections::BTreeMap;

use minijinja::Value as Jinja;

use super::expression::{Expression, to_jinja};
use super::output::BlockError;
use super::settings::Settings;
use super::value::{Image, Objects, Region, Value};

/// The value of one input.
#[derive(Clone, Debug)]
pub(super) enum Given<'a> {
    /// One value.
    One(&'a Value),
    /// A list, as a whole.
    Many(Vec<&'a Value>),
}

/// What a block is given.
pub(super) struct Input<'a> {
    pub(super) values: BTreeMap<&'static str, Given<'a>>,
    pub(super) settings: &'a Settings,
}

impl<'a> Input<'a> {
    /// The value of `name`; `None` where it is not connected or missing.
    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        match self.values.get(name)? {
            Given::One(value) => Some(value),
            Given::Many(values) => values.first().copied(),
        }
    }

    /// All values of `name`.
    pub(super) fn values(&self, name: &str) -> Vec<&'a Value> {
        match self.values.get(name) {
            None => Vec::new(),
            Some(Given::One(value)) => vec![value],
            Some(Given::Many(values)) => values.clone(),
        }
    }

    /// All pictures `name`.
    pub(super) fn images(&self, name: &str) -> Vec<&'a Image> {
        let image = |value: &'a Value| if let Value::Image(image) = value { Some(image) } else { None };
        self.values(name).into_iter().filter_map(image).collect()
    }

    /// The picture `name`.
    pub(super) fn image(&self, name: &str) -> Result<&'a Image, BlockError> {
        self.optional_image(name).ok_or_else(|| missing(name))
    }

    /// The picture `name`, where there is one.
    pub(super) fn optional_image(&self, name: &str) -> Option<&'a Image> {
        if let Some(Value::Image(image)) = self.value(name) { Some(image) } else { None }
    }

    /// The things `name`.
    pub(super) fn objects(&self, name: &str) -> Result<&'a Objects, BlockError> {
        if let Some(Value::Objects(objects)) = self.value(name) { Ok(objects) } else { Err(missing(name)) }
    }

    /// The value `name`.
    pub(super) fn required(&self, name: &str) -> Result<&'a Value, BlockError> {
        self.value(name).ok_or_else(|| missing(name))
    }

    /// The things `name`, where there are any.
    pub(super) fn optional_objects(&self, name: &str) -> Option<&'a Objects> {
        if let Some(Value::Objects(objects)) = self.value(name) { Some(objects) } else { None }
    }

    /// The areas `name`; none where it is not connected.
    pub(super) fn regions(&self, name: &str) -> &'a [Region] {
        if let Some(Value::Regions(regions)) = self.value(name) { regions } else { &[] }
    }

    /// All inputs as expressions see them; what is missing is none.
    pub(super) fn as_variables(&self, names: &[&'static str]) -> BTreeMap<&'static str, Jinja> {
        names.iter().map(|name| (*name, self.value(name).map_or_else(|| Jinja::from(()), to_jinja))).collect()
    }

    /// The expression or template `name`.
    pub(super) fn expression(&self, name: &str) -> Result<&'a Expression, BlockError> {
        self.settings.expression(name).ok_or_else(|| missing(name))
    }
}

fn missing(name: &str) -> BlockError {
    BlockError::step(format!("{name} is missing"))
}
