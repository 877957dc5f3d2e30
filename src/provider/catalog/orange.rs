//! Orange: client credentials with HTTP Basic.

use std::time::Duration;

use super::{headers, spec, url};
use crate::identity::Method;
use crate::oauth::{ClientAuthentication, RequestProfile};
use crate::provider::{
    HealthProbe, HealthSpec, OAuthSpec, ProviderSpec, RefreshPolicy, RequestHeaders,
};

/// Orange's service APIs. It needs [`ProviderSpec::client`] and [`ProviderSpec::client_secret`].
/// Tokens are renewed 10 minutes before they expire, and not used in their last 5.
pub fn orange() -> ProviderSpec {
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
            token_endpoint: Some(url("https://api.orange.com/oauth/v3/token")),
            client_authentication: ClientAuthentication::Basic,
            client_credentials: RequestProfile::form(&["grant_type", "scope"]),
            ..OAuthSpec::default()
        },
        // Its service answers nothing to a stranger. A token costs nothing, and is asked for rarely.
        health: HealthSpec {
            probe: HealthProbe::Token,
            every: Some(Duration::from_mins(5)),
            ..HealthSpec::default()
        },
        refresh: RefreshPolicy {
            threshold: Duration::from_mins(10),
            unusable_before_expiry: Duration::from_mins(5),
            ..RefreshPolicy::default()
        },
        ..spec("orange", "https://api.orange.com")
    }
}
