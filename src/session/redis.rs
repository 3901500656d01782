//! Sessions in Redis, shared by all nodes, under the keys and values of the TypeScript server.

use std::{sync::LazyLock, time::Duration};

use ::redis::{
    AsyncCommands, ExistenceCheck, FromRedisValue, Script, SetExpiry, SetOptions, Value,
};

use super::{Claim, Expiry, Found, SessionError};
use crate::{
    id::{SessionId, UserId},
    metrics::{Histogram, REDIS_COMMAND_DURATION},
    redis::{Connection, Link, grants::Grants, names, refusal::Refusal},
    wire::Publication,
};

static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("claim.lua")));
static REPLACE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("replace.lua")));
static RENEW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("renew.lua")));

/// The error code of Redis for a key that holds something other than text.
const WRONG_TYPE: &str = "WRONGTYPE";
/// For how many seconds after a change of session an admitted client waits for the answers of the
/// nodes: longer than these may take.
const NEWS_SECONDS: u64 = 2;
/// How often a claim is retried when the key changes between two of its steps.
const CLAIM_ATTEMPTS: usize = 5;

/// The active sessions of all nodes on one Redis.
#[derive(Debug)]
pub struct RedisSessions {
    link: Link,
    key_prefix: String,
    pub(super) ttl: Duration,
    grants: Grants,
    pub(super) durations: Durations,
}

/// How long Redis takes, by what it is asked.
#[derive(Debug)]
pub(super) struct Durations {
    pub(super) claim: Histogram,
    pub(super) replace: Histogram,
    pub(super) read: Histogram,
    pub(super) renew: Histogram,
}

impl RedisSessions {
    pub fn new(link: Link, key_prefix: String, ttl: Duration) -> Self {
        let grants = Grants::new(&link.config, &key_prefix);
        Self {
            link,
            key_prefix,
            ttl,
            grants,
            durations: Durations {
                claim: REDIS_COMMAND_DURATION.with_label_values(&["claim"]),
                replace: REDIS_COMMAND_DURATION.with_label_values(&["replace"]),
                read: REDIS_COMMAND_DURATION.with_label_values(&["read"]),
                renew: REDIS_COMMAND_DURATION.with_label_values(&["renew"]),
            },
        }
    }

    /// Adds the remedy to an error of Redis, and looks for the master if a replica refused.
    pub(super) fn explain(&self, error: SessionError) -> SessionError {
        let SessionError::Redis(error) = error else {
            return error;
        };
        match Refusal::of(&error.0) {
            None if error.0.is_timeout() => SessionError::Timeout,
            None => SessionError::Redis(error),
            Some(refusal) => {
                if refusal == Refusal::ReadOnly {
                    self.link.renew();
                }
                SessionError::Refused(self.grants.explain(&error.0))
            }
        }
    }

    /// The connection, if writes to it are durable: a replica can be configured to accept writes, and loses
    /// them.
    async fn writable(&self) -> Result<Connection, SessionError> {
        let connection = self.link.connection().await?;
        self.link.check_role()?;
        Ok(connection)
    }

    pub(super) async fn claim(
        &self,
        user: &UserId,
        session: &SessionId,
        announcement: &Publication,
    ) -> Result<Claim, SessionError> {
        let mut connection = self.link.connection().await?;
        if let Err(demoted) = self.link.check_role() {
            let refusal = demoted.into();
            return self
                .claim_by_reading(&mut connection, user, session, refusal)
                .await;
        }
        let (mut read, mut meaning) = (String::new(), "");
        for _ in 0..CLAIM_ATTEMPTS {
            let answer: Result<Vec<Value>, _> = CLAIM
                .key(self.key(user))
                .key(self.news_key(user))
                .arg(to_json(session))
                .arg(self.ttl.as_secs())
                .arg(&announcement.channel)
                .arg(&announcement.message)
                .arg(&read)
                .arg(meaning)
                .arg(connection.publish_command())
                .arg(NEWS_SECONDS)
                .invoke_async(&mut connection)
                .await;
            let answer = match answer {
                // Redis is alive and refused.
                Err(error) if error.code().is_some() => {
                    return self
                        .claim_by_reading(&mut connection, user, session, error.into())
                        .await;
                }
                answer => answer?,
            };
            let mut answer = answer.into_iter();
            let verdict: String = next(&mut answer)?;
            match verdict.as_str() {
                "adopted" => {
                    let told = next(&mut answer)?;
                    let told = tell_again(&mut connection, announcement, told).await?;
                    return Ok(Claim::Adopted { told });
                }
                "news" => {
                    let told = next(&mut answer)?;
                    let told = tell_again(&mut connection, announcement, told).await?;
                    return Ok(Claim::New { told });
                }
                "active" => return Ok(Claim::Active),
                _ => read = next(&mut answer)?,
            }
            // The script compares texts. A value that is spelt differently is judged here, and the
            // script runs again, to act if the key still holds exactly this text.
            meaning = match parse(user, &read)? {
                Stored::None => "none",
                Stored::Session(stored) if stored == session.as_str() => "same",
                Stored::Session(_) | Stored::Other => return Ok(Claim::Mismatch),
            };
        }
        Err(SessionError::Unintelligible { user: user.clone() })
    }

    /// Where Redis refuses to run the script or to write (full, a replica, a narrow ACL), reading is
    /// enough to recognise the active session; nothing can be adopted.
    async fn claim_by_reading(
        &self,
        connection: &mut Connection,
        user: &UserId,
        session: &SessionId,
        refusal: SessionError,
    ) -> Result<Claim, SessionError> {
        let stored: Option<String> = connection.get(self.key(user)).await?;
        match stored
            .as_deref()
            .map(|stored| parse(user, stored))
            .transpose()?
        {
            Some(Stored::Session(stored)) if stored == session.as_str() => Ok(Claim::Active),
            Some(Stored::Session(_) | Stored::Other) => Ok(Claim::Mismatch),
            Some(Stored::None) | None => Err(refusal),
        }
    }

    pub(super) async fn replace(
        &self,
        user: &UserId,
        session: &SessionId,
        announcement: &Publication,
    ) -> Result<usize, SessionError> {
        let mut connection = self.writable().await?;
        let told = REPLACE
            .key(self.key(user))
            .key(self.news_key(user))
            .arg(to_json(session))
            .arg(self.ttl.as_secs())
            .arg(&announcement.channel)
            .arg(&announcement.message)
            .arg(connection.publish_command())
            .arg(NEWS_SECONDS)
            .invoke_async(&mut connection)
            .await?;
        tell_again(&mut connection, announcement, told).await
    }

    /// By EXPIRE, which deletes at once with a time of 0, so that no further command has to be allowed.
    pub(super) async fn remove(&self, user: &UserId) -> Result<bool, SessionError> {
        let mut connection = self.writable().await?;
        Ok(connection.expire(self.key(user), 0).await?)
    }

    pub(super) async fn active(
        &self,
        users: &[UserId],
    ) -> Result<Vec<Option<SessionId>>, SessionError> {
        let mut connection = self.link.connection().await?;
        let get = |user| ::redis::Cmd::get(self.key(user));
        // A key of another type fails on its own, not the whole chunk.
        let stored = connection.each(users.iter().map(get).collect()).await?;
        let active = stored.into_iter().zip(users).map(|(stored, user)| {
            let stored = match stored {
                Err(error) if error.code() == Some(WRONG_TYPE) => return Ok(None),
                stored => ::redis::from_redis_value::<Option<String>>(stored?),
            };
            let stored = stored.map_err(::redis::RedisError::from)?;
            let meant = stored.and_then(|stored| parse(user, &stored).ok());
            Ok(match meant {
                Some(Stored::Session(session)) => SessionId::try_from(session).ok(),
                Some(Stored::None | Stored::Other) | None => None,
            })
        });
        active.collect()
    }

    pub(super) async fn find(&self, user: &UserId) -> Result<Found, SessionError> {
        let mut connection = self.link.connection().await?;
        let key = self.key(user);
        let mut ttl = ::redis::cmd("TTL");
        ttl.arg(&key);
        let answers = connection.each(vec![::redis::Cmd::get(&key), ttl]).await?;
        let mut answers = answers.into_iter();
        let stored = match answers.next().unwrap_or(Ok(Value::Nil)) {
            Err(error) if error.code() == Some(WRONG_TYPE) => return Ok(Found::Other),
            stored => ::redis::from_redis_value::<Option<String>>(stored?),
        };
        let Some(stored) = stored.map_err(::redis::RedisError::from)? else {
            return Ok(Found::None);
        };
        // A narrow ACL may let the server read sessions, but not their TTL.
        let seconds = answers.next().and_then(Result::ok);
        let seconds = seconds.and_then(|value| ::redis::from_redis_value::<i64>(value).ok());
        let expiry = match seconds {
            None => Expiry::Unknown,
            // The key was removed in between.
            Some(-2) => return Ok(Found::None),
            Some(seconds) => u64::try_from(seconds).map_or(Expiry::Never, |seconds| {
                Expiry::In(Duration::from_secs(seconds))
            }),
        };
        Ok(match parse(user, &stored) {
            Ok(Stored::Session(session)) => Found::Session { session, expiry },
            Ok(Stored::None) => Found::None,
            Ok(Stored::Other) | Err(_) => Found::Other,
        })
    }

    pub(super) async fn renew(&self, held: &[(UserId, SessionId)]) -> Result<(), SessionError> {
        let mut connection = self.writable().await?;
        // A pipeline cannot load a script that is missing.
        RENEW.load_async(&mut connection).await?;
        let renew = |(user, session): &(UserId, SessionId)| {
            let mut renew = ::redis::cmd("EVALSHA");
            renew.arg(RENEW.get_hash()).arg(1).arg(self.key(user));
            renew.arg(to_json(session)).arg(self.ttl.as_secs());
            renew
        };
        let renewed = connection.each(held.iter().map(renew).collect()).await?;
        let renewed: Result<Vec<Value>, _> = renewed.into_iter().collect();
        Ok(renewed.map(drop)?)
    }

    /// On a missing key each of these changes nothing, but is refused as on a real one.
    pub(super) async fn check(&self) -> Result<(), SessionError> {
        let mut connection = self.writable().await?;
        let key = names::nobody_key(&self.key_prefix);
        let expiry = SetExpiry::EX(self.ttl.as_secs());
        let only_if_there = SetOptions::default().conditional_set(ExistenceCheck::XX);
        let () = ::redis::pipe()
            .get(&key)
            .ignore()
            .set_options(&key, "null", only_if_there.with_expiration(expiry))
            .ignore()
            .cmd("EXPIRE")
            .arg(&key)
            .arg(self.ttl.as_secs())
            .ignore()
            .query_async(&mut connection)
            .await?;
        let _: i64 = RENEW
            .key(&key)
            .arg("null")
            .arg(self.ttl.as_secs())
            .invoke_async(&mut connection)
            .await?;
        Ok(())
    }

    fn key(&self, user: &UserId) -> String {
        format!("{}{user}", self.key_prefix)
    }

    fn news_key(&self, user: &UserId) -> String {
        names::news_key(&self.key_prefix, user)
    }
}

/// Returns the number of nodes told, after a script that told `told` of them. While a slot of a Cluster
/// moves, a key may be on a server that does not have the channel yet, so the script reaches no node.
async fn tell_again(
    connection: &mut Connection,
    announcement: &Publication,
    told: usize,
) -> Result<usize, SessionError> {
    let Publication { channel, message } = announcement;
    if told == 0 && connection.is_cluster() {
        return Ok(connection.publish(channel, message).await?);
    }
    Ok(told)
}

/// The meaning of a key's text, as the TypeScript server reads it.
enum Stored {
    None,
    Session(String),
    /// JSON, but not a session: never equal, never replaced by adoption.
    Other,
}

fn parse(user: &UserId, text: &str) -> Result<Stored, SessionError> {
    match serde_json::from_str(text) {
        Ok(serde_json::Value::Null) => Ok(Stored::None),
        Ok(serde_json::Value::String(text)) if text.is_empty() => Ok(Stored::None),
        Ok(serde_json::Value::String(text)) => Ok(Stored::Session(text)),
        Ok(_) => Ok(Stored::Other),
        Err(_) => Err(SessionError::Unintelligible { user: user.clone() }),
    }
}

fn to_json(session: &SessionId) -> String {
    serde_json::Value::from(session.as_str()).to_string()
}

fn next<T: FromRedisValue>(values: &mut impl Iterator<Item = Value>) -> Result<T, SessionError> {
    let value = values.next().unwrap_or(Value::Nil);
    Ok(T::from_redis_value(value).map_err(::redis::RedisError::from)?)
}
