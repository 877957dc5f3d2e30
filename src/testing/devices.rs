//! The device codes that a simulated provider has issued, and what became of them (RFC 8628). It is
//! strict about the pace: who polls too early is told to slow down, and has to from then on.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::dialect::Refusal;
use super::ledger::{End, Fingerprint};
use crate::clock::Moment;

/// How much longer the interval becomes for a client that polls too early (RFC 8628 §3.5).
const SLOW_DOWN: Duration = Duration::from_secs(5);

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Devices(HashMap<Fingerprint, Device>);

#[derive(Debug, Serialize, Deserialize)]
struct Device {
    user_code: String,
    scope: String,
    end: End,
    interval: Duration,
    /// When it was issued or polled last; not known once it was saved and restored.
    #[serde(skip)]
    last: Option<Moment>,
    decision: Decision,
}

/// What the user made of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Decision {
    Pending,
    Approved { account: String },
    Denied,
    Spent,
}

/// What a user consented to on another device.
pub(super) struct DeviceConsent {
    pub(super) scope: String,
    pub(super) account: String,
}

/// A device code as it is issued.
pub(super) struct NewDevice<'a> {
    pub(super) device_code: &'a str,
    pub(super) user_code: &'a str,
    pub(super) scope: &'a str,
    pub(super) lifetime: Duration,
    pub(super) interval: Duration,
}

impl Devices {
    pub(super) fn issue(&mut self, new: &NewDevice<'_>, now: Moment) {
        let device = Device {
            user_code: new.user_code.to_owned(),
            scope: new.scope.to_owned(),
            end: End::at(now.after(new.lifetime)),
            interval: new.interval,
            last: Some(now),
            decision: Decision::Pending,
        };
        self.0.insert(Fingerprint::of(new.device_code), device);
    }

    /// The user typed `user_code` and decided. False: there is no such code to decide about.
    pub(super) fn decide(&mut self, user_code: &str, decision: Decision, now: Moment) -> bool {
        let pending = |device: &&mut Device| {
            device.user_code == user_code
                && device.decision == Decision::Pending
                && !device.end.has_passed(now)
        };
        match self.0.values_mut().find(pending) {
            Some(device) => {
                device.decision = decision;
                true
            }
            None => false,
        }
    }

    /// One poll. `user_code`: where the provider wants it in the poll.
    pub(super) fn poll(
        &mut self,
        device_code: &str,
        user_code: Option<&str>,
        now: Moment,
    ) -> Result<DeviceConsent, Refusal> {
        let device = self.0.get_mut(&Fingerprint::of(device_code)).ok_or(Refusal::DeviceCode)?;
        if device.decision == Decision::Spent
            || user_code.is_some_and(|user_code| user_code != device.user_code)
        {
            return Err(Refusal::DeviceCode);
        }
        if device.end.has_passed(now) {
            return Err(Refusal::DeviceExpired);
        }
        let last = device.last.replace(now);
        if last.is_some_and(|last| now.since(last) < device.interval) {
            device.interval += SLOW_DOWN;
            return Err(Refusal::DeviceHasty { interval: device.interval });
        }
        match std::mem::replace(&mut device.decision, Decision::Spent) {
            Decision::Approved { account } => {
                Ok(DeviceConsent { scope: device.scope.clone(), account })
            }
            Decision::Denied => {
                device.decision = Decision::Denied;
                Err(Refusal::DeviceDenied)
            }
            other => {
                device.decision = other;
                Err(Refusal::DevicePending)
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
