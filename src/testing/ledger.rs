//! What a simulated provider has issued and what became of it. It keeps fingerprints in place of
//! tokens, so nothing in it is a secret.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::Counters;
use super::devices::Devices;
use super::dialect::Refusal;
use crate::clock::Moment;

/// How long an authorization code can be exchanged (RFC 6749 §4.1.2 recommends ten minutes).
const CODE_LIFETIME: Duration = Duration::from_mins(10);

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Ledger {
    codes: HashMap<Fingerprint, Code>,
    access_tokens: HashMap<Fingerprint, AccessToken>,
    refresh_tokens: HashMap<Fingerprint, RefreshToken>,
    api_keys: HashSet<Fingerprint>,
    #[serde(default)]
    pub(super) devices: Devices,
    #[serde(default)]
    assertions: HashMap<Fingerprint, End>,
    grants: u64,
    #[serde(skip)]
    pub(super) counters: Counters,
}

/// The SHA-256 of a token, in base64url: also how PKCE makes a challenge from a verifier.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Fingerprint(String);

impl Fingerprint {
    pub(super) fn of(token: &str) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
        Self(URL_SAFE_NO_PAD.encode(digest))
    }
}

/// The S256 challenge of a verifier (RFC 7636 §4.2).
pub(super) fn challenge_of(verifier: &str) -> String {
    Fingerprint::of(verifier).0
}

/// What a user consented to; all tokens that follow from one consent share it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Grant {
    number: u64,
    pub(super) scope: String,
    pub(super) account: String,
    /// Whether it comes with refresh tokens.
    pub(super) renewable: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Code {
    grant: Grant,
    redirect_uri: String,
    challenge: String,
    state: Fingerprint,
    end: End,
    spent: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct AccessToken {
    grant: u64,
    #[serde(default)]
    scope: String,
    end: End,
}

#[derive(Debug, Serialize, Deserialize)]
struct RefreshToken {
    grant: Grant,
    spent: bool,
}

/// When something ends, on both clocks; on the wall clock alone once it was saved and restored,
/// because a monotonic clock does not outlive its process.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct End {
    wall: SystemTime,
    #[serde(skip)]
    monotonic: Option<Duration>,
}

impl End {
    pub(super) fn at(moment: Moment) -> Self {
        Self { wall: moment.wall, monotonic: Some(moment.monotonic) }
    }

    pub(super) fn has_passed(self, now: Moment) -> bool {
        now.wall >= self.wall || self.monotonic.is_some_and(|end| now.monotonic >= end)
    }
}

/// What an authorization code is bound to.
pub(super) struct Consent<'a> {
    pub(super) redirect_uri: &'a str,
    pub(super) challenge: &'a str,
    pub(super) state: &'a str,
}

/// What an exchange of a code brings along.
pub(super) struct Redemption<'a> {
    pub(super) code: &'a str,
    pub(super) redirect_uri: &'a str,
    pub(super) verifier: &'a str,
    /// Where the provider wants it in the exchange.
    pub(super) state: Option<&'a str>,
}

impl Ledger {
    pub(super) fn new_grant(&mut self, scope: &str, account: &str, renewable: bool) -> Grant {
        self.grants += 1;
        let (scope, account) = (scope.to_owned(), account.to_owned());
        Grant { number: self.grants, scope, account, renewable }
    }

    pub(super) fn add_code(
        &mut self,
        code: &str,
        grant: Grant,
        consent: &Consent<'_>,
        now: Moment,
    ) {
        let code_record = Code {
            grant,
            redirect_uri: consent.redirect_uri.to_owned(),
            challenge: consent.challenge.to_owned(),
            state: Fingerprint::of(consent.state),
            end: End::at(now.after(CODE_LIFETIME)),
            spent: false,
        };
        self.codes.insert(Fingerprint::of(code), code_record);
    }

    /// Spends a code, after every check that RFC 6749 §4.1.3 and RFC 7636 §4.6 ask for.
    pub(super) fn redeem(
        &mut self,
        redemption: &Redemption<'_>,
        now: Moment,
    ) -> Result<Grant, Refusal> {
        let code = self
            .codes
            .get_mut(&Fingerprint::of(redemption.code))
            .filter(|code| !code.end.has_passed(now))
            .ok_or(Refusal::Code)?;
        if code.spent {
            return Err(Refusal::CodeSpent);
        }
        if code.redirect_uri != redemption.redirect_uri {
            return Err(Refusal::RedirectUri);
        }
        if redemption.state.is_some_and(|state| Fingerprint::of(state) != code.state) {
            return Err(Refusal::State);
        }
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let well_formed = (43..=128).contains(&redemption.verifier.len())
            && redemption.verifier.bytes().all(unreserved);
        if !well_formed || Fingerprint::of(redemption.verifier).0 != code.challenge {
            return Err(Refusal::Verifier);
        }
        code.spent = true;
        self.counters.code_exchanges += 1;
        Ok(code.grant.clone())
    }

    pub(super) fn add_access_token(&mut self, token: &str, grant: &Grant, end: Moment) {
        let (number, scope) = (grant.number, grant.scope.clone());
        let record = AccessToken { grant: number, scope, end: End::at(end) };
        self.access_tokens.insert(Fingerprint::of(token), record);
        self.counters.issued_access_tokens += 1;
    }

    pub(super) fn add_refresh_token(&mut self, token: &str, grant: &Grant) {
        let record = RefreshToken { grant: grant.clone(), spent: false };
        self.refresh_tokens.insert(Fingerprint::of(token), record);
        self.counters.issued_refresh_tokens += 1;
    }

    /// Uses a refresh token; `single_use`: for the last time.
    pub(super) fn renew(&mut self, token: &str, single_use: bool) -> Result<Grant, Refusal> {
        let record =
            self.refresh_tokens.get_mut(&Fingerprint::of(token)).ok_or(Refusal::RefreshToken)?;
        if record.spent {
            self.counters.reused_refresh_tokens += 1;
            return Err(Refusal::RefreshTokenSpent);
        }
        if single_use {
            record.spent = true;
            self.counters.spent_refresh_tokens += 1;
        }
        self.counters.refreshes += 1;
        Ok(record.grant.clone())
    }

    pub(super) fn check_access_token(&self, token: &str, now: Moment) -> Result<(), Refusal> {
        match self.access_tokens.get(&Fingerprint::of(token)) {
            None => Err(Refusal::Credential),
            Some(record) if record.end.has_passed(now) => Err(Refusal::CredentialExpired),
            Some(_) => Ok(()),
        }
    }

    /// What a token was granted, its scopes separated by spaces.
    pub(super) fn scope_of(&self, token: &str) -> Option<&str> {
        Some(self.access_tokens.get(&Fingerprint::of(token))?.scope.as_str())
    }

    pub(super) fn add_api_key(&mut self, key: &str) {
        self.api_keys.insert(Fingerprint::of(key));
    }

    pub(super) fn check_api_key(&self, key: &str) -> Result<(), Refusal> {
        if self.api_keys.contains(&Fingerprint::of(key)) {
            Ok(())
        } else {
            Err(Refusal::Credential)
        }
    }

    pub(super) fn add_assertion(&mut self, assertion: &str, end: Moment) {
        self.assertions.insert(Fingerprint::of(assertion), End::at(end));
    }

    /// An assertion is good until it expires, any number of times.
    pub(super) fn check_assertion(&self, assertion: &str, now: Moment) -> Result<(), Refusal> {
        let end = self.assertions.get(&Fingerprint::of(assertion));
        if end.is_some_and(|end| !end.has_passed(now)) { Ok(()) } else { Err(Refusal::Assertion) }
    }

    /// Ends the grant that `token` belongs to, whichever kind of token it is (RFC 7009 §2.1), and
    /// whether there was one.
    pub(super) fn revoke(&mut self, token: &str) -> bool {
        let fingerprint = Fingerprint::of(token);
        let refresh_token = self.refresh_tokens.get(&fingerprint);
        let access_token = self.access_tokens.get(&fingerprint);
        let Some(grant) = refresh_token
            .map(|token| token.grant.number)
            .or_else(|| access_token.map(|token| token.grant))
        else {
            return false;
        };
        self.refresh_tokens.retain(|_, token| token.grant.number != grant);
        self.access_tokens.retain(|_, token| token.grant != grant);
        true
    }

    pub(super) fn reassign_grants(&mut self, account: &str) {
        for token in self.refresh_tokens.values_mut() {
            account.clone_into(&mut token.grant.account);
        }
    }

    pub(super) fn expire_access_tokens(&mut self, now: Moment) {
        for token in self.access_tokens.values_mut() {
            token.end = End::at(now);
        }
    }

    pub(super) fn revoke_everything(&mut self) {
        self.codes.clear();
        self.access_tokens.clear();
        self.refresh_tokens.clear();
        self.api_keys.clear();
        self.devices.clear();
        self.assertions.clear();
    }
}
