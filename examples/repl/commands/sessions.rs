//! Who you are, and the sessions you work in.

use tokenward::identity::{Label, Method};
use tokenward::runtime::Session;

use crate::problem::{Answer, Problem};
use crate::repl::Repl;
use crate::screen::{Tone, cell, from_now, headings};

pub(super) fn user(repl: &mut Repl, name: String) -> Answer {
    repl.host.runtime.user(&name).id()?;
    repl.user = name;
    Ok(format!("you are {}", repl.user))
}

pub(super) async fn use_(repl: &mut Repl, provider: &str, method: Option<Method>) -> Answer {
    repl.host.check_provider(provider)?;
    let session = repl.session().await?;
    let id = match method {
        None => session.use_provider(provider).await?,
        Some(method) => session.use_credential(provider, method, &Label::default()).await?,
    };
    Ok(format!("your session uses {} by {}", id.provider, id.method))
}

pub(super) async fn list(repl: &mut Repl) -> Answer {
    let current = repl.session().await?.id();
    let now = repl.host.sources.now().wall;
    let mut rows = vec![headings(&["", "n", "opened", "used", "active provider"])];
    for (index, session) in repl.user().sessions().await?.iter().enumerate() {
        let view = session.view();
        let active = view.active().map_or_else(
            || cell(Tone::Faint, "none yet"),
            |context| cell(Tone::Plain, format!("{} {}", context.provider, context.method)),
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
    let active = session.active()?.map(|context| format!("{} is active", context.provider));
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
