//! The pages that a browser sees at the end of a sign-in: small, self-contained, without a script,
//! and without any text that was not made safe to show.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;

/// The longest text from elsewhere that a page shows, in characters.
const LONGEST_TEXT: usize = 400;

/// What the browser is told.
///
/// ```
/// use tokenward::oauth::redirect::Page;
///
/// let page = Page::SignedIn;
/// assert_eq!(page.status(), 200);
/// assert!(page.html(Some("Notes")).contains("Notes"));
/// // It goes with this header, and needs no script.
/// println!("{}", Page::content_security_policy());
/// ```
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

    /// The page itself. `application` is the program that the user came from and goes back to;
    /// without one the page says so in other words.
    pub fn html(&self, application: Option<&str>) -> String {
        let application = application.map(shown).filter(|name| !name.is_empty());
        let Words { title, mood, text, said, next } = self.words(application.as_deref());
        let (mood, icon) = mood.class_and_icon();
        let said = said.map_or_else(String::new, |said| {
            format!("<p class=\"said\">The provider says: <q>{}</q></p>\n", shown(&said))
        });
        let maker = match &application {
            Some(name) => format!("{name}, which runs on this computer"),
            None => "a program on this computer".to_owned(),
        };
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
             <link rel=\"icon\" href=\"data:,\">\n<style>{STYLE}</style>\n</head>\n\
             <body>\n<main class=\"{mood}\">\n\
             <svg viewBox=\"0 0 24 24\" aria-hidden=\"true\">{icon}</svg>\n\
             <h1>{title}</h1>\n<p>{text}</p>\n{said}<p>{next}</p>\n</main>\n\
             <footer>This page comes from {maker}.</footer>\n</body>\n</html>\n",
            text = shown(&text),
        )
    }

    /// The policy under which the browser shows it: the one style sheet inside, the empty icon that
    /// keeps browsers from asking for another, and nothing else.
    pub fn content_security_policy() -> String {
        let style = STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes()));
        format!(
            "default-src 'none'; style-src 'sha256-{style}'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'"
        )
    }

    /// What it says; `application` is safe to show already.
    fn words(&self, application: Option<&str>) -> Words {
        let place = application.unwrap_or("where you started");
        let back = format!("You can close this window and go back to {place}.");
        let again = format!("Close this window, go back to {place} and sign in again.");
        let (title, mood, text, next) = match self {
            Self::SignedIn => {
                ("You are signed in", Mood::Good, "The sign-in is complete.".to_owned(), back)
            }
            Self::Refused(_) => (
                "The sign-in was refused",
                Mood::Bad,
                "The provider ended it without giving access, so nothing was stored.".to_owned(),
                again,
            ),
            Self::Failed(reason) => ("The sign-in failed", Mood::Bad, sentence(reason), again),
            Self::TryAgain(reason) => (
                "The sign-in is not complete yet",
                Mood::Wait,
                sentence(reason),
                "Load this page again to go on.".to_owned(),
            ),
            Self::InProgress => (
                "The sign-in is already in progress",
                Mood::Wait,
                "Another window is completing it.".to_owned(),
                "You can close this one.".to_owned(),
            ),
            Self::WrongState => (
                "This answer belongs to another sign-in",
                Mood::Bad,
                "It does not fit the sign-in that is waiting here, so it was not used. Perhaps it \
                 is an old one, or it was loaded twice. The sign-in that you started still waits."
                    .to_owned(),
                format!("Finish it in the window that it opened, or start again from {place}."),
            ),
            Self::Over => (
                "This sign-in is over",
                Mood::Bad,
                "It was finished, cancelled or took too long, so this answer was not used."
                    .to_owned(),
                again,
            ),
            Self::Malformed(reason) => (
                "This is not the end of a sign-in",
                Mood::Bad,
                sentence(reason),
                format!("A sign-in that you started still waits; begin it from {place}."),
            ),
            Self::NotFound => (
                "There is nothing here",
                Mood::Bad,
                "A sign-in ends at another address of this computer.".to_owned(),
                back,
            ),
            Self::WrongMethod => (
                "Only a browser's GET is answered here",
                Mood::Bad,
                "The request was of another kind, so it was not used.".to_owned(),
                back,
            ),
        };
        let said = match self {
            Self::Refused(said) => Some(said.clone()).filter(|said| !said.is_empty()),
            _ => None,
        };
        Words { title, mood, text, said, next }
    }
}

/// What a page says.
struct Words {
    title: &'static str,
    mood: Mood,
    text: String,
    /// In the provider's own words, which are quoted so that nobody takes them for ours.
    said: Option<String>,
    /// What to do now; safe to show.
    next: String,
}

#[derive(Clone, Copy)]
enum Mood {
    Good,
    Bad,
    Wait,
}

impl Mood {
    /// The look. The shape differs as well as the colour, which not everybody sees.
    fn class_and_icon(self) -> (&'static str, &'static str) {
        match self {
            Self::Good => {
                ("good", "<circle cx=\"12\" cy=\"12\" r=\"12\"/><path d=\"m6.5 12.5 4 4 7-8\"/>")
            }
            Self::Bad => {
                ("bad", "<circle cx=\"12\" cy=\"12\" r=\"12\"/><path d=\"m8 8 8 8m0-8-8 8\"/>")
            }
            Self::Wait => {
                ("wait", "<circle cx=\"12\" cy=\"12\" r=\"12\"/><path d=\"M12 6v6.5l4 2.5\"/>")
            }
        }
    }
}

/// Nothing in it moves, and lengths are relative, so it follows zoom, narrow windows and large type.
const STYLE: &str = include_str!("page/style.css");

/// The error texts of the crate begin in lower case and have no full stop; a page has sentences.
fn sentence(reason: &str) -> String {
    let mut letters = reason.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters.by_ref()).chain(['.']).collect()
}

/// `text` as a page may show it: without characters that are not seen or that turn the direction of
/// the others, bounded in length, and with nothing that HTML takes for markup.
fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut left = LONGEST_TEXT;
    for letter in text.chars().filter(|&letter| is_seen(letter)) {
        if left == 0 {
            shown.push('…');
            break;
        }
        left -= 1;
        match letter {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            other => shown.push(other),
        }
    }
    shown
}

/// Not a control character, and none of those that Unicode has for direction, joining and tags.
fn is_seen(letter: char) -> bool {
    let formats = matches!(letter,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}');
    !letter.is_control() && !formats
}

#[cfg(test)]
mod tests;
