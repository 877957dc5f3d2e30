//! A Memory Bank: client credentials at its own token endpoint, as any external client of it.

use std::time::Duration;

use url::Url;

use super::{headers, spec, texts};
use crate::identity::Method;
use crate::oauth::{ClientAuthentication, RequestProfile};
use crate::provider::{OAuthSpec, ProviderSpec, RequestHeaders};
use crate::resilience::{BreakerPolicy, CallPolicy};

/// The Memory Bank at `base_url`, for [`service::memory_bank`](crate::service::memory_bank). It
/// needs [`ProviderSpec::client`] and [`ProviderSpec::client_secret`]; tokens are issued at
/// `/auth/token` beneath its address unless [`ProviderSpec::token_endpoint`] says otherwise.
///
/// A call answers within 30 seconds, attempts of 10 seconds and the waits between them included; a
/// memory is looked up while somebody waits for an answer.
pub fn memory_bank(base_url: Url) -> ProviderSpec {
    ProviderSpec {
        methods: vec![Method::ClientCredentials],
        headers: RequestHeaders {
            token: headers(&[
                ("authorization", "Bearer {secret}"),
                ("user-agent", "{user_agent}"),
                ("accept", "application/json"),
            ]),
            ..RequestHeaders::default()
        },
        oauth: OAuthSpec {
            token_endpoint: Some(beneath(&base_url, "/auth/token")),
            client_authentication: ClientAuthentication::Basic,
            client_credentials: RequestProfile::form(&["grant_type", "scope"]),
            scopes: texts(&["memories:read", "memories:write"]),
            ..OAuthSpec::default()
        },
        calls: CallPolicy {
            deadline: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(10),
            concurrency: 64,
            breaker: BreakerPolicy {
                slow_after: Duration::from_secs(5),
                half_open_for: Duration::from_secs(30),
                ..BreakerPolicy::default()
            },
            ..CallPolicy::default()
        },
        // Its address is whatever it is asked for.
        ..spec("memory-bank", "https://provider.invalid")
    }
    .base_url(base_url)
}

/// `path` beneath whatever path the address has itself.
fn beneath(base_url: &Url, path: &str) -> Url {
    let mut url = base_url.clone();
    url.set_path(&format!("{}{path}", base_url.path().trim_end_matches('/')));
    url
}
