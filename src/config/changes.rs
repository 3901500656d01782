//! Which settings differ between two configurations.

use super::{Config, Loaded, Topology};
use crate::secret::Secret;

impl Loaded {
    /// Returns the keys whose values differ, in the order of the table. A secret counts under its own
    /// key also where a file holds it.
    pub fn changes(&self, other: &Self) -> Vec<&'static str> {
        let differs = |key: &str| {
            let [own, other] = [self, other].map(|loaded| secrets(&loaded.config, key));
            let is_same = |(own, other): (&Secret, &Secret)| own.matches(other.expose());
            own.len() != other.len() || !own.into_iter().zip(other).all(is_same)
        };
        let rows = self.rows.iter().zip(&other.rows);
        let changed = rows.filter(|(own, other)| own.value != other.value || differs(own.key));
        changed.map(|(row, _)| row.key).collect()
    }
}

/// The secrets of a key, which are all shown alike.
fn secrets<'a>(config: &'a Config, key: &str) -> Vec<&'a Secret> {
    let redis = config.redis.as_ref();
    match key {
        "auth.secret" => config.auth.secrets.iter().take(1).collect(),
        "auth.previous_secrets" => config.auth.secrets.iter().skip(1).collect(),
        "internal.secret" => config.internal.secrets.iter().take(1).collect(),
        "internal.previous_secrets" => config.internal.secrets.iter().skip(1).collect(),
        "metrics.secret" => config.metrics.secret.iter().collect(),
        "redis.password" => Vec::from_iter(redis.and_then(|redis| redis.password.as_ref())),
        "redis.sentinel_password" => match redis.map(|redis| &redis.topology) {
            Some(Topology::Sentinel(sentinel)) => sentinel.password.iter().collect(),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}
