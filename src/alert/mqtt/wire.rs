//! MQTT 5 and 3.1.1 behind one client. The session speaks in the types of MQTT 5; what goes over a connection of 3.1.1
//! is translated here and nowhere else: requests lose their properties, answers come without reasons.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectReturnCode, Filter, LastWill, Packet, PingResp, PubAck, PubAckReason, Publish, SubAck,
    SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::{Error as CodecError, QoS};
use rumqttc::v5::{self, ConnectionError, Event, StateError};
use rumqttc::{self as v4, TlsConfiguration, Transport};
use serde::{Deserialize, Serialize};

use super::message::Message;

/// Largest packet taken from a broker of MQTT 5, which is asked to send nothing larger: commands are short.
const MAX_INCOMING_BYTES: u32 = 16 * 1024;

/// The same for MQTT 3.1.1, where a larger packet ends the connection since the broker cannot be asked.
const MAX_INCOMING_BYTES_UNASKED: usize = 1024 * 1024;

/// How long one message may take to be written. Slow lines need more than connecting may take.
const WRITE_WITHIN_S: u64 = 60;

/// `protocol` in `[mqtt]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// MQTT 5, and MQTT 3.1.1 where the broker does not take 5.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// MQTT 5 only.
    #[serde(rename = "5")]
    Five,
    /// MQTT 3.1.1 only.
    #[serde(rename = "3.1.1")]
    ThreeOneOne,
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Five,
    ThreeOneOne,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Five => "MQTT 5",
            Self::ThreeOneOne => "MQTT 3.1.1",
        })
    }
}

/// The last will: `offline` on this topic.
#[derive(Clone, Debug)]
pub(super) struct Will {
    pub(super) topic: String,
    pub(super) qos: QoS,
    pub(super) retain: bool,
}

/// Everything that a connection needs before the first byte.
pub(super) struct Setup {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) client_id: String,
    pub(super) credentials: Option<(String, String)>,
    pub(super) tls: Option<TlsConfiguration>,
    pub(super) keep_alive: Duration,
    /// From name look-up to the broker's welcome, seconds.
    pub(super) connect_timeout_s: u64,
    /// Unconfirmed messages at most.
    pub(super) window: u16,
    pub(super) will: Will,
}

impl Setup {
    /// A client and its connection, with places for `places` requests that wait. Connects when it is polled.
    pub(super) fn open(self, version: Version, places: usize) -> (Client, Connection) {
        match version {
            Version::Five => {
                let keep_alive = self.keep_alive;
                let (client, eventloop) = v5::AsyncClient::new(self.options_of_five(), places);
                (Client::Five(client), Connection::Five { eventloop: Box::new(eventloop), keep_alive })
            }
            Version::ThreeOneOne => {
                let timeout = self.connect_timeout_s;
                let (client, mut eventloop) = v4::AsyncClient::new(self.options_of_three(), places);
                eventloop.network_options.set_connection_timeout(timeout);
                (Client::ThreeOneOne(client), Connection::ThreeOneOne(Box::new(eventloop)))
            }
        }
    }

    fn options_of_five(self) -> v5::MqttOptions {
        let mut options = v5::MqttOptions::new(self.client_id, self.host, self.port);
        options
            .set_keep_alive(self.keep_alive)
            .set_clean_start(true)
            .set_connection_timeout(self.connect_timeout_s)
            .set_outgoing_inflight_upper_limit(self.window)
            .set_max_packet_size(Some(MAX_INCOMING_BYTES))
            .set_last_will(LastWill::new(self.will.topic, "offline", self.will.qos, self.will.retain, None));
        if let Some((user, password)) = self.credentials {
            options.set_credentials(user, password);
        }
        if let Some(tls) = self.tls {
            options.set_transport(Transport::tls_with_config(tls));
        }
        options
    }

    fn options_of_three(self) -> v4::MqttOptions {
        let mut options = v4::MqttOptions::new(self.client_id, self.host, self.port);
        options
            .set_keep_alive(self.keep_alive)
            .set_clean_session(true)
            .set_inflight(self.window)
            // What the broker takes it does not say; the protocol's own limit is 256 MiB.
            .set_max_packet_size(MAX_INCOMING_BYTES_UNASKED, 256 << 20)
            .set_last_will(v4::LastWill::new(
                self.will.topic,
                "offline",
                qos_of_three(self.will.qos),
                self.will.retain,
            ));
        if let Some((user, password)) = self.credentials {
            options.set_credentials(user, password);
        }
        if let Some(tls) = self.tls {
            options.set_transport(Transport::tls_with_config(tls));
        }
        options
    }
}

/// Takes requests for a connection.
#[derive(Debug)]
pub(super) enum Client {
    Five(v5::AsyncClient),
    ThreeOneOne(v4::AsyncClient),
}

impl Client {
    /// # Errors
    /// When there is no place for it.
    pub(super) fn publish(&self, message: Message) -> Result<(), String> {
        let Message { topic, payload, retain, qos, properties } = message;
        let failed = |e: &dyn fmt::Display| format!("hand {topic:?} to the client: {e}");
        match self {
            Self::Five(client) => {
                client.try_publish_with_properties(&topic, qos, retain, payload, properties).map_err(|e| failed(&e))
            }
            Self::ThreeOneOne(client) => {
                client.try_publish(&topic, qos_of_three(qos), retain, payload).map_err(|e| failed(&e))
            }
        }
    }

    /// # Errors
    /// When there is no place for it.
    pub(super) fn subscribe(&self, filters: Vec<Filter>) -> Result<(), String> {
        let failed = |e: &dyn fmt::Display| format!("hand the subscription to the client: {e}");
        match self {
            Self::Five(client) => client.try_subscribe_many(filters).map_err(|e| failed(&e)),
            Self::ThreeOneOne(client) => {
                let filters = filters.into_iter();
                let filters = filters.map(|filter| v4::SubscribeFilter::new(filter.path, qos_of_three(filter.qos)));
                client.try_subscribe_many(filters).map_err(|e| failed(&e))
            }
        }
    }

    /// # Errors
    /// When there is no place for it.
    pub(super) fn disconnect(&self) -> Result<(), String> {
        let failed = |e: &dyn fmt::Display| format!("hand the disconnect to the client: {e}");
        match self {
            Self::Five(client) => client.try_disconnect().map_err(|e| failed(&e)),
            Self::ThreeOneOne(client) => client.try_disconnect().map_err(|e| failed(&e)),
        }
    }
}

/// A connection, which goes on when it is polled.
pub(super) enum Connection {
    Five { eventloop: Box<v5::EventLoop>, keep_alive: Duration },
    ThreeOneOne(Box<v4::EventLoop>),
}

impl Connection {
    /// The next thing that happens. Not cancel safe.
    ///
    /// # Errors
    /// When the connection did not come about, or broke.
    pub(super) async fn poll(&mut self) -> Result<Event, ConnectionError> {
        match self {
            Self::Five { eventloop, keep_alive } => {
                let event = eventloop.poll().await?;
                // A broker may switch keep-alive off with 0, which the library takes for a ping at every instant.
                if let Event::Incoming(Packet::ConnAck(_)) = &event
                    && eventloop.options.keep_alive().is_zero()
                {
                    eventloop.options.set_keep_alive(*keep_alive);
                }
                Ok(event)
            }
            Self::ThreeOneOne(eventloop) => {
                let event = eventloop.poll().await.map_err(error_of_three)?;
                if let v4::Event::Incoming(v4::Packet::ConnAck(_)) = &event {
                    eventloop.network_options.set_connection_timeout(WRITE_WITHIN_S);
                }
                Ok(event_of_three(event))
            }
        }
    }

    /// What happened before the connection broke and was not seen yet.
    pub(super) fn rest(&mut self) -> Vec<Event> {
        match self {
            Self::Five { eventloop, .. } => eventloop.state.events.drain(..).collect(),
            Self::ThreeOneOne(eventloop) => eventloop.state.events.drain(..).map(event_of_three).collect(),
        }
    }
}

fn qos_of_three(qos: QoS) -> v4::QoS {
    match qos {
        QoS::AtMostOnce => v4::QoS::AtMostOnce,
        QoS::AtLeastOnce => v4::QoS::AtLeastOnce,
        QoS::ExactlyOnce => v4::QoS::ExactlyOnce,
    }
}

fn qos_of_five(qos: v4::QoS) -> QoS {
    match qos {
        v4::QoS::AtMostOnce => QoS::AtMostOnce,
        v4::QoS::AtLeastOnce => QoS::AtLeastOnce,
        v4::QoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

fn event_of_three(event: v4::Event) -> Event {
    let packet = match event {
        v4::Event::Outgoing(outgoing) => return Event::Outgoing(outgoing),
        v4::Event::Incoming(packet) => packet,
    };
    Event::Incoming(match packet {
        v4::Packet::ConnAck(welcome) => Packet::ConnAck(ConnAck {
            session_present: welcome.session_present,
            code: code_of_three(welcome.code),
            properties: None,
        }),
        v4::Packet::PubAck(ack) => {
            Packet::PubAck(PubAck { pkid: ack.pkid, reason: PubAckReason::Success, properties: None })
        }
        v4::Packet::SubAck(ack) => {
            let code = |code| match code {
                v4::SubscribeReasonCode::Success(qos) => SubscribeReasonCode::Success(qos_of_five(qos)),
                v4::SubscribeReasonCode::Failure => SubscribeReasonCode::Failure,
            };
            let return_codes = ack.return_codes.into_iter().map(code).collect();
            Packet::SubAck(SubAck { pkid: ack.pkid, return_codes, properties: None })
        }
        v4::Packet::Publish(publish) => Packet::Publish(Publish {
            dup: publish.dup,
            qos: qos_of_five(publish.qos),
            retain: publish.retain,
            topic: Bytes::from(publish.topic.into_bytes()),
            pkid: publish.pkid,
            payload: publish.payload,
            properties: None,
        }),
        // Nothing else that a broker sends concerns the session.
        _ => Packet::PingResp(PingResp),
    })
}

fn code_of_three(code: v4::ConnectReturnCode) -> ConnectReturnCode {
    match code {
        v4::ConnectReturnCode::Success => ConnectReturnCode::Success,
        v4::ConnectReturnCode::RefusedProtocolVersion => ConnectReturnCode::RefusedProtocolVersion,
        v4::ConnectReturnCode::BadClientId => ConnectReturnCode::BadClientId,
        v4::ConnectReturnCode::ServiceUnavailable => ConnectReturnCode::ServiceUnavailable,
        v4::ConnectReturnCode::BadUserNamePassword => ConnectReturnCode::BadUserNamePassword,
        v4::ConnectReturnCode::NotAuthorized => ConnectReturnCode::NotAuthorized,
    }
}

fn error_of_three(error: v4::ConnectionError) -> ConnectionError {
    match error {
        v4::ConnectionError::MqttState(state) => ConnectionError::MqttState(state_of_three(state)),
        v4::ConnectionError::NetworkTimeout | v4::ConnectionError::FlushTimeout => {
            ConnectionError::Io(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))
        }
        v4::ConnectionError::Tls(e) => ConnectionError::Tls(e),
        v4::ConnectionError::Io(e) => ConnectionError::Io(e),
        v4::ConnectionError::ConnectionRefused(code) => ConnectionError::ConnectionRefused(code_of_three(code)),
        v4::ConnectionError::NotConnAck(_) => ConnectionError::NotConnAck(Box::new(Packet::PingResp(PingResp))),
        v4::ConnectionError::RequestsDone => ConnectionError::RequestsDone,
    }
}

fn state_of_three(state: v4::StateError) -> StateError {
    match state {
        v4::StateError::Io(e) | v4::StateError::Deserialization(v4::Error::Io(e)) => StateError::Io(e),
        v4::StateError::Deserialization(v4::Error::PayloadSizeLimitExceeded(pkt_size)) => {
            StateError::IncomingPacketTooLarge { pkt_size, max: MAX_INCOMING_BYTES_UNASKED }
        }
        v4::StateError::Deserialization(_) => StateError::Deserialization(CodecError::MalformedPacket),
        v4::StateError::InvalidState => StateError::InvalidState,
        v4::StateError::Unsolicited(packet_id) => StateError::Unsolicited(packet_id),
        v4::StateError::AwaitPingResp => StateError::AwaitPingResp,
        v4::StateError::WrongPacket => StateError::WrongPacket,
        v4::StateError::CollisionTimeout => StateError::CollisionTimeout,
        v4::StateError::EmptySubscription => StateError::EmptySubscription,
        v4::StateError::ConnectionAborted => StateError::ConnectionAborted,
    }
}
