//! Secrets that cannot be guessed.

use anyhow::{Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// Random bytes of the system.
///
/// # Errors
/// When the system has none.
pub(super) fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("the system has no randomness: {error}"))?;
    Ok(bytes)
}

/// A token of 256 bits, in characters that stand in addresses and headers.
pub(super) fn token() -> Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(bytes::<32>()?))
}

/// A short public name for what has a token, 64 bits.
pub(super) fn id() -> Result<String> {
    Ok(hex::encode(bytes::<8>()?))
}

/// What is kept of a token. A fast hash is enough for what has 256 bits.
pub(super) fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}
