//! Makes tokens that look like the real ones, so that code that looks at their shape is tested
//! with the right one. All are distinct.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::clock::Entropy;

pub(super) struct Mint {
    entropy: Arc<dyn Entropy>,
    /// Stands readably in everything that is made, so that a test can search for it.
    canary: String,
    made: AtomicU64,
}

impl Mint {
    pub(super) fn new(entropy: Arc<dyn Entropy>, canary: String) -> Self {
        Self { entropy, canary, made: AtomicU64::new(0) }
    }

    /// `prefix`, the canary, and at least `length` more characters.
    pub(super) fn token(&self, prefix: &str, length: usize) -> String {
        let mut token = format!("{prefix}{}", self.canary);
        let end = token.len() + length;
        while token.len() < end {
            // Without randomness the number alone keeps tokens apart, which is all a test needs.
            token.push_str(&self.entropy.token().unwrap_or_default());
            // Writing to a string can not fail.
            let _ = write!(token, "{:06x}", self.made.fetch_add(1, Ordering::Relaxed));
        }
        token
    }

    /// A code that a user types: eight consonants, so that it spells nothing.
    pub(super) fn user_code(&self) -> String {
        const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
        let mut number = self.entropy.noise();
        let mut code = String::with_capacity(9);
        for at in 0..8_usize {
            if at == 4 {
                code.push('-');
            }
            code.push(char::from(LETTERS[usize::try_from(number % 20).unwrap_or_default()]));
            number /= 20;
        }
        code
    }

    /// A signed-looking JWT with `claims`, as long as about `length` characters.
    pub(super) fn jwt(&self, claims: &Value, length: usize) -> String {
        let header = json!({ "alg": "RS256", "kid": "simulated", "typ": "JWT" });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let content = format!("{}.{}.", part(&header), part(claims));
        let signature = length.saturating_sub(content.len()).max(86);
        self.token(&content, signature)
    }
}

impl fmt::Debug for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mint").field("made", &self.made).finish_non_exhaustive()
    }
}
