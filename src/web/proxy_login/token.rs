//! What a token (RFC 7519) states, and whether that is to be believed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::key_set::{Algorithm, KeySet};
use super::refusal::{LONGEST, Refusal};

/// Longest life of a token while the clock of the box cannot be trusted, seconds.
const LONGEST_LIFE: i64 = 24 * 3600;

/// What is known of the time, seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Now {
    /// What the wall clock of the box shows.
    pub(super) wall: i64,
    /// Whether that is right.
    pub(super) is_trusted: bool,
    /// It is not earlier, whatever the clock shows.
    pub(super) at_least: i64,
}

/// What has to hold for a token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) audience: &'a [String],
    pub(super) claim: &'a str,
    /// How far the clocks may be apart, seconds.
    pub(super) leeway: i64,
}

/// What a token that is taken states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stated {
    /// The user, as the proxy calls it.
    pub(super) name: String,
    /// When the token was made, seconds since 1970.
    pub(super) made: Option<i64>,
    /// When it ends, seconds since 1970.
    pub(super) ends: i64,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// What `token` states, where one of `keys` signed it and all holds that is expected.
///
/// # Errors
/// Why it is not taken.
pub(super) fn read(token: &str, keys: &KeySet, expected: Expected<'_>, now: Now) -> Result<Stated, Refusal> {
    let claims = signed(token, keys)?;
    if claims.get("iss").and_then(Value::as_str) != Some(expected.issuer) {
        return Err(Refusal::Issuer);
    }
    let is_for_us =
        |audience: &Value| audience.as_str().is_some_and(|text| expected.audience.iter().any(|own| own == text));
    let audience_fits = match claims.get("aud") {
        Some(Value::Array(several)) => several.iter().any(is_for_us),
        Some(one) => is_for_us(one),
        None => false,
    };
    if !audience_fits {
        return Err(Refusal::Audience);
    }
    let (made, ends) = check_times(&claims, expected.leeway, now)?;
    if expected.claim == "email" && claims.get("email_verified") == Some(&Value::Bool(false)) {
        return Err(Refusal::Unverified);
    }
    let name = claims.get(expected.claim).and_then(Value::as_str).filter(|name| !name.is_empty());
    Ok(Stated { name: name.ok_or(Refusal::Nameless)?.to_owned(), made, ends })
}

/// The claims of a token whose signature is right. Nothing of it is looked at before, but what names the key.
fn signed(token: &str, keys: &KeySet) -> Result<Map<String, Value>, Refusal> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else { return Err(Refusal::Malformed) };
    if token.len() > LONGEST {
        return Err(Refusal::Malformed);
    }
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed);
    let Header { alg, kid, crit } = serde_json::from_slice(&decode(header)?).map_err(|_| Refusal::Malformed)?;
    // What is critical and not understood is to be refused, and nothing of it is understood.
    if crit.is_some() {
        return Err(Refusal::Malformed);
    }
    let algorithm = Algorithm::named(&alg).ok_or(Refusal::Algorithm)?;
    let message = &token.as_bytes()[..header.len() + 1 + claims.len()];
    keys.verify(algorithm, kid.as_deref(), message, &decode(signature)?)?;
    serde_json::from_slice(&decode(claims)?).map_err(|_| Refusal::Malformed)
}

/// When a token was made and when it ends, where it is valid now.
///
/// A clock that is not synchronised may be behind: then a token is not refused for being early, it has ended where either
/// the clock or what else is known of the time says so, and only short lives are taken.
fn check_times(claims: &Map<String, Value>, leeway: i64, now: Now) -> Result<(Option<i64>, i64), Refusal> {
    let number = |name: &str| match claims.get(name) {
        None => Ok(None),
        // Fractions of seconds are allowed; what is beyond all times is bounded by the conversion.
        Some(value) => value.as_f64().map(|seconds| Some(seconds as i64)).ok_or(Refusal::Malformed),
    };
    let (made, begins) = (number("iat")?, number("nbf")?);
    let ends = number("exp")?.ok_or(Refusal::Endless)?;
    let latest = if now.is_trusted { now.wall } else { now.wall.max(now.at_least) };
    if ends.saturating_add(leeway) <= latest {
        return Err(Refusal::Over);
    }
    if now.is_trusted {
        let is_early = |time: Option<i64>| time.is_some_and(|time| time.saturating_sub(leeway) > now.wall);
        if is_early(begins) || is_early(made) {
            return Err(Refusal::Early);
        }
    } else if made.is_none_or(|made| ends.saturating_sub(made) > LONGEST_LIFE) {
        return Err(Refusal::LongLived);
    }
    Ok((made, ends))
}
