//! What is wrong with a provider's data, all of it at once, before anything starts.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use url::Url;

use super::template::render;
use super::{HeaderTemplate, HealthProbe, ProviderSpec};
use crate::config::{NAMES_A_USER, Problem, may_carry_secrets, names_a_user};
use crate::identity::Method;
use crate::oauth::ClientAuthentication;

/// The longest time before expiry at which a renewal may start.
const LONGEST_THRESHOLD: Duration = Duration::from_hours(365 * 24);

const NO_ENDPOINT: &str =
    "is not an https url, use one: plain text is for this machine's loopback address alone";

impl ProviderSpec {
    /// Everything that is wrong with this data. A missing client id is not: the methods that need
    /// one say so when they are used.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Findings { provider: self.id.as_str(), problems: Vec::new() };
        if self.methods.is_empty() {
            found.add("methods", "is empty, name at least one method");
        }
        found.endpoint("base_url", Some(&self.base_url));
        if self.api_key.probe.as_ref().is_some_and(|path| !path.starts_with('/')) {
            found.add("api_key.probe", "does not begin with a slash, write a path");
        }
        if self.health.path.as_ref().is_some_and(|path| !path.starts_with('/')) {
            found.add("health.path", "does not begin with a slash, write a path");
        }
        if self.health.every.is_some_and(|every| every.is_zero()) {
            found.add("health.every", Problem::NO_TIME);
        }
        if self.health.probe == HealthProbe::Token
            && !self.methods.contains(&Method::ClientCredentials)
        {
            found.add("health.probe", "is token, which needs the method client-credentials");
        }
        found.headers("headers.api_key", &self.headers.api_key);
        found.headers("headers.token", &self.headers.token);
        if HeaderValue::from_str(&self.user_agent).is_err() {
            found.add("user_agent", "can not stand in a header, use plain text");
        }
        self.check_oauth(&mut found);
        if self.refresh.threshold <= self.refresh.unusable_before_expiry {
            found.add(
                "refresh.threshold",
                "is not longer than unusable_before_expiry, so that a token would be unusable \
                 before it is renewed, make it longer",
            );
        }
        if self.refresh.threshold > LONGEST_THRESHOLD {
            found.add("refresh.threshold", "is longer than a year, make it shorter");
        }
        if self.refresh.assumed_lifetime.is_zero() {
            found.add("refresh.assumed_lifetime", "is zero, give it at least a minute");
        }
        if self.errors.reauthorization_descriptions.iter().any(String::is_empty) {
            found.add(
                "errors.reauthorization_descriptions",
                "has an empty text, which stands in every refusal and would sign everybody out, \
                 leave it out",
            );
        }
        for (field, text) in self.calls.problems() {
            found.add(&format!("calls.{field}"), text);
        }
        found.problems
    }

    fn check_oauth(&self, found: &mut Findings<'_>) {
        let oauth = &self.oauth;
        let browser = self.methods.contains(&Method::AuthorizationCode);
        let tokens = self.methods.iter().any(|method| *method != Method::ApiKey);
        found.endpoint("oauth.authorization_endpoint", oauth.authorization_endpoint.as_ref());
        found.endpoint("oauth.token_endpoint", oauth.token_endpoint.as_ref());
        found.endpoint("oauth.revocation_endpoint", oauth.revocation_endpoint.as_ref());
        found.endpoint("oauth.device.endpoint", oauth.device.endpoint.as_ref());
        found.endpoint("oauth.device.poll_endpoint", oauth.device.poll_endpoint.as_ref());
        found.endpoint("oauth.device.verification_uri", oauth.device.verification_uri.as_ref());
        found.endpoint("oauth.assertion.endpoint", oauth.assertion.endpoint.as_ref());
        let request = &oauth.assertion.request.fields;
        if !request.is_empty() && !request.iter().any(|field| field == "assertion") {
            found.add("oauth.assertion.request.fields", "lacks assertion, name it");
        }
        if self.methods.contains(&Method::DeviceCode) && oauth.device.endpoint.is_none() {
            found.add("oauth.device.endpoint", "is missing, device-code needs it");
        }
        if tokens && oauth.token_endpoint.is_none() {
            found.add("oauth.token_endpoint", "is missing, set it: the methods offered need it");
        }
        if browser && oauth.authorization_endpoint.is_none() {
            found.add(
                "oauth.authorization_endpoint",
                "is missing, set it: authorization-code needs it",
            );
        }
        if browser && oauth.redirect.is_none() {
            found.add("oauth.redirect", "is missing, set it: authorization-code needs it");
        }
        if let Some(redirect) = &oauth.redirect {
            if !["localhost", "127.0.0.1"].contains(&redirect.host.as_str()) {
                found.add("oauth.redirect.host", "is neither localhost nor 127.0.0.1, use one");
            }
            if !redirect.path.starts_with('/') || redirect.path.contains(['?', '#']) {
                let text = "is not a path alone, begin it with a slash and leave out `?` and `#`";
                found.add("oauth.redirect.path", text);
            }
            // The code comes back there.
            let manual = redirect.manual.as_deref().map(Url::parse);
            if manual.is_some_and(|url| !url.is_ok_and(|url| may_carry_secrets(&url))) {
                found.add("oauth.redirect.manual", NO_ENDPOINT);
            }
        }
        let known = ["client_id", "redirect_uri", "scope", "code_challenge", "state"];
        let values = known.map(|name| (name, ""));
        for parameter in &oauth.authorization {
            if let Err(error) = render(&parameter.value, &values) {
                found.add("oauth.authorization", &format!("{}: {error}", parameter.name));
            }
        }
        for needed in ["{client_id}", "{redirect_uri}", "{code_challenge}", "{state}"] {
            let needless = needed == "{code_challenge}" && !oauth.pkce;
            if browser
                && !needless
                && !oauth.authorization.iter().any(|it| it.value.contains(needed))
            {
                found.add(
                    "oauth.authorization",
                    &format!("has no parameter with {needed}, add one"),
                );
            }
        }
        let client = self.methods.contains(&Method::ClientCredentials);
        let profiles = [
            ("exchange", &oauth.exchange, browser),
            ("refresh", &oauth.refresh, browser),
            ("client_credentials", &oauth.client_credentials, client),
        ];
        for (name, profile, used) in profiles {
            let silent = !profile.fields.is_empty() && !profile.fields.iter().any(is_client_secret);
            if used && silent && oauth.client_authentication == ClientAuthentication::Post {
                let setting = format!("oauth.{name}.fields");
                found
                    .add(&setting, "lacks client_secret, add it: the post authentication needs it");
            }
        }
        if oauth.client_authentication == ClientAuthentication::None
            && oauth.client_secret.is_some()
        {
            found.add(
                "oauth.client_authentication",
                "is none although there is a client secret, use post or basic",
            );
        }
    }
}

fn is_client_secret(field: &String) -> bool {
    field == "client_secret"
}

struct Findings<'a> {
    provider: &'a str,
    problems: Vec<Problem>,
}

impl Findings<'_> {
    fn add(&mut self, setting: &str, text: &str) {
        let source = format!("provider {}", self.provider);
        self.problems.push(Problem { setting: setting.to_owned(), source, text: text.to_owned() });
    }

    fn endpoint(&mut self, setting: &str, url: Option<&Url>) {
        if url.is_some_and(|url| !may_carry_secrets(url)) {
            self.add(setting, NO_ENDPOINT);
        }
        if url.is_some_and(names_a_user) {
            self.add(setting, NAMES_A_USER);
        }
    }

    fn headers(&mut self, setting: &str, headers: &[HeaderTemplate]) {
        let values = ["secret", "user_agent", "version"].map(|name| (name, ""));
        for header in headers {
            if HeaderName::from_bytes(header.name.as_bytes()).is_err() {
                self.add(setting, &format!("`{}` is no header name, correct it", header.name));
            }
            match render(&header.value, &values) {
                Ok(text) if HeaderValue::from_str(&text).is_ok() => {}
                Ok(_) => self.add(
                    setting,
                    &format!("{}: its value holds a control character, remove it", header.name),
                ),
                Err(error) => self.add(setting, &format!("{}: {error}", header.name)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::ProviderId;
    use crate::provider::{Parameter, RedirectRules, catalog};

    #[test]
    fn the_catalogue_has_no_problems() {
        for spec in [
            catalog::anthropic(),
            catalog::openai(),
            catalog::google(),
            catalog::orange(),
            catalog::github_copilot(),
        ] {
            assert_eq!(spec.problems(), [], "{}", spec.id);
        }
    }

    #[test]
    fn no_address_says_who_asks() {
        let mut spec = catalog::google();
        let secret: Url = "https://ada:pass-word@example.com/".parse().expect("a url");
        spec.base_url = secret.clone();
        spec.oauth.token_endpoint = Some(secret.clone());
        spec.oauth.revocation_endpoint = Some(secret);
        let problems: Vec<_> = spec.problems().iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 3, "{problems:?}");
        for problem in problems {
            assert!(problem.contains("leave them out") && !problem.contains("pass-word"));
        }
    }

    #[test]
    fn no_text_of_nothing_signs_everybody_out() {
        let mut spec = catalog::google();
        spec.errors.reauthorization_descriptions.push(String::new());
        let settings: Vec<_> = spec.problems().into_iter().map(|it| it.setting).collect();
        assert_eq!(settings, ["errors.reauthorization_descriptions"]);
    }

    #[test]
    fn a_renewal_begins_within_a_year_before_expiry() {
        let problems = |threshold| {
            let mut spec = catalog::google();
            spec.refresh.threshold = threshold;
            spec.problems().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(problems(LONGEST_THRESHOLD), [""; 0]);
        let refused =
            ["refresh.threshold (provider google): is longer than a year, make it shorter"];
        assert_eq!(problems(LONGEST_THRESHOLD + Duration::from_secs(1)), refused);
    }

    #[test]
    fn a_code_comes_back_to_this_machine_or_by_https() {
        let settings = |change: fn(&mut RedirectRules)| {
            let mut spec = catalog::anthropic();
            change(spec.oauth.redirect.as_mut().expect("the preset has one"));
            spec.problems().into_iter().map(|problem| problem.setting).collect::<Vec<_>>()
        };
        assert_eq!(settings(|it| it.host = "0.0.0.0".to_owned()), ["oauth.redirect.host"]);
        assert_eq!(settings(|it| it.path = "/a?b".to_owned()), ["oauth.redirect.path"]);
        for manual in ["http://code.example/", "code", "javascript:alert(1)"] {
            let mut spec = catalog::anthropic();
            let rules = spec.oauth.redirect.as_mut().expect("the preset has one");
            rules.manual = Some(manual.to_owned());
            assert_eq!(spec.problems().len(), 1, "{manual}");
        }
    }

    #[test]
    fn a_secret_that_no_request_would_carry_is_found() {
        let mut spec = catalog::orange().client("id").client_secret("secret");
        spec.oauth.client_authentication = ClientAuthentication::Post;
        let problems = spec.problems();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].setting, "oauth.client_credentials.fields");
    }

    #[test]
    fn everything_wrong_is_found_at_once() {
        let id = ProviderId::new("mine").expect("a name");
        let mut spec = ProviderSpec::new(id, Url::parse("http://api.example/").expect("a url"))
            .token_header("bad name", "{secret}")
            .token_header("x-user", "{user}");
        spec.methods = vec![Method::AuthorizationCode, Method::DeviceCode];
        spec.oauth.authorization = vec![Parameter::new("state", "{state")];
        spec.refresh.threshold = spec.refresh.unusable_before_expiry;
        let problems = spec.problems();
        let settings: Vec<_> = problems.iter().map(|problem| problem.setting.as_str()).collect();
        assert_eq!(
            settings,
            [
                "base_url",
                "headers.token",
                "headers.token",
                "oauth.device.endpoint",
                "oauth.token_endpoint",
                "oauth.authorization_endpoint",
                "oauth.redirect",
                "oauth.authorization",
                "oauth.authorization",
                "oauth.authorization",
                "oauth.authorization",
                "oauth.authorization",
                "refresh.threshold",
            ]
        );
        assert!(problems.iter().all(|problem| problem.source == "provider mine"));
    }
}
