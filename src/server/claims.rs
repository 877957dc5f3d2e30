//! The claims of an access token (RFC 9068 §2.2), and whether a token with them is good: a plain
//! function of the claims, of what is expected, and of the time.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::scope::Scope;
use super::{answer, strict};

/// The type of an access token, in its header (RFC 9068 §2.1).
pub(crate) const ACCESS_TOKEN: &str = "at+jwt";

/// Our own claim: the family of refresh tokens that an access token came with.
const FAMILY: &str = "token_family";

/// Our own claim: the generation of grants of its application that an access token was issued in.
const GENERATION: &str = "client_generation";

/// The longest that a token may have to live, whoever issued it. Ours live for ten minutes.
pub(crate) const LONGEST_LIFE: Duration = Duration::from_hours(366 * 24);

/// What an access token says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AccessClaims {
    /// Who issued it.
    pub(crate) issuer: String,
    /// Whom it speaks for; an application, where it got the token by its own credentials.
    pub(crate) subject: String,
    /// Which servers it is for.
    pub(crate) audience: Vec<String>,
    /// Which application it was issued to.
    pub(crate) client_id: String,
    /// When it was issued, since 1970.
    pub(crate) issued_at: Duration,
    /// When it expires, since 1970.
    pub(crate) expires_at: Duration,
    /// From when on it counts, since 1970.
    pub(crate) not_before: Option<Duration>,
    /// What tells it from every other token.
    pub(crate) token_id: String,
    /// The refresh tokens that it came with, whose end is its own.
    pub(crate) family: Option<String>,
    /// The generation of grants that it was issued in; none in a token of a former server.
    pub(crate) generation: Option<String>,
    /// What it allows; none at all when it does not say.
    pub(crate) scope: Scope,
}

/// What a token has to say to be good here.
#[derive(Debug, Clone)]
pub(crate) struct Expectation {
    pub(crate) issuer: String,
    pub(crate) audience: String,
    /// How far clocks may differ.
    pub(crate) leeway: Duration,
}

/// Why claims are not good. For logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClaimsError {
    /// They are no JSON object, or one stands twice (RFC 7519 §4).
    #[error("the claims are not a JSON object, or one stands twice")]
    Unreadable,
    /// A claim that has to be there is not, or is of another kind (RFC 9068 §2.2).
    #[error("the claim {0} is missing, or is not what it should be")]
    Malformed(&'static str),
    /// Another issuer (RFC 9068 §4).
    #[error("the token is of another issuer")]
    Issuer,
    /// For another server (RFC 9068 §4).
    #[error("the token is for another audience")]
    Audience,
    /// Expired (RFC 7519 §4.1.4).
    #[error("the token has expired")]
    Expired,
    /// It expires later than any token that is taken.
    #[error("the token lives for more than a year")]
    TooLong,
    /// Not good yet (RFC 7519 §4.1.5).
    #[error("the token is not good yet")]
    NotYet,
}

impl AccessClaims {
    /// Reads the payload of a token. A claim that is not known is ignored, and one that has to be
    /// there must be.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, ClaimsError> {
        let claims = strict::object(payload).map_err(|_| ClaimsError::Unreadable)?;
        let claims = Reader(&claims);
        Ok(Self {
            issuer: claims.text("iss")?,
            subject: claims.text("sub")?,
            audience: claims.audience()?,
            client_id: claims.text("client_id")?,
            issued_at: claims.time("iat")?.ok_or(ClaimsError::Malformed("iat"))?,
            expires_at: claims.time("exp")?.ok_or(ClaimsError::Malformed("exp"))?,
            not_before: claims.time("nbf")?,
            token_id: claims.text("jti")?,
            family: claims.own(FAMILY)?,
            generation: claims.own(GENERATION)?,
            scope: claims.scope()?,
        })
    }

    /// Whether a token with these claims is good at `now`, counted since 1970.
    pub(crate) fn check(&self, expected: &Expectation, now: Duration) -> Result<(), ClaimsError> {
        if self.issuer != expected.issuer {
            return Err(ClaimsError::Issuer);
        }
        if !self.audience.contains(&expected.audience) {
            return Err(ClaimsError::Audience);
        }
        if now >= self.expires_at.saturating_add(expected.leeway) {
            return Err(ClaimsError::Expired);
        }
        // What is revoked is remembered until it expires, so that has to be some day.
        if self.expires_at > now.saturating_add(LONGEST_LIFE) {
            return Err(ClaimsError::TooLong);
        }
        match self.not_before {
            Some(begin) if now.saturating_add(expected.leeway) < begin => Err(ClaimsError::NotYet),
            _ => Ok(()),
        }
    }

    /// The payload of a token that says this. Times are whole seconds.
    pub(crate) fn to_payload(&self) -> Vec<u8> {
        let payload = Payload {
            iss: &self.issuer,
            sub: &self.subject,
            aud: match &*self.audience {
                [one] => Audience::One(one),
                several => Audience::Several(several),
            },
            client_id: &self.client_id,
            iat: self.issued_at.as_secs(),
            exp: self.expires_at.as_secs(),
            jti: &self.token_id,
            nbf: self.not_before.map(|begin| begin.as_secs()),
            token_family: self.family.as_deref(),
            client_generation: self.generation.as_deref(),
            scope: (!self.scope.is_empty()).then_some(&self.scope),
        };
        answer::written(&payload).into_bytes()
    }
}

/// Claims by their names, as they are written: without a map in between, since there is one for every
/// token that is issued. [`FAMILY`] and [`GENERATION`] are among them.
#[derive(Serialize)]
struct Payload<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: Audience<'a>,
    client_id: &'a str,
    iat: u64,
    exp: u64,
    jti: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_family: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_generation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a Scope>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Audience<'a> {
    One(&'a str),
    Several(&'a [String]),
}

/// Reads claims by their names.
struct Reader<'a>(&'a Map<String, Value>);

impl Reader<'_> {
    fn text(&self, name: &'static str) -> Result<String, ClaimsError> {
        match self.0.get(name) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
            _ => Err(ClaimsError::Malformed(name)),
        }
    }

    /// A claim of our own, which tokens of others do not have.
    fn own(&self, name: &'static str) -> Result<Option<String>, ClaimsError> {
        self.0.contains_key(name).then(|| self.text(name)).transpose()
    }

    /// One text, or several (RFC 7519 §4.1.3).
    fn audience(&self) -> Result<Vec<String>, ClaimsError> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let audience = match self.0.get("aud") {
            Some(Value::Array(several)) => several.iter().map(text).collect(),
            Some(one) => text(one).map(|one| vec![one]),
            None => None,
        };
        audience.filter(|names| !names.is_empty()).ok_or(ClaimsError::Malformed("aud"))
    }

    /// Seconds since 1970, in which fractions are allowed (RFC 7519 §2).
    fn time(&self, name: &'static str) -> Result<Option<Duration>, ClaimsError> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let seconds = match value {
            Value::Number(number) => match number.as_u64() {
                Some(whole) => Some(Duration::from_secs(whole)),
                None => number.as_f64().and_then(|it| Duration::try_from_secs_f64(it).ok()),
            },
            _ => None,
        };
        seconds.map(Some).ok_or(ClaimsError::Malformed(name))
    }

    /// None at all when there is no such claim (RFC 9068 §2.2.3).
    fn scope(&self) -> Result<Scope, ClaimsError> {
        match self.0.get("scope") {
            None => Ok(Scope::none()),
            Some(Value::String(text)) => text.parse().map_err(|_| ClaimsError::Malformed("scope")),
            Some(_) => Err(ClaimsError::Malformed("scope")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const LEEWAY: Duration = Duration::from_secs(30);

    fn expected() -> Expectation {
        Expectation {
            issuer: "https://issuer.example".to_owned(),
            audience: "https://api.example".to_owned(),
            leeway: LEEWAY,
        }
    }

    fn good() -> Value {
        json!({
            "iss": "https://issuer.example", "sub": "app_one", "aud": "https://api.example",
            "client_id": "app_one", "iat": 1_000, "exp": 2_000, "jti": "an-id", "scope": "a b",
        })
    }

    /// What becomes of a token with these claims at a time in milliseconds.
    fn judged(claims: &Value, millis: u64) -> Result<(), ClaimsError> {
        let claims = AccessClaims::parse(claims.to_string().as_bytes())?;
        claims.check(&expected(), Duration::from_millis(millis))
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = good();
        claims[name] = value;
        claims
    }

    fn without(name: &str) -> Value {
        let mut claims = good();
        claims.as_object_mut().expect("an object").remove(name);
        claims
    }

    #[test]
    fn s_val_1_s_rs_26_a_token_is_good_until_its_expiry_and_the_leeway() {
        for (at, outcome) in [
            (1_999_000, Ok(())),
            (2_000_000, Ok(())),
            (2_029_999, Ok(())),
            (2_030_000, Err(ClaimsError::Expired)),
            (2_031_000, Err(ClaimsError::Expired)),
        ] {
            assert_eq!(judged(&good(), at), outcome, "{at}");
        }
        let strict = Expectation { leeway: Duration::ZERO, ..expected() };
        let claims = AccessClaims::parse(good().to_string().as_bytes()).expect("claims");
        assert_eq!(claims.check(&strict, Duration::from_millis(1_999_999)), Ok(()));
        let at_expiry = claims.check(&strict, Duration::from_secs(2_000));
        assert_eq!(at_expiry, Err(ClaimsError::Expired), "not on or after it");
    }

    #[test]
    fn s_val_2_a_token_is_not_good_before_its_time() {
        let later = with("nbf", json!(1_500));
        assert_eq!(judged(&later, 1_469_999), Err(ClaimsError::NotYet));
        assert_eq!(judged(&later, 1_470_000), Ok(()), "clocks may differ by the leeway");
        assert_eq!(
            judged(&with("nbf", json!("soon")), 1_500_000),
            Err(ClaimsError::Malformed("nbf"))
        );
    }

    #[test]
    fn s_val_3_s_val_4_the_issuer_is_compared_letter_by_letter() {
        for other in
            ["https://issuer.example/", "https://ISSUER.example", "https://issuer", "other"]
        {
            assert_eq!(judged(&with("iss", json!(other)), 1_500_000), Err(ClaimsError::Issuer));
        }
    }

    #[test]
    fn s_val_5_s_val_6_s_val_7_the_audience_is_one_text_or_several_and_has_us() {
        let several = json!(["https://other.example", "https://api.example"]);
        assert_eq!(judged(&with("aud", several), 1_500_000), Ok(()));
        for other in
            [json!("https://other.example"), json!("https://api.example.evil"), json!(["x"])]
        {
            assert_eq!(judged(&with("aud", other), 1_500_000), Err(ClaimsError::Audience));
        }
        for bad in [json!([]), json!(["https://api.example", 1]), json!(1), json!({}), Value::Null]
        {
            assert_eq!(judged(&with("aud", bad), 1_500_000), Err(ClaimsError::Malformed("aud")));
        }
    }

    #[test]
    fn s_val_10_every_required_claim_has_to_be_there() {
        for name in ["iss", "sub", "aud", "client_id", "iat", "exp", "jti"] {
            assert_eq!(judged(&without(name), 1_500_000), Err(ClaimsError::Malformed(name)));
            let null = judged(&with(name, Value::Null), 1_500_000);
            assert_eq!(null, Err(ClaimsError::Malformed(name)));
            let empty = judged(&with(name, json!("")), 1_500_000);
            assert!(empty.is_err(), "an empty {name}");
        }
    }

    #[test]
    fn s_val_10_a_claim_that_stands_twice_is_refused() {
        let text = good().to_string().replacen('{', r#"{"exp":9999999999,"#, 1);
        assert_eq!(AccessClaims::parse(text.as_bytes()), Err(ClaimsError::Unreadable));
    }

    #[test]
    fn s_val_11_times_may_be_fractions_and_nothing_else() {
        assert_eq!(judged(&with("exp", json!(2_000.5)), 2_030_499), Ok(()));
        assert_eq!(judged(&with("exp", json!(2_000.5)), 2_030_500), Err(ClaimsError::Expired));
        for bad in [json!("2000"), json!(-1), json!(1e300), json!(true), json!([2000])] {
            assert_eq!(judged(&with("exp", bad), 1_500_000), Err(ClaimsError::Malformed("exp")));
        }
        for far in [json!(u64::MAX), json!(1_501 + 366 * 86_400)] {
            assert_eq!(judged(&with("exp", far), 1_500_000), Err(ClaimsError::TooLong));
        }
        assert_eq!(judged(&with("exp", json!(1_500 + 366 * 86_400)), 1_500_000), Ok(()));
    }

    #[test]
    fn s_val_13_no_scope_is_no_permission() {
        let claims = AccessClaims::parse(without("scope").to_string().as_bytes()).expect("claims");
        assert!(claims.scope.is_empty());
        for bad in [json!(""), json!("a  b"), json!(["a"]), json!(1), Value::Null] {
            let judged = judged(&with("scope", bad), 1_500_000);
            assert_eq!(judged, Err(ClaimsError::Malformed("scope")));
        }
    }

    proptest! {
        #[test]
        fn claims_read_what_they_wrote(issued in 0_u64..1 << 40, life in 1_u64..600, scope in "[a-z]( [a-z]){0,3}") {
            let claims = AccessClaims {
                issuer: "https://issuer.example".to_owned(),
                subject: "app_one".to_owned(),
                audience: vec!["https://api.example".to_owned()],
                client_id: "app_one".to_owned(),
                issued_at: Duration::from_secs(issued),
                expires_at: Duration::from_secs(issued + life),
                not_before: None,
                token_id: "an-id".to_owned(),
                family: (issued % 2 == 0).then(|| "a-family".to_owned()),
                generation: (issued % 3 == 0).then(|| "a-generation".to_owned()),
                scope: scope.parse().expect("a scope"),
            };
            prop_assert_eq!(AccessClaims::parse(&claims.to_payload()), Ok(claims));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(AccessClaims::parse(&bytes).is_err());
        }
    }
}
