use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::secret::Secret;

const OK: StatusCode = StatusCode::OK;

/// What the whole path makes of a successful answer.
fn grant(body: &[u8]) -> Result<Granted, Problem> {
    match examine(OK, body)? {
        Verdict::Success(body) => {
            let body: TokenBody =
                serde_json::from_slice(body).map_err(|error| Problem::of(&error))?;
            body.into_granted(false)
        }
        Verdict::Refusal(refusal) => panic!("refused: {refusal:?}"),
    }
}

/// A good answer with `more` members.
fn with(more: &str) -> Result<Granted, Problem> {
    grant(format!(r#"{{"access_token":"at-1","token_type":"Bearer"{more}}}"#).as_bytes())
}

fn lifetime(expires_in: &str) -> Result<Option<Duration>, Problem> {
    with(&format!(r#","expires_in":{expires_in}"#)).map(|granted| granted.lifetime)
}

fn refusal(status: u16, body: &str) -> Refusal {
    let status = StatusCode::from_u16(status).expect("a status");
    match examine(status, body.as_bytes()) {
        Ok(Verdict::Refusal(refusal)) => refusal,
        Ok(Verdict::Success(_)) => panic!("a success"),
        Err(problem) => panic!("{problem:?}"),
    }
}

#[test]
fn every_lifetime_has_one_meaning() {
    let seconds = |seconds| Ok(Some(Duration::from_secs(seconds)));
    let longest = Ok(Some(LONGEST_LIFETIME));
    for (expires_in, meaning) in [
        ("3600", seconds(3600)),
        (r#""3600""#, seconds(3600)),
        (r#""7776000""#, seconds(7_776_000)),
        ("3599.9", seconds(3599)),
        (r#""3599.9""#, seconds(3599)),
        ("0", seconds(0)),
        ("-0.0", seconds(0)),
        ("null", Ok(None)),
        ("9007199254740992", longest),
        ("18446744073709551615", longest),
        ("18446744073709551616", longest),
        ("1e300", longest),
        ("-1", Err(Problem::LifetimeUnusable)),
        ("-0.5", Err(Problem::LifetimeUnusable)),
        (r#""-1""#, Err(Problem::LifetimeUnusable)),
        (r#""""#, Err(Problem::LifetimeUnusable)),
        (r#""soon""#, Err(Problem::LifetimeUnusable)),
        (r#""inf""#, Err(Problem::LifetimeUnusable)),
        (r#""NaN""#, Err(Problem::LifetimeUnusable)),
        (r#""1.2.3""#, Err(Problem::LifetimeUnusable)),
        ("true", Err(Problem::LifetimeUnusable)),
        ("[3600]", Err(Problem::LifetimeUnusable)),
        (r#"{"seconds":3600}"#, Err(Problem::LifetimeUnusable)),
        ("NaN", Err(Problem::NotJson)),
        ("1e400", Err(Problem::NotJson)),
    ] {
        assert_eq!(lifetime(expires_in), meaning, "expires_in {expires_in}");
    }
    assert_eq!(with("").map(|granted| granted.lifetime), Ok(None), "absent is unknown");
}

#[test]
fn a_missing_refresh_token_keeps_the_old_one() {
    for none in ["", r#","refresh_token":null"#, r#","refresh_token":"""#] {
        assert_eq!(with(none).map(|granted| granted.refresh_token), Ok(None), "{none}");
    }
    let new = with(r#","refresh_token":"rt-2""#).map(|granted| granted.refresh_token);
    assert_eq!(new, Ok(Some(Secret::new("rt-2"))));
    assert_eq!(with(r#","refresh_token":7"#), Err(Problem::RefreshTokenUnusable));
}

#[test]
fn only_a_bearer_token_that_fits_a_header_is_taken() {
    for token in ["a", "sk-ant-oat01-x_Y-z", "ya29.a0/b+c~d", "eyJ.e30.sig", "YWJj=="] {
        let body = format!(r#"{{"access_token":"{token}","token_type":"bearer"}}"#);
        let read = grant(body.as_bytes()).map(|granted| granted.access_token);
        assert_eq!(read, Ok(Some(Secret::new(token))));
    }
    for (token, problem) in [
        ("null", Problem::AccessTokenMissing),
        (r#""""#, Problem::AccessTokenMissing),
        (r#""a b""#, Problem::AccessTokenUnusable),
        (r#""a\r\nx-evil: 1""#, Problem::AccessTokenUnusable),
        (r#""=a""#, Problem::AccessTokenUnusable),
        (r#""==""#, Problem::AccessTokenUnusable),
        (r#""é""#, Problem::AccessTokenUnusable),
        ("17", Problem::AccessTokenUnusable),
    ] {
        let body = format!(r#"{{"access_token":{token},"token_type":"Bearer"}}"#);
        assert_eq!(grant(body.as_bytes()), Err(problem), "{token}");
    }
    for kind in ["mac", "Bearer ", ""] {
        let body = format!(r#"{{"access_token":"a","token_type":"{kind}"}}"#);
        assert_eq!(grant(body.as_bytes()), Err(Problem::TokenTypeUnusable), "{kind}");
    }
    assert_eq!(grant(br#"{"access_token":"a"}"#), Err(Problem::TokenTypeMissing));
    assert_eq!(grant(br#"{"token_type":"Bearer"}"#), Err(Problem::AccessTokenMissing));
}

#[test]
fn a_refresh_token_alone_is_an_answer_that_grants_no_access_token() {
    for access in ["", r#""access_token":null,"#, r#""access_token":"","#] {
        let granted = grant(format!(r#"{{{access}"refresh_token":"rt-2"}}"#).as_bytes());
        let granted = granted.expect("a refresh token is worth keeping");
        assert_eq!(granted.access_token, None);
        assert_eq!(granted.refresh_token, Some(Secret::new("rt-2")));
    }
    for nothing in ["{}", r#"{"refresh_token":""}"#, r#"{"id_token":"e30.e30.c2ln"}"#] {
        assert_eq!(grant(nothing.as_bytes()), Err(Problem::AccessTokenMissing), "{nothing}");
    }
}

#[test]
fn a_provider_that_names_no_type_can_be_believed() {
    let body: TokenBody = serde_json::from_str(r#"{"access_token":"a"}"#).expect("a body");
    assert!(body.into_granted(true).is_ok());
}

#[test]
fn marks_newlines_and_trailing_spaces_are_tolerated() {
    let body = br#"{"access_token":"a","token_type":"Bearer","expires_in":3600}"#;
    for (before, after) in [("\u{feff}", ""), ("\n", "   "), ("\u{feff}\r\n", "\n"), ("", "\n")] {
        let bent = [before.as_bytes(), body, after.as_bytes()].concat();
        assert!(grant(&bent).is_ok(), "{before:?} {after:?}");
    }
}

#[test]
fn what_is_not_one_json_object_is_refused() {
    for body in [
        &b""[..],
        b" ",
        b"null",
        b"[]",
        br#"["invalid_grant"]"#,
        br#""access_token""#,
        b"<html><body>Sign in</body></html>",
        b"access_token=a&token_type=bearer",
        br#"{"access_token":"a","token_type":"Bearer""#,
        br#"{"access_token":"a","token_type":"Bearer"}{}"#,
        b"{\"access_token\":\"a\",\"token_type\":\"Bearer\",\"x\":\"\xff\"}",
    ] {
        assert_eq!(grant(body), Err(Problem::NotJson), "{:?}", String::from_utf8_lossy(body));
    }
}

#[test]
fn deep_nesting_is_refused_without_harm() {
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(grant(deep.as_bytes()).is_err());
}

#[test]
fn a_member_named_twice_is_refused() {
    for more in [
        r#","access_token":"at-2""#,
        r#","expires_in":1,"expires_in":2"#,
        r#","unknown":1,"unknown":1"#,
        r#","code":1,"code":1"#,
    ] {
        assert_eq!(with(more), Err(Problem::DuplicateMember), "{more}");
    }
}

#[test]
fn scope_and_id_token_are_taken_and_the_rest_is_ignored() {
    let granted = with(r#","scope":"a  b","id_token":"x.y.z","novel":{"deep":[1,2]}"#);
    let granted = granted.expect("a grant");
    assert_eq!(granted.scopes, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(granted.id_token, Some(Secret::new("x.y.z")));
}

#[test]
fn an_error_behind_a_success_is_that_error() {
    let refusal = refusal(200, r#"{"error":"invalid_grant","error_description":"Gone"}"#);
    assert_eq!(refusal.code.as_deref(), Some("invalid_grant"));
    assert_eq!(refusal.description.as_deref(), Some("gone"));
    assert!(with(r#","error":null"#).is_ok(), "null is no error");
    assert!(with(r#","error":"""#).is_ok(), "an empty one is none either");
}

#[test]
fn the_code_is_found_in_every_shape() {
    for (body, code) in [
        (r#"{"error":"invalid_grant"}"#, Some("invalid_grant")),
        (r#"{"error":"Invalid_Grant"}"#, Some("Invalid_Grant")),
        (
            r#"{"error":{"message":"used","type":"invalid_request_error","param":null,"code":"refresh_token_reused"}}"#,
            Some("refresh_token_reused"),
        ),
        (r#"{"error":{"code":null,"type":"rate_limit_error"}}"#, Some("rate_limit_error")),
        (r#"{"code":"refresh_token_expired"}"#, Some("refresh_token_expired")),
        (
            r#"{"type":"error","error":{"type":"authentication_error"}}"#,
            Some("authentication_error"),
        ),
        (r#"{"error":17}"#, None),
        (r#"{"error":["invalid_grant"]}"#, None),
        (r#"{"error":[["invalid_grant"]],"code":["invalid_grant"]}"#, None),
        (r#"{"code":42,"message":"Expired credentials"}"#, None),
        ("{}", None),
    ] {
        let refusal = refusal(400, body);
        assert!(refusal.is_json());
        assert_eq!(refusal.code.as_deref(), code, "{body}");
    }
    assert_eq!(refusal(403, "<html>blocked</html>").body, RefusalBody::Other);
    for empty in ["", " \r\n", "\u{feff}"] {
        assert_eq!(refusal(502, empty).body, RefusalBody::Empty);
    }
}

#[test]
fn nothing_of_an_answer_is_shown() {
    let canary = "CanaryOfLettersAlone";
    let shown = [
        format!("{:?}", grant(format!(r#"{{"access_token":"{canary} x"}}"#).as_bytes())),
        format!("{:?}", grant(canary.as_bytes())),
        format!("{:?}", with(&format!(r#","refresh_token":"{canary}""#))),
        format!(
            "{:?}",
            refusal(400, &format!(r#"{{"error":"{canary}","error_description":"{canary}"}}"#))
        ),
    ];
    for text in shown {
        assert!(!text.to_lowercase().contains(&canary.to_lowercase()), "{text}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(status in 100u16..600, body in proptest::collection::vec(any::<u8>(), 0..400)) {
        let status = StatusCode::from_u16(status).expect("a status");
        if let Ok(Verdict::Success(body)) = examine(status, &body) {
            let _ = serde_json::from_slice::<TokenBody>(body);
        }
    }

    #[test]
    fn no_nearly_good_answer_panics(
        cut in 0usize..120,
        flips in proptest::collection::vec((0usize..120, any::<u8>()), 0..4),
    ) {
        let mut body =
            br#"{"access_token":"a","token_type":"Bearer","expires_in":36,"refresh_token":"r"}"#
                .to_vec();
        for (at, byte) in flips {
            if let Some(place) = body.get_mut(at) {
                *place = byte;
            }
        }
        body.truncate(cut);
        if let Ok(Verdict::Success(body)) = examine(OK, &body) {
            let _ = serde_json::from_slice::<TokenBody>(body).map(|it| it.into_granted(true));
        }
    }

    #[test]
    fn any_number_is_a_bounded_lifetime_or_an_error(number in any::<f64>()) {
        if let Ok(Some(lifetime)) = lifetime(&format!("{number:?}")) {
            prop_assert!(number >= 0.0);
            prop_assert!(lifetime <= LONGEST_LIFETIME);
            prop_assert!(lifetime.as_secs_f64() <= number);
        }
    }
}
