//! The bodies that every parser of the client is tested against, each as the answer to each request.

use std::time::Duration;

use tokenward::provider::FailureClass;

use crate::calls::{Call, Got, transport};
use crate::common::Reply;

/// The longest lifetime that is believed: ten years.
const LONGEST: u64 = 10 * 365 * 24 * 60 * 60;

/// Makes a body of the members of a good answer.
type Body = fn(&str) -> Vec<u8>;

fn object(members: &str) -> Vec<u8> {
    format!("{{{members}}}").into_bytes()
}

/// BODY-1 and C-EXP-1: number, numeric string, float, 0, negative, 2^53, absent, null.
#[tokio::test]
async fn a_lifetime_has_one_meaning_in_every_answer() {
    let transport = transport();
    for (expires_in, seconds) in [
        (r#","expires_in":3600"#, Ok(Some(3600))),
        (r#","expires_in":"3600""#, Ok(Some(3600))),
        (r#","expires_in":3599.9"#, Ok(Some(3599))),
        (r#","expires_in":0"#, Ok(Some(0))),
        (r#","expires_in":9007199254740992"#, Ok(Some(LONGEST))),
        ("", Ok(None)),
        (r#","expires_in":null"#, Ok(None)),
        (r#","expires_in":-1"#, Err(FailureClass::Protocol)),
        (r#","expires_in":"soon""#, Err(FailureClass::Protocol)),
        (r#","expires_in":true"#, Err(FailureClass::Protocol)),
    ] {
        let body = |members: &str| object(&format!("{members}{expires_in}"));
        for call in Call::FOR_TOKENS {
            let got = call.answered_with(&transport, body).await.map_err(|failure| failure.class);
            let lifetime = got.map(|got| got.grant().lifetime);
            assert_eq!(
                lifetime,
                seconds.map(|it| it.map(Duration::from_secs)),
                "{call:?} {expires_in}"
            );
        }
        let got =
            Call::DeviceCode.answered_with(&transport, body).await.map_err(|failure| failure.class);
        let lifetime = got.map(|got| match got {
            Got::Device(device) => device.lifetime,
            other => panic!("{other:?}"),
        });
        // A device code is for minutes: what is longer, or not said, has a bound of its own.
        let expected = seconds.map(|seconds| match seconds {
            Some(LONGEST) => Duration::from_hours(1),
            Some(seconds) => Duration::from_secs(seconds),
            None => Duration::from_mins(15),
        });
        assert_eq!(lifetime, expected, "{expires_in}");
        for call in [Call::Revocation, Call::Metadata] {
            assert!(call.answered_with(&transport, body).await.is_ok(), "{call:?} has no lifetime");
        }
    }
}

/// BODY-2 and C-RT-1: absent, null and empty all mean that the old refresh token stays.
#[tokio::test]
async fn no_refresh_token_is_no_refresh_token_however_it_is_written() {
    let transport = transport();
    for none in ["", r#","refresh_token":null"#, r#","refresh_token":"""#] {
        for call in Call::FOR_TOKENS {
            let got =
                call.answered_with(&transport, |members| object(&format!("{members}{none}"))).await;
            assert_eq!(got.expect("a grant").grant().refresh_token, None, "{call:?} {none}");
        }
    }
}

/// BODY-3 and C-RESP-3: a byte-order mark, line breaks and spaces around a good answer.
#[tokio::test]
async fn marks_and_spaces_around_an_answer_are_tolerated() {
    let transport = transport();
    for (before, after) in [("\u{feff}", ""), ("\n", "   "), ("\u{feff}\r\n", "\n")] {
        for call in Call::ALL {
            let wrap = |members: &str| format!("{before}{{{members}}}{after}").into_bytes();
            let got = call.answered_with(&transport, wrap).await;
            assert!(got.is_ok(), "{call:?} {before:?}: {got:?}");
        }
    }
}

/// BODY-4 and C-RESP-5: an `error` behind a 200 is that error. To a revocation and in a metadata
/// document it says nothing.
#[tokio::test]
async fn an_error_with_status_200_is_that_error() {
    let transport = transport();
    for call in Call::ALL {
        let refused =
            call.answered_with(&transport, |_| br#"{"error":"invalid_client"}"#.to_vec()).await;
        if call == Call::Revocation {
            assert!(refused.is_ok(), "RFC 7009 §2.2: the status alone counts");
            continue;
        }
        let failure = refused.expect_err("a refusal");
        assert_eq!(failure.class, FailureClass::Misconfigured, "{call:?}: {}", failure.reason);
    }
}

/// BODY-5, BODY-6, BODY-8, BODY-11 and C-RESP-3, C-RESP-5: HTML, nothing, a form, truncated JSON,
/// a member twice, bytes that are no UTF-8, nesting without end. None of them signs anybody out.
#[tokio::test]
async fn what_is_no_answer_is_a_protocol_error_and_nobodys_sign_out() {
    let transport = transport();
    let broken: [(&str, Body); 8] = [
        ("html", |_| b"<html><body>Sign in to the hotel</body></html>".to_vec()),
        ("nothing", |_| Vec::new()),
        ("a form", |_| b"access_token=at-1&token_type=bearer".to_vec()),
        ("a list", |members| format!("[{{{members}}}]").into_bytes()),
        ("truncated", |members| format!("{{{members}").into_bytes()),
        ("twice", |members| object(&format!("{members},{members}"))),
        ("no utf-8", |members| [b"{\"x\":\"\xff\",", members.as_bytes(), b"}"].concat()),
        ("deep", |_| {
            format!(r#"{{"x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000)).into_bytes()
        }),
    ];
    for (what, body) in broken {
        for call in Call::ALL {
            let got = call.answered_with(&transport, body).await;
            if call == Call::Revocation {
                assert!(got.is_ok(), "{what}: RFC 7009 §2.2: the status alone counts");
                continue;
            }
            let failure = got.expect_err(what);
            assert_eq!(failure.class, call.nonsense(), "{call:?} {what}: {}", failure.reason);
        }
    }
}

/// BODY-7 and C-TOK-4: 10 MiB, announced or without an end, are not read beyond the cap of 1 MiB.
#[tokio::test]
async fn an_answer_is_not_read_beyond_its_cap() {
    let transport = transport();
    let huge = |members: &str| object(&format!(r#"{members},"x":"{}""#, "x".repeat(10 << 20)));
    for call in Call::ALL {
        let announced = call.answered_with(&transport, huge).await.expect_err("10 MiB");
        let endless = call.answered(&transport, Reply::Flood).await.expect_err("no end");
        for failure in [announced, endless] {
            assert_eq!(failure.class, call.nonsense(), "{call:?}: {}", failure.reason);
            assert!(failure.reason.contains("too long"), "{call:?}: {}", failure.reason);
        }
    }
}

/// BODY-9, BODY-10 and C-RESP-1: `bearer` in any case, and no other type.
#[tokio::test]
async fn a_token_is_a_bearer_token_or_none() {
    let transport = transport();
    for (token_type, good) in [
        (r#""token_type":"bearer""#, true),
        (r#""token_type":"BEARER""#, true),
        (r#""token_type":"mac""#, false),
        (r#""token_type":"DPoP""#, false),
        (r#""token_type":7"#, false),
        (r#""scope":"read""#, false),
    ] {
        for call in Call::FOR_TOKENS {
            let got = call
                .answered_with(&transport, |_| {
                    object(&format!(r#""access_token":"at-1",{token_type}"#))
                })
                .await;
            let class = got.map(|_| ()).map_err(|failure| failure.class);
            let expected = if good { Ok(()) } else { Err(FailureClass::Protocol) };
            assert_eq!(class, expected, "{call:?} {token_type}");
        }
    }
}

/// C-RESP-2: a token that is empty, or can not stand in a header, is refused in every answer.
#[tokio::test]
async fn a_token_that_can_not_stand_in_a_header_is_refused() {
    let transport = transport();
    for token in [r#""""#, r#""a b""#, r#""a\r\nx-evil: 1""#, r#""é""#, "17", "null"] {
        for call in Call::FOR_TOKENS {
            let got = call
                .answered_with(&transport, |_| {
                    object(&format!(r#""access_token":{token},"token_type":"Bearer""#))
                })
                .await;
            let failure = got.expect_err("no token");
            assert_eq!(failure.class, FailureClass::Protocol, "{call:?} {token}");
        }
    }
}

/// C-RESP-4: a scope that is not named, or empty, is as requested; what is named is kept as it is.
#[tokio::test]
async fn the_scope_of_an_answer_is_kept_as_it_is_named() {
    let transport = transport();
    for (scope, kept) in [
        ("", None),
        (r#","scope":"read write""#, Some(vec!["read", "write"])),
        (r#","scope":"""#, None),
    ] {
        for call in Call::FOR_TOKENS {
            let got = call
                .answered_with(&transport, |members| object(&format!("{members}{scope}")))
                .await;
            let scopes = got.expect("a grant").grant().scopes;
            let scopes =
                scopes.as_ref().map(|it| it.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(scopes, kept, "{call:?} {scope}");
        }
    }
}

/// BODY-12 and C-RT-5: a connection that closes before the headers, after them, in the body. What
/// may have been spent is in doubt; what spends nothing can be asked again.
#[tokio::test]
async fn a_connection_that_closes_early_leaves_in_doubt_only_what_can_be_spent() {
    let transport = transport();
    let length = "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n";
    for reply in [
        Reply::Slam,
        Reply::raw(""),
        Reply::raw("HTTP/1.1 200 OK\r\ncontent-le"),
        Reply::raw(length),
        Reply::raw(format!("{length}{{\"access_token\":")),
        Reply::raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n80\r\n{\"access_token\":"),
        Reply::raw("no http at all\r\n\r\n"),
    ] {
        for call in Call::ALL {
            let failure = call.answered(&transport, reply.clone()).await.expect_err("no answer");
            assert_eq!(failure.class, call.lost(), "{call:?} {reply:?}: {}", failure.reason);
        }
    }
}
