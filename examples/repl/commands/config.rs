//! What is configured, by what, and what it won over. Secrets are told by their place alone.

use std::path::Path;

use serde_json::Value;
use tokenward::config::Origin;
use tokenward::settings::Explained;

use crate::problem::{Answer, Problem};
use crate::repl::Repl;
use crate::screen::Tone;

/// Everything that somebody set, or one setting, whoever set it.
pub(super) fn config(repl: &Repl, setting: Option<&str>) -> Answer {
    match setting {
        Some(setting) => one(repl, setting),
        None => Ok(all(repl)),
    }
}

fn all(repl: &Repl) -> String {
    let explanation = repl.host.runtime.settings().explain();
    let (mut section, mut lines) = (String::new(), Vec::new());
    for explained in explanation.iter() {
        let (within, name) = split(&explained.setting);
        if within != section {
            within.clone_into(&mut section);
            lines.push(repl.palette.paint(Tone::Strong, within));
        }
        lines.extend(entry(repl, explained, name).map(|line| format!("  {line}")));
    }
    lines.join("\n")
}

fn one(repl: &Repl, setting: &str) -> Answer {
    let settings = repl.host.runtime.settings();
    if let Some(explained) = settings.explain_setting(setting) {
        return Ok(entry(repl, &explained, setting).collect::<Vec<_>>().join("\n"));
    }
    let explanation = settings.explain();
    let known: Vec<_> = explanation.iter().map(|it| it.setting.as_str()).collect();
    let problem = Problem::unknown("value of a setting", setting, &known);
    Err(problem.advice("docs/tokenward.toml names every setting"))
}

/// A line with the value, one with where it comes from, and one with what to be aware of.
fn entry(repl: &Repl, explained: &Explained, name: &str) -> impl Iterator<Item = String> {
    let over: Vec<_> = explained.over.iter().map(written).collect();
    let over =
        if over.is_empty() { String::new() } else { format!(", over {}", over.join(" and ")) };
    let origin = format!("  {}{over}", written(&explained.origin));
    let note = explained.note.map(|note| repl.palette.paint(Tone::Busy, &format!("  {note}")));
    [format!("{name} = {}", value(explained)), repl.palette.paint(Tone::Faint, &origin)]
        .into_iter()
        .chain(note)
}

/// The section of a setting, and its name there.
fn split(setting: &str) -> (&str, &str) {
    let keys = if setting.starts_with("providers.") { 2 } else { 1 };
    let end = setting.match_indices('.').nth(keys - 1).map_or(0, |(at, _)| at);
    (&setting[..end], setting[end..].trim_start_matches('.'))
}

fn written(origin: &Origin) -> String {
    match origin {
        Origin::Builder => "this program".to_owned(),
        Origin::File { file, line } => {
            let name = Path::new(file).file_name().map(|name| name.to_string_lossy());
            format!("{}:{line}", name.as_deref().unwrap_or(file))
        }
        other => other.to_string(),
    }
}

/// The value as a file has it; of a secret, where it stands.
fn value(explained: &Explained) -> String {
    let value = serde_json::from_str(&explained.value);
    value.map_or_else(|_| explained.value.clone(), |value| toml(&value))
}

fn toml(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| format!("{name} = {}", toml(value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", "))
        }
        plain => plain.to_string(),
    }
}
