//! Orange: client credentials with HTTP Basic, an answer that is surrounded by white space, and
//! numbered errors at the resources.

use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::super::Endpoint;
use super::super::answer::Answer;
use super::{BodyTypes, Desk, Dialect, Fields, Paths, Redirects, Refusal};
use crate::provider::{ProviderSpec, catalog};

#[derive(Debug)]
pub(in crate::testing) struct Orange;

impl Dialect for Orange {
    fn name(&self) -> &'static str {
        "orange"
    }

    fn spec(&self) -> ProviderSpec {
        catalog::orange()
    }

    fn paths(&self) -> Paths {
        Paths { token: "/oauth/v3/token", resources: "/smsmessaging/v1/", ..Paths::NONE }
    }

    fn default_client(&self) -> (&'static str, Option<&'static str>) {
        ("simulated-orange-client", Some("simulated-orange-secret"))
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

    fn token(&self, desk: &mut Desk<'_>) -> Result<Answer, Refusal> {
        if desk.request.header("accept") != Some("application/json") {
            return Err(Refusal::Accept);
        }
        desk.check_basic_client()?;
        let fields = Fields::of(desk.request, BodyTypes::Form)?;
        if fields.require("grant_type")? != "client_credentials" {
            return Err(Refusal::GrantType);
        }
        let grant = desk.grant_to_client(fields.get("scope").unwrap_or_default());
        let (issued, expires) = desk.issued_and_expiring();
        let claims = json!({
            "iss": "https://api.orange.com/oauth/v3",
            "aud": ["ope"],
            "client_id": desk.registration.client_id,
            "iat": issued,
            "exp": expires,
            "typ": "access_token",
        });
        let access_token = desk.mint.jwt(&claims, 600);
        let answer = desk.issue(&grant, &access_token, None);
        // As the real one: a line break before, and spaces after.
        Ok(Answer::declared_json(StatusCode::OK, format!("\n{answer}    ")))
    }

    fn revoke(&self, _: &mut Desk<'_>) -> Result<Answer, Refusal> {
        Err(Refusal::Path)
    }

    fn resource(&self, desk: &mut Desk<'_>) -> Result<Answer, Refusal> {
        let token = desk.authorization("bearer").ok_or(Refusal::NoCredential)?;
        desk.check_access_token(token)?;
        let request = desk.request;
        let sender = request
            .path
            .strip_prefix("/smsmessaging/v1/outbound/")
            .and_then(|rest| rest.strip_suffix("/requests"))
            .filter(|sender| sender.starts_with("tel%3A%2B"))
            .ok_or(Refusal::Path)?;
        if desk.request.method != Method::POST {
            return Err(Refusal::Method);
        }
        let body = desk.json_with(&["outboundSMSMessageRequest"])?;
        let message = &body["outboundSMSMessageRequest"];
        let addresses = match &message["address"] {
            Value::Array(list) if !list.is_empty() => list.as_slice(),
            one => std::slice::from_ref(one),
        };
        if !addresses.iter().all(is_number) {
            return Err(Refusal::Invalid("address"));
        }
        let named = format!("tel%3A%2B{}", digits(&message["senderAddress"]).unwrap_or_default());
        if named != sender {
            return Err(Refusal::Invalid("senderAddress"));
        }
        if !message["outboundSMSTextMessage"]["message"].is_string() {
            return Err(Refusal::Missing("message"));
        }
        let resource = format!(
            "https://api.orange.com/smsmessaging/v1/outbound/{sender}/requests/{}",
            desk.mint.token("", 20)
        );
        let mut message = message.clone();
        desk.resources.messages.push(message.clone());
        message["resourceURL"] = resource.clone().into();
        let answer = json!({ "outboundSMSMessageRequest": message });
        Ok(Answer::json(StatusCode::CREATED, &answer).with_header(header::LOCATION, &resource))
    }

    fn refuse(&self, endpoint: Endpoint, refusal: &Refusal) -> Answer {
        if endpoint == Endpoint::Token { refuse_token(refusal) } else { refuse_resource(refusal) }
    }

    fn rate_limit(&self, _: Endpoint) -> Answer {
        error(StatusCode::TOO_MANY_REQUESTS, 53, "Too many requests", "Slow down.")
    }
}

/// What follows `tel:+`, if it is digits alone.
fn digits(address: &Value) -> Option<&str> {
    let digits = address.as_str()?.strip_prefix("tel:+")?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then_some(digits)
}

fn is_number(address: &Value) -> bool {
    digits(address).is_some()
}

fn refuse_token(refusal: &Refusal) -> Answer {
    let oauth = |status, code: &str, description: &str| {
        Answer::json(status, &json!({ "error": code, "error_description": description }))
    };
    let bad = StatusCode::BAD_REQUEST;
    match refusal {
        Refusal::ClientAuthentication => oauth(
            StatusCode::UNAUTHORIZED,
            "invalid_client",
            "The requested service needs credentials, but the ones provided were invalid.",
        )
        .with_header(header::WWW_AUTHENTICATE, "Basic realm=\"api.orange.com\""),
        Refusal::GrantType => oauth(
            bad,
            "unsupported_grant_type",
            "The requested grant type is not supported by the server.",
        ),
        Refusal::Accept => {
            oauth(StatusCode::NOT_ACCEPTABLE, "not_acceptable", "Accept application/json.")
        }
        Refusal::MediaType => oauth(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "invalid_request",
            "The content type has to be application/x-www-form-urlencoded.",
        ),
        Refusal::Method => {
            oauth(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "Method not allowed.")
        }
        _ => oauth(bad, "invalid_request", "The request is missing a parameter or is malformed."),
    }
}

fn error(status: StatusCode, code: u32, message: &str, description: &str) -> Answer {
    let error = json!({ "code": code, "message": message, "description": description });
    Answer::json(status, &error)
}

fn refuse_resource(refusal: &Refusal) -> Answer {
    let unauthorized = StatusCode::UNAUTHORIZED;
    match refusal {
        Refusal::NoCredential => error(
            unauthorized,
            40,
            "Missing credentials",
            "The requested service needs credentials, but none were provided.",
        ),
        Refusal::CredentialExpired => error(
            unauthorized,
            42,
            "Expired credentials",
            "The requested service needs credentials, and the ones provided were out-of-date.",
        ),
        Refusal::Path => error(
            StatusCode::NOT_FOUND,
            60,
            "Resource not found",
            "The requested URI or resource does not exist.",
        ),
        Refusal::Method => error(
            StatusCode::METHOD_NOT_ALLOWED,
            61,
            "Method not allowed",
            "The URI does not support the requested method.",
        ),
        Refusal::Credential => error(
            unauthorized,
            41,
            "Invalid credentials",
            "The requested service needs credentials, and the ones provided were invalid.",
        ),
        other => {
            let part = match other {
                Refusal::Missing(name) | Refusal::Invalid(name) => name,
                _ => "outboundSMSMessageRequest",
            };
            let exception = json!({ "messageId": "SVC0002",
                "text": "Invalid input value for message part %1",
                "variables": [part] });
            let error = json!({ "requestError": { "serviceException": exception } });
            Answer::json(StatusCode::BAD_REQUEST, &error)
        }
    }
}
