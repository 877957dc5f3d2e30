//! The end of a sign-in in a real browser: Chromium comes from the provider to the loopback
//! listener, and shows what its user reads. Without Chromium each test says that it was not run.

mod chromium;
mod site;

use chromium::{Chromium, Visit};
use site::{Entry, Site};
use tokenward::testing::SimulatedProvider;
use tokenward::{Login, Runtime, Vault};
use url::Url;

/// An agent host called Atlas, whose user signs in at a simulated `OpenAI`.
struct Atlas {
    openai: SimulatedProvider,
    runtime: Runtime,
}

impl Atlas {
    async fn start() -> Self {
        let openai = SimulatedProvider::openai().start().await.expect("a port");
        let runtime = Runtime::builder()
            .application("Atlas")
            .vault(Vault::in_memory())
            .provider(openai.spec())
            .start()
            .await
            .expect("a runtime");
        Self { openai, runtime }
    }

    async fn sign_in(&self) -> Login {
        let login = self.runtime.user("ada").sign_in("openai").in_browser().await;
        login.expect("a sign-in")
    }
}

/// Where the provider sends the browser of `login` back to, with `answer` and the right state.
fn callback(login: &Login, answer: &[(&str, &str)]) -> String {
    let url = Url::parse(login.url()).expect("a url");
    let asked = |name: &str| {
        let found = url.query_pairs().find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned()).expect("it is asked for")
    };
    let mut callback = Url::parse(&asked("redirect_uri")).expect("a url");
    callback.query_pairs_mut().extend_pairs(answer).append_pair("state", &asked("state"));
    callback.into()
}

fn assert_quiet(visit: &Visit) {
    assert_eq!(visit.console, Vec::<String>::new(), "the browser found nothing to complain about");
    assert_eq!(visit.left_for, Vec::<String>::new(), "nothing left this machine");
}

#[track_caller]
fn assert_says(visit: &Visit, texts: &[&str]) {
    for text in texts {
        assert!(visit.dom.contains(text), "{text:?} is missing in {}", visit.dom);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_who_agrees_reads_that_they_are_signed_in() {
    let Some(chromium) = Chromium::find("success in a browser") else { return };
    let atlas = Atlas::start().await;
    let login = atlas.sign_in().await;

    let visit = chromium.open(login.url()).await;

    login.finished().await.expect("signed in");
    assert_says(
        &visit,
        &[
            "<title>You are signed in</title>",
            "<h1>You are signed in</h1>",
            "You can close this window and go back to Atlas.",
        ],
    );
    assert_quiet(&visit);
    for secret in ["code", "state", "token"] {
        assert!(!visit.dom.contains(secret), "{secret} in {}", visit.dom);
    }
    for (name, width, dark) in
        [("signed-in", 720, false), ("signed-in-dark", 720, true), ("signed-in-narrow", 320, false)]
    {
        let login = atlas.sign_in().await;
        chromium.picture(name, width, dark, login.url()).await;
        login.cancel().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_who_refuses_reads_the_providers_words_as_plain_text() {
    let Some(chromium) = Chromium::find("refusal in a browser") else { return };
    let atlas = Atlas::start().await;
    let hostile = "<script>document.title='taken'</script><img src=x onerror=alert(1)>";
    let refused = |login: &Login, words: &str| {
        callback(login, &[("error", "access_denied"), ("error_description", words)])
    };
    let login = atlas.sign_in().await;
    let provider = Site::start([("/authorize", Entry::Redirect(refused(&login, hostile)))]).await;

    let visit = chromium.open(&provider.url("/authorize")).await;

    let error = login.finished().await.expect_err("refused");
    assert!(error.needs_reauthorization(), "{error}");
    assert_says(
        &visit,
        &[
            "<title>The sign-in was refused</title>",
            "access_denied (&lt;script&gt;document.title='taken'&lt;/script&gt;",
            "Close this window, go back to Atlas and sign in again.",
        ],
    );
    assert_quiet(&visit);
    for (name, dark) in [("refused", false), ("refused-dark", true)] {
        let login = atlas.sign_in().await;
        let url = refused(&login, "the account has no access to this application");
        chromium.picture(name, 720, dark, &url).await;
        login.cancel().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_whose_code_is_not_accepted_reads_why() {
    let Some(chromium) = Chromium::find("failure in a browser") else { return };
    let atlas = Atlas::start().await;
    let login = atlas.sign_in().await;

    let visit = chromium.open(&callback(&login, &[("code", "made-up")])).await;

    login.finished().await.expect_err("the provider did not issue this code");
    assert_says(&visit, &["<h1>The sign-in failed</h1>", "go back to Atlas and sign in again."]);
    assert!(!visit.dom.contains("made-up"));
    assert_quiet(&visit);
    let login = atlas.sign_in().await;
    chromium.picture("failed", 320, true, &callback(&login, &[("code", "made-up")])).await;
    login.cancel().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_whose_provider_is_away_reads_that_loading_again_goes_on() {
    let Some(chromium) = Chromium::find("a provider that is away, in a browser") else { return };
    let atlas = Atlas::start().await;
    let login = atlas.sign_in().await;
    let callback = atlas.openai.approve(login.url()).expect("consent");
    atlas.openai.stop().await.expect("stopped");

    let visit = chromium.open(&callback).await;
    assert_says(&visit, &["not complete yet", "Load this page again to go on."]);
    assert_quiet(&visit);

    atlas.openai.restart().await.expect("its port again");
    assert_says(&chromium.open(&callback).await, &["You are signed in"]);
    login.finished().await.expect("signed in");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_who_comes_with_an_old_answer_reads_that_the_new_sign_in_still_waits() {
    let Some(chromium) = Chromium::find("an unknown sign-in in a browser") else { return };
    let atlas = Atlas::start().await;
    let login = atlas.sign_in().await;
    let mut old = Url::parse(&callback(&login, &[])).expect("a url");
    old.query_pairs_mut().clear().append_pair("code", "spent").append_pair("state", "of-yesterday");

    let visit = chromium.open(old.as_str()).await;

    assert_says(
        &visit,
        &[
            "<h1>This answer belongs to another sign-in</h1>",
            "The sign-in that you started still waits.",
        ],
    );
    assert_quiet(&visit);
    assert!(!login.is_over());
    chromium.picture("unknown", 720, false, old.as_str()).await;

    assert_says(&chromium.open(login.url()).await, &["You are signed in"]);
    login.finished().await.expect("signed in");
}

/// A page that is open in the same browser, at another port of this machine, and knows where the
/// sign-in will end.
#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_page_neither_ends_nor_takes_over_a_pending_sign_in() {
    let Some(chromium) = Chromium::find("a stranger's page in a browser") else { return };
    let atlas = Atlas::start().await;
    let login = atlas.sign_in().await;
    let mut end = Url::parse(&callback(&login, &[])).expect("a url");
    end.set_query(None);
    let page = STRANGER.replace("LISTENER", end.as_str());
    let stranger = Site::start([("/", Entry::Page(page))]).await;

    let visit = chromium.open(&stranger.url("/")).await;

    assert_says(&visit, &["fired: 60, answers that could be read: 0"]);
    let outside = ["outside.example".to_owned()];
    assert_eq!(visit.left_for, outside, "what leaves this machine would have been seen");
    assert!(!visit.console.is_empty(), "what a browser complains about would have been seen");
    assert!(!login.is_over());
    assert_eq!(atlas.openai.token_requests(), 0, "no code went anywhere");

    assert_says(&chromium.open(login.url()).await, &["You are signed in"]);
    login.finished().await.expect("signed in");
}

/// Sends what a page can send: requests with any query, forms, images, frames, a look from outside.
const STRANGER: &str = r#"<!doctype html><title>stranger</title><p id="told">nothing yet</p>
<img src="LISTENER?error=access_denied&state=guess"><iframe src="LISTENER?code=stolen&state=guess"></iframe>
<iframe name="form"></iframe>
<form method="post" target="form" action="LISTENER"><input name="code" value="stolen"></form>
<script>
document.forms[0].submit();
(async () => {
  let fired = 0, read = 0;
  const fire = async (query, options) => {
    fired += 1;
    try { if ((await fetch("LISTENER" + query, options)).type !== "opaque") read += 1; } catch {}
  };
  for (let round = 0; round < 10; round += 1) {
    await Promise.all([
      fire("?code=stolen&state=" + round, { mode: "no-cors" }),
      fire("?error=access_denied&state=" + round, { mode: "no-cors" }),
      fire("?code=stolen&state=" + round, {}),
      fire("?code=a&code=b", { mode: "no-cors", method: "POST" }),
      fire("", { mode: "no-cors", method: "HEAD" }),
      fire("/favicon.ico", { headers: { "x-preflight": "1" } }),
    ]);
  }
  try { await fetch("http://outside.example/", { mode: "no-cors" }); } catch {}
  document.getElementById("told").textContent =
    `fired: ${fired}, answers that could be read: ${read}`;
})();
</script>
"#;
