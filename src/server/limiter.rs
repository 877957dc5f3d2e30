//! Rates: how often something may happen, told by the counts of a minute for each key. Without a clock;
//! time is the monotonic one of the runtime.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::http::Extensions;
use dashmap::DashMap;

/// The most keys that are remembered. Beyond them those are forgotten that nothing happened to lately
/// or, when that is not the half of them, all: what many addresses send must not fill the memory.
const MOST_KEYS: usize = 100_000;

/// What is counted together, in seconds.
const SLOT: u64 = 5;

/// How many slots a minute touches, wherever it begins.
const SLOTS: usize = 13;

/// Who sent a request. A host behind a proxy puts it among the extensions of each request; otherwise
/// it is the peer of the connection, which axum tells where the host serves with
/// `into_make_service_with_connect_info::<SocketAddr>()`. Without either nobody is limited by address.
///
/// ```
/// use axum::extract::{ConnectInfo, Request};
/// use axum::middleware::{self, Next};
/// use axum::response::Response;
/// use std::net::SocketAddr;
/// use tokenward::server::ClientAddress;
///
/// // Behind a proxy of the host's own, which writes the address of the client into a header.
/// async fn behind_the_proxy(mut request: Request, next: Next) -> Response {
///     let header = request.headers().get("x-real-ip").and_then(|value| value.to_str().ok());
///     if let Some(address) = header.and_then(|text| text.parse().ok()) {
///         request.extensions_mut().insert(ClientAddress(address));
///     }
///     next.run(request).await
/// }
/// # let app: axum::Router = axum::Router::new().layer(middleware::from_fn(behind_the_proxy));
/// # let _ = (app, None::<ConnectInfo<SocketAddr>>);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// Who sent the request with these extensions, as far as that is known.
    pub(crate) fn of(extensions: &Extensions) -> Option<Self> {
        let told = extensions.get::<Self>().copied();
        let peer = || Some(Self(extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip()));
        told.or_else(peer).map(Self::network)
    }

    /// What one sender has: the address or, of IPv6, the network of 64 bits that it can choose from.
    fn network(self) -> Self {
        Self(match self.0.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// What happened to one key in the last minute.
#[derive(Debug, Clone, Copy, Default)]
struct Minute {
    /// The number of the newest slot, counted since the clock began.
    newest: u64,
    /// How often, by slot; each stands at its number modulo their count.
    counts: [u32; SLOTS],
}

impl Minute {
    /// The same at `now`: what is longer ago is forgotten.
    fn at(mut self, now: Duration) -> Self {
        let slot = now.as_secs() / SLOT;
        let passed = slot.saturating_sub(self.newest).min(SLOTS as u64);
        for number in 0..passed {
            self.counts[index(slot - number)] = 0;
        }
        self.newest = self.newest.max(slot);
        self
    }

    fn count(&self) -> u32 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// How long it takes until one more is allowed where `times` are; none: it is allowed now.
    fn wait(&self, times: u32, now: Duration) -> Option<Duration> {
        let mut left = self.count();
        if left < times {
            return None;
        }
        let oldest = self.newest.saturating_sub(SLOTS as u64 - 1);
        for slot in oldest..=self.newest {
            left -= self.counts[index(slot)];
            if left < times {
                let free = Duration::from_secs((slot + SLOTS as u64) * SLOT);
                return Some(free.saturating_sub(now));
            }
        }
        Some(Duration::from_secs(SLOT * SLOTS as u64))
    }

    fn add(&mut self) {
        let count = &mut self.counts[index(self.newest)];
        *count = count.saturating_add(1);
    }
}

/// Where a slot stands.
fn index(slot: u64) -> usize {
    usize::try_from(slot % SLOTS as u64).unwrap_or_default()
}

/// How often things happened, by key. In no minute is anything taken more often than it may be; seen
/// from its beginning a minute may count up to five seconds longer.
#[derive(Debug)]
pub(crate) struct Limiter<K: Eq + Hash>(DashMap<K, Minute>);

impl<K: Eq + Hash> Limiter<K> {
    pub(crate) fn new() -> Self {
        Self(DashMap::new())
    }

    /// Counts one more for `key`, which may be so many `times` in a minute, or says how long it has to
    /// wait; that is not counted.
    pub(crate) fn take(&self, key: K, times: u32, now: Duration) -> Result<(), Duration> {
        self.make_room(now);
        let mut minute = self.0.entry(key).or_default();
        *minute = minute.at(now);
        if let Some(wait) = minute.wait(times.max(1), now) {
            return Err(wait);
        }
        minute.add();
        Ok(())
    }

    /// Whether one more would be too many, and how long that is so. Nothing is counted.
    pub(crate) fn check(&self, key: &K, times: u32, now: Duration) -> Result<(), Duration> {
        let minute = self.0.get(key).map(|minute| minute.at(now));
        minute.and_then(|minute| minute.wait(times.max(1), now)).map_or(Ok(()), Err)
    }

    fn make_room(&self, now: Duration) {
        if self.0.len() >= MOST_KEYS {
            self.0.retain(|_, minute| minute.at(now).count() > 0);
            if self.0.len() >= MOST_KEYS / 2 {
                self.0.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn so_many_in_a_minute_and_no_more() {
        let limiter = Limiter::new();
        for second in [100, 100, 121] {
            assert_eq!(limiter.take("a", 3, seconds(second)), Ok(()));
        }
        assert_eq!(limiter.take("a", 3, seconds(121)), Err(seconds(44)));
        assert_eq!(limiter.take("b", 3, seconds(121)), Ok(()), "another key");
        assert_eq!(limiter.check(&"a", 3, seconds(164)), Err(seconds(1)));
        for _ in 0..2 {
            assert_eq!(limiter.take("a", 3, seconds(165)), Ok(()), "the first two are past");
        }
        assert_eq!(limiter.take("a", 3, seconds(165)), Err(seconds(20)), "the third is not");
    }

    #[test]
    fn what_is_remembered_is_bounded_whoever_asks() {
        let limiter = Limiter::new();
        for key in 0..3 * MOST_KEYS {
            let _ = limiter.take(key, 1, seconds(0));
            assert!(limiter.0.len() <= MOST_KEYS);
        }
    }

    #[test]
    fn an_address_of_ipv6_counts_as_its_network() {
        let of = |text: &str| {
            let mut extensions = Extensions::new();
            extensions.insert(ClientAddress(text.parse().expect("an address")));
            ClientAddress::of(&extensions)
        };
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn what_was_refused_does_not_count() {
        let limiter = Limiter::new();
        assert_eq!(limiter.take("a", 1, seconds(0)), Ok(()));
        for second in 1..65 {
            assert_eq!(limiter.take("a", 1, seconds(second)), Err(seconds(65 - second)));
        }
        assert_eq!(limiter.take("a", 1, seconds(65)), Ok(()));
    }

    proptest! {
        #[test]
        fn no_minute_has_more_than_is_allowed_and_whoever_waits_as_told_is_let_through(
            times in 1_u32..20,
            begin in 0_u64..100_000,
            pauses in prop::collection::vec(0_u64..8_000, 1..200),
        ) {
            let limiter = Limiter::new();
            let (mut now, mut taken) = (Duration::from_millis(begin), Vec::new());
            let minute = seconds(60);
            for pause in pauses {
                now += Duration::from_millis(pause);
                match limiter.take((), times, now) {
                    Ok(()) => taken.push(now),
                    Err(wait) => {
                        prop_assert!(limiter.check(&(), times, now + wait).is_ok());
                        let just_before = (now + wait).saturating_sub(Duration::from_nanos(1));
                        prop_assert!(limiter.check(&(), times, just_before).is_err());
                        // Nobody waits who was not too many in the last minute and five seconds.
                        let recent = taken.iter().filter(|at| now < **at + seconds(65)).count();
                        prop_assert!(recent >= times as usize);
                    }
                }
            }
            for begin in &taken {
                let window = taken.iter().filter(|at| *at >= begin && **at < *begin + minute);
                prop_assert!(window.count() <= times as usize);
            }
        }

        #[test]
        fn any_rate_at_any_time_is_decided_without_a_panic(
            times: u32,
            moments in prop::collection::vec(any::<u64>(), 1..20),
        ) {
            let limiter = Limiter::new();
            for now in moments {
                let _ = limiter.take((), times, Duration::from_nanos(now));
            }
        }
    }
}
