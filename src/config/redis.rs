//! How to reach Redis: its addresses, how it is deployed, and the credentials.

use std::{fmt, time::Duration};

use super::{
    ClientTls,
    redis_url::RedisUrl,
    resolve::Resolver,
    setting::{Given, Key},
    table::{ids, redis as key, rooms, sessions},
};
use crate::secret::Secret;

/// How to reach Redis.
#[derive(Debug, Clone)]
pub struct Redis {
    pub topology: Topology,
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// Its authorities are trusted instead of the system's.
    pub tls: ClientTls,
    /// The prefix of all bus channels.
    pub channel_prefix: String,
    pub connect_timeout: Duration,
    pub command_timeout: Duration,
}

/// How Redis is deployed, and its addresses.
#[derive(Debug, Clone)]
pub enum Topology {
    Standalone {
        /// `redis://`, `rediss://` or `redis+unix://`, with host, port and database but without
        /// secrets.
        url: String,
    },
    /// A master that Sentinels find and may replace.
    Sentinel(Sentinel),
    Cluster {
        /// `redis://host:port` or `rediss://host:port` of some nodes, which name the others.
        nodes: Vec<String>,
    },
}

/// How to find the master.
#[derive(Debug, Clone)]
pub struct Sentinel {
    /// `redis://host:port`, or `rediss://host:port` for TLS to both Sentinels and Redis.
    pub sentinels: Vec<String>,
    /// The name under which the Sentinels monitor it.
    pub master: String,
    pub database: u64,
    /// The user at the Sentinels, independent of the one at Redis.
    pub username: Option<String>,
    pub password: Option<Secret>,
}

impl Topology {
    pub fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster { .. })
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standalone { url } => f.write_str(url),
            Self::Sentinel(Sentinel {
                sentinels, master, ..
            }) => write!(f, "the master {master} of {}", sentinels.join(",")),
            Self::Cluster { nodes } => write!(f, "the cluster of {}", nodes.join(",")),
        }
    }
}

/// The addresses that the settings give.
enum Place {
    Url(RedisUrl),
    Sentinels(Vec<String>),
    Cluster(Vec<String>),
}

impl Resolver<'_> {
    /// How to reach Redis; `None` if no setting names one.
    pub(super) fn redis(&mut self) -> Option<Redis> {
        let settings = self.settings;
        let tls = self.client_tls(&key::tls_ca_file, (&key::tls_cert_file, &key::tls_key_file));

        // A place that cannot be read is a problem already; whether it meant TLS is unknown.
        let place = if settings.is_given(&key::url.key) {
            Some(Place::Url(settings.get(&key::url)?))
        } else if settings.is_given(&key::sentinels.key) {
            Some(Place::Sentinels(settings.get(&key::sentinels)?))
        } else if settings.is_given(&key::cluster.key) {
            Some(Place::Cluster(settings.get(&key::cluster)?))
        } else {
            let (host, port) = (settings.get(&key::host), settings.get(&key::port));
            let url = || RedisUrl::of_host(&host, port);
            settings.uses_redis_of_host().then(url).map(Place::Url)
        };
        let (is_tls, remedy) = match &place {
            Some(Place::Sentinels(nodes)) => (
                self.is_tls(&key::sentinels.key, nodes),
                "begin redis.sentinels with rediss://",
            ),
            Some(Place::Cluster(nodes)) => (
                self.is_tls(&key::cluster.key, nodes),
                "begin redis.cluster with rediss://",
            ),
            Some(Place::Url(url)) => (url.is_tls(), "set redis.url to rediss://…"),
            None => (false, "set redis.url to rediss://…"),
        };
        if !is_tls {
            for file in [&key::tls_ca_file, &key::tls_cert_file, &key::tls_key_file] {
                self.blame(&file.key, "has no effect without TLS", remedy);
            }
        }

        let place = place?;
        let in_url = match &place {
            Place::Url(url) => url.clone(),
            Place::Sentinels(_) | Place::Cluster(_) => RedisUrl::default(),
        };
        let database = self.unless_overridden(in_url.database, &key::database.key);
        let database = database.unwrap_or_else(|| settings.get(&key::database));
        let username = self.unless_overridden(in_url.username, &key::username.key);
        let username = username.or_else(|| settings.get(&key::username));
        let password = self.unless_overridden(in_url.password, &key::password.key);
        let password = password.or_else(|| self.secret(&key::password));
        Some(Redis {
            topology: self.topology(place, database),
            username,
            password,
            tls,
            channel_prefix: settings.get(&key::channel_prefix),
            connect_timeout: settings.get(&key::connect_timeout),
            command_timeout: settings.get(&key::command_timeout),
        })
    }

    fn topology(&mut self, place: Place, database: u64) -> Topology {
        let settings = self.settings;
        match place {
            Place::Url(url) => {
                self.check_sentinel_settings();
                Topology::Standalone {
                    url: url.with_database(database),
                }
            }
            Place::Sentinels(sentinels) => {
                if !settings.is_given(&key::sentinel_master.key) {
                    let found = "redis.sentinel_master is missing";
                    let remedy = "set it to the name in the Sentinels' `sentinel monitor`";
                    self.blame(&key::sentinels.key, found, remedy);
                }
                Topology::Sentinel(Sentinel {
                    sentinels,
                    master: settings.get(&key::sentinel_master).unwrap_or_default(),
                    database,
                    username: settings.get(&key::sentinel_username),
                    password: self.secret(&key::sentinel_password),
                })
            }
            Place::Cluster(nodes) => {
                self.check_slots(database);
                Topology::Cluster { nodes }
            }
        }
    }

    fn check_sentinel_settings(&mut self) {
        // A stronger source may have chosen another place than the file that has all these.
        let places = [&key::url.key, &key::host.key, &key::port.key];
        if places.iter().any(|key| self.settings.is_given(key)) {
            return;
        }
        for key in [
            &key::sentinel_master.key,
            &key::sentinel_username.key,
            &key::sentinel_password.key,
            &key::sentinel_password_file.key,
        ] {
            let found = "of no use without redis.sentinels";
            self.blame(key, found, "set them, or leave this out");
        }
    }

    /// A session's key and its user's channel must fall into one slot, and those of different
    /// users into many.
    fn check_slots(&mut self, database: u64) {
        let settings = self.settings;
        if database != 0 {
            let found = "a Cluster has only database 0";
            self.blame(&key::database.key, found, "leave it out");
        }
        let braces = "in a Cluster braces enclose what chooses the slot";
        let prefix = settings.get(&sessions::key_prefix);
        if prefix.contains(['{', '}']) && !has_tag(&prefix) {
            self.blame(&sessions::key_prefix.key, braces, "remove them");
        }
        for prefix in [&key::channel_prefix, &rooms::prefix] {
            if settings.get(prefix).contains('{') {
                let found = "in a Cluster it would put all channels into one slot";
                self.blame(&prefix.key, found, "remove the brace");
            }
        }
        let user = settings.id_formats().user;
        if user.admits("{") || user.admits("}") {
            self.blame(&ids::any_charset.key, braces, "allow none in ids");
        }
    }

    /// Returns what the URL has, unless the setting of the same counts: the stronger source wins, and
    /// one that gives both has made a mistake.
    fn unless_overridden<T>(&mut self, in_url: Option<T>, key: &Key) -> Option<T> {
        let in_url = in_url?;
        let rank = |given: &Given| given.origin.rank();
        let url = self.settings.given(&key::url.key);
        let own = self.settings.deciding(key);
        let (Some(own), Some(url)) = (own, url) else {
            return Some(in_url);
        };
        if rank(own) == rank(url) {
            let found = format_args!("the redis.url at {} has one too", url.origin);
            self.blame(own.key, found, "keep one");
        }
        (rank(own) < rank(url)).then_some(in_url)
    }

    /// Whether the nodes are reached over TLS; the first of them speaks for all.
    fn is_tls(&mut self, key: &Key, nodes: &[String]) -> bool {
        let is_tls = |node: &String| node.starts_with("rediss:");
        if nodes.iter().any(is_tls) && !nodes.iter().all(is_tls) {
            let found = "some are rediss:// and some are not";
            self.blame(key, found, "begin all of them with rediss://, or none");
        }
        nodes.first().is_some_and(is_tls)
    }
}

/// Whether the key has a hash tag, which chooses its slot.
fn has_tag(key: &str) -> bool {
    let after_brace = key.split_once('{').map(|(_, rest)| rest);
    let tag = after_brace.and_then(|rest| rest.split_once('}'));
    tag.is_some_and(|(tag, _)| !tag.is_empty())
}
