//! The signature of a request: HMAC-SHA256 (RFC 2104) over the time and the body.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Shorter secrets can be guessed.
const LEAST_SECRET: usize = 16;

/// Reads the secret.
///
/// # Errors
/// Names the file that cannot be read or used; never what it holds.
pub(super) fn read_secret(file: &Path) -> Result<Vec<u8>> {
    let mut secret = std::fs::read(file).with_context(|| format!("read secret_file {}", file.display()))?;
    for end in [b'\n', b'\r'] {
        if secret.last() == Some(&end) {
            secret.pop();
        }
    }
    let (name, bytes) = (file.display(), secret.len());
    ensure!(bytes >= LEAST_SECRET, "secret_file {name} holds {bytes} bytes; at least {LEAST_SECRET} are needed");
    Ok(secret)
}

/// `t=<seconds>,v1=<hex>`: the HMAC of `<seconds>.<body>`, so that neither can be exchanged.
pub(super) fn sign(secret: &[u8], seconds: i64, body: &[u8]) -> String {
    let time = seconds.to_string();
    format!("t={time},v1={}", hex::encode(hmac(secret, &[time.as_bytes(), b".", body])))
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_vectors_of_rfc_4231() {
        let cases: [(&[u8], &[u8], &str); 3] = [
            (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ];
        for (key, data, expected) in cases {
            assert_eq!(hex::encode(hmac(key, &[data])), expected);
        }
    }

    #[test]
    fn a_secret_may_end_in_a_line_end_and_may_not_be_short() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("secret");
        std::fs::write(&file, "0123456789abcdef\r\n").expect("write");
        assert_eq!(read_secret(&file).expect("read"), b"0123456789abcdef");
        std::fs::write(&file, "s3cret\n").expect("write");
        let error = format!("{:#}", read_secret(&file).expect_err("short"));
        assert!(error.contains("holds 6 bytes") && !error.contains("s3cret"), "{error}");
    }
}
