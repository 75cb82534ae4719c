//! Whether a destination holds what it was given, by what it says itself.
//!
//! S3 is sent a SHA-256 with every object and part and refuses what does not match; its ETag, where it is an MD5, is
//! compared besides. Google and Azure state an MD5 of what they hold. What is sent as one request is proved by the MD5
//! in the answer; all else is asked for afterwards. Where a service states nothing, the size has to do. An ETag of
//! others may look like an MD5 and be something else.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest, Md5};
use reqwest::header::HeaderMap;

/// What an answer says of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stated {
    /// MD5 of the content.
    md5: Option<[u8; 16]>,
    /// MD5 of the MD5s of its parts, and their number.
    of_parts: Option<([u8; 16], u64)>,
}

impl Stated {
    /// Reads what `headers` state; of S3 the ETag too, without encryption: else it is of other bytes.
    pub(super) fn read(headers: &HeaderMap, is_s3: bool) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let decoded = |text: &str| BASE64_STANDARD.decode(text.trim()).ok()?.try_into().ok();
        let google = headers.get_all("x-goog-hash").iter().filter_map(|value| value.to_str().ok());
        let google = google.flat_map(|value| value.split(',')).find_map(|hash| hash.trim().strip_prefix("md5="));
        // With keys of the bucket's own (AES256) the ETag stays that of the content.
        let encrypted = headers.iter().any(|(name, value)| match name.as_str() {
            "x-amz-server-side-encryption" => value != "AES256",
            name => name.starts_with("x-amz-server-side-encryption"),
        });
        let etag = text("etag").filter(|_| is_s3 && !encrypted).map(|etag| etag.trim_matches('"'));
        let (etag, parts) = etag.map_or((None, None), |etag| match etag.split_once('-') {
            Some((md5, parts)) => (from_hex(md5), parts.parse().ok()),
            None => (from_hex(etag), None),
        });
        let md5 = text("content-md5").or(google).and_then(decoded);
        match (md5, etag, parts) {
            (Some(_), ..) => Self { md5, of_parts: None },
            (None, Some(etag), Some(parts)) => Self { md5: None, of_parts: Some((etag, parts)) },
            (None, etag, _) => Self { md5: etag, of_parts: None },
        }
    }

    /// Whether the content's MD5 is this one; `None` where none is stated.
    pub(super) fn is_md5(&self, md5: &[u8; 16]) -> Option<bool> {
        self.md5.as_ref().map(|stated| stated == md5)
    }

    /// Whether it states anything that can be compared.
    pub(super) fn is_comparable(&self) -> bool {
        self.md5.is_some() || self.of_parts.is_some()
    }

    /// Compares with a file that was sent in pieces of `part_bytes`. Blocks on the disk.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn matches(&self, file: &Path, part_bytes: u64) -> std::io::Result<bool> {
        if let Some(md5) = self.md5 {
            return Ok(md5_of(&mut File::open(file)?)? == md5);
        }
        let Some((md5, parts)) = self.of_parts else { return Ok(true) };
        let (mut file, mut all) = (File::open(file)?, Md5::new());
        let count = file.metadata()?.len().div_ceil(part_bytes.max(1));
        if parts != count {
            // It was cut in its own way over there, so that this proves nothing.
            return Ok(true);
        }
        for _ in 0..count {
            all.update(md5_of(&mut (&mut file).take(part_bytes))?);
        }
        Ok(<[u8; 16]>::from(all.finalize()) == md5)
    }
}

fn md5_of(content: &mut impl Read) -> std::io::Result<[u8; 16]> {
    let mut hasher = Md5::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        match content.read(&mut piece)? {
            0 => return Ok(hasher.finalize().into()),
            length => hasher.update(piece.get(..length).unwrap_or_default()),
        }
    }
}

/// 32 hexadecimal digits.
fn from_hex(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    Some(u128::from_str_radix(text, 16).ok()?.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| ((*name).parse().expect("name"), (*value).parse().expect("value"))).collect()
    }

    fn stated(pairs: &[(&'static str, &'static str)]) -> Stated {
        Stated::read(&headers(pairs), true)
    }

    #[test]
    fn each_service_is_held_to_what_it_states() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("hello");
        std::fs::write(&file, b"hello world").expect("write");
        let holds = |pairs| stated(pairs).matches(&file, 6).expect("read");
        // md5sum and openssl say so.
        assert!(holds(&[("etag", "\"5eb63bbbe01eeed093cb22bb8f5acdc3\"")]));
        assert!(!holds(&[("etag", "\"5eb63bbbe01eeed093cb22bb8f5acdc4\"")]));
        assert!(holds(&[("content-md5", "XrY7u+Ae7tCTyyK7j1rNww==")]));
        assert!(holds(&[("etag", "\"0x8D\""), ("content-md5", "XrY7u+Ae7tCTyyK7j1rNww==")]));
        assert!(holds(&[("x-goog-hash", "crc32c=yZRlqg==,md5=XrY7u+Ae7tCTyyK7j1rNww==")]));
        assert!(!holds(&[("x-goog-hash", "md5=AAAAAAAAAAAAAAAAAAAAAA==")]));
        // printf 'hello ' | md5sum; printf world | md5sum; the MD5 of both in binary.
        assert!(holds(&[("etag", "\"e09e4fd6265b36115fe3db32df945d84-2\"")]));
        assert!(holds(&[("etag", "\"e09e4fd6265b36115fe3db32df945d84-3\"")]), "cut elsewhere");
        assert!(!holds(&[("etag", "\"5eb63bbbe01eeed093cb22bb8f5acdc3-2\"")]));
        let by_the_bucket = ("x-amz-server-side-encryption", "AES256");
        assert!(!holds(&[("etag", "\"5eb63bbbe01eeed093cb22bb8f5acdc4\""), by_the_bucket]));
        let of_others = Stated::read(&headers(&[("etag", "\"5eb63bbbe01eeed093cb22bb8f5acdc4\"")]), false);
        assert!(!of_others.is_comparable());
    }

    #[test]
    fn the_answer_to_a_put_reports_what_arrived() {
        let etag = |text| stated(&[("etag", text)]);
        let md5: [u8; 16] = Md5::digest(b"hello world").into();
        assert_eq!(etag("\"5eb63bbbe01eeed093cb22bb8f5acdc3\"").is_md5(&md5), Some(true));
        assert_eq!(etag("\"5eb63bbbe01eeed093cb22bb8f5acdc4\"").is_md5(&md5), Some(false));
        assert_eq!(etag("\"e09e4fd6265b36115fe3db32df945d84-2\"").is_md5(&md5), None);
        assert_eq!(etag("\"0x8D\"").is_md5(&md5), None);
    }

    #[test]
    fn what_proves_nothing_is_no_mismatch() {
        for pairs in [
            &[("etag", "\"0x8DABCDEF\"")][..],
            &[("etag", "\"5eb63bbbe01eeed093cb22bb8f5acdc4\""), ("x-amz-server-side-encryption", "aws:kms")],
            &[
                ("etag", "\"5eb63bbbe01eeed093cb22bb8f5acdc4\""),
                ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
            ],
            &[],
        ] {
            assert!(!stated(pairs).is_comparable(), "{pairs:?}");
        }
    }
}
