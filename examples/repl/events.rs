//! One line for each thing that happens.

use std::time::SystemTime;

use tokenward::event::{Event, EventKind};
use tokenward::resilience::{Change, Reason};

use crate::screen::{Palette, Tone, count, from_now, human, tone_of_health, tone_of_state};

/// The line of an event: how long after `start` it happened, to what, and what it was.
pub(crate) fn line(event: &Event, start: SystemTime, palette: Palette) -> String {
    let since = event.at.duration_since(start).unwrap_or_default();
    let time = palette.paint(Tone::Faint, &format!("[{:.1}s]", since.as_secs_f64()));
    format!("{time} {}", describe(event, palette))
}

fn describe(event: &Event, palette: Palette) -> String {
    let reason = |reason: &str| palette.paint(Tone::Faint, &format!("({reason})"));
    match &event.kind {
        EventKind::StateChanged { credential, from, to, generation, reason: why, .. } => {
            let state = |state| palette.paint(tone_of_state(state), &state.to_string());
            let (from, to) = (state(*from), state(*to));
            let why = why.as_deref().map(|why| format!(" {}", reason(why))).unwrap_or_default();
            format!("{credential} {from} → {to}, generation {generation}{why}")
        }
        EventKind::SignedIn { credential, generation, .. } => {
            format!("{credential} signed in, generation {generation}")
        }
        EventKind::SignedOut { credential, revoked, .. } => {
            let revoked = if *revoked { " and revoked" } else { "" };
            format!("{credential} signed out{revoked}")
        }
        EventKind::RevocationPending { credential, reason: why, retry_in, .. } => {
            let wait =
                humantime::format_duration(std::time::Duration::from_secs(retry_in.as_secs()));
            format!("{credential} is not revoked yet, again in {wait} {}", reason(why))
        }
        EventKind::Revoked { credential, .. } => format!("{credential} is revoked"),
        EventKind::RevocationGivenUp { credential, reason: why, .. } => {
            format!("{credential} can not be revoked {}", reason(why))
        }
        EventKind::Refreshed { credential, generation, expires_at, .. } => {
            let end = expires_at.map(|end| format!(", expires {}", from_now(end, event.at)));
            format!("{credential} renewed, generation {generation}{}", end.unwrap_or_default())
        }
        EventKind::RefreshFailed { credential, reason: why, retry_in, .. } => {
            let again = retry_in.map(|after| format!(", again in {}", human(after)));
            format!("{credential} not renewed{} {}", again.unwrap_or_default(), reason(why))
        }
        EventKind::HeldInMemory { credential, reason: why, .. } => {
            format!("{credential} held in memory {}", reason(why))
        }
        EventKind::HeldMaterialStored { credential, .. } => format!("{credential} is in the vault"),
        EventKind::FallbackAllowed { credential, allowed, .. } => {
            let allowed = if *allowed { "may" } else { "may not" };
            format!("{credential} {allowed} stand in for other sign-ins there")
        }
        EventKind::FallbackBegan { credential, key, reason: why, .. } => {
            let why = why.as_deref().map(|why| format!(" {}", reason(why))).unwrap_or_default();
            format!("{credential} falls back on {}{why}", key.method)
        }
        EventKind::FallbackEnded { credential, .. } => format!("{credential} falls back no longer"),
        EventKind::ProviderHealthChanged { provider, from, to, reason: why, .. } => {
            let state = |state| palette.paint(tone_of_health(state), state.as_str());
            let (from, to) = (state(*from), state(*to));
            let why = why.as_deref().map(|why| format!(" {}", reason(why))).unwrap_or_default();
            format!("{provider} {from} → {to}{why}")
        }
        EventKind::LoginStarted { user, provider, method, .. } => {
            format!("{user} begins to sign in to {provider} by {method}")
        }
        EventKind::LoginFailed { user, provider, reason: why, .. } => {
            format!("{user} did not sign in to {provider} {}", reason(why))
        }
        EventKind::SignInFailed { credential, reason: why, .. } => {
            format!("{credential} is not signed in {}", reason(why))
        }
        EventKind::SessionOpened { user, .. } => format!("{user} opened a session"),
        EventKind::SessionSwitched { user, provider, method, .. } => {
            format!("a session of {user} uses {provider} by {method}")
        }
        EventKind::SessionClosed { user, .. } => format!("{user} closed a session"),
        EventKind::SessionExpired { user, .. } => format!("a session of {user} expired"),
        EventKind::ActorRestarted { actor, restarts, reason: why, .. } => {
            let restarts = count(*restarts, "restart");
            format!("{actor} died and was started again, {restarts} lately {}", reason(why))
        }
        EventKind::ActorQuarantined { actor, retry_in, reason: why, .. } => {
            format!("{actor} dies too often, tried again in {} {}", human(*retry_in), reason(why))
        }
        EventKind::ActorRecovered { actor, .. } => format!("{actor} runs again"),
        EventKind::VaultDegraded { reason: why, .. } => format!("the vault fails {}", reason(why)),
        EventKind::VaultRecovered => "the vault works again".to_owned(),
        EventKind::VaultWarning { warning, .. } => format!("the vault needs attention: {warning}"),
        EventKind::RecordQuarantined { id, record, reason: why, .. } => {
            format!("{record} {id} can not be opened {}", reason(why))
        }
        EventKind::AuditTrailDamaged { problem, .. } => {
            format!("the audit trail is not as it was written: {problem}")
        }
        EventKind::DataKeyRotated { key, .. } => {
            format!("the vault seals under its data key {key}")
        }
        EventKind::MasterKeyRotated { source, .. } => {
            format!("the key of {source} opens the vault from now on")
        }
        EventKind::BreakerChanged { upstream, change, .. } => {
            let why = reason(&why_changed(change));
            format!("the breaker before {upstream} {} → {} {why}", change.from, change.to)
        }
        EventKind::ClockStepped { by_millis, .. } => {
            format!("the clock was stepped by {by_millis} ms, or the machine slept")
        }
        EventKind::ShuttingDown => "the runtime stops".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Why a breaker changed its state.
fn why_changed(change: &Change) -> String {
    match change.reason {
        Reason::ByHand => "by hand".to_owned(),
        _ => format!("{} of {} calls failed", change.counts.failures, change.counts.calls),
    }
}
