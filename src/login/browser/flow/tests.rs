//! One test for each promise of a sign-in, and one that tries everything in any order.

use std::collections::BTreeMap;
use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;
use crate::login::verdict::over;
use crate::provider::FailureClass;

const STATE: &str = "the-state";
const REDIRECT: &str = "http://localhost:1455/auth/callback";

fn at(seconds: u64) -> Moment {
    let start = Moment { wall: SystemTime::UNIX_EPOCH, monotonic: Duration::ZERO };
    start.after(Duration::from_secs(seconds))
}

fn flow() -> Flow<u32> {
    Flow::new(Terms {
        state: Secret::new(STATE),
        redirect_uri: REDIRECT.to_owned(),
        pkce: true,
        issuer: None,
        expires_at: at(0).after(EXPIRES_AFTER),
    })
}

fn response(query: &str) -> AuthorizationResponse {
    AuthorizationResponse::from_query(query).expect("a response")
}

fn redirected(query: &str, by: u32) -> Event<u32> {
    Event::Submitted { answer: Submission::Redirected(response(query)), by }
}

fn pasted(text: &str, by: u32) -> Event<u32> {
    Event::Submitted { answer: Submission::Pasted(text.parse().expect("readable")), by }
}

fn grant() -> Grant {
    Grant {
        access_token: Secret::new("access"),
        refresh_token: None,
        lifetime: None,
        requested_at: at(0),
        server_date: None,
        scopes: None,
        account: None,
    }
}

const TRANSIENT: FailureClass = FailureClass::Transient { retry_after: None };

fn failed(class: FailureClass) -> Result<Grant, Failure> {
    Err(Failure::new(class, "it did not work"))
}

fn not_sent() -> Failure {
    Failure::new(TRANSIENT, "nobody there").not_sent()
}

/// Effects as short words, for whole comparisons.
fn words(effects: &[Effect<u32>]) -> Vec<String> {
    let word = |effect: &Effect<u32>| match effect {
        Effect::Exchange { attempt, code } => format!("exchange {attempt} {}", code.expose()),
        Effect::GiveBack(_) => "give back".to_owned(),
        Effect::Store { after, .. } => format!("store after {}ms", after.as_millis()),
        Effect::Tell(by, verdict) => {
            let verdict = format!("{verdict:?}");
            let name = verdict.split(|c: char| !c.is_alphanumeric()).next();
            format!("tell {by} {}", name.unwrap_or_default())
        }
        Effect::Finish(Ok(())) => "finish signed in".to_owned(),
        Effect::Finish(Err(error)) => format!("finish {:?}", error.kind()),
    };
    effects.iter().map(word).collect()
}

fn step(flow: &mut Flow<u32>, event: Event<u32>) -> Vec<String> {
    words(&flow.step(event, at(1)))
}

#[test]
fn the_browser_comes_back_and_the_user_is_signed_in() {
    let mut flow = flow();
    let query = format!("code=abc&state={STATE}");
    assert_eq!(step(&mut flow, redirected(&query, 1)), ["exchange 1 abc"]);
    let exchanged = Event::Exchanged { attempt: 1, result: Ok(grant()) };
    assert_eq!(step(&mut flow, exchanged), ["store after 0ms"]);
    let stored = step(&mut flow, Event::Stored(Ok(())));
    assert_eq!(stored, ["finish signed in", "tell 1 SignedIn"]);
    assert_eq!(step(&mut flow, redirected(&query, 2)), ["tell 2 Over"]);
}

#[test]
fn a_code_is_taken_from_a_paste_with_or_without_its_state() {
    for text in
        ["abc", "abc#the-state", "http://localhost:1455/auth/callback?code=abc&state=the-state"]
    {
        assert_eq!(step(&mut flow(), pasted(text, 1)), ["exchange 1 abc"], "{text}");
    }
}

/// C-ST-1 and C-LB-3: another state, and an address that is not the redirect URI.
#[test]
fn an_answer_to_another_sign_in_is_refused_and_this_one_goes_on_waiting() {
    let mut flow = flow();
    assert_eq!(step(&mut flow, redirected("code=abc&state=other", 1)), ["tell 1 WrongState"]);
    assert_eq!(step(&mut flow, redirected("code=abc", 2)), ["tell 2 WrongState"]);
    assert_eq!(step(&mut flow, redirected("error=access_denied", 3)), ["tell 3 WrongState"]);
    assert_eq!(step(&mut flow, pasted("abc#other", 4)), ["tell 4 WrongState"]);
    assert_eq!(step(&mut flow, pasted("?code=abc&state=other", 5)), ["tell 5 WrongState"]);
    assert_eq!(step(&mut flow, pasted("?code=abc", 6)), ["tell 6 WrongState"]);
    let elsewhere = format!("http://localhost:1455/other?code=abc&state={STATE}");
    assert_eq!(step(&mut flow, pasted(&elsewhere, 7)), ["tell 7 WrongAddress"]);
    assert_eq!(step(&mut flow, pasted("abc#the-state", 8)), ["exchange 1 abc"]);
}

#[test]
fn a_second_answer_is_told_that_the_first_is_being_worked_on() {
    let mut flow = flow();
    step(&mut flow, pasted("abc", 1));
    assert_eq!(step(&mut flow, pasted("abc", 2)), ["tell 2 InProgress"]);
    assert_eq!(step(&mut flow, pasted("abc#other", 3)), ["tell 3 WrongState"]);
    step(&mut flow, Event::Exchanged { attempt: 1, result: Ok(grant()) });
    let query = format!("error=access_denied&state={STATE}");
    assert_eq!(step(&mut flow, redirected(&query, 4)), ["tell 4 InProgress"]);
}

#[test]
fn a_refusal_with_the_right_state_ends_the_sign_in() {
    for (code, kind) in [
        ("access_denied", "ReauthorizationRequired"),
        ("temporarily_unavailable", "Transient"),
        ("invalid_scope", "Configuration"),
    ] {
        let effects = step(&mut flow(), redirected(&format!("error={code}&state={STATE}"), 1));
        assert_eq!(effects, [format!("finish {kind}"), "tell 1 Refused".to_owned()]);
    }
}

#[test]
fn an_answer_from_another_issuer_ends_the_sign_in_and_its_code_goes_nowhere() {
    for iss in ["", "&iss=https://evil.example"] {
        let mut flow = flow();
        flow.terms.issuer = Some("https://idp.example".to_owned());
        let effects = step(&mut flow, redirected(&format!("code=abc&state={STATE}{iss}"), 1));
        assert_eq!(effects, ["finish Protocol", "tell 1 Failed"]);
    }
    let mut flow = flow();
    flow.terms.issuer = Some("https://idp.example".to_owned());
    let query = format!("code=abc&state={STATE}&iss=https://idp.example");
    assert_eq!(step(&mut flow, redirected(&query, 1)), ["exchange 1 abc"]);
}

#[test]
fn where_the_issuer_has_to_be_named_a_bare_code_is_not_enough() {
    let mut flow = flow();
    flow.terms.issuer = Some("https://idp.example".to_owned());
    for text in ["abc".to_owned(), format!("abc#{STATE}")] {
        assert_eq!(step(&mut flow, pasted(&text, 1)), ["tell 1 WrongAddress"]);
    }
    let address = format!("?code=abc&state={STATE}&iss=https://idp.example");
    assert_eq!(step(&mut flow, pasted(&address, 2)), ["exchange 1 abc"]);
}

#[test]
fn a_code_that_was_not_sent_may_be_tried_again() {
    let mut flow = flow();
    step(&mut flow, pasted("abc", 1));
    let effects = step(&mut flow, Event::Exchanged { attempt: 1, result: Err(not_sent()) });
    assert_eq!(effects, ["tell 1 TryAgain"]);
    assert_eq!(step(&mut flow, pasted("abc", 2)), ["exchange 2 abc"]);
    let late = Event::Exchanged { attempt: 1, result: Ok(grant()) };
    assert_eq!(step(&mut flow, late), ["give back"], "the result of an earlier attempt");
}

#[test]
fn a_code_that_was_sent_in_vain_ends_the_sign_in() {
    for (class, kind) in [
        (FailureClass::ReauthorizationRequired, "ReauthorizationRequired"),
        (FailureClass::Misconfigured, "Configuration"),
        (FailureClass::Protocol, "Protocol"),
        (FailureClass::Uncertain, "Uncertain"),
        (TRANSIENT, "Transient"),
        (FailureClass::RateLimited { retry_after: None }, "RateLimited"),
    ] {
        let mut flow = flow();
        step(&mut flow, pasted("abc#the-state", 1));
        let effects = step(&mut flow, Event::Exchanged { attempt: 1, result: failed(class) });
        assert_eq!(effects, [format!("finish {kind}"), "tell 1 Failed".to_owned()]);
    }
}

#[test]
fn a_sign_in_expires_while_it_waits_for_the_user_only() {
    let mut flow = flow();
    step(&mut flow, pasted("abc", 1));
    assert!(step(&mut flow, Event::DeadlineReached).is_empty(), "the provider is being asked");
    let result = Err(not_sent());
    let effects = flow.step(Event::Exchanged { attempt: 1, result }, at(600));
    assert_eq!(words(&effects), ["finish Expired", "tell 1 Failed"]);

    let mut flow = self::flow();
    assert!(step(&mut flow, Event::DeadlineReached).is_empty(), "it rang too early");
    assert_eq!(words(&flow.step(Event::DeadlineReached, at(600))), ["finish Expired"]);
    let effects = self::flow().step(pasted("abc", 1), at(600));
    assert_eq!(words(&effects), ["finish Expired", "tell 1 Over"], "before the alarm rang");
}

#[test]
fn a_grant_is_handed_over_again_when_that_may_help_and_never_for_ever() {
    let mut flow = flow();
    step(&mut flow, pasted("abc", 1));
    step(&mut flow, Event::Exchanged { attempt: 1, result: Ok(grant()) });
    let stored = || Event::Stored(Err(Error::new(ErrorKind::Interrupted, "restarting")));
    assert_eq!(step(&mut flow, stored()), ["store after 250ms"]);
    assert_eq!(step(&mut flow, stored()), ["store after 500ms"]);
    assert_eq!(step(&mut flow, stored()), ["store after 750ms"]);
    let given_up = ["give back", "finish Interrupted", "tell 1 Failed"];
    assert_eq!(step(&mut flow, stored()), given_up);
}

#[test]
fn a_grant_that_was_overtaken_is_not_handed_over_again() {
    let mut flow = flow();
    step(&mut flow, pasted("abc", 1));
    step(&mut flow, Event::Exchanged { attempt: 1, result: Ok(grant()) });
    let overtaken = Event::Stored(Err(Error::new(ErrorKind::Expired, "overtaken")));
    assert_eq!(step(&mut flow, overtaken), ["finish Expired", "tell 1 Failed"]);
}

#[test]
fn cancelling_ends_a_sign_in_until_its_grant_exists() {
    assert_eq!(step(&mut flow(), Event::Cancelled), ["finish Expired"]);
    let mut flow = flow();
    step(&mut flow, pasted("abc", 1));
    assert_eq!(step(&mut flow, Event::Cancelled), ["finish Expired", "tell 1 Failed"]);
    let late = Event::Exchanged { attempt: 1, result: Ok(grant()) };
    assert_eq!(step(&mut flow, late), ["give back"]);

    let mut flow = self::flow();
    step(&mut flow, pasted("abc", 1));
    step(&mut flow, Event::Exchanged { attempt: 1, result: Ok(grant()) });
    assert!(step(&mut flow, Event::Cancelled).is_empty());
    assert_eq!(step(&mut flow, Event::Stored(Ok(()))), ["finish signed in", "tell 1 SignedIn"]);
}

#[test]
fn a_bare_code_that_was_typed_wrong_may_be_typed_again() {
    let mut flow = flow();
    for (attempt, code) in (1..5).zip(["a", "b", "c", "d"]) {
        assert_eq!(step(&mut flow, pasted(code, attempt)), [format!("exchange {attempt} {code}")]);
        let refused = Event::Exchanged { attempt, result: over_with() };
        assert_eq!(step(&mut flow, refused), [format!("tell {attempt} TryAgain")]);
        assert_eq!(step(&mut flow, pasted(code, 9)), ["tell 9 TryAgain"], "never a second time");
        assert_eq!(step(&mut flow, pasted(&format!("{code}#the-state"), 9)), ["tell 9 TryAgain"]);
    }
    assert_eq!(step(&mut flow, pasted("e", 5)), ["exchange 5 e"]);
    let refused = Event::Exchanged { attempt: 5, result: over_with() };
    let end = ["finish ReauthorizationRequired", "tell 5 Failed"];
    assert_eq!(step(&mut flow, refused), end, "nobody tries codes out");
}

#[test]
fn a_code_that_came_with_its_state_was_copied_right_and_its_refusal_is_the_end() {
    for text in ["abc#the-state", "?code=abc&state=the-state"] {
        let mut flow = flow();
        step(&mut flow, pasted(text, 1));
        let refused = Event::Exchanged { attempt: 1, result: over_with() };
        let end = ["finish ReauthorizationRequired", "tell 1 Failed"];
        assert_eq!(step(&mut flow, refused), end, "{text}");
    }
}

#[test]
fn a_grant_that_comes_after_the_end_is_given_back() {
    let mut flow = flow();
    step(&mut flow, pasted("abc", 1));
    step(&mut flow, Event::Cancelled);
    let granted = Event::Exchanged { attempt: 1, result: Ok(grant()) };
    assert_eq!(step(&mut flow, granted), ["give back"]);
}

fn over_with() -> Result<Grant, Failure> {
    failed(FailureClass::ReauthorizationRequired)
}

/// What the outside world may do, in any order.
#[derive(Debug, Clone)]
enum Act {
    Redirect { right_state: bool, refuses: bool },
    Paste(&'static str),
    ExchangeEnds { late: bool, how: Option<Failure> },
    StoreEnds { how: Option<ErrorKind> },
    Deadline,
    Cancel,
    Wait(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let sent = |class| Failure::new(class, "it did not work");
    let failure = prop::option::of(prop::sample::select(vec![
        not_sent(),
        sent(TRANSIENT),
        sent(FailureClass::RateLimited { retry_after: None }),
        sent(FailureClass::ReauthorizationRequired),
        sent(FailureClass::Uncertain),
    ]));
    let kind = prop::option::of(prop::sample::select(vec![
        ErrorKind::Interrupted,
        ErrorKind::VaultLocked,
        ErrorKind::Expired,
    ]));
    let text = prop::sample::select(vec![
        "abc",
        "abd",
        "abe",
        "abf",
        "abg",
        "abh",
        "abc#the-state",
        "abc#other",
        "?code=abc",
    ]);
    prop::collection::vec(
        prop_oneof![
            (any::<bool>(), prop::bool::weighted(0.1))
                .prop_map(|(right_state, refuses)| Act::Redirect { right_state, refuses }),
            text.prop_map(Act::Paste),
            (prop::bool::weighted(0.1), failure)
                .prop_map(|(late, how)| Act::ExchangeEnds { late, how }),
            kind.prop_map(|how| Act::StoreEnds { how }),
            Just(Act::Deadline),
            Just(Act::Cancel),
            (0_u64..400).prop_map(Act::Wait),
        ],
        1..40,
    )
}

/// What a bystander can see of a sign-in, with the promises it checks at every step.
#[derive(Default)]
struct Bystander {
    told: BTreeMap<u32, usize>,
    /// The exchange under way, and its code.
    exchanging: Option<(u32, String)>,
    /// The codes that the provider may have.
    sent: Vec<String>,
    storing: bool,
    /// Grants that were issued, that whoever stores them took over, and that were given back.
    granted: usize,
    taken: usize,
    given_back: usize,
    finished: usize,
}

impl Bystander {
    fn see(&mut self, effects: &[Effect<u32>]) {
        for effect in effects {
            match effect {
                Effect::Exchange { attempt, code } => {
                    let code = code.expose().to_owned();
                    assert!(!self.sent.contains(&code), "a code is never sent a second time");
                    assert!(self.sent.len() < MOST_CODES, "nobody tries codes out");
                    assert_eq!(self.finished, 0, "nothing is sent after the end");
                    let before = self.exchanging.replace((*attempt, code));
                    assert!(before.is_none(), "one exchange at a time");
                }
                Effect::Store { .. } => {
                    assert!(!self.storing, "stored once, after an exchange");
                    self.storing = true;
                }
                Effect::GiveBack(_) => self.given_back += 1,
                Effect::Tell(by, _) => *self.told.entry(*by).or_default() += 1,
                Effect::Finish(_) => self.finished += 1,
            }
        }
    }
}

proptest! {
    #[test]
    fn in_any_order_codes_are_sent_once_and_everyone_is_told(acts in acts()) {
        let (mut flow, mut seen) = (flow(), Bystander::default());
        let (mut now, mut submitted) = (at(0), 0);
        for act in acts {
            let event = match act {
                Act::Redirect { right_state, refuses } => {
                    submitted += 1;
                    let what = if refuses { "error=access_denied" } else { "code=abc" };
                    let state = if right_state { STATE } else { "other" };
                    redirected(&format!("{what}&state={state}"), submitted)
                }
                Act::Paste(text) => {
                    submitted += 1;
                    pasted(text, submitted)
                }
                Act::ExchangeEnds { late, how } => {
                    let Some((attempt, code)) = seen.exchanging.clone() else { continue };
                    let result = how.map_or_else(|| Ok(grant()), Err);
                    seen.granted += usize::from(result.is_ok());
                    if late {
                        Event::Exchanged { attempt: attempt - 1, result }
                    } else {
                        seen.exchanging = None;
                        if result.as_ref().err().is_none_or(|error| error.sent) {
                            seen.sent.push(code);
                        }
                        Event::Exchanged { attempt, result }
                    }
                }
                Act::StoreEnds { how } => {
                    if !std::mem::take(&mut seen.storing) { continue }
                    seen.taken += usize::from(matches!(how, None | Some(ErrorKind::Expired)));
                    Event::Stored(how.map_or(Ok(()), |kind| Err(Error::new(kind, "vault"))))
                }
                Act::Deadline => Event::DeadlineReached,
                Act::Cancel => Event::Cancelled,
                Act::Wait(seconds) => {
                    now = now.after(Duration::from_secs(seconds));
                    continue;
                }
            };
            seen.see(&flow.step(event, now));
        }
        seen.see(&flow.step(Event::Cancelled, now));
        if std::mem::take(&mut seen.storing) {
            seen.taken += 1;
            seen.see(&flow.step(Event::Stored(Err(over())), now));
        }
        if let Some((attempt, _)) = seen.exchanging.take() {
            seen.granted += 1;
            seen.see(&flow.step(Event::Exchanged { attempt, result: Ok(grant()) }, now));
        }
        prop_assert_eq!(seen.finished, 1, "a sign-in ends once");
        prop_assert_eq!(seen.taken + seen.given_back, seen.granted, "no grant is left lying about");
        prop_assert_eq!(seen.told.len(), usize::try_from(submitted).expect("small"));
        prop_assert!(seen.told.values().all(|times| *times == 1), "everyone is told once");
    }

    #[test]
    fn no_answer_without_the_state_makes_a_redirect_count(state in "[ -~]{0,43}") {
        prop_assume!(state != STATE);
        let mut flow = flow();
        let query = url::form_urlencoded::Serializer::new("code=abc".to_owned())
            .append_pair("state", &state)
            .finish();
        prop_assert_eq!(step(&mut flow, redirected(&query, 1)), ["tell 1 WrongState"]);
        prop_assert!(matches!(flow.phase, Phase::Waiting));
    }
}
