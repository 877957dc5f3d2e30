//! How each built-in provider speaks: its paths, what it wants in a request, and what it says when
//! it does not get it. Every one is as strict as the real one, and errs on the strict side.

mod anthropic;
mod desk;
mod github;
mod google;
mod memory_bank;
mod openai;
mod orange;

use std::fmt;
use std::time::Duration;

use url::Url;

pub(super) use self::anthropic::Anthropic;
pub(super) use self::desk::{Desk, Registration};
pub(super) use self::github::GitHubCopilot;
pub(super) use self::google::Google;
pub(super) use self::memory_bank::MemoryBank;
pub(super) use self::openai::OpenAi;
pub(super) use self::orange::Orange;
use super::answer::Answer;
use super::{Endpoint, RecordedRequest};
use crate::provider::ProviderSpec;

/// The grant type of a poll (RFC 8628 §3.4).
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// One provider's manner.
pub(super) trait Dialect: fmt::Debug + Send + Sync {
    /// The name of the provider in the catalogue.
    fn name(&self) -> &'static str;

    /// The provider as the catalogue has it.
    fn spec(&self) -> ProviderSpec;

    /// The paths of the endpoints that the provider has.
    fn paths(&self) -> Paths;

    /// The client that is registered unless a test registers another.
    fn default_client(&self) -> (&'static str, Option<&'static str>);

    /// Where a browser may be sent back to.
    fn redirects(&self) -> Redirects;

    /// What else the authorization endpoint wants, and whether the grant can be renewed.
    fn consent(&self, query: &Fields) -> Result<bool, Refusal>;

    /// What an exchange of an assertion has to name, and as what.
    fn federation(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// How an API key begins, and how many characters follow; none when there are none.
    fn api_key_shape(&self) -> Option<(&'static str, usize)>;

    fn token(&self, desk: &mut Desk<'_>) -> Result<Answer, Refusal>;

    fn revoke(&self, desk: &mut Desk<'_>) -> Result<Answer, Refusal>;

    /// What is answered at the endpoints of a device sign-in; the provider has none by default.
    fn device(&self, _: &mut Desk<'_>) -> Result<Answer, Refusal> {
        Err(Refusal::Path)
    }

    fn resource(&self, desk: &mut Desk<'_>) -> Result<Answer, Refusal>;

    /// A refusal in the provider's own words.
    fn refuse(&self, endpoint: Endpoint, refusal: &Refusal) -> Answer;

    /// A rate limit in the provider's own words.
    fn rate_limit(&self, endpoint: Endpoint) -> Answer;
}

/// The paths of one provider. What it does not have is empty.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paths {
    pub(super) authorization: &'static str,
    pub(super) token: &'static str,
    pub(super) revocation: &'static str,
    /// Where device codes are issued.
    pub(super) device: &'static str,
    /// Where they are polled for; empty: at the token endpoint.
    pub(super) device_poll: &'static str,
    /// Where the user types the code.
    pub(super) verification: &'static str,
    /// What every path of a resource begins with.
    pub(super) resources: &'static str,
}

impl Paths {
    pub(super) const NONE: Self = Self {
        authorization: "",
        token: "",
        revocation: "",
        device: "",
        device_poll: "",
        verification: "",
        resources: "",
    };

    pub(super) fn endpoint(&self, path: &str) -> Endpoint {
        if path == self.token {
            Endpoint::Token
        } else if path == self.device || path == self.device_poll {
            Endpoint::Device
        } else if path == self.authorization || path == self.verification {
            Endpoint::Authorization
        } else if path == self.revocation {
            Endpoint::Revocation
        } else if path.starts_with(self.resources) {
            Endpoint::Resource
        } else {
            Endpoint::Other
        }
    }
}

/// The redirect URIs that a provider accepts (RFC 8252 §7.3): its loopback form with any port, or
/// with a port of a list, and pages that show the code.
#[derive(Debug, Clone, Copy)]
pub(super) struct Redirects {
    pub(super) hosts: &'static [&'static str],
    pub(super) path: &'static str,
    pub(super) manual: &'static [&'static str],
}

impl Redirects {
    pub(super) const NONE: Self = Self { hosts: &[], path: "", manual: &[] };

    /// Whether `uri` is the page at which a user copies the code.
    pub(super) fn is_manual(&self, uri: &str) -> bool {
        self.manual.contains(&uri)
    }

    pub(super) fn accept(&self, uri: &str, ports: &[u16]) -> bool {
        if self.is_manual(uri) {
            return true;
        }
        let Ok(url) = Url::parse(uri) else { return false };
        let Some(port) = url.port() else { return false };
        let host = url.host_str().unwrap_or_default();
        // Compared as a whole, so that user names, queries and fragments are refused too.
        self.hosts.contains(&host)
            && uri == format!("http://{host}:{port}{}", self.path)
            && (ports.is_empty() || ports.contains(&port))
    }
}

/// Why a provider refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is nothing at this path.
    Path,
    /// The path takes another HTTP method.
    Method,
    /// The body is of another type than the endpoint takes.
    MediaType,
    /// The answer would not be of a type that the client accepts.
    Accept,
    /// The body, or a field of it, makes no sense.
    Malformed,
    /// A field, parameter or header is missing.
    Missing(&'static str),
    /// A field, parameter or header has a value that it must not have.
    Invalid(&'static str),
    /// No such client is registered.
    Client,
    /// The client did not prove that it is the one it claims to be.
    ClientAuthentication,
    /// The grant type is none that the endpoint offers.
    GrantType,
    /// The code was never issued, or has expired.
    Code,
    /// The code was exchanged before.
    CodeSpent,
    /// The redirect URI is not the registered one, or not that of the authorization request.
    RedirectUri,
    /// The verifier does not match the challenge (RFC 7636 §4.6).
    Verifier,
    /// The state is not that of the authorization request.
    State,
    /// The refresh token was never issued, or is revoked.
    RefreshToken,
    /// The refresh token was used up before.
    RefreshTokenSpent,
    /// The assertion is nobody's whom the provider trusts, or has expired.
    Assertion,
    /// The device code was never issued, is spent, or does not go with the user code.
    DeviceCode,
    /// The user has not decided about the device code.
    DevicePending,
    /// The poll for the device code came too early.
    DeviceHasty { interval: Duration },
    /// The user declined.
    DeviceDenied,
    /// The device code has expired.
    DeviceExpired,
    /// The token to be revoked is unknown.
    UnknownToken,
    /// The request has no credential.
    NoCredential,
    /// The credential was never issued, or is revoked.
    Credential,
    /// The access token has expired.
    CredentialExpired,
    /// The request has two credentials.
    TwoCredentials,
    /// The request has an OAuth token without the header that allows it.
    OAuthNotAllowed,
    /// The access token was not granted this scope.
    Scope(&'static str),
    /// There is no such memory.
    Memory,
    /// The idempotency key came before, with another body.
    KeyReused,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path => f.write_str("the provider has no such endpoint"),
            Self::Malformed => f.write_str("a parameter occurs twice, or makes no sense"),
            Self::Missing(name) => write!(f, "{name} is missing"),
            Self::Invalid(name) => write!(f, "{name} has a wrong value"),
            Self::Client => f.write_str("the client id is not registered"),
            Self::RedirectUri => f.write_str("the redirect uri is not registered"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// The fields of a form, a query or a flat JSON object. None occurs twice.
#[derive(Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(super) fn form(text: &[u8]) -> Result<Self, Refusal> {
        let fields: Vec<_> = url::form_urlencoded::parse(text).into_owned().collect();
        let repeated = |at: usize| fields[..at].iter().any(|(name, _)| *name == fields[at].0);
        // RFC 6749 §3.1 and §3.2: parameters must not be included more than once.
        if (0..fields.len()).any(repeated) { Err(Refusal::Malformed) } else { Ok(Self(fields)) }
    }

    pub(super) fn json(text: &[u8]) -> Result<Self, Refusal> {
        let members: serde_json::Map<_, _> =
            serde_json::from_slice(text).map_err(|_| Refusal::Malformed)?;
        let text = |(name, value): (String, serde_json::Value)| {
            value.as_str().map(|value| (name, value.to_owned()))
        };
        Ok(Self(members.into_iter().filter_map(text).collect()))
    }

    /// The fields of a request's body, if it is of one of the types that the endpoint takes.
    pub(super) fn of(request: &RecordedRequest, types: BodyTypes) -> Result<Self, Refusal> {
        let form = request.is_of("application/x-www-form-urlencoded");
        let json = request.is_of("application/json");
        match types {
            BodyTypes::Form | BodyTypes::Either if form => Self::form(&request.body),
            BodyTypes::Json | BodyTypes::Either if json => Self::json(&request.body),
            _ => Err(Refusal::MediaType),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let field = self.0.iter().find(|(field, _)| field == name)?;
        Some(field.1.as_str()).filter(|value| !value.is_empty())
    }

    pub(super) fn require(&self, name: &'static str) -> Result<&str, Refusal> {
        self.get(name).ok_or(Refusal::Missing(name))
    }

    pub(super) fn expect(&self, name: &'static str, value: &str) -> Result<(), Refusal> {
        if self.require(name)? == value { Ok(()) } else { Err(Refusal::Invalid(name)) }
    }
}

/// What an endpoint takes as a body.
#[derive(Debug, Clone, Copy)]
pub(super) enum BodyTypes {
    Form,
    Json,
    Either,
}
