//! Refresh tokens against a model: which token is good is known here by its number, and every use
//! has to come to what that number says.

use std::time::SystemTime;

use proptest::prelude::*;

use super::family::{Family, Presented, Use};
use super::token::RefreshToken;
use super::*;
use crate::server::application::{ApplicationId, GrantGeneration};
use crate::testing::SeededEntropy;

fn tokens() -> RefreshTokens {
    RefreshTokens::new(&[3; 32])
}

fn application(name: &str) -> ApplicationId {
    name.parse().expect("an id")
}

fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn policy(idle: u64, absolute: u64, grace: u64) -> RefreshPolicy {
    let [idle, absolute, grace] = [idle, absolute, grace].map(Duration::from_secs);
    RefreshPolicy::new().idle(idle).absolute(absolute).grace(grace)
}

/// A family and every token that it has ever had.
struct Bench {
    policy: RefreshPolicy,
    family: Family,
    issued: Vec<RefreshToken>,
    first_use: Vec<u64>,
}

impl Bench {
    fn new(policy: RefreshPolicy) -> Self {
        let first = RefreshToken::generate(&SeededEntropy::new(1)).expect("randomness");
        let scope = "a b".parse().expect("a scope");
        let hash = tokens().hash(&first);
        let id = first.family();
        let family = Family::new(
            id,
            (application("app_one"), GrantGeneration::first(1)),
            scope,
            hash,
            &policy,
            time(0),
        );
        Self { policy, family, issued: vec![first], first_use: Vec::new() }
    }

    fn presented(token: &RefreshToken) -> Presented {
        let successor = tokens().successor(token);
        Presented { hash: tokens().hash(token), successor: tokens().hash(&successor) }
    }

    /// Uses the token of this number, and writes what comes of it.
    fn use_at(&mut self, number: usize, seconds: u64) -> Use {
        let outcome =
            self.family.used(&Self::presented(&self.issued[number]), &self.policy, time(seconds));
        match &outcome {
            Use::Rotated(next) => {
                self.family = Family::clone(next);
                self.issued.push(tokens().successor(&self.issued[number]));
                self.first_use.push(seconds);
            }
            Use::Reused => self.family = self.family.revoked(),
            Use::Repeated | Use::Over => {}
        }
        outcome
    }
}

fn name(outcome: &Use) -> &'static str {
    match outcome {
        Use::Rotated(_) => "rotated",
        Use::Repeated => "repeated",
        Use::Reused => "reused",
        Use::Over => "over",
    }
}

proptest! {
    #[test]
    fn s_rt_2_s_rt_14_s_rt_18_every_use_comes_to_what_the_number_of_its_token_says(
        (idle, absolute, grace) in (1_u64..200, 1_u64..1_000, 0_u64..60),
        uses in prop::collection::vec((0_usize..6, 0_u64..120), 1..40),
    ) {
        let mut bench = Bench::new(policy(idle, absolute, grace));
        let (mut now, mut last_use, mut revoked) = (0, 0, false);
        for (back, pause) in uses {
            now += pause;
            let newest = bench.issued.len() - 1;
            let number = newest.saturating_sub(back);
            let outcome = bench.use_at(number, now);
            let expected = if revoked || now >= absolute || now >= last_use + idle {
                "over"
            } else if number == newest {
                last_use = now;
                "rotated"
            } else if number + 1 == newest && now < bench.first_use[number] + grace {
                "repeated"
            } else {
                revoked = true;
                "reused"
            };
            prop_assert_eq!(name(&outcome), expected);
            prop_assert_eq!(bench.family.is_over(time(now)), expected == "over" || revoked);
        }
    }

    #[test]
    fn s_rt_4_nothing_that_is_used_changes_what_was_granted(uses in prop::collection::vec((0_usize..3, 0_u64..9), 1..20)) {
        let mut bench = Bench::new(policy(100, 1_000, 5));
        let (scope, created) = (bench.family.scope.clone(), bench.family.created);
        let mut now = 0;
        for (back, pause) in uses {
            now += pause;
            bench.use_at((bench.issued.len() - 1).saturating_sub(back), now);
            prop_assert_eq!(&bench.family.scope, &scope);
            prop_assert_eq!(bench.family.created, created);
        }
    }

    #[test]
    fn a_token_is_one_in_its_every_character_and_in_no_other_text(
        (at, character) in (0_usize..110, "[A-Za-z0-9_-]"),
        more in "[A-Za-z0-9_=-]{1,4}",
        other in ".{0,40}",
    ) {
        let one = RefreshToken::generate(&SeededEntropy::new(1)).expect("randomness");
        let whose = application("app_one");
        let text = tokens().write(&one, &whose);
        let text = text.expose();
        let is_issued = |text: &str| matches!(tokens().read(text, &whose), ReadToken::Issued(_));
        prop_assert!(is_issued(text));
        let mut changed = text.to_owned();
        changed.replace_range(at..=at, &character);
        prop_assert_eq!(is_issued(&changed), changed == text);
        prop_assert!(!is_issued(&text[..at]));
        let longer = [text, &more].concat();
        prop_assert!(!is_issued(&longer));
        prop_assert!(!is_issued(&other));
    }

    #[test]
    fn any_bytes_are_read_as_a_family_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Family::from_record(&bytes).is_err());
    }
}

#[test]
fn s_rt_18_the_window_of_grace_begins_with_the_first_use_and_is_not_moved() {
    let mut bench = Bench::new(policy(1_000, 10_000, 10));
    assert_eq!(name(&bench.use_at(0, 100)), "rotated");
    for seconds in [100, 105, 109] {
        assert_eq!(name(&bench.use_at(0, seconds)), "repeated");
    }
    assert_eq!(name(&bench.use_at(0, 110)), "reused", "nine seconds after the last repetition");
    assert_eq!(name(&bench.use_at(1, 110)), "over", "and the newest goes with it");
}

#[test]
fn s_rt_18_grace_is_for_the_last_token_only_and_outlives_no_expiry() {
    let mut bench = Bench::new(policy(1_000, 105, 10));
    bench.use_at(0, 99);
    assert_eq!(name(&bench.use_at(0, 105)), "over", "the family has expired");
    let mut bench = Bench::new(policy(1_000, 10_000, 10));
    bench.use_at(0, 100);
    bench.use_at(1, 101);
    assert_eq!(name(&bench.use_at(0, 102)), "reused", "two uses ago");
}

#[test]
fn s_rt_18_without_grace_a_second_use_ends_the_family() {
    let mut bench = Bench::new(policy(1_000, 10_000, 0));
    bench.use_at(0, 100);
    assert_eq!(name(&bench.use_at(0, 100)), "reused");
}

#[test]
fn s_rt_19_a_family_is_over_when_it_is_idle_and_in_any_case_at_its_end() {
    let mut bench = Bench::new(policy(10, 25, 0));
    for (number, seconds) in [(0, 9), (1, 18), (2, 24)] {
        assert_eq!(name(&bench.use_at(number, seconds)), "rotated");
    }
    assert_eq!(name(&bench.use_at(3, 25)), "over", "used a second ago");
    let mut bench = Bench::new(policy(10, 100, 0));
    assert_eq!(name(&bench.use_at(0, 10)), "over");
}

#[test]
fn s_auth_10_a_token_has_256_random_bits_and_is_known_by_its_hash() {
    let one = RefreshToken::generate(&SeededEntropy::new(1)).expect("randomness");
    let text = tokens().write(&one, &application("app_one"));
    assert_eq!(text.len(), 3 + 107, "16 bytes of name, 32 of secret, 32 of seals");
    let read = tokens().read(text.expose(), &application("app_one"));
    let ReadToken::Issued(read) = read else { panic!("a token of ours") };
    assert_eq!(tokens().hash(&read), tokens().hash(&one));
    let successor = tokens().successor(&one);
    assert_ne!(tokens().hash(&successor), tokens().hash(&one));
    assert_eq!(successor.family(), one.family());
    let again = tokens().successor(&read);
    assert_eq!(tokens().hash(&again), tokens().hash(&successor), "made again from the same token");

    let family = Bench::new(RefreshPolicy::new()).family;
    let record = family.to_record();
    let record = String::from_utf8_lossy(&record);
    assert!(!record.contains(text.expose()) && !record.contains(&text.expose()[25..60]));
    assert!(!format!("{one:?} {family:?}").contains(&text.expose()[25..60]));
}

#[test]
fn s_rt_8_a_token_is_one_for_the_application_that_it_was_issued_to() {
    let one = RefreshToken::generate(&SeededEntropy::new(1)).expect("randomness");
    let text = tokens().write(&one, &application("app_one"));
    let read = tokens().read(text.expose(), &application("app_two"));
    assert!(matches!(read, ReadToken::OfAnother));
    let another_server = RefreshTokens::new(&[4; 32]);
    let read = another_server.read(text.expose(), &application("app_one"));
    assert!(matches!(read, ReadToken::None));
}

#[test]
fn a_family_reads_what_it_wrote_and_keeps_what_it_does_not_know() {
    let mut bench = Bench::new(policy(10, 25, 5));
    bench.use_at(0, 3);
    let family = bench.family.revoked();
    let record = family.to_record();
    let mut value: serde_json::Value = serde_json::from_slice(&record).expect("json");
    value["colour"] = "green".into();
    value["previous"]["colour"] = "blue".into();
    let read = Family::from_record(value.to_string().as_bytes()).expect("a family");
    assert_eq!(Family { kept: serde_json::Map::new(), ..read.clone() }, family);
    let written: serde_json::Value = serde_json::from_slice(&read.to_record()).expect("json");
    assert_eq!(written, value);
}
