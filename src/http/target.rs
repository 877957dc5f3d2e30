//! Where a request goes: to the origin of its provider, and nowhere else.

use url::Url;

use crate::config::may_carry_secrets;
use crate::error::{Error, ErrorKind};
use crate::provider::Provider;

/// The address of `path` at the provider. A path that begins with a slash is put after the base
/// URL; a whole URL is taken when it is of the same origin.
///
/// # Errors
///
/// When it is no address, of another origin, plain text to another machine, or carries a user and a
/// password of its own.
pub(crate) fn target(provider: &dyn Provider, path: &str) -> Result<Url, Error> {
    let base = provider.base_url();
    let url = if path.starts_with('/') {
        beneath(base, path)
    } else {
        let no_address = |error| format!("that is no address ({error}), begin a path with a slash");
        Url::parse(path).map_err(|error| invalid(no_address(error)))?
    };
    if !is_within(&url, base) {
        let (id, origin) = (provider.id(), base.origin().ascii_serialization());
        return Err(invalid(format!("the credential of {id} goes to {origin} only, use a path")));
    }
    if !may_carry_secrets(&url) {
        return Err(invalid(format!(
            "refused to send the credential of {} in plain text, use an https endpoint",
            provider.id()
        )));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("leave user and password out of the address, use a path".to_owned()));
    }
    Ok(url)
}

/// The address of `path`, which may have a query, beneath that of `base`. The origin is not parsed
/// again: this is on the way of every call.
fn beneath(base: &Url, path: &str) -> Url {
    let (rest, fragment) = path.split_once('#').map_or((path, None), |(a, b)| (a, Some(b)));
    let (path, query) = rest.split_once('?').map_or((rest, None), |(a, b)| (a, Some(b)));
    let mut url = base.clone();
    match base.path().trim_end_matches('/') {
        "" => url.set_path(path),
        prefix => url.set_path(&format!("{prefix}{path}")),
    }
    url.set_query(query);
    url.set_fragment(fragment);
    url
}

/// Whether `url` is of the origin of `base`, which is one of http (RFC 6454 §5).
pub(super) fn is_within(url: &Url, base: &Url) -> bool {
    url.scheme() == base.scheme()
        && url.host() == base.host()
        && url.port_or_known_default() == base.port_or_known_default()
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::catalog;

    fn at(base: &str, path: &str) -> Result<String, Error> {
        let provider = catalog::openai().base_url(Url::parse(base).expect("a url"));
        target(&provider, path).map(|url| url.to_string())
    }

    #[test]
    fn a_path_stands_after_the_base_url_and_a_url_of_the_same_origin_is_taken() {
        for (base, path, url) in [
            ("https://api.example", "/v1/models?a=b", "https://api.example/v1/models?a=b"),
            ("https://api.example/prefix/", "/v1", "https://api.example/prefix/v1"),
            ("https://api.example", "//other.example/v1", "https://api.example//other.example/v1"),
            ("https://api.example/prefix", "https://api.example:443/v2", "https://api.example/v2"),
            ("http://127.0.0.1:80", "/v1", "http://127.0.0.1/v1"),
        ] {
            assert_eq!(at(base, path).expect("an address"), url);
        }
    }

    /// What is wrong with an address is told without it: a key may stand in it.
    #[test]
    fn an_address_is_not_shown_when_it_is_refused() {
        for path in ["v1?key=s3cret", "https://ada:s3cret@", "https://other.example/?key=s3cret"] {
            let error = at("https://api.example", path).expect_err(path);
            assert!(!format!("{error:?}").contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_credential_goes_to_no_other_origin_and_not_in_plain_text() {
        for (base, path, says) in [
            ("https://api.example", "http://api.example/v1", "https://api.example only"),
            ("https://api.example", "https://api.example:8443/v1", "https://api.example only"),
            ("https://api.example", "https://api.example.evil.example/", "only, use a path"),
            ("https://api.example", "v1/models", "begin a path with a slash"),
            ("https://api.example", "file:///etc/passwd", "only, use a path"),
            ("https://api.example", "https://ada:secret@api.example/", "user and password"),
            ("http://api.example", "/v1", "plain text"),
        ] {
            let error = at(base, path).expect_err(path);
            assert!(error.is_invalid_input() && error.to_string().contains(says), "{error}");
        }
    }
}
