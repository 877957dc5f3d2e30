//! Every setting that there is. What a file, a variable or the program sets is checked against
//! this list, and nothing else is a setting.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::config::schema::{Kind, Known, Schema, reads_as};
use crate::identity::Method;
use crate::provider::{
    AssertionSource, BodyEncoding, ClientAuthentication, HeaderTemplate, HealthProbe, Otherwise,
    Parameter, RefusalSign,
};
use crate::vault::Engine;

pub(super) const SCHEMA: Schema = Schema(&[
    path("vault.path", "the path of a folder", reads_as::<PathBuf>),
    flag("vault.create_if_missing"),
    path(
        "vault.key",
        "{ env = \"NAME\" }, { file = \"path\", create_if_missing = true } or { keyring = \"name\" }, \
         with passphrase = true where it is one",
        reads_as::<KeyPlace>,
    ),
    plain("vault.engine", "the name of an engine in this build, such as \"sled\"", engine),
    plain("vault.reserve", "a number of bytes", reads_as::<u64>),
    duration("vault.data_keys.rotate_after"),
    plain("vault.data_keys.rotate_after_seals", "a number of seals", reads_as::<u64>),
    removable("audit.retention.keep", "a duration such as \"400days\"", reads_as::<Span>),
    plain("audit.retention.at_least", "a number of entries", reads_as::<u64>),
    text("sign_in.application"),
    duration("sessions.timeout"),
    duration("sessions.sweep_every"),
    duration("credentials.idle_after"),
    flag("health.enabled"),
    duration("health.every"),
    duration("token_requests.connect"),
    duration("token_requests.deadline"),
    plain("token_requests.body", "a number of bytes", reads_as::<u32>),
    removable("providers.*.preset", "the name of a built-in provider", reads_as::<String>),
    removable("providers.*.client", "\"public\"", reads_as::<PresetClient>),
    plain(
        "providers.*.methods",
        "a list of api-key, authorization-code, device-code, client-credentials, jwt-bearer",
        reads_as::<Vec<Method>>,
    ),
    plain("providers.*.base_url", URL, reads_as::<Url>),
    text("providers.*.user_agent"),
    flag("providers.*.cache_tokens"),
    secret("providers.*.api_key.value"),
    text("providers.*.api_key.prefix"),
    texts("providers.*.api_key.not"),
    removable("providers.*.api_key.probe", "a path", reads_as::<String>),
    headers("providers.*.headers.api_key"),
    headers("providers.*.headers.token"),
    removable("providers.*.oauth.authorization_endpoint", URL, reads_as::<Url>),
    removable("providers.*.oauth.token_endpoint", URL, reads_as::<Url>),
    removable("providers.*.oauth.revocation_endpoint", URL, reads_as::<Url>),
    removable("providers.*.oauth.client_id", "text", reads_as::<String>),
    secret("providers.*.oauth.client_secret"),
    plain(
        "providers.*.oauth.client_authentication",
        "none, basic or post",
        reads_as::<ClientAuthentication>,
    ),
    texts("providers.*.oauth.scopes"),
    text("providers.*.oauth.scope_separator"),
    plain(
        "providers.*.oauth.authorization",
        "a list of { name = \"…\", value = \"…\" }",
        reads_as::<Vec<Parameter>>,
    ),
    removable("providers.*.oauth.parameters.*", "text", reads_as::<String>),
    removable("providers.*.oauth.metadata", "the issuer as a url", reads_as::<Url>),
    flag("providers.*.oauth.pkce"),
    texts("providers.*.oauth.token_fields.access_token"),
    texts("providers.*.oauth.token_fields.token_type"),
    texts("providers.*.oauth.token_fields.expires_in"),
    texts("providers.*.oauth.token_fields.refresh_token"),
    texts("providers.*.oauth.token_fields.scope"),
    texts("providers.*.oauth.token_fields.id_token"),
    encoding("providers.*.oauth.exchange.encoding"),
    texts("providers.*.oauth.exchange.fields"),
    encoding("providers.*.oauth.refresh.encoding"),
    texts("providers.*.oauth.refresh.fields"),
    encoding("providers.*.oauth.client_credentials.encoding"),
    texts("providers.*.oauth.client_credentials.fields"),
    encoding("providers.*.oauth.revocation.encoding"),
    texts("providers.*.oauth.revocation.fields"),
    path(
        "providers.*.oauth.assertion.source",
        "{ env = \"NAME\" } or { file = \"path\" }",
        reads_as::<AssertionSource>,
    ),
    removable("providers.*.oauth.assertion.endpoint", URL, reads_as::<Url>),
    encoding("providers.*.oauth.assertion.request.encoding"),
    texts("providers.*.oauth.assertion.request.fields"),
    removable("providers.*.oauth.assertion.parameters.*", "text", reads_as::<String>),
    texts("providers.*.oauth.assertion.required"),
    removable("providers.*.oauth.device.endpoint", URL, reads_as::<Url>),
    encoding("providers.*.oauth.device.request.encoding"),
    texts("providers.*.oauth.device.request.fields"),
    removable("providers.*.oauth.device.poll_endpoint", URL, reads_as::<Url>),
    encoding("providers.*.oauth.device.poll.encoding"),
    texts("providers.*.oauth.device.poll.fields"),
    removable("providers.*.oauth.device.verification_uri", URL, reads_as::<Url>),
    duration("providers.*.oauth.device.lifetime"),
    plain(
        "providers.*.oauth.device.pending_statuses",
        "a list of http statuses",
        reads_as::<Vec<u16>>,
    ),
    removable("providers.*.oauth.device.exchange_redirect_uri", URL, reads_as::<Url>),
    text("providers.*.oauth.redirect.host"),
    text("providers.*.oauth.redirect.path"),
    plain("providers.*.oauth.redirect.ports", "a list of ports", reads_as::<Vec<u16>>),
    removable("providers.*.oauth.redirect.manual", URL, reads_as::<Url>),
    removable("providers.*.oauth.issuer", "text", reads_as::<String>),
    texts("providers.*.oauth.account_claim"),
    flag("providers.*.oauth.assume_bearer"),
    flag("providers.*.oauth.refresh_may_keep_access_token"),
    texts("providers.*.errors.reauthorization"),
    texts("providers.*.errors.reauthorization_descriptions"),
    plain(
        "providers.*.errors.reauthorization_statuses",
        "a list of statuses from 200 to 499",
        statuses,
    ),
    texts("providers.*.errors.reauthorization_at_any_status"),
    flag("providers.*.errors.unauthorized_is_final"),
    texts("providers.*.errors.misconfiguration"),
    texts("providers.*.errors.transient"),
    texts("providers.*.errors.rate_limited"),
    plain(
        "providers.*.errors.credential_refused_statuses",
        "a list of statuses from 200 to 499",
        statuses,
    ),
    plain(
        "providers.*.errors.credential_refused",
        "a list of { status = 400, path = [\"…\"], value = \"…\" }",
        reads_as::<Vec<RefusalSign>>,
    ),
    plain("providers.*.errors.otherwise", "protocol or transient", reads_as::<Otherwise>),
    plain("providers.*.health.probe", "reach, token or off", reads_as::<HealthProbe>),
    removable("providers.*.health.path", "a path", reads_as::<String>),
    removable("providers.*.health.every", "a duration such as \"5m\"", reads_as::<Span>),
    duration("providers.*.refresh.threshold"),
    duration("providers.*.refresh.unusable_before_expiry"),
    plain("providers.*.refresh.jitter_percent", "a percentage from 0 to 100", percentage),
    duration("providers.*.refresh.assumed_lifetime"),
    duration("providers.*.calls.deadline"),
    duration("providers.*.calls.attempt_timeout"),
    plain("providers.*.calls.concurrency", NUMBER, reads_as::<u32>),
    plain("providers.*.calls.retry.attempts", NUMBER, reads_as::<u32>),
    duration("providers.*.calls.retry.backoff.base"),
    duration("providers.*.calls.retry.backoff.cap"),
    duration("providers.*.calls.retry.longest_wait"),
    plain("providers.*.calls.budget.percent", NUMBER, reads_as::<u32>),
    plain("providers.*.calls.budget.reserve_per_second", NUMBER, reads_as::<u32>),
    duration("providers.*.calls.budget.within"),
    duration("providers.*.calls.breaker.window"),
    plain("providers.*.calls.breaker.buckets", NUMBER, reads_as::<u32>),
    removable("providers.*.calls.breaker.newest_calls", NUMBER, reads_as::<u32>),
    plain("providers.*.calls.breaker.minimum_calls", NUMBER, reads_as::<u32>),
    plain("providers.*.calls.breaker.failure_percent", "a percentage from 1 to 100", percentage),
    duration("providers.*.calls.breaker.slow_after"),
    plain("providers.*.calls.breaker.slow_percent", "a percentage from 1 to 100", percentage),
    duration("providers.*.calls.breaker.open_for"),
    duration("providers.*.calls.breaker.longest_open"),
    plain("providers.*.calls.breaker.probes", NUMBER, reads_as::<u32>),
    duration("providers.*.calls.breaker.half_open_for"),
    flag("providers.*.calls.breaker.rate_limits_fail"),
]);

const NUMBER: &str = "a whole number";

const URL: &str = "a url such as \"https://example.com/token\"";

/// Where the master key of the vault is. The key itself never stands beside the vault.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyPlace {
    pub(super) env: Option<String>,
    pub(super) file: Option<PathBuf>,
    /// The name of a service in the system's keyring.
    pub(super) keyring: Option<String>,
    /// What stands there is a passphrase.
    #[serde(default)]
    pub(super) passphrase: bool,
    #[serde(default)]
    pub(super) create_if_missing: bool,
}

/// A client that comes with a preset.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PresetClient {
    Public,
}

/// A duration as settings write it.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(transparent)]
pub(super) struct Span(#[serde(with = "crate::config::duration")] pub(super) Duration);

const fn known(
    path: &'static str,
    takes: &'static str,
    fits: fn(&toml::Value) -> bool,
    kind: Kind,
) -> Known {
    Known { path, takes, fits, kind }
}

const fn plain(path: &'static str, takes: &'static str, fits: fn(&toml::Value) -> bool) -> Known {
    known(path, takes, fits, Kind::Plain)
}

const fn removable(
    path: &'static str,
    takes: &'static str,
    fits: fn(&toml::Value) -> bool,
) -> Known {
    known(path, takes, fits, Kind::Removable)
}

const fn path(path: &'static str, takes: &'static str, fits: fn(&toml::Value) -> bool) -> Known {
    known(path, takes, fits, Kind::Path)
}

const fn text(path: &'static str) -> Known {
    plain(path, "text", reads_as::<String>)
}

const fn texts(path: &'static str) -> Known {
    plain(path, "a list of texts", reads_as::<Vec<String>>)
}

const fn flag(path: &'static str) -> Known {
    plain(path, "true or false", reads_as::<bool>)
}

const fn duration(path: &'static str) -> Known {
    plain(path, "a duration such as \"5m\"", reads_as::<Span>)
}

const fn encoding(path: &'static str) -> Known {
    plain(path, "form or json", reads_as::<BodyEncoding>)
}

const fn headers(path: &'static str) -> Known {
    let takes = "a list of [\"name\", \"value\"] pairs";
    known(path, takes, reads_as::<Vec<HeaderTemplate>>, Kind::Withheld)
}

const fn secret(path: &'static str) -> Known {
    known(path, "a secret", reads_as::<String>, Kind::Secret)
}

fn engine(value: &toml::Value) -> bool {
    value.as_str().is_some_and(|name| Engine::of_name(name).is_some())
}

fn percentage(value: &toml::Value) -> bool {
    value.as_integer().is_some_and(|share| (0..=100).contains(&share))
}

fn statuses(value: &toml::Value) -> bool {
    let fits = |it: &toml::Value| it.as_integer().is_some_and(|it| (200..=499).contains(&it));
    value.as_array().is_some_and(|list| list.iter().all(fits))
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::config::SettingPath;
    use crate::config::schema::Found;
    use crate::provider::{
        ApiKeyShape, AssertionSpec, DeviceSpec, ErrorTable, HealthSpec, OAuthSpec, ProviderSpec,
        RedirectRules, RefreshPolicy, RequestHeaders, RequestProfile, TokenFields,
    };
    use crate::resilience::{Backoff, BreakerPolicy, BudgetPolicy, CallPolicy, RetryPolicy};

    /// The names of a type's fields, as serde tells them to whoever writes a wrong one.
    fn fields<T: DeserializeOwned>() -> Vec<String> {
        let wrong = toml::Table::from_iter([("no-such-field".to_owned(), true.into())]);
        let told = match wrong.try_into::<T>() {
            Ok(_) => panic!("the type takes any field"),
            Err(error) => error.message().to_owned(),
        };
        let (_, names) = told.split_once("expected").expect("serde names the fields");
        names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn every_field_of_a_provider_is_a_setting() {
        let sections = [
            ("", fields::<ProviderSpec>()),
            (".api_key", fields::<ApiKeyShape>()),
            (".headers", fields::<RequestHeaders>()),
            (".oauth", fields::<OAuthSpec>()),
            (".oauth.exchange", fields::<RequestProfile>()),
            (".oauth.refresh", fields::<RequestProfile>()),
            (".oauth.client_credentials", fields::<RequestProfile>()),
            (".oauth.revocation", fields::<RequestProfile>()),
            (".oauth.assertion", fields::<AssertionSpec>()),
            (".oauth.assertion.request", fields::<RequestProfile>()),
            (".oauth.device", fields::<DeviceSpec>()),
            (".oauth.device.request", fields::<RequestProfile>()),
            (".oauth.device.poll", fields::<RequestProfile>()),
            (".oauth.token_fields", fields::<TokenFields>()),
            (".oauth.redirect", fields::<RedirectRules>()),
            (".errors", fields::<ErrorTable>()),
            (".health", fields::<HealthSpec>()),
            (".refresh", fields::<RefreshPolicy>()),
            (".calls", fields::<CallPolicy>()),
            (".calls.retry", fields::<RetryPolicy>()),
            (".calls.retry.backoff", fields::<Backoff>()),
            (".calls.budget", fields::<BudgetPolicy>()),
            (".calls.breaker", fields::<BreakerPolicy>()),
        ];
        for (section, fields) in sections {
            assert!(fields.len() > 1, "{section}: {fields:?}");
            for field in fields.iter().filter(|field| *field != "id") {
                let path = SettingPath::parse(&format!("providers.mine{section}.{field}"));
                assert!(
                    !matches!(SCHEMA.find(&path), Found::Unknown(_)),
                    "add {path} to the schema"
                );
            }
        }
    }
}
