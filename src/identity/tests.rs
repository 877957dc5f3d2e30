use proptest::prelude::*;

use super::*;
use crate::clock::SystemEntropy;

#[test]
fn names_are_checked_where_they_are_made() {
    assert!(UserId::new("ada").is_ok());
    for bad in ["", " ada", "ada\n", &"x".repeat(201), "tokenward:", "tokenward:app_one"] {
        assert!(UserId::new(bad).is_err(), "{bad:?}");
    }
    assert_eq!(
        UserId::new("").map_err(|error| error.to_string()),
        Err("user name is empty, give it at least one character".to_owned())
    );
}

#[test]
fn a_method_reads_what_it_writes() {
    for method in [Method::ApiKey, Method::AuthorizationCode, Method::JwtBearer] {
        assert_eq!(method.to_string().parse(), Ok(method));
    }
    assert!("password".parse::<Method>().is_err());
}

#[test]
fn a_credential_id_reads_like_a_path() {
    let id = CredentialId {
        user: UserId::new("ada").expect("a name"),
        provider: ProviderId::new("openai").expect("a name"),
        method: Method::AuthorizationCode,
        label: Label::default(),
    };
    assert_eq!(id.to_string(), "ada/openai/authorization-code");
}

#[test]
fn a_credential_id_with_odd_names_survives_a_round_trip() {
    let id = CredentialId {
        user: UserId::new("a/b").expect("a name"),
        provider: ProviderId::new("c%2F/d").expect("a name"),
        method: Method::ApiKey,
        label: Label::new("x/%/y").expect("a name"),
    };
    assert_eq!(CredentialId::from_names(&id.user, &id.name_within_user()), Some(id.clone()));
    assert_eq!(id.to_string(), "a%2Fb/c%252F%2Fd/api-key/x%2F%25%2Fy");
}

proptest! {
    #[test]
    fn a_quarantine_id_is_read_from_what_it_shows(bytes: [u8; 32]) {
        let id = QuarantineId::from_bytes(bytes);
        let shown = id.to_string();
        prop_assert_eq!(shown.parse(), Ok(id));
        prop_assert_eq!(shown.to_uppercase().parse(), Ok(id), "as somebody types it");
        prop_assert_eq!(format!("{id:?}"), shown.clone());
        let json = serde_json::to_string(&id).expect("a text");
        prop_assert_eq!(&json, &format!("\"{shown}\""));
        prop_assert_eq!(serde_json::from_str::<QuarantineId>(&json).ok(), Some(id));
        prop_assert!(shown[1..].parse::<QuarantineId>().is_err(), "cut short");
        let longer = shown + "0";
        prop_assert!(longer.parse::<QuarantineId>().is_err());
    }

    #[test]
    fn what_is_no_quarantine_id_is_refused_with_what_to_do(text in "\\PC{0,80}") {
        prop_assume!(text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let error = text.parse::<QuarantineId>().expect_err("none");
        prop_assert!(error.to_string().ends_with("copy the whole id"), "{error}");
    }
}

#[test]
fn a_session_id_survives_a_round_trip() {
    let id = SessionId::random(&SystemEntropy::new()).expect("randomness");
    assert_eq!(id.as_str().parse(), Ok(id.clone()));
    assert!("short".parse::<SessionId>().is_err());
}
