//! Applications: what may be registered, their secrets, and their records.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::testing::SeededEntropy;

fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn hasher() -> SecretHasher {
    SecretHasher::new(&[1; 32])
}

fn stored(secret: &str) -> StoredSecret {
    StoredSecret { hash: hasher().hash(secret), created: time(0), ends: None, used: None }
}

fn application() -> Application {
    let spec = ApplicationSpec::new("a client").permissions("a b".parse().expect("a scope"));
    let id = "app_one".parse().expect("an id");
    spec.into_application(id, stored("first"), GrantGeneration::first(7), time(0))
        .expect("an application")
}

fn accepts(application: &Application, secret: &str, now: u64) -> bool {
    hasher().verify(Some(application), secret, time(now)).is_some()
}

#[test]
fn s_jwt_2_an_id_is_told_from_a_user_by_its_beginning() {
    let entropy = SeededEntropy::new(1);
    let random = ApplicationId::random(&entropy).expect("randomness");
    assert_eq!(random.as_str().parse::<ApplicationId>().expect("an id"), random);
    let long = format!("app_{}", "a".repeat(101));
    for bad in ["", "app_", "one", "App_one", "app_a b", "app_a/b", "app_\u{e9}", &long] {
        assert!(bad.parse::<ApplicationId>().expect_err("bad").is_invalid_input(), "{bad}");
    }
}

#[test]
fn s_auth_10_a_secret_is_256_random_bits_and_kept_as_a_keyed_hash() {
    let entropy = SeededEntropy::new(1);
    let (one, kept) = hasher().fresh(&entropy, time(0)).expect("randomness");
    let (two, _) = hasher().fresh(&entropy, time(0)).expect("randomness");
    assert_eq!(one.expose().len(), 43, "32 bytes of base64url");
    assert_ne!(one, two);
    assert_eq!(kept.hash, hasher().hash(one.expose()));
    assert_ne!(kept.hash, SecretHasher::new(&[2; 32]).hash(one.expose()), "another server's key");
    let mut application = application();
    application.replace_secret(kept.clone(), Duration::ZERO, time(1));
    let record = application.to_record();
    assert!(!String::from_utf8_lossy(&record).contains(one.expose()));
    assert!(!format!("{application:?} {kept:?}").contains(one.expose()));
}

#[test]
fn s_auth_11_two_secrets_are_good_during_an_exchange_and_one_after_it() {
    let mut application = application();
    application.replace_secret(stored("second"), Duration::from_secs(100), time(1_000));
    assert!(accepts(&application, "first", 1_099) && accepts(&application, "second", 1_099));
    assert!(!accepts(&application, "first", 1_100) && accepts(&application, "second", 1_100));

    application.replace_secret(stored("third"), Duration::from_secs(100), time(1_050));
    assert!(!accepts(&application, "first", 1_050), "never three");
    assert!(accepts(&application, "second", 1_050) && accepts(&application, "third", 1_050));
    application.replace_secret(stored("fourth"), Duration::ZERO, time(1_060));
    assert!(!accepts(&application, "third", 1_060), "at once, when that was asked for");
    assert_eq!(application.live_secrets(time(1_060)), 1);
}

#[test]
fn s_auth_11_a_secret_that_nobody_has_used_makes_room_for_one_that_somebody_uses() {
    let hour = Duration::from_hours(1);
    let names = |application: &Application| -> Vec<[u8; 32]> {
        application.secrets.iter().map(|secret| secret.hash).collect()
    };
    for (used, left) in [
        (&[][..], "second"),
        (&["first"][..], "first"),
        (&["second"], "second"),
        (&["first", "second"], "second"),
        (&["second", "first"], "second"),
    ] {
        let mut application = application();
        application.replace_secret(stored("second"), hour, time(0));
        for (moment, name) in used.iter().enumerate() {
            assert!(application.note_use(&hasher().hash(name), time(moment as u64)));
        }
        application.replace_secret(stored("third"), hour, time(60));
        assert_eq!(
            names(&application),
            [left, "third"].map(|name| hasher().hash(name)),
            "{used:?}"
        );
        let ends = application.secrets[0].ends.expect("an end");
        assert_eq!(ends, time(if left == "first" { 3_600 } else { 3_660 }), "{used:?}");
    }
    assert!(!application().note_use(&[0; 32], time(0)), "there is no such secret");
}

/// An exchange is taken back by giving the former secret once more.
#[test]
fn s_auth_11_a_secret_that_is_given_again_is_the_same_one() {
    let hour = Duration::from_hours(1);
    let mut application = application();
    assert!(application.note_use(&hasher().hash("first"), time(5)));
    application.replace_secret(stored("second"), hour, time(10));
    application.replace_secret(stored("first"), hour, time(20));
    let secrets: Vec<_> = application.secrets(time(20)).collect();
    assert_eq!(secrets.len(), 2);
    assert!(accepts(&application, "second", 3_619) && !accepts(&application, "second", 3_620));
    assert!(accepts(&application, "first", 10_000));
    assert_eq!(secrets[1].last_used, Some(time(5)), "it was used when it was");
}

#[test]
fn s_auth_5_nobody_has_no_secret() {
    for secret in ["", "first", "\0"] {
        assert_eq!(hasher().verify(None, secret, time(0)), None);
    }
    assert!(!accepts(&application(), "firsT", 0) && !accepts(&application(), "", 0));
    assert!(accepts(&application(), "first", 0));
}

#[test]
fn s_auth_5_an_unknown_client_takes_the_work_of_a_wrong_secret() {
    let (hasher, application) = (hasher(), application());
    // The least of many is the work itself, whatever else the machine does.
    let mut least = [Duration::MAX; 2];
    for _ in 0..20_000 {
        for (client, least) in [None, Some(&application)].into_iter().zip(&mut least) {
            #[allow(clippy::disallowed_methods, reason = "it is the work that is measured")]
            let begin = std::time::Instant::now();
            let verified = hasher.verify(std::hint::black_box(client), "a-wrong-secret", time(0));
            *least = begin.elapsed().min(*least);
            assert_eq!(verified, None);
        }
    }
    let [unknown, wrong] = least;
    assert!(unknown < 2 * wrong && wrong < 2 * unknown, "{unknown:?} against {wrong:?}");
}

#[test]
fn s_jwt_5_no_access_token_lives_longer_than_ten_minutes() {
    for (life, good) in [(0, false), (1, true), (600, true), (601, false)] {
        let change = ApplicationChange::new().access_token_lifetime(Duration::from_secs(life));
        assert_eq!(change.apply_to(&mut application()).is_ok(), good, "{life}");
    }
    let change = ApplicationChange::new().access_token_lifetime(Duration::from_millis(1_500));
    assert!(change.apply_to(&mut application()).is_err(), "expires_in has no fractions");
}

#[test]
fn s_rt_21_to_disable_an_application_or_its_secret_at_once_ends_its_grants() {
    let mut changed = application();
    let first = changed.generation();
    changed.replace_secret(stored("second"), Duration::from_secs(9), time(1));
    ApplicationChange::new().enabled(true).name("other").apply_to(&mut changed).expect("ok");
    assert_eq!(changed.generation(), first, "neither of these does");
    ApplicationChange::new().enabled(false).apply_to(&mut changed).expect("disabled");
    ApplicationChange::new().enabled(true).apply_to(&mut changed).expect("enabled");
    let second = changed.generation();
    assert_ne!(second, first);
    // Whatever the clock says.
    changed.replace_secret(stored("third"), Duration::ZERO, time(0));
    assert!(![first, second].contains(&changed.generation()));
}

#[test]
fn a_token_counts_in_its_own_generation_alone() {
    let first = GrantGeneration::first(7);
    assert!(first.counts(Some(&first.to_string())));
    assert!(first.counts(None), "a token of a former server");
    assert!(!first.counts(Some("")) && !first.counts(Some(&first.next().to_string())));
    assert!(!first.next().counts(None), "until the first one ends");
    assert!(!first.counts(Some(&GrantGeneration::first(8).to_string())), "registered again");
}

#[test]
fn s_rt_19_refresh_tokens_live_a_second_to_a_year_with_a_minute_of_grace_at_most() {
    let [second, year] = [Duration::from_secs(1), Duration::from_hours(366 * 24)];
    let minute = Duration::from_mins(1);
    let good = RefreshPolicy::new().idle(second).absolute(year).grace(minute);
    let applied =
        |policy| ApplicationChange::new().refresh_policy(policy).apply_to(&mut application());
    assert!(applied(good).is_ok());
    for bad in
        [good.idle(Duration::ZERO), good.absolute(year + second), good.grace(minute + second)]
    {
        assert!(applied(bad).expect_err("bad").is_invalid_input());
    }
}

#[test]
fn a_change_that_is_refused_changes_nothing() {
    let mut changed = application();
    let change = ApplicationChange::new().enabled(false).name("a\nb");
    assert!(change.apply_to(&mut changed).expect_err("a line break").is_invalid_input());
    assert_eq!(changed, application());
}

#[test]
fn an_application_reads_what_it_wrote_and_keeps_what_it_does_not_know() {
    let mut original = application();
    original.note_use(&hasher().hash("first"), time(9));
    original.replace_secret(stored("second"), Duration::from_mins(1), time(10));
    let read = Application::from_record(&original.to_record()).expect("an application");
    assert_eq!((&read.id, &read.secrets), (&original.id, &original.secrets));

    let mut value: Value = serde_json::from_slice(&original.to_record()).expect("json");
    value["colour"] = json!("green");
    value["refresh"]["colour"] = json!("blue");
    value["secrets"][1]["colour"] = json!("red");
    value["grants"] = json!(["client_credentials", "telepathy"]);
    let mut read = Application::from_record(value.to_string().as_bytes()).expect("readable");
    assert_eq!(read.grants().collect::<Vec<_>>(), [GrantType::ClientCredentials]);
    assert_eq!(serde_json::from_slice::<Value>(&read.to_record()).expect("json"), value);
    ApplicationChange::new().grants([]).apply_to(&mut read).expect("changed");
    value["grants"] = json!(["telepathy"]);
    assert_eq!(serde_json::from_slice::<Value>(&read.to_record()).expect("json"), value);
    read.note_use(&hasher().hash("second"), time(15));
    read.replace_secret(stored("third"), Duration::from_mins(1), time(20));
    let written: Value = serde_json::from_slice(&read.to_record()).expect("json");
    assert_eq!(written["secrets"][0]["colour"], "red", "it is the former one now");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Application::from_record(&bytes).is_err());
    }

    #[test]
    fn any_numbers_are_read_without_a_panic(life: u64, created: u64, ends: u64) {
        let mut value: Value = serde_json::from_slice(&application().to_record()).expect("json");
        value["access_token_lifetime"] = json!(life);
        value["created"] = json!(created);
        value["secrets"][0]["ends"] = json!(ends);
        let _ = Application::from_record(value.to_string().as_bytes());
    }

    #[test]
    fn s_auth_11_there_are_never_more_than_two_secrets(
        exchanges in prop::collection::vec((0_u64..100, 0_u64..200), 1..20),
    ) {
        let mut application = application();
        let mut now = 0;
        for (number, (pause, overlap)) in exchanges.into_iter().enumerate() {
            now += pause;
            let name = number.to_string();
            application.replace_secret(stored(&name), Duration::from_secs(overlap), time(now));
            prop_assert!(application.secrets.len() <= 2);
            prop_assert!(accepts(&application, &name, now));
        }
    }
}
