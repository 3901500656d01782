//! How to reach Redis: where it is, how it is deployed, and with which credentials.

use super::{
    Redis, Sentinel, Topology,
    key::Choice,
    problem::Problems,
    redis_url::RedisUrl,
    settings::Settings,
    table::{Chosen, chosen},
};

/// Where the operator said that Redis is.
enum Place {
    Url(RedisUrl),
    Sentinels(Vec<String>),
    Cluster(Vec<String>),
}

impl Place {
    /// Returns what a URL would say; the first of several nodes speaks for all.
    fn url(&self) -> RedisUrl {
        match self {
            Self::Url(url) => url.clone(),
            Self::Sentinels(nodes) | Self::Cluster(nodes) => {
                RedisUrl::of_node(nodes.first().map_or("", String::as_str))
            }
        }
    }
}

impl Settings {
    /// How to reach Redis; `None` if no setting says that there is one.
    pub(super) fn redis(&self, problems: &mut Problems) -> Option<Redis> {
        let chosen::Redis {
            url,
            host,
            port,
            sentinels,
            // For `topology`.
            sentinel_master: _,
            sentinel_username: _,
            sentinel_password: _,
            sentinel_password_file: _,
            cluster,
            database,
            username,
            password,
            password_file,
            tls_ca_file,
            tls_cert_file,
            tls_key_file,
            channel_prefix,
            connect_timeout,
            command_timeout,
        } = &self.chosen.redis;
        let ca_file = self.path(tls_ca_file, problems);
        for (given, other) in [(tls_cert_file, tls_key_file), (tls_key_file, tls_cert_file)] {
            if !other.is_given() {
                let text = format_args!("{} is missing; give both or none", other.key.path);
                given.blame(text, problems);
            }
        }
        let [cert, key] = [tls_cert_file, tls_key_file].map(|file| self.path(file, problems));

        // A place that cannot be read is a problem already; whether it meant TLS is unknown.
        let place = if url.is_given() {
            Some(Place::Url(url.value.clone()?))
        } else if sentinels.is_given() {
            Some(Place::Sentinels(sentinels.value.clone()?))
        } else if cluster.is_given() {
            Some(Place::Cluster(cluster.value.clone()?))
        } else {
            self.uses_redis()
                .then(|| Place::Url(RedisUrl::of_host(&host.value, port.value)))
        };
        if !place.as_ref().is_some_and(|place| place.url().is_tls()) {
            let remedy = match &place {
                Some(Place::Sentinels(_)) => "begin redis.sentinels with rediss://",
                Some(Place::Cluster(_)) => "begin redis.cluster with rediss://",
                Some(Place::Url(_)) | None => "set redis.url to rediss://…",
            };
            for file in [tls_ca_file, tls_cert_file, tls_key_file] {
                file.blame(format_args!("of no use without TLS; {remedy}"), problems);
            }
        }

        let place = place?;
        let in_url = place.url();
        let database = match in_url.database {
            Some(in_url) if !overrides(database, url, problems) => in_url,
            _ => database.value,
        };
        let username = match in_url.username {
            Some(in_url) if !overrides(username, url, problems) => Some(in_url),
            _ => username.value.clone(),
        };
        let password = match in_url.password {
            Some(in_url)
                if !overrides(password, url, problems)
                    && !overrides(password_file, url, problems) =>
            {
                Some(in_url)
            }
            _ => self.secret(password, password_file, problems),
        };
        Some(Redis {
            topology: self.topology(place, database, problems),
            username,
            password,
            tls_ca_file: ca_file,
            tls_client_files: cert.zip(key),
            channel_prefix: channel_prefix.value.clone(),
            connect_timeout: connect_timeout.value,
            command_timeout: command_timeout.value,
        })
    }

    fn topology(&self, place: Place, database: u64, problems: &mut Problems) -> Topology {
        let redis = &self.chosen.redis;
        match place {
            Place::Url(url) => {
                self.check_sentinel_settings(problems);
                Topology::Standalone {
                    url: url.with_database(database),
                }
            }
            Place::Sentinels(nodes) => {
                check_schemes(&redis.sentinels, &nodes, problems);
                if !redis.sentinel_master.is_given() {
                    let text = "redis.sentinel_master is missing; set it to the name in the \
                                Sentinels' `sentinel monitor`";
                    redis.sentinels.blame(text, problems);
                }
                let password = &redis.sentinel_password;
                Topology::Sentinel(Sentinel {
                    sentinels: nodes,
                    master: redis.sentinel_master.value.clone().unwrap_or_default(),
                    database,
                    username: redis.sentinel_username.value.clone(),
                    password: self.secret(password, &redis.sentinel_password_file, problems),
                })
            }
            Place::Cluster(nodes) => {
                check_schemes(&redis.cluster, &nodes, problems);
                self.check_slots(database, problems);
                Topology::Cluster { nodes }
            }
        }
    }

    fn check_sentinel_settings(&self, problems: &mut Problems) {
        let redis = &self.chosen.redis;
        // A stronger source may have chosen another place than the file that has all these.
        if redis.url.is_given() || redis.host.is_given() || redis.port.is_given() {
            return;
        }
        let text = "of no use without redis.sentinels; set them, or leave this out";
        redis.sentinel_master.blame(text, problems);
        redis.sentinel_username.blame(text, problems);
        redis.sentinel_password.blame(text, problems);
        redis.sentinel_password_file.blame(text, problems);
    }

    /// A session's key and its user's channel must fall into one slot, and those of different
    /// users into many.
    fn check_slots(&self, database: u64, problems: &mut Problems) {
        let Chosen {
            redis,
            sessions,
            rooms,
            ids,
            ..
        } = &self.chosen;
        if database != 0 {
            redis
                .database
                .blame("a Cluster has but the database 0; leave it out", problems);
        }
        let prefix = &sessions.key_prefix;
        if prefix.value.contains(['{', '}']) && !has_tag(&prefix.value) {
            let text = "in a Cluster braces enclose what chooses the slot; remove them";
            prefix.blame(text, problems);
        }
        for prefix in [&redis.channel_prefix, &rooms.prefix] {
            if prefix.value.contains('{') {
                let text = "in a Cluster it would put all channels into one slot; remove the brace";
                prefix.blame(text, problems);
            }
        }
        let user = self.id_formats().user;
        if user.admits("{") || user.admits("}") {
            let text = "in a Cluster braces enclose what chooses the slot; allow none in ids";
            ids.any_charset.blame(text, problems);
        }
    }
}

/// Whether a setting counts although the URL has the same: the stronger source wins, and one that
/// gives both has made a mistake.
fn overrides<T, U>(choice: &Choice<T>, url: &Choice<U>, problems: &mut Problems) -> bool {
    let (own, urls) = (choice.origin.rank(), url.origin.rank());
    if own == urls {
        let text = format_args!("the redis.url at {} has one too; keep one", url.origin);
        choice.blame(text, problems);
    }
    own >= urls
}

fn check_schemes<T>(choice: &Choice<T>, nodes: &[String], problems: &mut Problems) {
    let is_tls = |node: &String| node.starts_with("rediss:");
    if nodes.iter().any(is_tls) && !nodes.iter().all(is_tls) {
        let text = "some are rediss:// and some are not; begin all of them with rediss://, or none";
        choice.blame(text, problems);
    }
}

/// Whether a part of the key chooses its slot.
fn has_tag(key: &str) -> bool {
    let after_brace = key.split_once('{').map(|(_, rest)| rest);
    let tag = after_brace.and_then(|rest| rest.split_once('}'));
    tag.is_some_and(|(tag, _)| !tag.is_empty())
}
