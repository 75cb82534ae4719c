//! What went wrong with the broker: whether to try again, and words for the operator: the thing, the reason, what to do.

use std::io;

use rumqttc::TlsError;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::mqttbytes::{Error as CodecError, v5::PubAckReason};
use rumqttc::v5::{ConnectionError, StateError};
use rustls::{CertificateError, Error as RustlsError};

use super::Config;
use super::link::{Address, CONNECT_TIMEOUT_S};
use super::wire::{Protocol, Version};

/// The connection that failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Broken<'a> {
    /// The broker had let us in.
    pub(super) connected: bool,
    pub(super) version: Version,
    pub(super) config: &'a Config,
    pub(super) address: &'a Address,
    pub(super) client_id: &'a str,
}

/// Whether a connection that never stood failed as it does at a broker that speaks another version of MQTT: it says so
/// (in either version's form), closes the connection, answers what makes no sense, or never answers.
pub(super) fn is_of_version(error: &ConnectionError) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
    use rumqttc::v5::mqttbytes::v5::ConnectReturnCode as C;
    let is_closed =
        |e: &io::Error| matches!(e.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | TimedOut | UnexpectedEof);
    match error {
        ConnectionError::Timeout(_) | ConnectionError::NotConnAck(_) => true,
        ConnectionError::ConnectionRefused(code) => matches!(
            code,
            C::RefusedProtocolVersion | C::UnsupportedProtocolVersion | C::MalformedPacket | C::ProtocolError
        ),
        ConnectionError::Io(e) => is_closed(e),
        ConnectionError::MqttState(state) => match state {
            StateError::ConnectionAborted => true,
            StateError::Io(e) | StateError::Deserialization(CodecError::Io(e)) => is_closed(e),
            StateError::Deserialization(_) | StateError::WrongPacket => true,
            _ => false,
        },
        _ => false,
    }
}

/// Puts `error` into words.
pub(super) fn explain(error: &ConnectionError, broken: &Broken<'_>) -> String {
    let Broken { connected, version, address, .. } = *broken;
    match error {
        ConnectionError::Timeout(_) => silent(address),
        ConnectionError::Io(e) if e.kind() == io::ErrorKind::TimedOut && !connected => silent(address),
        ConnectionError::ConnectionRefused(code) => refused(*code, broken),
        ConnectionError::MqttState(state) => of_state(state, broken),
        ConnectionError::Io(e) => io_failure(e, connected, address),
        ConnectionError::Tls(TlsError::Io(e)) => io_failure(e, connected, address),
        ConnectionError::Tls(TlsError::TLS(e)) => tls_failure(e, address),
        ConnectionError::NotConnAck(_) => format!("{address} answers, but not as a broker of {version} does"),
        other => format!("{address}: {}", decapitalise(&other.to_string())),
    }
}

fn silent(address: &Address) -> String {
    format!("{address} does not answer within {CONNECT_TIMEOUT_S} s: is the address right?")
}

fn refused(code: ConnectReturnCode, broken: &Broken<'_>) -> String {
    let Broken { version, config, address, client_id, .. } = *broken;
    use ConnectReturnCode as C;
    match code {
        C::BadUserNamePassword | C::NotAuthorized => match &config.username {
            Some(user) => format!(
                "the broker {address} does not let user {user:?} in: check mqtt.username and the password in mqtt.password_file"
            ),
            None => format!("the broker {address} asks for a login: set mqtt.username and mqtt.password_file"),
        },
        C::BadClientId | C::ClientIdentifierNotValid => {
            format!("the broker {address} does not accept the client id {client_id:?}: set mqtt.client_id")
        }
        C::RefusedProtocolVersion | C::UnsupportedProtocolVersion => {
            let advice = if config.protocol == Protocol::Auto { "" } else { ": set mqtt.protocol to \"auto\"" };
            format!("the broker {address} does not speak {version}{advice}")
        }
        C::RetainNotSupported => format!("the broker {address} does not keep retained messages"),
        C::QoSNotSupported => format!("the broker {address} does not take QoS 1"),
        C::ServiceUnavailable | C::ServerUnavailable | C::ServerBusy | C::ConnectionRateExceeded | C::QuotaExceeded => {
            format!("the broker {address} has no room for us at present ({code:?})")
        }
        C::Banned => format!("the broker {address} has banned us: ask its administrator"),
        other => format!("the broker {address} refuses the connection ({other:?})"),
    }
}

fn of_state(state: &StateError, broken: &Broken<'_>) -> String {
    let Broken { connected, version, address, client_id, .. } = *broken;
    match state {
        StateError::Io(e) | StateError::Deserialization(CodecError::Io(e)) => io_failure(e, connected, address),
        StateError::ConnectionAborted if connected => format!("the broker {address} closed the connection"),
        StateError::ConnectionAborted => format!(
            "{address} closes the connection at once: is it an MQTT broker, and should it be mqtts:// instead of mqtt://?"
        ),
        StateError::AwaitPingResp => format!("the broker {address} stopped answering"),
        StateError::ServerDisconnect { reason_code: DisconnectReasonCode::SessionTakenOver, .. } => format!(
            "another client with the id {client_id:?} took over at {address}: each box needs its own mqtt.client_id"
        ),
        StateError::ServerDisconnect { reason_code, .. } => {
            format!("the broker {address} ended the connection ({reason_code:?})")
        }
        StateError::Deserialization(_) if !connected => {
            format!("{address} answers, but not as a broker of {version} does")
        }
        other => format!("{address}: {}", decapitalise(&other.to_string())),
    }
}

fn io_failure(error: &io::Error, connected: bool, address: &Address) -> String {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<RustlsError>()) {
        return tls_failure(tls, address);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("nothing listens at {address}: is the broker running, and is the port right?")
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => {
            format!("no way to {address}: {error}")
        }
        io::ErrorKind::TimedOut => format!("{address} does not answer"),
        // The standard library gives look-up failures no kind of their own.
        _ if error.to_string().contains("lookup address") => {
            format!("the name {:?} cannot be resolved: is it right, and is there a DNS server?", address.host)
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe if connected => {
            format!("the broker {address} closed the connection")
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe if address.tls => {
            format!("{address} closes the connection during the TLS handshake: does this port speak TLS?")
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => format!(
            "{address} closes the connection at once: is it an MQTT broker, and should it be mqtts:// instead of mqtt://?"
        ),
        _ => format!("{address}: {}", decapitalise(&error.to_string())),
    }
}

fn tls_failure(error: &RustlsError, address: &Address) -> String {
    use CertificateError as C;
    match error {
        RustlsError::InvalidCertificate(reason) => match reason {
            C::UnknownIssuer => format!(
                "the certificate of {address} is signed by an unknown authority: set mqtt.ca_file to the CA that signed it"
            ),
            C::BadSignature => format!(
                "the certificate of {address} is signed by another CA of the same name: set mqtt.ca_file to that one"
            ),
            C::NotValidForName | C::NotValidForNameContext { .. } => {
                format!(
                    "the certificate of {address} is for another name than {:?}: use the name it was made for",
                    address.host
                )
            }
            C::Expired | C::ExpiredContext { .. } => {
                format!("the certificate of {address} has expired, or this box's clock is wrong")
            }
            C::NotValidYet | C::NotValidYetContext { .. } => {
                format!("the certificate of {address} is not valid yet: this box's clock is probably behind")
            }
            other => format!("the certificate of {address} is not usable ({other})"),
        },
        RustlsError::InvalidMessage(_) => {
            format!("{address} does not speak TLS: use its TLS port, or mqtt:// without encryption")
        }
        RustlsError::AlertReceived(alert) => format!(
            "the broker {address} refuses the TLS connection ({alert:?}): does it want a client certificate (mqtt.client_cert_file)?"
        ),
        other => format!("no TLS connection to {address}: {other}"),
    }
}

/// How a broker's refusal of one alert is dealt with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has the alert.
    Taken,
    /// Try again later; why, for the operator.
    Later(String),
    /// It refuses this alert or its topic, and may take others; why, for the operator.
    Refused(String),
    /// It will never take this alert; why, for the operator.
    Never(String),
}

/// What a PUBACK's reason means.
pub(super) fn judge(reason: PubAckReason, topic: &str) -> Verdict {
    match reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Verdict::Taken,
        PubAckReason::NotAuthorized => Verdict::Refused(format!(
            "the broker does not allow us to publish to {topic:?}: give this user the right to write to it"
        )),
        PubAckReason::QuotaExceeded => Verdict::Later("the broker's quota for us is used up".to_owned()),
        PubAckReason::TopicNameInvalid => Verdict::Never(format!("the broker does not accept the topic {topic:?}")),
        PubAckReason::PayloadFormatInvalid => Verdict::Never("the broker does not accept the payload".to_owned()),
        other => Verdict::Refused(format!("the broker refuses alerts for {topic:?} ({other:?})")),
    }
}

fn decapitalise(text: &str) -> String {
    let mut chars = text.trim().trim_end_matches('.').chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}
