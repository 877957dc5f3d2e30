//! Orange: client credentials with HTTP Basic.

use std::time::Duration;

use super::{headers, spec, url};
use crate::identity::Method;
use crate::oauth::{ClientAuthentication, RequestProfile};
use crate::provider::{
    ErrorTable, HealthProbe, HealthSpec, OAuthSpec, ProviderSpec, RefreshPolicy, RefusalSign,
    RequestHeaders,
};

/// Orange's service APIs. It needs [`ProviderSpec::client`] and [`ProviderSpec::client_secret`].
/// Tokens are renewed 10 minutes before they expire, and not used in their last 5.
///
/// A resource refuses a credential with 401 (codes 40 to 42), with 403 (codes 50 to 52), and now and
/// then by the same words behind a 400. Each is answered by one renewal and one repeat: a token that
/// was issued before its application was given an access does not have it, and the next one does.
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
        errors: ErrorTable {
            credential_refused_statuses: vec![401, 403],
            credential_refused: vec![
                RefusalSign::new(400, &["error"], "invalid_token"),
                RefusalSign::new(400, &["error"], "expired_token"),
                RefusalSign::new(400, &["code"], "41"),
                RefusalSign::new(400, &["code"], "42"),
                RefusalSign::new(
                    400,
                    &["requestError", "serviceException", "messageId"],
                    "SVC0001",
                ),
            ],
            ..ErrorTable::default()
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
