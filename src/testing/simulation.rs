//! The simulated provider without its sockets: a request and a moment go in, an answer comes out.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;

use super::answer::Answer;
use super::devices::Decision;
use super::dialect::{Desk, Dialect, Fields, Refusal, Registration};
use super::kept::KeptIn;
use super::ledger::{Consent, Ledger};
use super::mint::Mint;
use super::resources::Resources;
use super::{Counters, Endpoint, Fault, Faults, RecordedRequest};
use crate::clock::{Moment, Sources};
use crate::secret::Secret;

/// So many requests are remembered; the counters count them all.
const REMEMBERED: usize = 20_000;

/// The size of [`Fault::Huge`].
const HUGE: usize = 10 * 1024 * 1024;

pub(super) struct Simulation {
    pub(super) dialect: Box<dyn Dialect>,
    pub(super) registration: Registration,
    pub(super) sources: Sources,
    pub(super) faults: Faults,
    mint: Mint,
    state: Mutex<State>,
    counters: watch::Sender<Counters>,
}

struct State {
    memory: Memory,
    kept_in: Option<KeptIn>,
    requests: VecDeque<RecordedRequest>,
}

/// What a provider knows when it comes back after a restart.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Whose it is, as the catalogue has it.
    pub(super) provider: String,
    pub(super) ledger: Ledger,
    pub(super) account: String,
    /// What was made with the tokens.
    #[serde(default)]
    pub(super) resources: Resources,
}

/// What follows from a user's consent.
pub(super) struct Approval {
    pub(super) redirect_uri: String,
    pub(super) code: String,
    pub(super) state: String,
    /// Whether the redirect URI is the page that shows the code.
    pub(super) manual: bool,
}

impl Approval {
    /// Where the browser is sent.
    pub(super) fn callback(&self) -> String {
        callback(&self.redirect_uri, &[("code", &self.code), ("state", &self.state)])
    }

    /// What the user copies: what the page shows, or else the address of the browser.
    pub(super) fn pasted(&self) -> String {
        if self.manual { format!("{}#{}", self.code, self.state) } else { self.callback() }
    }
}

/// `redirect_uri` with `parameters` (RFC 6749 §4.1.2).
fn callback(redirect_uri: &str, parameters: &[(&str, &str)]) -> String {
    let query =
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    format!("{redirect_uri}?{query}")
}

impl Simulation {
    pub(super) fn new(
        dialect: Box<dyn Dialect>,
        registration: Registration,
        sources: Sources,
        canary: String,
        memory: Memory,
    ) -> Self {
        Self {
            dialect,
            registration,
            mint: Mint::new(sources.entropy.clone(), canary),
            sources,
            faults: Faults::new(),
            counters: watch::Sender::new(memory.ledger.counters),
            state: Mutex::new(State { memory, kept_in: None, requests: VecDeque::new() }),
        }
    }

    /// Writes what the provider knows to a file, from now on each time that it changes.
    pub(super) fn keep_in(&mut self, mut file: KeptIn) -> io::Result<()> {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        file.write(&state.memory)?;
        state.kept_in = Some(file);
        Ok(())
    }

    /// Notes a request that came in, and tells which fault befalls it.
    pub(super) fn receive(&self, request: &RecordedRequest) -> Option<Fault> {
        let fault = self.faults.take(request.endpoint);
        self.change(|state| {
            let counters = &mut state.memory.ledger.counters;
            match request.endpoint {
                Endpoint::Token => counters.token_requests += 1,
                Endpoint::Revocation => counters.revocation_requests += 1,
                _ if request.is_look() => counters.looks += 1,
                Endpoint::Resource => counters.resource_requests += 1,
                Endpoint::Authorization | Endpoint::Device | Endpoint::Other => {}
            }
            counters.faults += usize::from(fault.is_some());
            if state.requests.len() == REMEMBERED {
                state.requests.pop_front();
            }
            state.requests.push_back(request.clone());
        });
        fault
    }

    /// What is answered in place of carrying the request out, if `fault` is of that kind.
    pub(super) fn answer_instead(&self, endpoint: Endpoint, fault: &Fault) -> Option<Answer> {
        Some(match fault {
            Fault::Status(status, body) => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::IM_A_TEAPOT);
                Answer::declared_json(status, body.clone())
            }
            Fault::RateLimited { retry_after } => {
                asking_for_patience(self.dialect.rate_limit(endpoint), *retry_after)
            }
            Fault::Unavailable { retry_after } => {
                let answer = Answer::declared_json(StatusCode::SERVICE_UNAVAILABLE, "{}");
                asking_for_patience(answer, *retry_after)
            }
            Fault::ServerErrorInvalidGrant => Answer::json(
                StatusCode::INTERNAL_SERVER_ERROR,
                &json!({ "error": "invalid_grant", "error_description": "database is down" }),
            ),
            Fault::Html200 => {
                let page = "<!doctype html><title>Welcome</title><p>Accept the terms to go online.";
                Answer::html(StatusCode::OK, page.to_owned())
            }
            Fault::Huge => {
                let body = format!(r#"{{"access_token":"{}"}}"#, "a".repeat(HUGE));
                Answer::declared_json(StatusCode::OK, body)
            }
            _ => return None,
        })
    }

    /// Carries the request out.
    pub(super) fn answer(&self, request: &RecordedRequest, fault: Option<&Fault>) -> Answer {
        let answer = self.memory(|memory| self.carry_out(memory, request, fault));
        match fault {
            Some(Fault::SetField(name, value)) => answer.edited(|members| {
                members.insert(name.clone(), value.clone());
            }),
            Some(Fault::RemoveField(name)) => answer.edited(|members| {
                members.remove(name);
            }),
            _ => answer,
        }
    }

    fn carry_out(
        &self,
        memory: &mut Memory,
        request: &RecordedRequest,
        fault: Option<&Fault>,
    ) -> Answer {
        if request.endpoint == Endpoint::Authorization && request.method == Method::GET {
            return if request.path == self.dialect.paths().verification {
                self.verification_page(memory, request)
            } else {
                self.consent_page(memory, request)
            };
        }
        let mut desk = Desk {
            request,
            registration: &self.registration,
            ledger: &mut memory.ledger,
            resources: &mut memory.resources,
            mint: &self.mint,
            now: self.sources.now(),
            omit_refresh_token: matches!(fault, Some(Fault::OmitRefreshToken)),
        };
        let answer = match request.endpoint {
            Endpoint::Token | Endpoint::Revocation | Endpoint::Device
                if request.method != Method::POST =>
            {
                Err(Refusal::Method)
            }
            Endpoint::Device => self.dialect.device(&mut desk),
            Endpoint::Token => self.dialect.token(&mut desk),
            Endpoint::Revocation => self.dialect.revoke(&mut desk),
            Endpoint::Resource => self.dialect.resource(&mut desk),
            Endpoint::Authorization => Err(Refusal::Method),
            Endpoint::Other => Err(Refusal::Path),
        };
        answer.unwrap_or_else(|refusal| {
            tracing::debug!(provider = self.dialect.name(), %refusal, "request refused");
            memory.ledger.counters.refusals += usize::from(!request.is_look());
            self.dialect.refuse(request.endpoint, &refusal)
        })
    }

    /// The user opens the authorization endpoint with `query`, and agrees.
    pub(super) fn approve(&self, query: &str) -> Result<Approval, Refusal> {
        self.change(|state| self.consent(&mut state.memory, query))
    }

    /// The user opens the authorization endpoint with `query`, and declines. Gives what the
    /// browser is sent to (RFC 6749 §4.1.2.1).
    pub(super) fn deny(&self, query: &str) -> Result<String, Refusal> {
        let fields = Fields::form(query.as_bytes())?;
        self.check_authorization(&fields)?;
        let parameters = [("error", "access_denied"), ("state", fields.require("state")?)];
        Ok(callback(fields.require("redirect_uri")?, &parameters))
    }

    /// The user types `user_code`, and agrees or declines. False: there is no such code to decide
    /// about.
    pub(super) fn decide_device(&self, user_code: &str, agrees: bool) -> bool {
        let now = self.sources.now();
        self.memory(|memory| memory.decide_device(user_code, agrees, now))
    }

    pub(super) fn issue_api_key(&self) -> Option<Secret> {
        let (prefix, length) = self.dialect.api_key_shape()?;
        let key = Secret::from(self.mint.token(prefix, length));
        self.memory(|memory| memory.ledger.add_api_key(key.expose()));
        Some(key)
    }

    pub(super) fn issue_assertion(&self, lifetime: Duration) -> Secret {
        let now = self.sources.now();
        let since = now.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let claims = json!({ "iss": "https://issuer.example", "sub": "workload",
            "iat": since.as_secs(), "exp": since.saturating_add(lifetime).as_secs() });
        let assertion = Secret::from(self.mint.jwt(&claims, 600));
        self.memory(|memory| memory.ledger.add_assertion(assertion.expose(), now.after(lifetime)));
        assertion
    }

    /// Looks at or changes what the provider knows.
    pub(super) fn memory<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        self.change(|state| change(&mut state.memory))
    }

    pub(super) fn requests(&self) -> Vec<RecordedRequest> {
        self.state().requests.iter().cloned().collect()
    }

    /// The counters, and each change of them.
    pub(super) fn counters(&self) -> watch::Receiver<Counters> {
        self.counters.subscribe()
    }

    /// The page that a browser gets which opens the authorization endpoint: this user agrees at
    /// once.
    fn consent_page(&self, memory: &mut Memory, request: &RecordedRequest) -> Answer {
        match self.consent(memory, request.query.as_deref().unwrap_or_default()) {
            Ok(approval) if approval.manual => page(StatusCode::OK, &approval.pasted()),
            Ok(approval) => {
                Answer::empty(StatusCode::FOUND).with_header(header::LOCATION, &approval.callback())
            }
            Err(refusal) => {
                memory.ledger.counters.refusals += 1;
                page(StatusCode::BAD_REQUEST, &format!("the request is refused: {refusal}"))
            }
        }
    }

    /// The page at which a user types the code of another device; with the code in the query, this
    /// user agrees at once.
    fn verification_page(&self, memory: &mut Memory, request: &RecordedRequest) -> Answer {
        let query = Fields::form(request.query.as_deref().unwrap_or_default().as_bytes());
        let fields = query.unwrap_or_default();
        match fields.get("user_code") {
            None => page(StatusCode::OK, "add ?user_code=… to the address, and you agree"),
            Some(code) if memory.decide_device(code, true, self.sources.now()) => {
                page(StatusCode::OK, "you are signed in on the other device")
            }
            Some(_) => {
                memory.ledger.counters.refusals += 1;
                page(StatusCode::BAD_REQUEST, "there is no such code to agree to")
            }
        }
    }

    fn consent(&self, memory: &mut Memory, query: &str) -> Result<Approval, Refusal> {
        let fields = Fields::form(query.as_bytes())?;
        let renewable = self.check_authorization(&fields)?;
        let consent = Consent {
            redirect_uri: fields.require("redirect_uri")?,
            challenge: fields.require("code_challenge")?,
            state: fields.require("state")?,
        };
        let scope = fields.get("scope").unwrap_or_default();
        let grant = memory.ledger.new_grant(scope, &memory.account, renewable);
        let code = self.mint.token("code_", 43);
        memory.ledger.add_code(&code, grant, &consent, self.sources.now());
        Ok(Approval {
            code,
            manual: self.dialect.redirects().is_manual(consent.redirect_uri),
            redirect_uri: consent.redirect_uri.to_owned(),
            state: consent.state.to_owned(),
        })
    }

    /// Checks what stands in an authorization URL (RFC 6749 §4.1.1, RFC 7636 §4.3), and whether
    /// the grant can be renewed.
    fn check_authorization(&self, fields: &Fields) -> Result<bool, Refusal> {
        fields.expect("response_type", "code")?;
        if fields.require("client_id")? != self.registration.client_id {
            return Err(Refusal::Client);
        }
        let redirect_uri = fields.require("redirect_uri")?;
        let redirects = self.dialect.redirects();
        if !redirects.accept(redirect_uri, &self.registration.redirect_ports) {
            return Err(Refusal::RedirectUri);
        }
        fields.expect("code_challenge_method", "S256")?;
        if fields.require("code_challenge")?.len() != 43 {
            return Err(Refusal::Invalid("code_challenge"));
        }
        fields.require("state")?;
        self.dialect.consent(fields)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let result = change(&mut state);
        let State { memory, kept_in, .. } = &mut *state;
        if let Some(file) = kept_in
            && let Err(error) = file.write(memory)
        {
            tracing::warn!(provider = self.dialect.name(), %error, "what it knows is not kept");
        }
        self.counters.send_replace(state.memory.ledger.counters);
        result
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn decide_device(&mut self, user_code: &str, agrees: bool, now: Moment) -> bool {
        let account = self.account.clone();
        let decision = if agrees { Decision::Approved { account } } else { Decision::Denied };
        self.ledger.devices.decide(user_code, decision, now)
    }
}

/// The answer with a `Retry-After` header, where there is to be one.
fn asking_for_patience(answer: Answer, retry_after: Option<Duration>) -> Answer {
    match retry_after {
        None => answer,
        Some(after) => answer.with_header(header::RETRY_AFTER, &after.as_secs().to_string()),
    }
}

fn page(status: StatusCode, text: &str) -> Answer {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let page = format!("<!doctype html><title>Simulated provider</title><p>{text}</p>");
    Answer::html(status, page)
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("provider", &self.dialect.name())
            .field("counters", &*self.counters.borrow())
            .finish_non_exhaustive()
    }
}
