//! Codes of authenticator apps (RFC 6238, SHA-1 and 30 s, which every app knows), and recovery codes.

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use totp_rs::{Algorithm, Builder, Secret, Totp};

use super::random;

/// Recovery codes that a user gets.
const RECOVERY_CODES: usize = 10;
/// Characters of a recovery code: none that look alike.
const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
/// Steps of 30 s that a phone's clock may be wrong by.
const SKEW: u16 = 1;
/// The same while the box's own clock cannot be trusted: ten minutes.
const SKEW_WITHOUT_CLOCK: u16 = 20;

/// What is kept of a second factor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SecondFactor {
    /// The secret that the app has too, base32.
    secret: String,
    /// The step of the last code that was taken: none is taken twice.
    #[serde(default)]
    last_step: u64,
    /// Hashes of recovery codes that are left.
    pub(super) recovery: Vec<String>,
}

/// What a user needs to bring a second factor into an app.
#[derive(Clone, Debug, Serialize)]
pub struct Enrolment {
    /// For typing, base32.
    pub secret: String,
    /// The same as an `otpauth:` address.
    pub url: String,
    /// The same as a QR code, SVG.
    pub qr: String,
}

impl SecondFactor {
    /// A new one with its recovery codes, which are kept as hashes only.
    pub(super) fn new(secret: String) -> Result<(Self, Vec<String>)> {
        let codes = (0..RECOVERY_CODES).map(|_| recovery_code()).collect::<Result<Vec<_>>>()?;
        let recovery = codes.iter().map(|code| random::hash(&plain(code))).collect();
        Ok((Self { secret, last_step: 0, recovery }, codes))
    }

    /// Whether `code` is the app's present one, or a recovery code; that is used up then.
    pub(super) fn take(&mut self, code: &str, now: Timestamp, clock_is_trusted: bool) -> bool {
        let code = plain(code);
        if code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()) {
            return match step(&self.secret, &code, now, clock_is_trusted) {
                Some(step) if step > self.last_step => {
                    self.last_step = step;
                    true
                }
                _ => false,
            };
        }
        let hash = random::hash(&code);
        let before = self.recovery.len();
        self.recovery.retain(|kept| *kept != hash);
        self.recovery.len() < before
    }
}

/// A secret that an app does not have yet.
pub(super) fn new_secret() -> Result<String> {
    Ok(Secret::from(random::bytes::<20>()?.to_vec()).to_base32())
}

/// What the user `name` of the box `device` brings into the app.
pub(super) fn enrolment(secret: &str, name: &str, device: &str) -> Result<Enrolment> {
    // A colon separates the two in the address.
    let plain = |text: &str| text.replace(':', " ");
    let totp = builder(secret)?.with_account_name(plain(name)).with_issuer(Some(format!("Outpost {}", plain(device))));
    let totp = totp.build().map_err(|error| anyhow!("the second factor cannot be made: {error}"))?;
    let url = totp.to_url().map_err(|error| anyhow!("the second factor has no address: {error}"))?;
    let code = qrcode::QrCode::new(url.as_bytes()).map_err(|error| anyhow!("no QR code can be made: {error}"))?;
    let qr = code.render::<qrcode::render::svg::Color<'_>>().min_dimensions(200, 200).build();
    Ok(Enrolment { secret: secret.to_owned(), url, qr })
}

/// The step of which `code` is, if it is one of those at about `now`.
pub(super) fn step(secret: &str, code: &str, now: Timestamp, clock_is_trusted: bool) -> Option<u64> {
    let skew = if clock_is_trusted { SKEW } else { SKEW_WITHOUT_CLOCK };
    let totp: Totp = builder(secret).ok()?.with_skew(skew).build().ok()?;
    totp.check(code, u64::try_from(now.as_second()).ok()?)
}

fn builder(secret: &str) -> Result<Builder> {
    let secret = Secret::try_from_base32(secret).map_err(|error| anyhow!("not a secret of an app: {error}"))?;
    Ok(Builder::new().with_algorithm(Algorithm::SHA1).with_digits(6).with_step_duration(30).with_secret(secret))
}

/// As it was meant: people type spaces, hyphens and capitals.
fn plain(code: &str) -> String {
    code.chars().filter(|c| !matches!(c, ' ' | '-')).map(|c| c.to_ascii_lowercase()).collect()
}

/// 50 bits, `abcde-fghjk`: enough for what is limited in its tries and used once.
fn recovery_code() -> Result<String> {
    let letter = |byte: &u8| char::from(ALPHABET.get(usize::from(byte % 32)).copied().unwrap_or(b'a'));
    let bytes = random::bytes::<10>()?;
    let (first, last) = bytes.split_at(5);
    Ok([first, last].map(|half| half.iter().map(letter).collect::<String>()).join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RFC_SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    /// Works with: page | codes of authenticator apps (RFC 6238's own examples), from phones half a minute off | taken, each once
    #[test]
    fn codes_are_those_of_the_standard_and_are_taken_once() {
        let (mut factor, _) = SecondFactor::new(RFC_SECRET.to_owned()).expect("a factor");
        // The last six digits of the eight in the RFC's appendix B.
        assert!(!factor.take("287081", at(59), true));
        assert!(factor.take("287082", at(59), true));
        assert!(!factor.take("287082", at(59), true), "none is taken twice");
        assert!(factor.take("081 804", at(1_111_111_109 + 30), true), "a phone that is half a minute behind");
        assert!(!factor.take("050471", at(1_111_111_111 + 300), true));
        assert!(factor.take("050471", at(1_111_111_111 + 300), false), "the box does not know the time");
        assert!(!factor.take("081804", at(1_111_111_109), false), "older than the last that was taken");
    }

    #[test]
    fn a_recovery_code_is_used_up() {
        let (mut factor, codes) = SecondFactor::new(RFC_SECRET.to_owned()).expect("a factor");
        assert_eq!(codes.len(), RECOVERY_CODES);
        let first = codes.first().expect("a code").to_uppercase().replace('-', " ");
        assert!(factor.take(&first, at(0), true));
        assert!(!factor.take(&first, at(0), true));
        assert_eq!(factor.recovery.len(), RECOVERY_CODES - 1);
        assert!(!factor.take("", at(0), true) && !factor.take("zzzzz-zzzzz", at(0), true));
    }

    #[test]
    fn an_app_gets_an_address_and_a_picture_of_it() {
        let secret = new_secret().expect("a secret");
        let enrolment = enrolment(&secret, "anna", "farm:north").expect("an enrolment");
        assert!(enrolment.url.starts_with("otpauth://totp/"), "{}", enrolment.url);
        assert!(enrolment.url.contains(&secret) && enrolment.qr.contains("<svg"), "{}", enrolment.url);
        assert!(super::step(&secret, "123", at(0), true).is_none());
    }
}
