//! What each command does. A command answers with text; printing it is for whoever ran it.

mod audit;
mod call;
mod complete;
mod config;
mod diagnose;
mod help;
mod sessions;
mod show;
mod sign_in;
mod trouble;
mod vault;
mod wait;

pub(crate) use help::greeting;
pub(crate) use trouble::actors;

use crate::grammar::Command;
use crate::problem::{Answer, Problem};
use crate::repl::Repl;

/// Carries out one command.
pub(crate) async fn carry_out(repl: &mut Repl, command: Command) -> Answer {
    match command {
        Command::Help(about) => help::help(repl, about.as_deref()),
        Command::User(name) => sessions::user(repl, name),
        Command::Users => show::users(repl).await,
        Command::SignIn { account, method, how } => {
            sign_in::sign_in(repl, &account, method, how).await
        }
        Command::Approve => complete::approve(repl).await,
        Command::Deny => complete::deny(repl).await,
        Command::Paste(text) => complete::paste(repl, &text).await,
        Command::Cancel => complete::cancel(repl).await,
        Command::SignOut(account) => sign_in::sign_out(repl, &account).await,
        Command::Use { account, method } => sessions::use_(repl, &account, method).await,
        Command::Fallback { account, allowed } => sign_in::fallback(repl, &account, allowed).await,
        Command::Sessions => sessions::list(repl).await,
        Command::NewSession => sessions::new(repl).await,
        Command::SwitchSession(number) => sessions::switch(repl, number).await,
        Command::CloseSession(number) => sessions::close(repl, number).await,
        Command::Providers => show::providers(repl).await,
        Command::Explain => diagnose::explain(repl).await,
        Command::Doctor => diagnose::doctor(repl).await,
        Command::Call { path, body } => call::call(repl, path, body.as_deref()).await,
        Command::Config(setting) => config::config(repl, setting.as_deref()),
        Command::Health(Some(provider)) => show::check_health(repl, &provider).await,
        Command::Health(None) => Ok(show::health(repl)),
        Command::Audit(limit) => audit::audit(repl, limit).await,
        Command::Refresh(account) => trouble::refresh(repl, &account).await,
        Command::Expire(account) => trouble::expire(repl, &account).await,
        Command::Revoke(provider) => trouble::revoke(repl, &provider),
        Command::Fault { provider, endpoint, fault, count } => {
            trouble::fault(repl, &provider, endpoint, fault, count)
        }
        Command::NoFault(provider) => trouble::no_fault(repl, &provider),
        Command::Faults => Ok(trouble::faults(repl)),
        Command::Breaker { provider: Some(provider), to: Some(to) } => {
            trouble::breaker(repl, &provider, to)
        }
        Command::Breaker { provider, .. } => show::breakers(repl, provider.as_deref()),
        Command::Stop(provider) => trouble::stop(repl, &provider).await,
        Command::Start(provider) => trouble::start(repl, &provider).await,
        Command::Crash(actor) => trouble::crash(repl, &actor).await,
        Command::Tree => Ok(show::tree(repl).await),
        Command::Events(on) => {
            repl.show_events(on);
            Ok(String::new())
        }
        Command::Wait(until) => wait::wait(repl, until).await,
        Command::Stats => show::stats(repl),
        Command::Vault => vault::vault(repl).await,
        Command::Erase(user) => vault::erase(repl, &user).await,
        Command::Expect { .. } | Command::ExpectError(_) => {
            Err(Problem::new("there is nothing to expect at a prompt, write it into a script"))
        }
        Command::Quit => Ok(String::new()),
    }
}
