//! `OpenAI`: form-encoded exchange, JWT access tokens with an id token that names the account, and
//! refresh tokens that must not be used twice.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::super::Endpoint;
use super::super::answer::Answer;
use super::super::ledger::{Consent, challenge_of};
use super::{BodyTypes, Desk, Dialect, Fields, Paths, Redirects, Refusal};
use crate::provider::{ProviderSpec, catalog};

#[derive(Debug)]
pub(in crate::testing) struct OpenAi;

/// Where a device sign-in is polled for.
const DEVICE_POLL: &str = "/api/accounts/deviceauth/token";

/// The redirect URI of the codes that a device sign-in ends in.
const DEVICE_REDIRECT: &str = "https://auth.openai.com/deviceauth/callback";

/// The claim of the id token that names the account.
const AUTH_CLAIM: &str = "https://api.openai.com/auth";

impl Dialect for OpenAi {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn spec(&self) -> ProviderSpec {
        catalog::openai()
    }

    fn paths(&self) -> Paths {
        Paths {
            authorization: "/oauth/authorize",
            token: "/oauth/token",
            revocation: "/oauth/revoke",
            device: "/api/accounts/deviceauth/usercode",
            device_poll: DEVICE_POLL,
            verification: "/codex/device",
            resources: "/v1/",
        }
    }

    fn default_client(&self) -> (&'static str, Option<&'static str>) {
        ("app_EMoamEEZ73f0CkXaXp7hrann", None)
    }

    fn redirects(&self) -> Redirects {
        Redirects { hosts: &["localhost"], path: "/auth/callback", manual: &[] }
    }

    fn consent(&self, query: &Fields) -> Result<bool, Refusal> {
        let scope = query.require("scope")?;
        Ok(scope.split(' ').any(|scope| scope == "offline_access"))
    }

    fn api_key_shape(&self) -> Option<(&'static str, usize)> {
        Some(("sk-proj-", 124))
    }

    fn token(&self, desk: &mut Desk<'_>) -> Result<Answer, Refusal> {
        // A refresh may be JSON too; a code has to be in a form.
        let fields = Fields::of(desk.request, BodyTypes::Either)?;
        let grant_type = fields.require("grant_type")?;
        desk.check_client(&fields)?;
        desk.check_client_secret(fields.get("client_secret"))?;
        let grant = match grant_type {
            "authorization_code" if desk.request.is_of("application/json") => {
                return Err(Refusal::MediaType);
            }
            "authorization_code" => desk.redeem(&fields, None)?,
            "refresh_token" => desk.renew(&fields, true)?,
            _ => return Err(Refusal::GrantType),
        };
        let claims = claims(desk, &grant.account);
        let access_token = desk.mint.jwt(&claims, 900);
        let refresh_token = desk.mint.token("rt_", 90);
        let mut answer = desk.issue(&grant, &access_token, Some(&refresh_token));
        answer["id_token"] = desk.mint.jwt(&claims, 900).into();
        Ok(Answer::json(StatusCode::OK, &answer))
    }

    fn device(&self, desk: &mut Desk<'_>) -> Result<Answer, Refusal> {
        let fields = Fields::of(desk.request, BodyTypes::Json)?;
        if desk.request.path == DEVICE_POLL {
            poll(desk, &fields)
        } else {
            user_code(desk, &fields)
        }
    }

    fn revoke(&self, desk: &mut Desk<'_>) -> Result<Answer, Refusal> {
        let fields = Fields::of(desk.request, BodyTypes::Json)?;
        desk.check_client(&fields)?;
        // RFC 7009 §2.2: an unknown token is no error.
        desk.ledger.revoke(fields.require("token")?);
        Ok(Answer::json(StatusCode::OK, &json!({})))
    }

    fn resource(&self, desk: &mut Desk<'_>) -> Result<Answer, Refusal> {
        let credential = desk.authorization("bearer").ok_or(Refusal::NoCredential)?;
        if credential.starts_with("sk-") {
            desk.check_api_key(credential)?;
        } else {
            desk.check_access_token(credential)?;
        }
        let answer = if desk.is(&Method::GET, "/v1/models") {
            let model = json!({ "id": "gpt-simulated", "object": "model",
                "created": 1_735_689_600, "owned_by": "simulation" });
            json!({ "object": "list", "data": [model] })
        } else if desk.is(&Method::POST, "/v1/responses") {
            response(desk, &desk.json_with(&["model", "input"])?)
        } else if desk.is(&Method::POST, "/v1/chat/completions") {
            completion(desk, &desk.json_with(&["model", "messages"])?)
        } else {
            return Err(Refusal::Path);
        };
        Ok(Answer::json(StatusCode::OK, &answer))
    }

    fn refuse(&self, _: Endpoint, refusal: &Refusal) -> Answer {
        let bad = StatusCode::BAD_REQUEST;
        let unauthorized = StatusCode::UNAUTHORIZED;
        match refusal {
            Refusal::RefreshTokenSpent => error(
                bad,
                Some("refresh_token_reused"),
                "Your refresh token has already been used to generate a new access token. \
                 Please try signing in again.",
            ),
            Refusal::RefreshToken => error(
                unauthorized,
                Some("refresh_token_invalidated"),
                "Your refresh token has been invalidated. Please try signing in again.",
            ),
            Refusal::Code
            | Refusal::CodeSpent
            | Refusal::Verifier
            | Refusal::RedirectUri
            | Refusal::State => error(
                bad,
                Some("invalid_grant"),
                "The provided authorization grant is invalid, expired, or does not match.",
            ),
            // It does not tell a user who declined, or a code that is over, from one who takes time.
            Refusal::DevicePending
            | Refusal::DeviceHasty { .. }
            | Refusal::DeviceDenied
            | Refusal::DeviceExpired => error(
                StatusCode::FORBIDDEN,
                Some("deviceauth_authorization_unknown"),
                "Device authorization is unknown. Please try again.",
            ),
            Refusal::DeviceCode => {
                error(StatusCode::NOT_FOUND, None, "Device authorization not found.")
            }
            Refusal::Client | Refusal::ClientAuthentication => {
                error(unauthorized, Some("invalid_client"), "Client authentication failed.")
            }
            Refusal::GrantType => {
                error(bad, Some("unsupported_grant_type"), "Unsupported grant type.")
            }
            Refusal::MediaType => error(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                Some("unsupported_content_type"),
                "The content type of the request is not supported.",
            ),
            Refusal::NoCredential => error(
                unauthorized,
                None,
                "You didn't provide an API key. You need to provide your API key in an \
                 Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
            ),
            Refusal::Credential => {
                error(unauthorized, Some("invalid_api_key"), "Incorrect API key provided.")
            }
            Refusal::CredentialExpired => error(
                unauthorized,
                Some("token_expired"),
                "Provided authentication token is expired. Please try signing in again.",
            ),
            Refusal::Missing(field) => error(
                bad,
                Some("missing_required_parameter"),
                &format!("Missing required parameter: '{field}'."),
            ),
            Refusal::Path => error(StatusCode::NOT_FOUND, None, "Invalid URL"),
            Refusal::Method => {
                error(StatusCode::METHOD_NOT_ALLOWED, None, "Method not allowed for this URL.")
            }
            _ => error(bad, None, "We could not parse the body of your request."),
        }
    }

    fn rate_limit(&self, _: Endpoint) -> Answer {
        error(StatusCode::TOO_MANY_REQUESTS, Some("rate_limit_exceeded"), "Rate limit reached.")
    }
}

fn user_code(desk: &mut Desk<'_>, fields: &Fields) -> Result<Answer, Refusal> {
    desk.check_client(fields)?;
    let scope = "openid profile email offline_access";
    let (device_auth_id, user_code) = desk.issue_device_code(scope, Duration::from_mins(15));
    // The interval is text.
    let answer =
        json!({ "device_auth_id": device_auth_id, "user_code": user_code, "interval": "5" });
    Ok(Answer::json(StatusCode::OK, &answer))
}

/// Ends in a code, with the verifier that the provider itself made.
fn poll(desk: &mut Desk<'_>, fields: &Fields) -> Result<Answer, Refusal> {
    let (device, user) = (fields.require("device_auth_id")?, fields.require("user_code")?);
    let grant = desk.poll_device(device, Some(user), true)?;
    let (code, verifier) = (desk.mint.token("ac_", 43), desk.mint.token("", 43));
    let challenge = challenge_of(&verifier);
    let consent = Consent { redirect_uri: DEVICE_REDIRECT, challenge: &challenge, state: "" };
    desk.ledger.add_code(&code, grant, &consent, desk.now);
    let answer = json!({ "authorization_code": code, "code_challenge": challenge,
        "code_verifier": verifier });
    Ok(Answer::json(StatusCode::OK, &answer))
}

fn claims(desk: &Desk<'_>, account: &str) -> Value {
    let (issued, expires) = desk.issued_and_expiring();
    json!({
        "iss": "https://auth.openai.com",
        "sub": format!("user-{account}"),
        "aud": [desk.registration.client_id],
        "iat": issued,
        "exp": expires,
        "email": format!("{account}@simulation.example"),
        AUTH_CLAIM: { "chatgpt_account_id": account, "chatgpt_plan_type": "plus" },
    })
}

fn response(desk: &Desk<'_>, request: &Value) -> Value {
    let text = json!({ "type": "output_text", "annotations": [],
        "text": "Hello from the simulated provider." });
    let message = json!({ "id": desk.mint.token("msg_", 24), "type": "message",
        "status": "completed", "role": "assistant", "content": [text] });
    json!({ "id": desk.mint.token("resp_", 24), "object": "response", "status": "completed",
        "model": request["model"], "output": [message],
        "usage": { "input_tokens": 8, "output_tokens": 6, "total_tokens": 14 } })
}

fn completion(desk: &Desk<'_>, request: &Value) -> Value {
    let message = json!({ "role": "assistant", "content": "Hello from the simulated provider." });
    let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
    json!({ "id": desk.mint.token("chatcmpl-", 24), "object": "chat.completion",
        "model": request["model"], "choices": [choice],
        "usage": { "prompt_tokens": 8, "completion_tokens": 6, "total_tokens": 14 } })
}

fn error(status: StatusCode, code: Option<&str>, message: &str) -> Answer {
    let error = json!({ "message": message, "type": "invalid_request_error",
        "param": null, "code": code });
    Answer::json(status, &json!({ "error": error }))
}
