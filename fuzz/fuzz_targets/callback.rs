//! What comes back from a browser: the query at the listener, and whatever is pasted. What of it is
//! shown can be seen, and is no markup.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tokenward::oauth::redirect::{AuthorizationResponse, Page, Pasted};

fuzz_target!(|text: &str| {
    if let Ok(response) = AuthorizationResponse::from_query(text)
        && let Err(refusal) = response.outcome
    {
        let page = Page::Refused(refusal.to_string()).html(Some(text));
        let plain = Page::Refused("x".to_owned()).html(Some("x"));
        assert_eq!(page.matches('<').count(), plain.matches('<').count());
        assert!(refusal.to_string().bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    }
    let _ = text.parse::<Pasted>();
});
