//! Requests, byte by byte: forms, JSON, HTTP Basic, and everything that is neither.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

fn form(body: &[u8]) -> Result<Parameters, Refusal> {
    Parameters::parse(Some(FORM), body)
}

fn is_invalid_request<T>(outcome: &Result<T, Refusal>) -> bool {
    matches!(outcome, Err(Refusal::InvalidRequest(_)))
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// The id and the secret that are found with these headers and this form.
fn found(headers: &[&str], body: &str) -> Result<(String, String), Refusal> {
    let mut map = HeaderMap::new();
    for header in headers {
        map.append(AUTHORIZATION, header.parse().expect("a header"));
    }
    let found = ClientCredentials::find(&map, &form(body.as_bytes())?)?;
    Ok((found.id, found.secret.to_string()))
}

fn pair(id: &str, secret: &str) -> (String, String) {
    (id.to_owned(), secret.to_owned())
}

#[test]
fn s_req_1_s_req_2_what_is_not_known_is_ignored_and_what_is_empty_is_omitted() {
    let parameters = form(b"colour=green&scope=&grant_type=client_credentials&x").expect("a form");
    assert_eq!(parameters.get("grant_type"), Some("client_credentials"));
    assert_eq!(parameters.get("scope"), None);
    assert_eq!(parameters.get("x"), None);
    assert_eq!(form(b"").expect("a form").get("scope"), None);
}

#[test]
fn s_req_4_a_parameter_that_stands_twice_is_refused() {
    for twice in
        ["a=1&a=1", "a=1&a=2", "a=1&b=2&a=", "a&a", "scope=a&scop%65=b", "unknown=1&unknown=2"]
    {
        assert!(is_invalid_request(&form(twice.as_bytes())), "{twice}");
    }
    for twice in [r#"{"a":"1","a":"1"}"#, r#"{"a":"1","\u0061":"2"}"#, r#"{"a":"","a":""}"#] {
        assert!(is_invalid_request(&Parameters::parse(Some(JSON), twice.as_bytes())), "{twice}");
    }
}

#[test]
fn s_req_7_a_json_body_is_one_object_of_strings() {
    let read = Parameters::parse(Some(JSON), br#" {"scope":"a b","x":"\u00e9"} "#).expect("json");
    assert_eq!((read.get("scope"), read.get("x")), (Some("a b"), Some("\u{e9}")));
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    let deep_object = format!("{}{}", "{\"a\":".repeat(5_000), "}".repeat(5_000));
    for bad in [
        "",
        "null",
        "[]",
        "\"a\"",
        "1",
        r#"{"a":1}"#,
        r#"{"a":null}"#,
        r#"{"a":["b"]}"#,
        r#"{"a":{}}"#,
        r#"{"a":true}"#,
        "{} {}",
        "{}x",
        "{",
        r#"{"a":"\ud800"}"#,
        &deep,
        &deep_object,
    ] {
        assert!(is_invalid_request(&Parameters::parse(Some(JSON), bad.as_bytes())), "{bad:.40}");
    }
    assert!(is_invalid_request(&Parameters::parse(Some(JSON), b"{\"a\":\"\xff\"}")));
}

#[test]
fn s_ct_1_a_form_and_json_are_the_two_types_in_any_case_and_in_utf_8() {
    for good in [
        FORM,
        JSON,
        "Application/X-WWW-Form-URLEncoded",
        "application/x-www-form-urlencoded; charset=UTF-8",
        "application/json;charset=\"utf-8\"",
        "application/json; version=1",
    ] {
        assert!(ContentType::parse(Some(good)).is_some(), "{good}");
    }
    for bad in [
        None,
        Some(""),
        Some("text/plain"),
        Some("multipart/form-data; boundary=a"),
        Some("application/jsonx"),
        Some("application/x-www-form-urlencoded; charset=utf-16"),
    ] {
        assert!(is_invalid_request(&Parameters::parse(bad, b"a=b")), "{bad:?}");
    }
}

#[test]
fn s_ct_1_what_is_not_utf_8_or_not_encoded_is_refused_rather_than_guessed() {
    for bad in
        [&b"a=%ff"[..], b"a=\xff", b"a=%c3%28", b"a=%", b"a=%4", b"a=%zz", b"%ff=a", b"a=%+1"]
    {
        assert!(is_invalid_request(&form(bad)), "{bad:?}");
    }
    let good = form(b"a=%C3%a9+%2B%26%3d").expect("a form");
    assert_eq!(good.get("a"), Some("\u{e9} +&="));
}

#[test]
fn s_auth_1_s_auth_2_a_client_authenticates_by_the_header_or_in_the_body() {
    let body = "client_id=app_one&client_secret=a%2Bb";
    assert_eq!(found(&[], body), Ok(pair("app_one", "a+b")));
    for scheme in ["Basic", "basic", "BASIC", "bAsIc"] {
        let header = basic("app_one", "s").replacen("Basic", scheme, 1);
        assert_eq!(found(&[&header], ""), Ok(pair("app_one", "s")), "{scheme}");
    }
    assert_eq!(found(&[&basic("a", "s").replace(' ', "  ")], ""), Ok(pair("a", "s")));
}

#[test]
fn s_auth_3_both_parts_of_basic_are_form_encoded_and_the_first_colon_parts_them() {
    assert_eq!(found(&[&basic("app%5Fone", "a+b%3Ac")], ""), Ok(pair("app_one", "a b:c")));
    assert_eq!(found(&[&basic("app_one", "a:b:c")], ""), Ok(pair("app_one", "a:b:c")));
}

#[test]
fn s_auth_4_what_can_not_be_read_as_basic_is_a_client_that_did_not_authenticate() {
    let no_colon = format!("Basic {}", STANDARD.encode("app_one"));
    let not_utf_8 = format!("Basic {}", STANDARD.encode(b"app_one:\xff"));
    let bad_escape = basic("app_one", "%zz");
    let unpadded = basic("app_one", "ss").replace('=', "");
    for bad in [
        "Basic",
        "Basic ",
        "Basic !",
        "Bearer abc",
        "Digest a=b",
        "Basicabc",
        "",
        &no_colon,
        &not_utf_8,
        &bad_escape,
        &unpadded,
        &basic("", "s"),
        &basic("app_one", ""),
    ] {
        assert_eq!(found(&[bad], ""), Err(Refusal::InvalidClient), "{bad}");
    }
}

#[test]
fn s_auth_12_s_auth_4_an_id_without_a_secret_is_no_client() {
    for body in ["", "client_id=app_one", "client_secret=s", "client_id=app_one&client_secret="] {
        assert_eq!(found(&[], body), Err(Refusal::InvalidClient), "{body}");
    }
}

#[test]
fn s_auth_7_s_auth_8_a_client_has_one_way_to_authenticate_and_one_id() {
    let header = basic("app_one", "s");
    assert!(is_invalid_request(&found(&[&header], "client_id=app_one&client_secret=s")));
    assert!(is_invalid_request(&found(&[&header], "client_secret=s")));
    assert!(is_invalid_request(&found(&[&header], "client_id=app_two")));
    assert!(is_invalid_request(&found(&[&header, &header], "")));
    assert!(is_invalid_request(&found(&["Bearer a"], "client_id=app_one&client_secret=s")));
    assert_eq!(found(&[&header], "client_id=app_one"), Ok(pair("app_one", "s")));
}

#[test]
fn no_secret_is_shown() {
    let parameters = form(b"client_id=app_one&client_secret=a-secret").expect("a form");
    let found = ClientCredentials::find(&HeaderMap::new(), &parameters).expect("credentials");
    assert!(!format!("{parameters:?} {found:?}").contains("a-secret"));
}

proptest! {
    #[test]
    fn any_body_is_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = form(&body);
        let _ = Parameters::parse(Some(JSON), &body);
    }

    #[test]
    fn any_header_is_read_without_a_panic(header in "[ -~]{0,60}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = found(&[&header], "");
        let _ = found(&[&format!("Basic {}", STANDARD.encode(bytes))], "");
    }

    #[test]
    fn a_form_reads_what_was_encoded(name in ".{1,20}", value in ".{1,20}") {
        let body = url::form_urlencoded::Serializer::new(String::new()).append_pair(&name, &value).finish();
        let parameters = form(body.as_bytes()).expect("a form");
        prop_assert_eq!(parameters.get(&name), Some(&*value));
    }
}
