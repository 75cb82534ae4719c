//! Ciphers of media packets. Packets come from the network: whatever their length, an error is the worst that follows.

use aes::cipher::generic_array::GenericArray;
use aes::cipher::{BlockEncrypt, KeyInit, KeyIvInit, StreamCipher};
use aes::{Aes128, Aes256};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, MAX_TAG_LEN, Nonce, UnboundKey};
use str0m::crypto::{
    AeadAes128GcmCipher, AeadAes256GcmCipher, Aes128CmSha1_80Cipher, CryptoError, SrtpProvider, SupportedAeadAes128Gcm,
    SupportedAeadAes256Gcm, SupportedAes128CmSha1_80,
};

#[derive(Debug)]
pub(super) struct Srtp;

impl SrtpProvider for Srtp {
    fn aes_128_cm_sha1_80(&self) -> &'static dyn SupportedAes128CmSha1_80 {
        &Self
    }

    fn aead_aes_128_gcm(&self) -> &'static dyn SupportedAeadAes128Gcm {
        &Self
    }

    fn aead_aes_256_gcm(&self) -> &'static dyn SupportedAeadAes256Gcm {
        &Self
    }

    fn srtp_aes_128_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        if let Ok(cipher) = Aes128::new_from_slice(key) {
            round(&cipher, input, output);
        }
    }

    fn srtp_aes_256_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        if let Ok(cipher) = Aes256::new_from_slice(key) {
            round(&cipher, input, output);
        }
    }
}

/// Encrypts one block. str0m's buffer has room for a second one, of padding, which is not read.
fn round(cipher: &impl BlockEncrypt<BlockSize = aes::cipher::consts::U16>, input: &[u8], output: &mut [u8]) {
    if let (Some(input), Some(output)) = (input.get(..16), output.get_mut(..16)) {
        output.copy_from_slice(input);
        cipher.encrypt_block(GenericArray::from_mut_slice(output));
    }
}

impl SupportedAes128CmSha1_80 for Srtp {
    fn create_cipher(&self, key: [u8; 16], _encrypt: bool) -> Box<dyn Aes128CmSha1_80Cipher> {
        Box::new(CounterMode(key))
    }
}

impl SupportedAeadAes128Gcm for Srtp {
    fn create_cipher(&self, key: [u8; 16], _encrypt: bool) -> Box<dyn AeadAes128GcmCipher> {
        Box::new(Gcm::new(&AES_128_GCM, &key))
    }
}

impl SupportedAeadAes256Gcm for Srtp {
    fn create_cipher(&self, key: [u8; 32], _encrypt: bool) -> Box<dyn AeadAes256GcmCipher> {
        Box::new(Gcm::new(&AES_256_GCM, &key))
    }
}

fn error(what: &str) -> CryptoError {
    CryptoError::Other(what.to_owned())
}

/// AES in counter mode; what authenticates the packets is beside it.
struct CounterMode([u8; 16]);

impl std::fmt::Debug for CounterMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CounterMode")
    }
}

impl Aes128CmSha1_80Cipher for CounterMode {
    fn encrypt(&mut self, iv: &[u8; 16], input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        let output = output.get_mut(..input.len()).ok_or_else(|| error("no room for the packet"))?;
        output.copy_from_slice(input);
        ctr::Ctr128BE::<Aes128>::new(&self.0.into(), iv.into()).apply_keystream(output);
        Ok(())
    }

    fn decrypt(&mut self, iv: &[u8; 16], input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        self.encrypt(iv, input, output)
    }
}

/// AES-GCM with its tag behind the text.
#[derive(Debug)]
struct Gcm(Option<LessSafeKey>);

impl Gcm {
    fn new(algorithm: &'static Algorithm, key: &[u8]) -> Self {
        Self(UnboundKey::new(algorithm, key).ok().map(LessSafeKey::new))
    }

    fn key(&self) -> Result<&LessSafeKey, CryptoError> {
        self.0.as_ref().ok_or_else(|| error("the key has another length"))
    }

    fn seal(&self, iv: &[u8; 12], aad: &[u8], input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        let room = output.get_mut(..input.len() + MAX_TAG_LEN).ok_or_else(|| error("no room for the packet"))?;
        let (text, behind) = room.split_at_mut(input.len());
        text.copy_from_slice(input);
        let nonce = Nonce::assume_unique_for_key(*iv);
        let tag = self.key()?.seal_in_place_separate_tag(nonce, Aad::from(aad), text);
        behind.copy_from_slice(tag.map_err(|_| error("encrypt"))?.as_ref());
        Ok(())
    }

    fn open(&self, iv: &[u8; 12], aads: &[&[u8]], input: &[u8], output: &mut [u8]) -> Result<usize, CryptoError> {
        let mut text = input.to_vec();
        let nonce = Nonce::assume_unique_for_key(*iv);
        let opened = self.key()?.open_in_place(nonce, Aad::from(aads.concat()), &mut text);
        let opened = opened.map_err(|_| error("the packet is not what its sender sent"))?;
        output.get_mut(..opened.len()).ok_or_else(|| error("no room for the packet"))?.copy_from_slice(opened);
        Ok(opened.len())
    }
}

/// The traits are one, but for the length of the key.
macro_rules! implement_gcm {
    ($($cipher:ident),*) => {$(
        impl $cipher for Gcm {
            fn encrypt(
                &mut self,
                iv: &[u8; 12],
                aad: &[u8],
                input: &[u8],
                output: &mut [u8],
            ) -> Result<(), CryptoError> {
                self.seal(iv, aad, input, output)
            }

            fn decrypt(
                &mut self,
                iv: &[u8; 12],
                aads: &[&[u8]],
                input: &[u8],
                output: &mut [u8],
            ) -> Result<usize, CryptoError> {
                self.open(iv, aads, input, output)
            }
        }
    )*};
}

implement_gcm!(AeadAes128GcmCipher, AeadAes256GcmCipher);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_mode_and_blocks_are_those_of_the_standards() {
        // RFC 3711, B.2.
        let key: [u8; 16] = hex::decode("2B7E151628AED2A6ABF7158809CF4F3C").expect("hex").try_into().expect("16");
        let iv: [u8; 16] = hex::decode("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000").expect("hex").try_into().expect("16");
        let mut stream = [0; 32];
        CounterMode(key).encrypt(&iv, &[0; 32], &mut stream).expect("encrypt");
        assert_eq!(hex::encode(stream), "e03ead0935c95e80e166b16dd92b4eb4d23513162b02d0f72a43a2fe4a5f97ab");
        // FIPS 197, B.
        let mut block = [0; 32];
        Srtp.srtp_aes_128_ecb_round(&key, &hex::decode("3243f6a8885a308d313198a2e0370734").expect("hex"), &mut block);
        assert_eq!(hex::encode(&block[..16]), "3925841d02dc09fbdc118597196a0b32");
    }

    #[test]
    fn what_was_sealed_is_opened_and_what_was_changed_is_not() {
        let (key, iv, aad) = ([7; 16], [1; 12], [9; 12]);
        let mut gcm = Srtp.aead_aes_128_gcm().create_cipher(key, true);
        let mut sealed = [0; 21];
        gcm.encrypt(&iv, &aad, b"media", &mut sealed).expect("seal");
        let mut text = [0; 32];
        let length = gcm.decrypt(&iv, &[&aad[..5], &aad[5..]], &sealed, &mut text).expect("open");
        assert_eq!(&text[..length], b"media");
        sealed[2] ^= 1;
        assert!(gcm.decrypt(&iv, &[&aad], &sealed, &mut text).is_err());
        for short in [&[][..], &[1, 2, 3]] {
            assert!(gcm.decrypt(&iv, &[&aad], short, &mut text).is_err(), "no panic");
        }
    }
}
