//! Google (Gemini): API key, and authorization code or device code with the operator's own client.

use super::{headers, spec, texts, url};
use crate::identity::Method;
use crate::oauth::RequestProfile;
use crate::provider::{
    ApiKeyShape, DeviceSpec, ErrorTable, OAuthSpec, Parameter, ProviderSpec, RedirectRules,
    RefusalSign, RequestHeaders,
};

/// Google's Gemini. The vendor forbids reuse of its own command-line client, so authorization code
/// needs [`ProviderSpec::client`] and [`ProviderSpec::client_secret`] of a desktop client. A
/// project to bill is `.token_header("x-goog-user-project", project)`.
///
/// A resource refuses a bad API key with 400 and the reason `API_KEY_INVALID`, not with 401.
pub fn google() -> ProviderSpec {
    ProviderSpec {
        methods: vec![Method::ApiKey, Method::AuthorizationCode, Method::DeviceCode],
        api_key: ApiKeyShape {
            probe: Some("/v1beta/models?pageSize=1".to_owned()),
            ..ApiKeyShape::default()
        },
        headers: RequestHeaders {
            api_key: headers(&[("x-goog-api-key", "{secret}"), ("user-agent", "{user_agent}")]),
            token: headers(&[("authorization", "Bearer {secret}"), ("user-agent", "{user_agent}")]),
        },
        oauth: OAuthSpec {
            authorization_endpoint: Some(url("https://accounts.google.com/o/oauth2/v2/auth")),
            token_endpoint: Some(url("https://oauth2.googleapis.com/token")),
            revocation_endpoint: Some(url("https://oauth2.googleapis.com/revoke")),
            scopes: texts(&[
                "https://www.googleapis.com/auth/cloud-platform",
                "https://www.googleapis.com/auth/generative-language.retriever",
            ]),
            authorization: vec![
                Parameter::new("response_type", "code"),
                Parameter::new("client_id", "{client_id}"),
                Parameter::new("redirect_uri", "{redirect_uri}"),
                Parameter::new("scope", "{scope}"),
                Parameter::new("code_challenge", "{code_challenge}"),
                Parameter::new("code_challenge_method", "S256"),
                Parameter::new("state", "{state}"),
                Parameter::new("access_type", "offline"),
                // Without it a repeated consent brings no refresh token.
                Parameter::new("prompt", "consent"),
            ],
            revocation: RequestProfile::form(&["token"]),
            // The poll needs the client secret, and the address comes as `verification_url`.
            device: DeviceSpec {
                endpoint: Some(url("https://oauth2.googleapis.com/device/code")),
                ..DeviceSpec::default()
            },
            redirect: Some(RedirectRules {
                host: "127.0.0.1".to_owned(),
                path: "/oauth2callback".to_owned(),
                ports: Vec::new(),
                manual: None,
            }),
            ..OAuthSpec::default()
        },
        errors: ErrorTable {
            reauthorization_descriptions: texts(&["reauth"]),
            // A bad API key is a 400.
            credential_refused: vec![RefusalSign::new(
                400,
                &["error", "details", "reason"],
                "API_KEY_INVALID",
            )],
            ..ErrorTable::default()
        },
        ..spec("google", "https://generativelanguage.googleapis.com")
    }
}
