//! The providers of the simulation, in process: what each issues, what goes wrong on the way, and the
//! judgement of what it is asked. A refresh token that rotates can be used once; a second use ends the
//! grant, and is a defect of the runtime unless the answer to the first was lost.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use tokenward::clock::Clock as _;
use tokenward::identity::{Method, ProviderId};
use tokenward::oauth::{AuthorizationRequest, CodeExchange, Transport};
use tokenward::provider::{
    Exchanging, Failure, FailureClass, Grant, Provider, RedirectRules, RefreshPolicy, Renewal,
    Revocation, RevocationOutcome,
};
use tokenward::secret::Secret;
use tokenward::{Error, Snapshot};
use url::Url;

use crate::chance::Chance;
use crate::time::Time;
use crate::weather::{Fault, Weather};

/// So many requests about one grant within a minute are no storm, whatever happens.
const CALM: usize = 12;

/// How long an exchange takes at most where it is neither slow nor lost.
const LATENCY: Duration = Duration::from_millis(400);

/// When a request that is never answered is given up, as the adapters of the crate do.
const DEADLINE: Duration = Duration::from_secs(30);

/// A token that ends within this is as good as over.
const MARGIN: Duration = Duration::from_secs(2);

/// How long after somebody insisted on a new token it may still be asked for.
const INSISTENCE: Duration = Duration::from_mins(3);

/// What a provider is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Refresh tokens that can be used once, and API keys.
    Rotating,
    /// Refresh tokens that stay as they are.
    Fixed,
    /// Client credentials.
    Machine,
}

/// One provider. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Authority(Arc<Inside>);

struct Inside {
    id: ProviderId,
    kind: Kind,
    methods: Vec<Method>,
    base_url: Url,
    redirect: RedirectRules,
    lifetime: Duration,
    time: Time,
    state: Mutex<State>,
}

struct State {
    chance: Chance,
    weather: Weather,
    grants: BTreeMap<u64, Granted>,
    /// When somebody asked for something that leads to requests.
    asked: VecDeque<Duration>,
    /// When the wall clock of the client was set forward last, and when back.
    set_forward: Option<Duration>,
    set_back: Option<Duration>,
    wrong: Vec<String>,
    figures: Figures,
}

/// What was counted, to be sure that the simulation does something.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) requests: usize,
    pub(crate) faults: usize,
    pub(crate) rotations: usize,
    pub(crate) lost: usize,
    pub(crate) second_uses: usize,
    pub(crate) most_in_a_minute: usize,
}

impl Figures {
    pub(crate) fn add(&mut self, one: Self) {
        self.requests += one.requests;
        self.faults += one.faults;
        self.rotations += one.rotations;
        self.lost += one.lost;
        self.second_uses += one.second_uses;
        self.most_in_a_minute = self.most_in_a_minute.max(one.most_in_a_minute);
    }
}

/// A grant, or an API key: all that follows from one sign-in.
#[derive(Debug, Default)]
struct Granted {
    /// The number of the refresh token in force.
    refresh: u32,
    /// The newest refresh token that is known to be durable at the client.
    durable: u32,
    /// How often the answer to a use of a refresh token was lost.
    lost: BTreeMap<u32, usize>,
    /// How often a refresh token was used after it was spent.
    used_again: BTreeMap<u32, usize>,
    tokens: Vec<Issued>,
    ended: Option<End>,
    /// When somebody insisted on a new token, last.
    insisted: Option<Duration>,
    requests: VecDeque<Duration>,
}

/// An access token.
#[derive(Debug, Clone, Copy)]
struct Issued {
    at: Duration,
    ends: Duration,
    /// The refresh token that came with it.
    refresh: u32,
}

/// A token as a resource sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Presented {
    pub(crate) grant: u64,
    /// Whether the resource takes it.
    pub(crate) is_alive: bool,
    /// Whether the wall clock of the client was set back since it was issued: it may seem younger than
    /// it is then, to a process that knows it from its record alone.
    pub(crate) may_seem_alive: bool,
}

/// Why a grant is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Somebody revoked it at the provider.
    Revoked,
    /// The client did, since its user signed out.
    SignedOut,
    /// A refresh token was used twice.
    UsedAgain,
}

impl Authority {
    pub(crate) fn new(id: &str, kind: Kind, time: &Time, chance: Chance) -> Self {
        let methods = match kind {
            Kind::Rotating => vec![Method::AuthorizationCode, Method::ApiKey],
            Kind::Fixed => vec![Method::AuthorizationCode],
            Kind::Machine => vec![Method::ClientCredentials],
        };
        let lifetime = chance.pick(&[2, 5, 10, 30].map(Duration::from_mins));
        let mut redirect = RedirectRules::new("localhost", "/callback");
        redirect.manual = Some(format!("https://{id}.example/code"));
        Self(Arc::new(Inside {
            id: ProviderId::new(id).expect("a name"),
            kind,
            methods,
            base_url: format!("https://{id}.example/").parse().expect("a url"),
            redirect,
            lifetime,
            time: time.clone(),
            state: Mutex::new(State {
                chance,
                weather: Weather::default(),
                grants: BTreeMap::new(),
                asked: VecDeque::new(),
                set_forward: None,
                set_back: None,
                wrong: Vec::new(),
                figures: Figures::default(),
            }),
        }))
    }

    pub(crate) fn name(&self) -> &str {
        self.0.id.as_str()
    }

    pub(crate) fn kind(&self) -> Kind {
        self.0.kind
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// A user consents, or makes an API key: a new grant. What is pasted, or the key, is made of its
    /// number.
    pub(crate) fn consent(&self) -> u64 {
        self.state().new_grant()
    }

    /// How many grants there were ever.
    pub(crate) fn grants(&self) -> u64 {
        self.state().grants.len() as u64
    }

    /// Somebody asks for what may lead to a request.
    pub(crate) fn expect_a_request(&self) {
        let now = self.0.time.passed();
        self.state().asked.push_back(now);
    }

    /// Somebody wants a new token in place of one that may live: by force, or since it was refused.
    pub(crate) fn insist(&self, grants: impl IntoIterator<Item = u64>) {
        let now = self.0.time.passed();
        let mut state = self.state();
        grants.into_iter().for_each(|grant| state.granted(grant).insisted = Some(now));
    }

    /// The wall clock of the client is set forward: it takes the tokens that it has for older than they
    /// are.
    pub(crate) fn client_is_set_forward(&self) {
        self.state().set_forward = Some(self.0.time.passed());
    }

    /// The wall clock of the client is set back: it may take the tokens that it has for younger.
    pub(crate) fn client_is_set_back(&self) {
        self.state().set_back = Some(self.0.time.passed());
    }

    /// Ends a grant at the provider: the one thing that may sign its user out.
    pub(crate) fn revoke(&self, grant: u64) {
        self.end(grant, End::Revoked);
    }

    pub(crate) fn ended(&self, grant: u64) -> Option<End> {
        self.state().grants.get(&grant).and_then(|it| it.ended)
    }

    /// What a resource finds in `headers`.
    pub(crate) fn resource(&self, headers: &HeaderMap) -> Presented {
        let token = headers[AUTHORIZATION].to_str().expect("ours").strip_prefix("Bearer ");
        let token = token.expect("ours");
        let now = self.0.time.passed();
        let mut state = self.state();
        let set_back = state.set_back;
        let (grant, number) = parse(token);
        let granted = state.granted(grant);
        let issued = number.map(|number| granted.tokens[number as usize]);
        Presented {
            grant,
            is_alive: granted.ended.is_none() && issued.is_none_or(|issued| issued.ends > now),
            may_seem_alive: issued.is_some_and(|issued| set_back.is_some_and(|at| issued.at <= at)),
        }
    }

    /// Which grant or key of this provider stands in `headers`, if one does.
    pub(crate) fn grant_in(&self, headers: &HeaderMap) -> Option<u64> {
        let token = headers[AUTHORIZATION].to_str().expect("ours").strip_prefix("Bearer ")?;
        let (of, _) = token.split_once(':').expect("ours");
        (of == self.name()).then(|| parse(token).0)
    }

    /// The vault of the client has what `snapshot` shows.
    pub(crate) fn is_durable(&self, snapshot: &Snapshot, now: tokenward::clock::Moment) {
        let Some(headers) = snapshot.headers(now).filter(|_| snapshot.is_durable()) else { return };
        let token = headers[AUTHORIZATION].to_str().expect("ours").strip_prefix("Bearer ");
        let (grant, Some(number)) = parse(token.expect("ours")) else { return };
        let mut state = self.state();
        let granted = state.granted(grant);
        granted.durable = granted.durable.max(granted.tokens[number as usize].refresh);
    }

    /// The process of the client died: what it had not made durable is lost.
    pub(crate) fn client_died(&self) {
        for granted in self.state().grants.values_mut() {
            // With it died whoever insisted.
            granted.insisted = None;
            if granted.durable < granted.refresh && granted.ended.is_none() {
                for spent in granted.durable..granted.refresh {
                    *granted.lost.entry(spent).or_default() += 1;
                }
            }
        }
    }

    /// What the client did that it must not do.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.state().wrong.clone()
    }

    pub(crate) fn figures(&self) -> Figures {
        self.state().figures
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn end(&self, grant: u64, end: End) {
        self.state().granted(grant).ended.get_or_insert(end);
    }

    /// A request from its arrival to its answer, with all that befalls it in between. `carry_out`
    /// gives the answer, and the refresh token that it spent.
    async fn exchange<T>(
        &self,
        about: Option<u64>,
        carry_out: impl FnOnce(&mut State) -> Carried<T> + Send,
    ) -> Result<T, Failure> {
        let (fault, latency) = self.arrival(about);
        let clock = &self.0.time.clock;
        clock.wait(latency).await;
        if let Some(failure) = fault.before() {
            return Err(failure);
        }
        match fault {
            Fault::ResetBefore | Fault::HangBefore => {
                clock.wait(if fault == Fault::HangBefore { DEADLINE } else { LATENCY }).await;
                return Err(uncertain("nothing came back"));
            }
            Fault::Forgotten => std::future::pending().await,
            Fault::Slow(time) => clock.wait(time).await,
            Fault::PanicBefore => std::panic::resume_unwind(Box::new("an adapter panicked")),
            _ => {}
        }
        let Carried { answer, spent } = carry_out(&mut self.state());
        let mut lost = Lost { authority: self, spent };
        clock.wait(latency).await;
        match fault {
            Fault::LostAnswer => return Err(uncertain("the answer was lost")),
            Fault::HangAfter => {
                clock.wait(DEADLINE).await;
                return Err(uncertain("the answer did not come"));
            }
            Fault::Torn => {
                let text = "the answer ends in the middle";
                return Err(Failure::new(FailureClass::Protocol, text));
            }
            Fault::PanicAfter => std::panic::resume_unwind(Box::new("an adapter panicked")),
            _ => {}
        }
        lost.spent = None;
        answer
    }

    /// Counts a request, judges how often they come, and draws what befalls it.
    fn arrival(&self, about: Option<u64>) -> (Fault, Duration) {
        let now = self.0.time.passed();
        let minute = now.saturating_sub(Duration::from_mins(1));
        let mut state = self.state();
        state.figures.requests += 1;
        while state.asked.front().is_some_and(|at| *at < minute) {
            state.asked.pop_front();
        }
        let most = CALM + 2 * state.asked.len();
        if let Some(granted) = about.and_then(|grant| state.grants.get_mut(&grant)) {
            granted.requests.push_back(now);
            while granted.requests.front().is_some_and(|at| *at < minute) {
                granted.requests.pop_front();
            }
            let count = granted.requests.len();
            if count > most {
                let text = format!("a storm: {count} requests about {about:?} within a minute");
                state.wrong.push(text);
            }
            state.figures.most_in_a_minute = state.figures.most_in_a_minute.max(count);
        }
        let fault = state.weather.draw(&state.chance);
        state.figures.faults += usize::from(fault != Fault::None);
        (fault, state.chance.time(LATENCY))
    }

    fn grant(&self, state: &mut State, grant: u64, fresh: Option<u32>) -> Grant {
        let short = state.weather.shortens(&state.chance);
        let lifetime = if short { Duration::ZERO } else { self.0.lifetime };
        let now = self.0.time.passed();
        let granted = state.granted(grant);
        granted.refresh = fresh.unwrap_or(granted.refresh);
        let (number, refresh) = (granted.tokens.len(), granted.refresh);
        granted.tokens.push(Issued { at: now, ends: now + lifetime, refresh });
        let access = format!("{}:a-{grant}-{number}", self.0.id);
        let new = Grant::new(access, self.0.time.clock.now())
            .with_lifetime(lifetime)
            .with_account(grant.to_string());
        match self.0.kind {
            Kind::Machine => new,
            Kind::Rotating if fresh.is_none() => new,
            Kind::Rotating | Kind::Fixed => new.with_refresh_token(format!("r-{grant}-{refresh}")),
        }
    }

    fn carry_out_renewal(
        &self,
        state: &mut State,
        grant: u64,
        used: Option<u32>,
    ) -> Carried<Grant> {
        let set_forward = state.set_forward;
        let granted = state.granted(grant);
        if granted.ended.is_some() {
            return Carried::refused();
        }
        let Some(used) = used.filter(|_| self.0.kind == Kind::Rotating) else {
            return Carried { answer: Ok(self.grant(state, grant, None)), spent: None };
        };
        if used < granted.refresh {
            let again = granted.used_again.entry(used).or_default();
            *again += 1;
            let lost = granted.lost.get(&used).copied().unwrap_or_default();
            let (again, durable) = (*again, granted.durable);
            granted.ended = Some(End::UsedAgain);
            let now = self.0.time.passed();
            let token = granted.tokens.iter().rfind(|issued| issued.refresh == used);
            let seems_alive = |issued: &Issued| {
                issued.ends > now + MARGIN && set_forward.is_none_or(|at| issued.at > at)
            };
            let insisted = granted.insisted.is_some_and(|at| now < at + INSISTENCE);
            if token.is_some_and(seems_alive) && !insisted {
                let text = format!("r-{grant}-{used} was used again while nobody needed that");
                state.wrong.push(text);
            }
            state.figures.second_uses += 1;
            if again > lost || used < durable {
                let text = format!(
                    "a second use of r-{grant}-{used}, of which {lost} answers were lost, while \
                     r-{grant}-{durable} was durable"
                );
                state.wrong.push(text);
            }
            return Carried::refused();
        }
        let omits = state.weather.omits_refresh_token(&state.chance);
        state.figures.rotations += 1;
        let answer = Ok(self.grant(state, grant, (!omits).then_some(used + 1)));
        Carried { answer, spent: (!omits).then_some((grant, used)) }
    }
}

/// What became of a request that was carried out.
struct Carried<T> {
    answer: Result<T, Failure>,
    /// A grant, and the refresh token of it that is spent now.
    spent: Option<(u64, u32)>,
}

impl<T> Carried<T> {
    fn refused() -> Self {
        let failure = Failure::new(FailureClass::ReauthorizationRequired, "invalid_grant");
        Self { answer: Err(failure), spent: None }
    }
}

/// Notes that an answer was lost, by whatever way it was.
struct Lost<'a> {
    authority: &'a Authority,
    spent: Option<(u64, u32)>,
}

impl Drop for Lost<'_> {
    fn drop(&mut self) {
        let Some((grant, spent)) = self.spent else { return };
        let mut state = self.authority.state();
        *state.granted(grant).lost.entry(spent).or_default() += 1;
        state.figures.lost += 1;
    }
}

impl State {
    fn new_grant(&mut self) -> u64 {
        let number = self.grants.len() as u64;
        self.grants.insert(number, Granted::default());
        number
    }

    fn granted(&mut self, grant: u64) -> &mut Granted {
        self.grants.get_mut(&grant).expect("it was granted here")
    }
}

impl Provider for Authority {
    fn id(&self) -> &ProviderId {
        &self.0.id
    }

    fn methods(&self) -> &[Method] {
        &self.0.methods
    }

    fn base_url(&self) -> &Url {
        &self.0.base_url
    }

    fn refresh_policy(&self) -> RefreshPolicy {
        RefreshPolicy::default()
    }

    fn check_api_key(&self, _: &Secret) -> Result<(), Error> {
        Ok(())
    }

    fn headers(&self, _: Method, secret: &Secret) -> Result<HeaderMap, Error> {
        let mut value =
            HeaderValue::from_str(&format!("Bearer {}", secret.expose())).expect("plain text");
        value.set_sensitive(true);
        Ok(HeaderMap::from_iter([(AUTHORIZATION, value)]))
    }

    fn redirect(&self) -> Option<&RedirectRules> {
        (self.0.kind != Kind::Machine).then_some(&self.0.redirect)
    }

    fn authorization_url(&self, request: &AuthorizationRequest<'_>) -> Result<String, Error> {
        Ok(format!("{}authorize?state={}", self.0.base_url, request.state.expose()))
    }

    fn exchange_code<'a>(
        &'a self,
        _: &'a Transport,
        exchange: CodeExchange<'a>,
    ) -> Exchanging<'a, Grant> {
        let grant = parse(exchange.code.expose()).0;
        Box::pin(self.exchange(None, move |state| {
            let fresh = Some(state.granted(grant).refresh);
            Carried { answer: Ok(self.grant(state, grant, fresh)), spent: None }
        }))
    }

    fn renew<'a>(&'a self, _: &'a Transport, renewal: Renewal<'a>) -> Exchanging<'a, Grant> {
        let used = renewal.refresh_token.map(|token| parse(token.expose()));
        let in_force = renewal.in_force.map(|token| parse(token.access_token.expose()).0);
        let about = used.map(|(grant, _)| grant).or(in_force);
        Box::pin(self.exchange(about, move |state| {
            let grant = about.unwrap_or_else(|| state.new_grant());
            self.carry_out_renewal(state, grant, used.and_then(|(_, number)| number))
        }))
    }

    fn revoke<'a>(
        &'a self,
        _: &'a Transport,
        revocation: Revocation<'a>,
    ) -> Exchanging<'a, RevocationOutcome> {
        let (grant, _) = parse(revocation.access_token.expose());
        Box::pin(self.exchange(None, move |state| {
            state.granted(grant).ended.get_or_insert(End::SignedOut);
            Carried { answer: Ok(RevocationOutcome::Revoked), spent: None }
        }))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authority").field(&self.0.id).finish()
    }
}

fn uncertain(text: &str) -> Failure {
    Failure::new(FailureClass::Uncertain, text)
}

/// The grant of a token, a code or a key, and the number of the token.
fn parse(token: &str) -> (u64, Option<u32>) {
    let token = token.rsplit(':').next().unwrap_or_default();
    let mut parts = token.split('-').skip(1);
    let grant = parts.next().and_then(|text| text.parse().ok()).expect("a token of ours");
    (grant, parts.next().map(|text| text.parse().expect("a token of ours")))
}
