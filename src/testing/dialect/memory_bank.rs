//! A Memory Bank: client credentials with HTTP Basic, scopes that count, and memories behind them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, StatusCode, header};
use serde_json::{Value, json};
use url::Url;

use super::super::Endpoint;
use super::super::answer::Answer;
use super::super::resources::{Filed, Wanted};
use super::{BodyTypes, Desk, Dialect, Fields, Paths, Redirects, Refusal};
use crate::provider::{ProviderSpec, catalog};

const MEMORIES: &str = "/v1/memories";
const READ: &str = "memories:read";
const WRITE: &str = "memories:write";

/// The longest content, in bytes.
const LONGEST_CONTENT: usize = 64 * 1024;

/// The most memories on a page, and how many there are unless a request says so.
const LARGEST_PAGE: usize = 100;
const PAGE: usize = 20;

#[derive(Debug)]
pub(in crate::testing) struct MemoryBank;

impl Dialect for MemoryBank {
    fn name(&self) -> &'static str {
        "memory-bank"
    }

    fn spec(&self) -> ProviderSpec {
        // The simulation puts its own address there.
        catalog::memory_bank(Url::parse("http://127.0.0.1/").expect("a url"))
    }

    fn paths(&self) -> Paths {
        Paths { token: "/auth/token", resources: MEMORIES, ..Paths::NONE }
    }

    fn default_client(&self) -> (&'static str, Option<&'static str>) {
        ("simulated-memory-bank-client", Some("simulated-memory-bank-secret"))
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
        desk.check_basic_client()?;
        let fields = Fields::of(desk.request, BodyTypes::Form)?;
        if fields.require("grant_type")? != "client_credentials" {
            return Err(Refusal::GrantType);
        }
        let asked = fields.get("scope").unwrap_or_default().split(' ');
        let allowed = desk.registration.scopes.as_ref();
        let granted: Vec<_> = asked
            .filter(|scope| allowed.is_none_or(|all| all.iter().any(|known| known == scope)))
            .collect();
        let grant = desk.grant_to_client(&granted.join(" "));
        let (issued, expires) = desk.issued_and_expiring();
        let claims = json!({ "iss": "memory-bank", "client_id": desk.registration.client_id,
            "scope": grant.scope, "iat": issued, "exp": expires });
        let access_token = desk.mint.jwt(&claims, 400);
        Ok(Answer::json(StatusCode::OK, &desk.issue(&grant, &access_token, None)))
    }

    fn revoke(&self, _: &mut Desk<'_>) -> Result<Answer, Refusal> {
        Err(Refusal::Path)
    }

    fn resource(&self, desk: &mut Desk<'_>) -> Result<Answer, Refusal> {
        let request = desk.request;
        let token = desk.authorization("bearer").ok_or(Refusal::NoCredential)?;
        let rest = request.path.strip_prefix(MEMORIES).unwrap_or_default();
        match (&request.method, rest) {
            (&Method::POST, "") => {
                desk.check_scope(token, WRITE)?;
                create(desk)
            }
            (&Method::GET, "/search") => {
                desk.check_scope(token, READ)?;
                search(desk)
            }
            (_, "" | "/search") => {
                desk.check_access_token(token)?;
                Err(Refusal::Method)
            }
            (method, path) => {
                let id = path.strip_prefix('/').ok_or(Refusal::Path)?;
                desk.check_scope(token, if *method == Method::GET { READ } else { WRITE })?;
                one(desk, id)
            }
        }
    }

    fn refuse(&self, endpoint: Endpoint, refusal: &Refusal) -> Answer {
        if endpoint == Endpoint::Token { refuse_token(refusal) } else { refuse_resource(refusal) }
    }

    fn rate_limit(&self, _: Endpoint) -> Answer {
        error(StatusCode::TOO_MANY_REQUESTS, "rate_limited", json!({}))
    }
}

fn create(desk: &mut Desk<'_>) -> Result<Answer, Refusal> {
    let body = desk.json_with(&["content"])?;
    let content = body["content"].as_str().filter(|content| !content.is_empty());
    let content = content.ok_or(Refusal::Invalid("content"))?;
    if content.len() > LONGEST_CONTENT {
        return Err(Refusal::Invalid("content"));
    }
    let tags = optional(&body, "tags", json!([]), |tags| {
        tags.as_array().is_some_and(|tags| tags.iter().all(Value::is_string))
    })?;
    let metadata = optional(&body, "metadata", json!({}), Value::is_object)?;
    let id = desk.mint.token("mem_", 16);
    let created_at = humantime::format_rfc3339_millis(desk.now.wall).to_string();
    let make = || {
        json!({ "id": id, "content": content, "tags": tags, "metadata": metadata,
            "created_at": created_at })
    };
    let key = desk.request.header("idempotency-key");
    match desk.resources.memories.add(key, &desk.request.body, make) {
        Filed::New(memory) => Ok(Answer::json(StatusCode::CREATED, &memory)),
        Filed::Before(memory) => Ok(Answer::json(StatusCode::CREATED, &memory)
            .with_header(header::HeaderName::from_static("idempotent-replayed"), "true")),
        Filed::Conflict => Err(Refusal::KeyReused),
    }
}

fn search(desk: &Desk<'_>) -> Result<Answer, Refusal> {
    let query = desk.request.query.as_deref().unwrap_or_default();
    let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
    let get = |name: &str| {
        let pair = pairs.iter().find(|(known, _)| known == name);
        pair.map(|(_, value)| value.as_ref()).filter(|value| !value.is_empty())
    };
    let words = get("query").ok_or(Refusal::Missing("query"))?;
    let limit = match get("limit").map(str::parse) {
        None => PAGE,
        Some(Ok(limit @ 1..=LARGEST_PAGE)) => limit,
        Some(_) => return Err(Refusal::Invalid("limit")),
    };
    let begin = match get("cursor") {
        None => 0,
        Some(cursor) => position(cursor).ok_or(Refusal::Invalid("cursor"))?,
    };
    let tags = pairs.iter().filter(|(name, _)| name == "tag");
    let wanted = Wanted {
        words: words.split_whitespace().map(str::to_lowercase).collect(),
        tags: tags.map(|(_, tag)| tag.as_ref()).collect(),
        after: get("created_after"),
        before: get("created_before"),
    };
    let found = desk.resources.memories.find(&wanted);
    let page = found.iter().skip(begin).take(limit);
    let items: Vec<_> =
        page.map(|(score, memory)| json!({ "score": score, "memory": memory })).collect();
    let end = begin + items.len();
    let next = (end < found.len()).then(|| URL_SAFE_NO_PAD.encode(format!("at {end}")));
    Ok(Answer::json(StatusCode::OK, &json!({ "items": items, "next_cursor": next })))
}

fn one(desk: &mut Desk<'_>, id: &str) -> Result<Answer, Refusal> {
    let memories = &mut desk.resources.memories;
    match desk.request.method {
        Method::GET => {
            let memory = memories.get(id).ok_or(Refusal::Memory)?;
            Ok(Answer::json(StatusCode::OK, memory))
        }
        Method::DELETE if memories.remove(id) => Ok(Answer::empty(StatusCode::NO_CONTENT)),
        Method::DELETE => Err(Refusal::Memory),
        _ => Err(Refusal::Method),
    }
}

/// Where the page begins that a cursor stands for.
fn position(cursor: &str) -> Option<usize> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    text.strip_prefix("at ")?.parse().ok()
}

fn optional(
    body: &Value,
    name: &'static str,
    default: Value,
    fits: impl Fn(&Value) -> bool,
) -> Result<Value, Refusal> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(default),
        Some(value) if fits(value) => Ok(value.clone()),
        Some(_) => Err(Refusal::Invalid(name)),
    }
}

fn refuse_token(refusal: &Refusal) -> Answer {
    let oauth = |status, code: &str| Answer::json(status, &json!({ "error": code }));
    match refusal {
        Refusal::ClientAuthentication => oauth(StatusCode::UNAUTHORIZED, "invalid_client")
            .with_header(header::WWW_AUTHENTICATE, "Basic realm=\"memory-bank\""),
        Refusal::GrantType => oauth(StatusCode::BAD_REQUEST, "unsupported_grant_type"),
        _ => oauth(StatusCode::BAD_REQUEST, "invalid_request"),
    }
}

fn refuse_resource(refusal: &Refusal) -> Answer {
    let bearer =
        |answer: Answer, challenge: &str| answer.with_header(header::WWW_AUTHENTICATE, challenge);
    match refusal {
        Refusal::NoCredential => {
            bearer(error(StatusCode::UNAUTHORIZED, "unauthorized", json!({})), "Bearer")
        }
        Refusal::Credential | Refusal::CredentialExpired => bearer(
            error(StatusCode::UNAUTHORIZED, "invalid_token", json!({})),
            "Bearer error=\"invalid_token\"",
        ),
        Refusal::Scope(scope) => bearer(
            error(StatusCode::FORBIDDEN, "insufficient_scope", json!({ "scope": scope })),
            &format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\""),
        ),
        Refusal::Path | Refusal::Memory => error(StatusCode::NOT_FOUND, "not_found", json!({})),
        Refusal::Method => error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", json!({})),
        Refusal::KeyReused => error(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            json!({ "field": "idempotency-key" }),
        ),
        Refusal::Missing(field) | Refusal::Invalid(field) => {
            error(StatusCode::UNPROCESSABLE_ENTITY, "invalid", json!({ "field": field }))
        }
        _ => error(StatusCode::BAD_REQUEST, "malformed", json!({})),
    }
}

/// The code and `more` members as the one member `error`.
fn error(status: StatusCode, code: &str, mut more: Value) -> Answer {
    more["code"] = code.into();
    Answer::json(status, &json!({ "error": more }))
}
