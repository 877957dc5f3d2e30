//! What people, settings and other programs hand in as text: names, ids, marks, numbers. What can be read is
//! written again as something that reads the same.

#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use tokenward::identity::{Label, LoginId, Method, ProviderId, SessionId, UserId};
use tokenward::server::{ApplicationId, Scope};
use tokenward::service::memory_bank::MemoryId;
use tokenward::service::orange::PhoneNumber;
use tokenward::testing::{Endpoint, Fault};
use tokenward::vault::audit::AuditMark;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    again::<UserId>(text);
    again::<ProviderId>(text);
    again::<Label>(text);
    again::<Method>(text);
    again::<SessionId>(text);
    again::<LoginId>(text);
    again::<ApplicationId>(text);
    again::<Scope>(text);
    again::<AuditMark>(text);
    again::<MemoryId>(text);
    again::<PhoneNumber>(text);
    again::<Endpoint>(text);
    again::<Fault>(text);
    tokenward::vault::fuzzing::file(data);
});

fn again<T: FromStr<Err: Display> + Display + Debug>(text: &str) {
    match text.parse::<T>() {
        Ok(read) => {
            let written = read.to_string();
            let again = written.parse::<T>().map_err(|error| error.to_string());
            assert_eq!(again.map(|it| it.to_string()), Ok(written), "{read:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
