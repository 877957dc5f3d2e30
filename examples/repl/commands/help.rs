//! The greeting, and what can be typed.

use crate::grammar::find;
use crate::problem::Answer;
use crate::repl::Repl;
use crate::screen::{Tone, cell, human};
use crate::table::COMMANDS;

/// What stands on the screen at first: where things are, and what to type next.
pub(crate) fn greeting(repl: &Repl) -> String {
    let palette = repl.palette;
    let place = &repl.host.place;
    let vault = if place.is_temporary() {
        format!("{} (gone when you quit, keep one with --vault PATH)", place.vault.display())
    } else {
        place.vault.display().to_string()
    };
    let providers = repl.host.provider_names().join(", ");
    let kind = if repl.host.simulations.is_some() {
        format!("simulated, tokens live for {}", human(repl.host.token_lifetime))
    } else {
        "the real ones".to_owned()
    };
    let about = |name, text: String| vec![cell(Tone::Faint, name), cell(Tone::Plain, text)];
    let facts = palette.table(&[
        about("vault", vault),
        about("key", place.key.clone()),
        about("providers", format!("{providers} ({kind})")),
    ]);
    let step = |typed, text| vec![cell(Tone::Strong, typed), cell(Tone::Plain, text)];
    let browser = if repl.host.simulations.is_some() {
        step("  approve", "be the browser, and agree")
    } else {
        step("  paste TEXT", "when the browser can not come back by itself")
    };
    let steps = palette.table(&[
        step("  sign-in openai authorization-code", "begin to sign in with a browser"),
        browser,
        step("  call", "send a request with the new token"),
        step("  providers", "see its state, and when it expires"),
        step("  events on", "watch it being renewed"),
        step("  help", "see what else there is to do, or to break"),
    ]);
    let name = palette.paint(Tone::Strong, concat!("tokenward ", env!("CARGO_PKG_VERSION")));
    format!("{name}\n{facts}\n\nyou are {}. try:\n{steps}\n", repl.user)
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
