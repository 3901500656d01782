//! Which way Redis is run: by itself, under Sentinels, or as a Cluster.

use super::{
    Sentinel, Topology,
    kind::Value,
    problem::{Problem, Problems},
    redis_url::RedisUrl,
    settings::Settings,
};

/// Where the operator said that Redis is.
pub(super) enum Place {
    Url(RedisUrl),
    Sentinels(Vec<String>),
    Cluster(Vec<String>),
}

/// What says where Redis is cannot be read.
pub(super) struct Unintelligible;

impl Place {
    /// What a URL says of it; of several nodes, the first speaks for all.
    pub(super) fn url(&self) -> RedisUrl {
        match self {
            Self::Url(url) => url.clone(),
            Self::Sentinels(nodes) | Self::Cluster(nodes) => RedisUrl::of_node(&nodes[0]),
        }
    }
}

impl Settings {
    /// `None` when nothing says that there is a Redis.
    pub(super) fn place(&self) -> Result<Option<Place>, Unintelligible> {
        for key in ["redis.url", "redis.sentinels", "redis.cluster"] {
            match self.given(key).map(|given| given.value.clone()) {
                Some(Value::RedisUrl(url)) => return Ok(Some(Place::Url(url))),
                Some(Value::List(nodes)) if key == "redis.cluster" => {
                    return Ok(Some(Place::Cluster(nodes)));
                }
                Some(Value::List(nodes)) => return Ok(Some(Place::Sentinels(nodes))),
                Some(_) => return Err(Unintelligible),
                None => {}
            }
        }
        Ok(self.uses_redis().then(|| Place::Url(self.redis_by_host())))
    }

    pub(super) fn topology(
        &self,
        place: Place,
        database: u64,
        problems: &mut Problems,
    ) -> Topology {
        if !matches!(place, Place::Sentinels(_)) {
            self.check_sentinel_keys(problems);
        }
        match place {
            Place::Url(url) => Topology::Standalone {
                url: url.with_database(database),
            },
            Place::Sentinels(sentinels) => {
                self.check_schemes("redis.sentinels", &sentinels, problems);
                let master = self.optional_text("redis.sentinel_master");
                if master.is_none() && self.given("redis.sentinel_master").is_none() {
                    let remedy = "redis.sentinel_master is missing; set it to the name in the \
                                  Sentinels' `sentinel monitor`";
                    self.blame("redis.sentinels", remedy, problems);
                }
                Topology::Sentinel(Sentinel {
                    sentinels,
                    master: master.unwrap_or_default(),
                    database,
                    username: self.optional_text("redis.sentinel_username"),
                    password: self.secret("redis.sentinel_password", problems),
                })
            }
            Place::Cluster(nodes) => {
                self.check_schemes("redis.cluster", &nodes, problems);
                self.check_slots(database, problems);
                Topology::Cluster { nodes }
            }
        }
    }

    fn check_sentinel_keys(&self, problems: &mut Problems) {
        // A stronger source may have chosen another place than the file that has all these.
        let elsewhere = ["redis.url", "redis.host", "redis.port", "redis.cluster"];
        if elsewhere.iter().any(|key| self.given(key).is_some()) {
            return;
        }
        for key in [
            "redis.sentinel_master",
            "redis.sentinel_username",
            "redis.sentinel_password",
            "redis.sentinel_password_file",
        ] {
            let remedy = "of no use without redis.sentinels; set them, or leave this out";
            self.blame(key, remedy, problems);
        }
    }

    fn check_schemes(&self, key: &str, nodes: &[String], problems: &mut Problems) {
        let is_tls = |node: &String| node.starts_with("rediss:");
        if nodes.iter().any(is_tls) && !nodes.iter().all(is_tls) {
            let text =
                "some are rediss:// and some are not; begin all of them with rediss://, or none";
            self.blame(key, text, problems);
        }
    }

    /// A session's key and its user's channel must fall into one slot, and those of different
    /// users into many.
    fn check_slots(&self, database: u64, problems: &mut Problems) {
        if database != 0 {
            let text = "a Cluster has but the database 0; leave it out";
            self.blame("redis.database", text, problems);
        }
        let key_prefix = self.text("sessions.key_prefix");
        if key_prefix.contains(['{', '}']) && !has_tag(&key_prefix) {
            let text = "in a Cluster braces enclose what chooses the slot; remove them";
            self.blame("sessions.key_prefix", text, problems);
        }
        for key in ["redis.channel_prefix", "rooms.prefix"] {
            if self.text(key).contains('{') {
                let text = "in a Cluster it would put all channels into one slot; remove the brace";
                self.blame(key, text, problems);
            }
        }
        let user = self.id_formats().user;
        if user.admits("{") || user.admits("}") {
            let text = "in a Cluster braces enclose what chooses the slot; allow none in ids";
            self.blame("ids.any_charset", text, problems);
        }
    }

    fn blame(&self, key: &str, text: &str, problems: &mut Problems) {
        if let Some(given) = self.given(key) {
            problems.add(Problem::at(
                given.origin.place(),
                format_args!("{key}: {text}"),
            ));
        }
    }
}

/// Whether a part of the key chooses its slot.
fn has_tag(key: &str) -> bool {
    let tag = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'));
    tag.is_some_and(|(tag, _)| !tag.is_empty())
}
