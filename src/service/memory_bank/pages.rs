//! All pages of a search as one stream.

use std::collections::HashSet;

use futures_util::stream::{self, Stream, TryStreamExt as _};
use http::StatusCode;

use super::{Cursor, Hit, MemoryBank, Page, Search};
use crate::service::{ServiceError, ServiceErrorKind};

/// How far the pages of a search have been followed.
struct Progress {
    bank: MemoryBank,
    search: Search,
    /// Where pages began. One that comes again would never end.
    seen: HashSet<Cursor>,
    left: usize,
    then: Then,
}

/// What follows what was fetched last.
enum Then {
    NextPage,
    Nothing,
    Error(ServiceError),
}

/// What `search` finds on at most `pages` pages.
pub(super) fn hits(
    bank: MemoryBank,
    search: Search,
    pages: usize,
) -> impl Stream<Item = Result<Hit, ServiceError>> + Send + use<> {
    let seen = search.cursor.iter().cloned().collect();
    let start = Progress { bank, search, seen, left: pages, then: Then::NextPage };
    stream::try_unfold(start, |progress| async {
        match progress.then {
            Then::NextPage => progress.next_page().await.map(Some),
            Then::Nothing => Ok(None),
            Then::Error(error) => Err(error),
        }
    })
    .map_ok(|hits| stream::iter(hits.into_iter().map(Ok)))
    .try_flatten()
}

impl Progress {
    async fn next_page(mut self) -> Result<(Vec<Hit>, Self), ServiceError> {
        let Page { hits, next } = self.bank.search(&self.search).await?;
        self.left = self.left.saturating_sub(1);
        self.then = match next {
            None => Then::Nothing,
            Some(cursor) if !self.seen.insert(cursor.clone()) => {
                endless("gives the same cursor twice, its pages have no end")
            }
            Some(_) if self.left == 0 => {
                endless("has more pages than are followed, narrow the search")
            }
            Some(cursor) => {
                self.search.cursor = Some(cursor);
                Then::NextPage
            }
        };
        Ok((hits, self))
    }
}

fn endless(what: &str) -> Then {
    let text = format!("the memory bank {what}");
    let error = ServiceError::new(ServiceErrorKind::Malformed, text);
    Then::Error(error.with_status(StatusCode::OK))
}
