//! Anthropic: JSON token requests with the state in them, `code#state` on a page, and two header
//! sets that must not be mixed.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::super::Endpoint;
use super::super::answer::Answer;
use super::{BodyTypes, Desk, Dialect, Fields, Paths, Redirects, Refusal};
use crate::provider::{ProviderSpec, catalog};

/// The federation rule that is set up, and what belongs to it.
const FEDERATION: [(&str, &str); 3] = [
    ("federation_rule_id", "fdrl_simulated"),
    ("organization_id", "00000000-0000-4000-8000-000000000001"),
    ("service_account_id", "svac_simulated"),
];

#[derive(Debug)]
pub(in crate::testing) struct Anthropic;

impl Dialect for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn spec(&self) -> ProviderSpec {
        catalog::anthropic()
    }

    fn paths(&self) -> Paths {
        Paths {
            authorization: "/oauth/authorize",
            token: "/v1/oauth/token",
            resources: "/v1/",
            ..Paths::NONE
        }
    }

    fn default_client(&self) -> (&'static str, Option<&'static str>) {
        ("simulated-anthropic-client", None)
    }

    fn redirects(&self) -> Redirects {
        Redirects {
            hosts: &["localhost", "127.0.0.1"],
            path: "/callback",
            manual: &[
                "https://console.anthropic.com/oauth/code/callback",
                "https://platform.claude.com/oauth/code/callback",
            ],
        }
    }

    fn consent(&self, query: &Fields) -> Result<bool, Refusal> {
        query.expect("code", "true")?;
        Ok(true)
    }

    fn api_key_shape(&self) -> Option<(&'static str, usize)> {
        Some(("sk-ant-api03-", 95))
    }

    fn token(&self, desk: &mut Desk<'_>) -> Result<Answer, Refusal> {
        let fields = Fields::of(desk.request, BodyTypes::Json)?;
        let grant_type = fields.require("grant_type")?;
        if grant_type == "urn:ietf:params:oauth:grant-type:jwt-bearer" {
            return exchange_assertion(desk, &fields);
        }
        desk.check_client(&fields)?;
        desk.check_client_secret(fields.get("client_secret"))?;
        let grant = match grant_type {
            "authorization_code" => desk.redeem(&fields, Some(fields.require("state")?))?,
            "refresh_token" => desk.renew(&fields, true)?,
            _ => return Err(Refusal::GrantType),
        };
        let access_token = desk.mint.token("sk-ant-oat01-", 95);
        let refresh_token = desk.mint.token("sk-ant-ort01-", 95);
        let mut answer = desk.issue(&grant, &access_token, Some(&refresh_token));
        answer["account"] = json!({ "uuid": grant.account });
        Ok(Answer::json(StatusCode::OK, &answer))
    }

    fn federation(&self) -> &'static [(&'static str, &'static str)] {
        &FEDERATION
    }

    fn revoke(&self, _: &mut Desk<'_>) -> Result<Answer, Refusal> {
        Err(Refusal::Path)
    }

    fn resource(&self, desk: &mut Desk<'_>) -> Result<Answer, Refusal> {
        check_credential(desk)?;
        if desk.request.header("anthropic-version").is_none() {
            return Err(Refusal::Missing("anthropic-version"));
        }
        if desk.is(&Method::GET, "/v1/models") {
            let model = json!({ "type": "model", "id": "claude-simulated",
                "display_name": "Simulated Claude", "created_at": "2025-01-01T00:00:00Z" });
            let models = json!({ "data": [model], "has_more": false,
                "first_id": "claude-simulated", "last_id": "claude-simulated" });
            return Ok(Answer::json(StatusCode::OK, &models));
        }
        if desk.is(&Method::POST, "/v1/messages") {
            let request = desk.json_with(&["model", "max_tokens", "messages"])?;
            return Ok(Answer::json(StatusCode::OK, &message(desk, &request)));
        }
        Err(if desk.is(&Method::GET, "/v1/messages") { Refusal::Method } else { Refusal::Path })
    }

    fn refuse(&self, endpoint: Endpoint, refusal: &Refusal) -> Answer {
        if endpoint == Endpoint::Token { refuse_token(refusal) } else { refuse_resource(refusal) }
    }

    fn rate_limit(&self, _: Endpoint) -> Answer {
        let message = "This request would exceed your rate limit. Please try again later.";
        error(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message)
    }
}

/// Workload Identity Federation: no client, no refresh token.
fn exchange_assertion(desk: &mut Desk<'_>, fields: &Fields) -> Result<Answer, Refusal> {
    for (name, value) in FEDERATION {
        fields.expect(name, value)?;
    }
    desk.ledger.check_assertion(fields.require("assertion")?, desk.now)?;
    desk.ledger.counters.assertions += 1;
    let account = fields.require("service_account_id")?;
    let grant = desk.ledger.new_grant("user:inference", account, false);
    let access_token = desk.mint.token("sk-ant-oat01-", 95);
    Ok(Answer::json(StatusCode::OK, &desk.issue(&grant, &access_token, None)))
}

fn check_credential(desk: &Desk<'_>) -> Result<(), Refusal> {
    let token = desk.authorization("bearer");
    match (desk.request.header("x-api-key"), token) {
        (None, None) => Err(Refusal::NoCredential),
        (Some(_), Some(_)) => Err(Refusal::TwoCredentials),
        (Some(key), None) => desk.check_api_key(key),
        (None, Some(token)) => {
            let betas = desk.request.header("anthropic-beta").unwrap_or_default();
            if betas.split(',').any(|beta| beta.trim() == "oauth-2025-04-20") {
                desk.check_access_token(token)
            } else {
                Err(Refusal::OAuthNotAllowed)
            }
        }
    }
}

fn message(desk: &Desk<'_>, request: &Value) -> Value {
    json!({
        "id": desk.mint.token("msg_", 20),
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": [{ "type": "text", "text": "Hello from the simulated provider." }],
        "stop_reason": "end_turn",
        "stop_sequence": null,
        "usage": { "input_tokens": 8, "output_tokens": 6 },
    })
}

fn error(status: StatusCode, kind: &str, message: &str) -> Answer {
    let error = json!({ "type": "error", "error": { "type": kind, "message": message } });
    Answer::json(status, &error)
}

fn refuse_token(refusal: &Refusal) -> Answer {
    let oauth = |status, code: &str, description: &str| {
        Answer::json(status, &json!({ "error": code, "error_description": description }))
    };
    let bad = StatusCode::BAD_REQUEST;
    match refusal {
        Refusal::RefreshToken | Refusal::RefreshTokenSpent => {
            oauth(bad, "invalid_grant", "Refresh token not found or invalid")
        }
        Refusal::Code | Refusal::CodeSpent => {
            oauth(bad, "invalid_grant", "Invalid authorization code")
        }
        Refusal::Assertion => oauth(bad, "invalid_grant", "Assertion is invalid or expired"),
        Refusal::Invalid("federation_rule_id" | "organization_id" | "service_account_id") => {
            oauth(bad, "invalid_grant", "No federation rule matches")
        }
        Refusal::Verifier => oauth(bad, "invalid_grant", "Invalid code verifier"),
        Refusal::RedirectUri => oauth(bad, "invalid_grant", "Redirect URI does not match"),
        Refusal::State => oauth(bad, "invalid_grant", "State does not match"),
        Refusal::Client => oauth(bad, "invalid_client", "Client not found"),
        Refusal::ClientAuthentication => {
            oauth(bad, "invalid_client", "Client authentication failed")
        }
        Refusal::GrantType => oauth(bad, "unsupported_grant_type", "Grant type is not supported"),
        Refusal::Method => {
            error(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", "Method Not Allowed")
        }
        _ => error(bad, "invalid_request_error", "Invalid request format"),
    }
}

fn refuse_resource(refusal: &Refusal) -> Answer {
    let unauthorized =
        |message: &str| error(StatusCode::UNAUTHORIZED, "authentication_error", message);
    let invalid = |message: &str| error(StatusCode::BAD_REQUEST, "invalid_request_error", message);
    match refusal {
        Refusal::NoCredential => unauthorized("x-api-key header is required"),
        Refusal::Credential => unauthorized("invalid x-api-key"),
        Refusal::CredentialExpired => unauthorized(
            "OAuth token has expired. Please obtain a new token or refresh your existing token.",
        ),
        Refusal::TwoCredentials => {
            unauthorized("x-api-key and authorization must not be sent together")
        }
        Refusal::OAuthNotAllowed => {
            unauthorized("OAuth authentication is currently not supported.")
        }
        Refusal::Missing("anthropic-version") => invalid("anthropic-version: header is required"),
        Refusal::Missing(member) => invalid(&format!("{member}: Field required")),
        Refusal::MediaType => invalid("content-type: Input should be 'application/json'"),
        Refusal::Method => {
            error(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", "Method Not Allowed")
        }
        Refusal::Path => error(StatusCode::NOT_FOUND, "not_found_error", "Not found"),
        _ => invalid("The request body is not valid JSON"),
    }
}
