//! The header: the file's key, wrapped for each recipient, and a code that shows that nobody changed it.

use std::io::{self, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use ring::hmac;

use super::keys::{Unusable, derive};
use super::{FileKey, Identity, Recipient};

const VERSION: &[u8] = b"age-encryption.org/v1\n";
/// What the header's last line begins with; the code is of all up to here.
const END: &[u8] = b"---";
/// Longest header that is read, in bytes: some hundred recipients.
const LONGEST: usize = 64 * 1024;

/// Why a file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// It is no sealed file.
    #[error("it is not a sealed file: it does not begin as files of age do")]
    NotSealed,
    /// None of the identities is one of its recipients.
    #[error("it was sealed to other keys than these")]
    OtherKey,
    /// Part of it is missing, or not as it was written.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// It could not be read, or its content not written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

pub(super) fn write(key: &FileKey, recipients: &[Recipient], secrets: &[[u8; 32]]) -> Result<Vec<u8>, Unusable> {
    let mut header = VERSION.to_vec();
    for (recipient, secret) in recipients.iter().zip(secrets) {
        let (share, body) = recipient.wrap(key, *secret)?;
        header.extend(format!("-> X25519 {}\n{}\n", BASE64.encode(share), BASE64.encode(body)).bytes());
    }
    header.extend(END);
    let code = hmac::sign(&code_key(key).ok_or(Unusable)?, &header);
    header.extend(format!(" {}\n", BASE64.encode(code)).bytes());
    Ok(header)
}

fn code_key(key: &FileKey) -> Option<hmac::Key> {
    Some(hmac::Key::new(hmac::HMAC_SHA256, &derive(key, &[], b"header")?))
}

/// Reads up to the content; gives the file's key.
pub(super) fn read(sealed: &mut dyn Read, identities: &[Identity]) -> Result<FileKey, UnsealError> {
    let mut header = vec![0; VERSION.len()];
    match sealed.read_exact(&mut header) {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error.into()),
        Ok(()) if header == VERSION => {}
        _ => return Err(UnsealError::NotSealed),
    }
    let (mut key, mut share) = (None, None);
    loop {
        let begin = header.len();
        read_line(sealed, &mut header)?;
        let line = header.get(begin..header.len() - 1).unwrap_or_default();
        if let Some(code) = line.strip_prefix(END) {
            let key: FileKey = key.ok_or(UnsealError::OtherKey)?;
            let code = code.strip_prefix(b" ").and_then(|code| BASE64.decode(code).ok()).unwrap_or_default();
            let signed = header.get(..begin + END.len()).unwrap_or_default();
            let of_key = code_key(&key).ok_or(UnsealError::OtherKey)?;
            hmac::verify(&of_key, signed, &code).map_err(|_| UnsealError::Damaged("its header was changed"))?;
            return Ok(key);
        }
        let decoded = |text: &[u8]| BASE64.decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        if line.starts_with(b"-> ") {
            // Other kinds of recipients are somebody else's.
            share = line.strip_prefix(b"-> X25519 ").and_then(decoded);
        } else if let (Some(share), Some(body)) = (share.take(), decoded(line)) {
            key = key.or_else(|| identities.iter().find_map(|identity| identity.unwrap(&share, &body)));
        }
    }
}

/// With the line break at its end.
fn read_line(sealed: &mut dyn Read, header: &mut Vec<u8>) -> Result<(), UnsealError> {
    loop {
        let mut byte = [0];
        sealed.read_exact(&mut byte).map_err(|_| UnsealError::Damaged("it ends within its header"))?;
        header.extend(byte);
        match byte {
            [b'\n'] => return Ok(()),
            _ if header.len() > LONGEST => return Err(UnsealError::Damaged("its header has no end")),
            _ => {}
        }
    }
}
