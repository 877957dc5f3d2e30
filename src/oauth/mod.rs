//! The OAuth 2.0 protocol as a client: no actors, no domain.

/// The way out to token endpoints.
#[derive(Debug, Clone)]
pub struct Transport {}
