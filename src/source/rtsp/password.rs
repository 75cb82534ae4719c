//! The secret, from its file.

use std::path::Path;

use retina::client::Credentials;

use crate::source::error::plain;
use crate::source::{Config, SourceError};

/// No password is longer; a file that is was named by mistake.
const MAX_PASSWORD_BYTES: usize = 4096;

pub(super) async fn credentials(config: &Config, what: &str) -> Result<Option<Credentials>, SourceError> {
    let (Some(username), Some(path)) = (&config.username, &config.password_file) else { return Ok(None) };
    let password = read_password(path).await.map_err(|reason| SourceError::Unauthorised {
        what: what.to_owned(),
        reason: format!("password_file {} {reason}", path.display()),
    })?;
    Ok(Some(Credentials { username: username.clone(), password }))
}

pub(in crate::source) async fn read_password(path: &Path) -> Result<String, String> {
    let text = tokio::fs::read_to_string(path).await.map_err(|e| format!("cannot be read: {}", plain(&e)))?;
    only_line(&text)
}

/// Finds out whether the file at `path` holds a password that a camera can be asked with.
///
/// # Errors
/// What is wrong with it, to stand behind its name.
pub fn check_password(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot be read: {}", plain(&e)))?;
    only_line(&text).map(drop)
}

fn only_line(text: &str) -> Result<String, String> {
    let password = text.strip_suffix('\n').unwrap_or(text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err("is empty: write the password into it".to_owned());
    }
    if password.len() > MAX_PASSWORD_BYTES || password.contains('\n') {
        return Err("holds more than one line: write only the password into it".to_owned());
    }
    Ok(password.to_owned())
}
