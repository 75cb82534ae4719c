//! Reasons that the parts give in words, as a code with values, so that a page can say them in other languages.
//!
//! Parts word their reasons where they find them. [`CAUSES`] has those sentences with names in place of what differs; a
//! reason that is not among them has no cause and is shown as it is.

use std::collections::BTreeMap;

use serde::Serialize;

/// A reason as a code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// Which it is; see [`CAUSES`].
    pub code: &'static str,
    /// What stands in the sentence, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<&'static str, String>,
    /// What the value `reason` says, where that is known too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<Box<Self>>,
}

/// All known reasons: the code, and the sentence. Of two that fit the first counts.
pub const CAUSES: &[(&str, &str)] = &[
    ("silent_packets", "packets come, but no pictures for more than {after} s; the connection is kept until {until} s"),
    (
        "silent_reports",
        "the camera's reports come, but no pictures for more than {after} s; the connection is kept until {until} s",
    ),
    ("silent", "no pictures for more than {after} s; the connection is kept until {until} s"),
    ("awaited", "connected, no packets come: the first picture has been awaited for more than {after} s"),
    (
        "awaited_video",
        "connected, the camera's reports come, but no video: the first picture has been awaited for more than {after} s",
    ),
    ("keyless", "packets come, but no key frame: nothing can be decoded or recorded"),
    ("keyless_decoding", "packets come, but no key frame: nothing can be decoded"),
    ("keyless_recording", "packets come, but no key frame: nothing can be recorded"),
    ("undecoded", "packets come, but nothing can be decoded: {reason}"),
    ("pictureless", "packets come, but the decoder makes no picture of them"),
    ("parameterless", "nothing can be recorded: its key frames lack the parameters that a file needs"),
    ("unrecorded", "nothing can be recorded: {reason}"),
    ("undetected", "recorded without detection: {reason}"),
    ("substream", "nothing is detected without the substream: {reason}"),
    ("unlooked", "pictures come, but the detector has looked at none of them; the log says whether it fails or hangs"),
    ("no_publisher", "no phone or browser publishes to it at present: open its publish page there, or send by WHIP"),
    (
        "publisher_ended",
        "no phone or browser publishes to it at present: open its publish page there, or send by WHIP; the last one \
         ended: {reason}",
    ),
    ("ended_there", "it was ended there"),
    ("replaced", "another phone or browser took its place"),
    ("not_heard_of", "it is not heard of any more: its network is gone, or its phone sleeps"),
    ("no_media", "no media came: UDP packets must get through to webrtc.listen, or webrtc.addresses be set"),
    ("no_media_between", "no media came: UDP packets must get through between the box and the addresses in its answer"),
    ("no_longer_allowed", "its login or key has ended, or what it may see"),
    ("sends_nothing", "it has sent no picture for a minute; the phone may sleep"),
    ("not_taken", "the camera takes no pictures any more: it was removed or configured otherwise"),
    ("stopping", "the daemon stops"),
    ("played", "the file was played to its end"),
    ("lost", "{what} was lost: {reason}"),
    ("unreachable", "{what} cannot be reached: {reason}"),
    ("access", "{what} refuses access: {reason}"),
    ("not_found", "{what} not found: {reason}"),
    ("busy", "{what} is busy: {reason}"),
    ("misbehaves", "{what} misbehaves: {reason}"),
    ("unmounted", "the volume of {path} is not mounted: {reason}; mount it"),
    ("unusable", "{what} cannot be used: {reason}"),
    ("wrong_password", "the camera does not accept username and the password in password_file"),
    ("no_password", "the camera asks for a password: set username and password_file"),
    ("no_stream", "the camera has no stream of that name, check the path in url"),
    ("network", "{error}; check power, network, and host and port in url"),
    ("paused", "paused by hand"),
    ("windows", "outside of its windows of time"),
    ("metered", "the link is metered"),
    ("budget_low", "little is left of a budget"),
    ("budget_hour", "the budget of this hour is spent ({limit} bytes)"),
    ("budget_day", "the budget of this day is spent ({limit} bytes)"),
    ("budget_month", "the budget of this month is spent ({limit} bytes)"),
    ("no_continuous", "no continuous video is recorded for lack of space"),
    ("no_video", "no video is recorded for lack of space"),
    ("no_pictures", "neither video nor pictures are recorded for lack of space"),
    ("nothing", "nothing is recorded for lack of space"),
    ("processor", "processor at {now} % of all cores, limit {limit} %"),
    ("memory", "{now} MiB in memory, limit {limit} MiB"),
    ("hot", "{now} °C, limit {limit} °C"),
    ("disk_wait", "pictures wait {now} s for the disk, limit {limit} s"),
    ("decoder_wait", "pictures wait {now} s for the decoder, limit {limit} s"),
];

impl Cause {
    /// That of `reason`, where it is known.
    pub fn of(reason: &str) -> Option<Self> {
        CAUSES.iter().find_map(|(code, sentence)| {
            let values = values(sentence, reason)?;
            let because = values.get("reason").and_then(|reason| Self::of(reason)).map(Box::new);
            Some(Self { code, values, because })
        })
    }
}

/// What stands in `text` in place of the names of `sentence`, where that is the sentence.
fn values(sentence: &'static str, text: &str) -> Option<BTreeMap<&'static str, String>> {
    let mut pieces = sentence.split('{');
    let mut rest = text.strip_prefix(pieces.next()?)?;
    let mut values = BTreeMap::new();
    for piece in pieces {
        let (name, literal) = piece.split_once('}')?;
        // The last name takes the rest.
        let end = if literal.is_empty() { rest.len() } else { rest.find(literal)? };
        let (value, behind) = (rest.get(..end)?, rest.get(end + literal.len()..)?);
        if value.is_empty() {
            return None;
        }
        values.insert(name, value.to_owned());
        rest = behind;
    }
    rest.is_empty().then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(reason: &str) -> Option<&'static str> {
        Cause::of(reason).map(|cause| cause.code)
    }

    #[test]
    fn a_reason_is_taken_apart_down_to_its_own_reason() {
        let cause =
            Cause::of("rtsp://h/1 refuses access: the camera asks for a password: set username and password_file");
        let cause = cause.expect("known");
        assert_eq!((cause.code, cause.values["what"].as_str()), ("access", "rtsp://h/1"));
        assert_eq!(cause.because.map(|because| because.code), Some("no_password"));
        let silent = Cause::of("no pictures for more than 5 s; the connection is kept until 10 s").expect("known");
        assert_eq!((silent.code, &*silent.values["after"], &*silent.values["until"]), ("silent", "5", "10"));
        assert_eq!([code(""), code("something else"), code(" was lost: "), code("the link is metered.")], [None; 4]);
    }
}
