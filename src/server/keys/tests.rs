//! The rotation of signing keys, tried over years of simulated time, and its record.

use proptest::prelude::*;

use super::*;
use crate::testing::SeededEntropy;
use crate::vault::payload::PayloadError;

const POLICY: KeyPolicy = KeyPolicy {
    algorithm: SigningAlgorithm::EdDsa,
    lifetime: Duration::from_hours(30 * 24),
    publish_ahead: Duration::from_mins(15),
    keep_after: Duration::from_mins(11),
};

fn key(seed: u64) -> SigningKey {
    SigningKey::generate(SigningAlgorithm::EdDsa, &SeededEntropy::new(seed)).expect("randomness")
}

fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn ring() -> KeyRing {
    KeyRing::new(Arc::new(Zeroizing::new([1; 32])), &Arc::new(key(0)), time(0))
}

fn signer(ring: &KeyRing, now: SystemTime) -> String {
    signing(ring.keys(), now).expect("a key").id().to_owned()
}

fn has(ring: &KeyRing, id: &str) -> bool {
    ring.keys().iter().any(|key| key.key.id() == id)
}

proptest! {
    #[test]
    fn s_jwks_2_every_key_is_published_before_it_signs_and_kept_until_its_last_token_is_over(
        steps in prop::collection::vec((1_u64..400_000, 0_u8..12), 1..60),
    ) {
        let mut now = time(0);
        let mut ring = ring();
        let mut published = vec![(ring.keys()[0].key.id().to_owned(), SystemTime::UNIX_EPOCH)];
        // Who signed last, and when: every such token has to be verifiable for as long as it lives.
        let mut signed: Vec<(String, SystemTime)> = Vec::new();
        for (number, (seconds, act)) in steps.into_iter().enumerate() {
            now += Duration::from_secs(seconds);
            let fresh = Arc::new(key(number as u64 + 1));
            ring = match act {
                0 => ring.rotated(&POLICY, now, &fresh).unwrap_or(ring),
                // Upkeep may be late, or not come at all.
                1..4 => ring,
                _ => ring.kept_up(&POLICY, now, &fresh),
            };
            for key in ring.keys() {
                if !published.iter().any(|(id, _)| id == key.key.id()) {
                    published.push((key.key.id().to_owned(), now));
                }
            }
            let signs = signer(&ring, now);
            let since = published.iter().find(|(id, _)| *id == signs).expect("published").1;
            let first = published[0].0 == signs;
            prop_assert!(first || now >= since + POLICY.publish_ahead, "published before it signs");
            signed.push((signs, now));
            for (id, at) in &signed {
                prop_assert!(now >= *at + POLICY.keep_after || has(&ring, id), "kept while needed");
            }
        }
    }

    #[test]
    fn any_bytes_are_read_as_a_ring_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(KeyRing::from_record(&bytes).is_err());
    }
}

#[test]
fn s_jwks_2_upkeep_at_its_times_changes_keys_once_a_lifetime_and_keeps_no_more_than_two() {
    let mut ring = ring();
    let mut signers = vec![signer(&ring, time(0))];
    let mut now = time(0);
    for number in 1..50 {
        now = ring.due(&POLICY, now).next;
        ring = ring.kept_up(&POLICY, now, &Arc::new(key(number)));
        assert!(ring.keys().len() <= 2);
        assert!(ring.due(&POLICY, now).next > now, "and there is nothing left to do at that time");
        let signs = signer(&ring, now);
        if signers.last() != Some(&signs) {
            signers.push(signs);
        }
    }
    let months = now.duration_since(time(0)).expect("later").as_secs() / POLICY.lifetime.as_secs();
    assert_eq!(signers.len() as u64, months + 1);
}

#[test]
fn a_rotation_by_hand_takes_effect_once_the_key_has_been_published_long_enough() {
    let ring = ring();
    let before = signer(&ring, time(100));
    let rotated = ring.rotated(&POLICY, time(100), &Arc::new(key(1))).expect("a ring");
    let again = rotated.rotated(&POLICY, time(101), &Arc::new(key(2)));
    assert!(again.is_none(), "a second one changes nothing while the first is on its way");
    assert_eq!(signer(&rotated, time(100 + 15 * 60 - 1)), before);
    assert_ne!(signer(&rotated, time(100 + 15 * 60)), before);
}

#[test]
fn a_replacement_leaves_one_key_that_signs_at_once() {
    let ring = ring();
    let before = signer(&ring, time(100));
    let replaced = ring.replaced(time(100), &Arc::new(key(1)));
    assert_eq!(replaced.keys().len(), 1);
    assert_ne!(signer(&replaced, time(100)), before);
    assert!(!has(&replaced, &before));
}

#[test]
fn another_algorithm_in_the_settings_is_taken_up_by_the_next_key() {
    let policy = KeyPolicy { algorithm: SigningAlgorithm::Es256, ..POLICY };
    assert!(ring().due(&policy, time(1)).fresh);
    assert!(!ring().due(&POLICY, time(1)).fresh);
}

#[test]
fn a_clock_that_stands_before_every_key_leaves_one_that_signs() {
    let ring = KeyRing::new(Arc::new(Zeroizing::new([1; 32])), &Arc::new(key(0)), time(1_000));
    assert_eq!(signer(&ring, time(0)), ring.keys()[0].key.id());
}

#[test]
fn a_ring_reads_what_it_wrote() {
    let es256 = SigningKey::generate(SigningAlgorithm::Es256, &SeededEntropy::new(9));
    let ring = ring().rotated(&POLICY, time(10), &Arc::new(es256.expect("randomness")));
    let ring = ring.expect("a ring");
    let read = KeyRing::from_record(&ring.to_record()).expect("a ring");
    assert_eq!(read.hash_key, ring.hash_key);
    let shown = |ring: &KeyRing| -> Vec<_> {
        let shown = |key: &RingKey| (key.key.id().to_owned(), key.key.algorithm(), key.signs_from);
        ring.keys().iter().map(shown).collect()
    };
    assert_eq!(shown(&read), shown(&ring));
}

#[test]
fn a_ring_keeps_what_it_does_not_know() {
    let mut value: Value = serde_json::from_slice(&ring().to_record()).expect("json");
    value["colour"] = "green".into();
    value["keys"][0]["colour"] = serde_json::json!({ "of": "a key" });
    let read = KeyRing::from_record(value.to_string().as_bytes()).expect("a ring");
    let rotated = read.rotated(&POLICY, time(10), &Arc::new(key(1))).expect("a ring");
    let written: Value = serde_json::from_slice(&rotated.to_record()).expect("json");
    assert_eq!((&written["colour"], &written["keys"][0]), (&value["colour"], &value["keys"][0]));
}

#[test]
fn a_ring_without_one_of_its_keys_is_no_ring() {
    let mut value: Value = serde_json::from_slice(&ring().to_record()).expect("json");
    value["keys"][0]["secret"] = "AAAA".into();
    let damaged = KeyRing::from_record(value.to_string().as_bytes());
    assert!(matches!(damaged, Err(PayloadError::Malformed(_))));
    value["keys"] = serde_json::json!([]);
    assert!(KeyRing::from_record(value.to_string().as_bytes()).is_err());
}
