//! The messages of WS-Discovery, as far as cameras are found by them. A reader for these alone, and not for XML: it takes the
//! text of elements by their local names, knows no entities but the five of XML, and follows nothing.

use std::net::IpAddr;

use super::NetworkCamera;

/// No text that is shown is longer, characters.
const LONGEST_TEXT: usize = 80;
/// What ONVIF cameras say of themselves begins so.
const SCOPE: &str = "onvif://www.onvif.org/";

/// The question for cameras.
pub(super) fn question(id: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><e:Envelope xmlns:e=\"http://www.w3.org/2003/05/soap-envelope\" \
         xmlns:w=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" \
         xmlns:d=\"http://schemas.xmlsoap.org/ws/2005/04/discovery\" \
         xmlns:dn=\"http://www.onvif.org/ver10/network/wsdl\"><e:Header><w:MessageID>{id}</w:MessageID>\
         <w:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To>\
         <w:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</w:Action></e:Header>\
         <e:Body><d:Probe><d:Types>dn:NetworkVideoTransmitter</d:Types></d:Probe></e:Body></e:Envelope>"
    )
}

/// The camera that answers the question `id` from the address `from`; `None`: it is no such answer.
pub(super) fn read(datagram: &[u8], id: &str, from: IpAddr) -> Option<NetworkCamera> {
    let text = std::str::from_utf8(datagram).ok()?;
    if element(text, "RelatesTo")?.trim() != id || !text.contains("ProbeMatch") {
        return None;
    }
    let scopes = unescaped(element(text, "Scopes").unwrap_or_default());
    let scope = |kind: &str| {
        let named = scopes.split_whitespace().filter_map(|scope| scope.strip_prefix(SCOPE)?.strip_prefix(kind));
        shown(&decoded(named.map(|rest| rest.trim_start_matches('/')).next().unwrap_or_default()))
    };
    let host = match from {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    Some(NetworkCamera {
        address: from,
        name: scope("name"),
        hardware: scope("hardware"),
        source: format!("rtsp://{host}/"),
    })
}

/// The text of the first element with this local name, up to the next tag.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split('<').skip(1).find_map(|tag| {
        let (head, content) = tag.split_once('>')?;
        let full = head.split(|c: char| c.is_whitespace() || c == '/').next()?;
        let local = full.rsplit(':').next()?;
        (local == name && !head.ends_with('/')).then_some(content)
    })
}

fn unescaped(text: &str) -> String {
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")]
        .iter()
        .fold(text.to_owned(), |text, (entity, sign)| text.replace(entity, sign))
}

/// `%20` and the like.
fn decoded(text: &str) -> String {
    let text = format!("x={}", text.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(text.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// What a person sees of foreign text: one short line.
fn shown(text: &str) -> String {
    let is_shown = |c: &char| {
        !c.is_control() && !matches!(*c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.trim().chars().filter(is_shown).take(LONGEST_TEXT).collect()
}

/// An answer as cameras send it.
#[cfg(test)]
pub(super) fn sample(id: &str, name: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><SOAP-ENV:Envelope xmlns:wsa=\"x\"><SOAP-ENV:Header>\
         <wsa:RelatesTo>{id}</wsa:RelatesTo></SOAP-ENV:Header><SOAP-ENV:Body><d:ProbeMatches><d:ProbeMatch>\
         <d:Scopes MatchBy=\"y\">onvif://www.onvif.org/type/video_encoder onvif://www.onvif.org/name/{name} \
         onvif://www.onvif.org/hardware/M1065-L</d:Scopes><d:XAddrs>http://192.0.2.7/onvif/device_service</d:XAddrs>\
         </d:ProbeMatch></d:ProbeMatches></SOAP-ENV:Body></SOAP-ENV:Envelope>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

    #[test]
    fn what_a_camera_says_of_itself_is_cut_to_one_short_line() {
        let read = |name: &str| read(sample("id", name).as_bytes(), "id", FROM).expect("an answer").name;
        assert_eq!(read("AXIS%20M1065"), "AXIS M1065");
        assert_eq!(read("a&amp;b%0a%1b[31m%E2%80%AEx%ff"), "a&b[31mx\u{fffd}");
        assert_eq!(read(&"x".repeat(5000)).len(), LONGEST_TEXT);
        assert_eq!(read("&lt;script&gt;"), "<script>", "shown as text");
    }

    #[test]
    fn other_messages_are_no_answers() {
        let good = sample("id", "a");
        assert!(read(good.as_bytes(), "another", FROM).is_none());
        for text in ["", "<", "<RelatesTo", "<RelatesTo>id", "<RelatesTo/>", "\u{0}<a:RelatesTo>id</a>"] {
            assert!(read(text.as_bytes(), "id", FROM).is_none(), "{text}");
        }
        assert!(read(&[0xff, 0xfe], "id", FROM).is_none());
        assert_eq!(read(good.replace("Scopes", "Nothing").as_bytes(), "id", FROM).expect("an answer").name, "");
    }
}
