//! Signing in and out.

use std::sync::PoisonError;

use tokenward::identity::{CredentialId, Method};
use tokenward::login::Login;
use tokenward::secret::Secret;
use tokenward::testing::SimulatedProvider;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::problem::{Answer, Problem};
use crate::repl::{Repl, say};
use crate::screen::{Tone, from_now};

pub(super) async fn sign_in(repl: &mut Repl, provider: &str, method: Option<Method>) -> Answer {
    repl.host.check_provider(provider)?;
    let providers = repl.host.runtime.providers();
    let offered = providers.iter().find(|known| known.id().as_str() == provider);
    let method = method.or_else(|| offered?.methods().first().copied());
    let sign_in = repl.user().sign_in(provider);
    let id = match method {
        Some(Method::AuthorizationCode) => return begin(repl, provider).await,
        Some(Method::ClientCredentials) => {
            let outcome = sign_in.with_client_credentials().await;
            outcome.map_err(|error| with_variable(repl, provider, error))?
        }
        Some(Method::ApiKey) => sign_in.with_api_key(api_key(repl, provider)?).await?,
        Some(method) => {
            return Err(Problem::new(format!("{provider} does not offer {method}")));
        }
        None => return Err(Problem::new(format!("{provider} offers no way to sign in"))),
    };
    welcome(repl, &id).await
}

/// Completes a sign-in as the browser of a user who agrees.
pub(super) async fn approve(repl: &mut Repl) -> Answer {
    let login = pending(repl)?;
    let provider = simulation(repl, &login)?;
    // Each user has an account of their own there.
    provider.set_account(&repl.user);
    if login.no_listener().is_some() {
        let pasted = provider.approve_for_paste(login.url())?;
        return complete_by_paste(repl, &login, &pasted).await;
    }
    let callback = provider.approve(login.url())?;
    repl.pending().remove(&repl.user);
    visit(&callback).await?;
    let id = login.finished().await?;
    welcome(repl, &id).await
}

/// Ends a sign-in as the browser of a user who declines.
pub(super) async fn deny(repl: &mut Repl) -> Answer {
    let login = pending(repl)?;
    let callback = simulation(repl, &login)?.deny(login.url())?;
    repl.pending().remove(&repl.user);
    if login.no_listener().is_some() {
        let _ = login.paste(&callback).await;
    } else {
        visit(&callback).await?;
    }
    match login.finished().await {
        Ok(id) => welcome(repl, &id).await,
        Err(error) => Ok(format!("declined: {error}")),
    }
}

pub(super) async fn paste(repl: &mut Repl, text: &str) -> Answer {
    let login = pending(repl)?;
    complete_by_paste(repl, &login, text).await
}

pub(super) async fn cancel(repl: &mut Repl) -> Answer {
    let login = pending(repl)?;
    repl.pending().remove(&repl.user);
    login.cancel().await;
    Ok(format!("the sign-in to {} is cancelled", login.credential().provider))
}

pub(super) async fn sign_out(repl: &mut Repl, provider: &str) -> Answer {
    repl.host.check_provider(provider)?;
    let done = repl.user().sign_out(provider).await?;
    if done.is_empty() {
        return Ok(format!("you were not signed in to {provider}"));
    }
    let lines = done.iter().map(|(id, outcome)| {
        let revoked = if outcome.revoked { "erased and revoked" } else { "erased" };
        format!("{} {}: {revoked}", id.provider, id.method)
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// Begins a sign-in with a browser, and says how to go on.
async fn begin(repl: &mut Repl, provider: &str) -> Answer {
    let previous = repl.pending().remove(&repl.user);
    if let Some(previous) = previous {
        previous.cancel().await;
    }
    let outcome = repl.user().sign_in(provider).in_browser().await;
    let login = outcome.map_err(|error| with_variable(repl, provider, error))?;
    repl.pending().insert(repl.user.clone(), login.clone());
    announce_when_finished(repl, login.clone());
    let now = repl.host.sources.now().wall;
    let mut lines = vec![format!("open {}", repl.palette.paint(Tone::Strong, login.url()))];
    if let Some(error) = login.no_listener() {
        lines.push(format!("the browser can not come back by itself: {error}"));
    }
    lines.push(match &repl.host.simulations {
        Some(_) => {
            "then type approve to act as your browser, or: deny, paste TEXT, cancel".to_owned()
        }
        None => "and agree; if the browser shows a code or no page, type: paste TEXT".to_owned(),
    });
    lines.push(format!("the offer ends {}", from_now(login.expires_at(), now)));
    Ok(lines.join("\n"))
}

/// A browser of the user's own may complete it while they type something else.
fn announce_when_finished(repl: &Repl, login: Login) {
    let (user, pending, aside) = (repl.user.clone(), repl.pending.clone(), repl.aside.clone());
    tokio::spawn(async move {
        let outcome = login.finished().await;
        let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
        // What a command completed, that command tells.
        if pending.get(&user).is_none_or(|current| current.id() != login.id()) {
            return;
        }
        pending.remove(&user);
        let provider = &login.credential().provider;
        say(
            &aside,
            match outcome {
                Ok(_) => format!("{user} is signed in to {provider}, type: use {provider}"),
                Err(error) => format!("{user} is not signed in to {provider}: {error}"),
            },
        );
    });
}

async fn complete_by_paste(repl: &mut Repl, login: &Login, text: &str) -> Answer {
    // Taken out first, so that only this command tells the outcome.
    repl.pending().remove(&repl.user);
    let outcome = login.paste(text).await;
    if outcome.is_err() && !login.is_over() {
        repl.pending().insert(repl.user.clone(), login.clone());
    }
    outcome?;
    welcome(repl, login.credential()).await
}

/// Lets the session use what the user signed in to, and tells how it stands.
async fn welcome(repl: &mut Repl, id: &CredentialId) -> Answer {
    let session = repl.session().await?;
    session.use_credential(id.provider.as_str(), id.method, &id.label).await?;
    let snapshot = repl.host.runtime.credential(id).await?.inspect().await?;
    let now = repl.host.sources.now().wall;
    let end = snapshot.expires_at().map(|end| format!(", expires {}", from_now(end, now)));
    Ok(format!(
        "{} is signed in to {} by {}: {}, generation {}{}",
        id.user,
        id.provider,
        id.method,
        snapshot.state(),
        snapshot.generation(),
        end.unwrap_or_default()
    ))
}

fn pending(repl: &Repl) -> Result<Login, Problem> {
    let login = repl.pending().get(&repl.user).cloned();
    login.ok_or_else(|| {
        Problem::new("you have no pending sign-in, begin with: sign-in PROVIDER authorization-code")
    })
}

fn simulation<'a>(repl: &'a Repl, login: &Login) -> Result<&'a SimulatedProvider, Problem> {
    repl.host.simulation(login.credential().provider.as_str())
}

/// A key of a simulated provider, which issues it here and now, or what the environment offers for
/// a real one.
fn api_key(repl: &Repl, provider: &str) -> Result<Secret, Problem> {
    if repl.host.simulations.is_some() {
        let simulation = repl.host.simulation(provider)?;
        return if simulation.spec().methods.contains(&Method::ApiKey) {
            Ok(simulation.issue_api_key())
        } else {
            Err(Problem::new(format!("{provider} has no api keys, leave the method out")))
        };
    }
    repl.host.api_key(provider).ok_or_else(|| {
        let variable = if provider == "google" { "GEMINI" } else { provider };
        let variable = format!("{}_API_KEY", variable.to_uppercase());
        Problem::new(format!("there is no key for {provider}, start again with {variable} set"))
    })
}

/// Names the variable that a real provider's client is configured by, when that is the trouble.
fn with_variable(repl: &Repl, provider: &str, error: tokenward::Error) -> Problem {
    let configurable = repl.host.simulations.is_none() && error.is_configuration();
    let problem = Problem::from(error);
    if !configurable {
        return problem;
    }
    let oauth = if provider == "orange" { "" } else { "OAUTH_" };
    let variable = format!("{}_{oauth}CLIENT_ID", provider.to_uppercase());
    problem.advice(&format!("with {variable} in the environment"))
}

/// Gets a page on this machine, as a browser that is redirected does.
async fn visit(url: &str) -> Result<(), Problem> {
    let unreachable = |error: &dyn std::fmt::Display| {
        Problem::new(format!("the listener of the sign-in can not be reached: {error}"))
    };
    let url = url::Url::parse(url).map_err(|error| unreachable(&error))?;
    let host = url.host_str().unwrap_or("localhost").to_owned();
    let port = url.port_or_known_default().unwrap_or(80);
    let mut stream =
        TcpStream::connect((host.as_str(), port)).await.map_err(|error| unreachable(&error))?;
    let target = &url[url::Position::BeforePath..];
    let request =
        format!("GET {target} HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| unreachable(&error))?;
    // The page is for people; that there is one is enough here.
    let mut page = Vec::new();
    let _ = stream.read_to_end(&mut page).await;
    Ok(())
}
