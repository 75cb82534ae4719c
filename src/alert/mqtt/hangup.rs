//! How a broker ended a connection, as far as a message may be to blame.

use rumqttc::v5::mqttbytes::v5::DisconnectReasonCode as Code;
use rumqttc::v5::{ConnectionError, StateError};

/// How the broker ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hangup {
    /// Without a word.
    Silent,
    /// With a reason that has to do with messages, but may have others.
    Said(Code),
    /// With a reason that only a message can give.
    Blamed(Code),
    /// It sent more than is taken, to a topic that was subscribed to.
    SentTooMuch,
}

impl Hangup {
    /// What `error` says of a connection that stood; `None` where no message is to blame.
    pub(super) fn of(error: &ConnectionError) -> Option<Self> {
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let closed =
            |e: &std::io::Error| matches!(e.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof);
        match error {
            ConnectionError::Io(e) if closed(e) => Some(Self::Silent),
            ConnectionError::MqttState(state) => match state {
                StateError::ConnectionAborted => Some(Self::Silent),
                StateError::Io(e) | StateError::Deserialization(rumqttc::v5::mqttbytes::Error::Io(e)) if closed(e) => {
                    Some(Self::Silent)
                }
                StateError::IncomingPacketTooLarge { .. } => Some(Self::SentTooMuch),
                StateError::ServerDisconnect { reason_code, .. } => Self::with_code(*reason_code),
                _ => None,
            },
            _ => None,
        }
    }

    fn with_code(code: Code) -> Option<Self> {
        match code {
            Code::PacketTooLarge
            | Code::TopicNameInvalid
            | Code::TopicFilterInvalid
            | Code::PayloadFormatInvalid
            | Code::RetainNotSupported
            | Code::QoSNotSupported
            | Code::WildcardSubscriptionsNotSupported => Some(Self::Blamed(code)),
            Code::UnspecifiedError
            | Code::MalformedPacket
            | Code::ProtocolError
            | Code::ImplementationSpecificError
            | Code::NotAuthorized
            | Code::QuotaExceeded
            | Code::AdministrativeAction => Some(Self::Said(code)),
            // Shutting down, taken over, too busy and their like have nothing to do with a message.
            _ => None,
        }
    }

    /// What it said, for the operator.
    pub(super) fn words(self) -> String {
        match self {
            Self::Silent => "without giving a reason".to_owned(),
            Self::Said(code) | Self::Blamed(code) => format!("with the reason {code:?}"),
            Self::SentTooMuch => "after it sent more than is taken".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_that_have_nothing_to_do_with_messages_do_not_count() {
        let said = |reason_code| {
            let state = StateError::ServerDisconnect { reason_code, reason_string: None };
            Hangup::of(&ConnectionError::MqttState(state))
        };
        for code in [Code::ServerShuttingDown, Code::SessionTakenOver, Code::KeepAliveTimeout, Code::ServerBusy] {
            assert_eq!(said(code), None, "{code:?}");
        }
        assert_eq!(said(Code::TopicNameInvalid), Some(Hangup::Blamed(Code::TopicNameInvalid)));
        assert_eq!(said(Code::NotAuthorized), Some(Hangup::Said(Code::NotAuthorized)));
        assert_eq!(Hangup::of(&ConnectionError::MqttState(StateError::AwaitPingResp)), None);
        assert_eq!(Hangup::of(&ConnectionError::RequestsDone), None);
    }
}
