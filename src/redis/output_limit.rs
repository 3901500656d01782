//! How much output Redis buffers for a subscriber before it closes the connection: the `pubsub`
//! class of `client-output-buffer-limit`
//! (<https://redis.io/docs/latest/develop/reference/clients/#output-buffer-limits>).
//!
//! PUBLISH counts a larger event as received, but no node receives it: Redis closes the connection of
//! each subscriber.

use std::collections::HashMap;

use ::redis::{
    RedisResult,
    cluster_routing::{RoutingInfo, SingleNodeRoutingInfo},
    cmd, from_redis_value,
};

use super::{Connection, Link};

/// The limits of one server, in bytes; 0 means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLimit {
    hard: u64,
    /// May be exceeded for `soft_seconds`.
    soft: u64,
    soft_seconds: u64,
}

/// What is wrong with a limit, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooSmall {
    /// The largest event is always lost, not only under load.
    pub is_certain: bool,
    pub found: String,
    pub remedy: String,
}

impl OutputLimit {
    /// Asks the server, or any node of a Cluster; `None` if the response cannot be parsed.
    ///
    /// # Errors
    /// Redis cannot be reached, or does not allow CONFIG GET.
    pub async fn of(connection: &mut Connection) -> RedisResult<Option<Self>> {
        let mut get = cmd("CONFIG");
        get.arg("GET").arg("client-output-buffer-limit");
        let settings: HashMap<String, String> = match connection {
            Connection::Cluster(cluster) => {
                let any = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
                let answer = cluster.route_command(get, any).await?;
                from_redis_value(answer.extract_error()?)?
            }
            one => get.query_async(one).await?,
        };
        Ok(settings.values().find_map(|text| Self::parse(text)))
    }

    /// Reads `normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60`.
    fn parse(text: &str) -> Option<Self> {
        let (_, numbers) = text.split_once("pubsub ")?;
        let mut numbers = numbers.split_whitespace().map(str::parse);
        Some(Self {
            hard: numbers.next()?.ok()?,
            soft: numbers.next()?.ok()?,
            soft_seconds: numbers.next()?.ok()?,
        })
    }

    /// Returns what is wrong if an event in a request body of `max_body` bytes can be lost.
    pub fn check(&self, max_body: usize) -> Option<TooSmall> {
        let largest = room_for(max_body);
        let Self {
            hard,
            soft,
            soft_seconds,
        } = *self;
        let is_certain = hard > 0 && hard + UNCOUNTED < max_body as u64;
        let risk = if is_certain {
            "no node receives such an event"
        } else if hard > 0 && hard < 2 * largest {
            "such an event is lost when anything else is queued with it"
        } else if soft > 0 && soft < largest {
            "a node that reads slowly loses such an event"
        } else {
            return None;
        };
        let set = format!(
            "pubsub {} {} {}",
            DEFAULT.hard.max(4 * largest),
            DEFAULT.soft.max(2 * largest),
            soft_seconds.max(DEFAULT.soft_seconds)
        );
        Some(TooSmall {
            is_certain,
            found: format!(
                "client-output-buffer-limit is pubsub {hard} {soft} {soft_seconds}, and \
                 internal.max_body allows events of {max_body} bytes: {risk}"
            ),
            remedy: format!(
                "CONFIG SET client-output-buffer-limit \"{set}\", and the same in redis.conf, or \
                 lower internal.max_body"
            ),
        })
    }
}

/// The defaults of Redis.
const DEFAULT: OutputLimit = OutputLimit {
    hard: 32 << 20,
    soft: 8 << 20,
    soft_seconds: 60,
};

/// Redis does not count its first 16 KiB of output, and a request body holds more than the event.
const UNCOUNTED: u64 = 32 << 10;

/// The most that Redis counts for one event: its allocator rounds up by as much as a quarter, and
/// names are sent with the payload.
fn room_for(max_body: usize) -> u64 {
    let body = max_body as u64;
    body + body / 4 + (64 << 10)
}

/// Warns once, at the first connection, if the limit is too small. Says nothing if Redis does not
/// allow CONFIG GET; `sockd doctor` then tries a large event.
pub async fn warn_if_small(link: Link, max_body: usize) {
    let Ok(mut connection) = link.connection().await else {
        return;
    };
    let limit = OutputLimit::of(&mut connection).await.ok().flatten();
    if let Some(small) = limit.and_then(|limit| limit.check(max_body)) {
        let TooSmall { found, remedy, .. } = small;
        tracing::warn!(found, remedy, "Redis may drop large events");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_limit_of_subscribers_is_read_among_the_others() {
        let limit = OutputLimit::parse(
            "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
        );
        assert_eq!(limit, Some(DEFAULT));
        assert_eq!(OutputLimit::parse("normal 0 0 0"), None);
        assert_eq!(OutputLimit::parse("pubsub 1 two 3"), None);
    }

    #[test]
    fn hard_and_soft_limits_are_compared_with_the_largest_event() {
        let judge = |hard, soft| {
            let limit = OutputLimit {
                hard,
                soft,
                soft_seconds: 60,
            };
            limit.check(MIB as usize).map(|small| small.is_certain)
        };
        assert_eq!(judge(DEFAULT.hard, DEFAULT.soft), None);
        assert_eq!(judge(0, 0), None);
        assert_eq!(judge(8 * MIB, 0), None);
        assert_eq!(judge(0, 2 * MIB), None);
        assert_eq!(judge(MIB / 2, 0), Some(true));
        assert_eq!(judge(MIB - 64 * 1024, DEFAULT.soft), Some(true));
        assert_eq!(judge(MIB, 0), Some(false));
        assert_eq!(judge(2 * MIB, 0), Some(false));
        assert_eq!(judge(0, MIB), Some(false));
        assert_eq!(judge(DEFAULT.hard, 1), Some(false));
    }

    #[test]
    fn the_remedy_is_large_enough_and_names_both_settings() {
        let limit = OutputLimit {
            hard: 1,
            soft: 0,
            soft_seconds: 0,
        };
        for max_body in [1, 1 << 20, 16 << 20, 1 << 30] {
            let small = limit.check(max_body).unwrap();
            assert!(small.remedy.ends_with("or lower internal.max_body"));
            let (_, set) = small.remedy.split_once('"').unwrap();
            let set = OutputLimit::parse(set.split('"').next().unwrap()).unwrap();
            assert_eq!(set.check(max_body), None, "{set:?}");
        }
    }
}
