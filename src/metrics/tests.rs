use std::time::Duration;

use super::*;
use crate::clock::Sources;
use crate::event::EventKind;

fn encoded(meters: &Meters) -> String {
    let mut text = String::new();
    meters.encode(&mut text).expect("text");
    text
}

#[test]
fn no_label_names_a_user() {
    let meters = Meters::new(Sources::system());
    for actor in ["runtime/credentials/zoe/openai/api-key", "credentials/zoe/openai/api-key"] {
        let (actor, reason) = (actor.to_owned(), "zoe did it".to_owned());
        meters.event(&EventKind::ActorRestarted { actor, restarts: 1, reason });
    }
    let text = encoded(&meters);
    assert!(text.contains("tokenward_actor_restarts_total{actor=\"credentials\"} 2"), "{text}");
    assert!(!text.contains("zoe"), "{text}");
}

#[test]
fn a_degraded_vault_is_shown_until_it_has_recovered() {
    let meters = Meters::new(Sources::system());
    let reason = "the disk is full".to_owned();
    meters.event(&EventKind::VaultDegraded { reason });
    assert!(encoded(&meters).contains("\ntokenward_vault_degraded 1\n"));
    meters.event(&EventKind::VaultRecovered);
    let text = encoded(&meters);
    assert!(text.contains("\ntokenward_vault_degraded 0\n"), "{text}");
    assert!(text.contains("\ntokenward_vault_degradations_total 1\n"), "{text}");
}

#[test]
fn what_took_longer_than_any_bucket_is_counted() {
    let meters = Meters::new(Sources::system());
    meters.upstream("https://api.example", "answered").observe(Duration::from_hours(1));
    let text = encoded(&meters);
    let labels = "upstream=\"https://api.example\",outcome=\"answered\"";
    for line in [
        format!("tokenward_upstream_request_duration_seconds_count{{{labels}}} 1"),
        format!("tokenward_upstream_request_duration_seconds_bucket{{le=\"60.0\",{labels}}} 0"),
        format!("tokenward_upstream_request_duration_seconds_bucket{{le=\"+Inf\",{labels}}} 1"),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }
}
