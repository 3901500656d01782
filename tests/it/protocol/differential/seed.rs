//! Generates the conversation of a seed.

use fastrand::Rng;

use super::{
    conversation::{
        Auth, CLIENTS, Credentials, Frames, Leaving, Login, Packet, Payload, Request, SESSIONS,
        Step, Transport, USERS, Upgrade, Waiting,
    },
    packets::{
        BESIDE, COUNTS, ELSEWHERE, EVENTS, FRAMES, MISPLACED, NAMES, ODD, ODD_PROBES,
        OPEN_REQUESTS, PAYLOADS, POSTS, QUERIES, RAW_AUTH, UPGRADE_HEADERS, UPGRADE_QUERIES,
    },
};

/// The most steps of a conversation.
const LONGEST: usize = 16;

/// What is assumed while a conversation is generated. It guides the choices and may be wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guess {
    Closed,
    Open { transport: Transport, joined: bool },
}

/// The steps of a seed.
pub fn conversation(seed: u64) -> Vec<Step> {
    let rng = &mut Rng::with_seed(seed);
    let mut clients = [Guess::Closed; CLIENTS];
    let length = rng.usize(4..=LONGEST);
    (0..length).map(|_| step(rng, &mut clients)).collect()
}

/// The steps of a seed in which one client lives with a heartbeat.
pub fn heartbeat(seed: u64) -> Vec<Step> {
    let rng = &mut Rng::with_seed(seed);
    let transport = pick(rng, &[Transport::Polling, Transport::WebSocket]);
    let mut steps = vec![Step::Open(0, transport, Credentials::None)];
    for _ in 0..rng.usize(1..6) {
        let login = Login {
            user: 0,
            session: 0,
        };
        steps.push(match rng.u8(0..12) {
            0 | 1 => Step::Send(0, vec![Packet::Connect(Auth::Token(login))]),
            2 => Step::Send(0, vec![Packet::Text(pick(rng, EVENTS).into())]),
            3 => Step::Send(0, vec![Packet::Text("3".into())]),
            4 => Step::Emit(0, NAMES[0], Payload::Raw("1"), waiting(rng)),
            5 => Step::Upgrade(0, Upgrade::Whole),
            6 => Step::Upgrade(0, Upgrade::EventBetween),
            7 => Step::Upgrade(0, Upgrade::First(Packet::Text("2".into()))),
            8 if transport == Transport::Polling => Step::Wait(0),
            _ => Step::Beat(0),
        });
    }
    steps.push(Step::Expire(0));
    steps
}

fn step(rng: &mut Rng, clients: &mut [Guess; CLIENTS]) -> Step {
    if rng.u8(0..16) == 0 {
        return match rng.bool() {
            true => Step::OpenRequest(pick(rng, OPEN_REQUESTS)),
            false => Step::UpgradeRequest(pick(rng, UPGRADE_QUERIES), pick(rng, UPGRADE_HEADERS)),
        };
    }
    let client = rng.usize(0..CLIENTS);
    let Guess::Open { transport, joined } = clients[client] else {
        // Backends also emit to users who are offline.
        if rng.u8(0..10) == 0 {
            return backend(rng);
        }
        let transport = pick(rng, &[Transport::Polling, Transport::WebSocket]);
        clients[client] = Guess::Open {
            transport,
            joined: false,
        };
        return Step::Open(client, transport, credentials(rng));
    };
    if !joined && rng.u8(0..4) > 0 {
        let auth = auth(rng);
        let joins = !matches!(
            auth,
            Auth::Foreign(_) | Auth::Expired(_) | Auth::Nobody | Auth::Raw(_)
        );
        clients[client] = Guess::Open {
            transport,
            joined: joins,
        };
        return Step::Send(client, vec![Packet::Connect(auth)]);
    }
    match rng.u8(0..100) {
        0..28 => backend(rng),
        28..32 if transport == Transport::Polling => Step::Wait(client),
        28..32 => Step::Frames(client, frames(rng)),
        32..50 => Step::Send(client, vec![packet(rng)]),
        50..62 => {
            let count = rng.usize(2..=4);
            Step::Send(client, (0..count).map(|_| packet(rng)).collect())
        }
        62..70 if transport == Transport::Polling => {
            let how = upgrade(rng);
            let upgraded = Guess::Open {
                transport: Transport::WebSocket,
                joined,
            };
            if !matches!(how, Upgrade::First(_) | Upgrade::Second(_)) {
                clients[client] = upgraded;
            }
            Step::Upgrade(client, how)
        }
        62..64 => Step::Upgrade(client, Upgrade::Whole),
        64..78 => Step::Request(client, request(rng, transport)),
        78..84 => Step::Send(client, binary_event(rng)),
        84..91 => Step::Send(client, vec![Packet::Text(pick(rng, ODD).into())]),
        _ => {
            clients[client] = Guess::Closed;
            let ways = [
                Leaving::ClosePacket,
                Leaving::CloseFrame,
                Leaving::Vanishing,
                Leaving::HalfClose,
            ];
            let how = match transport {
                Transport::Polling => Leaving::ClosePacket,
                Transport::WebSocket => pick(rng, &ways),
            };
            Step::Leave(client, how)
        }
    }
}

fn backend(rng: &mut Rng) -> Step {
    let user = rng.usize(0..USERS);
    if rng.u8(0..5) == 0 {
        return Step::Logout(any_login(rng), waiting(rng));
    }
    let payload = match rng.u8(0..10) {
        0 => Payload::Long(rng.usize(1..=20), pick(rng, &[110, 125, 126, 5_000])),
        1 => Payload::Long(rng.usize(1..=3), pick(rng, &[65_535, 65_536, 300_000])),
        // More than a socket's buffers hold.
        2 if rng.u8(0..4) == 0 => Payload::Long(20, 300_000),
        _ => Payload::Raw(pick(rng, PAYLOADS)),
    };
    Step::Emit(user, pick(rng, NAMES), payload, waiting(rng))
}

fn waiting(rng: &mut Rng) -> Waiting {
    pick(rng, &[Waiting::Yes, Waiting::No])
}

fn any_login(rng: &mut Rng) -> Login {
    Login {
        user: rng.usize(0..USERS),
        session: rng.usize(0..SESSIONS),
    }
}

fn frames(rng: &mut Rng) -> Frames {
    match rng.u8(0..10) {
        0..3 => Frames::Pieces(packet(rng)),
        3 => Frames::Unmasked,
        4 => Frames::Mixed,
        5 => Frames::TooLong,
        _ => {
            let (first, payload) = pick(rng, FRAMES);
            Frames::One(first, payload.to_vec())
        }
    }
}

/// Sessions that win are more frequent; otherwise hardly any client would join.
fn login(rng: &mut Rng) -> Login {
    Login {
        user: rng.usize(0..USERS),
        session: usize::from(rng.u8(0..6) == 0),
    }
}

fn credentials(rng: &mut Rng) -> Credentials {
    match rng.u8(0..10) {
        0 => Credentials::Query(login(rng)),
        1 => Credentials::Header(login(rng)),
        _ => Credentials::None,
    }
}

fn auth(rng: &mut Rng) -> Auth {
    let login = login(rng);
    match rng.u8(0..20) {
        0 => Auth::Bearer(login),
        1 => Auth::List(login),
        2 => Auth::Beside(login, pick(rng, BESIDE)),
        4 => Auth::Foreign(login),
        5 => Auth::Expired(login),
        6 => Auth::Nobody,
        7..9 => Auth::Raw(pick(rng, RAW_AUTH)),
        _ => Auth::Token(login),
    }
}

fn packet(rng: &mut Rng) -> Packet {
    match rng.u8(0..20) {
        0..2 => Packet::Connect(auth(rng)),
        2..4 => Packet::Text("41".into()),
        4 => Packet::Text(pick(rng, ODD).into()),
        5..8 if rng.u8(0..10) == 0 => Packet::Text(format!("40/{},", "n".repeat(1_100))),
        5..8 => Packet::Text(pick(rng, ELSEWHERE).into()),
        8 => Packet::Text("3".into()),
        _ => Packet::Text(pick(rng, EVENTS).into()),
    }
}

/// An event with attachments: most often as many as it says.
fn binary_event(rng: &mut Rng) -> Vec<Packet> {
    let said = match rng.u8(0..6) {
        0 => 11,
        _ => rng.usize(1..=3),
    };
    let sent = match rng.u8(0..10) {
        0 => said - 1,
        1 => said + 1,
        _ => said,
    };
    let place = |number| format!(r#"{{"_placeholder":true,"num":{number}}}"#);
    let mut places: Vec<_> = (0..said).map(place).collect();
    if rng.u8(0..6) == 0 {
        places.push(MISPLACED.to_owned());
    }
    let places = places.join(",");
    let count = pick(rng, COUNTS).replace('N', &said.to_string());
    let namespace = pick(rng, &["", "", "", "", "/,", "/elsewhere,"]);
    let id = pick(rng, &["", "", "7", "12345678901234567890"]);
    let data = match rng.u8(0..12) {
        0 => String::new(),
        1 => "{}".to_owned(),
        _ => format!(r#"["file",{places}]"#),
    };
    let kind = pick(rng, &["45", "45", "45", "46"]);
    let head = format!("{kind}{count}-{namespace}{id}{data}");
    let attachments = (0..sent).map(|_| {
        let length = rng.usize(0..5);
        match rng.u8(0..8) {
            0 => Packet::Text("bAQID".to_owned()),
            _ => Packet::Binary((0..length).map(|_| rng.u8(..)).collect()),
        }
    });
    let mut packets = vec![Packet::Text(head)];
    packets.extend(attachments);
    if rng.u8(0..10) == 0 {
        packets.insert(1, Packet::Text(pick(rng, EVENTS).into()));
    }
    packets
}

fn upgrade(rng: &mut Rng) -> Upgrade {
    let odd = |rng: &mut Rng| match rng.u8(0..8) {
        0 => Packet::Binary(vec![1, 2, 3]),
        _ => Packet::Text(pick(rng, ODD_PROBES).into()),
    };
    match rng.u8(0..20) {
        0..3 => Upgrade::WithPoll,
        3..5 => Upgrade::InOneBreath,
        5..7 => Upgrade::EventBetween,
        7 if rng.bool() => Upgrade::LogoutBetween(any_login(rng)),
        7 => Upgrade::ProbedTwice,
        8 => Upgrade::Pinged,
        9..11 => Upgrade::First(odd(rng)),
        11 => Upgrade::Second(match odd(rng) {
            Packet::Text(text) if text == "5" => Packet::Text("4".into()),
            packet => packet,
        }),
        12 | 13 => Upgrade::Abandoned {
            probed: rng.bool(),
            politely: rng.bool(),
        },
        14 => Upgrade::Twice,
        15 => Upgrade::PostBetween(vec![packet(rng)]),
        _ => Upgrade::Whole,
    }
}

fn request(rng: &mut Rng, transport: Transport) -> Request {
    if transport == Transport::WebSocket {
        return match rng.bool() {
            true => Request::Query("EIO=4&transport=polling"),
            false => Request::Post(pick(rng, POSTS)),
        };
    }
    match rng.u8(0..16) {
        12..15 => Request::Post(pick(rng, POSTS)),
        15 => Request::Chunked,
        0..2 => Request::TwoPolls,
        2 => Request::TwoPosts,
        3 => Request::CancelledPoll,
        4 => Request::Bytes,
        5 => Request::TooLong,
        6 => Request::Method(pick(rng, &["PUT", "DELETE", "PATCH"])),
        _ => Request::Query(pick(rng, QUERIES)),
    }
}

fn pick<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(0..choices.len())]
}
