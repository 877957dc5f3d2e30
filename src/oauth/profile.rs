//! How a request to a token endpoint is written: which fields, in which order, as a form or as
//! JSON, and how the client authenticates.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize, Serializer};
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// How a client authenticates at the token endpoint (RFC 6749 §2.3).
///
/// ```
/// use tokenward::catalog;
/// use tokenward::oauth::ClientAuthentication;
///
/// // How the catalogue's providers are told which client asks.
/// assert_eq!(catalog::orange().oauth.client_authentication, ClientAuthentication::Basic);
/// assert_eq!(catalog::openai().oauth.client_authentication, ClientAuthentication::None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ClientAuthentication {
    /// It has no secret; `client_id` stands in the body.
    #[default]
    None,
    /// HTTP Basic with the id and the secret (RFC 6749 §2.3.1).
    Basic,
    /// `client_id` and `client_secret` stand in the body.
    Post,
}

/// How a body is written.
///
/// [`RequestProfile`] has it, with the fields that are sent.
///
/// ```
/// use tokenward::catalog;
/// use tokenward::oauth::BodyEncoding;
///
/// // OAuth 2.0 knows forms alone. Anthropic's token endpoint wants JSON.
/// assert_eq!(catalog::anthropic().oauth.refresh.encoding, BodyEncoding::Json);
/// assert_eq!(catalog::google().oauth.refresh.encoding, BodyEncoding::Form);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BodyEncoding {
    /// `application/x-www-form-urlencoded`, as RFC 6749 has it.
    #[default]
    Form,
    /// A JSON object of strings.
    Json,
}

impl BodyEncoding {
    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Form => "application/x-www-form-urlencoded",
            Self::Json => "application/json",
        })
    }
}

/// How one kind of request is written.
///
/// ```
/// use tokenward::oauth::RequestProfile;
/// use tokenward::provider::OAuthSpec;
///
/// // A renewal as JSON, with these fields in this order.
/// let oauth = OAuthSpec {
///     refresh: RequestProfile::json(&["grant_type", "refresh_token", "client_id"]),
///     ..OAuthSpec::default()
/// };
/// assert_eq!(oauth.refresh.fields.len(), 3);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RequestProfile {
    /// A form or JSON.
    pub encoding: BodyEncoding,
    /// Exactly these fields, in this order; one that has no value is left out. Empty: all that the
    /// request has, in the order of the specification.
    pub fields: Vec<String>,
}

impl RequestProfile {
    /// A form with exactly `fields`.
    pub fn form(fields: &[&str]) -> Self {
        Self { encoding: BodyEncoding::Form, fields: owned(fields) }
    }

    /// A JSON object with exactly `fields`.
    pub fn json(fields: &[&str]) -> Self {
        Self { encoding: BodyEncoding::Json, fields: owned(fields) }
    }

    /// Whether `field` is asked for by name.
    pub(super) fn names(&self, field: &str) -> bool {
        self.fields.iter().any(|named| named == field)
    }

    /// The body with `values`, as this profile wants it.
    pub(super) fn write(&self, values: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
        let mut fields = Vec::with_capacity(values.len());
        if self.fields.is_empty() {
            fields.extend_from_slice(values);
        }
        for named in &self.fields {
            fields.extend(values.iter().filter(|(name, _)| name == named));
        }
        // Room for the longest escape of each byte, so that no unwiped copy is left by growth.
        let room = fields.iter().map(|(name, value)| 6 * (name.len() + value.len()) + 8).sum();
        match self.encoding {
            BodyEncoding::Form => {
                let text = String::with_capacity(room);
                let text = form_urlencoded::Serializer::new(text).extend_pairs(fields).finish();
                Zeroizing::new(text.into_bytes())
            }
            BodyEncoding::Json => {
                let mut body = Zeroizing::new(Vec::with_capacity(room + 2));
                serde_json::to_writer(&mut *body, &Object(&fields))
                    .expect("strings serialize, and memory takes them");
                body
            }
        }
    }
}

/// A client as the token endpoint knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) id: &'a str,
    pub(crate) secret: Option<&'a Secret>,
    pub(crate) authentication: ClientAuthentication,
}

impl Client<'_> {
    /// The header of HTTP Basic; the id and the secret are form-encoded first (RFC 6749 §2.3.1).
    pub(super) fn basic(&self) -> Option<HeaderValue> {
        let secret = self.secret.filter(|_| self.authentication == ClientAuthentication::Basic)?;
        let mut pair =
            Zeroizing::new(String::with_capacity(3 * (self.id.len() + secret.len()) + 1));
        pair.extend(form_urlencoded::byte_serialize(self.id.as_bytes()));
        pair.push(':');
        pair.extend(form_urlencoded::byte_serialize(secret.expose().as_bytes()));
        let text = Zeroizing::new(format!("Basic {}", *Zeroizing::new(STANDARD.encode(&*pair))));
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Serializes in the order given, which a map type would not keep.
struct Object<'a>(&'a [(&'a str, &'a str)]);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = to.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            object.serialize_entry(name, value)?;
        }
        object.end()
    }
}

fn owned(fields: &[&str]) -> Vec<String> {
    fields.iter().map(|&field| field.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [(&str, &str); 3] = [("grant_type", "x"), ("code", "a b\"c"), ("state", "s")];

    fn text(profile: &RequestProfile) -> String {
        String::from_utf8(profile.write(&VALUES).to_vec()).expect("text")
    }

    #[test]
    fn fields_are_exactly_those_named_in_their_order() {
        assert_eq!(
            text(&RequestProfile::form(&["code", "absent", "grant_type"])),
            "code=a+b%22c&grant_type=x"
        );
        assert_eq!(
            text(&RequestProfile::json(&["state", "code"])),
            r#"{"state":"s","code":"a b\"c"}"#
        );
    }

    #[test]
    fn without_names_everything_goes_in_standard_order() {
        assert_eq!(text(&RequestProfile::default()), "grant_type=x&code=a+b%22c&state=s");
    }

    #[test]
    fn basic_encodes_before_it_joins() {
        let secret = Secret::new("p:w d");
        let client = Client {
            id: "a:b",
            secret: Some(&secret),
            authentication: ClientAuthentication::Basic,
        };
        let header = client.basic().expect("a header");
        assert!(header.is_sensitive());
        assert_eq!(header, format!("Basic {}", STANDARD.encode("a%3Ab:p%3Aw+d")));
    }
}
