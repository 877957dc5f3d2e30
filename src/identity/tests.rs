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

#[test]
fn a_session_id_survives_a_round_trip() {
    let id = SessionId::random(&SystemEntropy::new()).expect("randomness");
    assert_eq!(id.as_str().parse(), Ok(id.clone()));
    assert!("short".parse::<SessionId>().is_err());
}
