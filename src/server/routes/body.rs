//! The body of a request, no longer than is read and no slower than is waited for.

use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::clock::Clock;
use crate::server::refusal::Refusal;

/// The longest body, in bytes.
const LONGEST: usize = 16 * 1024;

/// How long the whole of it may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads `body` to its end.
pub(super) async fn read(body: Body, clock: &dyn Clock) -> Result<Bytes, Refusal> {
    let reading = Limited::new(body, LONGEST).collect();
    tokio::select! {
        biased;
        read = reading => match read {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge),
            Err(_) => Err(Refusal::InvalidRequest("the body ended before its time")),
        },
        () = clock.wait(PATIENCE) => Err(Refusal::TooSlow),
    }
}
