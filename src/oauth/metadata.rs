//! The metadata document of an authorization server (RFC 8414, or OpenID Connect Discovery 1.0):
//! where it stands, what of it is used, and what makes it unusable.

use http::StatusCode;
use serde::Deserialize;
use url::Url;

use super::response::json_object;
use super::transport::{Transport, TransportError};
use crate::config::may_carry_secrets;

/// What is used of a metadata document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) authorization_endpoint: Option<Url>,
    pub(crate) token_endpoint: Option<Url>,
    pub(crate) revocation_endpoint: Option<Url>,
    /// RFC 8628 §4.
    pub(crate) device_authorization_endpoint: Option<Url>,
    /// Whether PKCE with S256 is offered; none where the document does not say.
    pub(crate) offers_s256: Option<bool>,
    /// Whether authorization responses name the issuer (RFC 9207 §3).
    pub(crate) names_issuer: bool,
}

/// Why there is no document. The texts hold nothing of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MetadataError {
    /// It could not be had for now.
    Unreached(String),
    /// It is not there, or makes no sense.
    Unusable(String),
    /// It is of another issuer.
    Foreign(String),
}

/// Checks what an issuer identifier is: an https URL without query and fragment (RFC 8414 §2).
pub(crate) fn issuer_url(issuer: &str) -> Result<Url, &'static str> {
    let url = Url::parse(issuer).map_err(|_| "is not a url, write the issuer as a whole url")?;
    if !may_carry_secrets(&url) {
        return Err("is not an https url, and plain text is for loopback alone");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or a fragment, write the issuer without");
    }
    Ok(url)
}

/// Reads the document of `issuer`, from where RFC 8414 §3.1 has it, else from where OpenID Connect
/// Discovery §4 does. A page that stands at the first place, as a web application answers for any path,
/// is none.
pub(crate) async fn fetch_metadata(
    transport: &Transport,
    issuer: &str,
) -> Result<Metadata, MetadataError> {
    let unusable = |text: &str| MetadataError::Unusable(text.to_owned());
    let mut none = unusable("the issuer has no metadata document, correct it or set the endpoints");
    for url in places(&issuer_url(issuer).map_err(unusable)?) {
        let mut request = http::Request::new(Vec::new());
        *request.uri_mut() = url.as_str().parse().map_err(|_| unusable("is not a url"))?;
        let answer = transport.send(request).await.map_err(|error| match error {
            TransportError::Refused(text) => MetadataError::Unusable(text),
            TransportError::Unreached(text) | TransportError::Ambiguous(text) => {
                MetadataError::Unreached(text)
            }
            TransportError::TooLong => unusable("the metadata document is too long"),
        })?;
        match answer.status {
            StatusCode::OK => match read(&answer.body, issuer) {
                Err(MetadataError::Unusable(text)) if json_object(&answer.body).is_none() => {
                    none = MetadataError::Unusable(text);
                }
                document => return document,
            },
            status if passes(status) => {
                let text = format!("the issuer answers {} for its metadata", status.as_u16());
                return Err(MetadataError::Unreached(text));
            }
            _ => {}
        }
    }
    Err(none)
}

/// Whether an answer says nothing of the document but that it can not be had for now.
fn passes(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

/// The two places of an issuer's document.
fn places(issuer: &Url) -> [Url; 2] {
    let path = issuer.path().trim_end_matches('/');
    let at = |path: &str| {
        let mut url = issuer.clone();
        url.set_path(path);
        url
    };
    [
        at(&format!("/.well-known/oauth-authorization-server{path}")),
        at(&format!("{path}/.well-known/openid-configuration")),
    ]
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    code_challenge_methods_supported: Option<Vec<String>>,
    authorization_response_iss_parameter_supported: Option<bool>,
}

pub(super) fn read(body: &[u8], issuer: &str) -> Result<Metadata, MetadataError> {
    let unusable = |text: String| MetadataError::Unusable(text);
    let document = json_object(body).and_then(|text| serde_json::from_str::<Document>(text).ok());
    let document = document
        .ok_or_else(|| unusable("the metadata document is not what RFC 8414 says".to_owned()))?;
    // Simple string comparison (RFC 8414 §3.3), against one server that speaks for another.
    if document.issuer != issuer {
        let text = "the metadata document is of another issuer, write the issuer exactly as it \
                    names itself";
        return Err(MetadataError::Foreign(text.to_owned()));
    }
    let endpoint = |name: &str, text: Option<String>| {
        let Some(text) = text else { return Ok(None) };
        let url = Url::parse(&text).ok();
        let fine = |url: &Url| may_carry_secrets(url) && url.fragment().is_none();
        match url.filter(fine) {
            Some(url) => Ok(Some(url)),
            None => Err(unusable(format!(
                "the {name} in the metadata document is not an https url without a fragment"
            ))),
        }
    };
    Ok(Metadata {
        authorization_endpoint: endpoint(
            "authorization_endpoint",
            document.authorization_endpoint,
        )?,
        token_endpoint: endpoint("token_endpoint", document.token_endpoint)?,
        revocation_endpoint: endpoint("revocation_endpoint", document.revocation_endpoint)?,
        device_authorization_endpoint: endpoint(
            "device_authorization_endpoint",
            document.device_authorization_endpoint,
        )?,
        offers_s256: document
            .code_challenge_methods_supported
            .map(|methods| methods.iter().any(|method| method == "S256")),
        names_issuer: document.authorization_response_iss_parameter_supported.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://issuer.example/tenant";
    const ARRAY: &[u8] = br#"["https://issuer.example/tenant",null,null,null,null,null,null]"#;

    fn document(change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) -> Vec<u8> {
        let mut document = serde_json::json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://issuer.example/authorize",
            "token_endpoint": "https://issuer.example/token",
            "code_challenge_methods_supported": ["plain", "S256"],
            "authorization_response_iss_parameter_supported": true,
            "scopes_supported": ["a"],
        });
        change(document.as_object_mut().expect("an object"));
        serde_json::to_vec(&document).expect("json")
    }

    #[test]
    fn the_document_stands_at_one_of_two_places() {
        let url = |text| issuer_url(text).expect("an issuer");
        let places = |text| places(&url(text)).map(String::from);
        assert_eq!(
            places(ISSUER),
            [
                "https://issuer.example/.well-known/oauth-authorization-server/tenant",
                "https://issuer.example/tenant/.well-known/openid-configuration",
            ]
        );
        assert_eq!(
            places("https://issuer.example/"),
            [
                "https://issuer.example/.well-known/oauth-authorization-server",
                "https://issuer.example/.well-known/openid-configuration",
            ]
        );
        for wrong in ["", "issuer", "http://issuer.example", "https://a.example/?b", "https://a/#b"]
        {
            assert!(issuer_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn c_meta_1_what_is_used_of_a_document() {
        let metadata = read(&document(|_| {}), ISSUER).expect("a document");
        let token = metadata.token_endpoint.as_ref().map(Url::as_str);
        assert_eq!(token, Some("https://issuer.example/token"));
        assert_eq!((metadata.offers_s256, metadata.names_issuer), (Some(true), true));
        let silent = document(|it| {
            it.remove("code_challenge_methods_supported");
            it.remove("authorization_response_iss_parameter_supported");
        });
        let silent = read(&silent, ISSUER).expect("a document");
        assert_eq!((silent.offers_s256, silent.names_issuer), (None, false));
    }

    #[test]
    fn c_meta_1_a_document_of_another_issuer_or_with_unsafe_endpoints_is_discarded() {
        for other in ["https://issuer.example/tenant/", "https://ISSUER.example/tenant", ""] {
            assert!(read(&document(|it| it["issuer"] = other.into()), ISSUER).is_err(), "{other}");
        }
        for wrong in ["http://issuer.example/token", "https://issuer.example/#a", "token", ""] {
            for name in [
                "token_endpoint",
                "authorization_endpoint",
                "revocation_endpoint",
                "device_authorization_endpoint",
            ] {
                let document = document(|it| {
                    it.insert(name.to_owned(), wrong.into());
                });
                assert!(read(&document, ISSUER).is_err(), "{name} {wrong}");
            }
        }
        for broken in [&b""[..], b"[]", b"{}", b"<html>", br#"{"issuer":1}"#, ARRAY] {
            assert!(read(broken, ISSUER).is_err());
        }
    }
}
