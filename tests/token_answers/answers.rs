//! Answers of token endpoints as they might come: good ones, the odd ones that real servers send, and
//! what somebody would write who wants to hurt.

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::oracle::STATUSES;

/// One answer. The body is what stands on the wire, JSON or not.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.body.escape_ascii())
    }
}

/// The longest body that is generated is longer than this, which the tests take for the cap.
pub(crate) const CAP: usize = 16 * 1024;

pub(crate) fn answers() -> impl Strategy<Value = Answer> {
    let body = prop_oneof![
        6 => (members(), damages()).prop_map(|(body, damages)| damaged(body, &damages)),
        1 => vec(any::<u8>(), 0..200),
        1 => select(NOT_JSON).prop_map(|text| text.as_bytes().to_vec()),
    ];
    (select(&STATUSES[..]), body).prop_map(|(status, body)| Answer { status, body })
}

/// Bodies of other kinds.
const NOT_JSON: &[&str] = &[
    "",
    " ",
    "<!doctype html><title>Access denied</title><p>invalid_grant",
    "access_token=at&token_type=bearer&expires_in=3600",
    "error=invalid_grant",
    "invalid_grant",
    "null",
    "[]",
    "[\"invalid_grant\"]",
    "[{\"error\":\"invalid_grant\"}]",
    "\"invalid_grant\"",
    "{} {\"error\":\"invalid_grant\"}",
    "{\"error\":\"invalid_grant\"",
    "\u{feff}\u{feff}{\"error\":\"invalid_grant\"}",
];

/// The members of an object, in an order; a name may come twice.
fn members() -> impl Strategy<Value = String> {
    let grant =
        vec(prop_oneof![8 => token_member(), 1 => error_member(), 1 => strange_member()], 0..7);
    let refusal =
        vec(prop_oneof![8 => error_member(), 1 => token_member(), 1 => strange_member()], 0..4);
    let whole = Just(vec![
        ("access_token", json!("at-1").to_string()),
        ("token_type", json!("Bearer").to_string()),
    ]);
    prop_oneof![
        3 => (whole, grant).prop_map(|(mut whole, more)| {
            let known = |name: &str| ["access_token", "token_type"].contains(&name);
            whole.extend(more.into_iter().filter(|(name, _)| !known(name)));
            whole
        }),
        2 => vec(prop_oneof![9 => token_member(), 1 => strange_member()], 0..7),
        3 => refusal,
    ]
    .prop_map(|members| {
        let members = members.iter().map(|(name, value)| format!("{}:{value}", json!(name)));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    })
}

type Member = (&'static str, String);

fn token_member() -> impl Strategy<Value = Member> {
    let name =
        select(&["access_token", "refresh_token", "token_type", "expires_in", "scope", "id_token"]);
    name.prop_flat_map(|name| {
        let usual = match name {
            "token_type" => {
                vec!["\"Bearer\"", "\"bearer\"", "\"BEARER\"", "\"mac\"", "\"\"", "\"Bearer \""]
            }
            "expires_in" => vec![
                "3600",
                "\"3600\"",
                "3599.9",
                "0",
                "-1",
                "9007199254740992",
                "\"7776000\"",
                "\"1e9\"",
                "18446744073709551616",
                "1e300",
                "1e999",
                "\"\"",
                "\"soon\"",
                "\"NaN\"",
                "\"-5\"",
                "\"1.2.3\"",
                "true",
            ],
            "scope" => vec!["\"a b\"", "\"\"", "\" \"", "[\"a\",\"b\"]"],
            "refresh_token" => vec!["\"rt-1\"", "\"\"", "\"rt\\u0000\""],
            _ => vec![
                "\"at-1\"",
                "\"at.2~+/-_==\"",
                "\"\"",
                "\"a b\"",
                "\"a\\r\\nX: y\"",
                "\"\u{e9}\"",
                "\"=\"",
                "\"a=b\"",
                "\"\\ud800\"",
                "\"a.b.c\"",
            ],
        };
        let usual = select(usual).prop_map(str::to_owned);
        prop_oneof![8 => usual, 1 => any_value()].prop_map(move |value| (name, value))
    })
}

/// The codes that end a sign-in, those that must not, and each in places where it stands and where it
/// does not count.
fn error_member() -> impl Strategy<Value = Member> {
    let code = select(&[
        "invalid_grant",
        "INVALID_GRANT",
        "invalid_grant ",
        "refresh_token_reused",
        "refresh_token_expired",
        "invalid_client",
        "invalid_request",
        "server_error",
        "temporarily_unavailable",
        "slow_down",
        "authorization_pending",
        "rate_limit_error",
        "authentication_error",
        "unheard_of",
        "",
    ]);
    (code, 0..9).prop_map(|(code, place)| match place {
        0..=2 => ("error", json!(code).to_string()),
        3 => ("error", json!({"code": code, "message": "already been used"}).to_string()),
        4 => ("error", json!({"type": code, "message": "reauth related error"}).to_string()),
        5 => ("code", json!(code).to_string()),
        6 => ("error", json!([code]).to_string()),
        7 => ("error_description", json!(format!("{code}: reauth related error")).to_string()),
        _ => ("errors", json!([{"error": code}]).to_string()),
    })
}

fn strange_member() -> impl Strategy<Value = Member> {
    let name = select(&[
        "",
        "extra",
        "error_uri",
        "error",
        "Access_Token",
        "access_token\u{0}",
        "__proto__",
    ]);
    (name, any_value())
}

/// Values of all kinds, some of them deep and some of them long.
fn any_value() -> impl Strategy<Value = String> {
    let nested = |open: &'static str, close: &'static str| {
        select(&[1_usize, 100, 127, 128, 200, 2_000])
            .prop_map(move |depth| format!("{}1{}", open.repeat(depth), close.repeat(depth)))
    };
    prop_oneof![
        select(&[
            "null",
            "true",
            "{}",
            "[]",
            "-0",
            "1E400",
            "0.1",
            "\"\\u202e\"",
            "\"\\ud83d\\ude00\""
        ])
        .prop_map(str::to_owned),
        "\\PC{0,40}".prop_map(|text| Value::from(text).to_string()),
        nested("[", "]"),
        nested("{\"error\":", "}"),
        (0..CAP + 2_000).prop_map(|length| format!("\"{}\"", "x".repeat(length))),
    ]
}

/// What happens to a body on its way, or in the hands of somebody.
#[derive(Debug, Clone)]
enum Damage {
    Before(&'static [u8]),
    Behind(&'static [u8]),
    Torn(usize),
    Byte(usize, u8),
    Twice,
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let before: &[&[u8]] = &[b"\xef\xbb\xbf", b"\n", b"  \r\n\t", b"\xff\xfe", b")]}',\n", b"\0"];
    let behind: &[&[u8]] = &[b"   ", b"\n", b"\0", b"{}", b",", b"<!-- -->"];
    let damage = prop_oneof![
        3 => select(before).prop_map(Damage::Before),
        2 => select(behind).prop_map(Damage::Behind),
        1 => any::<prop::sample::Index>().prop_map(|at| Damage::Torn(at.index(400))),
        1 => (0..200_usize, any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        1 => Just(Damage::Twice),
    ];
    prop_oneof![2 => Just(Vec::new()), 1 => vec(damage, 1..3)]
}

fn damaged(body: String, damages: &[Damage]) -> Vec<u8> {
    let mut body = body.into_bytes();
    for damage in damages {
        match damage {
            Damage::Before(bytes) => drop(body.splice(0..0, bytes.iter().copied())),
            Damage::Behind(bytes) => body.extend_from_slice(bytes),
            Damage::Torn(at) => body.truncate(*at),
            Damage::Byte(at, byte) => body.get_mut(*at).into_iter().for_each(|it| *it = *byte),
            Damage::Twice => body.extend_from_within(..),
        }
    }
    body
}
