//! The greeting, and what can be typed.

use crate::grammar::find;
use crate::problem::Answer;
use crate::repl::Repl;
use crate::screen::{Tone, cell, human};
use crate::table::COMMANDS;

/// What stands on the screen at first: where things are, and what to type next.
pub(crate) fn greeting(repl: &Repl) -> String {
    let palette = repl.palette;
    let (vault, key) = repl.host.place();
    let vault = if repl.host.is_temporary() {
        format!("{vault} (gone when you quit, keep one with --vault PATH)")
    } else {
        vault
    };
    let names = repl.host.provider_names();
    let kind = if repl.host.simulations.is_some() {
        format!("simulated, tokens live for {}", human(repl.host.token_lifetime))
    } else if let Some(file) = &repl.host.config {
        format!("as {} and the environment say", file.display())
    } else {
        "the real ones, as the environment says".to_owned()
    };
    let about = |name, text: String| vec![cell(Tone::Faint, name), cell(Tone::Plain, text)];
    let facts = palette.table(&[
        about("vault", vault),
        about("key", key),
        about("providers", format!("{} ({kind})", names.join(", "))),
    ]);
    let step =
        |typed: &str, text| vec![cell(Tone::Strong, format!("  {typed}")), cell(Tone::Plain, text)];
    let begin = if repl.host.simulations.is_some() {
        vec![
            step("sign-in openai authorization-code", "begin to sign in with a browser"),
            step("approve", "be the user there, and agree"),
        ]
    } else {
        let first = names.first().map_or("PROVIDER", String::as_str);
        vec![
            step("config", "see what is set, and by what"),
            step(&format!("sign-in {first}"), "sign in, by its first method"),
        ]
    };
    let rest = [
        step("call", "send a request with what you signed in by"),
        step("providers", "see its state, and when it expires"),
        step("events on", "watch it being renewed"),
        step("help", "see what else there is to do, or to break"),
    ];
    let steps = palette.table(&begin.into_iter().chain(rest).collect::<Vec<_>>());
    let name = palette.paint(Tone::Strong, concat!("tokenward ", env!("CARGO_PKG_VERSION")));
    let warnings = repl.host.runtime.settings().warnings().into_iter();
    let warnings: String =
        warnings.map(|warning| palette.paint(Tone::Busy, &warning) + "\n").collect();
    format!("{name}\n{facts}\n{warnings}\nyou are {}. try:\n{steps}\n", repl.user)
}

/// All commands, or one.
pub(super) fn help(repl: &Repl, about: Option<&str>) -> Answer {
    if let Some(name) = about {
        let entry = find(name)?;
        let usage = repl.palette.paint(Tone::Strong, &entry.usage());
        return Ok(format!("{usage}\n{}\n{}", entry.about, entry.more).trim_end().to_owned());
    }
    let rows: Vec<_> = COMMANDS
        .iter()
        .map(|entry| vec![cell(Tone::Strong, entry.usage()), cell(Tone::Plain, entry.about)])
        .collect();
    Ok(repl.palette.table(&rows))
}
