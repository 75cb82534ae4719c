//! The cryptography of WebRTC: what str0m leaves to those that use it.
//!
//! The choices that come with str0m bring aws-lc, which needs cmake in the cross build. This one computes with `ring`, as
//! the rest of the box does, and with RustCrypto where ring has nothing: AES in counter mode for SRTP, and the DTLS
//! handshake of str0m's authors.

mod certificate;
mod dtls;
mod srtp;

use std::sync::Arc;

use ring::{digest, hmac};
use str0m::crypto::{CryptoProvider, Sha1HmacProvider, Sha256Provider};

pub(super) use certificate::generate;

/// What sessions compute with.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        srtp_provider: &srtp::Srtp,
        sha1_hmac_provider: &Sha1Hmac,
        sha256_provider: &Sha256,
        dtls_provider: &dtls::Dtls,
    })
}

/// Of STUN messages.
#[derive(Debug)]
struct Sha1Hmac;

impl Sha1HmacProvider for Sha1Hmac {
    fn sha1_hmac(&self, key: &[u8], payloads: &[&[u8]]) -> [u8; 20] {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key));
        payloads.iter().for_each(|payload| context.update(payload));
        let mut tag = [0; 20];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }
}

/// Of fingerprints of certificates.
#[derive(Debug)]
struct Sha256;

impl Sha256Provider for Sha256 {
    fn sha256(&self, data: &[u8]) -> [u8; 32] {
        let mut sum = [0; 32];
        sum.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_standards() {
        // RFC 2202, case 2, in two pieces.
        let tag = Sha1Hmac.sha1_hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(hex::encode(tag), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        let sum = Sha256.sha256(b"abc");
        assert_eq!(hex::encode(sum), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
