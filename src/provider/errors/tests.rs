use std::time::Duration;

use super::*;
use crate::provider::catalog;

const TRANSIENT: FailureClass = FailureClass::Transient { retry_after: None };
const LIMITED: FailureClass = FailureClass::RateLimited { retry_after: None };
const PROTOCOL: FailureClass = FailureClass::Protocol;
const UNLISTED: FailureClass = FailureClass::Unlisted;
const MISCONFIGURED: FailureClass = FailureClass::Misconfigured;
const REAUTHORIZE: FailureClass = FailureClass::ReauthorizationRequired;

fn refusal(status: u16, code: &str) -> Refusal {
    Refusal {
        status: StatusCode::from_u16(status).expect("a status"),
        body: RefusalBody::Json,
        code: Some(code.to_owned()).filter(|code| !code.is_empty()),
        description: None,
        retry_after: None,
    }
}

fn empty(status: u16) -> Refusal {
    Refusal { body: RefusalBody::Empty, ..refusal(status, "") }
}

fn html(status: u16) -> Refusal {
    Refusal { body: RefusalBody::Other, ..refusal(status, "") }
}

#[test]
fn the_standard_table() {
    let table = ErrorTable::default();
    for (status, code, class) in [
        (400, "invalid_grant", REAUTHORIZE),
        (400, "Invalid_GRANT", REAUTHORIZE),
        (401, "invalid_grant", REAUTHORIZE),
        (200, "invalid_grant", REAUTHORIZE),
        (403, "invalid_grant", UNLISTED),
        (404, "invalid_grant", UNLISTED),
        (401, "invalid_client", MISCONFIGURED),
        (400, "unauthorized_client", MISCONFIGURED),
        (400, "unsupported_grant_type", MISCONFIGURED),
        (400, "invalid_request", MISCONFIGURED),
        (400, "invalid_scope", MISCONFIGURED),
        (406, "", MISCONFIGURED),
        (415, "", MISCONFIGURED),
        (400, "temporarily_unavailable", TRANSIENT),
        (400, "server_error", TRANSIENT),
        (500, "invalid_grant", TRANSIENT),
        (503, "invalid_client", TRANSIENT),
        (408, "invalid_grant", TRANSIENT),
        (429, "invalid_grant", LIMITED),
        (429, "", LIMITED),
        (400, "slow_down", LIMITED),
        (400, "surprise", UNLISTED),
        (401, "", UNLISTED),
        (404, "", UNLISTED),
        (302, "", PROTOCOL),
        (307, "invalid_grant", PROTOCOL),
    ] {
        assert_eq!(table.classify(&refusal(status, code)), class, "{status} {code}");
    }
}

#[test]
fn an_answer_that_is_not_json_never_signs_out() {
    for spec in catalog::names().filter_map(catalog::find) {
        for status in 300..600 {
            let class = spec.errors.classify(&html(status));
            assert_ne!(class, REAUTHORIZE, "{} {status}", spec.id);
        }
        assert_eq!(spec.errors.classify(&html(403)), TRANSIENT, "a firewall's page passes");
    }
}

#[test]
fn openai_signs_out_by_its_codes_and_at_any_401() {
    let table = catalog::openai().errors;
    for code in ["refresh_token_expired", "refresh_token_reused", "refresh_token_invalidated"] {
        for status in [200, 400, 401, 403, 404] {
            assert_eq!(table.classify(&refusal(status, code)), REAUTHORIZE, "{status} {code}");
        }
        assert_eq!(table.classify(&refusal(500, code)), TRANSIENT);
    }
    assert_eq!(table.classify(&refusal(401, "")), REAUTHORIZE);
    assert_eq!(table.classify(&refusal(401, "surprise")), REAUTHORIZE);
    assert_eq!(table.classify(&refusal(401, "invalid_client")), REAUTHORIZE, "any means any");
    assert_eq!(table.classify(&refusal(400, "invalid_client")), MISCONFIGURED);
    assert_eq!(table.classify(&refusal(403, "invalid_grant")), TRANSIENT);
    assert_eq!(table.classify(&refusal(400, "surprise")), TRANSIENT, "anything else passes");
    assert_eq!(table.classify(&html(401)), TRANSIENT, "the page of a proxy");
    assert_eq!(table.classify(&empty(401)), REAUTHORIZE, "no page, and any means any");
    assert_eq!(table.classify(&empty(400)), TRANSIENT);
    assert_eq!(
        ErrorTable::default().classify(&empty(401)),
        PROTOCOL,
        "only where the table says so"
    );
}

#[test]
fn anthropic_limits_the_endpoint_and_not_the_user() {
    let table = catalog::anthropic().errors;
    assert_eq!(table.classify(&refusal(400, "invalid_grant")), REAUTHORIZE);
    assert_eq!(table.classify(&refusal(429, "rate_limit_error")), LIMITED);
    assert_eq!(table.classify(&refusal(400, "rate_limit_error")), LIMITED);
    assert_eq!(table.classify(&refusal(401, "authentication_error")), UNLISTED);
}

#[test]
fn github_names_its_errors_in_its_own_words_and_with_200() {
    let table = catalog::github_copilot().errors;
    assert_eq!(table.classify(&refusal(200, "incorrect_device_code")), REAUTHORIZE);
    assert_eq!(table.classify(&refusal(200, "incorrect_client_credentials")), MISCONFIGURED);
    assert_eq!(table.classify(&refusal(200, "device_flow_disabled")), MISCONFIGURED);
    assert_eq!(table.classify(&refusal(200, "slow_down")), LIMITED);
    // These belong to a pending sign-in, which knows them before the table is asked; a credential
    // never hears them, and they sign nobody out.
    for code in ["authorization_pending", "access_denied", "expired_token"] {
        assert_eq!(table.classify(&refusal(200, code)), UNLISTED, "{code}");
    }
}

#[test]
fn google_asks_for_a_new_sign_in_by_its_description_too() {
    let table = catalog::google().errors;
    let described = |status, text: &str| Refusal {
        description: Some(text.to_owned()),
        ..refusal(status, "access_denied")
    };
    let rule = "reauth related error (invalid_rapt)";
    assert_eq!(table.classify(&described(400, rule)), REAUTHORIZE);
    assert_eq!(table.classify(&described(400, "something else")), UNLISTED);
    assert_eq!(table.classify(&described(503, rule)), TRANSIENT);
}

#[test]
fn an_unknown_outcome_is_uncertain_only_where_something_was_spent() {
    let table = ErrorTable::default();
    let lost = ExchangeError::Ambiguous("the answer broke off".to_owned());
    assert_eq!(failure(&table, &lost, Spends::SingleUse).class, FailureClass::Uncertain);
    assert_eq!(failure(&table, &lost, Spends::Nothing).class, TRANSIENT);
    let unreached = ExchangeError::Unreached("no route".to_owned());
    assert_eq!(failure(&table, &unreached, Spends::SingleUse).class, TRANSIENT);
    let refused = ExchangeError::NotSent("plain text".to_owned());
    assert_eq!(failure(&table, &refused, Spends::SingleUse).class, MISCONFIGURED);
}

#[test]
fn a_refusal_that_can_be_read_has_spent_nothing() {
    for status in [200, 400, 401, 403, 404] {
        for table in catalog::names().filter_map(catalog::find).map(|spec| spec.errors) {
            let class = table.classify(&refusal(status, "surprise"));
            assert!(!class.may_have_spent(), "{status} {class:?}");
        }
    }
    assert!(ErrorTable::default().classify(&html(400)).may_have_spent(), "nobody knows who it was");
}

#[test]
fn the_wait_that_the_provider_asked_for_is_kept() {
    let retry_after = Some(Duration::from_secs(7));
    let asked = |status| ExchangeError::Refused(Refusal { retry_after, ..refusal(status, "") });
    for status in [429, 503] {
        let failure = failure(&ErrorTable::default(), &asked(status), Spends::SingleUse);
        assert_eq!(failure.retry_after(), retry_after);
    }
}

#[test]
fn reasons_say_what_to_do_and_quote_nothing_that_may_be_secret() {
    let reason = |status, code: &str| {
        let error = ExchangeError::Refused(refusal(status, code));
        failure(&ErrorTable::default(), &error, Spends::SingleUse).reason
    };
    assert_eq!(reason(400, "invalid_grant"), "the provider ended this grant (400 invalid_grant)");
    assert_eq!(
        reason(307, ""),
        "the endpoint redirects (307), which is not followed, check its url"
    );
    let echoed = reason(400, "rt-4f3a9c");
    assert_eq!(echoed, "the provider refuses for a reason that is on no list (400)");
}

/// C-ERR-1: whatever a table says, some answers are never the user's.
#[test]
fn no_table_signs_out_by_an_answer_that_is_not_about_the_grant() {
    let table = ErrorTable {
        reauthorization_statuses: (100..600).collect(),
        reauthorization_at_any_status: codes(&["invalid_grant"]),
        unauthorized_is_final: true,
        ..ErrorTable::default()
    };
    for status in (300..400).chain([408, 429]).chain(500..600) {
        assert_ne!(table.classify(&refusal(status, "invalid_grant")), REAUTHORIZE, "{status}");
    }
    assert_eq!(table.classify(&refusal(403, "invalid_grant")), REAUTHORIZE);
}
