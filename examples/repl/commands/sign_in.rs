//! Signing in and out. What needs a person is begun here and ends in `complete`.

use tokenward::identity::{CredentialId, Method};
use tokenward::runtime::KeyChoice;

use super::complete::{begin, welcome};
use crate::account::{Account, account_of};
use crate::grammar::How;
use crate::pending::{Pending, WantedKey};
use crate::problem::{Answer, Problem};
use crate::repl::Repl;
use crate::screen::{Tone, from_now};

pub(super) async fn sign_in(
    repl: &mut Repl,
    account: &Account,
    method: Option<Method>,
    how: How,
) -> Answer {
    let provider = account.provider.as_str();
    let methods = repl.host.methods(provider)?;
    let Some(method) = method.or_else(|| methods.first().copied()) else {
        return Err(Problem::new(format!("{provider} offers no way to sign in")));
    };
    if !methods.contains(&method) {
        let methods: Vec<_> = methods.iter().map(|method| method.as_str()).collect();
        let offered = methods.join(", ");
        return Err(Problem::new(format!(
            "{provider} does not offer {method}, it offers: {offered}"
        )));
    }
    if how.verify && method != Method::ApiKey {
        return Err(Problem::new(format!("leave verify out, {method} brings no key of yours")));
    }
    if how.paste && !matches!(method, Method::ApiKey | Method::AuthorizationCode) {
        return Err(Problem::new(format!("leave paste out, {method} has nothing to paste")));
    }
    let sign_in = repl.user().sign_in(provider).label(account.label().as_str());
    match method {
        Method::ApiKey => by_api_key(repl, account, how).await,
        Method::AuthorizationCode => in_browser(repl, account, how.paste).await,
        Method::DeviceCode => on_device(repl, account).await,
        Method::ClientCredentials => {
            let outcome = sign_in.with_client_credentials().await;
            let id = outcome?;
            welcome(repl, &id).await
        }
        Method::JwtBearer => {
            let outcome = sign_in.with_assertion().await;
            let id = outcome.map_err(|error| with_assertion_setting(repl, provider, error))?;
            welcome(repl, &id).await
        }
        other => Err(Problem::new(format!("{other} is not known here"))),
    }
}

/// With a key that a simulated provider issues here and now, that the settings offer for a real
/// one, or that is pasted.
async fn by_api_key(repl: &mut Repl, account: &Account, how: How) -> Answer {
    let provider = account.provider.as_str();
    let sign_in = repl.user().sign_in(provider).label(account.label().as_str());
    if how.paste {
        return wait_for_key(repl, account, how.verify).await;
    }
    if repl.host.simulations.is_some() {
        let key = repl.host.simulation(provider)?.issue_api_key();
        let id = if how.verify {
            sign_in.with_verified_api_key(key).await?
        } else {
            sign_in.with_api_key(key).await?
        };
        return welcome(repl, &id).await;
    }
    // What the settings offer is stored by the library alone, so only a pasted key is verified.
    if how.verify {
        return wait_for_key(repl, account, true).await;
    }
    match sign_in.with_offered_key().await {
        Ok(KeyChoice::Stored { credential, from }) => {
            let welcome = welcome(repl, &credential).await?;
            Ok(format!("{welcome}\nthe key is that of {from}"))
        }
        Ok(kept) => Ok(kept.to_string()),
        Err(error) if error.is_configuration() => wait_for_key(repl, account, false).await,
        Err(error) => Err(error.into()),
    }
}

async fn wait_for_key(repl: &mut Repl, account: &Account, verify: bool) -> Answer {
    begin(repl, Pending::Key(WantedKey { account: account.clone(), verify })).await;
    Ok(format!(
        "type paste and the api key for {account}, or cancel; it is not kept in the history"
    ))
}

async fn in_browser(repl: &mut Repl, account: &Account, paste: bool) -> Answer {
    let provider = account.provider.as_str();
    let sign_in = repl.user().sign_in(provider).label(account.label().as_str());
    let outcome = if paste { sign_in.by_paste().await } else { sign_in.in_browser().await };
    let login = outcome?;
    let comes_back = !paste && login.no_listener().is_none();
    begin(repl, Pending::Browser { login: login.clone(), comes_back }).await;
    let now = repl.host.sources.now().wall;
    let mut lines = vec![format!("open {}", repl.palette.paint(Tone::Strong, login.url()))];
    if let Some(error) = login.no_listener() {
        lines.push(format!("the browser can not come back by itself: {error}"));
    }
    lines.push(
        match &repl.host.simulations {
            Some(_) => "then type approve to act as the user there, or: deny, paste TEXT, cancel",
            None if paste => {
                "agree, and type paste and the code it shows, or the address where it ends"
            }
            None => "and agree; if the browser shows a code or no page, type: paste TEXT",
        }
        .to_owned(),
    );
    lines.push(format!("the offer ends {}", from_now(login.expires_at(), now)));
    Ok(lines.join("\n"))
}

async fn on_device(repl: &mut Repl, account: &Account) -> Answer {
    let provider = account.provider.as_str();
    let sign_in = repl.user().sign_in(provider).label(account.label().as_str());
    let outcome = sign_in.with_device_code().await;
    let login = outcome?;
    begin(repl, Pending::Device(login.clone())).await;
    let now = repl.host.sources.now().wall;
    let strong = |text| repl.palette.paint(Tone::Strong, text);
    let mut lines = vec![
        format!("open {}", strong(login.verification_uri())),
        format!("on any device, and type {}", strong(login.user_code())),
    ];
    if let Some(complete) = login.verification_uri_complete() {
        lines.push(format!("or open {complete}"));
        lines.push("and see that it shows the same code".to_owned());
    }
    if repl.host.simulations.is_some() {
        lines.push("then type approve to act as the user there, or: deny, cancel".to_owned());
    }
    lines.push(format!("the offer ends {}", from_now(login.expires_at(), now)));
    Ok(lines.join("\n"))
}

pub(super) async fn sign_out(repl: &mut Repl, account: &Account) -> Answer {
    let provider = account.provider.as_str();
    repl.host.check_provider(provider)?;
    let mut done = Vec::new();
    if account.label.is_none() {
        done = repl.user().sign_out(provider).await?;
    } else {
        let ids = repl.credentials_of(provider).await?;
        for id in ids.into_iter().filter(|id| account.has(id)) {
            let outcome = repl.host.runtime.credential(&id).await?.sign_out().await?;
            done.push((id, outcome));
        }
    }
    if done.is_empty() {
        return Ok(format!("you were not signed in to {account}"));
    }
    let lines =
        done.iter().map(|(id, outcome)| format!("{}: {}", by(id), end(id, outcome.revoked)));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// Whether calls go on with the API key of an account while a sign-in there needs its user.
pub(super) async fn fallback(repl: &Repl, account: &Account, allowed: bool) -> Answer {
    let provider = account.provider.as_str();
    repl.host.check_provider(provider)?;
    if allowed {
        repl.user().allow_fallback(provider, &account.label()).await?;
        Ok(format!("while {account} needs you to sign in, calls go on with your api key there"))
    } else {
        repl.user().forbid_fallback(provider, &account.label()).await?;
        Ok(format!("while {account} needs you to sign in, calls to it fail"))
    }
}

fn by(id: &CredentialId) -> String {
    format!("{} {}", account_of(id), id.method)
}

/// What became of a credential. A key is the user's: only they can revoke it.
fn end(id: &CredentialId, revoked: bool) -> &'static str {
    match (id.method, revoked) {
        (_, true) => "erased and revoked",
        (Method::ApiKey, false) => "erased",
        (_, false) => "erased, not revoked there",
    }
}

/// Names the settings by which a real provider's assertions are configured, when that is the trouble.
fn with_assertion_setting(repl: &Repl, provider: &str, error: tokenward::Error) -> Problem {
    let configurable = repl.host.simulations.is_none() && error.is_configuration();
    let problem = Problem::from(error);
    if !configurable {
        return problem;
    }
    let section = format!("providers.{provider}.oauth.assertion");
    problem.advice(&format!("by [{section}] and [{section}.parameters] in a file for --config"))
}
