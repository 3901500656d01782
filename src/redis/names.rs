//! The names of the bus channels, and of the keys that are not sessions.

use std::fmt::Display;

use crate::config;

/// The names of the channels. That of a user is `sockd:user:ID`; those of nodes begin with `@`, which no
/// room does.
///
/// In a Cluster that of a user is `sockd:user:{socket:active_session:ID}`: the braces enclose the key of the
/// session, so both are in one slot, and one script can set the key and publish on the channel
/// (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags>).
#[derive(Debug, Clone)]
pub struct ChannelNames {
    users: String,
    users_end: &'static str,
    nodes: String,
    all: String,
    canaries: String,
    nobody: String,
}

impl ChannelNames {
    pub fn new(redis: &config::Redis, room_prefix: &str, key_prefix: &str) -> Self {
        let prefix = &redis.channel_prefix;
        let (key, users_end) = if !redis.topology.is_cluster() {
            (String::new(), "")
        } else if key_prefix.contains('{') {
            // The keys have a hash tag of their own, which the configuration has checked.
            (key_prefix.to_owned(), "")
        } else {
            (format!("{{{key_prefix}"), "}")
        };
        Self {
            users: format!("{prefix}{room_prefix}{key}"),
            users_end,
            nodes: format!("{prefix}@node:"),
            all: format!("{prefix}@nodes"),
            canaries: format!("{prefix}@canary:"),
            nobody: nobody_key(key_prefix),
        }
    }

    /// The channel of a user's events.
    pub fn user(&self, user: impl Display) -> String {
        format!("{}{user}{}", self.users, self.users_end)
    }

    /// The user whose channel it is, if it is a user's.
    pub fn user_of<'a>(&self, channel: &'a str) -> Option<&'a str> {
        channel
            .strip_prefix(&self.users)?
            .strip_suffix(self.users_end)
    }

    /// The channel of one node.
    pub fn node(&self, node: impl Display) -> String {
        format!("{}{node}", self.nodes)
    }

    /// The channel of all nodes.
    pub fn all(&self) -> &str {
        &self.all
    }

    /// The [key](nobody_key) to try writes on.
    pub fn nobody(&self) -> &str {
        &self.nobody
    }

    /// A channel that only this node subscribes to; in a Cluster its slot depends on the number.
    pub fn canary(&self, node: impl Display, number: u32) -> String {
        format!("{}{{{number}}}:{node}", self.canaries)
    }
}

/// A key under the prefix that belongs to no user, as ids have no control characters. It never exists, so a
/// write to it changes nothing, but is refused like a write to a real key.
pub fn nobody_key(key_prefix: &str) -> String {
    format!("{key_prefix}\u{1}check")
}

/// The text after the prefix in a [`news_key`].
pub const NEWS: &str = "\u{1}new:";

/// The key that exists while a change of the user's session is news; in a Cluster it is in the slot of the
/// session's key.
pub fn news_key(key_prefix: &str, user: impl Display) -> String {
    if key_prefix.contains('{') {
        return format!("{key_prefix}{NEWS}{user}");
    }
    format!("{key_prefix}{NEWS}{{{key_prefix}{user}}}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ::redis::cluster_routing::Slot;

    use super::*;
    use crate::{
        config::{ClientTls, Redis, Topology},
        id::UserId,
    };

    fn names(topology: Topology, key_prefix: &str) -> ChannelNames {
        let redis = Redis {
            topology,
            username: None,
            password: None,
            tls: ClientTls::default(),
            channel_prefix: "sockd:".to_owned(),
            connect_timeout: Duration::ZERO,
            command_timeout: Duration::ZERO,
        };
        ChannelNames::new(&redis, "user:", key_prefix)
    }

    #[test]
    fn a_users_channel_is_in_the_slot_of_the_session_in_a_cluster() {
        let user = UserId::try_from("u-1").unwrap();
        for key_prefix in ["socket:active_session:", "", "{app}:session:", "a:{b}{c}"] {
            let names = names(Topology::Cluster { nodes: Vec::new() }, key_prefix);
            let channel = names.user(&user);
            let key = format!("{key_prefix}{user}");
            assert_eq!(Slot::for_key(&channel), Slot::for_key(&key), "{channel}");
            let news = news_key(key_prefix, &user);
            assert_eq!(Slot::for_key(&news), Slot::for_key(&key), "{news}");
            assert!(news.starts_with(key_prefix), "{news}");
            assert_eq!(names.user_of(&channel), Some("u-1"));
            assert_eq!(names.user_of(names.all()), None);
        }
    }

    #[test]
    fn without_a_cluster_channels_are_named_after_rooms() {
        let url = "redis://r".to_owned();
        let names = names(Topology::Standalone { url }, "socket:active_session:");
        assert_eq!(names.user("u-1"), "sockd:user:u-1");
        assert_eq!(names.user_of("sockd:user:u-1"), Some("u-1"));
        assert_eq!(names.node("n"), "sockd:@node:n");
        assert_eq!(names.all(), "sockd:@nodes");
    }
}
