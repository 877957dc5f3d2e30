//! A provider that goes away and comes back, and one that goes on in another process.

use super::*;

#[tokio::test]
async fn a_stopped_provider_refuses_connections_and_comes_back_at_its_port() {
    let provider = started(SimulatedProvider::openai()).await;
    let answer = signed_in(&provider).await;
    let base_url = provider.base_url();
    provider.stop().await.expect("stopped");
    let error = resource_request(&provider, "any").send().await.expect_err("nobody listens");
    assert!(error.is_connect(), "{error:?}");
    provider.stop().await.expect("stopping twice is stopping once");
    provider.restart().await.expect("restarted");
    provider.restart().await.expect("restarting twice is restarting once");
    assert_eq!(provider.base_url(), base_url);
    let reply = send(resource_request(&provider, text(&answer, "access_token"))).await;
    assert_eq!(reply.status, StatusCode::OK, "what was issued before is still good");
}

/// On other systems nobody gets a port that somebody has bound.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_outage_in_which_somebody_takes_the_port_can_be_ended_when_it_is_free_again() {
    let provider = started(SimulatedProvider::openai()).await;
    let key = provider.issue_api_key();
    provider.stop().await.expect("stopped");
    let base_url = provider.base_url();
    let [address] = *base_url.socket_addrs(|| None).expect("an address") else {
        panic!("one address");
    };
    let somebody = std::net::TcpListener::bind(address).expect("it listens there");
    for _ in 0..2 {
        provider.restart().await.expect_err("somebody listens there");
    }
    drop(somebody);
    provider.restart().await.expect("restarted");
    let reply = send(resource_request(&provider, key.expose())).await;
    assert_eq!(reply.status, StatusCode::OK);
}

#[tokio::test]
async fn an_outage_cuts_requests_that_are_under_way() {
    let provider = started(SimulatedProvider::openai()).await;
    provider.faults().always(Fault::Hang);
    let request = tokio::spawn(resource_request(&provider, "any").send());
    provider.until(|counters| counters.resource_requests == 1).await;
    provider.stop().await.expect("stopped");
    assert!(request.await.expect("no panic").is_err());
}

#[tokio::test]
async fn a_provider_goes_on_until_its_last_clone_is_dropped() {
    let provider = started(SimulatedProvider::openai()).await;
    let clone = provider.clone();
    let models = provider.url("/v1/models");
    drop(provider);
    let kept = client();
    assert_eq!(send(kept.get(models.clone())).await.status, StatusCode::UNAUTHORIZED);
    clone.faults().always(Fault::Hang);
    let request = tokio::spawn(kept.get(models).send());
    clone.until(|counters| counters.faults == 1).await;
    drop(clone);
    assert!(request.await.expect("no panic").is_err());
}

#[tokio::test]
async fn another_process_goes_on_with_what_a_provider_knew() {
    let before = started(SimulatedProvider::openai()).await;
    let key = before.issue_api_key();
    let answer = signed_in(&before).await;
    let spent = renewal(&before, text(&answer, "refresh_token"));
    let renewed = token(&before, &spent).await.json;
    let memory = before.memory().expect("json");
    drop(before);

    let builder = SimulatedProvider::openai().remember(&memory).expect("its own memory");
    let after = started(builder).await;
    assert_eq!(send(resource_request(&after, key.expose())).await.status, StatusCode::OK);
    let access_token = text(&renewed, "access_token");
    assert_eq!(send(resource_request(&after, access_token)).await.status, StatusCode::OK);
    let reply = token(&after, &renewal(&after, text(&renewed, "refresh_token"))).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(token(&after, &spent).await.json["error"]["code"], "refresh_token_reused");
    assert!(SimulatedProvider::openai().remember("not a memory").is_err());
}

#[tokio::test]
async fn many_requests_at_once_are_all_counted() {
    let provider = started(SimulatedProvider::openai()).await;
    let key = provider.issue_api_key();
    let client = client();
    let requests: Vec<_> = (0..200)
        .map(|_| {
            let request = client.get(provider.url("/v1/models")).bearer_auth(key.expose());
            tokio::spawn(try_send(request))
        })
        .collect();
    for request in requests {
        let reply = request.await.expect("no panic").expect("an answer");
        assert_eq!(reply.status, StatusCode::OK);
    }
    assert_eq!(provider.counters().resource_requests, 200);
    assert_eq!(provider.requests_to("/v1/models").len(), 200);
}

#[tokio::test]
async fn what_it_knows_is_in_its_file_before_anybody_is_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("beside").join("openai.json");
    let kept = || SimulatedProvider::openai().kept_in(&file).expect("its file");
    let openai = started(kept()).await;
    let answer = signed_in(&openai).await;
    let spent = renewal(&openai, text(&answer, "refresh_token"));
    let gate = Gate::new();
    openai.faults().on(Endpoint::Token).next(1, Fault::HoldAnswer(gate.clone()));
    let asking = async { token(&openai, &spent).await.status };
    let looking = async {
        gate.until_arrived(1).await;
        // As another process finds it after a kill.
        let again = started(kept()).await;
        let reply = token(&again, &spent).await;
        gate.open();
        reply
    };
    let (status, reply) = tokio::join!(asking, looking);
    assert_eq!(status, StatusCode::OK);
    assert_eq!(reply.json["error"]["code"], "refresh_token_reused");
}

#[tokio::test]
async fn the_memory_of_another_provider_is_refused() {
    let google = SimulatedProvider::google().start().await.expect("a port");
    let memory = google.memory().expect("text");
    let error = SimulatedProvider::openai().remember(&memory).expect_err("not its own");
    assert!(error.is_invalid_input(), "{error}");
    assert!(error.to_string().contains("google"), "{error}");
}
