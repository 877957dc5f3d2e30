//! Asking a provider whether it takes an API key, before the key is stored.

use http::StatusCode;
use url::Url;

use super::errors::{Spends, failure};
use super::{Failure, FailureClass, KeyVerdict, Provider as _, ProviderSpec};
use crate::identity::Method;
use crate::oauth::{self, Probed, Transport};
use crate::secret::Secret;

impl ProviderSpec {
    pub(super) async fn probe_api_key(
        &self,
        transport: &Transport,
        key: &Secret,
    ) -> Result<KeyVerdict, Failure> {
        let misconfigured =
            |text: String| Failure::new(FailureClass::Misconfigured, text).not_sent();
        let Some(path) = &self.api_key.probe else { return Ok(KeyVerdict::NotOffered) };
        let base = self.base_url.as_str().trim_end_matches('/');
        let url = Url::parse(&format!("{base}{path}")).map_err(|_| {
            misconfigured(format!("api_key.probe of {} is not a path, correct it", self.id))
        })?;
        let headers =
            self.headers(Method::ApiKey, key).map_err(|error| misconfigured(error.to_string()))?;
        let probed = oauth::probe(transport, &url, headers).await;
        let Probed { status, body, retry_after } =
            probed.map_err(|error| failure(&self.errors, &error, Spends::Nothing))?;
        if status.is_success() {
            return Ok(KeyVerdict::Accepted);
        }
        if self.refuses_credential(status, &body) {
            return Ok(KeyVerdict::Refused);
        }
        let class = match status {
            StatusCode::TOO_MANY_REQUESTS => FailureClass::RateLimited { retry_after },
            StatusCode::REQUEST_TIMEOUT => FailureClass::Transient { retry_after },
            _ if status.is_server_error() => FailureClass::Transient { retry_after },
            _ => FailureClass::Protocol,
        };
        let (provider, status) = (&self.id, status.as_u16());
        let text = format!("{provider} does not say whether it takes the key ({status})");
        Err(Failure::new(class, text))
    }
}
