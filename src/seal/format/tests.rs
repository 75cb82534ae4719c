//! What is sealed can be opened, by the right key only, and only as it was.

use age::secrecy::ExposeSecret;
use proptest::prelude::*;

use super::*;

fn identity() -> Identity {
    Identity(x25519::Identity::generate())
}

fn recipient(identity: &Identity) -> Recipient {
    Recipient(identity.0.to_public())
}

fn sealed(identities: &[&Identity], plain: &[u8]) -> Vec<u8> {
    let recipients: Vec<Recipient> = identities.iter().map(|identity| recipient(identity)).collect();
    let mut sealed = Vec::new();
    seal(&recipients, &mut &*plain, &mut sealed).expect("seal");
    sealed
}

fn opened(identities: &[Identity], sealed: &[u8]) -> Result<Vec<u8>, UnsealError> {
    let mut plain = Vec::new();
    unseal(identities, sealed, &mut plain).map(|()| plain)
}

const PIECE: usize = 64 * 1024;

#[test]
fn each_recipient_can_open_a_file_of_any_length_and_no_other_can() {
    let (one, two, other) = (identity(), identity(), identity());
    for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 7] {
        let plain: Vec<u8> = (0..length).map(|i| (i * 7 % 251) as u8).collect();
        let sealed = sealed(&[&one, &two], &plain);
        for identity in [&one, &two] {
            assert!(opened(&[other.clone(), identity.clone()], &sealed).expect("open") == plain, "{length}");
        }
        assert!(matches!(opened(std::slice::from_ref(&other), &sealed), Err(UnsealError::OtherKey)), "{length}");
        assert!(length < 16 || !sealed.windows(16).any(|window| window == &plain[..16]), "{length}");
    }
}

#[test]
fn a_file_that_ends_early_or_goes_on_is_refused() {
    let one = identity();
    let sealed = sealed(&[&one], &vec![5; 2 * PIECE]);
    for cut in [1, 16, PIECE + 16, PIECE + 17, 2 * PIECE + 32, sealed.len() - 30] {
        let outcome = opened(std::slice::from_ref(&one), &sealed[..sealed.len() - cut]);
        assert!(matches!(outcome, Err(UnsealError::Damaged(_))), "{cut}: {outcome:?}");
    }
    let longer = [&sealed[..], b"x"].concat();
    assert!(matches!(opened(std::slice::from_ref(&one), &longer), Err(UnsealError::Damaged(_))));
    assert!(matches!(opened(std::slice::from_ref(&one), b"plain"), Err(UnsealError::NotSealed)));
    assert!(matches!(opened(&[one], b""), Err(UnsealError::NotSealed)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_file_with_any_bit_changed_is_refused(at in any::<prop::sample::Index>(), bit in 0..8u32) {
        let one = identity();
        let mut sealed = sealed(&[&one], b"a person at the gate");
        let at = at.index(sealed.len());
        sealed[at] ^= 1 << bit;
        prop_assert!(opened(&[one], &sealed).is_err(), "byte {}", at);
    }
}

#[test]
fn keys_are_distinguished_and_private_ones_are_not_shown() {
    let one = identity();
    let (secret, public) = (one.0.to_string(), recipient(&one).to_string());
    let secret = secret.expose_secret();
    assert_eq!(secret.parse::<Recipient>(), Err(BadKey::Secret));
    assert_eq!(public.parse::<Recipient>(), Ok(recipient(&one)));
    let slip = public.replace(&public[20..21], if &public[20..21] == "q" { "p" } else { "q" });
    assert_eq!(slip.parse::<Recipient>(), Err(BadKey::Recipient(slip.clone())));
    assert!(public.parse::<Identity>().is_err());
    let file = format!("# created: today\n# public key: {public}\n{secret}\n\n");
    let keys = Identity::of_file(&file).expect("keys");
    assert_eq!((keys.len(), recipient(&keys[0])), (1, recipient(&one)));
    assert!(!format!("{keys:?}").contains(&secret[20..30]));
    assert_eq!(Identity::of_file("nonsense").expect_err("no key"), BadKey::Identity);
}
