//! User name and password, put where the camera wants them.

use std::fmt::Write;

use url::Url;

use crate::source::config::{PASSWORD, PLACEHOLDERS};
use crate::source::rtsp::password::read_password;
use crate::source::{Config, SourceError};

/// What libavformat holds of a login, in encoded bytes; more is cut off there without a word.
const LONGEST: usize = 120;

/// User name and password of a camera.
pub(super) struct Login {
    username: String,
    password: String,
}

/// The login that is configured, with the password from its file.
pub(super) async fn login(config: &Config, what: &str) -> Result<Option<Login>, SourceError> {
    let (Some(username), Some(path)) = (&config.username, &config.password_file) else { return Ok(None) };
    let password = read_password(path).await.map_err(|reason| SourceError::Unauthorised {
        what: what.to_owned(),
        reason: format!("password_file {} {reason}", path.display()),
    })?;
    Ok(Some(Login { username: username.clone(), password }))
}

/// The address as libavformat wants it: the login in the places for it, and in front of the host where there is no
/// place for the password. An address with a place for the password alone needs no user name.
pub(super) fn with_login(url: &Url, login: Option<&Login>, what: &str) -> Result<String, SourceError> {
    let mut address = url.to_string();
    let Some(login) = login else { return Ok(address) };
    let values = [encode(&login.username), encode(&login.password)];
    let mut has_password = false;
    for (place, value) in PLACEHOLDERS.iter().zip(&values) {
        // As it was written, and as it looks in a path after parsing.
        let in_path = place.replace('{', "%7B").replace('}', "%7D");
        for form in [place, in_path.as_str()] {
            has_password |= *place == PASSWORD && address.contains(form);
            address = address.replace(form, value);
        }
    }
    let [username, password] = &values;
    if has_password {
        return Ok(address);
    }
    let refuse = |reason: &str| SourceError::Unsupported { what: what.to_owned(), reason: reason.to_owned() };
    if username.len() + password.len() >= LONGEST {
        return Err(refuse("user name and password are longer than libavformat takes: choose shorter ones"));
    }
    if url.scheme().starts_with("rtmp") && values.iter().any(|value| value.contains('%')) {
        return Err(refuse(
            "RTMP logins take letters, digits and -._~ only: choose such a password, or write {username} and \
             {password} where the camera wants them in the address",
        ));
    }
    Ok(address.replacen("://", &format!("://{username}:{password}@"), 1))
}

/// Percent-encodes all but what every part of an address may hold.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(url: &str, password: &str) -> Result<String, SourceError> {
        let login = Login { username: "ad min".to_owned(), password: password.to_owned() };
        with_login(&Url::parse(url).expect("valid"), Some(&login), "cam")
    }

    #[test]
    fn a_login_stands_in_front_of_the_host_or_where_the_address_has_a_place_for_it() {
        assert_eq!(placed("http://cam/x?a=@", "p@:/%").expect("fits"), "http://ad%20min:p%40%3A%2F%25@cam/x?a=@");
        let flv = "http://cam/flv?user={username}&password={password}";
        assert_eq!(placed(flv, "p&w").expect("fits"), "http://cam/flv?user=ad%20min&password=p%26w");
        assert_eq!(placed("rtsp://cam/{username}/{password}/1", "x").expect("fits"), "rtsp://cam/ad%20min/x/1");
        let user = "http://cam/{username}/1";
        assert_eq!(
            placed(user, "p").expect("fits"),
            "http://ad%20min:p@cam/ad%20min/1",
            "a password is never left out"
        );
        assert_eq!(placed("http://cam/1?pwd={password}", "p").expect("fits"), "http://cam/1?pwd=p");
        assert_eq!(with_login(&Url::parse("http://cam/x").expect("valid"), None, "").expect("none"), "http://cam/x");
    }

    #[test]
    fn a_login_that_libavformat_would_garble_is_refused_without_being_shown() {
        for (url, password) in [("rtmp://cam/x", "hunter/2"), ("rtsp://cam/x", &*"hunter".repeat(30))] {
            let error = placed(url, password).expect_err(url).to_string();
            assert!(error.contains("choose") && !error.contains("hunter"), "{error}");
        }
    }
}
