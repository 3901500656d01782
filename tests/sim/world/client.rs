//! A client, from its handshake to its end, and how it comes back.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sockd::{
    hub::{About, Farewell, Outlet},
    node::{DECISION_LIMIT, Node},
    wire::Event,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::{World, key, session_id, user_id};
use crate::story::{Socket, Story, session_of};

/// The port of the first client.
pub(super) const FIRST_PORT: u16 = 1_000;

pub(super) struct Client {
    user: usize,
    session: usize,
    place: usize,
    /// Comes back when its node has gone.
    faithful: bool,
    socket: usize,
    /// It has left by itself, was refused, or told to go: it does not come back.
    done: Arc<AtomicBool>,
    gone: Arc<Notify>,
}

impl Client {
    pub(super) fn leave(&self) {
        self.done.store(true, Ordering::Relaxed);
        self.gone.notify_one();
    }
}

/// Where a client hears what its node says.
pub(super) struct Recorder {
    socket: usize,
    story: Story,
    dismissed: Notify,
}

impl Recorder {
    pub(super) fn new(socket: usize, story: &Story) -> Arc<Self> {
        Arc::new(Self {
            socket,
            story: story.clone(),
            dismissed: Notify::new(),
        })
    }
}

impl Outlet for Recorder {
    fn send(&self, event: &Event) -> bool {
        let number = str::from_utf8(event.payload()).expect("JSON is UTF-8");
        let number = number.parse().expect("a number");
        let mut told = self.story.told();
        told.say(
            format_args!("client {}", self.socket),
            format_args!("gets event {number}"),
        );
        let received = (Instant::now(), number);
        told.sockets[self.socket].received.push(received);
        true
    }

    fn overrun(&self) {
        let wrong = format!("client {} lost events that had to wait", self.socket);
        self.story.told().wrongs.push(wrong);
    }

    fn dismiss(&self, farewell: &Farewell) -> bool {
        let mut told = self.story.told();
        told.say(
            format_args!("client {}", self.socket),
            format_args!("is dismissed: {farewell:?}"),
        );
        let ended = &mut told.sockets[self.socket].ended;
        let was_connected = ended.is_none();
        ended.get_or_insert(Instant::now());
        self.dismissed.notify_one();
        was_connected
    }

    fn about(&self) -> Option<About> {
        let told = self.story.told();
        let socket = &told.sockets[self.socket];
        let number = u16::try_from(self.socket).expect("there are few clients");
        let address = SocketAddr::from(([127, 0, 0, 1], FIRST_PORT + number));
        socket.ended.is_none().then(|| About {
            transport: "websocket",
            address: Some(address.into()),
            age: socket.began.elapsed(),
        })
    }
}

impl World {
    pub(super) fn connect(
        self: &Arc<Self>,
        user: usize,
        session: usize,
        place: usize,
        faithful: bool,
    ) {
        let process = self.process(place);
        let number = process.number;
        let socket = self.new_socket(user, session, number);
        self.story.say(
            format_args!("client {socket}"),
            format_args!("of u{user} comes to node {number} with s{session}"),
        );
        let (done, gone) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        self.clients().push(Client {
            user,
            session,
            place,
            faithful,
            socket,
            done: done.clone(),
            gone: gone.clone(),
        });
        let slow = Duration::from_millis(self.rng().u64(0..20));
        let world = self.clone();
        let node = process.node.clone();
        process.spawn(async move {
            let client = format!("client {socket}");
            let session = world.handshake(socket, &node, user, session, slow);
            tokio::select! {
                biased;
                why = session => {
                    done.store(true, Ordering::Relaxed);
                    world.story.say(&client, why);
                }
                () = gone.notified() => world.story.say(&client, "goes"),
            }
            let mut told = world.story.told();
            told.sockets[socket].ended.get_or_insert(Instant::now());
        });
    }

    pub(super) fn new_socket(&self, user: usize, session: usize, node: usize) -> usize {
        let mut told = self.story.told();
        told.sockets.push(Socket {
            user,
            session,
            node,
            began: Instant::now(),
            admitted: None,
            left: None,
            live: None,
            ended: None,
            received: Vec::new(),
        });
        told.sockets.len() - 1
    }

    /// Follows one socket to its end; returns why it ended.
    async fn handshake(
        &self,
        socket: usize,
        node: &Node,
        user: usize,
        session: usize,
        slow: Duration,
    ) -> String {
        let recorder = Recorder::new(socket, &self.story);
        let (user, session) = (user_id(user), session_id(session));
        let deadline = Instant::now() + DECISION_LIMIT;
        let admitted = match node
            .admit(&user, &session, recorder.clone(), deadline, None)
            .await
        {
            Ok(admitted) => admitted,
            Err(refusal) => return format!("is refused: {refusal}"),
        };
        self.note_admitted(socket);
        sleep(slow).await;
        {
            let mut told = self.story.told();
            told.sockets[socket].live = Some(Instant::now());
            told.say(format_args!("client {socket}"), "is in");
        }
        if let Err(farewell) = admitted.activate() {
            self.story.told().sockets[socket].live = None;
            return format!("has to go at once: {farewell:?}");
        }
        recorder.dismissed.notified().await;
        sleep(slow).await;
        "is gone".to_owned()
    }

    fn note_admitted(&self, number: usize) {
        let now = Instant::now();
        let user = self.story.told().sockets[number].user;
        let stored = self.network.inner().redis().text(&key(user), now);
        let socket = &mut self.story.told().sockets[number];
        socket.admitted = Some(now);
        let own = stored.filter(|(text, _)| session_of(text) == Some(socket.session));
        socket.left = own.map(|(_, left)| left);
    }

    /// The connections at this place are closed. Faithful clients find another.
    pub(super) fn close_connections(self: &Arc<Self>, place: usize) {
        let mut left = Vec::new();
        for client in self.clients().iter() {
            if client.place == place && !client.done.swap(true, Ordering::Relaxed) {
                client.gone.notify_one();
                if client.faithful {
                    left.push((client.user, client.session, client.socket));
                }
            }
        }
        let places = self.processes().len();
        for (user, session, socket) in left {
            let pause = Duration::from_millis(self.rng().u64(1..800));
            // If it is not the only one.
            let elsewhere = (place + self.rng().usize(1..places.max(2))) % places;
            let world = self.clone();
            tokio::spawn(async move {
                sleep(pause).await;
                let client = format!("client {socket}");
                world.story.say(client, "comes back as another");
                world.connect(user, session, elsewhere, true);
            });
        }
    }
}
