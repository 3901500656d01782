//! Limits the handshakes per second of each address, in memory that does not grow with the number of
//! addresses.
//!
//! This is a count-min sketch with conservative update, whose cells are rate limiters (GCRA). An
//! address has one cell in each of four rows, chosen by a hash with a secret key, and the cell that is
//! free first decides. Addresses share cells, but hardly ever all four, so an address never exceeds its
//! rate, and is practically never refused because of others: with 100,000 addresses at once, one in a
//! million is treated as if it had made five more handshakes.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The bits of a hash that choose the cell of one row; together, the rows use the whole hash.
const BITS: u32 = 16;
const ROWS: u32 = u64::BITS / BITS;

const SECOND: u64 = Duration::from_secs(1).as_nanos() as u64;

#[derive(Default)]
pub(super) struct AddressRate {
    hasher: RandomState,
    /// Until when the handshakes counted in a cell use up its rate, in nanoseconds. 2 MiB, allocated
    /// when it is first needed.
    paid_until: Mutex<Vec<u64>>,
}

impl AddressRate {
    /// Counts a handshake from this address if it is within the limit, which is `burst` at once and
    /// `per_second` in the long run. `now` is the time since some fixed moment.
    pub(super) fn has_room(
        &self,
        ip: IpAddr,
        now: Duration,
        per_second: usize,
        burst: usize,
    ) -> bool {
        let now = now.as_nanos() as u64;
        let step = SECOND / per_second as u64;
        let hash = self.hasher.hash_one(network(ip));
        let cells = (0..ROWS).map(|row| {
            let cell = (hash >> (row * BITS)) & ((1 << BITS) - 1);
            (u64::from(row) << BITS | cell) as usize
        });
        // No operation leaves the table half-changed.
        let mut paid_until = self
            .paid_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if paid_until.is_empty() {
            *paid_until = vec![0; (ROWS as usize) << BITS];
        }
        let furthest = now + step * burst as u64;
        for cell in cells.clone() {
            // What was used up at a lower rate must not outlast a reload that raises it.
            paid_until[cell] = paid_until[cell].min(furthest);
        }
        let lowest = cells.clone().map(|cell| paid_until[cell]).min();
        let paid = lowest.unwrap_or_default().max(now) + step;
        let has_room = paid <= furthest;
        if has_room {
            for cell in cells {
                paid_until[cell] = paid_until[cell].max(paid);
            }
        }
        has_room
    }
}

/// What counts as one address: for IPv6 its /64, the least that one subscriber has.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of ten handshakes pass at a time.
    fn passed(rate: &AddressRate, ip: &str, millis: u64) -> usize {
        let now = Duration::from_millis(millis);
        let ip = ip.parse().unwrap();
        (0..10).filter(|_| rate.has_room(ip, now, 4, 6)).count()
    }

    #[test]
    fn each_address_has_a_burst_and_a_rate_of_its_own() {
        let rate = AddressRate::default();
        for ip in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
            assert_eq!(passed(&rate, ip, 0), 6);
            assert_eq!(passed(&rate, ip, 249), 0);
            assert_eq!(passed(&rate, ip, 250), 1);
            assert_eq!(passed(&rate, ip, 1_000), 3);
            assert_eq!(passed(&rate, ip, 60_000), 6);
        }
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let rate = AddressRate::default();
        assert_eq!(passed(&rate, "2001:db8:0:1::1", 0), 6);
        assert_eq!(passed(&rate, "2001:db8:0:1:ffff::2", 0), 0);
        assert_eq!(passed(&rate, "2001:db8:0:2::1", 0), 6);
    }

    #[test]
    fn a_raised_limit_takes_effect_at_once() {
        let rate = AddressRate::default();
        let ip = "192.0.2.1".parse().unwrap();
        let passed = |millis, per_second, burst| {
            let now = Duration::from_millis(millis);
            let has_room = |_: &_| rate.has_room(ip, now, per_second, burst);
            (0..1_000).filter(has_room).count()
        };
        assert_eq!(passed(0, 1, 100), 100);
        assert_eq!(passed(10, 100, 100), 0);
        assert_eq!(passed(20, 100, 100), 1);
        assert_eq!(passed(520, 100, 100), 50);
        assert_eq!(passed(530, 100, 101), 2);
    }

    #[test]
    fn many_addresses_at_once_need_no_more_memory_and_do_not_block_one_another() {
        let rate = AddressRate::default();
        let now = Duration::from_secs(1);
        let refused = (0..100_000u32)
            .filter(|ip| !rate.has_room(IpAddr::V4((*ip).into()), now, 1, 6))
            .count();
        assert!(refused <= 2, "{refused}");
        assert_eq!(rate.paid_until.lock().unwrap().capacity(), 4 << 16);
    }
}
