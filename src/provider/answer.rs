//! What a provider's data makes of a token answer that is at hand. It is how a spec for a provider
//! is tried on recorded answers, and it is where generated and hostile ones are thrown at the parser.

use http::{HeaderMap, StatusCode};

use super::errors::Spends;
use super::{Failure, Grant, ProviderSpec};
use crate::clock::Moment;
use crate::oauth;

impl ProviderSpec {
    /// Reads the answer of the token endpoint to a renewal, as if it had just come: `body` in the
    /// encoding that was sent, whole. Nothing is asked, stored or spent.
    ///
    /// ```
    /// use http::{HeaderMap, StatusCode};
    /// use tokenward::catalog;
    /// use tokenward::clock::Sources;
    /// use tokenward::provider::FailureClass;
    ///
    /// let openai = catalog::openai();
    /// let now = Sources::system().now();
    /// let body = br#"{"error":{"message":"used before","code":"refresh_token_reused"}}"#;
    /// let failure = openai
    ///     .read_token_answer(StatusCode::BAD_REQUEST, &HeaderMap::new(), body, now)
    ///     .expect_err("it refuses");
    /// assert_eq!(failure.class, FailureClass::ReauthorizationRequired);
    /// ```
    ///
    /// # Errors
    ///
    /// What the answer means when it grants nothing, by [`ProviderSpec::errors`].
    pub fn read_token_answer(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        requested_at: Moment,
    ) -> Result<Grant, Failure> {
        // Only how the answer is read matters of it.
        let endpoint = self.endpoint_of(&self.base_url, &self.oauth.refresh, "");
        let read = oauth::read_token_answer(status, headers, body, requested_at, endpoint);
        self.granted(read, Spends::SingleUse)
    }
}
