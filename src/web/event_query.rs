//! What the list of events can be asked for.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::de::value::{Error, StrDeserializer};
use url::form_urlencoded;

use super::openapi::Parameter;
use super::problem::Problem;
use crate::destination::Destination;
use crate::event::{DeliveryState, EventState, Judgement};
use crate::service::EventQuery;

/// Events in one answer when nothing is asked for.
const DEFAULT_LIMIT: usize = 50;

/// Events in one answer at most.
const MAX_LIMIT: usize = 200;

/// Longest name or text that is looked for, bytes.
const MAX_BYTES: usize = 200;

/// Values of one parameter at most.
const MAX_VALUES: usize = 50;

const NAME: &str =
    r#"{"type": "array", "maxItems": 50, "items": {"type": "string", "minLength": 1, "maxLength": 200}}"#;
const FLAG: &str = r#"{"type": "boolean"}"#;
const TIME: &str = r#"{"type": "string", "format": "date-time"}"#;
const ID: &str = r#"{"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$"}"#;

/// The parameters; those that take a list may be given several times, and any of the values may hold.
pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter::query("camera", NAME, "Name of a camera; may be given several times."),
    Parameter::query("label", NAME, "Class of the object; may be given several times."),
    Parameter::query("zone", NAME, "A zone that the object was in; may be given several times."),
    Parameter::query("rule", NAME, "Name of the rule that fired; may be given several times."),
    Parameter::query(
        "state",
        r#"{"type": "array", "maxItems": 50, "items": {"enum": ["open", "ended", "interrupted"]}}"#,
        "Where the event stands; may be given several times.",
    ),
    Parameter::query(
        "delivery",
        r#"{"type": "array", "maxItems": 50, "items": {"enum": ["failed", "waiting", "dropped", "delivered"]}}"#,
        "How far outlets got: `delivered` where all confirmed it, the others where one is so far; may be given several times.",
    ),
    Parameter::query("outlet", NAME, "The outlets that `delivery` is about; without it, all."),
    Parameter::query("since", TIME, "Begun at this time or later."),
    Parameter::query("until", TIME, "Begun before this time."),
    Parameter::query(
        "min_score",
        r#"{"type": "number", "minimum": 0, "maximum": 1}"#,
        "With this score or a higher one.",
    ),
    Parameter::query("pinned", FLAG, "Pinned, or not."),
    Parameter::query("tag", NAME, "A tag that people gave it; may be given several times."),
    Parameter::query(
        "verdict",
        r#"{"type": "array", "maxItems": 50, "items": {"enum": ["true_alarm", "false_alarm", "none"]}}"#,
        "How people judged it; may be given several times.",
    ),
    Parameter::query("reviewed", FLAG, "The caller has looked it through, or has not."),
    Parameter::query(
        "text",
        r#"{"type": "string", "minLength": 1, "maxLength": 200}"#,
        "Words that are each part of the camera, label, rule, a zone, a tag or the note, in whatever case.",
    ),
    Parameter::query("before", ID, "Only events older than the one with this id: the `next` of the page before."),
    Parameter::query("after", ID, "Only events newer than the one with this id."),
    Parameter::query(
        "limit",
        r#"{"type": "integer", "minimum": 1, "maximum": 200, "default": 50}"#,
        "Events in the answer at most.",
    ),
];

/// One parameter as it was given.
struct Given<'a> {
    name: &'a str,
    value: &'a str,
}

impl Given<'_> {
    fn wrong(&self, allowed: impl Into<String>) -> Problem {
        Problem::parameter(self.name, self.value, allowed)
    }

    fn text(&self) -> Result<String, Problem> {
        let fits = !self.value.is_empty() && self.value.len() <= MAX_BYTES;
        if fits { Ok(self.value.to_owned()) } else { Err(self.wrong(format!("a name of 1 to {MAX_BYTES} bytes"))) }
    }

    fn parsed<T: FromStr>(&self, allowed: impl Display) -> Result<T, Problem> {
        self.value.parse().map_err(|_| self.wrong(allowed.to_string()))
    }

    /// One of the words of the API.
    fn word<T: DeserializeOwned>(&self, allowed: &str) -> Result<T, Problem> {
        T::deserialize(StrDeserializer::<Error>::new(self.value)).map_err(|_| self.wrong(allowed))
    }

    fn put<T>(&self, place: &mut Option<T>, value: T) -> Result<(), Problem> {
        if place.replace(value).is_some() { Err(self.wrong("once")) } else { Ok(()) }
    }

    fn push<T>(&self, list: &mut Vec<T>, value: T) -> Result<(), Problem> {
        if list.len() == MAX_VALUES {
            return Err(self.wrong(format!("{MAX_VALUES} times at most")));
        }
        list.push(value);
        Ok(())
    }
}

/// What `text`, the query of an address, asks for, of a box with these outlets.
pub(super) fn parse(text: &str, outlets: &[Destination]) -> Result<EventQuery, Problem> {
    let mut query = EventQuery::default();
    let (mut limit, mut words) = (None, None);
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let given = Given { name: &name, value: &value };
        let time = "a time such as 2026-11-22T10:00:00Z";
        match &*name {
            "camera" => given.push(&mut query.cameras, given.text()?)?,
            "label" => given.push(&mut query.labels, given.text()?)?,
            "zone" => given.push(&mut query.zones, given.text()?)?,
            "rule" => given.push(&mut query.rules, given.text()?)?,
            "state" => {
                let state: EventState = given.word("open, ended or interrupted")?;
                given.push(&mut query.states, state)?;
            }
            "delivery" => {
                let allowed = "failed, waiting, dropped or delivered";
                let state: DeliveryState = given.word(allowed)?;
                if state == DeliveryState::NotWanted {
                    return Err(given.wrong(allowed));
                }
                given.push(&mut query.deliveries, state)?;
            }
            "outlet" => {
                let outlet = outlets.iter().find(|outlet| outlet.as_str() == value);
                let known = || outlets.iter().map(Destination::as_str).collect::<Vec<_>>().join(", ");
                let outlet = outlet.ok_or_else(|| given.wrong(format!("an outlet of this box: {}", known())))?;
                given.push(&mut query.outlets, outlet.clone())?;
            }
            "since" => given.put(&mut query.since, given.parsed(time)?)?,
            "until" => given.put(&mut query.until, given.parsed(time)?)?,
            "min_score" => {
                let allowed = "a number from 0 to 1";
                let score: f32 = given.parsed(allowed)?;
                if !(0.0..=1.0).contains(&score) {
                    return Err(given.wrong(allowed));
                }
                given.put(&mut query.min_score, score)?;
            }
            "pinned" => given.put(&mut query.pinned, given.parsed("true or false")?)?,
            "tag" => given.push(&mut query.tags, given.text()?)?,
            "verdict" => {
                let judgement: Judgement = given.word("true_alarm, false_alarm or none")?;
                given.push(&mut query.verdicts, judgement)?;
            }
            "reviewed" => given.put(&mut query.reviewed, given.parsed("true or false")?)?,
            "text" => given.put(&mut words, given.text()?)?,
            "before" => given.put(&mut query.before, given.parsed("the id of an event")?)?,
            "after" => given.put(&mut query.after, given.parsed("the id of an event")?)?,
            "limit" => {
                let allowed = format!("a whole number from 1 to {MAX_LIMIT}");
                let number: usize = given.parsed(&allowed)?;
                if !(1..=MAX_LIMIT).contains(&number) {
                    return Err(given.wrong(allowed));
                }
                given.put(&mut limit, number)?;
            }
            _ => {
                let names: Vec<&str> = PARAMETERS.iter().map(|parameter| parameter.name).collect();
                return Err(given.wrong(format!("the parameters {}", names.join(", "))));
            }
        }
    }
    if let Some(outlet) = query.outlets.first().filter(|_| query.deliveries.is_empty()) {
        return Err(Problem::parameter("outlet", outlet.as_str(), "together with delivery"));
    }
    (query.limit, query.text) = (limit.unwrap_or(DEFAULT_LIMIT), words.unwrap_or_default());
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::destination;
    use proptest::prelude::*;

    #[test]
    fn a_full_query_is_understood() {
        let (id, older) = ("01KAMZXQ5D3V7N2WJ8R4T6Y9BC", "01KAMZXQ5D3V7N2WJ8R4T6Y9BB");
        let text = format!(
            "camera=hof%20s%C3%BCd&camera=gate&label=person&zone=door&rule=r&state=open&state=ended&delivery=failed\
             &outlet=mqtt&since=2026-11-22T10:00:00Z&until=2026-11-22T11:00:00%2B01:00&min_score=0.5&text=red+door\
             &pinned=true&tag=van&verdict=none&reviewed=false\
             &before={id}&after={older}&limit=7"
        );
        let query = parse(&text, &[destination("mqtt")]).expect("valid");
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let expected = EventQuery {
            cameras: names(&["hof süd", "gate"]),
            labels: names(&["person"]),
            zones: names(&["door"]),
            rules: names(&["r"]),
            states: vec![EventState::Open, EventState::Ended],
            deliveries: vec![DeliveryState::Failed],
            outlets: vec![destination("mqtt")],
            since: "2026-11-22T10:00:00Z".parse().ok(),
            until: "2026-11-22T10:00:00Z".parse().ok(),
            min_score: Some(0.5),
            pinned: Some(true),
            tags: names(&["van"]),
            verdicts: vec![Judgement::None],
            reviewed: Some(false),
            caller: "".into(),
            text: "red door".to_owned(),
            before: id.parse().ok(),
            after: older.parse().ok(),
            limit: 7,
        };
        assert_eq!(query, expected);
        for parameter in PARAMETERS {
            assert!(text.contains(&format!("{}=", parameter.name)), "{} is not tried", parameter.name);
        }
        assert_eq!(parse("", &[]).expect("valid").limit, DEFAULT_LIMIT);
    }

    proptest! {
        #[test]
        fn any_text_is_a_query_or_a_named_problem(text in ".{0,300}") {
            if let Ok(query) = parse(&text, &[]) {
                prop_assert!((1..=MAX_LIMIT).contains(&query.limit));
            }
        }
    }
}
