//! O4 at the authorization server: a request, and a guarded route of the host, followed down to the vault.
//!
//! A file of its own, since it listens to all spans of its process.

#[path = "server/host.rs"]
#[allow(dead_code, reason = "each test uses its own part of this")]
mod host;
#[path = "common/spans.rs"]
mod spans;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::post;
use tokenward::server::{ApplicationSpec, GrantType};
use tower::ServiceExt as _;
use tracing::{Instrument as _, info_span};

use crate::host::{FORM, Host, basic};
use crate::spans::{Opened, Record};

#[test]
fn a_request_is_followed_from_its_route_to_the_vault_and_no_span_tells_a_secret() {
    let record = Record::start();
    let threads = tokio::runtime::Builder::new_current_thread().enable_all().build();
    threads.expect("threads").block_on(followed(&record));
}

async fn followed(record: &Record) {
    let host = Host::start().await;
    let spec = ApplicationSpec::new("a client")
        .permissions("memories:read".parse().expect("a scope"))
        .grants([GrantType::ClientCredentials, GrantType::RefreshToken]);
    let client = host.server.issuer().register(spec).await.expect("registered");
    let authorization = basic(&client);
    let headers = [&FORM, &("authorization", &*authorization)];

    let answer = host.ask(&client, "").await;
    let secret = |name: &str| answer.json()[name].as_str().expect("a token").to_owned();
    let (access, refresh) = (secret("access_token"), secret("refresh_token"));
    let form = format!("grant_type=refresh_token&refresh_token={refresh}");
    assert_eq!(host.post("/auth/token", &headers, &form).await.status, 200);
    let wrong = "grant_type=refresh_token&refresh_token=rt_wrong";
    assert_eq!(host.post("/auth/token?secret=in-a-query", &headers, wrong).await.status, 400);
    assert_eq!(host.get("/.well-known/oauth-authorization-server", &[]).await.status, 200);

    let requests = record.named("request");
    let told: Vec<_> = requests.iter().map(|it| (it.field("route"), it.field("status"))).collect();
    assert_eq!(
        told,
        [
            ("/auth/token", "200"),
            ("/auth/token", "200"),
            ("/auth/token", "400"),
            ("/.well-known/oauth-authorization-server", "200"),
        ]
    );
    let vault = record.named("vault");
    let of = |request: &Opened| {
        let beneath = vault.iter().filter(|it| it.is_within(request));
        beneath.filter(|it| it.field("request") == "commit").count()
    };
    assert!(of(&requests[0]) >= 1, "a family of refresh tokens is durable");
    assert!(of(&requests[1]) >= 1, "and each of its rotations");
    assert_eq!(of(&requests[3]), 0, "what is public is not in the vault");

    // A guarded route of the host, which opens a session for whoever calls.
    let runtime = host.runtime.clone();
    let open = move || async move {
        let session = runtime.user("ada").open_session().await.expect("a session");
        session.id().to_string()
    };
    let guard = host.server.guard("memories:read".parse().expect("a scope"));
    let app = Router::new().route("/sessions", post(open).layer(guard));
    let request = Request::post("/sessions").header("authorization", format!("Bearer {access}"));
    let request = request.body(Body::empty()).expect("a request");
    let span = info_span!("asked");
    let answer = app.oneshot(request).instrument(span).await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 200);
    let asked = record.named("asked").pop().expect("the host's own");
    let opened = record.named("session").pop().expect("its session");
    assert!(opened.is_within(&asked), "{opened:?}");
    let beneath: Vec<_> =
        record.named("vault").into_iter().filter(|it| it.is_within(&opened)).collect();
    assert!(beneath.iter().any(|it| it.field("request") == "commit"), "{beneath:?}");

    for span in record.ours() {
        assert!(["request", "session", "vault"].contains(&span.name), "{span:?} is not documented");
        let told = format!("{:?}", span.fields);
        let client_secret = client.secret.expose();
        for kept_out in [&*access, &*refresh, client_secret, "in-a-query", "rt_wrong", "?"] {
            assert!(!told.contains(kept_out), "a secret or a query in the span {}", span.name);
        }
    }
}
