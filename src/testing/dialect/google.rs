//! Google: a form with the client secret, refresh tokens that do not rotate, and a bad API key that
//! is a 400.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;

use super::super::Endpoint;
use super::super::answer::Answer;
use super::{BodyTypes, DEVICE_GRANT, Desk, Dialect, Fields, Paths, Redirects, Refusal};
use crate::provider::{ProviderSpec, catalog};

/// How long a device code lives.
const CODE_LIFETIME: Duration = Duration::from_mins(30);

#[derive(Debug)]
pub(in crate::testing) struct Google;

impl Dialect for Google {
    fn name(&self) -> &'static str {
        "google"
    }

    fn spec(&self) -> ProviderSpec {
        catalog::google()
    }

    fn paths(&self) -> Paths {
        Paths {
            authorization: "/o/oauth2/v2/auth",
            token: "/token",
            revocation: "/revoke",
            device: "/device/code",
            verification: "/device",
            resources: "/v1beta/",
            ..Paths::NONE
        }
    }

    fn default_client(&self) -> (&'static str, Option<&'static str>) {
        ("simulated.apps.googleusercontent.com", Some("GOCSPX-simulated-secret"))
    }

    fn redirects(&self) -> Redirects {
        Redirects { hosts: &["127.0.0.1", "localhost"], path: "/oauth2callback", manual: &[] }
    }

    fn consent(&self, query: &Fields) -> Result<bool, Refusal> {
        query.require("scope")?;
        // A repeated consent without the prompt returns no refresh token.
        let offline = query.get("access_type") == Some("offline");
        Ok(offline && query.get("prompt") == Some("consent"))
    }

    fn api_key_shape(&self) -> Option<(&'static str, usize)> {
        Some(("AIzaSy", 33))
    }

    fn token(&self, desk: &mut Desk<'_>) -> Result<Answer, Refusal> {
        let fields = Fields::of(desk.request, BodyTypes::Form)?;
        let grant_type = fields.require("grant_type")?;
        desk.check_client(&fields)?;
        desk.check_client_secret(fields.get("client_secret"))?;
        let (grant, refresh_token) = match grant_type {
            "authorization_code" => {
                (desk.redeem(&fields, None)?, Some(desk.mint.token("1//0", 96)))
            }
            "refresh_token" => (desk.renew(&fields, false)?, None),
            DEVICE_GRANT => {
                let grant = desk.poll_device(fields.require("device_code")?, None, true)?;
                (grant, Some(desk.mint.token("1//0", 96)))
            }
            _ => return Err(Refusal::GrantType),
        };
        let access_token = desk.mint.token("ya29.a0", 200);
        let answer = desk.issue(&grant, &access_token, refresh_token.as_deref());
        Ok(Answer::json(StatusCode::OK, &answer))
    }

    fn device(&self, desk: &mut Desk<'_>) -> Result<Answer, Refusal> {
        let fields = Fields::of(desk.request, BodyTypes::Form)?;
        desk.check_client(&fields)?;
        let (device_code, user_code) =
            desk.issue_device_code(fields.require("scope")?, CODE_LIFETIME);
        let answer = json!({
            "device_code": device_code,
            "user_code": user_code,
            // Its own name for what RFC 8628 calls verification_uri.
            "verification_url": desk.verification_uri(self.paths()),
            "expires_in": CODE_LIFETIME.as_secs(),
            "interval": 5,
        });
        Ok(Answer::json(StatusCode::OK, &answer))
    }

    fn revoke(&self, desk: &mut Desk<'_>) -> Result<Answer, Refusal> {
        let fields = Fields::of(desk.request, BodyTypes::Form)?;
        if desk.ledger.revoke(fields.require("token")?) {
            Ok(Answer::json(StatusCode::OK, &json!({})))
        } else {
            Err(Refusal::UnknownToken)
        }
    }

    fn resource(&self, desk: &mut Desk<'_>) -> Result<Answer, Refusal> {
        match (desk.request.header("x-goog-api-key"), desk.authorization("bearer")) {
            (None, None) => return Err(Refusal::NoCredential),
            (Some(_), Some(_)) => return Err(Refusal::TwoCredentials),
            (Some(key), None) => desk.check_api_key(key)?,
            // A bearer token that is none is a 401, unlike a bad key.
            (None, Some(token)) => {
                desk.check_access_token(token).map_err(|_| Refusal::CredentialExpired)?;
            }
        }
        if desk.is(&Method::GET, "/v1beta/models") {
            let model = json!({ "name": "models/gemini-simulated", "version": "001",
                "displayName": "Simulated Gemini",
                "supportedGenerationMethods": ["generateContent"] });
            return Ok(Answer::json(StatusCode::OK, &json!({ "models": [model] })));
        }
        let path = &desk.request.path;
        if path.starts_with("/v1beta/models/") && path.ends_with(":generateContent") {
            desk.json_with(&["contents"])?;
            let part = json!({ "text": "Hello from the simulated provider." });
            let candidate = json!({ "content": { "role": "model", "parts": [part] },
                "finishReason": "STOP" });
            return Ok(Answer::json(StatusCode::OK, &json!({ "candidates": [candidate] })));
        }
        Err(Refusal::Path)
    }

    fn refuse(&self, endpoint: Endpoint, refusal: &Refusal) -> Answer {
        if matches!(endpoint, Endpoint::Token | Endpoint::Revocation | Endpoint::Device) {
            refuse_token(refusal)
        } else {
            refuse_resource(refusal)
        }
    }

    fn rate_limit(&self, endpoint: Endpoint) -> Answer {
        let status = StatusCode::TOO_MANY_REQUESTS;
        if endpoint == Endpoint::Token {
            oauth(status, "rate_limit_exceeded", "Rate Limit Exceeded")
        } else {
            let message = "Resource has been exhausted (e.g. check quota).";
            error(status, "RESOURCE_EXHAUSTED", message)
        }
    }
}

fn oauth(status: StatusCode, code: &str, description: &str) -> Answer {
    Answer::json(status, &json!({ "error": code, "error_description": description }))
}

fn error(status: StatusCode, name: &str, message: &str) -> Answer {
    let error = json!({ "code": status.as_u16(), "message": message, "status": name });
    Answer::json(status, &json!({ "error": error }))
}

fn refuse_token(refusal: &Refusal) -> Answer {
    let bad = StatusCode::BAD_REQUEST;
    match refusal {
        Refusal::RefreshToken | Refusal::RefreshTokenSpent => {
            oauth(bad, "invalid_grant", "Token has been expired or revoked.")
        }
        Refusal::DevicePending => oauth(
            StatusCode::PRECONDITION_REQUIRED,
            "authorization_pending",
            "Precondition Required",
        ),
        Refusal::DeviceHasty { .. } => {
            oauth(StatusCode::FORBIDDEN, "slow_down", "Rate Limit Exceeded")
        }
        Refusal::DeviceDenied => oauth(StatusCode::FORBIDDEN, "access_denied", "Forbidden"),
        Refusal::DeviceExpired => oauth(bad, "expired_token", "Bad Request"),
        Refusal::DeviceCode => oauth(bad, "invalid_grant", "Malformed device code."),
        Refusal::Code | Refusal::CodeSpent => oauth(bad, "invalid_grant", "Malformed auth code."),
        Refusal::Verifier => oauth(bad, "invalid_grant", "Invalid code verifier."),
        Refusal::RedirectUri => oauth(bad, "redirect_uri_mismatch", "Bad Request"),
        Refusal::UnknownToken => oauth(bad, "invalid_token", "Token expired or revoked"),
        Refusal::Client => {
            oauth(StatusCode::UNAUTHORIZED, "invalid_client", "The OAuth client was not found.")
        }
        Refusal::ClientAuthentication => {
            oauth(StatusCode::UNAUTHORIZED, "invalid_client", "Unauthorized")
        }
        Refusal::GrantType => oauth(bad, "unsupported_grant_type", "Invalid grant_type"),
        Refusal::Missing(field) => {
            oauth(bad, "invalid_request", &format!("Missing required parameter: {field}"))
        }
        Refusal::Method => {
            oauth(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "Method Not Allowed")
        }
        _ => oauth(bad, "invalid_request", "Bad Request"),
    }
}

fn refuse_resource(refusal: &Refusal) -> Answer {
    let bad = StatusCode::BAD_REQUEST;
    match refusal {
        Refusal::NoCredential => error(
            StatusCode::FORBIDDEN,
            "PERMISSION_DENIED",
            "Method doesn't allow unregistered callers (callers without established identity). \
             Please use API Key or other form of API consumer identity to call this API.",
        ),
        Refusal::Credential => {
            let message = "API key not valid. Please pass a valid API key.";
            error(bad, "INVALID_ARGUMENT", message).edited(|members| {
                members["error"]["details"] = json!([{
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "API_KEY_INVALID",
                    "domain": "googleapis.com",
                    "metadata": { "service": "generativelanguage.googleapis.com" },
                }]);
            })
        }
        Refusal::CredentialExpired => error(
            StatusCode::UNAUTHORIZED,
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials. Expected OAuth 2 access token, \
             login cookie or other valid authentication credential.",
        ),
        Refusal::TwoCredentials => {
            error(bad, "INVALID_ARGUMENT", "An API key and an access token were sent together.")
        }
        Refusal::Path => error(StatusCode::NOT_FOUND, "NOT_FOUND", "Requested entity not found."),
        _ => error(bad, "INVALID_ARGUMENT", "Invalid JSON payload received."),
    }
}
