//! The certificate that a session shows its peer. The peer knows it by the fingerprint in the answer.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SerialNumber};
use str0m::crypto::dtls::DtlsCert;

/// A key and a certificate that it signs itself; `None` where the system has no randomness.
pub(in crate::webrtc) fn generate() -> Option<DtlsCert> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).ok()?;
    let mut params = CertificateParams::new(Vec::new()).ok()?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "outpost");
    params.distinguished_name = name;
    // Firefox refuses two certificates of one issuer with the same number.
    params.serial_number = Some(SerialNumber::from_slice(&fastrand::u64(1..).to_be_bytes()));
    let certificate = params.self_signed(&key).ok()?;
    Some(DtlsCert { certificate: certificate.der().to_vec(), private_key: key.serialize_der() })
}
