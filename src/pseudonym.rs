//! Pseudonyms: keyed hashes that stand for the ids of people. Pure.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A key of pseudonyms. It is never printed.
#[derive(Clone)]
pub struct PseudonymKey(Hmac<Sha256>);

impl std::fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PseudonymKey")
    }
}

impl PseudonymKey {
    /// The key of these bytes.
    pub fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("a key of any length"))
    }

    /// The pseudonym of a value: its HMAC-SHA-256, as 64 hex digits in lower case.
    pub fn of(&self, value: &str) -> String {
        let mut hmac = self.0.clone();
        hmac.update(value.as_bytes());
        hex::encode(hmac.finalize().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_is_the_hmac_of_the_value() {
        // RFC 4231, test case 2.
        let key = PseudonymKey::new(b"Jefe");
        assert_eq!(
            key.of("what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(format!("{key:?}"), "PseudonymKey");
    }
}
