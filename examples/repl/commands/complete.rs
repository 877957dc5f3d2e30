//! How a sign-in that waits for a person goes on: they agree, decline, paste or give up.

use tokenward::identity::{CredentialId, Label};
use tokenward::login::{DeviceLogin, Login};
use tokenward::testing::SimulatedProvider;

use crate::account::account_of;
use crate::browser;
use crate::pending::{Announcer, Outcome, Pending, Taken, WantedKey};
use crate::problem::{Answer, Problem};
use crate::repl::{Repl, say};
use crate::screen::from_now;

/// Lets `pending` take the place of what was pending before, and tells when it ends by itself.
pub(super) async fn begin(repl: &mut Repl, pending: Pending) {
    let previous = repl.sign_ins().insert(repl.user.clone(), pending.clone());
    if let Some(previous) = previous {
        previous.cancel().await;
    }
    Announcer::of(repl).announce_when_finished(pending);
}

/// Acts as the user who agrees.
pub(super) async fn approve(repl: &mut Repl) -> Answer {
    match pending(repl)? {
        Pending::Browser { login, comes_back } => approve_in_browser(repl, login, comes_back).await,
        Pending::Device(login) => approve_on_device(repl, login).await,
        Pending::Key(wanted) => Err(wants_key(&wanted)),
    }
}

async fn approve_in_browser(repl: &mut Repl, login: Login, comes_back: bool) -> Answer {
    let pending = Pending::Browser { login: login.clone(), comes_back };
    let address = if repl.host.simulations.is_none() {
        login.url().to_owned()
    } else {
        let provider = simulated_user(repl, login.credential())?;
        if !comes_back {
            let shown = provider.approve_for_paste(login.url())?;
            return paste_answer(repl, pending, &login, &shown).await;
        }
        provider.approve(login.url())?
    };
    let taken = take(repl, pending);
    let page = browser::open(&address).await?;
    if repl.host.simulations.is_none() {
        came_back(&page)?;
    }
    let outcome = login.finished().await;
    end(repl, taken, outcome).await
}

/// A server that asks nothing has led the browser on to the listener.
fn came_back(page: &browser::Page) -> Result<(), Problem> {
    if page.led {
        return Ok(());
    }
    let problem = Problem::new(format!("the page answers {} and leads nowhere", page.status));
    Err(problem.advice("open the address in your browser"))
}

async fn approve_on_device(repl: &mut Repl, login: DeviceLogin) -> Answer {
    if repl.host.simulations.is_some() {
        simulated_user(repl, login.credential())?.approve_device(login.user_code())?;
    } else {
        let plain = format!("{}?user_code={}", login.verification_uri(), login.user_code());
        let address = login.verification_uri_complete().unwrap_or(&plain);
        let page = browser::open(address).await?;
        if !page.status.starts_with('2') {
            return Err(Problem::new(format!("the page answers {}", page.status))
                .advice("open the address in your browser"));
        }
    }
    let taken = take(repl, Pending::Device(login.clone()));
    if let Some(next) = login.progress().borrow().next_poll {
        let provider = &login.credential().provider;
        let when = from_now(next, repl.host.sources.now().wall);
        say(&repl.aside, format!("agreed, {provider} is asked {when}"));
    }
    let outcome = login.finished().await;
    end(repl, taken, outcome).await
}

/// Acts as the user who declines.
pub(super) async fn deny(repl: &mut Repl) -> Answer {
    match pending(repl)? {
        Pending::Browser { login, comes_back } => {
            let callback = simulation(repl, login.credential())?.deny(login.url())?;
            let taken = take(repl, Pending::Browser { login: login.clone(), comes_back });
            if comes_back {
                browser::open(&callback).await?;
            } else {
                let _ = login.paste(&callback).await;
            }
            let outcome = login.finished().await;
            declined(repl, taken, outcome).await
        }
        Pending::Device(login) => deny_on_device(repl, login).await,
        Pending::Key(wanted) => Err(wants_key(&wanted)),
    }
}

/// The provider tells with the answer to the next poll, or never.
async fn deny_on_device(repl: &mut Repl, login: DeviceLogin) -> Answer {
    simulation(repl, login.credential())?.deny_device(login.user_code())?;
    let taken = take(repl, Pending::Device(login.clone()));
    let mut progress = login.progress();
    let polls = progress.borrow().polls;
    let goes_on = tokio::select! {
        biased;
        outcome = login.finished() => return declined(repl, taken, outcome).await,
        seen = progress.wait_for(|it| it.polls > polls && it.next_poll.is_some()) => seen.is_ok(),
    };
    if !goes_on {
        let outcome = login.finished().await;
        return declined(repl, taken, outcome).await;
    }
    let provider = &login.credential().provider;
    let end = from_now(login.expires_at(), repl.host.sources.now().wall);
    Ok(format!("declined, but {provider} does not tell: the offer ends {end}, or type cancel"))
}

async fn declined(repl: &mut Repl, taken: Taken, outcome: Outcome) -> Answer {
    match outcome {
        Ok(_) => end(repl, taken, outcome).await,
        Err(error) => {
            taken.told();
            Ok(format!("declined: {error}"))
        }
    }
}

/// Hands in what the user pasted.
pub(super) async fn paste(repl: &mut Repl, text: &str) -> Answer {
    match pending(repl)? {
        Pending::Browser { login, comes_back } => {
            let pending = Pending::Browser { login: login.clone(), comes_back };
            paste_answer(repl, pending, &login, text).await
        }
        Pending::Key(wanted) => paste_key(repl, &wanted, text).await,
        Pending::Device(login) => {
            let code = login.user_code();
            Err(Problem::new("there is nothing to paste")
                .advice(&format!("type {code} at {}", login.verification_uri())))
        }
    }
}

async fn paste_answer(repl: &mut Repl, pending: Pending, login: &Login, text: &str) -> Answer {
    let taken = take(repl, pending);
    let outcome = login.paste(text).await;
    if let Err(error) = &outcome
        && !login.is_over()
    {
        return Err(error.clone().into());
    }
    end(repl, taken, outcome.map(|()| login.credential().clone())).await
}

async fn paste_key(repl: &mut Repl, wanted: &WantedKey, key: &str) -> Answer {
    let WantedKey { account, verify } = wanted;
    let sign_in = repl.user().sign_in(&account.provider).label(account.label().as_str());
    let id = if *verify {
        sign_in.with_verified_api_key(key).await?
    } else {
        sign_in.with_api_key(key).await?
    };
    repl.sign_ins().remove(&repl.user);
    welcome(repl, &id).await
}

pub(super) async fn cancel(repl: &mut Repl) -> Answer {
    let pending = pending(repl)?;
    repl.sign_ins().remove(&repl.user);
    pending.cancel().await;
    Ok(format!("the sign-in to {} is cancelled", pending.account()))
}

/// Lets the session use what the user signed in to, and tells how it stands.
pub(super) async fn welcome(repl: &mut Repl, id: &CredentialId) -> Answer {
    let session = repl.session().await?;
    session.use_credential(id.provider.as_str(), id.method, &id.label).await?;
    let snapshot = repl.host.runtime.credential(id).await?.inspect().await?;
    let now = repl.host.sources.now().wall;
    let end = snapshot.expires_at().map(|end| format!(", expires {}", from_now(end, now)));
    Ok(format!(
        "{} is signed in to {} by {}: {}, generation {}{}",
        id.user,
        account_of(id),
        id.method,
        snapshot.state(),
        snapshot.generation(),
        end.unwrap_or_default()
    ))
}

/// Tells how a command's sign-in has ended.
async fn end(repl: &mut Repl, taken: Taken, outcome: Outcome) -> Answer {
    match outcome {
        Ok(id) => {
            let answer = welcome(repl, &id).await;
            taken.told();
            answer
        }
        Err(error) => {
            taken.told();
            Err(error.into())
        }
    }
}

/// The sign-in that waits for the user.
fn pending(repl: &Repl) -> Result<Pending, Problem> {
    let pending = repl.sign_ins().get(&repl.user).cloned();
    pending.ok_or_else(|| Problem::new("you have no pending sign-in, begin with: sign-in PROVIDER"))
}

/// From now on a command tells how it ends.
fn take(repl: &Repl, pending: Pending) -> Taken {
    let announcer = Announcer::of(repl);
    announcer.forget(&pending);
    Taken { announcer, pending: Some(pending) }
}

fn wants_key(wanted: &WantedKey) -> Problem {
    Problem::new(format!("{} waits for an api key, type: paste KEY", wanted.account))
}

fn simulation<'a>(repl: &'a Repl, id: &CredentialId) -> Result<&'a SimulatedProvider, Problem> {
    repl.host.simulation(id.provider.as_str())
}

/// Each account of each user is one of its own at a simulated provider.
fn simulated_user<'a>(repl: &'a Repl, id: &CredentialId) -> Result<&'a SimulatedProvider, Problem> {
    let provider = simulation(repl, id)?;
    if id.label == Label::default() {
        provider.set_account(&repl.user);
    } else {
        provider.set_account(&format!("{}.{}", repl.user, id.label));
    }
    Ok(provider)
}
