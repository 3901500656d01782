//! All connections of the node, by the id of their transport.

use std::{
    borrow::Borrow,
    collections::HashSet,
    fmt,
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::connection::Connection;

/// Characters of an id that name the node.
const NODE: usize = 4;
/// Characters of an id that are random: 96 bits.
const RANDOM: usize = 16;
/// Each shard has a lock of its own.
const SHARDS: usize = 16;

/// The id of a transport or a socket: URL-safe, and hard to guess.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Sid([u8; NODE + RANDOM]);

impl Sid {
    /// A number that is always the same for this id, and random among all ids.
    pub(super) fn random(&self) -> u16 {
        let mut bytes = [0; 3];
        URL_SAFE_NO_PAD
            .decode_slice(&self.0[NODE..NODE + 4], &mut bytes)
            .expect("the id encodes bytes");
        u16::from_be_bytes([bytes[0], bytes[1]])
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("it is ASCII")
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The connections that requests and a drain can find.
pub(super) struct Registry {
    node: [u8; NODE],
    shards: [Mutex<HashSet<BySid>>; SHARDS],
}

/// A connection that is found by its sid, which is stored only in the connection.
struct BySid(Arc<Connection>);

impl Borrow<[u8]> for BySid {
    fn borrow(&self) -> &[u8] {
        &self.0.sid().0
    }
}

impl Hash for BySid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Borrow::<[u8]>::borrow(self).hash(state);
    }
}

impl PartialEq for BySid {
    fn eq(&self, other: &Self) -> bool {
        self.0.sid() == other.0.sid()
    }
}

impl Eq for BySid {}

impl Registry {
    pub(super) fn new() -> Self {
        Self {
            node: random::<NODE>(),
            shards: Default::default(),
        }
    }

    /// A new random id.
    pub(super) fn new_sid(&self) -> Sid {
        let mut sid = [0; NODE + RANDOM];
        sid[..NODE].copy_from_slice(&self.node);
        sid[NODE..].copy_from_slice(&random::<RANDOM>());
        Sid(sid)
    }

    pub(super) fn insert(&self, connection: Arc<Connection>) {
        self.shard(&connection.sid().0).insert(BySid(connection));
    }

    pub(super) fn find(&self, sid: &str) -> Option<Arc<Connection>> {
        let found = self.shard(sid.as_bytes());
        let found = found.get(sid.as_bytes())?;
        Some(found.0.clone())
    }

    pub(super) fn remove(&self, sid: &Sid) {
        let removed = self.shard(&sid.0).take(&sid.0[..]);
        // Not under the lock: it may be the last reference.
        drop(removed);
    }

    pub(super) fn list(&self) -> Vec<Arc<Connection>> {
        let lists = self.shards.iter().map(|shard| {
            let shard = lock(shard);
            shard
                .iter()
                .map(|found| found.0.clone())
                .collect::<Vec<_>>()
        });
        lists.flatten().collect()
    }

    fn shard(&self, sid: &[u8]) -> MutexGuard<'_, HashSet<BySid>> {
        let last = sid.last().copied().unwrap_or_default();
        lock(&self.shards[usize::from(last) % SHARDS])
    }
}

fn lock(shard: &Mutex<HashSet<BySid>>) -> MutexGuard<'_, HashSet<BySid>> {
    // A set is whole between two of its operations.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Random characters from the system; their number is a multiple of four.
fn random<const CHARACTERS: usize>() -> [u8; CHARACTERS] {
    let mut bytes = [0; RANDOM / 4 * 3];
    let bytes = &mut bytes[..CHARACTERS / 4 * 3];
    getrandom::fill(bytes).expect("the system has randomness");
    let mut characters = [0; CHARACTERS];
    URL_SAFE_NO_PAD
        .encode_slice(bytes, &mut characters)
        .expect("four characters encode three bytes");
    characters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sids_name_their_node_and_are_otherwise_random() {
        let registry = Registry::new();
        let (one, other) = (registry.new_sid(), registry.new_sid());
        assert_eq!(one.as_str().len(), 20);
        assert_eq!(one.as_str()[..4], other.as_str()[..4]);
        assert_ne!(one, other);
        let is_safe = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        assert!(one.as_str().chars().all(is_safe));
    }
}
