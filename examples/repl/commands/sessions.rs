//! Who you are, and the sessions you work in.

use tokenward::identity::Method;
use tokenward::runtime::Session;

use crate::account::{Account, account_at, account_of};
use crate::problem::{Answer, Problem};
use crate::repl::Repl;
use crate::screen::{Tone, cell, from_now, headings};

pub(super) fn user(repl: &mut Repl, name: String) -> Answer {
    repl.host.runtime.user(&name).id()?;
    repl.user = name;
    Ok(format!("you are {}", repl.user))
}

pub(super) async fn use_(repl: &mut Repl, account: &Account, method: Option<Method>) -> Answer {
    repl.host.check_provider(&account.provider)?;
    let session = repl.session().await?;
    let id = if account.label.is_none() && method.is_none() {
        let outcome = session.use_provider(&account.provider).await;
        outcome.map_err(|error| Problem::with(&account.to_string(), error))?
    } else {
        let id = repl.best_credential(account, method).await?.id().clone();
        session.use_credential(&account.provider, id.method, &id.label).await?
    };
    Ok(format!("your session uses {} by {}", account_of(&id), id.method))
}

pub(super) async fn list(repl: &mut Repl) -> Answer {
    let current = repl.session().await?.id();
    let now = repl.host.sources.now().wall;
    let mut rows = vec![headings(&["", "n", "opened", "used", "active"])];
    for (index, session) in repl.user().sessions().await?.iter().enumerate() {
        let view = session.view();
        let active = view.active().map_or_else(
            || cell(Tone::Faint, "none yet"),
            |context| {
                let account = account_at(&context.provider, &context.label);
                cell(Tone::Plain, format!("{account} {}", context.method))
            },
        );
        rows.push(vec![
            cell(Tone::Strong, if session.id() == current { "*" } else { " " }),
            cell(Tone::Plain, (index + 1).to_string()),
            cell(Tone::Plain, from_now(view.created(), now)),
            cell(Tone::Plain, from_now(session.last_activity(), now)),
            active,
        ]);
    }
    Ok(repl.palette.table(&rows))
}

pub(super) async fn new(repl: &mut Repl) -> Answer {
    let session = repl.user().open_session().await?;
    repl.work_in(session);
    let count = repl.user().sessions().await?.len();
    Ok(format!("session {count} is open, no provider is active in it yet"))
}

pub(super) async fn switch(repl: &mut Repl, number: usize) -> Answer {
    let session = find(repl, number).await?;
    session.touch().await?;
    let active = session
        .active()?
        .map(|context| format!("{} is active", account_at(&context.provider, &context.label)));
    repl.work_in(session);
    let active = active.unwrap_or_else(|| "no provider is active in it yet".to_owned());
    Ok(format!("you work in session {number}, {active}"))
}

pub(super) async fn close(repl: &mut Repl, number: usize) -> Answer {
    let session = find(repl, number).await?;
    let current = repl.session().await?.id();
    session.close().await?;
    if session.id() == current {
        repl.leave_session();
    }
    Ok(format!("session {number} is closed, you stay signed in"))
}

async fn find(repl: &Repl, number: usize) -> Result<Session, Problem> {
    let mut sessions = repl.user().sessions().await?;
    if number == 0 || number > sessions.len() {
        let count = sessions.len();
        return Err(Problem::new(match count {
            0 => "you have no session yet, open one with `session new`".to_owned(),
            1 => format!("there is no session {number}, yours is 1"),
            _ => format!("there is no session {number}, yours are 1 to {count}"),
        }));
    }
    Ok(sessions.swap_remove(number - 1))
}
