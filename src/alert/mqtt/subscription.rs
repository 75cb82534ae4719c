//! The subscription to commands and to Home Assistant's start.

use rumqttc::v5::mqttbytes::v5::{SubAck, SubscribeReasonCode};

use super::session::Session;
use super::suspects::Subject;
use super::wire::Client;

impl Session<'_> {
    /// Subscribes, once.
    pub(super) fn subscribe(&mut self, client: &Client) -> Result<(), String> {
        if !self.all_may_go || self.filters.is_empty() {
            return Ok(());
        }
        let filters = std::mem::take(&mut self.filters);
        let names: Vec<String> = filters.iter().map(|filter| format!("{:?}", filter.path)).collect();
        let names = names.join(", ");
        if self.is_left_out(&Subject::Subscription(names.clone())) {
            return Ok(());
        }
        self.subscribing = Some(names);
        client.subscribe(filters)
    }

    /// Whether a subscription waits to be sent.
    pub(super) fn has_filters(&self) -> bool {
        !self.filters.is_empty()
    }

    /// The broker answered to the subscription.
    pub(super) fn subscribed(&mut self, answer: &SubAck) {
        if let Some(names) = self.subscribing.take() {
            self.answered(&Subject::Subscription(names), false);
        }
        let refused = answer.return_codes.iter().find(|code| !matches!(code, SubscribeReasonCode::Success(_)));
        if let Some(code) = refused {
            let remark = format!(
                "commands are not heard, the broker refuses the subscription ({code:?}): give this user the right to read them"
            );
            self.alerter.terms(|terms| terms.refused_subscription = Some(remark));
            self.alerter.show_remarks();
        }
    }
}
