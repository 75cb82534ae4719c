//! Why a camera gives no packets, in words for the person who has to do something.

/// A source could not be opened, or is over. `what` names the camera's address without secrets,
/// `reason` says what happened and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nothing answers there.
    #[error("{what} cannot be reached: {reason}")]
    Unreachable {
        /// Address without secrets.
        what: String,
        /// What happened and what to do.
        reason: String,
    },
    /// User name, password or file permissions are wrong or missing.
    #[error("{what} refuses access: {reason}")]
    Unauthorised {
        /// Address without secrets.
        what: String,
        /// What happened and what to do.
        reason: String,
    },
    /// The host answers but has no such stream, or the device or file does not exist.
    #[error("{what} not found: {reason}")]
    NotFound {
        /// Address without secrets.
        what: String,
        /// What happened and what to do.
        reason: String,
    },
    /// Another process uses it.
    #[error("{what} is busy: {reason}")]
    Busy {
        /// Address without secrets.
        what: String,
        /// What happened and what to do.
        reason: String,
    },
    /// It is there but of no use to us: wrong codec, no video, not a camera, a config that contradicts itself.
    #[error("{what} cannot be used: {reason}")]
    Unsupported {
        /// Address without secrets.
        what: String,
        /// What happened and what to do.
        reason: String,
    },
    /// It answers in a way that makes no sense.
    #[error("{what} misbehaves: {reason}")]
    Protocol {
        /// Address without secrets.
        what: String,
        /// What happened and what to do.
        reason: String,
    },
    /// It worked, and then stopped.
    #[error("{what} was lost: {reason}")]
    Lost {
        /// Address without secrets.
        what: String,
        /// What happened and what to do.
        reason: String,
    },
    /// What the camera says is more than the RTSP client takes, which another client may. Only between the clients.
    #[error("{0}")]
    Refused(Box<SourceError>),
    /// A file that is not repeated was played to its end.
    #[error("the file was played to its end")]
    Ended,
}

impl SourceError {
    /// Whether trying again soon makes sense. The others need a person, though a camera that is being set
    /// up may well cure itself: try those again too, but at leisure.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Busy { .. } | Self::Protocol { .. } | Self::Lost { .. } => true,
            Self::NotFound { .. } => true,
            Self::Refused(fault) => fault.is_transient(),
            Self::Unauthorised { .. } | Self::Unsupported { .. } | Self::Ended => false,
        }
    }

    /// What happened and what to do, without the address; the end of a file needs no words.
    fn reason_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Unreachable { reason, .. }
            | Self::Unauthorised { reason, .. }
            | Self::NotFound { reason, .. }
            | Self::Busy { reason, .. }
            | Self::Unsupported { reason, .. }
            | Self::Protocol { reason, .. }
            | Self::Lost { reason, .. } => Some(reason),
            Self::Refused(fault) => fault.reason_mut(),
            Self::Ended => None,
        }
    }

    /// What happened and what to do, without the address.
    pub fn reason(&self) -> String {
        self.clone().reason_mut().map_or_else(|| self.to_string(), std::mem::take)
    }

    /// The same with more to its reason.
    pub(super) fn with_more(mut self, more: &str) -> Self {
        if let Some(reason) = self.reason_mut() {
            reason.push_str(more);
        }
        self
    }
}

/// A system error as people put it, without the number that Rust adds.
pub(super) fn plain(error: &impl ToString) -> String {
    let text = error.to_string();
    text.split(" (os error ").next().unwrap_or_default().to_lowercase()
}
