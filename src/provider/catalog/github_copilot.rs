//! GitHub Copilot: device code with the operator's own client.

use super::{headers, spec, texts, url};
use crate::identity::Method;
use crate::oauth::RequestProfile;
use crate::provider::{DeviceSpec, ErrorTable, OAuthSpec, ProviderSpec, RequestHeaders};

/// GitHub Copilot. It needs [`ProviderSpec::client`], with device flow enabled for that client; no
/// client id is preset. Its tokens come without a lifetime or a refresh token: they are used until
/// they are refused, and then the user signs in again.
///
/// Its errors come with status 200, and a `slow_down` names the new interval.
pub fn github_copilot() -> ProviderSpec {
    ProviderSpec {
        methods: vec![Method::DeviceCode],
        headers: RequestHeaders {
            token: headers(&[
                ("authorization", "Bearer {secret}"),
                ("user-agent", "{user_agent}"),
                ("accept", "application/json"),
            ]),
            ..RequestHeaders::default()
        },
        oauth: OAuthSpec {
            token_endpoint: Some(url("https://github.com/login/oauth/access_token")),
            scopes: texts(&["read:user"]),
            device: DeviceSpec {
                endpoint: Some(url("https://github.com/login/device/code")),
                request: RequestProfile::json(&["client_id", "scope"]),
                poll: RequestProfile::json(&["client_id", "device_code", "grant_type"]),
                ..DeviceSpec::default()
            },
            ..OAuthSpec::default()
        },
        errors: ErrorTable::default()
            .with_reauthorization(&["incorrect_device_code"])
            .with_misconfiguration(&["incorrect_client_credentials", "device_flow_disabled"]),
        ..spec("github-copilot", "https://api.githubcopilot.com")
    }
}
