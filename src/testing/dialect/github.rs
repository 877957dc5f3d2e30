//! GitHub Copilot: device code alone, errors with status 200, and tokens that do not expire.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::super::Endpoint;
use super::super::answer::Answer;
use super::{BodyTypes, DEVICE_GRANT, Desk, Dialect, Fields, Paths, Redirects, Refusal};
use crate::provider::{ProviderSpec, catalog};

#[derive(Debug)]
pub(in crate::testing) struct GitHubCopilot;

const CODE_LIFETIME: Duration = Duration::from_secs(899);

impl Dialect for GitHubCopilot {
    fn name(&self) -> &'static str {
        "github-copilot"
    }

    fn spec(&self) -> ProviderSpec {
        catalog::github_copilot()
    }

    fn paths(&self) -> Paths {
        Paths {
            token: "/login/oauth/access_token",
            device: "/login/device/code",
            verification: "/login/device",
            resources: "/",
            ..Paths::NONE
        }
    }

    fn default_client(&self) -> (&'static str, Option<&'static str>) {
        ("Iv1.simulated", None)
    }

    fn redirects(&self) -> Redirects {
        Redirects::NONE
    }

    fn consent(&self, _: &Fields) -> Result<bool, Refusal> {
        Err(Refusal::Path)
    }

    fn api_key_shape(&self) -> Option<(&'static str, usize)> {
        None
    }

    fn device(&self, desk: &mut Desk<'_>) -> Result<Answer, Refusal> {
        let fields = fields(desk)?;
        desk.check_client(&fields)?;
        let scope = fields.get("scope").unwrap_or_default();
        let (device_code, user_code) = desk.issue_device_code(scope, CODE_LIFETIME);
        let answer = json!({
            "device_code": device_code,
            "user_code": user_code,
            "verification_uri": desk.verification_uri(self.paths()),
            "expires_in": CODE_LIFETIME.as_secs(),
            "interval": 5,
        });
        Ok(Answer::json(StatusCode::OK, &answer))
    }

    fn token(&self, desk: &mut Desk<'_>) -> Result<Answer, Refusal> {
        let fields = fields(desk)?;
        desk.check_client(&fields)?;
        if fields.require("grant_type")? != DEVICE_GRANT {
            return Err(Refusal::GrantType);
        }
        let grant = desk.poll_device(fields.require("device_code")?, None, false)?;
        let access_token = desk.mint.token("gho_", 36);
        desk.ledger.add_access_token(&access_token, &grant, desk.now.after(Duration::MAX));
        let answer =
            json!({ "access_token": access_token, "token_type": "bearer", "scope": grant.scope });
        Ok(Answer::json(StatusCode::OK, &answer))
    }

    fn revoke(&self, _: &mut Desk<'_>) -> Result<Answer, Refusal> {
        Err(Refusal::Path)
    }

    fn resource(&self, desk: &mut Desk<'_>) -> Result<Answer, Refusal> {
        if !["/models", "/chat/completions"].contains(&desk.request.path.as_str()) {
            return Err(Refusal::Path);
        }
        let token = desk.authorization("bearer").ok_or(Refusal::NoCredential)?;
        desk.check_access_token(token)?;
        if desk.is(&Method::GET, "/models") {
            let model = json!({ "id": "copilot-simulated", "object": "model" });
            return Ok(Answer::json(StatusCode::OK, &json!({ "data": [model] })));
        }
        if desk.is(&Method::POST, "/chat/completions") {
            let request = desk.json_with(&["messages"])?;
            return Ok(Answer::json(StatusCode::OK, &completion(desk, &request)));
        }
        Err(Refusal::Method)
    }

    fn refuse(&self, endpoint: Endpoint, refusal: &Refusal) -> Answer {
        if matches!(endpoint, Endpoint::Token | Endpoint::Device) {
            return refuse_token(endpoint, refusal);
        }
        let error = |status, message: &str| Answer::json(status, &json!({ "message": message }));
        match refusal {
            Refusal::NoCredential | Refusal::Credential | Refusal::CredentialExpired => {
                error(StatusCode::UNAUTHORIZED, "Bad credentials")
            }
            Refusal::Path => error(StatusCode::NOT_FOUND, "Not Found"),
            Refusal::Method => error(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
            _ => error(StatusCode::BAD_REQUEST, "Problems parsing JSON"),
        }
    }

    fn rate_limit(&self, _: Endpoint) -> Answer {
        let message = json!({ "message": "API rate limit exceeded." });
        Answer::json(StatusCode::TOO_MANY_REQUESTS, &message)
    }
}

/// Without the header the real one answers a form; here that is an error at once.
fn fields(desk: &Desk<'_>) -> Result<Fields, Refusal> {
    if desk.request.header("accept") != Some("application/json") {
        return Err(Refusal::Accept);
    }
    Fields::of(desk.request, BodyTypes::Either)
}

fn completion(desk: &Desk<'_>, request: &Value) -> Value {
    let message = json!({ "role": "assistant", "content": "Hello from the simulated provider." });
    let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
    json!({ "id": desk.mint.token("chatcmpl-", 24), "object": "chat.completion",
        "model": request["model"], "choices": [choice] })
}

/// The errors come with 200.
fn refuse_token(endpoint: Endpoint, refusal: &Refusal) -> Answer {
    let error = |code: &str, description: &str| {
        json!({ "error": code, "error_description": description,
            "error_uri": "https://docs.github.com/apps/oauth-apps" })
    };
    let answer = match refusal {
        Refusal::Method => return Answer::empty(StatusCode::METHOD_NOT_ALLOWED),
        Refusal::DevicePending => {
            error("authorization_pending", "The authorization request is still pending.")
        }
        Refusal::DeviceHasty { interval } => {
            let mut answer = error("slow_down", "Too many requests have been made.");
            answer["interval"] = interval.as_secs().into();
            answer
        }
        Refusal::DeviceExpired => error("expired_token", "The device code has expired."),
        Refusal::DeviceDenied => error("access_denied", "The authorization request was denied."),
        Refusal::DeviceCode => {
            error("incorrect_device_code", "The device code provided is not valid.")
        }
        Refusal::Client if endpoint == Endpoint::Device => {
            return Answer::json(StatusCode::NOT_FOUND, &json!({ "error": "Not Found" }));
        }
        Refusal::Client | Refusal::ClientAuthentication => error(
            "incorrect_client_credentials",
            "The client_id and/or client_secret passed are incorrect.",
        ),
        Refusal::GrantType => error("unsupported_grant_type", "The grant type is not supported."),
        Refusal::Accept => {
            return Answer::html(
                StatusCode::NOT_ACCEPTABLE,
                "error=not_acceptable&error_description=Accept+application%2Fjson".to_owned(),
            );
        }
        _ => error("invalid_request", "The request is missing a parameter or is malformed."),
    };
    Answer::json(StatusCode::OK, &answer)
}
