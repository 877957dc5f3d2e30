//! What `docs/oauth-conformance.md` says of the client, on the wire: every request that goes to an
//! authorization server meets every odd answer and every broken connection. And the document
//! itself: it names tests, and they have to be there.

mod answers;
mod bodies;
mod calls;
#[path = "../common/mod.rs"]
mod common;
mod document;
mod requests;
mod sign_ins;
