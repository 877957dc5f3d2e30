//! What strangers bring to the listener of a pending sign-in: answers to other sign-ins, answers of
//! other providers, other names for this machine. None of it ends a sign-in or takes it over.

use tokenward::testing::SimulatedProvider;
use tokenward::{Login, Runtime, Vault};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

use crate::host::Host;
use crate::sign_in::browse;

fn asked(login: &Login, name: &str) -> String {
    let url = Url::parse(login.url()).expect("a url");
    let found = url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    found.expect("it is asked for")
}

/// Where the browser of `login` would come back to with `query`.
fn at_the_listener_of(login: &Login, query: &str) -> String {
    format!("{}?{query}", asked(login, "redirect_uri"))
}

fn query_of(callback: &str) -> &str {
    callback.split_once('?').expect("a query").1
}

#[tokio::test]
async fn an_answer_that_was_used_is_refused_by_the_next_sign_in() {
    let host = Host::start().await;
    let ada = host.runtime.user("ada");
    let first = ada.sign_in("anthropic").in_browser().await.expect("a sign-in");
    let used = host.anthropic.approve(first.url()).expect("consent");
    assert_eq!(browse(&used).await.0, 200);
    first.finished().await.expect("signed in");
    let requests = host.anthropic.token_requests();

    let second = ada.sign_in("anthropic").label("other").in_browser().await.expect("a sign-in");
    assert_ne!(asked(&first, "state"), asked(&second, "state"));
    let replayed = at_the_listener_of(&second, query_of(&used));
    let (status, page) = browse(&replayed).await;

    assert_eq!(status, 400, "{page}");
    assert!(page.contains("belongs to another sign-in"), "{page}");
    assert_eq!(host.anthropic.token_requests(), requests, "the code went nowhere");
    assert!(!second.is_over());
    let answer = host.anthropic.approve(second.url()).expect("consent");
    assert_eq!(browse(&answer).await.0, 200);
    second.finished().await.expect("signed in");
}

/// RFC 9700 §4.4: each provider has a sign-in of its own, with its own state and its own path.
#[tokio::test]
async fn the_answer_of_one_provider_is_refused_at_the_address_of_another() {
    let host = Host::start().await;
    let ada = host.runtime.user("ada");
    let openai = ada.sign_in("openai").in_browser().await.expect("a sign-in");
    let google = ada.sign_in("google").in_browser().await.expect("a sign-in");
    let from_openai = host.openai.approve(openai.url()).expect("consent");
    let from_google = host.google.approve(google.url()).expect("consent");

    for (answer, wrong_login) in [(&from_openai, &google), (&from_google, &openai)] {
        let mixed_up = at_the_listener_of(wrong_login, query_of(answer));
        assert_eq!(browse(&mixed_up).await.0, 400);
        // The path of the one at the port of the other.
        let mut mixed_up = Url::parse(&mixed_up).expect("a url");
        mixed_up.set_path(Url::parse(answer).expect("a url").path());
        assert_eq!(browse(mixed_up.as_str()).await.0, 404);
    }

    assert_eq!(host.openai.token_requests() + host.google.token_requests(), 0);
    for (login, answer) in [(openai, from_openai), (google, from_google)] {
        assert_eq!(browse(&answer).await.0, 200);
        login.finished().await.expect("signed in");
    }
}

/// RFC 9207 §2.4, where the provider says that it names itself: also for an answer that refuses.
#[tokio::test]
async fn an_answer_that_names_another_issuer_ends_the_sign_in_and_its_code_goes_nowhere() {
    let openai = SimulatedProvider::openai().start().await.expect("a port");
    let mut spec = openai.spec();
    spec.oauth.issuer = Some("https://idp.example".into());
    let builder = Runtime::builder().vault(Vault::in_memory()).provider(spec);
    let runtime = builder.start().await.expect("a runtime");
    for answer in ["code=abc", "error=access_denied"] {
        for issuer in ["", "&iss=https://evil.example", "&iss=https://idp.example/"] {
            let login = runtime.user("ada").sign_in("openai").in_browser().await;
            let login = login.expect("a sign-in");
            let query = format!("{answer}&state={}{issuer}", asked(&login, "state"));
            let (status, page) = browse(&at_the_listener_of(&login, &query)).await;
            assert_eq!(status, 502, "{query}: {page}");
            assert!(page.contains("another server than the one asked"), "{query}: {page}");
            let error = login.finished().await.expect_err("a mix-up");
            assert!(error.to_string().contains("another server"), "{error}");
        }
    }
    assert_eq!(openai.token_requests(), 0);
}

#[tokio::test]
async fn a_script_in_the_description_of_an_error_is_shown_as_text() {
    let host = Host::start().await;
    let login = host.runtime.user("ada").sign_in("openai").in_browser().await.expect("a sign-in");
    let mut url = Url::parse(&at_the_listener_of(&login, "")).expect("a url");
    let description = "</p><script>fetch('//evil.example')</script>\u{202e}\r\nSet-Cookie: a=b";
    url.query_pairs_mut()
        .append_pair("error", "access_denied")
        .append_pair("error_description", description)
        .append_pair("state", &asked(&login, "state"));

    let (status, page) = browse(url.as_str()).await;

    assert_eq!(status, 403);
    assert!(!page.contains("<script"), "{page}");
    assert!(page.contains("&lt;/p&gt;&lt;script&gt;fetch(&#39;//evil.example&#39;)"), "{page}");
    assert!(!page.contains('\u{202e}') && !page.contains('\r'), "{page}");
    assert!(login.finished().await.expect_err("refused").needs_reauthorization());
}

/// DNS rebinding: a page points its own name at the loopback address, so it may read the answer.
#[tokio::test]
async fn a_request_under_another_name_of_this_machine_is_refused() {
    let host = Host::start().await;
    let login = host.runtime.user("ada").sign_in("openai").in_browser().await.expect("a sign-in");
    let answer = host.openai.approve(login.url()).expect("consent");
    let url = Url::parse(&answer).expect("a url");
    let port = url.port().expect("a port");
    let target = format!("{}?{}", url.path(), query_of(&answer));

    for name in ["rebound.evil.example", "127.0.0.1.evil.example", "0.0.0.0", "127.0.0.2"] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
        let request = format!("GET {target} HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.expect("an answer");
        assert!(reply.starts_with("HTTP/1.1 400"), "{name}: {reply}");
    }
    assert_eq!(host.openai.token_requests(), 0, "the code is right and still goes nowhere");

    assert_eq!(browse(&answer).await.0, 200);
    login.finished().await.expect("signed in");
}
