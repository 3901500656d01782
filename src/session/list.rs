//! The active sessions in Redis, page by page, for operators.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

use ::redis::RedisError;
use thiserror::Error;

use crate::{
    config,
    id::UserId,
    redis::{
        ConnectError, Connection,
        cluster::connect_to_masters,
        connect,
        grants::escape_glob,
        names::{ChannelNames, NEWS},
    },
    wire::SessionRow,
};

/// How many keys Redis reads per SCAN: enough that round trips do not matter, few enough that
/// other commands are not held up.
const PAGE: usize = 1_000;

/// Walks through all active sessions by SCAN, without blocking Redis.
pub struct SessionList {
    connection: Connection,
    key_prefix: String,
    names: ChannelNames,
    /// The servers that are still to be walked through, the current one last.
    masters: Vec<Connection>,
    /// The position on the current one.
    cursor: u64,
    seen: Seen,
}

/// What one step of the walk has found.
#[derive(Debug)]
pub struct Page {
    pub rows: Vec<SessionRow>,
    /// About how many keys, of sessions and others, Redis has read.
    pub scanned: u64,
}

/// Why the sessions cannot be listed.
#[derive(Debug, Error)]
pub enum ListError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("Redis failed to list the sessions")]
    Redis(#[from] RedisError),
}

impl ListError {
    /// Whether Redis could not be reached at all.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_unreachable(),
            Self::Redis(error) => error.is_io_error() || error.is_timeout(),
        }
    }

    /// Whether Redis requires another user or password.
    pub fn is_unauthorized(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_unauthorized(),
            Self::Redis(error) => matches!(error.code(), Some("NOAUTH" | "WRONGPASS")),
        }
    }

    /// Whether Redis accepts the user, but does not permit this.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Redis(error) if error.code() == Some("NOPERM"))
    }
}

impl SessionList {
    /// # Errors
    /// Redis cannot be reached.
    pub async fn open(
        redis: &config::Redis,
        sessions: &config::Sessions,
        room_prefix: &str,
    ) -> Result<Self, ListError> {
        Ok(Self {
            connection: connect(redis).await?,
            key_prefix: sessions.key_prefix.clone(),
            names: ChannelNames::new(redis, room_prefix, &sessions.key_prefix),
            masters: connect_to_masters(redis).await?,
            cursor: 0,
            seen: Seen::default(),
        })
    }

    /// The number of keys of any kind, which the walk does not exceed.
    ///
    /// # Errors
    /// Redis fails.
    pub async fn estimate(&mut self) -> Result<u64, ListError> {
        let mut keys = 0;
        for master in &mut self.masters {
            let size: u64 = ::redis::cmd("DBSIZE").query_async(master).await?;
            keys += size;
        }
        Ok(keys)
    }

    /// The session of one user, without a walk.
    ///
    /// # Errors
    /// Redis fails.
    pub async fn of(&mut self, user: &UserId) -> Result<Option<SessionRow>, ListError> {
        let rows = self.rows(vec![user.as_str().to_owned()]).await?;
        Ok(rows.into_iter().next())
    }

    /// The next sessions, in no order; `None` after the last. A session is listed once, unless
    /// Redis returns it again after a great many others.
    ///
    /// # Errors
    /// Redis fails.
    pub async fn next_page(&mut self) -> Result<Option<Page>, ListError> {
        let Some(master) = self.masters.last_mut() else {
            return Ok(None);
        };
        let (next, keys): (u64, Vec<Vec<u8>>) = ::redis::cmd("SCAN")
            .arg(self.cursor)
            .arg("MATCH")
            .arg(format!("{}*", escape_glob(&self.key_prefix)))
            .arg("COUNT")
            .arg(PAGE)
            .query_async(master)
            .await?;
        self.cursor = next;
        if next == 0 {
            self.masters.pop();
        }
        let users = keys
            .into_iter()
            .filter_map(|key| String::from_utf8(key).ok())
            .filter_map(|key| key.strip_prefix(&self.key_prefix).map(str::to_owned))
            .filter(|user| !user.starts_with(NEWS))
            .filter(|user| self.seen.insert(user))
            .collect();
        Ok(Some(Page {
            rows: self.rows(users).await?,
            scanned: PAGE as u64,
        }))
    }

    async fn rows(&mut self, users: Vec<String>) -> Result<Vec<SessionRow>, ListError> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let of = |user: &String| {
            let key = format!("{}{user}", self.key_prefix);
            let mut ttl = ::redis::cmd("TTL");
            ttl.arg(&key);
            [::redis::Cmd::get(&key), ttl]
        };
        // A key of another type fails on its own, not the whole page.
        let answers = self.connection.each(users.iter().flat_map(of).collect());
        let answers = answers.await?;
        let channels: Vec<_> = users.iter().map(|user| self.names.user(user)).collect();
        let online = self.connection.subscribers(&channels).await?;

        let rows = users
            .into_iter()
            .zip(answers.chunks(2))
            .zip(online)
            .filter_map(|((user_id, answer), online)| {
                let [value, ttl] = answer else { return None };
                let ttl = ttl
                    .clone()
                    .and_then(|ttl| Ok(::redis::from_redis_value(ttl)?));
                let ttl: i64 = ttl.unwrap_or(NO_EXPIRY);
                (ttl != GONE).then(|| SessionRow {
                    user_id,
                    session_id: value.as_ref().ok().and_then(stored_session),
                    expires_in_seconds: u64::try_from(ttl).ok(),
                    online,
                })
            });
        Ok(rows.collect())
    }
}

/// What TTL returns for a key that never expires, and for one that does not exist (any more).
const NO_EXPIRY: i64 = -1;
const GONE: i64 = -2;

/// The session that a key's value names, unless it is one that sockd does not understand.
fn stored_session(value: &::redis::Value) -> Option<String> {
    let text: String = ::redis::from_redis_value_ref(value).ok()?;
    let session: Option<String> = serde_json::from_str(&text).ok()?;
    session.filter(|session| !session.is_empty())
}

/// Remembers what was listed lately: SCAN may return a key twice while Redis resizes its table.
/// Two generations of hashes bound the memory to some 32 MiB, however many sessions there are.
#[derive(Default)]
struct Seen {
    hasher: RandomState,
    recent: HashSet<u64>,
    older: HashSet<u64>,
}

impl Seen {
    const GENERATION: usize = 1 << 20;

    /// Whether the text is new.
    fn insert(&mut self, text: &str) -> bool {
        let hash = self.hasher.hash_one(text);
        if self.recent.len() >= Self::GENERATION {
            self.older = std::mem::take(&mut self.recent);
        }
        !self.older.contains(&hash) && self.recent.insert(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_json_string_names_a_session() {
        let stored = |text: &str| stored_session(&::redis::Value::BulkString(text.into()));
        assert_eq!(stored("\"s-1\""), Some("s-1".into()));
        for text in ["null", "\"\"", "{}", "s-1", "", "1"] {
            assert_eq!(stored(text), None, "{text}");
        }
        assert_eq!(stored_session(&::redis::Value::Nil), None);
    }

    #[test]
    fn what_was_seen_lately_is_known_and_memory_stays_bounded() {
        let mut seen = Seen::default();
        assert!(seen.insert("a"));
        assert!(!seen.insert("a"));
        for number in 0..Seen::GENERATION {
            seen.insert(&number.to_string());
        }
        assert!(!seen.insert("a"));
        assert!(seen.recent.len() <= Seen::GENERATION);
    }
}
