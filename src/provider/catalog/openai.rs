//! OpenAI: API key, authorization code, and its own variant of the device code.

use super::{headers, spec, texts, url};
use crate::identity::Method;
use crate::oauth::RequestProfile;
use crate::provider::{
    ApiKeyShape, DeviceSpec, ErrorTable, OAuthSpec, Otherwise, Parameter, ProviderSpec,
    RedirectRules, RequestHeaders,
};

/// The client id that OpenAI publishes for command-line programs; it has no secret. It is used
/// only where it is selected: `catalog::openai().client(catalog::OPENAI_PUBLIC_CLIENT_ID)`.
pub const OPENAI_PUBLIC_CLIENT_ID: &str = "app_EMoamEEZ73f0CkXaXp7hrann";

/// OpenAI. Authorization code and device code need [`ProviderSpec::client`], with a client of the operator's own
/// or with [`OPENAI_PUBLIC_CLIENT_ID`].
pub fn openai() -> ProviderSpec {
    let bearer = headers(&[("authorization", "Bearer {secret}"), ("user-agent", "{user_agent}")]);
    ProviderSpec {
        methods: vec![Method::ApiKey, Method::AuthorizationCode, Method::DeviceCode],
        api_key: ApiKeyShape {
            prefix: "sk-".to_owned(),
            not: texts(&["sk-ant-"]),
            probe: Some("/v1/models".to_owned()),
        },
        headers: RequestHeaders { api_key: bearer.clone(), token: bearer },
        oauth: OAuthSpec {
            authorization_endpoint: Some(url("https://auth.openai.com/oauth/authorize")),
            token_endpoint: Some(url("https://auth.openai.com/oauth/token")),
            revocation_endpoint: Some(url("https://auth.openai.com/oauth/revoke")),
            scopes: texts(&["openid", "profile", "email", "offline_access"]),
            authorization: vec![
                Parameter::new("response_type", "code"),
                Parameter::new("client_id", "{client_id}"),
                Parameter::new("redirect_uri", "{redirect_uri}"),
                Parameter::new("scope", "{scope}"),
                Parameter::new("code_challenge", "{code_challenge}"),
                Parameter::new("code_challenge_method", "S256"),
                Parameter::extra("id_token_add_organizations", "true"),
                Parameter::extra("codex_cli_simplified_flow", "true"),
                Parameter::new("state", "{state}"),
                Parameter::extra("originator", "tokenward"),
            ],
            exchange: RequestProfile::form(&[
                "grant_type",
                "code",
                "redirect_uri",
                "client_id",
                "code_verifier",
                "client_secret",
            ]),
            refresh: RequestProfile::form(&[
                "grant_type",
                "refresh_token",
                "client_id",
                "client_secret",
            ]),
            revocation: RequestProfile::json(&[
                "token",
                "token_type_hint",
                "client_id",
                "client_secret",
            ]),
            // Not RFC 8628: JSON, codes under other names, a poll that is pending by its status and
            // ends in a code to exchange. The address is fixed.
            device: DeviceSpec {
                endpoint: Some(url("https://auth.openai.com/api/accounts/deviceauth/usercode")),
                request: RequestProfile::json(&["client_id"]),
                poll_endpoint: Some(url("https://auth.openai.com/api/accounts/deviceauth/token")),
                poll: RequestProfile::json(&["device_auth_id", "user_code"]),
                verification_uri: Some(url("https://auth.openai.com/codex/device")),
                pending_statuses: vec![403, 404],
                exchange_redirect_uri: Some(
                    "https://auth.openai.com/deviceauth/callback".to_owned(),
                ),
                ..DeviceSpec::default()
            },
            redirect: Some(RedirectRules {
                host: "localhost".to_owned(),
                path: "/auth/callback".to_owned(),
                ports: vec![1455, 1457],
                manual: None,
            }),
            account_claim: texts(&["https://api.openai.com/auth", "chatgpt_account_id"]),
            // Its published answers name the tokens and not their type.
            assume_bearer: true,
            // Every member of its answer to a refresh is optional.
            refresh_may_keep_access_token: true,
            ..OAuthSpec::default()
        },
        // A client without a secret can not be refused for itself: its vendor's own client takes any
        // 401 for the end of the grant, so `invalid_client` as well. What is not JSON is somebody
        // else's page and ends nothing, here as everywhere.
        errors: ErrorTable {
            unauthorized_is_final: true,
            otherwise: Otherwise::Transient,
            ..ErrorTable::default().with_reauthorization_at_any_status(&[
                "refresh_token_expired",
                "refresh_token_reused",
                "refresh_token_invalidated",
            ])
        },
        ..spec("openai", "https://api.openai.com")
    }
}
