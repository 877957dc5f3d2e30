//! The URL that a user opens to sign in (RFC 6749 §4.1.1): exactly the given parameters, in
//! exactly the given order.

use url::{Url, form_urlencoded};

use crate::secret::Secret;

/// What goes into an authorization URL.
///
/// ```
/// use tokenward::clock::Sources;
/// use tokenward::oauth::{AuthorizationRequest, Pkce};
/// use tokenward::{Provider as _, Secret, catalog};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let entropy = Sources::system().entropy;
/// let (pkce, state) = (Pkce::generate(&*entropy)?, Secret::from(entropy.token()?));
/// let redirect_uri = "http://127.0.0.1:8080/callback";
/// let request = AuthorizationRequest::new(redirect_uri, &pkce.challenge, &state);
/// let url = catalog::google().client("mine").authorization_url(&request)?;
/// assert!(url.contains("code_challenge_method=S256"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct AuthorizationRequest<'a> {
    /// Where the browser comes back to.
    pub redirect_uri: &'a str,
    /// The PKCE challenge, S256 (RFC 7636 §4.2).
    pub code_challenge: &'a str,
    /// Binds the answer to this sign-in (RFC 6749 §10.12).
    pub state: &'a Secret,
}

impl<'a> AuthorizationRequest<'a> {
    /// A request whose answer comes back to `redirect_uri` with `state`, and whose code is good only
    /// with the verifier of `code_challenge`.
    pub const fn new(redirect_uri: &'a str, code_challenge: &'a str, state: &'a Secret) -> Self {
        Self { redirect_uri, code_challenge, state }
    }
}

/// `endpoint` with `parameters` appended in their order. A space becomes `%20`: some consent pages
/// do not read `+` as one.
pub(crate) fn authorization_url<'a>(
    endpoint: &Url,
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> String {
    let mut url = endpoint.as_str().to_owned();
    let mut separator = if endpoint.query().is_some() { '&' } else { '?' };
    for (name, value) in parameters {
        url.push(separator);
        push_encoded(&mut url, name);
        url.push('=');
        push_encoded(&mut url, value);
        separator = '&';
    }
    url
}

fn push_encoded(url: &mut String, text: &str) {
    for piece in form_urlencoded::byte_serialize(text.as_bytes()) {
        url.push_str(if piece == "+" { "%20" } else { piece });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn endpoint(text: &str) -> Url {
        Url::parse(text).expect("a url")
    }

    #[test]
    fn spaces_and_reserved_characters_are_percent_encoded() {
        let url = authorization_url(
            &endpoint("https://auth.example/authorize"),
            [("scope", "openid profile"), ("redirect_uri", "http://localhost:1455/a?b=c+d")],
        );
        assert_eq!(
            url,
            "https://auth.example/authorize?scope=openid%20profile\
             &redirect_uri=http%3A%2F%2Flocalhost%3A1455%2Fa%3Fb%3Dc%2Bd"
        );
    }

    #[test]
    fn a_query_that_the_endpoint_has_is_kept() {
        let url = authorization_url(&endpoint("https://auth.example/a?tenant=1"), [("x", "y")]);
        assert_eq!(url, "https://auth.example/a?tenant=1&x=y");
    }

    proptest! {
        #[test]
        fn every_parameter_reads_back_in_its_order(
            parameters in proptest::collection::vec((".{1,8}", ".{0,24}"), 0..6),
        ) {
            let pairs = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let url = authorization_url(&endpoint("https://auth.example/"), pairs);
            prop_assert!(!url.contains('+') && !url.contains(' '));
            let read: Vec<(String, String)> =
                endpoint(&url).query_pairs().into_owned().collect();
            prop_assert_eq!(read, parameters);
        }
    }
}
