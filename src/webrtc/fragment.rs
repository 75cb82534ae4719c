//! Pieces of SDP that PATCH requests carry (RFC 8840): candidates, and what begins another ICE session.

use super::Refusal;
use super::answer::LONGEST_OFFER;

/// Candidates of a peer that are taken at once.
const MOST_CANDIDATES: usize = 32;

/// Characters of a name or password (RFC 8839, 5.4): each stands in every section of the offer.
const LONGEST_CREDENTIAL: usize = 256;

/// What a peer sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fragment<'a> {
    /// The name of its ICE session, and the password.
    credentials: Option<(&'a str, &'a str)>,
    candidates: Vec<&'a str>,
}

impl<'a> Fragment<'a> {
    pub(super) fn read(text: &'a str) -> Self {
        let lines = || text.lines().map(str::trim);
        let value = |key: &str| lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let (name, password) = (value(NAME), value(PASSWORD));
        let candidates = lines().filter(|line| line.starts_with(CANDIDATE)).take(MOST_CANDIDATES);
        Self { credentials: name.zip(password), candidates: candidates.collect() }
    }

    /// Its candidates as they stand in SDP, without the letter of their line.
    pub(super) fn candidates(&self) -> impl Iterator<Item = &'a str> {
        self.candidates.iter().filter_map(|line| line.strip_prefix("a="))
    }

    /// The offer that begins the ICE session in it; `None`: it is that of `offer`, or names none.
    ///
    /// # Errors
    /// When its credentials, or the offer with them, are longer than any may be.
    pub(super) fn restarts(&self, offer: &str) -> Result<Option<String>, Refusal> {
        let Some((name, password)) = self.credentials else { return Ok(None) };
        let known = offer.lines().find_map(|line| line.trim().strip_prefix(NAME));
        if known.is_some_and(|known| known.trim() == name) {
            return Ok(None);
        }
        if name.len().max(password.len()) > LONGEST_CREDENTIAL {
            let words = format!("its ice-ufrag or ice-pwd is longer than {LONGEST_CREDENTIAL} characters");
            return Err(Refusal::BadOffer(words));
        }
        let text = self.with_credentials(offer, name, password);
        if text.len() > LONGEST_OFFER {
            let words = format!("with it, the offer of the session is longer than {LONGEST_OFFER} bytes");
            return Err(Refusal::BadOffer(words));
        }
        Ok(Some(text))
    }

    /// `offer` with other credentials, and with the candidates of the peer alone.
    fn with_credentials(&self, offer: &str, name: &str, password: &str) -> String {
        let mut text = String::with_capacity(offer.len() + 64 * self.candidates.len());
        let mut put = |line: &str| {
            text.push_str(line);
            text.push_str("\r\n");
        };
        let mut candidates = self.candidates.as_slice();
        for line in offer.lines().map(str::trim) {
            if line.starts_with(NAME) {
                put(&format!("{NAME}{name}"));
            } else if line.starts_with(PASSWORD) {
                put(&format!("{PASSWORD}{password}"));
            } else if !line.starts_with(CANDIDATE) && !line.starts_with("a=end-of-candidates") {
                put(line);
                // All sections go by the way of the first one.
                if line.starts_with("a=mid:") {
                    std::mem::take(&mut candidates).iter().for_each(|candidate| put(candidate));
                }
            }
        }
        text
    }
}

/// What a peer has to know of the ICE session in `answer`.
pub(super) fn of_answer(answer: &str) -> String {
    let kept = ["m=", "a=ice-", "a=group:BUNDLE", "a=mid:", CANDIDATE, "a=end-of-candidates"];
    let lines = answer.lines().map(str::trim).filter(|line| kept.iter().any(|start| line.starts_with(start)));
    lines.map(|line| format!("{line}\r\n")).collect()
}

const NAME: &str = "a=ice-ufrag:";
const PASSWORD: &str = "a=ice-pwd:";
const CANDIDATE: &str = "a=candidate:";

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\na=group:BUNDLE 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=ice-ufrag:old1\r\n\
        a=ice-pwd:old-password-of-22-letters\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\na=end-of-candidates\r\n\
        a=rtpmap:96 VP8/90000\r\n";

    #[test]
    fn another_name_begins_another_ice_session_with_its_own_candidates_alone() {
        let candidate = "a=candidate:2 1 udp 1 192.0.2.9 9 typ host";
        let text = format!(
            "a=ice-ufrag:new2\r\na=ice-pwd:new-password-of-22-letters\r\nm=video 9 X 96\r\na=mid:0\r\n{candidate}\r\n"
        );
        let fragment = Fragment::read(&text);
        assert_eq!(fragment.candidates().collect::<Vec<_>>(), [&candidate[2..]]);
        let expected = OFFER.replace("old", "new").replace("new1", "new2").replace("a=end-of-candidates\r\n", "");
        let expected = expected.replace("a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n", "");
        let expected = expected.replace("a=mid:0\r\n", &format!("a=mid:0\r\n{candidate}\r\n"));
        assert_eq!(fragment.restarts(OFFER), Ok(Some(expected)));
    }

    #[test]
    fn candidates_alone_or_of_the_same_ice_session_begin_none() {
        for text in
            ["", "a=candidate:2 1 udp 1 192.0.2.9 9 typ host", "a=ice-ufrag:old1\na=ice-pwd:x", "a=ice-ufrag:new"]
        {
            assert_eq!(Fragment::read(text).restarts(OFFER), Ok(None), "{text}");
        }
        assert_eq!(Fragment::read(&"a=candidate:x\n".repeat(100)).candidates().count(), MOST_CANDIDATES);
    }

    #[test]
    fn credentials_that_would_swell_the_offer_are_refused() {
        let restarts = |offer: &str, password: usize| {
            let text = format!("a=ice-ufrag:new2\r\na=ice-pwd:{}\r\n", "x".repeat(password));
            Fragment::read(&text).restarts(offer)
        };
        let many = format!("{OFFER}{}", "a=ice-pwd:x\r\n".repeat(3000));
        assert!(many.len() < LONGEST_OFFER);
        assert!(matches!(restarts(OFFER, LONGEST_CREDENTIAL), Ok(Some(_))));
        for (offer, password) in [(OFFER, 65_000), (OFFER, LONGEST_CREDENTIAL + 1), (&many, 65_000), (&many, 100)] {
            let outcome = restarts(offer, password);
            assert!(matches!(outcome, Err(Refusal::BadOffer(_))), "{password}");
        }
    }

    #[test]
    fn the_answer_to_a_restart_has_names_and_candidates_alone() {
        let of = of_answer(&format!("{OFFER}a=ice-lite\r\na=fingerprint:sha-256 00\r\n"));
        assert!(of.contains("a=ice-ufrag:old1\r\n") && of.contains("m=video 9") && of.contains("a=ice-lite"), "{of}");
        assert!(!of.contains("fingerprint") && !of.contains("rtpmap") && !of.contains("v=0"), "{of}");
    }
}
