//! Rates: how often something may happen, told by one number for each key. Without a clock; time is
//! the monotonic one of the runtime.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::http::Extensions;
use dashmap::DashMap;

/// The most keys that are remembered. Beyond them those are forgotten that are not limited now or,
/// when that is not the half of them, all: what many addresses send must not fill the memory.
const MOST_KEYS: usize = 100_000;

/// Who sent a request. A host behind a proxy puts it among the extensions of each request; otherwise
/// it is the peer of the connection, which axum tells where the host serves with
/// `into_make_service_with_connect_info::<SocketAddr>()`. Without either nobody is limited by address.
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

/// So many at once, and then one every so often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) burst: u32,
    pub(crate) every: Duration,
}

impl Rate {
    /// So many at once, and as many in each minute after that.
    pub(crate) fn per_minute(times: u32) -> Self {
        Self { burst: times.max(1), every: Duration::from_mins(1) / times.max(1) }
    }

    /// What a key is remembered by after something happened at `now`: when it is as if nothing ever
    /// had. Or how long it has to wait.
    fn after(self, clear: Duration, now: Duration) -> Result<Duration, Duration> {
        let clear = clear.max(now);
        let most = self.every.saturating_mul(self.burst - 1);
        let wait = clear.saturating_sub(now).saturating_sub(most);
        if wait.is_zero() { Ok(clear.saturating_add(self.every)) } else { Err(wait) }
    }
}

/// How often things happened, by key.
#[derive(Debug)]
pub(crate) struct Limiter<K: Eq + Hash>(DashMap<K, Duration>);

impl<K: Eq + Hash> Limiter<K> {
    pub(crate) fn new() -> Self {
        Self(DashMap::new())
    }

    /// Counts one more for `key`, or says how long it has to wait; that is not counted.
    pub(crate) fn take(&self, key: K, rate: Rate, now: Duration) -> Result<(), Duration> {
        self.make_room(now);
        let mut clear = self.0.entry(key).or_insert(Duration::ZERO);
        *clear = rate.after(*clear, now)?;
        Ok(())
    }

    /// Whether one more would be too many, and how long that is so. Nothing is counted.
    pub(crate) fn check(&self, key: &K, rate: Rate, now: Duration) -> Result<(), Duration> {
        let clear = self.0.get(key).map_or(Duration::ZERO, |clear| *clear);
        rate.after(clear, now).map(|_| ())
    }

    fn make_room(&self, now: Duration) {
        if self.0.len() >= MOST_KEYS {
            self.0.retain(|_, clear| *clear > now);
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
    fn so_many_at_once_and_then_one_every_so_often() {
        let (limiter, rate) = (Limiter::new(), Rate::per_minute(3));
        for _ in 0..3 {
            assert_eq!(limiter.take("a", rate, seconds(100)), Ok(()));
        }
        assert_eq!(limiter.take("a", rate, seconds(100)), Err(seconds(20)));
        assert_eq!(limiter.check(&"a", rate, seconds(119)), Err(seconds(1)));
        assert_eq!(limiter.take("b", rate, seconds(100)), Ok(()), "another key");
        assert_eq!(limiter.take("a", rate, seconds(120)), Ok(()));
        assert_eq!(limiter.take("a", rate, seconds(120)), Err(seconds(20)), "and no more");
    }

    #[test]
    fn what_is_remembered_is_bounded_whoever_asks() {
        let (limiter, rate) = (Limiter::new(), Rate::per_minute(1));
        for key in 0..3 * MOST_KEYS {
            let _ = limiter.take(key, rate, seconds(0));
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
        let (limiter, rate) = (Limiter::new(), Rate::per_minute(1));
        assert_eq!(limiter.take("a", rate, seconds(0)), Ok(()));
        for second in 1..60 {
            assert_eq!(limiter.take("a", rate, seconds(second)), Err(seconds(60 - second)));
        }
        assert_eq!(limiter.take("a", rate, seconds(60)), Ok(()));
    }

    proptest! {
        #[test]
        fn no_window_has_more_than_the_rate_allows(
            times in 1_u32..20,
            pauses in prop::collection::vec(0_u64..8_000, 1..200),
        ) {
            let (limiter, rate) = (Limiter::new(), Rate::per_minute(times));
            let (mut now, mut taken) = (Duration::ZERO, Vec::new());
            for pause in pauses {
                now += Duration::from_millis(pause);
                if limiter.take((), rate, now).is_ok() {
                    taken.push(now);
                }
            }
            for begin in &taken {
                let window = taken.iter().filter(|at| *at >= begin && **at < *begin + seconds(60));
                prop_assert!(window.count() <= 2 * times as usize);
            }
        }

        #[test]
        fn any_rate_at_any_time_is_decided_without_a_panic(times: u32, now: u64, clear: u64) {
            let rate = Rate::per_minute(times);
            let _ = rate.after(Duration::from_nanos(clear), Duration::from_nanos(now));
        }
    }
}
