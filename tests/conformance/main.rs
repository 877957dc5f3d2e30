//! What `docs/oauth-conformance.md` says of the client, on the wire: every request that goes to an
//! authorization server meets every odd answer and every broken connection.

mod answers;
mod bodies;
mod calls;
#[path = "../common/mod.rs"]
mod common;
mod requests;
mod sign_ins;
