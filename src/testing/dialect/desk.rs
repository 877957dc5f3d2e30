//! Where one request is dealt with: what the client sent, what is registered, and the steps that
//! providers have in common.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::RecordedRequest;
use super::super::devices::{DeviceConsent, NewDevice};
use super::super::ledger::{Grant, Ledger, Redemption};
use super::super::mint::Mint;
use super::super::resources::Resources;
use super::{Fields, Paths, Refusal};
use crate::clock::Moment;
use crate::secret::Secret;

/// The pace of polls that is asked for.
const DEVICE_INTERVAL: Duration = Duration::from_secs(5);

/// What the provider knows about its one client.
#[derive(Debug, Clone)]
pub(in crate::testing) struct Registration {
    pub(in crate::testing) client_id: String,
    pub(in crate::testing) client_secret: Option<Secret>,
    /// The ports of loopback redirects; empty: any.
    pub(in crate::testing) redirect_ports: Vec<u16>,
    pub(in crate::testing) token_lifetime: Duration,
    /// What the client may be granted; none: whatever it asks for.
    pub(in crate::testing) scopes: Option<Vec<String>>,
}

/// One request, and all that is needed to deal with it.
pub(in crate::testing) struct Desk<'a> {
    pub(in crate::testing) request: &'a RecordedRequest,
    pub(in crate::testing) registration: &'a Registration,
    pub(in crate::testing) ledger: &'a mut Ledger,
    pub(in crate::testing) resources: &'a mut Resources,
    pub(in crate::testing) mint: &'a Mint,
    pub(in crate::testing) now: Moment,
    /// A scripted fault: renew, but issue no refresh token.
    pub(in crate::testing) omit_refresh_token: bool,
}

impl Desk<'_> {
    /// Spends the code that `fields` bring. `state`: where the provider wants it in the exchange.
    pub(super) fn redeem(
        &mut self,
        fields: &Fields,
        state: Option<&str>,
    ) -> Result<Grant, Refusal> {
        let redemption = Redemption {
            code: fields.require("code")?,
            redirect_uri: fields.require("redirect_uri")?,
            verifier: fields.require("code_verifier")?,
            state,
        };
        self.ledger.redeem(&redemption, self.now)
    }

    /// Uses the refresh token that `fields` bring. One that is not replaced stays in force.
    pub(super) fn renew(&mut self, fields: &Fields, rotates: bool) -> Result<Grant, Refusal> {
        let rotates = rotates && !self.omit_refresh_token;
        self.ledger.renew(fields.require("refresh_token")?, rotates)
    }

    /// Issues a device code and the user code that goes with it.
    pub(super) fn issue_device_code(
        &mut self,
        scope: &str,
        lifetime: Duration,
    ) -> (String, String) {
        let (device_code, user_code) = (self.mint.token("", 40), self.mint.user_code());
        let new = NewDevice {
            device_code: &device_code,
            user_code: &user_code,
            scope,
            lifetime,
            interval: DEVICE_INTERVAL,
        };
        self.ledger.devices.issue(&new, self.now);
        self.ledger.counters.device_authorizations += 1;
        (device_code, user_code)
    }

    /// One poll for a device code; a grant when the user has agreed.
    pub(super) fn poll_device(
        &mut self,
        device_code: &str,
        user_code: Option<&str>,
        renewable: bool,
    ) -> Result<Grant, Refusal> {
        self.ledger.counters.device_polls += 1;
        let consent = self.ledger.devices.poll(device_code, user_code, self.now);
        let hasty = matches!(consent, Err(Refusal::DeviceHasty { .. }));
        self.ledger.counters.hasty_polls += usize::from(hasty);
        let DeviceConsent { scope, account } = consent?;
        Ok(self.ledger.new_grant(&scope, &account, renewable))
    }

    /// Where the user types a code: at this simulation, by the address that the client used.
    pub(super) fn verification_uri(&self, paths: Paths) -> String {
        let host = self.request.header("host").unwrap_or("127.0.0.1");
        format!("http://{host}{}", paths.verification)
    }

    /// A grant that needs no user.
    pub(super) fn grant_to_client(&mut self, scope: &str) -> Grant {
        self.ledger.counters.client_credentials += 1;
        self.ledger.new_grant(scope, &self.registration.client_id, false)
    }

    /// Issues `access_token`, and `refresh_token` where there is one, and writes the answer of
    /// RFC 6749 §5.1.
    pub(super) fn issue(
        &mut self,
        grant: &Grant,
        access_token: &str,
        refresh_token: Option<&str>,
    ) -> Value {
        let lifetime = self.registration.token_lifetime;
        self.ledger.add_access_token(access_token, grant, self.now.after(lifetime));
        let mut answer = json!({
            "token_type": "Bearer",
            "access_token": access_token,
            "expires_in": lifetime.as_secs(),
            "scope": grant.scope,
        });
        if let Some(token) = refresh_token.filter(|_| grant.renewable && !self.omit_refresh_token) {
            self.ledger.add_refresh_token(token, grant);
            answer["refresh_token"] = token.into();
        }
        answer
    }

    pub(super) fn check_client(&self, fields: &Fields) -> Result<(), Refusal> {
        let known = fields.require("client_id")? == self.registration.client_id;
        if known { Ok(()) } else { Err(Refusal::Client) }
    }

    /// Whether `secret` is the client's; a client without one must send none.
    pub(super) fn check_client_secret(&self, secret: Option<&str>) -> Result<(), Refusal> {
        let registered = self.registration.client_secret.as_ref().map(Secret::expose);
        if secret == registered { Ok(()) } else { Err(Refusal::ClientAuthentication) }
    }

    /// Whether the client authenticates as itself with HTTP Basic (RFC 6749 §2.3.1).
    pub(super) fn check_basic_client(&self) -> Result<(), Refusal> {
        let basic = self.authorization("basic").ok_or(Refusal::ClientAuthentication)?;
        let pair = STANDARD.decode(basic).ok().and_then(|pair| String::from_utf8(pair).ok());
        let pair = pair.ok_or(Refusal::ClientAuthentication)?;
        let (id, secret) = pair.split_once(':').ok_or(Refusal::ClientAuthentication)?;
        if id != self.registration.client_id {
            return Err(Refusal::ClientAuthentication);
        }
        self.check_client_secret(Some(secret))
    }

    /// Whether the access token is good, and was granted `scope`.
    pub(super) fn check_scope(&self, token: &str, scope: &'static str) -> Result<(), Refusal> {
        self.check_access_token(token)?;
        let granted = self.ledger.scope_of(token).unwrap_or_default();
        let has = granted.split(' ').any(|granted| granted == scope);
        if has { Ok(()) } else { Err(Refusal::Scope(scope)) }
    }

    /// What stands in `Authorization` after `scheme`.
    pub(super) fn authorization(&self, scheme: &str) -> Option<&str> {
        let (given, credential) = self.request.header("authorization")?.split_once(' ')?;
        given.eq_ignore_ascii_case(scheme).then_some(credential)
    }

    pub(super) fn check_access_token(&self, token: &str) -> Result<(), Refusal> {
        self.ledger.check_access_token(token, self.now)
    }

    pub(super) fn check_api_key(&self, key: &str) -> Result<(), Refusal> {
        self.ledger.check_api_key(key)
    }

    /// Whether the request is `method` at `path`.
    pub(super) fn is(&self, method: &http::Method, path: &str) -> bool {
        self.request.method == *method && self.request.path == path
    }

    /// The body of a request to a resource, which has to be JSON and to have `members`.
    pub(super) fn json_with(&self, members: &[&'static str]) -> Result<Value, Refusal> {
        if !self.request.is_of("application/json") {
            return Err(Refusal::MediaType);
        }
        let body: Value =
            serde_json::from_slice(&self.request.body).map_err(|_| Refusal::Malformed)?;
        match members.iter().find(|member| body.get(**member).is_none()) {
            Some(missing) => Err(Refusal::Missing(missing)),
            None => Ok(body),
        }
    }

    /// Now, and the end of a token issued now, as a JWT has them: seconds since 1970.
    pub(super) fn issued_and_expiring(&self) -> (u64, u64) {
        let since = self.now.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        (since.as_secs(), (since + self.registration.token_lifetime).as_secs())
    }
}
