//! A message on its way to the broker that is no alert.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;

/// An answer that could not be delivered for so long is worth nothing.
const ANSWER_EXPIRES: Duration = Duration::from_secs(60);

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Text,
    Json,
    Jpeg,
}

/// A message.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retain: bool,
    pub qos: QoS,
    pub properties: PublishProperties,
}

impl Message {
    /// A retained text or JSON.
    pub(super) fn state(topic: String, payload: Vec<u8>, content: Content, qos: u8) -> Self {
        Self { topic, payload, retain: true, qos: level(qos), properties: properties(content) }
    }

    /// JSON that is of its moment alone.
    pub(super) fn passing(topic: String, payload: Vec<u8>, qos: u8) -> Self {
        Self { topic, payload, retain: false, qos: level(qos), properties: properties(Content::Json) }
    }

    /// A picture with where it is from.
    pub(super) fn picture(topic: String, jpeg: Vec<u8>, qos: u8, retain: bool, origin: Vec<(String, String)>) -> Self {
        let properties = PublishProperties { user_properties: origin, ..properties(Content::Jpeg) };
        Self { topic, payload: jpeg, retain, qos: level(qos), properties }
    }

    /// The answer to a command.
    pub(super) fn answer(topic: String, payload: Vec<u8>, correlation_data: Option<Bytes>) -> Self {
        let message_expiry_interval = u32::try_from(ANSWER_EXPIRES.as_secs()).ok();
        let properties = PublishProperties { correlation_data, message_expiry_interval, ..properties(Content::Json) };
        Self { topic, payload, retain: false, qos: QoS::AtLeastOnce, properties }
    }

    /// Bytes on the line, about: headers and our properties take well below two hundred beside what is counted.
    pub(super) fn bytes(&self) -> usize {
        let of_user = self.properties.user_properties.iter().map(|(key, value)| key.len() + value.len());
        let correlation = self.properties.correlation_data.as_ref().map_or(0, Bytes::len);
        self.payload.len() + self.topic.len() + of_user.sum::<usize>() + correlation + 200
    }
}

/// What describes `content`.
pub(super) fn properties(content: Content) -> PublishProperties {
    let (text, content_type) = match content {
        Content::Text => (true, "text/plain"),
        Content::Json => (true, "application/json"),
        Content::Jpeg => (false, "image/jpeg"),
    };
    PublishProperties {
        payload_format_indicator: Some(u8::from(text)),
        content_type: Some(content_type.to_owned()),
        ..PublishProperties::default()
    }
}

fn level(qos: u8) -> QoS {
    if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce }
}
