//! Permissions, written as an OAuth scope (RFC 6749 §3.3): a set of words, compared word by word.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

/// The most bytes of a scope.
const LONGEST: usize = 4 * 1024;

/// A set of permissions, such as `memories:read memories:write`.
///
/// ```
/// use tokenward::server::Scope;
///
/// # fn main() -> Result<(), tokenward::server::ScopeError> {
/// let granted: Scope = "memories:read memories:write".parse()?;
/// assert!(granted.contains("memories:read"));
/// assert!(!granted.contains("memories"), "whole words only");
///
/// // What was asked for, as far as it may be had.
/// let asked: Scope = "memories:read admin".parse()?;
/// assert!(!granted.contains_all(&asked));
/// assert_eq!(granted.and(&asked).to_string(), "memories:read");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Scope(Arc<BTreeSet<Arc<str>>>);

/// A scope that is not written as RFC 6749 §3.3 has it.
///
/// ```
/// use tokenward::server::{Scope, ScopeError};
///
/// assert_eq!("two  spaces".parse::<Scope>(), Err(ScopeError));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a scope is words of printable ASCII without quotes and backslashes, one space between them"
)]
pub struct ScopeError;

impl Scope {
    /// No permission at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether there is no permission in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `permission` is in it, as a whole word and in its case.
    pub fn contains(&self, permission: &str) -> bool {
        self.0.contains(permission)
    }

    /// Whether every permission of `other` is in it.
    pub fn contains_all(&self, other: &Self) -> bool {
        self.0.is_superset(&other.0)
    }

    /// What is in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self(Arc::new(self.0.intersection(&other.0).cloned().collect()))
    }

    /// The permissions, in the order of their names.
    pub fn permissions(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|permission| &**permission)
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    /// Reads words with one space between them. A word that stands twice counts once.
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(is_scope_character);
        if text.len() <= LONGEST && text.split(' ').all(is_word) {
            Ok(Self(Arc::new(text.split(' ').map(Arc::from).collect())))
        } else {
            Err(ScopeError)
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = ScopeError;

    /// As [`Scope::from_str`]; the empty text, which only records have, is no permission.
    fn try_from(text: String) -> Result<Self, ScopeError> {
        if text.is_empty() { Ok(Self::none()) } else { text.parse() }
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

impl Serialize for Scope {
    /// The text of it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, permission) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str(" ")?;
            }
            f.write_str(permission)?;
        }
        Ok(())
    }
}

fn is_scope_character(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scope(text: &str) -> Scope {
        text.parse().expect("a scope")
    }

    #[test]
    fn s_scope_1_order_and_repetition_do_not_matter_and_case_does() {
        assert_eq!(scope("b a b"), scope("a b"));
        assert_eq!(scope("b a").to_string(), "a b");
        assert_ne!(scope("A"), scope("a"));
    }

    #[test]
    fn s_scope_1_what_is_not_in_the_grammar_is_refused() {
        for bad in ["", " ", "a  b", " a", "a ", "a\tb", "a\nb", "\"", "\\", "a\u{7f}", "é"] {
            assert_eq!(bad.parse::<Scope>(), Err(ScopeError), "{bad:?}");
        }
        assert_eq!("a".repeat(LONGEST + 1).parse::<Scope>(), Err(ScopeError));
    }

    #[test]
    fn s_val_12_permissions_compare_as_whole_words() {
        let granted = scope("memories:read memories:writer");
        assert!(granted.contains("memories:read"));
        for other in ["memories", "memories:rea", "memories:write", "memories:READ", ""] {
            assert!(!granted.contains(other), "{other}");
        }
        assert!(!granted.contains_all(&scope("memories:write")));
        assert!(granted.contains_all(&Scope::none()));
    }

    proptest! {
        #[test]
        fn a_scope_reads_what_it_wrote(text in "[!#-\\[\\]-~]{1,8}( [!#-\\[\\]-~]{1,8}){0,5}") {
            let scope = scope(&text);
            prop_assert_eq!(scope.to_string().parse::<Scope>(), Ok(scope));
        }

        #[test]
        fn what_is_in_both_is_in_each(a in "[a-c]( [a-c]){0,3}", b in "[a-c]( [a-c]){0,3}") {
            let (a, b) = (scope(&a), scope(&b));
            let both = a.and(&b);
            prop_assert!(a.contains_all(&both) && b.contains_all(&both));
            prop_assert_eq!(a.contains_all(&b), both == b);
        }
    }
}
