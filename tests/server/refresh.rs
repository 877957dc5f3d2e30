//! Refresh tokens over the wire: rotation, reuse, and what a failing disk does to them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use tokenward::server::{ApplicationChange, ApplicationSpec, GrantType, RefreshPolicy, Registered};
use tokenward::testing::VaultFault;
use tokenward::vault::{Query, RecordKind};
use tower::ServiceExt as _;

use crate::host::{Answer, FORM, Host, basic, part};

/// Registers an application that gets refresh tokens.
pub(crate) async fn register(host: &Host, permissions: &str, policy: RefreshPolicy) -> Registered {
    let spec = ApplicationSpec::new("a client with refresh tokens")
        .permissions(permissions.parse().expect("a scope"))
        .grants([GrantType::ClientCredentials, GrantType::RefreshToken])
        .refresh_policy(policy);
    host.server.issuer().register(spec).await.expect("registered")
}

/// The access token and the refresh token of an answer.
pub(crate) fn tokens(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    let token = |name: &str| body[name].as_str().expect("a token").to_owned();
    (token("access_token"), token("refresh_token"))
}

pub(crate) async fn refresh(host: &Host, by: &Registered, token: &str, scope: &str) -> Answer {
    let scope = match scope {
        "" => String::new(),
        scope => format!("&scope={}", scope.replace(' ', "+")),
    };
    let body = format!("grant_type=refresh_token&refresh_token={token}{scope}");
    host.post("/auth/token", &[&FORM, &("authorization", &basic(by))], &body).await
}

async fn begin(host: &Host, policy: RefreshPolicy) -> (Registered, String, String) {
    let application = register(host, "memories:read memories:write", policy).await;
    let (access, refresh) = tokens(&host.ask(&application, "").await);
    (application, access, refresh)
}

fn is_invalid_grant(answer: &Answer) -> bool {
    answer.status == 400 && answer.error() == "invalid_grant"
}

#[tokio::test]
async fn s_rt_2_s_rt_10_a_token_is_rotated_at_each_use_also_over_a_restart() {
    let mut host = Host::start().await;
    let (application, _, first) = begin(&host, RefreshPolicy::new()).await;
    assert!(first.starts_with("rt_"));
    let (access, second) = tokens(&refresh(&host, &application, &first, "").await);
    assert_ne!(first, second);
    assert_eq!(host.call(&access).await.status, 200);
    host.restart().await;
    let (_, third) = tokens(&refresh(&host, &application, &second, "").await);
    assert_ne!(second, third);

    let body = format!("grant_type=refresh_token&refresh_token={third}");
    let nobody = host.post("/auth/token", &[&FORM], &body).await;
    assert_eq!((nobody.status, nobody.error().as_str()), (401, "invalid_client"));
    let missing = refresh(&host, &application, "", "").await;
    assert_eq!((missing.status, missing.error().as_str()), (400, "invalid_request"));
}

#[tokio::test]
async fn s_rt_3_s_rt_4_s_rt_5_s_rt_6_a_scope_is_within_what_was_granted_and_narrows_one_token_only()
{
    let host = Host::start().await;
    let application = register(&host, "a b c", RefreshPolicy::new()).await;
    let (_, token) = tokens(&host.ask(&application, "a b").await);
    let narrow = refresh(&host, &application, &token, "a").await;
    assert_eq!(narrow.json()["scope"], "a");
    let (_, token) = tokens(&narrow);
    let beyond = refresh(&host, &application, &token, "a c").await;
    assert_eq!(
        (beyond.status, beyond.error().as_str()),
        (400, "invalid_scope"),
        "c was not granted"
    );
    let whole = refresh(&host, &application, &token, "").await;
    assert_eq!(whole.json()["scope"], "a b", "what was granted, after a narrower request");
}

#[tokio::test]
async fn s_rt_7_s_rt_8_s_rt_9_a_request_that_is_refused_spends_nothing() {
    let host = Host::start().await;
    let (application, _, token) = begin(&host, RefreshPolicy::new()).await;
    let other = register(&host, "memories:read", RefreshPolicy::new()).await;
    assert!(is_invalid_grant(&refresh(&host, &other, &token, "").await), "not its token");
    assert_eq!(refresh(&host, &application, &token, "x").await.error(), "invalid_scope");
    assert_eq!(refresh(&host, &application, &token, "a\"").await.error(), "invalid_scope");
    let mut wrong = application.clone();
    wrong.secret = tokenward::Secret::new("wrong");
    assert_eq!(refresh(&host, &wrong, &token, "").await.error(), "invalid_client");
    for invented in ["x", "rt_", "rt_AAAA", &token[..token.len() - 1]] {
        assert!(is_invalid_grant(&refresh(&host, &application, invented, "").await));
    }
    tokens(&refresh(&host, &application, &token, "").await);
}

#[tokio::test]
async fn s_rt_14_s_rt_15_s_rt_16_s_rt_17_reuse_ends_the_family_and_no_other() {
    let mut host = Host::start().await;
    let (application, old_access, first) = begin(&host, RefreshPolicy::new()).await;
    let (other_access, other) = tokens(&host.ask(&application, "").await);
    let (new_access, second) = tokens(&refresh(&host, &application, &first, "").await);
    assert!(is_invalid_grant(&refresh(&host, &application, &first, "").await), "used twice");
    assert!(is_invalid_grant(&refresh(&host, &application, &second, "").await), "the newest, too");
    for restarted in [false, true] {
        if restarted {
            host.restart().await;
        }
        assert_eq!(host.call(&old_access).await.status, 401, "and its access tokens");
        assert_eq!(host.call(&new_access).await.status, 401);
        assert_eq!(host.call(&other_access).await.status, 200, "another family goes on");
    }
    tokens(&refresh(&host, &application, &other, "").await);
}

#[tokio::test]
async fn s_rt_16_a_family_ends_with_its_access_tokens_also_when_the_answer_of_the_disk_is_lost() {
    let host = Host::start().await;
    let (mut lost, mut by_itself) = (0, 0);
    for step in 0..6 {
        let (application, _, first) = begin(&host, RefreshPolicy::new()).await;
        let (access, second) = tokens(&refresh(&host, &application, &first, "").await);
        // So that the fault meets the end of the family, and no entry of the trail from before.
        host.runtime.vault().write_notes().await.expect("durable");
        host.disk.after(step, VaultFault::LostAnswer);
        let reused = refresh(&host, &application, &first, "").await;
        host.disk.heal();
        // Nobody presents it again: the server sees to it by itself. The token lives for five minutes.
        let mut turns = 0;
        while host.call(&access).await.status != 401 && turns < 2_000 {
            host.clock.advance(Duration::from_millis(100));
            turns += 1;
        }
        if reused.status == 503 {
            lost += 1;
            by_itself += usize::from(turns < 2_000);
        }
        // What failed before the use was judged is judged with the next one.
        let again = async || refresh(&host, &application, &second, "").await;
        let ended = host.until_answered(again).await;
        assert!(is_invalid_grant(&ended) || turns == 2_000, "after {step} steps: {ended:?}");
    }
    assert!(lost > 0, "some of these steps are those of the end of a family");
    assert!(by_itself > 0, "{lost} answers were lost, and nobody saw to it");
}

#[tokio::test]
async fn s_rt_20_a_client_that_hangs_up_before_its_answer_can_present_its_token_again() {
    let host = Host::start().await;
    let (application, _, mut token) = begin(&host, RefreshPolicy::new()).await;
    for turns in 0..30 {
        let body = format!("grant_type=refresh_token&refresh_token={token}");
        let request = Request::post("/auth/token")
            .header(FORM.0, FORM.1)
            .header("authorization", basic(&application))
            .body(Body::from(body))
            .expect("a request");
        let answering = host.server.router().oneshot(request);
        tokio::select! {
            biased;
            _ = answering => {}
            () = async { for _ in 0..turns { tokio::task::yield_now().await; } } => {
                // Whatever was begun is durable before this is.
                host.register("memories:read").await;
                let (access, next) = tokens(&refresh(&host, &application, &token, "").await);
                assert_eq!(host.call(&access).await.status, 200, "after {turns} turns");
                token = next;
                continue;
            }
        }
        (_, token) = tokens(&host.ask(&application, "").await);
    }
}

#[tokio::test]
async fn s_rt_20_a_client_that_hangs_up_and_comes_again_before_the_disk_has_answered_is_no_thief() {
    let host = Arc::new(Host::start().await);
    let (application, _, token) = begin(&host, RefreshPolicy::new()).await;
    let body = format!("grant_type=refresh_token&refresh_token={token}");
    let headers = [&FORM, &("authorization", &*basic(&application))];
    host.hang_up_on("/auth/token", &headers, &body).await;
    let begun = host.begun();
    let again = tokio::spawn({
        let (host, application) = (Arc::clone(&host), application.clone());
        async move { refresh(&host, &application, &token, "").await }
    });
    // The first rotation is under way when the second request is there.
    host.until_under_way(begun + 1, 1).await;
    host.disk.release();
    let (access, next) = tokens(&again.await.expect("answered"));
    assert_eq!(host.call(&access).await.status, 200);
    tokens(&refresh(&host, &application, &next, "").await);
}

#[tokio::test]
async fn an_application_has_a_thousand_families_at_most() {
    let mut host = Host::start().await;
    let (application, access, first) = begin(&host, RefreshPolicy::new()).await;
    host.clock.advance(Duration::from_secs(1));
    let (_, second) = tokens(&host.ask(&application, "").await);
    host.clock.advance(Duration::from_secs(1));
    for _ in 2..1_000 {
        tokens(&host.ask(&application, "").await);
    }
    let count = async |host: &Host| {
        let families = Query::all(RecordKind::TokenFamily);
        host.runtime.vault().list(families).await.expect("a list").len()
    };
    assert_eq!(count(&host).await, 1_000);
    let (_, second) = tokens(&refresh(&host, &application, &second, "").await);
    host.restart().await;
    host.clock.advance(Duration::from_mins(1));
    tokens(&host.ask(&application, "").await);
    assert_eq!(count(&host).await, 1_000, "one made room, and it was not known from memory");
    assert!(is_invalid_grant(&refresh(&host, &application, &first, "").await), "the first one");
    tokens(&refresh(&host, &application, &second, "").await);

    // It is gone, and what came of it can be given back all the same.
    assert_eq!(host.call(&access).await.status, 200);
    let body = format!("token={first}");
    let revoked =
        host.post("/auth/revoke", &[&FORM, &("authorization", &basic(&application))], &body).await;
    assert_eq!((revoked.status, host.call(&access).await.status), (200, 401));
}

#[tokio::test]
async fn a_damaged_family_is_over_and_stands_in_the_way_of_no_other() {
    for given_back in [false, true] {
        let mut host = Host::start().await;
        let (application, access, damaged) = begin(&host, RefreshPolicy::new()).await;
        let families = host.records(RecordKind::TokenFamily).await;
        host.clock.advance(Duration::from_secs(1));
        for _ in 1..1_000 {
            tokens(&host.ask(&application, "").await);
        }
        host.damage(&families[0]).await;
        host.restart().await;
        let headers = [&FORM, &("authorization", &*basic(&application))];
        let body = format!("token={damaged}");
        let seen = host.post("/auth/introspect", &headers, &body).await;
        assert_eq!((seen.status, seen.json()["active"] == true), (200, false));
        assert!(is_invalid_grant(&refresh(&host, &application, &damaged, "").await));
        assert_eq!(host.call(&access).await.status, 200, "nobody has ended it");
        if given_back {
            assert_eq!(host.post("/auth/revoke", &headers, &body).await.status, 200);
            assert_eq!(host.call(&access).await.status, 401);
            // Also when it opens again, such as on a disk that was read wrong.
            host.disk.heal();
            host.restart().await;
            assert!(is_invalid_grant(&refresh(&host, &application, &damaged, "").await));
            assert_eq!(host.call(&access).await.status, 401);
        }
        // Where it is there still, it is the one that has to make room.
        let (_, next) = tokens(&host.ask(&application, "").await);
        tokens(&refresh(&host, &application, &next, "").await);
        let families_now = host.records(RecordKind::TokenFamily).await;
        assert_eq!(families_now.len(), 1_000);
        assert!(!families_now.contains(&families[0]));
        assert!(host.runtime.vault().quarantined().await.expect("a list").is_empty());
    }
}

#[tokio::test]
async fn s_rt_18_of_many_uses_at_once_one_succeeds() {
    let host = Arc::new(Host::start().await);
    let (application, _, token) = begin(&host, RefreshPolicy::new()).await;
    let answers = at_once(&host, &application, &token, 1_000).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert_eq!(answers.iter().filter(|answer| is_invalid_grant(answer)).count(), 999);
}

#[tokio::test]
async fn s_rt_18_within_the_grace_many_uses_at_once_get_the_same_successor() {
    let host = Arc::new(Host::start().await);
    let policy = RefreshPolicy::new().grace(Duration::from_secs(10));
    let (application, _, token) = begin(&host, policy).await;
    let answers = at_once(&host, &application, &token, 1_000).await;
    let (_, successor) = tokens(&answers[0]);
    assert!(answers.iter().all(|answer| tokens(answer).1 == successor));
    tokens(&refresh(&host, &application, &successor, "").await);
}

/// Uses a token so many times at once, a hundred connections at a time.
async fn at_once(
    host: &Arc<Host>,
    application: &Registered,
    token: &str,
    times: usize,
) -> Vec<Answer> {
    let connections = Arc::new(tokio::sync::Semaphore::new(100));
    let mut uses = tokio::task::JoinSet::new();
    for _ in 0..times {
        let (host, connections) = (Arc::clone(host), Arc::clone(&connections));
        let (application, token) = (application.clone(), token.to_owned());
        uses.spawn(async move {
            let _one = connections.acquire().await.expect("open");
            refresh(&host, &application, &token, "").await
        });
    }
    uses.join_all().await
}

#[tokio::test]
async fn s_rt_19_a_family_is_over_when_it_is_idle_and_in_any_case_at_its_end() {
    let host = Host::start().await;
    let hour = Duration::from_hours(1);
    let (application, _, mut token) =
        begin(&host, RefreshPolicy::new().idle(hour).absolute(2 * hour)).await;
    for _ in 0..2 {
        host.clock.advance(Duration::from_secs(3_599));
        token = tokens(&refresh(&host, &application, &token, "").await).1;
    }
    host.clock.advance(Duration::from_secs(2));
    assert!(
        is_invalid_grant(&refresh(&host, &application, &token, "").await),
        "two hours are over"
    );
    let (_, idle) = tokens(&host.ask(&application, "").await);
    host.clock.advance(hour);
    assert!(is_invalid_grant(&refresh(&host, &application, &idle, "").await));
}

#[tokio::test]
async fn s_rt_19_a_clock_that_is_set_back_lengthens_a_family_by_so_much_and_no_use_by_more() {
    let host = Host::start().await;
    let [hour, second] = [Duration::from_hours(1), Duration::from_secs(1)];
    let policy = RefreshPolicy::new().idle(hour).absolute(2 * hour).grace(Duration::from_secs(10));
    let (application, _, first) = begin(&host, policy).await;
    let (_, second_token) = tokens(&refresh(&host, &application, &first, "").await);
    host.clock.step_wall_back(hour);
    // A clock that went back says nothing about how long the grace has lasted, so there is none.
    let (other, _, spent) = begin(&host, policy).await;
    tokens(&refresh(&host, &other, &spent, "").await);
    host.clock.step_wall_back(second);
    assert!(is_invalid_grant(&refresh(&host, &other, &spent, "").await));

    let mut token = second_token;
    for _ in 0..3 {
        host.clock.advance(Duration::from_secs(3_599));
        token = tokens(&refresh(&host, &application, &token, "").await).1;
    }
    host.clock.advance(4 * second);
    assert!(is_invalid_grant(&refresh(&host, &application, &token, "").await), "two hours and one");
}

#[tokio::test]
async fn s_rt_20_a_disk_that_is_full_spends_nothing() {
    let host = Host::start().await;
    let (application, _, token) = begin(&host, RefreshPolicy::new()).await;
    host.disk.set(VaultFault::NoRoom);
    let failed = refresh(&host, &application, &token, "").await;
    assert_eq!((failed.status, failed.error().as_str()), (503, "temporarily_unavailable"));
    assert!(failed.header("retry-after").is_some());
    host.disk.heal();
    let again = host.until_answered(async || refresh(&host, &application, &token, "").await).await;
    tokens(&again);
}

#[tokio::test]
async fn s_rt_20_a_failure_at_any_step_leaves_the_token_good_for_a_client_that_got_no_answer() {
    let host = Host::start().await;
    let (application, _, mut token) = begin(&host, RefreshPolicy::new()).await;
    let mut failures = 0;
    for fault in [VaultFault::LostAnswer, VaultFault::Full] {
        for step in 0..6 {
            host.disk.after(step, fault);
            let mut answer = refresh(&host, &application, &token, "").await;
            if answer.status != 200 {
                assert_eq!(answer.status, 503, "{fault:?} at {step}");
                failures += 1;
                host.disk.heal();
                let again = async || refresh(&host, &application, &token, "").await;
                answer = host.until_answered(again).await;
            }
            let (access, next) = tokens(&answer);
            assert_eq!(host.call(&access).await.status, 200);
            token = next;
        }
    }
    assert!(failures > 1, "some of these steps are those of a rotation");
}

#[tokio::test]
async fn s_rt_21_what_is_taken_from_an_application_is_taken_from_its_families() {
    let host = Host::start().await;
    let (application, _, token) = begin(&host, RefreshPolicy::new()).await;
    let id = application.application.id();
    let issuer = host.server.issuer();
    let less = ApplicationChange::new().permissions("memories:write".parse().expect("a scope"));
    issuer.change(id, less).await.expect("changed");
    let answer = refresh(&host, &application, &token, "").await;
    assert_eq!(answer.json()["scope"], "memories:write", "what is left of what was granted");
    let (_, token) = tokens(&answer);

    host.clock.advance(Duration::from_secs(1));
    for enabled in [false, true] {
        issuer.change(id, ApplicationChange::new().enabled(enabled)).await.expect("changed");
    }
    assert!(is_invalid_grant(&refresh(&host, &application, &token, "").await), "it was disabled");

    let (_, token) = tokens(&host.ask(&application, "").await);
    host.clock.advance(Duration::from_secs(1));
    let secret = issuer.rotate_secret(id, Duration::ZERO).await.expect("a secret");
    let mut application = application;
    application.secret = secret;
    assert!(
        is_invalid_grant(&refresh(&host, &application, &token, "").await),
        "its secret is another"
    );
}

#[tokio::test]
async fn s_rs_24_a_refresh_token_opens_no_route_and_an_access_token_refreshes_nothing() {
    let host = Host::start().await;
    let (application, access, token) = begin(&host, RefreshPolicy::new()).await;
    assert_eq!(host.call(&token).await.status, 401);
    assert!(is_invalid_grant(&refresh(&host, &application, &access, "").await));
    assert!(part(&access, 1)["token_family"].is_string());
}
