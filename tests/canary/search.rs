//! The search for a text in whatever form somebody may have written it.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// A text, and all forms in which it would give itself away.
pub(crate) struct Needle {
    forms: Vec<String>,
}

impl Needle {
    /// The text as it is, in hex and in base64, wherever in a longer text it stands.
    pub(crate) fn in_any_form(text: &str) -> Self {
        let list = |write: fn(u8) -> String| text.bytes().map(write).collect::<Vec<_>>();
        let hex = list(|byte| format!("{byte:02x}")).concat();
        let bytes = list(|byte| byte.to_string()).join(", ");
        let mut forms = vec![text.to_owned(), hex.to_uppercase(), hex, bytes];
        for before in 0..3 {
            let shifted = [vec![0; before], text.as_bytes().to_vec()].concat();
            // The characters at both ends hold bits of what stands around the text.
            let encoded = STANDARD_NO_PAD.encode(&shifted);
            let whole = shifted.len() / 3 * 4;
            let first = if before == 0 { 0 } else { before + 1 };
            forms.push(encoded[first..whole].to_owned());
            forms.push(URL_SAFE_NO_PAD.encode(&shifted)[first..whole].to_owned());
        }
        forms.sort();
        forms.dedup();
        Self { forms }
    }

    /// What surrounds a place in which it stands, if it does.
    pub(crate) fn find(&self, text: &str) -> Option<String> {
        let at = self.forms.iter().find_map(|form| text.find(form.as_str()))?;
        Some(surroundings(text, at))
    }
}

/// Many random tokens, each of 32 bytes in base64url, looked for all at once.
pub(crate) struct Tokens(HashSet<Vec<u8>>);

impl Tokens {
    const LENGTH: usize = 43;

    pub(crate) fn new(tokens: impl IntoIterator<Item = String>) -> Self {
        let tokens = tokens.into_iter().map(|token| {
            assert_eq!(token.len(), Self::LENGTH);
            token.into_bytes()
        });
        Self(tokens.collect())
    }

    /// What surrounds a place in which one of them stands, if one does.
    pub(crate) fn find(&self, text: &str) -> Option<String> {
        let mut in_a_row = 0;
        for (last, byte) in text.bytes().enumerate() {
            let plain = byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            in_a_row = if plain { in_a_row + 1 } else { 0 };
            if in_a_row >= Self::LENGTH {
                let first = last + 1 - Self::LENGTH;
                if self.0.contains(&text.as_bytes()[first..=last]) {
                    return Some(surroundings(text, first));
                }
            }
        }
        None
    }
}

fn surroundings(text: &str, at: usize) -> String {
    let around = |index: usize| text.floor_char_boundary(index);
    text[around(at.saturating_sub(400))..around(at + 200)].to_owned()
}

#[test]
fn a_needle_is_found_in_each_of_its_forms() {
    let needle = Needle::in_any_form("canary-7");
    assert_eq!(needle.find("nothing of the kind"), None);
    assert!(needle.find("a canary-7 sings").is_some());
    assert!(needle.find("63616e6172792d37").is_some());
    assert!(needle.find("63616E6172792D37").is_some());
    assert!(needle.find(&format!("{:?}", b"a canary-7 sings")).is_some());
    for before in ["", "a", "ab", "abc", "id:"] {
        for after in ["", "x", "xy"] {
            let text = format!("{before}canary-7{after}");
            assert!(needle.find(&STANDARD_NO_PAD.encode(&text)).is_some(), "{text}");
            assert!(needle.find(&URL_SAFE_NO_PAD.encode(&text)).is_some(), "{text}");
        }
    }
}

#[test]
fn a_token_is_found_wherever_it_stands() {
    let token = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let tokens = Tokens::new([token.to_owned(), token.replace('d', "e")]);
    assert_eq!(tokens.find(&token[1..]), None);
    for text in [format!("state={token}&x"), format!("\u{fffd}ab{token}cd"), token.to_owned()] {
        assert!(tokens.find(&text).is_some(), "{text}");
    }
}
