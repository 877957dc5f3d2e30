//! Forged tokens: whatever is done to the header, to the key or to the signature, no token comes
//! out of it.

use super::*;

fn token_of(header: &Value, payload: &[u8], signature: &[u8]) -> String {
    let [header, payload, signature] = [header.to_string().as_bytes(), payload, signature]
        .map(|part| URL_SAFE_NO_PAD.encode(part));
    format!("{header}.{payload}.{signature}")
}

/// A token with this header, signed by `key` as if all were well.
fn signed_with(key: &SigningKey, header: &str) -> String {
    let signed = [header.as_bytes(), b"{}"].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let signature = key.sign(signed.as_bytes()).expect("signed");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn header(key: &SigningKey) -> Value {
    json!({ "typ": TYP, "alg": Algorithm::from(key.algorithm()).as_str(), "kid": key.id() })
}

#[test]
fn s_rs_10_s_rs_11_no_algorithm_counts_but_that_of_the_key() {
    let key = key(SigningAlgorithm::EdDsa);
    for alg in [
        "none", "None", "NONE", "nOnE", "", "HS256", "hs256", "eddsa", "EDDSA", "Ed25519", "ES256",
        "RS256", "PS256", "ES384", "EdDSA ", "HS512",
    ] {
        let mut header = header(&key);
        header["alg"] = json!(alg);
        for token in [
            token_of(&header, b"{}", b""),
            token_of(&header, b"{}", &[0; 64]),
            signed_with(&key, &header.to_string()),
        ] {
            assert_eq!(verify(&only(&key), TYP, &token), Err(JwsError::Algorithm), "{alg}");
        }
    }
}

#[test]
fn s_rs_16_a_public_key_is_no_secret_to_sign_with() {
    for algorithm in [SigningAlgorithm::EdDsa, SigningAlgorithm::Es256] {
        let key = key(algorithm);
        let jwk = key.verification_key().to_jwk();
        let raw = bytes(jwk["x"].as_str().expect("text"));
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            base64::engine::general_purpose::STANDARD.encode(&raw)
        );
        for secret in [&raw, pem.as_bytes(), jwk.to_string().as_bytes(), b""] {
            for alg in ["HS256", Algorithm::from(algorithm).as_str()] {
                let mut header = header(&key);
                header["alg"] = json!(alg);
                let signed = [header.to_string().as_bytes(), b"{}"]
                    .map(|part| URL_SAFE_NO_PAD.encode(part))
                    .join(".");
                let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
                let tag = ring::hmac::sign(&secret, signed.as_bytes());
                let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
                assert!(verify(&only(&key), TYP, &token).is_err(), "{alg}");
            }
        }
    }
}

#[test]
fn s_rs_10_a_key_of_one_family_verifies_nothing_of_another() {
    let (ed, ec) = (key(SigningAlgorithm::EdDsa), key(SigningAlgorithm::Es256));
    let (rsa, of_rsa) = of_a_former_server();
    let all: KeySet =
        [ed.verification_key().clone(), ec.verification_key().clone(), rsa].into_iter().collect();
    assert!(verify(&all, TYP, &of_rsa).is_ok());
    // Signed by one key, and said to be by the other.
    for (signs, named) in [(&ed, &ec), (&ec, &ed)] {
        let mut header = header(signs);
        header["kid"] = json!(named.id());
        assert_eq!(
            verify(&all, TYP, &signed_with(signs, &header.to_string())),
            Err(JwsError::Algorithm)
        );
        header["alg"] = json!(Algorithm::from(named.algorithm()).as_str());
        assert_eq!(
            verify(&all, TYP, &signed_with(signs, &header.to_string())),
            Err(JwsError::Signature)
        );
    }
}

#[test]
fn s_rs_13_keys_that_a_token_brings_with_it_are_not_looked_at() {
    let (ours, theirs) = (key(SigningAlgorithm::EdDsa), key(SigningAlgorithm::EdDsa));
    for (name, value) in [
        ("jwk", theirs.verification_key().to_jwk()),
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5u", json!("https://evil.example/cert.pem")),
        ("x5c", json!(["MIIB"])),
    ] {
        let mut header = header(&ours);
        header[name] = value;
        // By our own key the token is good all the same, by theirs it is not.
        assert!(verify(&only(&ours), TYP, &signed_with(&ours, &header.to_string())).is_ok());
        let forged = signed_with(&theirs, &header.to_string());
        assert_eq!(verify(&only(&ours), TYP, &forged), Err(JwsError::Signature), "{name}");
        header["kid"] = json!(theirs.id());
        let forged = signed_with(&theirs, &header.to_string());
        assert_eq!(verify(&only(&ours), TYP, &forged), Err(JwsError::UnknownKey), "{name}");
    }
}

#[test]
fn s_rs_14_a_kid_finds_a_key_or_nothing() {
    let key = key(SigningAlgorithm::EdDsa);
    for kid in ["", "../../etc/passwd", "' OR 1=1 --", "/dev/null", "http://evil.example", "\u{0}"]
    {
        let mut header = header(&key);
        header["kid"] = json!(kid);
        let token = signed_with(&key, &header.to_string());
        assert_eq!(verify(&only(&key), TYP, &token), Err(JwsError::UnknownKey), "{kid}");
    }
    for kid in [Value::Null, json!(1), json!(["a"]), json!({})] {
        let mut header = header(&key);
        header["kid"] = kid;
        let token = signed_with(&key, &header.to_string());
        assert_eq!(verify(&only(&key), TYP, &token), Err(JwsError::Header));
    }
}

#[test]
fn s_val_8_s_val_14_s_rs_24_only_an_access_token_is_an_access_token() {
    let key = key(SigningAlgorithm::EdDsa);
    let of_type = |typ: &str| {
        let mut header = header(&key);
        header["typ"] = json!(typ);
        verify(&only(&key), TYP, &signed_with(&key, &header.to_string()))
    };
    for good in ["at+jwt", "application/at+jwt", "AT+JWT", "Application/AT+jwt"] {
        assert!(of_type(good).is_ok(), "{good}");
    }
    for bad in ["JWT", "jwt", "", "rt+jwt", "id+jwt", "logout+jwt", "at+jwt ", "text/at+jwt"] {
        assert_eq!(of_type(bad), Err(JwsError::Type), "{bad}");
    }
    let mut header = header(&key);
    header.as_object_mut().expect("an object").remove("typ");
    let untyped = signed_with(&key, &header.to_string());
    assert_eq!(verify(&only(&key), TYP, &untyped), Err(JwsError::Header));
}

#[test]
fn s_val_9_critical_extensions_are_refused_known_or_not() {
    let key = key(SigningAlgorithm::EdDsa);
    for crit in [json!(["b64"]), json!(["exp"]), json!(["x"]), json!([]), Value::Null, json!("exp")]
    {
        let mut header = header(&key);
        header["crit"] = crit;
        let token = signed_with(&key, &header.to_string());
        assert_eq!(verify(&only(&key), TYP, &token), Err(JwsError::Critical));
    }
}

#[test]
fn s_val_10_a_header_member_that_stands_twice_is_refused() {
    let key = key(SigningAlgorithm::EdDsa);
    let twice = header(&key).to_string().replacen('{', r#"{"alg":"none","#, 1);
    assert_eq!(verify(&only(&key), TYP, &signed_with(&key, &twice)), Err(JwsError::Header));
}

#[test]
fn s_rs_17_an_ecdsa_signature_is_two_numbers_of_32_bytes_and_neither_is_zero() {
    let key = key(SigningAlgorithm::Es256);
    let token = sign(&key, TYP, b"{}").expect("signed");
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let good = bytes(signature);
    let with = |signature: &[u8]| {
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        verify(&only(&key), TYP, &token)
    };
    assert!(with(&good).is_ok());
    let mut no_r = good.clone();
    no_r[..32].fill(0);
    let mut no_s = good.clone();
    no_s[32..].fill(0);
    let longer = [&good[..], &[0]].concat();
    let der = [&[0x30, 0x44, 0x02, 0x20], &good[..32], &[0x02, 0x20], &good[32..]].concat();
    for bad in [&[0; 64][..], &no_r, &no_s, &good[..63], &longer, &der, b""] {
        assert_eq!(with(bad), Err(JwsError::Signature));
    }
}

#[test]
fn s_rs_17_base64url_is_taken_in_its_one_form_only() {
    let key = key(SigningAlgorithm::EdDsa);
    let token = sign(&key, TYP, b"{}").expect("signed");
    // 64 bytes leave four bits of the last character unused, so its neighbours decode alike.
    let (most, last) = token.split_at(token.len() - 1);
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = alphabet.find(last).expect("a character");
    let neighbour = &alphabet[at + 1..at + 2];
    for bad in [
        format!("{most}{neighbour}"),
        format!("{token}="),
        format!("{token}=="),
        format!("{token} "),
        format!(" {token}"),
        format!("{token}\n"),
        token.replacen('.', "=.", 1),
        format!("{most}+"),
        format!("{most}/"),
    ] {
        assert_eq!(verify(&only(&key), TYP, &bad), Err(JwsError::NotCompact), "{bad}");
    }
}

#[test]
fn only_three_parts_are_a_token_and_not_more_than_8_kib() {
    let key = key(SigningAlgorithm::EdDsa);
    let token = sign(&key, TYP, b"{}").expect("signed");
    for bad in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        token.replacen('.', "", 1),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.e30"),
    ] {
        assert!(verify(&only(&key), TYP, &bad).is_err(), "{bad}");
    }
    let long = sign(&key, TYP, &vec![b' '; LONGEST_TOKEN]).expect("signed");
    assert_eq!(verify(&only(&key), TYP, &long), Err(JwsError::TooLong));
}
