//! A request as your session, and what it carried.

use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName};
use serde_json::{Value, json};
use tokenward::Fallback;
use tokenward::event::CredentialState;
use tokenward::http::Attempts;
use tokenward::testing::Endpoint;

use crate::account::account_at;
use crate::problem::{Answer, Problem};
use crate::repl::Repl;
use crate::screen::{Tone, cell};

/// What no credential gives.
const OF_EVERY_REQUEST: [HeaderName; 3] = [ACCEPT, CONTENT_LENGTH, CONTENT_TYPE];

/// How much of an answer is shown.
const SHOWN: usize = 160;

pub(super) async fn call(repl: &mut Repl, path: Option<String>, body: Option<&str>) -> Answer {
    let session = repl.session().await?;
    let Some(active) = session.active()? else {
        return Err(nothing_to_call_with(repl).await?);
    };
    let provider = active.provider.as_str();
    let body = body
        .map(serde_json::from_str::<Value>)
        .transpose()
        .map_err(|error| Problem::new(format!("what follows the path is not json: {error}")))?;
    let (path, body) = match path {
        Some(path) => (path, body),
        None => usual_request(repl, provider)?,
    };

    let seen = requests_so_far(repl, provider);
    let account = account_at(&active.provider, &active.label);
    let with_advice = |error| Problem::with(&account, error);
    let before = session.authentication().await.map_err(with_advice)?;
    let (method, request) = match &body {
        None => ("GET", session.client().get(&path)),
        Some(body) => ("POST", session.client().post(&path).json(body)),
    };
    let response = request.send().await.map_err(with_advice)?;
    let status = response.status();
    let fallback = response.extensions().get::<Fallback>().cloned();
    let attempts = response.extensions().get::<Attempts>().copied();
    let text = response
        .text()
        .await
        .map_err(|error| Problem::new(format!("the answer of {provider} broke off: {error}")))?;

    let tone = if status.is_success() { Tone::Good } else { Tone::Bad };
    let said = repl.palette.paint(tone, status.to_string().trim_end());
    let mut lines = vec![format!("{said} {account} {method} {path}")];
    let generation = before.credential.snapshot().generation();
    if generation != before.generation {
        lines.push(format!("  renewed to generation {generation} on the way"));
    }
    if let Some(attempts) = attempts.filter(|attempts| attempts.made > 1) {
        lines.push(format!("  made again after a failure, {} attempts in all", attempts.made));
    }
    if let Some(Fallback { key, instead_of, .. }) = fallback {
        lines.push(format!("  by {} instead of {}", key.method, instead_of.method));
    }
    if before.credential.snapshot().state() == CredentialState::ReauthorizationRequired {
        lines.push(format!("  a new sign-in is needed: sign-in {account}"));
    }
    if !text.trim().is_empty() {
        lines.push(format!("  {}", short(&text)));
    }
    lines.push(carried(repl, &before.headers, provider, seen));
    let report = lines.join("\n");
    if status.is_success() { Ok(report) } else { Err(Problem::new(report)) }
}

/// Why there is no provider to call, and what to do first.
async fn nothing_to_call_with(repl: &Repl) -> Result<Problem, Problem> {
    let credentials = repl.user().credentials().await?;
    let signed_in = credentials.iter().any(|it| it.state() != CredentialState::Absent);
    Ok(if signed_in {
        Problem::new("no provider is active in your session, choose one with: use PROVIDER")
    } else {
        repl.signed_in_nowhere()
    })
}

/// What is asked of a provider when nothing else is said: something that costs nothing and that nobody else
/// notices.
fn usual_request(repl: &Repl, provider: &str) -> Result<(String, Option<Value>), Problem> {
    let path = match provider {
        "anthropic" | "openai" => "/v1/models",
        "google" => "/v1beta/models",
        "github-copilot" => "/models",
        "orange" if repl.host.simulation(provider).is_ok() => return Ok(short_message()),
        "orange" => {
            let text = "a call of orange sends a message, say which: call PATH BODY";
            return Err(Problem::new(text).advice("only a simulated one is sent hello"));
        }
        _ => return Err(Problem::new(format!("{provider} is not built in, write: call PATH"))),
    };
    Ok((path.to_owned(), None))
}

fn short_message() -> (String, Option<Value>) {
    let path = "/smsmessaging/v1/outbound/tel%3A%2B33600000000/requests";
    let message = json!({ "outboundSMSMessageRequest": {
        "address": "tel:+33611111111",
        "senderAddress": "tel:+33600000000",
        "outboundSMSTextMessage": { "message": "hello" },
    } });
    (path.to_owned(), Some(message))
}

fn requests_so_far(repl: &Repl, provider: &str) -> usize {
    repl.host.simulation(provider).map_or(0, |provider| provider.requests().len())
}

/// The headers of the request in their order: as they came in where the provider is simulated, as
/// the credential gives them where it is real.
fn carried(repl: &Repl, ours: &HeaderMap, provider: &str, seen: usize) -> String {
    let arrived = repl.host.simulation(provider).ok().and_then(|provider| {
        let requests = provider.requests().into_iter().skip(seen);
        requests.filter(|request| is_call(request.endpoint)).last()
    });
    let headers = arrived.map_or_else(|| ours.clone(), |request| request.headers);
    let rows: Vec<_> = headers
        .iter()
        .filter(|(name, _)| *name != HOST)
        .map(|(name, value)| {
            let value = shown(ours, name, &String::from_utf8_lossy(value.as_bytes()));
            vec![cell(Tone::Faint, format!("  {name}")), cell(Tone::Plain, value)]
        })
        .collect();
    repl.palette.table(&rows)
}

/// Whether a request there is one of the caller's, not one for a token.
fn is_call(endpoint: Endpoint) -> bool {
    matches!(endpoint, Endpoint::Resource | Endpoint::Other)
}

/// The value of a header, unless it may hold a secret: one that the credential did not give when it
/// was asked may be of another credential, which took its place.
fn shown(ours: &HeaderMap, name: &HeaderName, value: &str) -> String {
    let plain = ours.get(name).map(|value| !value.is_sensitive());
    if plain.unwrap_or(OF_EVERY_REQUEST.contains(name)) {
        return value.to_owned();
    }
    match value.split_once(' ') {
        Some((scheme, _)) => format!("{scheme} [redacted]"),
        None => "[redacted]".to_owned(),
    }
}

/// The beginning of an answer, in one line.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let clean: String = line.chars().filter(|char| !char.is_control()).collect();
    if clean.chars().count() <= SHOWN {
        return clean;
    }
    let beginning: String = clean.chars().take(SHOWN).collect();
    format!("{beginning}…")
}
