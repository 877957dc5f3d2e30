//! Tables and trees: what there is, and how it fares.

use tokenward::credential::Snapshot;
use tokenward::identity::Label;
use tokenward::supervision::TreeNode;
use tokenward::testing::Counters;

use crate::account::account_of;
use crate::grammar::name_of;
use crate::problem::{Answer, Problem};
use crate::repl::Repl;
use crate::screen::{
    Cell, Tone, cell, count, from_now, headings, human, tone_of_health, tone_of_state,
    tone_of_status,
};

pub(super) async fn users(repl: &Repl) -> Answer {
    let marked = repl.users().await?.into_iter().map(|user| {
        let mark = if user == repl.user { "*" } else { " " };
        vec![cell(Tone::Strong, mark), cell(Tone::Plain, user)]
    });
    Ok(repl.palette.table(&marked.collect::<Vec<_>>()))
}

pub(super) async fn providers(repl: &mut Repl) -> Answer {
    let session = repl.session().await?;
    let active = session.view().active().map(|context| context.credential(session.view().user()));
    let mut credentials = repl.user().credentials().await?;
    credentials.sort_by_key(|it| (it.id().label != Label::default(), it.id().label.clone()));
    let mut rows = vec![headings(&["", "account", "method", "state", "expires", "gen"])];
    let mut reasons = Vec::new();
    for provider in repl.host.runtime.providers() {
        let name = provider.id().as_str();
        let mut of_provider =
            credentials.iter().filter(|it| it.id().provider.as_str() == name).peekable();
        if of_provider.peek().is_none() {
            let methods: Vec<_> = provider.methods().iter().map(ToString::to_string).collect();
            rows.push(vec![
                cell(Tone::Plain, " "),
                cell(Tone::Plain, name),
                cell(Tone::Faint, format!("offers {}", methods.join(", "))),
            ]);
        }
        for snapshot in of_provider {
            rows.push(row(repl, snapshot, active.as_ref() == Some(snapshot.id())));
            let by = format!("{} {}", account_of(snapshot.id()), snapshot.id().method);
            if let Some(reason) = snapshot.reason() {
                reasons.push(format!("{by}: {reason}"));
            }
            if snapshot.may_stand_in() {
                reasons.push(format!("{by}: stands in while a sign-in there needs you"));
            }
        }
    }
    Ok(with_reasons(repl, &rows, &reasons))
}

/// A table, and beneath it why something in it is as it is.
fn with_reasons(repl: &Repl, rows: &[Vec<Cell>], reasons: &[String]) -> String {
    let reasons = reasons.iter().map(|reason| repl.palette.paint(Tone::Faint, reason));
    let lines = std::iter::once(repl.palette.table(rows)).chain(reasons);
    lines.collect::<Vec<_>>().join("\n")
}

fn row(repl: &Repl, snapshot: &Snapshot, active: bool) -> Vec<Cell> {
    let id = snapshot.id();
    let now = repl.host.sources.now().wall;
    let end = snapshot.expires_at().map_or_else(|| "never".to_owned(), |end| from_now(end, now));
    vec![
        cell(Tone::Strong, if active { "*" } else { " " }),
        cell(Tone::Plain, account_of(id)),
        cell(Tone::Plain, id.method.as_str()),
        cell(tone_of_state(snapshot.state()), snapshot.state().as_str()),
        cell(Tone::Plain, end),
        cell(Tone::Plain, snapshot.generation().to_string()),
    ]
}

/// Looks at a provider now.
pub(super) async fn check_health(repl: &Repl, provider: &str) -> Answer {
    repl.host.check_provider(provider)?;
    let found = repl.host.runtime.check_health(provider).await?;
    Ok(format!("{provider} works, it answered within {}", human(found.latency)))
}

/// What is known of the providers' health.
pub(super) fn health(repl: &Repl) -> String {
    let now = repl.host.sources.now().wall;
    let headings = headings(&["provider", "health", "latency", "worked", "failures", "breaker"]);
    let mut rows = vec![headings];
    let mut reasons = Vec::new();
    let known = repl.host.runtime.health();
    for (provider, health) in known.all() {
        let breaker = known.breaker(provider.as_str()).map_or("-", |it| it.state.as_str());
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        rows.push(vec![
            cell(Tone::Plain, provider.as_str()),
            cell(tone_of_health(health.state), health.state.as_str()),
            cell(Tone::Plain, or_none(health.latency.map(human))),
            cell(Tone::Plain, or_none(health.last_success.map(|at| from_now(at, now)))),
            cell(Tone::Plain, health.consecutive_failures.to_string()),
            cell(Tone::Plain, breaker),
        ]);
        if let Some(failure) =
            health.last_failure.as_ref().filter(|_| health.consecutive_failures > 0)
        {
            reasons.push(format!("{provider}: {}", failure.reason));
        }
    }
    with_reasons(repl, &rows, &reasons)
}

pub(super) async fn tree(repl: &Repl) -> String {
    let tree = repl.host.runtime.tree().await;
    let mut rows = vec![node(&tree, "")];
    branches(&tree, "", &mut rows);
    repl.palette.table(&rows)
}

fn branches(parent: &TreeNode, indent: &str, rows: &mut Vec<Vec<Cell>>) {
    for (index, child) in parent.children.iter().enumerate() {
        let last = index + 1 == parent.children.len();
        let (branch, beneath) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        rows.push(node(child, &format!("{indent}{branch}")));
        branches(child, &format!("{indent}{beneath}"), rows);
    }
}

fn node(node: &TreeNode, indent: &str) -> Vec<Cell> {
    let restarts = if node.restarts == 0 { String::new() } else { count(node.restarts, "restart") };
    vec![
        cell(Tone::Plain, format!("{indent}{}", node.name)),
        cell(tone_of_status(node.status), name_of(node.status)),
        cell(Tone::Busy, restarts),
    ]
}

/// What the breakers before the providers say, or before one of them.
pub(super) fn breakers(repl: &Repl, only: Option<&str>) -> Answer {
    if let Some(provider) = only {
        repl.host.check_provider(provider)?;
    }
    let mut rows = vec![headings(&["provider", "breaker", "changes", "calls", "failed"])];
    for provider in repl.host.runtime.providers() {
        let name = provider.id().as_str();
        if only.is_some_and(|only| only != name) {
            continue;
        }
        let status = repl.host.runtime.upstream(name)?.status();
        let numbers =
            [status.generation, status.counts.calls.into(), status.counts.failures.into()];
        let mut row = vec![cell(Tone::Plain, name), cell(Tone::Strong, status.state.as_str())];
        row.extend(numbers.map(|number| cell(Tone::Plain, number.to_string())));
        rows.push(row);
    }
    Ok(repl.palette.table(&rows))
}

type Count = fn(&Counters) -> usize;

/// A column for each provider, since there are more counts than providers.
pub(super) fn stats(repl: &Repl) -> Answer {
    let Some(simulations) = &repl.host.simulations else {
        return Err(Problem::new("only simulated providers tell, run without --real and --config"));
    };
    let (mut head, mut seen) = (vec![""], Vec::new());
    let mut providers: Vec<_> = simulations.all().iter().collect();
    providers.sort_by_key(|provider| provider.name());
    for provider in providers {
        head.push(provider.name());
        seen.push(provider.counters());
    }
    let counts: [(&str, Count); 9] = [
        ("asked", |it| it.token_requests),
        ("issued", |it| it.issued_access_tokens),
        ("renewed", |it| it.refreshes),
        ("reused", |it| it.reused_refresh_tokens),
        ("revoked", |it| it.revocation_requests),
        ("calls", |it| it.resource_requests),
        ("refused", |it| it.refusals),
        ("looks", |it| it.looks),
        ("faults", |it| it.faults),
    ];
    let mut rows = vec![headings(&head)];
    for (name, count) in counts {
        let mut row = vec![cell(Tone::Faint, name)];
        row.extend(seen.iter().map(|seen| cell(Tone::Plain, count(seen).to_string())));
        rows.push(row);
    }
    Ok(repl.palette.table(&rows))
}
