//! Which session of a user is the active one, and who may change it.

pub mod list;
pub mod memory;
pub mod redis;

use std::time::Duration;

use thiserror::Error;

use self::{memory::MemorySessions, redis::RedisSessions};
use crate::{
    id::{SessionId, UserId},
    wire::Publication,
};

/// The store of active sessions: one per user, forgotten after the TTL.
#[derive(Debug)]
pub enum SessionStore {
    Memory(MemorySessions),
    Redis(RedisSessions),
}

/// The outcome of a session's claim to be the active one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// There was none; now it is this one, and this many nodes were told.
    Adopted { told: usize },
    /// It has just become this one, and this many nodes were told again.
    New { told: usize },
    /// It was this one already.
    Active,
    /// It is another one.
    Mismatch,
}

/// What is stored for a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    None,
    Session {
        session: String,
        expiry: Expiry,
    },
    /// Something that is not a session.
    Other,
}

/// When a stored session expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    In(Duration),
    Never,
    /// Redis refuses to tell.
    Unknown,
}

/// Why the store could not read or change a session.
#[derive(Debug, Error)]
pub enum SessionError {
    #[error("no connection to Redis")]
    NotConnected(#[from] crate::redis::NotConnected),
    #[error(transparent)]
    Demoted(#[from] crate::redis::Demoted),
    #[error("Redis did not answer in time")]
    Timeout,
    #[error("Redis failed")]
    Redis(#[source] crate::redis::DriverError),
    /// What it said, with the remedy.
    #[error("Redis refuses: {0}")]
    Refused(String),
    #[error("the stored session of {user} is not one that sockd understands")]
    Unintelligible { user: UserId },
}

impl From<::redis::RedisError> for SessionError {
    fn from(error: ::redis::RedisError) -> Self {
        Self::Redis(crate::redis::DriverError(error))
    }
}

impl SessionStore {
    /// Lets the session in if it is active or can be adopted, and renews its TTL; atomically.
    ///
    /// # Errors
    /// The store cannot be reached, refuses, or holds something else under the user's key.
    pub async fn claim(
        &self,
        user: &UserId,
        session: &SessionId,
        announcement: &Publication,
    ) -> Result<Claim, SessionError> {
        match self {
            Self::Memory(sessions) => Ok(sessions.claim(user, session)),
            Self::Redis(sessions) => {
                let _timer = sessions.durations.claim.start_timer();
                let done = sessions.claim(user, session, announcement).await;
                done.map_err(|error| sessions.explain(error))
            }
        }
    }

    /// Makes the session the active one, whatever was there; returns how many nodes were told.
    ///
    /// # Errors
    /// The store cannot be reached, or refuses; nothing has changed then, and no node was told.
    pub async fn replace(
        &self,
        user: &UserId,
        session: &SessionId,
        announcement: &Publication,
    ) -> Result<usize, SessionError> {
        match self {
            Self::Memory(sessions) => {
                sessions.replace(user, session);
                Ok(0)
            }
            Self::Redis(sessions) => {
                let _timer = sessions.durations.replace.start_timer();
                let done = sessions.replace(user, session, announcement).await;
                done.map_err(|error| sessions.explain(error))
            }
        }
    }

    /// Forgets the user's session, so that the next handshake adopts its own; returns whether there was
    /// one.
    ///
    /// # Errors
    /// The store cannot be reached or refuses.
    pub async fn remove(&self, user: &UserId) -> Result<bool, SessionError> {
        match self {
            Self::Memory(sessions) => Ok(sessions.remove(user)),
            Self::Redis(sessions) => {
                let done = sessions.remove(user).await;
                done.map_err(|error| sessions.explain(error))
            }
        }
    }

    /// The active sessions of the users, in their order.
    ///
    /// # Errors
    /// The store cannot be reached or refuses.
    pub async fn active(&self, users: &[UserId]) -> Result<Vec<Option<SessionId>>, SessionError> {
        match self {
            Self::Memory(sessions) => Ok(users.iter().map(|user| sessions.active(user)).collect()),
            Self::Redis(sessions) => {
                let _timer = sessions.durations.read.start_timer();
                let done = sessions.active(users).await;
                done.map_err(|error| sessions.explain(error))
            }
        }
    }

    /// What is stored for the user, and until when.
    ///
    /// # Errors
    /// The store cannot be reached or refuses.
    pub async fn find(&self, user: &UserId) -> Result<Found, SessionError> {
        match self {
            Self::Memory(sessions) => Ok(match sessions.find(user) {
                Some((_, session, left)) => Found::Session {
                    session: session.into(),
                    expiry: Expiry::In(left),
                },
                None => Found::None,
            }),
            Self::Redis(sessions) => {
                let done = sessions.find(user).await;
                done.map_err(|error| sessions.explain(error))
            }
        }
    }

    /// Renews the TTL of sessions that are still the active ones.
    ///
    /// # Errors
    /// The store cannot be reached or refuses.
    pub async fn renew(&self, held: &[(UserId, SessionId)]) -> Result<(), SessionError> {
        match self {
            Self::Memory(sessions) => {
                held.iter()
                    .for_each(|(user, session)| sessions.renew(user, session));
                Ok(())
            }
            Self::Redis(sessions) => {
                let _timer = sessions.durations.renew.start_timer();
                let done = sessions.renew(held).await;
                done.map_err(|error| sessions.explain(error))
            }
        }
    }

    /// Tries everything that the other operations need, and changes nothing.
    ///
    /// # Errors
    /// What they would fail with.
    pub async fn check(&self) -> Result<(), SessionError> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Redis(sessions) => {
                let done = sessions.check().await;
                done.map_err(|error| sessions.explain(error))
            }
        }
    }

    /// How long a session is kept after its last claim or renewal.
    pub fn ttl(&self) -> Duration {
        match self {
            Self::Memory(sessions) => sessions.ttl,
            Self::Redis(sessions) => sessions.ttl,
        }
    }
}
