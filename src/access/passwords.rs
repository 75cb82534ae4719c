//! Passwords: what they have to be like, and what is kept of them.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use parking_lot::Mutex;

/// Fewest characters.
pub(super) const SHORTEST: usize = 10;
/// Most bytes: more are no password, but work for the box.
pub(super) const LONGEST: usize = 1024;

/// Memory, passes and lanes of argon2id: OWASP's recommendation for small machines (19 MiB, 2, 1).
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Hashes one password at a time, so that logins take one core and 19 MiB at most.
#[derive(Debug, Default)]
pub(super) struct Hashing(Mutex<()>);

impl Hashing {
    /// What is kept of `password`: an argon2id hash with its salt and parameters, in PHC's format.
    pub(super) fn hash(&self, password: &str) -> anyhow::Result<String> {
        let _turn = self.0.lock();
        let hash = argon2()?.hash_password(password.as_bytes());
        Ok(hash.map_err(|error| anyhow::anyhow!("the password could not be hashed: {error}"))?.to_string())
    }

    /// Whether `password` is the one of `kept`. Without one it takes as long all the same, so that the time does not
    /// say which names there are.
    pub(super) fn verify(&self, password: &str, kept: Option<&str>) -> bool {
        if password.len() > LONGEST {
            return false;
        }
        let Some(hash) = kept.and_then(|kept| PasswordHash::new(kept).ok()) else {
            let _ = self.hash(password);
            return false;
        };
        let _turn = self.0.lock();
        argon2().is_ok_and(|argon2| argon2.verify_password(password.as_bytes(), &hash).is_ok())
    }
}

fn argon2() -> anyhow::Result<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| anyhow::anyhow!("argon2: {error}"))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Why `password` is not taken for the user `name`; `None` where it is.
pub(super) fn refusal(password: &str, name: &str) -> Option<String> {
    let characters = password.chars().count();
    if characters < SHORTEST {
        return Some(format!(
            "the password has {characters} characters; at least {SHORTEST} are needed, a few words do"
        ));
    }
    if password.len() > LONGEST {
        return Some(format!("the password has {} bytes; at most {LONGEST} are allowed", password.len()));
    }
    let lower = password.to_lowercase();
    let first = lower.chars().next();
    if lower.chars().all(|c| Some(c) == first) || lower.contains("password") || lower.contains("outpost") {
        return Some("the password is one of those that are tried first; choose another".to_owned());
    }
    if name.chars().count() >= 3 && lower.contains(&name.to_lowercase()) {
        return Some("the password contains the name of its user; choose another".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_kept_as_argon2id_and_recognised() {
        let hashing = Hashing::default();
        let kept = hashing.hash("correct horse battery").expect("hash");
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert_ne!(kept, hashing.hash("correct horse battery").expect("hash"), "each has a salt of its own");
        assert!(hashing.verify("correct horse battery", Some(&kept)));
        assert!(!hashing.verify("correct horse batterx", Some(&kept)));
        assert!(!hashing.verify("correct horse battery", None));
        assert!(!hashing.verify("correct horse battery", Some("no hash at all")));
    }

    #[test]
    fn passwords_that_are_guessed_first_are_refused() {
        for bad in ["", "short", "aaaaaaaaaaaaaaa", "MyPassword123", "outpost-farm", "anna-and-the-hens"] {
            assert!(refusal(bad, "Anna").is_some(), "{bad}");
        }
        assert!(refusal(&"x1".repeat(600), "anna").is_some());
        for good in ["correct horse battery", "Zwölf Hühner 7", "鶏と犬と猫と羊と山羊"] {
            assert_eq!(refusal(good, "anna"), None, "{good}");
        }
    }
}
