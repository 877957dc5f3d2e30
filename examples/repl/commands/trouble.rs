//! Breaking things on purpose: tokens, answers, providers, actors.

use tokenward::supervision::TreeNode;
use tokenward::testing::{Endpoint, Fault};

use crate::account::Account;
use crate::problem::{Answer, Problem};
use crate::repl::Repl;
use crate::screen::{Tone, cell, from_now};

pub(super) async fn expire(repl: &mut Repl, account: &Account) -> Answer {
    let provider = &account.provider;
    repl.host.check_provider(provider)?;
    if repl.host.simulations.is_some() && account.label.is_none() {
        repl.host.simulation(provider)?.expire_access_tokens();
        return Ok(format!("{provider} takes none of its access tokens any more, try a call"));
    }
    repl.credential(account).await?.invalidate().await?;
    Ok(format!("your token for {account} is not used any more, try a call"))
}

pub(super) fn revoke(repl: &Repl, provider: &str) -> Answer {
    repl.host.simulation(provider)?.revoke_everything();
    Ok(format!("{provider} has withdrawn all keys and tokens, try a call"))
}

pub(super) async fn refresh(repl: &mut Repl, account: &Account) -> Answer {
    let credential = repl.credential(account).await?;
    let before = credential.inspect().await?.generation();
    let refreshed = credential.refresh().await;
    let snapshot = refreshed.map_err(|error| Problem::with(&account.to_string(), error))?;
    let (state, generation) = (snapshot.state(), snapshot.generation());
    let now = repl.host.sources.now().wall;
    Ok(match snapshot.expires_at() {
        None if generation == before => format!("{account} never expires, nothing is to renew"),
        Some(_) if generation == before => {
            format!("{account} {state}, generation {generation}: it was renewed a moment ago")
        }
        Some(end) => {
            format!("{account} {state}, generation {generation}, expires {}", from_now(end, now))
        }
        None => format!("{account} {state}, generation {generation}"),
    })
}

pub(super) fn fault(
    repl: &Repl,
    provider: &str,
    endpoint: Option<Endpoint>,
    fault: Fault,
    count: Option<usize>,
) -> Answer {
    let mut faults = repl.host.simulation(provider)?.faults().clone();
    let mut place = provider.to_owned();
    if let Some(endpoint) = endpoint {
        faults = faults.on(endpoint);
        place = format!("{provider}'s {endpoint} endpoint");
    }
    let text = fault.to_string();
    match count {
        Some(count) => faults.next(count, fault),
        None => faults.always(fault),
    }
    Ok(match count {
        None => format!("every request to {place} meets {text}, until: fault {provider} off"),
        Some(1) => format!("the next request to {place} meets {text}"),
        Some(count) => format!("the next {count} requests to {place} meet {text}"),
    })
}

pub(super) fn no_fault(repl: &Repl, provider: &str) -> Answer {
    let simulation = repl.host.simulation(provider)?;
    simulation.faults().clear();
    Ok(format!("{provider} is faultless"))
}

pub(super) fn faults(repl: &Repl) -> String {
    let rows: Vec<_> = Fault::KINDS
        .iter()
        .map(|kind| vec![cell(Tone::Strong, kind.example), cell(Tone::Plain, kind.description)])
        .collect();
    repl.palette.table(&rows)
}

pub(super) fn breaker(repl: &Repl, provider: &str, to: &str) -> Answer {
    repl.host.check_provider(provider)?;
    let upstream = repl.host.runtime.upstream(provider)?;
    Ok(match to {
        "open" => {
            upstream.breaker().force_open();
            format!("{provider} holds every call back, until: breaker {provider} closed")
        }
        "disabled" => {
            upstream.breaker().disable();
            format!("{provider} lets every call through, until: breaker {provider} closed")
        }
        _ => {
            upstream.breaker().close();
            format!("{provider} is watched again, and lets calls through")
        }
    })
}

pub(super) async fn stop(repl: &Repl, provider: &str) -> Answer {
    repl.host.simulation(provider)?.stop().await.map_err(|error| {
        Problem::new(format!("{provider} can not be stopped, its port was taken: {error}"))
    })?;
    Ok(format!("{provider} is down, until: start {provider}"))
}

pub(super) async fn start(repl: &Repl, provider: &str) -> Answer {
    repl.host.simulation(provider)?.restart().await.map_err(|error| {
        Problem::new(format!("{provider} can not be started, its port was taken: {error}"))
    })?;
    Ok(format!("{provider} is up"))
}

pub(super) async fn crash(repl: &Repl, path: &str) -> Answer {
    let tree = repl.host.runtime.tree().await;
    let paths = actors(&tree);
    if !paths.iter().any(|known| known == path) {
        let known: Vec<_> = paths.iter().map(String::as_str).collect();
        return Err(Problem::unknown("actor", path, &known).advice("`tree` shows them all"));
    }
    if repl.host.runtime.crash_actor(path).await {
        Ok(format!("{path} is killed, its supervisor starts it again"))
    } else {
        Err(Problem::new(format!("{path} does not run at the moment, see `tree`")))
    }
}

/// The paths of all actors beneath the root, supervisors left out.
pub(crate) fn actors(tree: &TreeNode) -> Vec<String> {
    fn collect(node: &TreeNode, prefix: &str, paths: &mut Vec<String>) {
        for child in &node.children {
            let path = format!("{prefix}{}", child.name);
            if child.children.is_empty() {
                paths.push(path.clone());
            }
            collect(child, &format!("{path}/"), paths);
        }
    }
    let mut paths = Vec::new();
    collect(tree, "", &mut paths);
    paths
}
