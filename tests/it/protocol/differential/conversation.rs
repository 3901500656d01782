//! The steps of a conversation, readable in a report.

use std::fmt;

/// Clients of a conversation; a client is a connection that may be opened again.
pub const CLIENTS: usize = 3;
pub const USERS: usize = 2;
/// Sessions of each user.
pub const SESSIONS: usize = 2;

/// An action of a client or a backend; the next step waits until its effects are over.
#[derive(Debug, Clone)]
pub enum Step {
    Open(usize, Transport, Credentials),
    /// Packets sent at once: one POST, or messages without waiting in between.
    Send(usize, Vec<Packet>),
    Upgrade(usize, Upgrade),
    Request(usize, Request),
    Leave(usize, Leaving),
    /// From now on a poll is pending at the server, until it returns.
    Wait(usize),
    Frames(usize, Frames),
    /// The client waits for a ping, and answers it.
    Beat(usize),
    /// The client stops answering pings.
    Expire(usize),
    /// A request that opens a connection, or is refused.
    OpenRequest(&'static str),
    /// A request that opens a WebSocket, or is refused: its query, and its headers.
    UpgradeRequest(&'static str, &'static str),
    /// A backend's event, and whether polling clients have a poll waiting for it.
    Emit(usize, &'static str, Payload, Waiting),
    Logout(Login, Waiting),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Polling,
    WebSocket,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    Yes,
    No,
}

/// The session of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Login {
    pub user: usize,
    pub session: usize,
}

/// Where the request that opens a connection carries a token.
#[derive(Debug, Clone)]
pub enum Credentials {
    None,
    Query(Login),
    Header(Login),
}

#[derive(Debug, Clone)]
pub enum Packet {
    Text(String),
    Binary(Vec<u8>),
    Connect(Auth),
}

/// The payload of a CONNECT.
#[derive(Debug, Clone)]
pub enum Auth {
    Token(Login),
    /// With `Bearer ` before the token.
    Bearer(Login),
    /// A list with the token first.
    List(Login),
    /// Beside the token, raw JSON that only JavaScript may be able to read.
    Beside(Login, &'static str),
    /// Signed with another secret.
    Foreign(Login),
    Expired(Login),
    /// Claims without a user and a session.
    Nobody,
    /// The text after `40`, verbatim.
    Raw(&'static str),
}

#[derive(Debug, Clone)]
pub enum Upgrade {
    Whole,
    /// A poll is pending and must be released.
    WithPoll,
    /// The probe and the upgrade packet without waiting for the response.
    InOneBreath,
    /// An event comes between the answered probe and the upgrade packet.
    EventBetween,
    /// The user's sessions but one are ended between the answered probe and the upgrade packet.
    LogoutBetween(Login),
    /// The client posts packets between the answered probe and the upgrade packet.
    PostBetween(Vec<Packet>),
    ProbedTwice,
    /// A WebSocket ping before the probe.
    Pinged,
    /// A first packet other than the probe.
    First(Packet),
    /// A packet other than the upgrade packet after the answered probe.
    Second(Packet),
    Abandoned {
        probed: bool,
        politely: bool,
    },
    /// A second upgrade is tried during the first.
    Twice,
}

/// The payload of a backend's event.
#[derive(Debug, Clone)]
pub enum Payload {
    /// Verbatim.
    Raw(&'static str),
    /// So many events, each with a text of so many bytes.
    Long(usize, usize),
}

/// Unusual WebSocket frames.
#[derive(Debug, Clone)]
pub enum Frames {
    /// A packet in pieces, with a ping and a pong between them.
    Pieces(Packet),
    /// A header's first byte, and the payload behind it.
    One(u8, Vec<u8>),
    /// A frame that is not masked.
    Unmasked,
    /// A fragmented text, with another text between its fragments.
    Mixed,
    /// The header of a message that is too long.
    TooLong,
}

/// An unusual request.
#[derive(Debug, Clone)]
pub enum Request {
    TwoPolls,
    TwoPosts,
    CancelledPoll,
    /// A POST of bytes instead of text.
    Bytes,
    TooLong,
    Method(&'static str),
    /// The session's id with this query instead.
    Query(&'static str),
    /// An event posted to a path and query in which `SID` stands for the session's id.
    Post(&'static str),
    /// A POST without a content length.
    Chunked,
}

#[derive(Debug, Clone, Copy)]
pub enum Leaving {
    ClosePacket,
    CloseFrame,
    Vanishing,
    HalfClose,
}

/// The name of a client in reports.
pub fn name(client: usize) -> char {
    char::from(b'a' + client as u8)
}

fn user(user: usize) -> &'static str {
    ["Ann", "Bob"][user]
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(client, transport, credentials) => {
                write!(f, "{} opens by {transport:?}", name(*client))?;
                match credentials {
                    Credentials::None => Ok(()),
                    Credentials::Query(login) => write!(f, ", with {login} in the query"),
                    Credentials::Header(login) => write!(f, ", with {login} in a header"),
                }
            }
            Self::Send(client, packets) => {
                write!(f, "{} sends {}", name(*client), list(packets))
            }
            Self::Upgrade(client, how) => write!(f, "{} upgrades: {how}", name(*client)),
            Self::Request(client, request) => write!(f, "{} requests {request:?}", name(*client)),
            Self::Leave(client, how) => write!(f, "{} leaves: {how:?}", name(*client)),
            Self::Emit(to, event, payload, waiting) => {
                write!(f, "a backend emits {event} {payload:?} to {}", user(*to))?;
                match waiting {
                    Waiting::Yes => write!(f, ", for whom polls wait"),
                    Waiting::No => Ok(()),
                }
            }
            Self::Logout(login, waiting) => {
                write!(f, "a backend forces all out but {login}")?;
                match waiting {
                    Waiting::Yes => write!(f, ", for whom polls wait"),
                    Waiting::No => Ok(()),
                }
            }
            Self::Wait(client) => write!(f, "{} polls and waits", name(*client)),
            Self::Beat(client) => write!(f, "{} waits for a ping", name(*client)),
            Self::Expire(client) => write!(f, "{} answers no ping any more", name(*client)),
            Self::Frames(client, frames) => write!(f, "{} sends frames {frames:?}", name(*client)),
            Self::OpenRequest(request) => write!(f, "a stranger requests {request}"),
            Self::UpgradeRequest(query, headers) => {
                write!(f, "a stranger requests an upgrade: {query} {headers:?}")
            }
        }
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", user(self.user), self.session + 1)
    }
}

fn list(packets: &[Packet]) -> String {
    let packets: Vec<_> = packets.iter().map(Packet::to_string).collect();
    packets.join("  ")
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) if text.len() > 200 => {
                write!(f, "`{:.20}…` of {} bytes", text, text.len())
            }
            Self::Text(text) => write!(f, "`{text}`"),
            Self::Binary(bytes) => write!(f, "bytes {bytes:?}"),
            Self::Connect(Auth::Token(login)) => write!(f, "CONNECT as {login}"),
            Self::Connect(Auth::Raw(raw)) => write!(f, "`40{raw}`"),
            Self::Connect(auth) => write!(f, "CONNECT {auth:?}"),
        }
    }
}

impl fmt::Display for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PostBetween(packets) => write!(f, "posts {} in between", list(packets)),
            Self::First(packet) => write!(f, "{packet} for a probe"),
            Self::Second(packet) => write!(f, "{packet} behind the answered probe"),
            how => write!(f, "{how:?}"),
        }
    }
}
