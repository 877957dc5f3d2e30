//! The pages that a browser sees at the end of a sign-in: small, self-contained, and without any
//! text that was not escaped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;

/// What the browser is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Page {
    /// The sign-in is complete, and the credential is stored.
    SignedIn,
    /// The provider, or the user there, refused; with what the provider said.
    Refused(String),
    /// The sign-in failed for good; with the reason.
    Failed(String),
    /// The provider could not be asked yet, and loading the page again does so; with the reason.
    TryAgain(String),
    /// A code is being exchanged already.
    InProgress,
    /// The answer belongs to another sign-in, or to none: its `state` is not the expected one.
    WrongState,
    /// The sign-in is over: finished, cancelled, expired or interrupted.
    Over,
    /// The request is no answer to a sign-in; with the reason.
    Malformed(String),
    /// There is nothing at this path.
    NotFound,
    /// Only `GET` is answered.
    WrongMethod,
}

impl Page {
    /// The status that goes with it.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::SignedIn => StatusCode::OK,
            Self::Refused(_) => StatusCode::FORBIDDEN,
            Self::Failed(_) => StatusCode::BAD_GATEWAY,
            Self::TryAgain(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::InProgress => StatusCode::CONFLICT,
            Self::WrongState | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Over => StatusCode::GONE,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// The page itself.
    pub fn html(&self) -> String {
        let (title, text) = self.words();
        let (title, text) = (escaped(title), escaped(&text));
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
             <body>\n<main>\n<h1>{title}</h1>\n<p>{text}</p>\n</main>\n</body>\n</html>\n"
        )
    }

    /// The policy under which the browser shows it: the one style sheet inside, and nothing else.
    pub fn content_security_policy() -> String {
        let style = STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes()));
        format!(
            "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'"
        )
    }

    fn words(&self) -> (&'static str, String) {
        let back = "You can close this window and go back to where you started.";
        let again = "Close this window, go back to where you started and sign in again.";
        match self {
            Self::SignedIn => ("You are signed in", back.to_owned()),
            Self::Refused(reason) => {
                ("The sign-in was refused", format!("The provider said: {reason}. {again}"))
            }
            Self::Failed(reason) => {
                ("The sign-in failed", format!("{}. {again}", sentence(reason)))
            }
            Self::TryAgain(reason) => (
                "The sign-in is not complete yet",
                format!("{}. Load this page again to go on.", sentence(reason)),
            ),
            Self::InProgress => (
                "The sign-in is already in progress",
                "Another window is completing it. You can close this one.".to_owned(),
            ),
            Self::WrongState => (
                "This answer belongs to another sign-in",
                "Nothing was changed, and the sign-in you started still waits. Close this window \
                 and finish it in the window that it opened."
                    .to_owned(),
            ),
            Self::Over => ("This sign-in is over", again.to_owned()),
            Self::Malformed(reason) => {
                ("This is not the end of a sign-in", format!("{}.", sentence(reason)))
            }
            Self::NotFound => ("There is nothing here", back.to_owned()),
            Self::WrongMethod => ("Only a browser's GET is answered here", back.to_owned()),
        }
    }
}

const STYLE: &str = "body{margin:0;min-height:100vh;display:grid;place-items:center;\
    font:16px/1.5 system-ui,sans-serif;color:#1c1e21;background:#f4f5f7}\
    main{max-width:28rem;margin:1rem;padding:2rem;border-radius:12px;background:#fff;\
    box-shadow:0 1px 4px rgba(0,0,0,.12)}h1{margin:0 0 .5rem;font-size:1.3rem}p{margin:0}\
    @media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#16181c}\
    main{background:#22252b}}";

/// The error texts of the crate begin in lower case; a page begins in upper case.
fn sentence(reason: &str) -> String {
    let mut letters = reason.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_what_happened_in_whole_sentences() {
        let html = Page::Failed("the provider refused the code".to_owned()).html();
        assert!(html.contains("<h1>The sign-in failed</h1>"));
        assert!(html.contains("The provider refused the code. Close this window"));
    }

    #[test]
    fn what_the_provider_says_is_text_and_never_markup() {
        let html = Page::Refused("<script>alert('x')</script> & \"more\"".to_owned()).html();
        assert!(!html.contains("<script>"));
        assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;more"));
    }

    #[test]
    fn the_policy_allows_the_style_sheet_that_is_inside_and_no_other_source() {
        let policy = Page::content_security_policy();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"));
        let html = Page::SignedIn.html();
        assert!(html.contains(&format!("<style>{STYLE}</style>")));
        assert!(
            !html.contains("http") && !html.contains("src="),
            "nothing is loaded from elsewhere"
        );
    }
}
