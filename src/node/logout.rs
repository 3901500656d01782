//! Who is logged out, on this node and on all others: force-logouts, kicks and replaced sessions.

use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, timeout, timeout_at};

use super::{DECISION_LIMIT, Node, NotReady};
use crate::{
    bus::{
        self, Logout, LogoutOrder, TellError,
        redis::{Answer, PeerTooOld, Question, Reply},
    },
    error::chain,
    hub::{Judgement, Revoked},
    id::{SessionId, UserId},
    metrics::SESSIONS_REPLACED,
    session::SessionError,
    wire::{LogoutReason, Step, UserMessage},
};

/// How long the other nodes may take to answer.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_millis(1_500);
/// How long they may take while this node is not ready on the bus.
pub(super) const DOUBT_LIMIT: Duration = Duration::from_millis(250);
/// How long it may take to read the active session before the announced one is trusted.
const JUDGEMENT_LIMIT: Duration = Duration::from_secs(1);

/// What a force-logout or a kick did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoggedOut {
    /// How many sockets were told and closed, over all nodes.
    pub disconnected: u64,
    /// How many nodes have the user.
    pub nodes: usize,
}

/// Why a user was not logged out; unless a variant says otherwise, no socket was touched.
#[derive(Debug, Error)]
pub enum LogoutError {
    /// It may still be carried out.
    #[error("Redis did not answer in time: {0}")]
    Timeout(NotReady),
    #[error("the session store failed")]
    Store(#[from] SessionError),
    #[error("the other nodes could not be told")]
    Bus(#[source] bus::NotReady),
    /// The sockets of some nodes may be gone.
    #[error("some nodes may not have been told")]
    Misplaced(#[source] TellError),
    #[error("not every node could enforce it")]
    PeerTooOld(#[from] PeerTooOld),
    /// The sockets of those that answered are gone.
    #[error("only {answered} of {told} nodes answered")]
    Incomplete { answered: usize, told: usize },
}

impl From<TellError> for LogoutError {
    fn from(error: TellError) -> Self {
        match error {
            TellError::NotReady(why) => Self::Bus(why),
            TellError::Misplaced => Self::Misplaced(error),
        }
    }
}

/// A logout of a user's local sockets that has begun: none of them gets a later event.
pub(super) enum Begun {
    /// Those of the active session stay, once it is known. Where it cannot be read, the announced one is
    /// trusted.
    Judging {
        judgement: Judgement,
        announced: SessionId,
    },
    Done(Revoked),
}

impl Node {
    /// Makes the session the active one, and disconnects the sockets of all others on all nodes.
    ///
    /// # Errors
    /// No socket was touched. If Redis did not answer in time, the session may be stored all the same,
    /// and is then enforced.
    pub async fn force_logout(
        &self,
        user: &UserId,
        session: &SessionId,
    ) -> Result<LoggedOut, LogoutError> {
        let logout = Logout::replaced_by(session);
        let done = self.log_out_everywhere(user, &logout).await;
        self.trace_logout(user, "force-logout", &logout, &done);
        done.inspect_err(|error| {
            self.complaints
                .tell("cannot replace a session", chain(error));
        })
    }

    /// Disconnects all sockets of the user that are in, on all nodes.
    ///
    /// A `fresh` session, which no token has, becomes the active one first: no older session gets in
    /// again, and a node that misses the order enforces it later. Without one, the order reaches only the
    /// nodes whose link to Redis works, and a handshake in progress may get in.
    ///
    /// # Errors
    /// Why the user may still have sockets.
    pub async fn kick(
        &self,
        user: &UserId,
        reason: LogoutReason,
        fresh: Option<SessionId>,
    ) -> Result<LoggedOut, LogoutError> {
        let logout = Logout {
            keep: fresh,
            reason,
        };
        let done = self.log_out_everywhere(user, &logout).await;
        self.trace_logout(user, "kick", &logout, &done);
        done.inspect_err(|error| self.complaints.tell("cannot kick a user", chain(error)))
    }

    fn trace_logout(
        &self,
        user: &UserId,
        act: &str,
        logout: &Logout,
        done: &Result<LoggedOut, LogoutError>,
    ) {
        self.traces.record(user, || Step::LoggedOut {
            act,
            reason: logout.reason.as_str(),
            disconnected: done.as_ref().ok().map(|done| done.disconnected),
            error: done.as_ref().err().map(|error| chain(error)),
        });
    }

    async fn log_out_everywhere(
        &self,
        user: &UserId,
        logout: &Logout,
    ) -> Result<LoggedOut, LogoutError> {
        let deadline = Instant::now() + DECISION_LIMIT;
        let question = self.bus.ask();
        let message = self.message(logout, question.as_ref());
        let publication = self.bus.publication(user, &message);
        let had_sockets = self.hub.has(user);
        let telling = async {
            self.bus.check_peers(&message)?;
            Ok(match &logout.keep {
                Some(session) => self.sessions.replace(user, session, &publication).await?,
                None => self.bus.tell(&publication).await?,
            })
        };
        let told = timeout_at(deadline, telling).await;
        let nodes = told.unwrap_or_else(|_| Err(LogoutError::Timeout(self.reason())))?;
        let is_stored = logout.keep.is_some();
        if is_stored {
            SESSIONS_REPLACED.inc();
        }
        let mut disconnected = 0;
        // A kick comes back over the bus, behind events that were sent before it. A stored session is
        // enforced at once, and again when its announcement comes back.
        if is_stored || question.is_none() {
            let begun = self.begin(user, logout);
            let reason = logout.reason.clone();
            disconnected = self.finish_by(deadline, begun, user, reason).await;
        }
        timeout_at(deadline, self.await_answers(question.as_ref(), nodes))
            .await
            .ok();
        let answers = question.as_ref().map_or_else(Vec::new, Question::answers);
        disconnected += answers.iter().map(count).sum::<u64>();
        // A node that has missed a stored session enforces it later; a kick is lost.
        if !is_stored && question.is_some() {
            let is_missing = had_sockets && self.hub.has(user) && !self.has_answered(&answers);
            let (answered, told) = (answers.len(), nodes + usize::from(is_missing));
            if answered < told {
                return Err(LogoutError::Incomplete { answered, told });
            }
        }
        Ok(LoggedOut {
            disconnected,
            // With sessions in memory nobody is told, and this node is the only one.
            nodes: nodes.max(usize::from(had_sockets)),
        })
    }

    /// Carries out the order of another node or of this one, and answers it.
    pub(super) fn carry_out(&self, user: &UserId, order: LogoutOrder) {
        let Some(node) = self.me.upgrade() else {
            return;
        };
        let LogoutOrder { from, seq, logout } = order;
        let user = user.clone();
        // It begins here, so that no later event overtakes it.
        let begun = self.begin(&user, &logout);
        let reason = logout.reason;
        self.lifecycle.spawn(async move {
            let count = node.finish(begun, &user, reason).await;
            node.bus
                .answer(&from, seq, Reply::Disconnected(count))
                .await;
        });
    }

    /// Disconnects local sockets of the user; returns their number. Where a session is kept, the active one
    /// is read again, so a late or repeated call does no harm.
    pub(super) async fn disconnect(&self, user: &UserId, logout: &Logout) -> u64 {
        let begun = self.begin(user, logout);
        self.finish(begun, user, logout.reason.clone()).await
    }

    pub(super) fn begin(&self, user: &UserId, logout: &Logout) -> Option<Begun> {
        match &logout.keep {
            Some(session) => {
                let judgement = self.hub.judge(user, session)?;
                let announced = session.clone();
                Some(Begun::Judging {
                    judgement,
                    announced,
                })
            }
            None => {
                let revoked = self.hub.revoke_all(user, logout.reason.clone());
                revoked.map(Begun::Done)
            }
        }
    }

    pub(super) async fn finish(
        &self,
        begun: Option<Begun>,
        user: &UserId,
        reason: LogoutReason,
    ) -> u64 {
        let deadline = Instant::now() + JUDGEMENT_LIMIT;
        self.finish_by(deadline, begun, user, reason).await
    }

    /// Like [`Self::finish`], for a caller with a deadline.
    async fn finish_by(
        &self,
        deadline: Instant,
        begun: Option<Begun>,
        user: &UserId,
        reason: LogoutReason,
    ) -> u64 {
        let revoked = match begun {
            Some(Begun::Judging {
                judgement,
                announced,
            }) => {
                let active = self.active(user, deadline).await.unwrap_or(announced);
                judgement.keep(&active, reason)
            }
            Some(Begun::Done(revoked)) => revoked,
            None => return 0,
        };
        revoked.dismiss().await
    }

    /// The user's active session, if there is one and it can be read in time.
    async fn active(&self, user: &UserId, deadline: Instant) -> Option<SessionId> {
        let deadline = deadline.min(Instant::now() + JUDGEMENT_LIMIT);
        let read = self.sessions.active(std::slice::from_ref(user));
        let read = timeout_at(deadline, read).await;
        read.ok()?.ok()?.into_iter().next()?
    }

    pub(super) fn message(&self, logout: &Logout, question: Option<&Question>) -> UserMessage {
        let from = self.id.clone();
        let seq = question.map_or(0, Question::seq);
        let Logout { keep, reason } = logout.clone();
        match keep {
            Some(session) if reason == LogoutReason::SESSION_REPLACED => {
                UserMessage::SessionChanged { from, seq, session }
            }
            session => UserMessage::Kicked {
                from,
                seq,
                reason,
                session,
            },
        }
    }

    /// Waits until this many nodes have answered that they have disconnected the sockets.
    pub(super) async fn await_answers(&self, question: Option<&Question>, nodes: usize) {
        let Some(question) = question else { return };
        // A node that is not ready may receive no answers; one that is only in doubt receives them at once.
        let is_ready = self.bus.check().is_ok();
        let limit = if is_ready { ANSWER_LIMIT } else { DOUBT_LIMIT };
        if timeout(limit, question.answered_by(nodes)).await.is_err() && is_ready {
            let (answers, silent) = (question.answers().len(), question.silent());
            tracing::warn!(
                nodes,
                answers,
                ?silent,
                "not every node answered that it has enforced a session"
            );
        }
    }

    fn has_answered(&self, answers: &[Answer]) -> bool {
        let mut answers = answers.iter();
        answers.any(|answer| answer.from.as_ref() == Some(&self.id))
    }
}

/// How many sockets the node has disconnected.
fn count(answer: &Answer) -> u64 {
    match answer.reply {
        Reply::Disconnected(count) => count,
        Reply::Sockets(_) | Reply::Status(_) | Reply::Tracing { .. } => 0,
    }
}
