//! What happens to a credential, and what is to be done about it: the values that cross between
//! the lifecycle and its shell.

use std::sync::Arc;

use crate::clock::Moment;
use crate::credential::material::Material;
use crate::error::Error;
use crate::event::EventKind;
use crate::identity::Generation;
use crate::provider::Failure;

/// What the shell knows at the moment of an event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Evidence {
    /// Both clocks.
    pub(crate) now: Moment,
    /// A random number, for jitter.
    pub(crate) noise: u64,
}

/// What happens to a credential.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// The vault answered what it has.
    Loaded(Loaded),
    /// The vault could not say what it has; `lasting` where only somebody who mends it changes that.
    LoadFailed { reason: String, lasting: bool },
    /// A caller wants a usable token.
    Acquire,
    /// A caller wants a renewal, due or not.
    Refresh,
    /// A resource refused the token of this generation.
    Rejected { generation: Generation },
    /// A resource refused this generation, to which the one was renewed that it had refused before.
    RefusedAgain { generation: Generation },
    /// The holder says that the access token must not be used any more.
    Invalidate,
    /// A resource took the key or the token of this generation.
    Accepted { generation: Generation },
    /// The user allows the API key to stand in for other sign-ins, or does not any more; durable.
    StandIn { allowed: bool },
    /// The alarm rang.
    Deadline,
    /// A renewal ended.
    Renewed { base: Generation, outcome: RenewalOutcome },
    /// The material of a sign-in is durable, or has to be held until it can be.
    SignedIn { material: Arc<Material>, unsaved: Option<String> },
    /// Another try to make held material durable ended: as what it is stored now.
    Saved { generation: Generation, result: Result<Arc<Material>, String> },
    /// The user signs out.
    SignOut,
    /// A try to erase what was signed out of ended; `generation` is that of the sign-out.
    Erased { generation: Generation, result: Result<(), String>, revoked: bool },
}

/// What the vault and the memory of this process have of a credential when its actor starts.
#[derive(Debug, Clone, Default)]
#[allow(clippy::struct_excessive_bools, reason = "five facts, none of which follows from another")]
pub(crate) struct Loaded {
    /// The newest material.
    pub(crate) material: Option<Arc<Material>>,
    /// Its refresh token may be spent: a rotation record stands, and what left it is not under
    /// way any more, or was in doubt itself.
    pub(crate) in_doubt: bool,
    /// The last trouble, remembered over the restart.
    pub(crate) trouble: Option<Trouble>,
    /// Why the material is not for the client that the settings name now, where it is not.
    pub(crate) conflict: Option<String>,
    /// A renewal that an earlier incarnation started is still under way.
    pub(crate) under_way: bool,
    /// The material could not be written to the vault yet.
    pub(crate) unsaved: bool,
    /// The user has signed out, and the vault has not confirmed the erasure yet.
    pub(crate) signed_out: bool,
    /// The user allows this API key to stand in for other sign-ins.
    pub(crate) stands_in: bool,
}

/// How a renewal ended.
#[derive(Debug, Clone)]
pub(crate) enum RenewalOutcome {
    /// New material, durable; or not, and why.
    Granted { material: Arc<Material>, unsaved: Option<String> },
    /// The provider, or the way to it, failed.
    Failed(Failure),
    /// Nothing was sent: the vault could not record the intent, or the runtime stops.
    NotStarted { reason: String },
    /// The vault holds other material than the one that was renewed.
    Superseded,
}

/// What the shell has to do, in this order.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    /// Ask the vault what it has.
    Load,
    /// Renew this material. `in_doubt`: a refresh token that may be spent is tried once more.
    Renew { material: Arc<Material>, in_doubt: bool },
    /// Try again to make this material durable.
    Save { material: Arc<Material> },
    /// Erase what the vault has, and revoke `material` at the provider.
    Erase { generation: Generation, material: Option<Arc<Material>> },
    /// Remember this trouble over a restart.
    Remember { generation: Generation, trouble: Trouble },
    /// The trouble that was remembered is over.
    Forget { generation: Generation },
    /// Keep the caller of this event waiting for [`Effect::AnswerAll`].
    Park,
    /// Answer the caller of this event: with the snapshot, or with a failure.
    Answer(Result<(), Error>),
    /// Answer every waiting caller.
    AnswerAll(Result<(), Error>),
    /// Report.
    Emit(EventKind),
}

/// Why a credential is not renewed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// What went wrong last.
    pub(crate) failure: Failure,
    /// How many attempts failed in a row.
    pub(crate) attempts: u32,
    /// The next attempt; none when only the user can help.
    pub(crate) retry_at: Option<Moment>,
}
