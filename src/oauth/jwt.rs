//! Reading claims from a token that came straight from its issuer over TLS. Nothing is verified
//! and nothing is trusted for access: a lifetime and an account name are all that is taken.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// The claim at `path` within `token`, when the token is a JWT and the claim is text.
pub(crate) fn claim_at(token: &Secret, path: &[String]) -> Option<String> {
    let (last, objects) = path.split_last()?;
    let mut claims = &claims(token)?;
    for object in objects {
        claims = claims.get(object)?.as_object()?;
    }
    Some(claims.get(last)?.as_str()?.to_owned())
}

/// The `exp` claim in whole seconds since 1970 (RFC 7519 §4.1.4), when the token is a JWT.
pub(super) fn expiry(token: &Secret) -> Option<u64> {
    let claims = claims(token)?;
    let exp = claims.get("exp")?;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked, saturates"
    )]
    exp.as_u64().or_else(|| exp.as_f64().filter(|exp| *exp >= 0.0).map(|exp| exp as u64))
}

fn claims(token: &Secret) -> Option<Map<String, Value>> {
    let mut parts = token.expose().split('.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let payload = Zeroizing::new(URL_SAFE_NO_PAD.decode(payload).ok()?);
    serde_json::from_slice(&payload).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn jwt(claims: &str) -> Secret {
        Secret::from(format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims)))
    }

    #[test]
    fn the_expiry_is_read_as_number_or_fraction() {
        assert_eq!(expiry(&jwt(r#"{"exp":1700000000}"#)), Some(1_700_000_000));
        assert_eq!(expiry(&jwt(r#"{"exp":1700000000.9}"#)), Some(1_700_000_000));
        for none in [r#"{"exp":-1}"#, r#"{"exp":"soon"}"#, "{}", "[]", "no"] {
            assert_eq!(expiry(&jwt(none)), None, "{none}");
        }
        assert_eq!(expiry(&Secret::new("opaque")), None);
        assert_eq!(expiry(&Secret::new("a.b.c.d.e")), None);
    }

    #[test]
    fn a_claim_is_found_within_objects() {
        let token = jwt(r#"{"https://api.openai.com/auth":{"chatgpt_account_id":"acc-1"}}"#);
        let path = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        let account = ["https://api.openai.com/auth", "chatgpt_account_id"];
        assert_eq!(claim_at(&token, &path(&account)), Some("acc-1".to_owned()));
        assert_eq!(claim_at(&token, &path(&["sub"])), None);
        assert_eq!(claim_at(&token, &[]), None);
    }

    proptest! {
        #[test]
        fn no_token_panics(text in ".{0,80}", claims in ".{0,80}") {
            let _ = expiry(&Secret::new(&text));
            let _ = expiry(&jwt(&claims));
        }
    }
}
