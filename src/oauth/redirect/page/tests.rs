//! What the pages say, and what they can not be made to say.

use proptest::prelude::*;

use super::*;

fn all(text: &str) -> [Page; 10] {
    let text = text.to_owned();
    [
        Page::SignedIn,
        Page::Refused(text.clone()),
        Page::Failed(text.clone()),
        Page::TryAgain(text.clone()),
        Page::InProgress,
        Page::WrongState,
        Page::Over,
        Page::Malformed(text),
        Page::NotFound,
        Page::WrongMethod,
    ]
}

#[test]
fn a_page_says_what_happened_in_whole_sentences_and_what_to_do_next() {
    let html = Page::Failed("the provider refused the code".to_owned()).html(None);
    assert!(html.contains("<h1>The sign-in failed</h1>"));
    assert!(html.contains("<p>The provider refused the code.</p>"));
    assert!(html.contains("Close this window, go back to where you started and sign in again."));
}

#[test]
fn a_page_names_the_application_that_the_user_goes_back_to() {
    let html = Page::SignedIn.html(Some("Bell & Sons"));
    assert!(html.contains("You can close this window and go back to Bell &amp; Sons."));
    assert!(html.contains("This page comes from Bell &amp; Sons, which runs on this computer."));
    let html = Page::SignedIn.html(Some("\u{202e}"));
    assert!(html.contains("go back to where you started."), "a name that nobody sees is none");
}

#[test]
fn what_the_provider_says_is_quoted_text_and_never_markup() {
    let said = "<script>alert('x')</script> & \"more\"".to_owned();
    let html = Page::Refused(said).html(None);
    assert!(!html.contains("<script>"));
    let quoted = "The provider says: <q>&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; \
                  &quot;more&quot;</q>";
    assert!(html.contains(quoted), "{html}");
}

#[test]
fn every_page_can_be_read_with_a_screen_reader() {
    for page in all("a reason") {
        let html = page.html(Some("Atlas"));
        for once in ["<html lang=\"en\">", "<title>", "<h1>", "<main ", "<footer>", "width=device"]
        {
            assert_eq!(html.matches(once).count(), 1, "{once} in {page:?}");
        }
        assert!(
            html.contains("aria-hidden=\"true\""),
            "the icon says nothing that the text does not"
        );
    }
}

#[test]
fn the_policy_allows_the_style_sheet_that_is_inside_and_no_other_source() {
    let policy = Page::content_security_policy();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"));
    assert!(!policy.contains("unsafe"));
    assert!(!STYLE.contains('\r'), "a browser hashes the page with LF");
    for page in all("a reason") {
        let html = page.html(None);
        assert!(html.contains(&format!("<style>{STYLE}</style>")));
        for loads in ["http", "src=", "url(", "@import", "<script", "style="] {
            assert!(!html.contains(loads), "{loads} in {page:?}");
        }
        let tags = html.split('<').filter_map(|rest| rest.split('>').next());
        assert!(!tags.into_iter().any(|tag| tag.contains(" on")), "a handler in {page:?}");
    }
}

/// WCAG 2.2 §1.4.3 (text, 4.5 to 1) and §1.4.11 (the icon, 3 to 1), in light and in dark.
#[test]
fn the_colours_have_the_contrast_that_wcag_aa_asks_for() {
    let (light, dark) = STYLE.split_once("prefers-color-scheme: dark").expect("both");
    for scheme in [light, dark] {
        for (front, back, least) in [
            ("--text", "--card", 4.5),
            ("--soft", "--card", 4.5),
            ("--soft", "--page", 4.5),
            ("--good", "--card", 3.0),
            ("--bad", "--card", 3.0),
            ("--wait", "--card", 3.0),
            ("--mark", "--good", 3.0),
            ("--mark", "--bad", 3.0),
            ("--mark", "--wait", 3.0),
        ] {
            let ratio = contrast(luminance(scheme, front), luminance(scheme, back));
            assert!(ratio >= least, "{front} on {back}: {ratio:.2}");
        }
    }
}

fn contrast(one: f64, other: f64) -> f64 {
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// The relative luminance of a colour, as WCAG defines it.
fn luminance(scheme: &str, name: &str) -> f64 {
    let (_, value) = scheme.split_once(&format!("{name}: #")).expect("a colour");
    let part = |at: usize| {
        let byte = u8::from_str_radix(&value[at..at + 2], 16).expect("six digits");
        let part = f64::from(byte) / 255.0;
        if part <= 0.040_45 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * part(0) + 0.7152 * part(2) + 0.0722 * part(4)
}

proptest! {
    /// Whatever a provider, a settings file or a stranger's URL brings in.
    #[test]
    fn no_text_from_elsewhere_adds_markup_or_what_is_not_seen(
        text in "(?s).{1,600}", name in "(?s).{0,600}"
    ) {
        for (page, plain) in all(&text).into_iter().zip(all("x")) {
            let (html, plain) = (page.html(Some(&name)), plain.html(Some("x")));
            prop_assert_eq!(html.matches('<').count(), plain.matches('<').count());
            let unseen = |letter: char| letter != '\n' && !is_seen(letter);
            prop_assert!(!html.chars().any(unseen));
            prop_assert!(html.chars().count() < plain.len() + 4 * 6 * LONGEST_TEXT);
        }
    }
}
