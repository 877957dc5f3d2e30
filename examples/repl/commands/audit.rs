//! The audit trail: what happened to whom, and whether it still says so as it was written.

use tokenward::vault::audit::{AuditOutcome, AuditQuery, AuditRecord, AuditUser};

use crate::account::account_at;
use crate::problem::Answer;
use crate::repl::Repl;
use crate::screen::{Cell, Tone, cell, from_now, headings};

/// The latest entries, the newest at the end, and what a verification of all of them finds.
pub(super) async fn audit(repl: &Repl, limit: usize) -> Answer {
    let audit = repl.host.runtime.audit();
    let page = audit.entries(AuditQuery::all().newest_first().limit(limit)).await?;
    let mut rows = vec![headings(&["n", "when", "what", "user", "account", "method"])];
    rows.extend(page.entries.iter().rev().map(|entry| row(repl, entry)));
    let mut lines = vec![repl.palette.table(&rows)];
    for entry in page.entries.iter().rev() {
        if let Some(reason) = &entry.reason {
            let line = format!("{}: {reason}", entry.mark.number());
            lines.push(repl.palette.paint(Tone::Faint, &line));
        }
    }
    let report = audit.verify().await?;
    lines.push(match report.finding {
        Some(finding) => repl.palette.paint(Tone::Bad, &finding.to_string()),
        None => repl.palette.paint(
            Tone::Faint,
            &format!(
                "entries {} to {} are as they were written",
                report.first,
                report.verified.number()
            ),
        ),
    });
    Ok(lines.join("\n"))
}

fn row(repl: &Repl, entry: &AuditRecord) -> Vec<Cell> {
    let now = repl.host.sources.now().wall;
    let tone = match entry.kind.outcome() {
        AuditOutcome::Done => Tone::Plain,
        _ => Tone::Bad,
    };
    let times = if entry.count == 1 { String::new() } else { format!(" ({} times)", entry.count) };
    let user = match &entry.user {
        AuditUser::Named(user) => user.to_string(),
        AuditUser::Erased => "(erased)".to_owned(),
        AuditUser::Nobody => String::new(),
        _ => "(unreadable)".to_owned(),
    };
    let account = entry.provider.as_ref().map(|provider| {
        let label = entry.label.clone().unwrap_or_default();
        account_at(provider, &label)
    });
    let method = entry.method.map(|method| method.to_string());
    vec![
        cell(Tone::Plain, entry.mark.number().to_string()),
        cell(Tone::Plain, from_now(entry.at, now)),
        cell(tone, format!("{}{times}", entry.kind)),
        cell(Tone::Plain, user),
        cell(Tone::Plain, account.unwrap_or_default()),
        cell(Tone::Plain, method.unwrap_or_default()),
    ]
}
