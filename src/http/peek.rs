//! A look at the beginning of an answer's body that leaves the answer whole for the caller.

use std::time::Duration;

use bytes::Bytes;
use http_body::Body;

use super::body::ResponseBody;
use crate::clock::Sources;

/// A body that is longer than this is not looked at: what says that a credential was refused is
/// short.
const LONGEST: usize = 64 * 1024;

/// How long the body may take. The caller waits for it, and may rather have the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the body says, when all of it comes in time and is short; else nothing.
pub(super) async fn peek<B: Body<Data = Bytes> + Unpin>(
    body: &mut ResponseBody<B>,
    sources: &Sources,
) -> Vec<u8> {
    let read = async {
        while let Some(length) = body.read_ahead().await {
            if length > LONGEST {
                return false;
            }
        }
        !body.is_broken()
    };
    let is_whole = sources.within(PATIENCE, read).await;
    if is_whole == Some(true) { body.read().to_vec() } else { Vec::new() }
}
