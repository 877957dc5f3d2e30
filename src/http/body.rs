//! The body of an answer on its way to the caller: whole, although its beginning may have been looked
//! at, and watched, so that the breaker is told when it breaks off.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::resilience::Answered;

/// The body of an answer: that of the client beneath, frame by frame.
pub struct ResponseBody<B: Body> {
    /// What was read of it already.
    read: VecDeque<Frame<Bytes>>,
    /// How it ended after that, where that was seen already.
    broke: Option<B::Error>,
    rest: B,
    answered: Option<Answered>,
}

impl<B: Body<Data = Bytes> + Unpin> ResponseBody<B> {
    /// A body of which nothing was read.
    pub(super) fn new(rest: B) -> Self {
        Self { read: VecDeque::new(), broke: None, rest, answered: None }
    }

    /// From now on `answered` is told when it breaks off.
    pub(super) fn watched_by(mut self, answered: Answered) -> Self {
        self.answered = Some(answered);
        self
    }

    /// Reads one frame ahead, which stays to be read. Its data; none at the end of the body.
    pub(super) async fn read_ahead(&mut self) -> Option<Bytes> {
        if self.broke.is_some() {
            return None;
        }
        match std::future::poll_fn(|cx| Pin::new(&mut self.rest).poll_frame(cx)).await? {
            Ok(frame) => {
                let data = frame.data_ref().cloned().unwrap_or_default();
                self.read.push_back(frame);
                Some(data)
            }
            Err(error) => {
                self.broke = Some(error);
                None
            }
        }
    }

    /// Whether it was seen to break off.
    pub(super) fn is_broken(&self) -> bool {
        self.broke.is_some()
    }
}

// Nothing in it is pinned but the rest.
impl<B: Body + Unpin> Unpin for ResponseBody<B> {}

impl<B: Body<Data = Bytes> + Unpin> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(frame) = self.read.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let frame = match self.broke.take() {
            Some(error) => Some(Err(error)),
            None => ready!(Pin::new(&mut self.rest).poll_frame(cx)),
        };
        if matches!(frame, Some(Err(_)))
            && let Some(answered) = self.answered.take()
        {
            answered.broke_off();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.broke.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.read.iter().filter_map(Frame::data_ref).map(Bytes::len).sum::<usize>();
        let (read, rest) = (read as u64, self.rest.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint
    }
}

impl<B: Body> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}
