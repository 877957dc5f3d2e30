//! Anthropic: API key, Workload Identity Federation, and authorization code for an operator with a
//! client of their own.

use super::{headers, spec, texts, url};
use crate::identity::Method;
use crate::oauth::RequestProfile;
use crate::provider::{
    ApiKeyShape, AssertionSpec, ErrorTable, OAuthSpec, Parameter, ProviderSpec, RedirectRules,
    RequestHeaders,
};

/// Anthropic. The vendor's terms keep claude.ai sign-in for its own clients, so an API key is the
/// default, no client id is preset, and authorization code needs [`ProviderSpec::client`].
///
/// Workload Identity Federation needs no client: it needs [`ProviderSpec::assertion`], and
/// [`ProviderSpec::assertion_parameter`] for `federation_rule_id`, `organization_id`,
/// `service_account_id` and, where there is one, `workspace_id`.
pub fn anthropic() -> ProviderSpec {
    ProviderSpec {
        methods: vec![Method::ApiKey, Method::JwtBearer, Method::AuthorizationCode],
        api_key: ApiKeyShape {
            prefix: "sk-ant-api".to_owned(),
            not: Vec::new(),
            probe: Some("/v1/models?limit=1".to_owned()),
        },
        headers: RequestHeaders {
            api_key: headers(&[
                ("x-api-key", "{secret}"),
                ("anthropic-version", "2023-06-01"),
                ("anthropic-beta", "messages-2023-12-15"),
                ("user-agent", "{user_agent}"),
                ("accept", "application/json"),
                ("x-client-version", "{version}"),
            ]),
            token: headers(&[
                ("authorization", "Bearer {secret}"),
                ("anthropic-version", "2023-06-01"),
                ("anthropic-beta", "oauth-2025-04-20"),
                ("user-agent", "{user_agent}"),
                ("accept", "application/json"),
                ("x-client-version", "{version}"),
            ]),
        },
        oauth: OAuthSpec {
            authorization_endpoint: Some(url("https://claude.ai/oauth/authorize")),
            token_endpoint: Some(url("https://platform.claude.com/v1/oauth/token")),
            scopes: texts(&["org:create_api_key", "user:profile", "user:inference"]),
            authorization: vec![
                Parameter::new("code", "true"),
                Parameter::new("client_id", "{client_id}"),
                Parameter::new("response_type", "code"),
                Parameter::new("redirect_uri", "{redirect_uri}"),
                Parameter::new("scope", "{scope}"),
                Parameter::new("code_challenge", "{code_challenge}"),
                Parameter::new("code_challenge_method", "S256"),
                Parameter::new("state", "{state}"),
            ],
            exchange: RequestProfile::json(&[
                "code",
                "state",
                "grant_type",
                "client_id",
                "redirect_uri",
                "code_verifier",
                "client_secret",
            ]),
            refresh: RequestProfile::json(&[
                "grant_type",
                "refresh_token",
                "client_id",
                "client_secret",
            ]),
            assertion: AssertionSpec {
                endpoint: Some(url("https://api.anthropic.com/v1/oauth/token")),
                request: RequestProfile::json(&[
                    "grant_type",
                    "assertion",
                    "federation_rule_id",
                    "organization_id",
                    "service_account_id",
                    "workspace_id",
                ]),
                required: texts(&["federation_rule_id", "organization_id", "service_account_id"]),
                ..AssertionSpec::default()
            },
            redirect: Some(RedirectRules {
                host: "localhost".to_owned(),
                path: "/callback".to_owned(),
                ports: Vec::new(),
                manual: Some("https://platform.claude.com/oauth/code/callback".to_owned()),
            }),
            ..OAuthSpec::default()
        },
        errors: ErrorTable::default()
            .with_rate_limited(&["rate_limit_error"])
            .with_transient(&["overloaded_error", "api_error"]),
        ..spec("anthropic", "https://api.anthropic.com")
    }
}
