//! All pages of a search as one stream.

use std::collections::HashSet;

use futures_util::stream::{self, Stream, TryStreamExt as _};

use super::{Cursor, Hit, MemoryBank, Page, Search};
use crate::service::{ServiceError, ServiceErrorKind};

/// How far the pages of a search have been followed.
struct Progress {
    bank: MemoryBank,
    search: Search,
    /// Where pages began. One that comes again would never end.
    seen: HashSet<Cursor>,
    left: usize,
    done: bool,
}

/// What `search` finds on at most `pages` pages.
pub(super) fn hits(
    bank: MemoryBank,
    search: Search,
    pages: usize,
) -> impl Stream<Item = Result<Hit, ServiceError>> + Send + use<> {
    let seen = search.cursor.iter().cloned().collect();
    let start = Progress { bank, search, seen, left: pages, done: false };
    stream::try_unfold(start, |progress| async {
        if progress.done { Ok(None) } else { progress.next_page().await.map(Some) }
    })
    .map_ok(|hits| stream::iter(hits.into_iter().map(Ok)))
    .try_flatten()
}

impl Progress {
    async fn next_page(mut self) -> Result<(Vec<Hit>, Self), ServiceError> {
        let Page { hits, next } = self.bank.search(&self.search).await?;
        self.left = self.left.saturating_sub(1);
        match next {
            None => self.done = true,
            Some(cursor) => {
                if !self.seen.insert(cursor.clone()) {
                    return Err(endless("gives the same cursor twice, its pages have no end"));
                }
                if self.left == 0 {
                    return Err(endless("has more pages than are followed, narrow the search"));
                }
                self.search.cursor = Some(cursor);
            }
        }
        Ok((hits, self))
    }
}

fn endless(what: &str) -> ServiceError {
    ServiceError::new(ServiceErrorKind::Malformed, format!("the memory bank {what}"))
}
