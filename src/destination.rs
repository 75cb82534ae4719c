//! Where alerts, files and tables go.
//!
//! A destination is written `lake`, `mqtt`, `upload/<name>` or `webhook/<name>`: in the keys of the index, in the API,
//! on the command line and in labels. This module alone reads and writes that form; everything else decides by type.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

const LAKE: &str = "lake";
const MQTT: &str = "mqtt";
const UPLOAD: &str = "upload/";
const WEBHOOK: &str = "webhook/";

/// A destination of the configuration, and the outbox of it. Their order is that of their written forms.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Destination {
    /// The tables. Its outbox holds every event that is over, from when its `event.json` is queued for the uploads,
    /// until its row is in a table.
    Lake,
    /// The broker: alerts.
    Mqtt,
    /// An object store, a server or a folder: files.
    Upload(Name),
    /// A receiver of alerts by HTTP.
    Webhook(Name),
}

/// The written form of a destination that has a name of its own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// With the prefix, so that nothing is put together again for each key and label.
    written: Arc<str>,
}

impl Destination {
    /// The destination of `[upload.<name>]`.
    pub fn upload(name: &str) -> Self {
        Self::Upload(Name { written: [UPLOAD, name].concat().into() })
    }

    /// The destination of `[webhook.<name>]`.
    pub fn webhook(name: &str) -> Self {
        Self::Webhook(Name { written: [WEBHOOK, name].concat().into() })
    }

    /// Whether alerts go there.
    pub fn takes_alerts(&self) -> bool {
        matches!(self, Self::Mqtt | Self::Webhook(_))
    }

    /// Whether files of events and documents go there.
    pub fn takes_files(&self) -> bool {
        matches!(self, Self::Upload(_))
    }

    /// The name of a webhook in the configuration; `None` for what is none.
    pub fn webhook_name(&self) -> Option<&str> {
        if let Self::Webhook(name) = self { name.written.strip_prefix(WEBHOOK) } else { None }
    }

    /// The written form.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Lake => LAKE,
            Self::Mqtt => MQTT,
            Self::Upload(name) | Self::Webhook(name) => &name.written,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Hash for Destination {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

/// Equality, order and hash are those of the written form.
impl Borrow<str> for Destination {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

/// A text that names no destination.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no destination: those are {MQTT}, {LAKE}, {UPLOAD}NAME and {WEBHOOK}NAME")]
pub struct BadDestination(String);

impl FromStr for Destination {
    type Err = BadDestination;
    fn from_str(text: &str) -> Result<Self, BadDestination> {
        let named = |prefix| text.strip_prefix(prefix).filter(|name: &&str| !name.is_empty());
        match (text, named(UPLOAD), named(WEBHOOK)) {
            (LAKE, ..) => Ok(Self::Lake),
            (MQTT, ..) => Ok(Self::Mqtt),
            (_, Some(name), _) => Ok(Self::upload(name)),
            (_, _, Some(name)) => Ok(Self::webhook(name)),
            _ => Err(BadDestination(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Destination {
    type Error = BadDestination;
    fn try_from(text: String) -> Result<Self, BadDestination> {
        text.parse()
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> String {
        destination.as_str().to_owned()
    }
}

/// The destination that is written so.
#[cfg(test)]
pub fn destination(text: &str) -> Destination {
    text.parse().expect("a destination")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_its_order_is_that_of_the_text() {
        let texts = ["lake", "mqtt", "upload/a", "upload/a/b", "upload/cloud", "webhook/Ä", "webhook/office"];
        let all = texts.map(destination);
        for (text, one) in texts.iter().zip(&all) {
            assert_eq!((one.to_string().as_str(), one.as_str()), (*text, *text));
            assert_eq!(serde_json::to_value(one).expect("write"), *text);
            assert_eq!(serde_json::from_value::<Destination>((*text).into()).expect("read"), *one);
            for (other, that) in texts.iter().zip(&all) {
                assert_eq!(text.cmp(other), one.cmp(that));
            }
        }
        assert_eq!(all[2], Destination::upload("a"));
        assert_eq!(all[6], Destination::webhook("office"));
        assert_eq!(
            all.map(|one| one.webhook_name().map(str::to_owned))[4..],
            [None, Some("Ä".to_owned()), Some("office".to_owned())]
        );
    }

    #[test]
    fn other_texts_name_no_destination() {
        for text in ["", "upload", "upload/", "webhook/", "Mqtt", "mqtt/", "mqtt/a", "lake/1", "uploads/a", " mqtt"] {
            let error = text.parse::<Destination>().expect_err("no destination");
            assert!(error.to_string().starts_with(&format!("{text:?} is no destination")), "{error}");
        }
    }

    #[test]
    fn alerts_and_files_go_where_they_are_taken() {
        let taken = |text| (destination(text).takes_alerts(), destination(text).takes_files());
        assert_eq!(["mqtt", "webhook/a"].map(taken), [(true, false); 2]);
        assert_eq!(["lake", "upload/a"].map(taken), [(false, false), (false, true)]);
    }
}
