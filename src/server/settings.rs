//! What a server is configured with, and everything that is wrong with it, told before it starts.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use url::{Host, Url};

use super::application::LONGEST_TOKEN_LIFETIME;
use super::claims::Expectation;
use super::jws::{SigningAlgorithm, VerificationKey};
use super::keys::KeyPolicy;
use super::scope::Scope;
use crate::error::{Error, ErrorKind};
use crate::identity::CredentialId;

/// How far the clocks of those who verify tokens may differ from ours, at most.
pub(crate) const MOST_LEEWAY: Duration = Duration::from_mins(1);

/// What can be switched off, by [`ServerSettings::without`]. In a file it is written in small letters:
/// `token-issue`.
///
/// ```
/// use axum::body::Body;
/// use http::Request;
/// use tokenward::server::{AuthorizationServer, Capability, ServerSettings};
/// use tower::ServiceExt as _;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// let settings = ServerSettings::new("https://host.example", "https://host.example/api")
///     .without(Capability::Metrics);
/// let server = AuthorizationServer::start(&runtime, settings).await?;
/// let request = Request::get("/metrics").body(Body::empty())?;
/// let answer = server.router().oneshot(request).await?;
/// assert_eq!(answer.status(), 404);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Capability {
    /// `/auth/token`. Tokens that are out are verified on, and keys published.
    TokenIssue,
    /// Refresh tokens at `/auth/token`: none is given, and none is taken.
    RefreshTokens,
    /// `/auth/revoke`.
    Revocation,
    /// `/auth/introspect`.
    Introspection,
    /// `/health` and what is beneath it.
    Health,
    /// `/admin` and what is beneath it.
    Administration,
    /// `/metrics`.
    Metrics,
}

/// What a server is to be.
///
/// ```
/// use std::time::Duration;
/// use tokenward::server::{Capability, ServerSettings};
///
/// // Who issues the tokens, and whom they are for.
/// let settings = ServerSettings::new("https://host.example", "https://host.example/api")
///     .signing_key_lifetime(Duration::from_hours(7 * 24))
///     .without(Capability::Administration);
/// # let _ = settings;
/// ```
#[derive(Debug, Clone)]
pub struct ServerSettings {
    pub(crate) issuer: String,
    audience: String,
    algorithm: SigningAlgorithm,
    key_lifetime: Duration,
    pub(crate) key_set_max_age: Duration,
    leeway: Duration,
    pub(crate) introspection: String,
    pub(crate) administration: String,
    pub(crate) metrics: Option<String>,
    pub(crate) most_requests: usize,
    switched_off: BTreeSet<Capability>,
    pub(crate) watched: Vec<CredentialId>,
    pub(crate) trusted: Vec<VerificationKey>,
}

impl ServerSettings {
    /// A server at the URL `issuer`, which is what its tokens name as theirs (RFC 8414 §2), and whose
    /// tokens are for `audience`: the name that the guarded routes go by.
    ///
    /// The issuer is an `https` URL without query and fragment; `http` is taken on loopback. A path in
    /// it stands before the paths of the router.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            algorithm: SigningAlgorithm::default(),
            key_lifetime: Duration::from_hours(30 * 24),
            key_set_max_age: Duration::from_mins(10),
            leeway: Duration::from_secs(30),
            introspection: "tokens:introspect".to_owned(),
            administration: "admin".to_owned(),
            metrics: None,
            most_requests: 1_024,
            switched_off: BTreeSet::new(),
            watched: Vec::new(),
            trusted: Vec::new(),
        }
    }

    /// What tokens are signed with: Ed25519, unless set otherwise.
    #[must_use]
    pub fn signing_algorithm(mut self, algorithm: SigningAlgorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// How long a signing key signs until the next one takes over: 30 days, unless set otherwise; a
    /// day at least.
    #[must_use]
    pub fn signing_key_lifetime(mut self, lifetime: Duration) -> Self {
        self.key_lifetime = lifetime;
        self
    }

    /// How long others may keep the published keys: ten minutes, unless set otherwise; from a minute
    /// to a day. A key is published for longer than that before it signs.
    #[must_use]
    pub fn key_set_max_age(mut self, max_age: Duration) -> Self {
        self.key_set_max_age = max_age;
        self
    }

    /// How far clocks may differ when a token's times are judged: 30 seconds, unless set otherwise; a
    /// minute at most.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// The permission by which an application may introspect the tokens of others, and not just its
    /// own: `tokens:introspect`, unless set otherwise.
    #[must_use]
    pub fn introspection_permission(mut self, permission: impl Into<String>) -> Self {
        self.introspection = permission.into();
        self
    }

    /// The permission by which an application may use `/admin`: `admin`, unless set otherwise.
    #[must_use]
    pub fn administration_permission(mut self, permission: impl Into<String>) -> Self {
        self.administration = permission.into();
        self
    }

    /// The permission that an application needs to read `/metrics`, which Prometheus can get a token
    /// for by itself. None is needed, unless set: then keep the path from the outside, since the
    /// numbers tell how much the host is used.
    #[must_use]
    pub fn metrics_permission(mut self, permission: impl Into<String>) -> Self {
        self.metrics = Some(permission.into());
        self
    }

    /// How many requests for tokens, and about them, may be under way at once: 1,024, unless set otherwise; at
    /// least one. One more is answered with 503 and `Retry-After` as soon as it was read, rather than queued. Health,
    /// metrics and administration are not held back by this.
    #[must_use]
    pub fn most_requests(mut self, requests: usize) -> Self {
        self.most_requests = requests;
        self
    }

    /// Switches a capability off: its endpoints are not there, and the metadata does not name them.
    #[must_use]
    pub fn without(mut self, capability: Capability) -> Self {
        self.switched_off.insert(capability);
        self
    }

    /// Whether a capability is there.
    pub(crate) fn has(&self, capability: Capability) -> bool {
        !self.switched_off.contains(&capability)
    }

    /// The host is ready only while this credential can be used (`GET /health/ready`). It is acquired
    /// at the start, and its name is shown to whoever asks for the health.
    #[must_use]
    pub fn ready_with(mut self, credential: CredentialId) -> Self {
        self.watched.push(credential);
        self
    }

    /// Also takes tokens that were signed with this key, as those of a server that this one replaces.
    /// They have to name the same issuer and audience, and an application that is registered here.
    /// This is how RS256 is taken: it is verified and never signed with. An application that is removed while such a key
    /// is trusted, and registered anew, does not get back the tokens that it had.
    #[must_use]
    pub fn trusted_key(mut self, key: VerificationKey) -> Self {
        self.trusted.push(key);
        self
    }

    /// The path of the issuer, without a slash at its end; empty where it has none.
    pub(crate) fn base_path(&self) -> String {
        Url::parse(&self.issuer)
            .map(|url| url.path().trim_end_matches('/').to_owned())
            .unwrap_or_default()
    }

    /// The URL of one of our endpoints.
    pub(crate) fn endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.issuer.trim_end_matches('/'))
    }

    pub(crate) fn expectation(&self) -> Expectation {
        Expectation {
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            leeway: self.leeway,
        }
    }

    pub(crate) fn key_policy(&self) -> KeyPolicy {
        KeyPolicy {
            algorithm: self.algorithm,
            lifetime: self.key_lifetime,
            publish_ahead: self.key_set_max_age + MOST_LEEWAY,
            keep_after: LONGEST_TOKEN_LIFETIME + MOST_LEEWAY,
        }
    }

    /// Everything that is wrong, in one error.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let mut problems = Vec::new();
        if !is_issuer(&self.issuer) {
            problems.push(
                "the issuer is not an https url without query and fragment (http on loopback only)",
            );
        }
        if self.audience.is_empty() {
            problems.push("the audience is empty, name what the tokens are for");
        }
        let permissions = [&self.introspection, &self.administration];
        for permission in permissions.into_iter().chain(&self.metrics) {
            if permission.parse::<Scope>().map_or(0, |scope| scope.permissions().count()) != 1 {
                problems.push("a permission of the settings is not one word of a scope");
            }
        }
        if !(1..=Semaphore::MAX_PERMITS).contains(&self.most_requests) {
            problems.push("no request may be under way, or more than can be counted");
        }
        if self.leeway > MOST_LEEWAY {
            problems.push("the leeway is more than a minute");
        }
        let day = Duration::from_hours(24);
        if self.key_lifetime < day || self.key_lifetime > 3_650 * day {
            problems.push("a signing key signs for less than a day, or more than ten years");
        }
        if self.key_set_max_age < Duration::from_mins(1) || self.key_set_max_age > day {
            problems
                .push("the published keys may be kept for less than a minute or more than a day");
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Configuration, problems.join("; ")))
        }
    }
}

fn is_issuer(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let on_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let scheme = url.scheme() == "https" || (url.scheme() == "http" && on_loopback);
    let bare = url.query().is_none() && url.fragment().is_none();
    let nobody = url.username().is_empty() && url.password().is_none();
    // It is compared letter by letter and quoted in headers, so it has to be written as a URL is.
    let canonical = url.as_str() == text || url.as_str().strip_suffix('/') == Some(text);
    let quotable = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\{}*".contains(&byte));
    // Its path comes before those of the router, to which such a segment would mean something.
    let mut segments = url.path().trim_end_matches('/').split('/').skip(1);
    let routable = segments.all(|segment| !segment.is_empty() && !segment.starts_with(':'));
    scheme && bare && nobody && canonical && quotable && routable
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(settings: &ServerSettings) -> Result<(), String> {
        settings.check().map_err(|error| error.to_string())
    }

    #[test]
    fn s_meta_1_an_issuer_is_an_https_url_without_query_and_fragment() {
        for good in [
            "https://host.example",
            "https://host.example/",
            "https://host.example/tenant",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "http://localhost:1",
        ] {
            assert_eq!(checked(&ServerSettings::new(good, "api")), Ok(()), "{good}");
        }
        for bad in [
            "",
            "host.example",
            "http://host.example",
            "ftp://host.example",
            "https://host.example?a=b",
            "https://host.example/#a",
            "https://ada@host.example",
            "https://host.example/\"",
            "https://host.example/{id}",
            "https://host.example/\u{e9}",
            "https:host.example",
            "https:/host.example",
            "https:\\\\host.example",
            "HTTPS://host.example",
            "https://Host.example",
            "https://host.example:443",
            "https://host.example/a/../b",
            "https://host.example/:tenant",
            "https://host.example/a/:b/c",
            "https://host.example/*a",
            "https://host.example/a//b",
        ] {
            assert!(checked(&ServerSettings::new(bad, "api")).is_err(), "{bad}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let settings = ServerSettings::new("nowhere", "")
            .leeway(Duration::from_secs(61))
            .key_set_max_age(Duration::ZERO)
            .signing_key_lifetime(Duration::from_mins(1))
            .most_requests(0);
        let problems = checked(&settings).expect_err("wrong");
        assert_eq!(problems.split("; ").count(), 6, "{problems}");
    }

    #[test]
    fn an_endpoint_stands_beneath_the_path_of_the_issuer() {
        for (issuer, endpoint, base) in [
            ("https://a.example", "https://a.example/auth/token", ""),
            ("https://a.example/", "https://a.example/auth/token", ""),
            ("https://a.example/b", "https://a.example/b/auth/token", "/b"),
        ] {
            let settings = ServerSettings::new(issuer, "api");
            assert_eq!(settings.endpoint("/auth/token"), endpoint);
            assert_eq!(settings.base_path(), base);
        }
    }
}
