//! Which settings differ between two configurations.

use super::{Loaded, advice::secrets};
use crate::secret::Secret;

impl Loaded {
    /// Returns the keys whose values differ, in the order of the table. A secret counts under its own
    /// key also where a file holds it.
    pub fn changes(&self, other: &Self) -> Vec<&'static str> {
        let differs = |key: &str| {
            let [own, other] = [self, other].map(|loaded| loaded.secrets(key));
            let is_same = |(own, other): (&Secret, &Secret)| own.matches(other.expose());
            own.len() != other.len() || !own.into_iter().zip(other).all(is_same)
        };
        let rows = self.rows.iter().zip(&other.rows);
        let changed = rows.filter(|(own, other)| own.value != other.value || differs(own.key));
        changed.map(|(row, _)| row.key).collect()
    }

    /// Returns the secrets of a key, which are all shown alike.
    fn secrets(&self, key: &str) -> Vec<&Secret> {
        let is_of_key = |name: &str| name.split(',').next() == Some(key);
        let secrets = secrets(&self.config).filter(|(name, _)| is_of_key(name));
        secrets.map(|(_, secret)| secret).collect()
    }
}
