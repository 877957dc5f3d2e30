//! Why something is as it is: what the next call uses, and what this machine stands on.

use tokenward::doctor::Verdict;
use tokenward::identity::ProviderId;
use tokenward::runtime::Why;

use crate::account::account_of;
use crate::problem::{Answer, Problem};
use crate::repl::Repl;
use crate::screen::{Tone, cell, headings, human};

/// Which of your credentials the next call uses, and why no other.
pub(super) async fn explain(repl: &mut Repl) -> Answer {
    let choice = repl.session().await?.explain().await?;
    if choice.candidates.is_empty() {
        return Err(repl.signed_in_nowhere());
    }
    let mut rows = vec![headings(&["", "account", "method", "why"])];
    for candidate in &choice.candidates {
        let id = candidate.credential.id();
        let tone = match candidate.why {
            Why::OwnRefusedTwice | Why::OwnRefusedOnce => Tone::Busy,
            why if why.is_used() => Tone::Good,
            Why::OwnNeedsUser | Why::OwnIsSignedOut | Why::StandInIsUnusable => Tone::Bad,
            _ => Tone::Faint,
        };
        rows.push(vec![
            cell(Tone::Strong, if candidate.why.is_used() { "*" } else { " " }),
            cell(Tone::Plain, account_of(id)),
            cell(Tone::Plain, id.method.as_str()),
            cell(tone, candidate.told()),
        ]);
    }
    Ok(repl.palette.table(&rows))
}

/// What stands between this machine and the providers.
pub(super) async fn doctor(repl: &Repl) -> Answer {
    let diagnosis = repl.host.runtime.doctor().await;
    let mut rows = vec![headings(&["what", "layer", "found", "took", "seen"])];
    for finding in &diagnosis.findings {
        let (tone, word) = match finding.verdict {
            Verdict::Good => (Tone::Good, "good"),
            Verdict::Failed => (Tone::Bad, "failed"),
            _ => (Tone::Busy, "doubtful"),
        };
        let names = finding.providers.iter().map(ProviderId::as_str);
        let subject = names.chain([finding.subject.as_str()]).collect::<Vec<_>>().join(" ");
        rows.push(vec![
            cell(Tone::Plain, subject),
            cell(Tone::Plain, finding.layer.as_str()),
            cell(tone, word),
            cell(Tone::Plain, finding.took.map_or_else(|| "-".to_owned(), human)),
            cell(Tone::Plain, &finding.detail),
        ]);
    }
    let table = repl.palette.table(&rows);
    if diagnosis.is_well() {
        return Ok(table);
    }
    let failed = diagnosis.failed().count();
    Err(Problem::new(format!("{failed} of {} failed\n{table}", diagnosis.findings.len())))
}
