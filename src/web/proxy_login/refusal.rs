//! Why a token is not taken.

/// Longest token, bytes.
pub(super) const LONGEST: usize = 8 << 10;

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::web) enum Refusal {
    #[error("it is no signed JWT of at most {LONGEST} bytes")]
    Malformed,
    #[error("it is not signed by RS256, PS256, ES256 or EdDSA, or its key is not for that")]
    Algorithm,
    #[error("no key of the JWKS has its kid")]
    UnknownKey,
    #[error("its signature is not that of the key")]
    Signature,
    #[error("its iss is not web.proxy_login.issuer")]
    Issuer,
    #[error("its aud has none of web.proxy_login.audience")]
    Audience,
    #[error("it does not say when it ends (exp)")]
    Endless,
    #[error("it has ended (exp)")]
    Over,
    #[error("it is not valid yet (nbf, iat): compare the clocks of the box and of the proxy")]
    Early,
    #[error("the clock of the box is not synchronised, and it is valid for more than a day or does not say since when")]
    LongLived,
    #[error("it has no text in the claim that web.proxy_login.claim names")]
    Nameless,
    #[error("the proxy did not verify its email address (email_verified)")]
    Unverified,
    #[error("the user is not one of the box, or is kept out")]
    NoUser,
}
