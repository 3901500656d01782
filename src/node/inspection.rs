//! What operators want to know about a user, or about the nodes themselves, from all nodes.

use std::time::{Duration, SystemTime};

use tokio::time::timeout;

use super::{
    DECISION_LIMIT, Node,
    logout::{ANSWER_LIMIT, DOUBT_LIMIT},
};
use crate::{
    bus::{
        self,
        redis::{PeerAnswer, Reply},
    },
    error::chain,
    hub::About,
    id::{NodeId, UserId},
    session::{Expiry, Found},
    wire::{
        Answered, AskedNode, Inquiry, NodeStatus, Sequence, SessionReport, SocketReport, SocketRow,
        SocketsReport, StatusAnswer, StatusRow, UserAnswer,
    },
};

/// Returns the status of the process; `None` while it ends.
pub type Reporter = Box<dyn Fn() -> Option<NodeStatus> + Send + Sync>;

/// The most sockets that one node reports, and that one answer lists.
const SOCKETS: usize = 500;

impl Node {
    /// The user's session and sockets, as far as Redis and the other nodes answer.
    pub async fn inspect(&self, user: &UserId) -> UserAnswer {
        let bus = self.bus.check();
        let limit = self.answer_limit(&bus);
        let inquiry = Inquiry::User(user.clone());
        let (session, peers) = tokio::join!(self.stored(user), self.bus.ask_peers(inquiry, limit));
        let own = self.own_answer(Ok(Reply::Sockets(self.sockets_of(user))));
        let mut answer = UserAnswer {
            ok: true,
            user_id: user.clone(),
            session,
            complete: bus.is_ok(),
            reason: bus.err().map(|why| why.to_string()),
            nodes: Vec::new(),
            truncated: false,
            sockets: Vec::new(),
        };
        for peer in [own].into_iter().chain(peers) {
            add(&mut answer, peer);
        }
        answer
    }

    /// The status of this node, and with `all` that of every other node.
    pub async fn status(&self, all: bool) -> StatusAnswer {
        let bus = if all { self.bus.check() } else { Ok(()) };
        let peers = match (all, self.answer_limit(&bus)) {
            (true, limit) => self.bus.ask_peers(Inquiry::Status, limit).await,
            (false, _) => Vec::new(),
        };
        let own = self.own_status().map(Reply::Status);
        let own = self.own_answer(own.ok_or(Answered::TimedOut));
        let nodes = [own].into_iter().chain(peers).map(|peer| {
            let (answered, status) = match peer.reply {
                Ok(Reply::Status(status)) => (Answered::Yes, Some(*status)),
                Ok(_) => (Answered::TimedOut, None),
                Err(answered) => (answered, None),
            };
            StatusRow {
                node: peer.node,
                release: peer.release,
                answered,
                status,
            }
        });
        let nodes: Vec<_> = nodes.collect();
        let is_answered = |node: &StatusRow| node.answered == Answered::Yes;
        StatusAnswer {
            ok: true,
            complete: bus.is_ok() && nodes.iter().all(is_answered),
            reason: bus.err().map(|why| why.to_string()),
            nodes,
        }
    }

    /// Sets what reports the status of the process, of which the node knows only a part.
    pub fn report_by(&self, reporter: Reporter) {
        // The first one stays.
        self.reporter.set(reporter).ok();
    }

    fn own_status(&self) -> Option<Box<NodeStatus>> {
        self.reporter.get()?().map(Box::new)
    }

    fn own_answer(&self, reply: Result<Reply, Answered>) -> PeerAnswer {
        PeerAnswer {
            node: self.id.clone(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            reply,
        }
    }

    /// How long the other nodes may take to answer. While this node is not ready, it may
    /// receive no answers.
    fn answer_limit(&self, bus: &Result<(), bus::NotReady>) -> Duration {
        if bus.is_ok() {
            ANSWER_LIMIT
        } else {
            DOUBT_LIMIT
        }
    }

    /// Answers another node.
    pub(super) fn reply(&self, from: NodeId, seq: Sequence, inquiry: Inquiry) {
        let Some(node) = self.me.upgrade() else {
            return;
        };
        self.lifecycle.spawn(async move {
            let reply = match inquiry {
                Inquiry::User(user) => Some(Reply::Sockets(node.sockets_of(&user))),
                Inquiry::Status => node.own_status().map(Reply::Status),
                Inquiry::Trace(lease) => {
                    let full = !node.take_part(from.clone(), &lease);
                    Some(Reply::Tracing { full })
                }
            };
            if let Some(reply) = reply {
                node.bus.answer(&from, seq, reply).await;
            }
        });
    }

    fn sockets_of(&self, user: &UserId) -> SocketsReport {
        let (count, newest) = self.hub.sockets(user, SOCKETS);
        let report = |(session, about): (_, About)| {
            let joined = SystemTime::now().checked_sub(about.age);
            let since = humantime::format_rfc3339_millis(joined.unwrap_or(SystemTime::UNIX_EPOCH));
            SocketReport {
                transport: about.transport.to_owned(),
                address: about.address.map(|address| address.to_string()),
                since: since.to_string(),
                session_id: String::from(session),
            }
        };
        SocketsReport {
            count,
            sockets: newest.into_iter().map(report).collect(),
        }
    }

    async fn stored(&self, user: &UserId) -> SessionReport {
        let found = match timeout(DECISION_LIMIT, self.sessions.find(user)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                let why = chain(&error);
                self.complaints.tell("cannot read a session", why);
                return SessionReport::Unknown;
            }
            Err(_) => return SessionReport::Unknown,
        };
        match found {
            Found::None => SessionReport::None,
            Found::Other => SessionReport::Unintelligible,
            Found::Session { session, expiry } => SessionReport::Stored {
                session_id: session,
                expires_in_seconds: match expiry {
                    Expiry::In(left) => Some(left.as_secs()),
                    Expiry::Never | Expiry::Unknown => None,
                },
                expiry_unknown: expiry == Expiry::Unknown,
            },
        }
    }
}

fn add(answer: &mut UserAnswer, peer: PeerAnswer) {
    let PeerAnswer {
        node,
        release,
        reply,
    } = peer;
    let (answered, sockets) = match reply {
        Ok(Reply::Sockets(SocketsReport { count, sockets })) => {
            let room = SOCKETS - answer.sockets.len();
            answer.truncated |= count > sockets.len().min(room);
            let rows = sockets.into_iter().take(room);
            answer.sockets.extend(rows.map(|socket| SocketRow {
                node: node.clone(),
                socket,
            }));
            (Answered::Yes, Some(count))
        }
        Ok(_) => (Answered::TimedOut, None),
        Err(answered) => (answered, None),
    };
    answer.complete &= answered == Answered::Yes;
    answer.nodes.push(AskedNode {
        node,
        release,
        answered,
        sockets,
    });
}
