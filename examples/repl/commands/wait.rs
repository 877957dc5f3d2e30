//! Waiting for something to be so, by the events that tell of it: nothing here guesses a time.

use std::time::Duration;

use tokenward::event::CredentialState;
use tokenward::identity::Generation;
use tokenward::supervision::{ChildStatus, Events, TreeNode};

use crate::account::Account;
use crate::grammar::{Wait, name_of};
use crate::problem::{Answer, Problem};
use crate::repl::Repl;
use crate::screen::{count, human};

/// When waiting is given up. A token lives for a minute.
const PATIENCE: Duration = Duration::from_secs(90);

pub(super) async fn wait(repl: &mut Repl, until: Wait) -> Answer {
    match until {
        Wait::Time(time) => {
            repl.host.sources.clock.wait(time).await;
            Ok(String::new())
        }
        Wait::Credential { account, state, generation } => {
            credential(repl, &account, state, generation).await
        }
        Wait::Actor { path, status, restarts } => actor(repl, &path, status, restarts).await,
    }
}

async fn credential(
    repl: &mut Repl,
    account: &Account,
    state: CredentialState,
    generation: u64,
) -> Answer {
    // Before the first look, so that nothing happens unseen in between.
    let mut events = repl.host.runtime.events();
    let credential = repl.credential(account).await?;
    let mut snapshot = credential.inspect().await?;
    let patience = repl.host.sources.clock.wait(PATIENCE);
    tokio::pin!(patience);
    while snapshot.state() != state || snapshot.generation() < Generation(generation) {
        if !one_more(&mut events, &mut patience).await {
            return Err(Problem::new(format!(
                "{account} is {} at generation {} after {}",
                snapshot.state(),
                snapshot.generation(),
                human(PATIENCE)
            )));
        }
        snapshot = credential.snapshot();
    }
    Ok(format!("{account} is {state} at generation {}", snapshot.generation()))
}

async fn actor(repl: &Repl, path: &str, status: ChildStatus, restarts: u32) -> Answer {
    let mut events = repl.host.runtime.events();
    let patience = repl.host.sources.clock.wait(PATIENCE);
    tokio::pin!(patience);
    loop {
        let tree = repl.host.runtime.tree().await;
        let Some(node) = find(&tree, path) else {
            return Err(Problem::new(format!("there is no actor {path}, see `tree`")));
        };
        let (status_now, restarted) = (name_of(node.status), count(node.restarts, "restart"));
        let found = format!("{path} is {status_now} after {restarted}");
        if node.status == status && node.restarts >= restarts {
            return Ok(found);
        }
        if !one_more(&mut events, &mut patience).await {
            return Err(Problem::new(format!("{found}, and {} of waiting", human(PATIENCE))));
        }
    }
}

/// Waits for another event; false when patience is at an end.
async fn one_more(events: &mut Events, patience: &mut (impl Future<Output = ()> + Unpin)) -> bool {
    tokio::select! {
        notice = events.next() => notice.is_some(),
        () = patience => false,
    }
}

/// The actor at `path` beneath `tree`. Names may hold slashes themselves.
fn find<'a>(tree: &'a TreeNode, path: &str) -> Option<&'a TreeNode> {
    tree.children.iter().find_map(|child| {
        let rest = path.strip_prefix(child.name.as_str())?;
        if rest.is_empty() { Some(child) } else { find(child, rest.strip_prefix('/')?) }
    })
}
