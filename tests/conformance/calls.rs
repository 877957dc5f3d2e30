//! Every request that the client makes of an authorization server, with one name for each.

use std::time::Duration;

use tokenward::clock::Sources;
use tokenward::identity::Method;
use tokenward::oauth::{DeviceAuthorization, Limits, Transport};
use tokenward::provider::{
    AssertionSource, CodeExchange, DeviceAnswer, Discovered, Failure, FailureClass, Grant,
    Provider as _, ProviderSpec, Renewal, Revocation,
};
use tokenward::secret::Secret;
use url::Url;

use crate::common::{Recorder, Reply};

/// A request to an authorization server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Exchange,
    Refresh,
    ClientCredentials,
    Assertion,
    DevicePoll,
    DeviceCode,
    Revocation,
    Metadata,
}

/// What a call came to.
#[derive(Debug)]
pub(crate) enum Got {
    Grant(Box<Grant>),
    Device(Box<DeviceAuthorization>),
    Nothing,
}

impl Call {
    pub(crate) const ALL: [Self; 8] = [
        Self::Exchange,
        Self::Refresh,
        Self::ClientCredentials,
        Self::Assertion,
        Self::DevicePoll,
        Self::DeviceCode,
        Self::Revocation,
        Self::Metadata,
    ];

    /// Those that are answered with tokens.
    pub(crate) const FOR_TOKENS: [Self; 5] =
        [Self::Exchange, Self::Refresh, Self::ClientCredentials, Self::Assertion, Self::DevicePoll];

    /// Whether it gives away what can be used once.
    pub(crate) fn spends(self) -> bool {
        matches!(self, Self::Exchange | Self::Refresh)
    }

    /// What it means for this call that no whole answer came, though the request went out.
    pub(crate) fn lost(self) -> FailureClass {
        if self.spends() {
            FailureClass::Uncertain
        } else {
            FailureClass::Transient { retry_after: None }
        }
    }

    /// What it means for this call that the answer makes no sense.
    pub(crate) fn nonsense(self) -> FailureClass {
        match self {
            Self::Metadata => FailureClass::Misconfigured,
            _ => FailureClass::Protocol,
        }
    }

    /// The members of a good answer, without braces.
    pub(crate) fn members(self, recorder: &Recorder) -> String {
        match self {
            Self::DeviceCode => r#""device_code":"dc-1","user_code":"WDJB-MJHT",
                "verification_uri":"https://example.com/device""#
                .to_owned(),
            Self::Metadata => {
                let issuer = issuer(&recorder.url(""));
                format!(r#""issuer":"{issuer}","code_challenge_methods_supported":["S256"]"#)
            }
            _ => r#""access_token":"at-1","token_type":"Bearer""#.to_owned(),
        }
    }

    /// Makes the call to a server that gives `reply`.
    pub(crate) async fn answered(
        self,
        transport: &Transport,
        reply: Reply,
    ) -> Result<Got, Failure> {
        self.at(transport, &Recorder::start([reply]).await).await
    }

    /// Makes the call to a server that answers 200 with a body that is made of the members of a
    /// good answer; where a metadata document may stand, too, with the same at both places.
    pub(crate) async fn answered_with(
        self,
        transport: &Transport,
        body: impl FnOnce(&str) -> Vec<u8>,
    ) -> Result<Got, Failure> {
        let recorder = Recorder::start([]).await;
        let reply = with_body(&body(&self.members(&recorder)));
        if self == Self::Metadata {
            recorder.then(reply.clone());
        }
        recorder.then(reply);
        self.at(transport, &recorder).await
    }

    /// Makes the call.
    pub(crate) async fn at(
        self,
        transport: &Transport,
        recorder: &Recorder,
    ) -> Result<Got, Failure> {
        self.to(transport, &recorder.url("")).await
    }

    /// Makes the call to this address.
    pub(crate) async fn to(self, transport: &Transport, server: &Url) -> Result<Got, Failure> {
        let spec = spec(server);
        let grant = |grant| Got::Grant(Box::new(grant));
        match self {
            Self::Exchange => {
                let [code, state, code_verifier] =
                    ["canary-code", "canary-state", "canary-verifier"].map(Secret::new);
                let redirect_uri = "http://127.0.0.1:1234/callback";
                let exchange = CodeExchange::new(&code, &state, redirect_uri, &code_verifier);
                spec.exchange_code(transport, exchange).await.map(grant)
            }
            Self::Refresh => {
                let token = Secret::new("canary-refresh");
                renew(&spec, transport, Method::AuthorizationCode, Some(&token)).await.map(grant)
            }
            Self::ClientCredentials => {
                renew(&spec, transport, Method::ClientCredentials, None).await.map(grant)
            }
            Self::Assertion => renew(&spec, transport, Method::JwtBearer, None).await.map(grant),
            Self::DevicePoll => match spec.poll_device(transport, &device()).await? {
                DeviceAnswer::Granted(granted) => Ok(grant(granted)),
                _ => Ok(Got::Nothing),
            },
            Self::DeviceCode => {
                let device = spec.authorize_device(transport).await?;
                Ok(Got::Device(Box::new(device)))
            }
            Self::Revocation => {
                let [access, refresh] = ["canary-access", "canary-refresh"].map(Secret::new);
                let method = Method::AuthorizationCode;
                let revocation = Revocation::new(method, &access, Some(&refresh));
                spec.revoke(transport, revocation).await.map(|_| Got::Nothing)
            }
            Self::Metadata => {
                let discovered = Discovered::new(spec, issuer(server));
                discovered.prepare(transport).await.map(|()| Got::Nothing)
            }
        }
    }
}

impl Got {
    /// The grant, where that is what it came to.
    pub(crate) fn grant(self) -> Grant {
        match self {
            Self::Grant(grant) => *grant,
            other => panic!("no grant: {other:?}"),
        }
    }
}

/// A way out with the default limits.
pub(crate) fn transport() -> Transport {
    with_limits(Limits::default())
}

/// A way out with limits of its own.
pub(crate) fn with_limits(limits: Limits) -> Transport {
    Transport::with_limits(Sources::system(), limits).expect("a transport")
}

/// 200 with exactly this body.
pub(crate) fn with_body(body: &[u8]) -> Reply {
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    Reply::raw([head.as_bytes(), body].concat())
}

fn issuer(server: &Url) -> String {
    server.as_str().trim_end_matches('/').to_owned()
}

/// A provider that nobody has heard of, with every endpoint at `server`.
pub(crate) fn spec(server: &Url) -> ProviderSpec {
    let text = r#"
        id = "example"
        methods = ["authorization-code", "device-code", "client-credentials", "jwt-bearer"]
        base_url = "SERVER"
        [headers]
        token = [["authorization", "Bearer {secret}"]]
        [oauth]
        authorization_endpoint = "SERVER/authorize"
        token_endpoint = "SERVER/token"
        revocation_endpoint = "SERVER/revoke"
        device.endpoint = "SERVER/device"
        client_id = "client"
        client_secret = "canary-secret"
        client_authentication = "post"
        scopes = ["read"]
        redirect = { host = "127.0.0.1", path = "/callback" }
    "#;
    let spec: ProviderSpec =
        toml::from_str(&text.replace("SERVER", &issuer(server))).expect("a spec");
    spec.assertion(AssertionSource::function(|| async { Ok(Secret::new("canary.e30.sig")) }))
}

fn device() -> DeviceAuthorization {
    let uri = "https://example.com/device".parse().expect("a url");
    let (lifetime, now) = (Duration::from_mins(15), Sources::system().now());
    DeviceAuthorization::new("canary-device", "WDJB-MJHT", uri, lifetime, now)
}

async fn renew(
    spec: &ProviderSpec,
    transport: &Transport,
    method: Method,
    refresh_token: Option<&Secret>,
) -> Result<Grant, Failure> {
    spec.renew(transport, Renewal::new(method, refresh_token, None)).await
}
