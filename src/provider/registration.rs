//! What a grant was asked for by: which client, at which authorization server, with which scopes.
//! A refresh token is worth something to that client at that server, and is told to no other.

use serde::{Deserialize, Serialize};
use url::Url;

use crate::config::is_loopback;

/// The client that grants are asked for by, where, and what is asked for. What is not known is
/// taken to agree with anything.
///
/// ```
/// use tokenward::{Provider as _, catalog};
///
/// // Whose tokens these are: another client's can not renew them.
/// let mine = catalog::google().client("mine").registration();
/// assert_eq!(mine.client_id.as_deref(), Some("mine"));
/// assert_ne!(mine, catalog::google().client("another").registration());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Registration {
    /// The client id (RFC 6749 §2.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The authorization server: its issuer where it is known by that, else the origin of its
    /// token endpoint (RFC 6454 §4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The scopes that are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
}

impl Registration {
    /// The authorization server that has its token endpoint at `url`. A server on loopback may have
    /// another port each time it is started, so the port is no part of it there.
    pub(super) fn server_at(url: &Url) -> String {
        let mut url = url.clone();
        if is_loopback(&url) {
            let _ = url.set_port(None);
        }
        url.origin().ascii_serialization()
    }

    /// Why a grant of this registration is not for `other`, as its user is told; none when it is.
    pub(crate) fn conflict(&self, other: &Self) -> Option<String> {
        let differ = |what: &str, old: &Option<String>, new: &Option<String>| {
            let (old, new) =
                (old.as_ref()?, new.as_ref().filter(|new| Some(*new) != old.as_ref())?);
            Some(format!(
                "its {what} was {old} and is {new} in the settings now, put that back or sign in \
                 again"
            ))
        };
        differ("authorization server", &self.server, &other.server)
            .or_else(|| differ("client id", &self.client_id, &other.client_id))
    }

    /// Whether `other` asks for other scopes.
    pub(crate) fn asks_for_other_scopes(&self, other: &Self) -> bool {
        self.scopes.as_ref().zip(other.scopes.as_ref()).is_some_and(|(old, new)| !same(old, new))
    }

    /// What a user may want to know of the scopes of a grant of this registration, of which the
    /// provider named `granted`; `now` is what the settings ask for by now.
    pub(crate) fn advice(&self, granted: Option<&[String]>, now: &Self) -> Option<String> {
        let asked = self.scopes.as_deref()?;
        if self.asks_for_other_scopes(now) {
            let wanted = now.scopes.as_deref().unwrap_or_default();
            return Some(format!(
                "the settings ask for {} now, its sign-in asked for {}: sign in again to have that",
                list(wanted),
                list(asked)
            ));
        }
        let granted = granted.filter(|granted| !same(asked, granted))?;
        Some(format!("{} was asked for, the provider granted {}", list(asked), list(granted)))
    }
}

fn same(old: &[String], new: &[String]) -> bool {
    old.iter().all(|it| new.contains(it)) && new.iter().all(|it| old.contains(it))
}

fn list(scopes: &[String]) -> String {
    if scopes.is_empty() { "no scope".to_owned() } else { scopes.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(client: &str, server: &str, scopes: &[&str]) -> Registration {
        Registration {
            client_id: Some(client.to_owned()),
            server: Some(server.to_owned()),
            scopes: Some(scopes.iter().map(|&scope| scope.to_owned()).collect()),
        }
    }

    #[test]
    fn what_is_not_known_agrees_with_anything() {
        let known = registration("a", "https://one.example", &["mail"]);
        for (one, other) in [(&Registration::default(), &known), (&known, &Registration::default())]
        {
            assert_eq!(one.conflict(other), None);
            assert_eq!(one.advice(None, other), None);
        }
        assert_eq!(known.conflict(&known), None);
    }

    #[test]
    fn another_client_or_another_server_is_named_with_the_old_one() {
        let old = registration("a", "https://one.example", &[]);
        let text = old.conflict(&registration("b", "https://one.example", &[])).expect("another");
        assert!(text.contains("client id was a and is b"), "{text}");
        let text = old.conflict(&registration("a", "https://two.example", &[])).expect("another");
        assert!(text.contains("https://one.example and is https://two.example"), "{text}");
    }

    #[test]
    fn scopes_are_compared_as_sets() {
        let old = registration("a", "s", &["mail", "calendar"]);
        assert_eq!(old.advice(None, &registration("a", "s", &["calendar", "mail"])), None);
        let text = old.advice(None, &registration("a", "s", &["mail"])).expect("another");
        assert!(text.contains("ask for mail now, its sign-in asked for mail calendar"), "{text}");
        let granted = ["mail".to_owned()];
        let text = old.advice(Some(&granted), &old).expect("less was granted");
        assert_eq!(text, "mail calendar was asked for, the provider granted mail");
    }

    #[test]
    fn a_server_on_loopback_is_the_same_at_any_port() {
        let server = |url: &str| Registration::server_at(&Url::parse(url).expect("a url"));
        assert_eq!(
            server("http://127.0.0.1:4567/token"),
            server("http://127.0.0.1:7654/oauth/token")
        );
        assert_eq!(server("https://auth.example/token"), "https://auth.example");
        assert_ne!(server("https://auth.example:444/token"), server("https://auth.example/token"));
    }
}
