//! What a user pastes at the end of a sign-in: the code, `code#state`, or the whole address at
//! which the browser ended, in whatever quotes and white space it was copied with.

use std::str::FromStr;

use super::response::is_visible;
use super::{AuthorizationResponse, ResponseError};
use crate::secret::Secret;

/// The longest text that is read, in bytes.
const LONGEST: usize = 16 * 1024;

/// What a pasted text means.
///
/// ```
/// use tokenward::oauth::redirect::Pasted;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Some providers show a code, and the state after it.
/// assert!(matches!("abc#xyz".parse()?, Pasted::Code { state: Some(_), .. }));
/// // Else the user copies the address at which the browser ended.
/// let address = "http://127.0.0.1:8080/callback?code=abc&state=xyz";
/// assert!(matches!(address.parse()?, Pasted::Address { .. }));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pasted {
    /// A code on its own, or `code#state` as some providers show it.
    Code {
        /// The authorization code.
        code: Secret,
        /// The state, when it stood behind a `#`.
        state: Option<Secret>,
    },
    /// The address at which the browser ended.
    Address {
        /// What stands before the query, when the address is complete. The owner of the sign-in
        /// compares it with its redirect URI (RFC 8252 §8.10).
        base: Option<String>,
        /// What its query says.
        response: AuthorizationResponse,
    },
}

/// Why a pasted text can not be used. The text itself is never repeated.
///
/// ```
/// use tokenward::oauth::redirect::{PasteError, Pasted};
///
/// let error = " ".parse::<Pasted>().expect_err("nothing");
/// assert_eq!(error, PasteError::Empty);
/// println!("{error}"); // what to do, to be shown to the user
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PasteError {
    /// There is nothing.
    #[error("nothing was pasted, paste the code or the address at which the browser ended")]
    Empty,
    /// It is longer than any code or address.
    #[error("the pasted text is too long, paste only the code or the address of the browser")]
    TooLong,
    /// It has white space or other unprintable characters inside.
    #[error("the pasted text is broken by white space or other characters, copy it in one piece")]
    Broken,
    /// It is the address of the sign-in page.
    #[error("this is the address that starts the sign-in, open it and paste where it ends")]
    AuthorizationAddress,
    /// It is an address, but not one at which a sign-in ends.
    #[error(transparent)]
    Address(#[from] ResponseError),
}

impl FromStr for Pasted {
    type Err = PasteError;

    fn from_str(text: &str) -> Result<Self, PasteError> {
        let text = unwrapped(text);
        if text.is_empty() {
            return Err(PasteError::Empty);
        }
        if text.len() > LONGEST {
            return Err(PasteError::TooLong);
        }
        if !is_visible(text) || text.contains(' ') {
            return Err(PasteError::Broken);
        }
        match query_of(text) {
            Some((base, query)) => address(base, query),
            None => code(text),
        }
    }
}

/// The text without the white space and the quotes around it.
fn unwrapped(text: &str) -> &str {
    text.trim_matches(|c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '`' | '<' | '>')
    })
}

/// The parts of an address before and in its query; none when the text is no address.
///
/// An address is what begins like one, or holds a parameter of an authorization response: browsers
/// hide the scheme, and people copy just the query.
fn query_of(text: &str) -> Option<(Option<&str>, &str)> {
    let has_scheme = ["http://", "https://"].iter().any(|scheme| {
        text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    let (base, query) = match text.split_once('?') {
        Some((base, query)) => (base, query),
        None if has_scheme => (text, ""),
        None => ("", text),
    };
    let query = query.split_once('#').map_or(query, |(query, _fragment)| query);
    let holds_response =
        query.split('&').any(|pair| ["code=", "error="].iter().any(|name| pair.starts_with(name)));
    (has_scheme || holds_response).then_some((has_scheme.then_some(base), query))
}

fn address(base: Option<&str>, query: &str) -> Result<Pasted, PasteError> {
    // One provider's authorization URL holds `code=true`, so it would pass for a response.
    let asks = query
        .split('&')
        .any(|pair| ["client_id=", "response_type="].iter().any(|name| pair.starts_with(name)));
    if asks {
        return Err(PasteError::AuthorizationAddress);
    }
    let response = AuthorizationResponse::from_query(query)?;
    Ok(Pasted::Address { base: base.map(str::to_owned), response })
}

fn code(text: &str) -> Result<Pasted, PasteError> {
    let (code, state) = text.split_once('#').unwrap_or((text, ""));
    if code.is_empty() {
        return Err(PasteError::Empty);
    }
    let state = Some(state).filter(|state| !state.is_empty()).map(Secret::new);
    Ok(Pasted::Code { code: Secret::new(code), state })
}

impl From<PasteError> for crate::Error {
    fn from(error: PasteError) -> Self {
        Self::new(crate::error::ErrorKind::InvalidInput, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Pasted, PasteError> {
        text.parse()
    }

    fn bare(code: &str, state: Option<&str>) -> Pasted {
        Pasted::Code { code: Secret::new(code), state: state.map(Secret::new) }
    }

    #[test]
    fn a_code_is_read_with_and_without_its_state() {
        assert_eq!(read("4/0AbC-d_e="), Ok(bare("4/0AbC-d_e=", None)));
        assert_eq!(read(" \n'abc#xyz'\r\n"), Ok(bare("abc", Some("xyz"))));
        assert_eq!(read("abc#"), Ok(bare("abc", None)));
    }

    #[test]
    fn an_address_is_read_in_every_shape_in_which_it_is_copied() {
        let base = Some("http://localhost:1455/auth/callback".to_owned());
        let response = AuthorizationResponse::from_query("code=abc&state=xyz").expect("valid");
        let whole = Ok(Pasted::Address { base, response: response.clone() });
        for text in [
            "http://localhost:1455/auth/callback?code=abc&state=xyz",
            "  \"http://localhost:1455/auth/callback?code=abc&state=xyz\"\n",
            "<http://localhost:1455/auth/callback?code=abc&state=xyz#fragment>",
        ] {
            assert_eq!(read(text), whole, "{text}");
        }
        let part = Ok(Pasted::Address { base: None, response });
        for text in [
            "localhost:1455/auth/callback?code=abc&state=xyz",
            "?code=abc&state=xyz",
            "code=abc&state=xyz",
        ] {
            assert_eq!(read(text), part, "{text}");
        }
    }

    #[test]
    fn a_refusal_in_a_pasted_address_is_a_refusal() {
        let text = "http://localhost:1455/auth/callback?error=access_denied&state=xyz";
        let Ok(Pasted::Address { response, .. }) = read(text) else { panic!("an address") };
        assert_eq!(response.outcome.map_err(|refusal| refusal.code), Err("access_denied".into()));
    }

    #[test]
    fn bad_input_says_what_to_do() {
        let cases = [
            ("", PasteError::Empty),
            (" \"\" \n", PasteError::Empty),
            ("#xyz", PasteError::Empty),
            ("abc def", PasteError::Broken),
            ("http://localhost/cb?code=ab\nc&state=x", PasteError::Broken),
            ("caf\u{e9}", PasteError::Broken),
            ("http://localhost:1455/", PasteError::Address(ResponseError::Empty)),
            ("?code=a&code=b&state=c", PasteError::Address(ResponseError::Repeated)),
            ("?code=a&error=b&state=c", PasteError::Address(ResponseError::Contradictory)),
            (
                "https://claude.ai/oauth/authorize?code=true&client_id=me&state=xyz",
                PasteError::AuthorizationAddress,
            ),
        ];
        for (text, error) in cases {
            assert_eq!(read(text), Err(error), "{text}");
        }
        assert_eq!(read(&"a".repeat(LONGEST + 1)), Err(PasteError::TooLong));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,200}") {
            let _ = read(&text);
        }

        #[test]
        fn text_made_of_the_parts_of_an_address_is_read_without_a_panic(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "http://", "localhost", "?", "&", "#", "=", "code=", "error=", "state=", "%",
                    "%ff", "\u{e9}", "\"", " ", "a",
                ]),
                0..20,
            )
        ) {
            let _ = read(&parts.concat());
        }

        #[test]
        fn what_surrounds_a_text_does_not_matter(
            code in "[A-Za-z0-9/_-]{1,40}",
            state in "[A-Za-z0-9_-]{1,43}",
            around in prop::collection::vec(prop::sample::select(vec!["\"", "'", " ", "\n", "\r", "\t"]), 0..6),
        ) {
            let around = around.concat();
            let text = format!("{around}{code}#{state}{around}");
            prop_assert_eq!(read(&text), Ok(bare(&code, Some(&state))));
        }
    }
}
