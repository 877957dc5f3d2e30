//! The `tower` layer around clients of the host: hyper-util's and reqwest's, over real sockets.

mod common;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use common::patience::until;
use common::{Recorder, Reply};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokenward::http::{Authenticate, ResponseBody, RouteClass};
use tokenward::resilience::{BreakerPolicy, CallPolicy, State};
use tokenward::testing::{Endpoint, Fault, ManualClock, SimulatedProvider};
use tokenward::{Error, ProviderSpec, Runtime, Session, Vault, catalog};
use tower::{Service, ServiceBuilder, ServiceExt as _};
use url::Url;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A host with one upstream, and a session that is signed in there.
struct Host {
    clock: Arc<ManualClock>,
    runtime: Runtime,
    session: Session,
}

impl Host {
    /// Signed in with an API key.
    async fn calling(base_url: Url, policy: CallPolicy) -> Self {
        Self::by_key(catalog::openai().base_url(base_url).with_call_policy(policy)).await
    }

    async fn by_key(provider: ProviderSpec) -> Self {
        let id = provider.id.to_string();
        let host = Self::of(provider).await;
        let ada = host.runtime.user("ada");
        let key = if id == "anthropic" { "sk-ant-api03-of-ada" } else { "sk-a-key-of-ada" };
        ada.sign_in(&id).with_api_key(key).await.expect("signed in");
        host.session.use_provider(&id).await.expect("signed in");
        host
    }

    /// Signed in for tokens that are renewed.
    async fn by_client_credentials(provider: &SimulatedProvider) -> Self {
        let host = Self::of(provider.spec()).await;
        let sign_in = host.runtime.user("ada").sign_in(provider.name());
        sign_in.with_client_credentials().await.expect("signed in");
        host.session.use_provider(provider.name()).await.expect("signed in");
        host
    }

    async fn of(provider: ProviderSpec) -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        let runtime = Runtime::builder()
            .vault(Vault::in_memory())
            .sources(clock.sources())
            .provider(provider)
            .start()
            .await
            .expect("a runtime");
        let session = runtime.user("ada").open_session().await.expect("a session");
        Self { clock, runtime, session }
    }

    fn service(&self) -> Authenticate<HyperClient<HttpConnector, Full<Bytes>>, Full<Bytes>> {
        ServiceBuilder::new().layer(self.session.layer()).service(hyper_client())
    }

    fn state(&self) -> State {
        self.runtime.upstream("openai").expect("the provider").status().state
    }
}

fn hyper_client<B>() -> HyperClient<HttpConnector, B>
where
    B: http_body::Body<Data: Send> + Send,
{
    HyperClient::builder(TokioExecutor::new()).build_http()
}

fn get(uri: &str) -> Request<Full<Bytes>> {
    Request::get(uri).body(Full::default()).expect("a request")
}

/// Where the simulated Orange takes messages.
const OUTBOUND: &str = "/smsmessaging/v1/outbound/tel%3A%2B221770000000/requests";

const MESSAGE: &str = r#"{"outboundSMSMessageRequest":{"address":"tel:+221770000001",
    "senderAddress":"tel:+221770000000","outboundSMSTextMessage":{"message":"hello"}}}"#;

fn message() -> Request<Full<Bytes>> {
    let request = Request::post(OUTBOUND).header("content-type", "application/json");
    request.body(Full::from(MESSAGE)).expect("a request")
}

async fn text<B: http_body::Body<Data = Bytes, Error: std::fmt::Debug> + Unpin>(
    answer: Response<ResponseBody<B>>,
) -> String {
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8(body.to_vec()).expect("text")
}

fn ours(error: &BoxError) -> &Error {
    error.downcast_ref().expect("an error of ours")
}

#[tokio::test]
async fn a_request_carries_the_documented_headers_in_order_before_its_own() {
    let upstream = Recorder::start([Reply::json(200, r#"{"a":1}"#)]).await;
    let host = Host::by_key(catalog::anthropic().base_url(upstream.url("/"))).await;
    let mut request = message();
    request.headers_mut().insert("x-own", "1".parse().expect("a value"));

    let answer = host.service().oneshot(request).await.expect("an answer");

    assert_eq!(text(answer).await, r#"{"a":1}"#);
    let sent = upstream.only_request();
    assert_eq!(sent.line, format!("POST {OUTBOUND} HTTP/1.1"));
    assert_eq!(sent.body, MESSAGE);
    let documented = [
        "x-api-key",
        "anthropic-version",
        "anthropic-beta",
        "user-agent",
        "accept",
        "x-client-version",
        "content-type",
        "x-own",
    ];
    assert_eq!(sent.header_names()[..documented.len()], documented);
}

/// H3: sensitive.
#[tokio::test]
async fn what_holds_the_secret_is_marked_for_the_client_beneath() {
    let host = Host::calling("https://api.example".parse().expect("a url"), CallPolicy::default());
    let host = host.await;
    let seen = tower::service_fn(|request: Request<Full<Bytes>>| async move {
        assert_eq!(request.uri(), "https://api.example/v1/models?limit=1");
        assert!(request.headers()["authorization"].is_sensitive());
        Ok::<_, BoxError>(Response::new(Full::<Bytes>::default()))
    });
    let service = ServiceBuilder::new().layer(host.session.layer()).service(seen);
    service.oneshot(get("/v1/models?limit=1")).await.expect("an answer");
}

/// H2: the layer does what the client does.
#[tokio::test]
async fn a_refused_token_is_renewed_once_and_the_request_is_sent_once_more() {
    let orange = SimulatedProvider::orange().start().await.expect("a port");
    let host = Host::by_client_credentials(&orange).await;
    let mut service = host.service();
    orange.expire_access_tokens();
    let before = orange.token_requests();

    let answer = service.ready().await.expect("ready").call(message()).await;

    assert_eq!(answer.expect("an answer").status(), StatusCode::CREATED);
    assert_eq!(orange.token_requests() - before, 1);
    let sent = orange.requests_to(OUTBOUND);
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].body, sent[1].body);
    assert_ne!(sent[0].header("authorization"), sent[1].header("authorization"));
}

#[tokio::test]
async fn a_resource_that_always_refuses_is_asked_twice_and_the_answer_is_the_answer() {
    let orange = SimulatedProvider::orange().start().await.expect("a port");
    let host = Host::by_client_credentials(&orange).await;
    let refusal = r#"{"code":42,"message":"Expired credentials"}"#;
    orange.faults().on(Endpoint::Resource).always(Fault::Status(401, refusal.to_owned()));

    let answer = host.service().oneshot(message()).await.expect("an answer");

    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(text(answer).await, refusal, "what was looked at is there for the caller");
    assert_eq!(orange.requests_to(OUTBOUND).len(), 2);
}

#[tokio::test]
async fn a_body_that_is_not_copied_is_sent_once_and_the_token_renewed_all_the_same() {
    let orange = SimulatedProvider::orange().start().await.expect("a port");
    let host = Host::by_client_credentials(&orange).await;
    let layer = host.session.layer_copying(|_: &Full<Bytes>| None);
    let mut service = ServiceBuilder::new().layer(layer).service(hyper_client());
    orange.expire_access_tokens();
    let before = orange.token_requests();

    let answer = service.ready().await.expect("ready").call(message()).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(orange.requests_to(OUTBOUND).len(), 1);
    assert_eq!(orange.token_requests() - before, 1, "the generation was reported");

    let answer = service.ready().await.expect("ready").call(message()).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::CREATED, "the next request has the new token");
    assert_eq!(orange.token_requests() - before, 1);
}

#[tokio::test]
async fn the_service_is_asked_whether_it_is_ready_before_each_request_it_gets() {
    /// Counts, and does not take a request that it did not say to be ready for.
    #[derive(Clone)]
    struct Strict(HyperClient<HttpConnector, Full<Bytes>>, bool);

    impl Service<Request<Full<Bytes>>> for Strict {
        type Response = Response<hyper::body::Incoming>;
        type Error = hyper_util::client::legacy::Error;
        type Future = hyper_util::client::legacy::ResponseFuture;

        fn poll_ready(
            &mut self,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), Self::Error>> {
            self.1 = true;
            std::task::Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
            assert!(std::mem::take(&mut self.1), "it was not asked");
            self.0.request(request)
        }
    }

    let orange = SimulatedProvider::orange().start().await.expect("a port");
    let host = Host::by_client_credentials(&orange).await;
    orange.expire_access_tokens();
    let inner = Strict(hyper_client(), false);
    let service = ServiceBuilder::new().layer(host.session.layer()).service(inner);

    let answer = service.oneshot(message()).await.expect("an answer");

    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(orange.requests_to(OUTBOUND).len(), 2);
}

#[tokio::test]
async fn reqwest_as_the_service_does_the_same() {
    let orange = SimulatedProvider::orange().start().await.expect("a port");
    let host = Host::by_client_credentials(&orange).await;
    let client = common::http_client_builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client");
    let inner = tower::service_fn(move |request: Request<Bytes>| {
        let client = client.clone();
        async move { client.execute(request.try_into()?).await.map(Response::<reqwest::Body>::from) }
    });
    let service = ServiceBuilder::new().layer(host.session.layer()).service(inner);
    orange.expire_access_tokens();

    let request = message().map(|_| Bytes::from(MESSAGE));
    let answer = service.oneshot(request).await.expect("an answer");

    assert_eq!(answer.status(), StatusCode::CREATED);
    let sent = orange.requests_to(OUTBOUND);
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[1].body, MESSAGE);
}

/// H3, through the layer.
#[tokio::test]
async fn a_credential_leaves_neither_its_provider_nor_in_plain_text() {
    let elsewhere = Recorder::start([]).await;
    let upstream = Recorder::start([]).await;
    let host = Host::calling(upstream.url("/"), CallPolicy::default()).await;
    for uri in [elsewhere.url("/v1").as_str(), "http://api.openai.com/v1", "localhost:1", "*"] {
        let error = host.service().oneshot(get(uri)).await.expect_err(uri);
        assert!(ours(&error).is_invalid_input(), "{uri}: {error}");
    }
    let mut request = get("/v1/models");
    request.headers_mut().insert("authorization", "Bearer mine".parse().expect("a value"));
    let error = host.service().oneshot(request).await.expect_err("the credential's header");
    assert!(error.to_string().contains("authorization"), "{error}");
    assert_eq!(elsewhere.requests().len() + upstream.requests().len(), 0);
}

/// H3: no redirect is followed by the layer.
#[tokio::test]
async fn a_redirect_is_an_answer_and_not_another_request() {
    let elsewhere = Recorder::start([]).await;
    let location = format!("location: {}\r\n", elsewhere.url("/steal"));
    let upstream = Recorder::start([Reply::with_headers(307, &location, "")]).await;
    let host = Host::calling(upstream.url("/"), CallPolicy::default()).await;

    let answer = host.service().oneshot(get("/v1/models")).await.expect("an answer");

    assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(elsewhere.requests().len(), 0);
    assert_eq!(upstream.requests().len(), 1);
}

/// B-6: one breaker for all who call the origin.
#[tokio::test]
async fn requests_through_the_layer_and_through_the_client_share_one_breaker() {
    let torn = Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{");
    let script = [Reply::json(503, "{}"), torn, Reply::raw(""), Reply::json(200, "{}")];
    let upstream = Recorder::start(script).await;
    let breaker = BreakerPolicy { minimum_calls: 3, probes: 1, ..BreakerPolicy::default() };
    let policy = CallPolicy { breaker, ..CallPolicy::default() };
    let host = Host::calling(upstream.url("/"), policy).await;
    let mut service = host.service();

    let answer = service.ready().await.expect("ready").call(get("/")).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "nothing is made again here");
    let answer = service.ready().await.expect("ready").call(get("/")).await.expect("a head");
    answer.into_body().collect().await.expect_err("cut short");
    assert_eq!(host.state(), State::Closed);
    let error = service.ready().await.expect("ready").call(get("/")).await.expect_err("reset");
    assert!(error.downcast_ref::<hyper_util::client::legacy::Error>().is_some(), "{error}");
    assert!(matches!(host.state(), State::Open { .. }));

    let error = service.ready().await.expect("ready").call(get("/")).await.expect_err("held back");
    assert!(ours(&error).is_circuit_open());
    let error = host.session.client().get("/").send().await.expect_err("held back");
    assert!(error.is_circuit_open());
    assert_eq!(upstream.requests().len(), 3);

    host.clock.advance(Duration::from_secs(36));
    let answer = service.ready().await.expect("ready").call(get("/")).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(host.state(), State::Closed, "one probe is enough to be back");
}

/// B-6: the class of routes stands in the extensions of a request.
#[tokio::test]
async fn a_request_is_of_the_class_of_routes_that_it_names() {
    let upstream = Recorder::start([Reply::json(200, "{}")]).await;
    let host = Host::calling(upstream.url("/"), CallPolicy::default()).await;
    let shared = host.runtime.upstream("openai").expect("the provider");
    shared.route_class("embeddings").breaker().force_open();
    let mut service = host.service();
    let mut request = get("/v1/embeddings");
    request.extensions_mut().insert(RouteClass("embeddings"));

    let error = service.ready().await.expect("ready").call(request).await.expect_err("held back");

    assert!(ours(&error).is_circuit_open());
    let answer = service.ready().await.expect("ready").call(get("/")).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
}

/// B-5: a probe that is given up gives its permit back, so that the next request can be one.
#[tokio::test]
async fn a_request_that_is_given_up_says_nothing_about_the_upstream() {
    let down = Reply::json(503, "{}");
    let script = [down.clone(), down, Reply::Keep(Vec::new()), Reply::json(200, "{}")];
    let upstream = Recorder::start(script).await;
    let breaker = BreakerPolicy { minimum_calls: 2, probes: 1, ..BreakerPolicy::default() };
    let host =
        Host::calling(upstream.url("/"), CallPolicy { breaker, ..CallPolicy::default() }).await;
    for _ in 0..2 {
        host.service().oneshot(get("/")).await.expect("an answer");
    }
    host.clock.advance(Duration::from_secs(36));
    let probe = tokio::spawn(host.service().oneshot(get("/")));
    until(|| upstream.requests().len() == 3).await;
    let error = host.service().oneshot(get("/")).await.expect_err("there is one probe");
    assert!(ours(&error).is_circuit_open());

    probe.abort();
    assert!(probe.await.expect_err("given up").is_cancelled());

    let answer = host.service().oneshot(get("/")).await.expect("the next probe");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(host.state(), State::Closed);
}

/// H3: a request that is forwarded as it came does not lead the credential elsewhere.
#[tokio::test]
async fn the_host_and_the_headers_of_the_callers_connection_are_left_out() {
    let upstream = Recorder::start([Reply::json(200, "{}")]).await;
    let host = Host::calling(upstream.url("/"), CallPolicy::default()).await;
    let mut request = get("/v1/models");
    for (name, value) in [
        ("host", "attacker.example"),
        ("connection", "keep-alive, X-Mine"),
        ("x-mine", "1"),
        ("te", "trailers"),
        ("upgrade", "websocket"),
        ("proxy-authorization", "Basic eDp5"),
        ("x-own", "1"),
    ] {
        request.headers_mut().insert(name, value.parse().expect("a value"));
    }

    host.service().oneshot(request).await.expect("an answer");

    let sent = upstream.only_request();
    assert_eq!(sent.header("host"), Some(upstream.url("/").authority()));
    assert_eq!(sent.header("x-own"), Some("1"));
    for name in ["connection", "x-mine", "te", "upgrade", "proxy-authorization"] {
        assert_eq!(sent.header(name), None, "{name}");
    }
}

/// H2 and H3: the address for plain headers is made as that of any other request.
#[tokio::test]
async fn the_address_for_plain_headers_keeps_the_path_of_the_base_url_and_its_origin() {
    let base = "https://api.example/prefix".parse().expect("a url");
    let host = Host::calling(base, CallPolicy::default()).await;
    let authentication = host.session.authentication().await.expect("signed in");
    let url = authentication.url("/v1/models").expect("an address");
    assert_eq!(url.as_str(), "https://api.example/prefix/v1/models");
    for elsewhere in ["https://other.example/v1", "http://api.example/v1", "v1"] {
        assert!(authentication.url(elsewhere).expect_err(elsewhere).is_invalid_input());
    }
}

#[tokio::test]
async fn requests_without_an_active_provider_and_of_a_closed_session_say_so() {
    let upstream = Recorder::start([]).await;
    let host = Host::of(catalog::openai().base_url(upstream.url("/"))).await;
    let error = host.service().oneshot(get("/")).await.expect_err("no provider");
    assert!(error.to_string().contains("use_provider"), "{error}");
    host.session.close().await.expect("open");
    let error = host.service().oneshot(get("/")).await.expect_err("closed");
    assert!(ours(&error).is_not_found(), "{error}");
}
