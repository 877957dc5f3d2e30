//! A client bound to a session: each request goes to whatever provider is active when it is sent.

use http::Method;

use super::request::RequestBuilder;
use crate::runtime::Session;

/// Sends requests as the user of a session.
///
/// The active provider gives the base URL and the credential, so a path such as `/v1/messages` is
/// all a request needs. A request whose credential is refused (401) is sent once more with a
/// renewed one, when there is one and the body can be sent again.
#[derive(Debug, Clone)]
pub struct Client {
    session: Session,
}

impl Session {
    /// A client that authenticates as this session's active provider. Costs a reference count;
    /// connections are shared by the whole runtime.
    pub fn client(&self) -> Client {
        Client { session: self.clone() }
    }
}

impl Client {
    /// A `GET` of `path`.
    pub fn get(&self, path: impl Into<String>) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// A `POST` to `path`.
    pub fn post(&self, path: impl Into<String>) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    /// A `PUT` to `path`.
    pub fn put(&self, path: impl Into<String>) -> RequestBuilder {
        self.request(Method::PUT, path)
    }

    /// A `PATCH` of `path`.
    pub fn patch(&self, path: impl Into<String>) -> RequestBuilder {
        self.request(Method::PATCH, path)
    }

    /// A `DELETE` of `path`.
    pub fn delete(&self, path: impl Into<String>) -> RequestBuilder {
        self.request(Method::DELETE, path)
    }

    /// A `HEAD` of `path`.
    pub fn head(&self, path: impl Into<String>) -> RequestBuilder {
        self.request(Method::HEAD, path)
    }

    /// A request of any method. `path` begins with a slash, and may hold a query; a whole URL is
    /// taken when it is of the active provider's own origin.
    pub fn request(&self, method: Method, path: impl Into<String>) -> RequestBuilder {
        RequestBuilder::new(self.session.clone(), method, path.into())
    }
}
