//! Fuzz target: commands from the broker.

use super::super::commands::CommandParser;
use super::super::device::{Camera, DeviceContext, NoStatus};
use super::super::topics::Topics;
use crate::clock::{Clock, Mono, SimulatedClock};
use crate::control::Control;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};

#[test]
fn any_message_is_a_command_or_is_refused_and_answers_go_to_no_topic_of_the_box() {
    let camera = |name: &str, on| Camera { name: name.into(), detects: on, records: on, ..Camera::default() };
    let device_context = DeviceContext {
        site: "".into(),
        cameras: vec![camera("yard", true), camera("a/b", true), camera("blind", false)],
        uploads: vec!["cloud".into()],
        has_temperature: true,
        control: Control::default(),
        status: std::sync::Arc::new(NoStatus),
        announced: None,
    };
    let clock = SimulatedClock::new(Mono(0), "2026-11-22T12:00:00Z".parse().expect("a time"));
    let topics = Topics::new("outpost", "box", &device_context.cameras).expect("topics");
    let parser = CommandParser { topics: &topics, device_context: &device_context, clock: &clock };
    let seeds = [
        "outpost/box/camera/yard/detect/set\nON\nanswers/7",
        "outpost/box/camera/a%2Fb/record/set\noff",
        "outpost/box/camera/yard/snapshot/set\nNOW\noutpost/box/state",
        "outpost/box/upload/cloud/paused/set\nON",
        "outpost/box/camera/yard/override/set\n{\"detect\":\"on\",\"for\":\"2h\"}\n$SYS/x",
        "outpost/box/camera/yard/override/set\n{\"detect\":\"off\",\"until\":\"2026-11-23T00:00:00+01:00\"}",
    ];
    let words = [
        "AUTO",
        "\"for\":\"9999999999y\"",
        "\"until\":\"9999-12-31T23:59:59Z\"",
        "-292277022657y",
        "+",
        "#",
        "%2F",
        "\n",
    ];
    crate::fuzz::run("command", &seeds.map(str::as_bytes), &words, |input| {
        let mut parts = input.splitn(3, |byte| *byte == b'\n');
        let (topic, payload) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let response_topic = parts.next().map(|topic| String::from_utf8_lossy(topic).into_owned());
        let properties = PublishProperties {
            response_topic,
            correlation_data: Some(payload.to_vec().into()),
            ..PublishProperties::default()
        };
        let mut publish = Publish::new(String::new(), QoS::AtLeastOnce, payload.to_vec(), Some(properties));
        publish.topic = topic.to_vec().into();
        publish.retain = input.len() % 16 == 15;
        let Some(request) = parser.read(&publish) else { return "nothing".to_owned() };
        let outcome = request.command.as_ref().map(|_| ()).map_err(Clone::clone);
        for answer in request.answers(&outcome) {
            let own = answer.topic.ends_with("/answer");
            assert!(
                own || !topics.is_ours(&answer.topic),
                "{:?} answers to {:?}",
                String::from_utf8_lossy(input),
                answer.topic
            );
        }
        let until = |force: &crate::control::Force| force.until > clock.wall();
        match &request.command {
            Ok(super::super::commands::Command::Force(_, Some(force))) => {
                assert!(until(force), "in the past");
                "forced".to_owned()
            }
            Ok(command) => format!("{:?}", std::mem::discriminant(command)),
            Err(error) => crate::fuzz::kind(error),
        }
    });
}
