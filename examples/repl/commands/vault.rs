//! The vault: what it says about itself, and erasing a user from it.

use crate::problem::{Answer, Problem};
use crate::repl::Repl;
use crate::screen::{Tone, cell, count, from_now, headings};

pub(super) async fn vault(repl: &Repl) -> Answer {
    let seen = repl.host.runtime.inspect_vault().await?;
    let size = seen.bytes_on_disk.map_or_else(|| "-".to_owned(), |bytes| format!("{bytes} bytes"));
    let mut facts = vec![("store", seen.store), ("master key", seen.master_key)];
    facts.extend(seen.key_chain.into_iter().map(|step| ("", step)));
    facts.extend([
        ("format", seen.format.to_string()),
        ("records", seen.records.to_string()),
        ("quarantined", seen.quarantined.to_string()),
        ("on disk", size),
    ]);
    facts.extend(seen.degraded.into_iter().map(|reason| ("degraded", reason)));
    facts.extend(seen.warnings.into_iter().map(|warning| ("warning", warning)));
    let facts: Vec<_> = facts
        .into_iter()
        .map(|(name, value)| vec![cell(Tone::Faint, name), cell(Tone::Plain, value)])
        .collect();

    let now = repl.host.sources.now().wall;
    let mut keys = vec![headings(&["data key", "made", "records", "seals", "retired"])];
    for key in seen.data_keys {
        let retired = key.retired.map_or_else(|| "-".to_owned(), |at| from_now(at, now));
        keys.push(vec![
            cell(Tone::Strong, key.id.to_string()),
            cell(Tone::Plain, from_now(key.created, now)),
            cell(Tone::Plain, key.records.to_string()),
            cell(Tone::Plain, key.seals.to_string()),
            cell(Tone::Plain, retired),
        ]);
    }
    Ok([repl.palette.table(&facts), repl.palette.table(&keys)].join("\n"))
}

pub(super) async fn erase(repl: &mut Repl, user: &str) -> Answer {
    let users = repl.users().await?;
    if !users.iter().any(|known| known == user) {
        let known: Vec<_> = users.iter().map(String::as_str).collect();
        return Err(Problem::unknown("user", user, &known).advice("`users` lists them"));
    }
    let records = repl.host.runtime.user(user).erase().await?;
    repl.forget_sessions_of(user);
    let left = u64::try_from(records).unwrap_or(u64::MAX);
    let records = count(left, "record");
    Ok(format!("{user} is erased, with the last {records}; the vault's files are rewritten"))
}
