//! The answer that grants (RFC 6749 §5.1): each member that matters, with its defined meaning.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use oauth2::basic::BasicTokenType;
use oauth2::{AccessToken, RefreshToken, Scope};
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Problem;
use super::scalar::Scalar;
use crate::secret::Secret;

/// The longest lifetime that is believed: ten years. More is taken for this much.
pub(crate) const LONGEST_LIFETIME: Duration = Duration::from_hours(10 * 365 * 24);

/// A token answer that grants something, checked member by member.
pub(crate) struct TokenBody {
    /// Empty when the answer has none; there is a refresh token then.
    access_token: AccessToken,
    token_type: Option<BasicTokenType>,
    lifetime: Option<Duration>,
    refresh_token: Option<RefreshToken>,
    scopes: Option<Vec<Scope>>,
    id_token: Option<Secret>,
}

/// What a token answer grants, in our own types.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) access_token: Option<Secret>,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) refresh_token: Option<Secret>,
    pub(crate) scopes: Option<Vec<String>>,
    pub(crate) id_token: Option<Secret>,
}

impl TokenBody {
    /// Moves the tokens into secrets. A missing `token_type` is an error unless the provider is
    /// known to leave it out.
    pub(crate) fn into_granted(self, assume_bearer: bool) -> Result<Granted, Problem> {
        let access_token = Secret::from(self.access_token.into_secret());
        let access_token = Some(access_token).filter(|token| !token.is_empty());
        if access_token.is_some() && self.token_type.is_none() && !assume_bearer {
            return Err(Problem::TokenTypeMissing);
        }
        Ok(Granted {
            access_token,
            lifetime: self.lifetime,
            refresh_token: self.refresh_token.map(|token| Secret::from(token.into_secret())),
            scopes: self
                .scopes
                .map(|scopes| scopes.into_iter().map(|scope| scope.to_string()).collect()),
            id_token: self.id_token,
        })
    }
}

impl fmt::Debug for TokenBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenBody").finish_non_exhaustive()
    }
}

impl<'de> Deserialize<'de> for TokenBody {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(TokenBodyVisitor)
    }
}

impl Serialize for TokenBody {
    /// Refuses: the oauth2 crate asks for the trait, and nobody may write tokens out by accident.
    fn serialize<S: Serializer>(&self, _to: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("a token answer is never written out"))
    }
}

impl oauth2::TokenResponse for TokenBody {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        self.token_type.as_ref().unwrap_or(&BasicTokenType::Bearer)
    }

    fn expires_in(&self) -> Option<Duration> {
        self.lifetime
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        self.scopes.as_ref()
    }
}

struct TokenBodyVisitor;

impl<'de> Visitor<'de> for TokenBodyVisitor {
    type Value = TokenBody;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a json object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TokenBody, A::Error> {
        let (mut access, mut kind, mut expires) = (Scalar::Null, Scalar::Null, Scalar::Null);
        let (mut refresh, mut scope, mut id) = (Scalar::Null, Scalar::Null, Scalar::Null);
        let mut seen = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "access_token" => access = map.next_value()?,
                "token_type" => kind = map.next_value()?,
                "expires_in" => expires = map.next_value()?,
                "refresh_token" => refresh = map.next_value()?,
                "scope" => scope = map.next_value()?,
                "id_token" => id = map.next_value()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            if !seen.insert(name) {
                return Err(A::Error::custom(Problem::DuplicateMember.as_str()));
            }
        }
        let told = |problem: Problem| A::Error::custom(problem.as_str());
        let refresh_token = refresh_token(refresh).map_err(told)?;
        let access_token = access_token(access).map_err(told)?;
        if access_token.secret().is_empty() && refresh_token.is_none() {
            return Err(told(Problem::AccessTokenMissing));
        }
        Ok(TokenBody {
            access_token,
            token_type: token_type(kind).map_err(told)?,
            lifetime: lifetime(&expires).map_err(told)?,
            refresh_token,
            scopes: scopes(scope),
            id_token: id.into_text().map(Secret::from),
        })
    }
}

/// Absent, null and empty all mean that there is none.
fn access_token(value: Scalar) -> Result<AccessToken, Problem> {
    match value {
        Scalar::Null => Ok(AccessToken::new(String::new())),
        Scalar::Text(text) if text.is_empty() => Ok(AccessToken::new(text)),
        Scalar::Text(text) if is_b64token(&text) => Ok(AccessToken::new(text)),
        _ => Err(Problem::AccessTokenUnusable),
    }
}

/// The grammar of a bearer token (RFC 6750 §2.1), which keeps line breaks out of headers.
fn is_b64token(text: &str) -> bool {
    let token = text.trim_end_matches('=');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !token.is_empty() && token.bytes().all(allowed)
}

/// Compared without regard to case (RFC 6749 §5.1); an unknown type must not be used (§7.1).
fn token_type(value: Scalar) -> Result<Option<BasicTokenType>, Problem> {
    match value {
        Scalar::Null => Ok(None),
        Scalar::Text(text) if text.eq_ignore_ascii_case("bearer") => {
            Ok(Some(BasicTokenType::Bearer))
        }
        _ => Err(Problem::TokenTypeUnusable),
    }
}

/// Absent, null and empty all mean that the old one stays in force.
fn refresh_token(value: Scalar) -> Result<Option<RefreshToken>, Problem> {
    match value {
        Scalar::Null => Ok(None),
        Scalar::Text(text) if text.is_empty() => Ok(None),
        Scalar::Text(text) => Ok(Some(RefreshToken::new(text))),
        _ => Err(Problem::RefreshTokenUnusable),
    }
}

fn scopes(value: Scalar) -> Option<Vec<Scope>> {
    let text = value.into_text()?;
    Some(text.split_ascii_whitespace().map(|scope| Scope::new(scope.to_owned())).collect())
}

/// Seconds as a whole number, a fraction (rounded down), or either of them as text. Null and
/// absent are unknown; zero is expired; more than ten years is ten years; all else is an error.
pub(super) fn lifetime(value: &Scalar) -> Result<Option<Duration>, Problem> {
    let seconds = match value {
        Scalar::Null => return Ok(None),
        Scalar::Whole(seconds) => *seconds,
        Scalar::Fraction(seconds) => whole(*seconds)?,
        Scalar::Text(text) => {
            // Only digits and one point: the number parser would take `inf`, `NaN` and `1e9` too.
            let numeric = |byte: u8| byte.is_ascii_digit() || byte == b'.';
            if !text.bytes().all(numeric) {
                return Err(Problem::LifetimeUnusable);
            }
            whole(text.parse().map_err(|_| Problem::LifetimeUnusable)?)?
        }
        Scalar::Other => return Err(Problem::LifetimeUnusable),
    };
    Ok(Some(Duration::from_secs(seconds).min(LONGEST_LIFETIME)))
}

fn whole(seconds: f64) -> Result<u64, Problem> {
    if seconds.is_nan() || seconds < 0.0 {
        return Err(Problem::LifetimeUnusable);
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked, saturates"
    )]
    let seconds = seconds as u64;
    Ok(seconds)
}
