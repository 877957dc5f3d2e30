//! Where a credential may travel at all: the one rule that every request with a secret obeys.

use url::{Host, Url};

/// Whether a credential may travel to `url`: over https, or in plain text within this machine
/// (127.0.0.0/8, `::1`, `localhost`).
pub(crate) fn may_carry_secrets(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.has_host(),
        "http" => is_loopback(url),
        _ => false,
    }
}

/// Whether `url` says who asks: a user or a password before its host. An address is shown and logged
/// wherever it stands, so nothing secret may be in it.
pub(crate) fn names_a_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// What is wrong with an address that does.
pub(crate) const NAMES_A_USER: &str =
    "has a user or a password before its host, which everybody would see: leave them out";

/// Whether `url` is within this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a url")
    }

    #[test]
    fn credentials_travel_by_https_or_within_the_machine() {
        for fine in [
            "https://auth.openai.com/oauth/token",
            "http://127.0.0.1:8080/",
            "http://127.9.9.9/",
            "http://[::1]:1/",
            "http://localhost:1455/auth/callback",
            "http://LOCALHOST/",
        ] {
            assert!(may_carry_secrets(&url(fine)), "{fine}");
        }
        for refused in [
            "http://example.com/",
            "http://localhost.example.com/",
            "http://128.0.0.1/",
            "http://0.0.0.0/",
            "http://[::ffff:8.8.8.8]/",
            "ftp://127.0.0.1/",
            "file:///etc/passwd",
        ] {
            assert!(!may_carry_secrets(&url(refused)), "{refused}");
        }
    }
}
