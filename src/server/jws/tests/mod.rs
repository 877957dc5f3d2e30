//! Signing and verification: the vectors of the specifications, another implementation as oracle,
//! and the keys as they are published.

mod attacks;

use base64::Engine as _;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{DecodingKey, EncodingKey, Validation};
use proptest::prelude::*;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::*;
use crate::clock::SystemEntropy;

const TYP: &str = "at+jwt";

fn bytes(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

fn key(algorithm: SigningAlgorithm) -> SigningKey {
    SigningKey::generate(algorithm, &SystemEntropy::new()).expect("randomness")
}

fn only(key: &SigningKey) -> KeySet {
    [key.verification_key().clone()].into_iter().collect()
}

/// An RSA key whose private part nobody has any more, and a token that it signed.
fn of_a_former_server() -> (VerificationKey, String) {
    let vector: Value = serde_json::from_str(include_str!("rs256.json")).expect("json");
    let part = |name: &str| bytes(vector[name].as_str().expect("text"));
    let key = VerificationKey::rsa(&part("modulus"), &part("exponent")).expect("a key");
    let token = vector["token"].as_str().expect("text").to_owned();
    (key.with_id("of-a-former-server"), token)
}

#[test]
fn the_ed25519_vector_of_rfc_8037_is_signed_and_verified() {
    let seed = Zeroizing::new(bytes("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"));
    let key = SigningKey::from_secret(SigningAlgorithm::EdDsa, seed).expect("a key");
    let jwk = key.verification_key().to_jwk();
    assert_eq!(jwk["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    // RFC 8037 appendix A.3 names the thumbprint.
    assert_eq!(key.id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let signed = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = bytes(
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    );
    assert_eq!(key.sign(signed.as_bytes()).expect("signed").as_ref(), signature);
    assert_eq!(key.verification_key().verify(signed.as_bytes(), &signature), Ok(()));
}

#[test]
fn the_p256_vector_of_rfc_7515_is_verified() {
    let x = bytes("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
    let y = bytes("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
    let key = VerificationKey::p256(&[&[4], &*x, &y].concat()).expect("a key");
    let signed = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9l\
                  eGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = bytes(
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    );
    assert_eq!(key.verify(signed.as_bytes(), &signature), Ok(()));
}

#[test]
fn s_jwt_1_rs256_of_another_server_is_verified() {
    let (key, token) = of_a_former_server();
    let keys: KeySet = [key].into_iter().collect();
    let payload = verify(&keys, TYP, &token).expect("good");
    let claims: Value = serde_json::from_slice(&payload).expect("json");
    assert_eq!(claims["jti"], "of-a-former-server-1");
}

#[test]
fn s_jwt_1_the_header_has_the_type_the_algorithm_and_the_key_and_nothing_else() {
    for algorithm in [SigningAlgorithm::EdDsa, SigningAlgorithm::Es256] {
        let key = key(algorithm);
        let token = sign(&key, TYP, b"{}").expect("signed");
        let header: Value =
            serde_json::from_slice(&bytes(token.split('.').next().expect("a header")))
                .expect("json");
        let named = Algorithm::from(algorithm).as_str();
        assert_eq!(header, json!({ "typ": TYP, "alg": named, "kid": key.id() }));
    }
}

#[test]
fn s_jwks_1_only_the_public_part_of_a_key_is_published() {
    let keys = [key(SigningAlgorithm::EdDsa), key(SigningAlgorithm::Es256)];
    let set: KeySet = keys.iter().map(|key| key.verification_key().clone()).collect();
    let jwks = set.to_jwks();
    let published = jwks["keys"].as_array().expect("a list");
    assert_eq!(published.len(), 2);
    for jwk in published {
        let members: Vec<_> =
            jwk.as_object().expect("an object").keys().map(String::as_str).collect();
        assert!(
            members.iter().all(|name| ["alg", "crv", "kid", "kty", "use", "x", "y"].contains(name)),
            "{members:?}"
        );
        assert_eq!(jwk["use"], "sig");
    }
    let text = jwks.to_string();
    for key in &keys {
        assert!(text.contains(key.id()));
        let secret = &key.secret()[..32.min(key.secret().len())];
        assert!(!text.contains(&URL_SAFE_NO_PAD.encode(secret)));
        assert!(!format!("{key:?}").contains(&format!("{:?}", key.secret())));
    }
}

#[test]
fn a_key_is_made_again_of_what_was_sealed() {
    for algorithm in [SigningAlgorithm::EdDsa, SigningAlgorithm::Es256] {
        let key = key(algorithm);
        let secret = Zeroizing::new(key.secret().to_vec());
        let again = SigningKey::from_secret(algorithm, secret).expect("a key");
        assert_eq!(again.id(), key.id());
        let token = sign(&again, TYP, b"{}").expect("signed");
        assert_eq!(verify(&only(&key), TYP, &token).as_deref(), Ok(&b"{}"[..]));
        assert!(SigningKey::from_secret(algorithm, Zeroizing::new(vec![1; 7])).is_none());
    }
}

#[test]
fn the_oracle_takes_our_tokens_by_our_published_keys_and_we_take_its_tokens() {
    for algorithm in [SigningAlgorithm::EdDsa, SigningAlgorithm::Es256] {
        let key = key(algorithm);
        let (theirs, signs) = match algorithm {
            SigningAlgorithm::EdDsa => {
                let prefix = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
                let pkcs8 = [prefix.as_slice(), key.secret()].concat();
                (jsonwebtoken::Algorithm::EdDSA, EncodingKey::from_ed_der(&pkcs8))
            }
            SigningAlgorithm::Es256 => {
                (jsonwebtoken::Algorithm::ES256, EncodingKey::from_ec_der(key.secret()))
            }
        };
        let claims = json!({ "sub": "app_one", "exp": 1_u64 << 40 });

        let jwk: Jwk = serde_json::from_value(key.verification_key().to_jwk()).expect("a JWK");
        let verifies = DecodingKey::from_jwk(&jwk).expect("a key");
        let token = sign(&key, TYP, claims.to_string().as_bytes()).expect("signed");
        let read = jsonwebtoken::decode::<Value>(&token, &verifies, &Validation::new(theirs));
        assert_eq!(read.expect("good").claims, claims);

        let mut header = jsonwebtoken::Header::new(theirs);
        header.typ = Some("application/at+jwt".to_owned());
        header.kid = Some(key.id().to_owned());
        let token = jsonwebtoken::encode(&header, &claims, &signs).expect("signed");
        let payload = verify(&only(&key), TYP, &token).expect("good");
        assert_eq!(serde_json::from_slice::<Value>(&payload).expect("json"), claims);
    }
}

proptest! {
    #[test]
    fn what_was_signed_is_verified_and_comes_back(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let key = key(SigningAlgorithm::EdDsa);
        let token = sign(&key, TYP, &payload).expect("signed");
        prop_assert_eq!(verify(&only(&key), TYP, &token), Ok(payload));
    }

    #[test]
    fn no_text_is_a_token_and_none_panics(text in "[A-Za-z0-9_.=-]{0,80}", other in ".{0,40}") {
        let keys = only(&key(SigningAlgorithm::EdDsa));
        prop_assert!(verify(&keys, TYP, &text).is_err());
        prop_assert!(verify(&keys, TYP, &other).is_err());
    }

    #[test]
    fn no_character_of_a_token_can_be_changed(at in 0_usize..10_000, to in "[A-Za-z0-9_.-]") {
        let key = key(SigningAlgorithm::EdDsa);
        let token = sign(&key, TYP, br#"{"scope":"a"}"#).expect("signed");
        let at = at % token.len();
        let mut changed = token.clone();
        changed.replace_range(at..=at, &to);
        prop_assume!(changed != token);
        prop_assert!(verify(&only(&key), TYP, &changed).is_err());
    }
}
