//! The body of an answer on its way to the caller: whole, although its beginning may have been looked
//! at, and watched, so that the breaker is told when it breaks off.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use crate::resilience::Answered;

/// The body of an answer: what was read ahead of it, then that of the client beneath, frame by frame.
///
/// [`Session::layer`](crate::Session::layer) answers with it. It is an [`http_body::Body`] like any
/// other: a breaker that hears of its end is all that is added.
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::{BodyExt as _, Full};
/// # use hyper_util::client::legacy::Client;
/// # use hyper_util::rt::TokioExecutor;
/// # use tower::{Service as _, ServiceBuilder};
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let anthropic = SimulatedProvider::anthropic().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(anthropic.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("anthropic").with_api_key(anthropic.issue_api_key()).await?;
/// # let session = ada.open_session().await?;
/// # session.use_provider("anthropic").await?;
/// # let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
/// # let mut service = ServiceBuilder::new().layer(session.layer()).service(client);
/// let request = http::Request::get("/v1/models").body(Full::default())?;
/// let answer = service.call(request).await.map_err(|error| error.to_string())?;
///
/// // Frame by frame, as it comes.
/// let (mut body, mut length) = (answer.into_body(), 0);
/// while let Some(frame) = body.frame().await {
///     length += frame?.data_ref().map_or(0, Bytes::len);
/// }
/// assert!(length > 0);
/// # Ok(())
/// # }
/// ```
pub struct ResponseBody<B: Body> {
    /// What was read of it already, in one piece: however small the frames are that it comes in, it
    /// takes no more memory than it is long.
    read: BytesMut,
    /// The trailers, where they were read already.
    trailers: Option<Frame<Bytes>>,
    /// How it ended after that, where that was seen already.
    broke: Option<B::Error>,
    rest: B,
    answered: Option<Answered>,
    /// Whether an error is the caller's own doing, of which the breaker is not told.
    ended_by_caller: fn(&B::Error) -> bool,
}

impl<B: Body<Data = Bytes> + Unpin> ResponseBody<B> {
    /// A body of which nothing was read. `ended_by_caller` tells errors that are the caller's own doing.
    pub(super) fn new(rest: B, ended_by_caller: fn(&B::Error) -> bool) -> Self {
        Self {
            read: BytesMut::new(),
            trailers: None,
            broke: None,
            rest,
            answered: None,
            ended_by_caller,
        }
    }

    /// From now on `answered` is told when it breaks off.
    pub(super) fn watched_by(mut self, answered: Answered) -> Self {
        self.answered = Some(answered);
        self
    }

    /// Reads one frame ahead, which stays to be read. How long all is that was read ahead; none at
    /// the end of the body.
    pub(super) async fn read_ahead(&mut self) -> Option<usize> {
        if self.broke.is_some() || self.trailers.is_some() {
            return None;
        }
        match std::future::poll_fn(|cx| Pin::new(&mut self.rest).poll_frame(cx)).await? {
            Ok(frame) => {
                match frame.data_ref() {
                    Some(data) => self.read.extend_from_slice(data),
                    None => self.trailers = Some(frame),
                }
                Some(self.read.len())
            }
            Err(error) => {
                self.broke = Some(error);
                None
            }
        }
    }

    /// What was read ahead.
    pub(super) fn read(&self) -> &[u8] {
        &self.read
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
        if !self.read.is_empty() {
            let read = std::mem::take(&mut self.read).freeze();
            return Poll::Ready(Some(Ok(Frame::data(read))));
        }
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(trailers)));
        }
        let frame = match self.broke.take() {
            Some(error) => Some(Err(error)),
            None => ready!(Pin::new(&mut self.rest).poll_frame(cx)),
        };
        if let Some(Err(error)) = &frame
            && let Some(answered) = self.answered.take()
            && !(self.ended_by_caller)(error)
        {
            answered.broke_off();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let all_read = self.read.is_empty() && self.trailers.is_none();
        all_read && self.broke.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (read, rest) = (self.read.len() as u64, self.rest.size_hint());
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
