//! A network between sockd and Redis that the test can spoil.

use std::{io, net::SocketAddr, time::Duration};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::sleep,
};

use super::redis::Redis;

/// A TCP proxy to a Redis; gone when dropped.
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    target: watch::Sender<u16>,
    accepting: AbortHandle,
}

/// What happens to the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Fair,
    /// Every chunk of bytes arrives this much later.
    Slow(Duration),
    /// Connections are reset, new ones too.
    Cut,
    /// Connections stay open and are accepted, and pass nothing from now on. One that has lost
    /// bytes passes nothing ever after, as behind a firewall that has forgotten it.
    Blackhole(Which, Direction),
    /// Connections pass nothing for now, and all of it later.
    Held(Which, Direction),
}

/// Which connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    All,
    /// Those that have sent SUBSCRIBE.
    Subscribers,
    /// Those that have not.
    Commands,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Both,
    ToRedis,
    FromRedis,
}

impl Which {
    fn hits(self, subscribes: bool) -> bool {
        match self {
            Self::All => true,
            Self::Subscribers => subscribes,
            Self::Commands => !subscribes,
        }
    }
}

impl Direction {
    fn covers(self, way: Self) -> bool {
        self == Self::Both || self == way
    }
}

impl Proxy {
    pub async fn start(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let weather = watch::Sender::new(Weather::Fair);
        let target = watch::Sender::new(redis.port);
        let accepting = tokio::spawn(accept(listener, weather.clone(), target.subscribe()));
        Self {
            address,
            weather,
            target,
            accepting: accepting.abort_handle(),
        }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on, on all connections.
    pub fn turn(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// New connections go to this Redis.
    pub fn lead_to(&self, redis: &Redis) {
        self.target.send_replace(redis.port);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    weather: watch::Sender<Weather>,
    target: watch::Receiver<u16>,
) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let target = *target.borrow();
        connections.spawn(pass(client, target, weather.subscribe()));
    }
}

/// Carries one connection to its end.
async fn pass(mut client: TcpStream, target: u16, weather: watch::Receiver<Weather>) {
    let mut storm = weather.clone();
    let cut = storm.wait_for(|weather| *weather == Weather::Cut);
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await else {
        return reset(&client);
    };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let subscribes = watch::Sender::new(false);
    let flow = |way| Flow {
        way,
        weather: weather.clone(),
        subscribes: subscribes.clone(),
        lost: false,
    };
    let (mut to_redis, mut from_redis) = (flow(Direction::ToRedis), flow(Direction::FromRedis));
    let (mut client_reader, mut client_writer) = client.split();
    let (mut server_reader, mut server_writer) = server.split();
    let was_cut = tokio::select! {
        _ = cut => true,
        _ = to_redis.pump(&mut client_reader, &mut server_writer) => false,
        _ = from_redis.pump(&mut server_reader, &mut client_writer) => false,
    };
    if was_cut {
        reset(&client);
        reset(&server);
    }
}

/// Lets the drop of the connection be a reset, and not an orderly end.
fn reset(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).ok();
}

/// The bytes of one connection in one direction.
struct Flow {
    way: Direction,
    weather: watch::Receiver<Weather>,
    subscribes: watch::Sender<bool>,
    /// Bytes were lost, so that no later ones can make sense.
    lost: bool,
}

impl Flow {
    /// Passes bytes on until one side ends.
    async fn pump(
        &mut self,
        from: &mut ReadHalf<'_>,
        to: &mut WriteHalf<'_>,
    ) -> Result<(), io::Error> {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            let count = from.read(&mut chunk).await?;
            if count == 0 {
                // A lost packet may be the one that says that the connection is over.
                if self.loses() {
                    std::future::pending::<()>().await;
                }
                return Ok(());
            }
            let bytes = &chunk[..count];
            if self.way == Direction::ToRedis && bytes.windows(9).any(|word| word == b"SUBSCRIBE") {
                self.subscribes.send_replace(true);
            }
            if self.loses() {
                continue;
            }
            let (subscribes, way) = (self.subscribes.subscribe(), self.way);
            let is_held = |weather: &Weather| match *weather {
                Weather::Held(which, held) => which.hits(*subscribes.borrow()) && held.covers(way),
                _ => false,
            };
            self.weather
                .wait_for(|weather| !is_held(weather))
                .await
                .ok();
            let weather = *self.weather.borrow();
            if let Weather::Slow(delay) = weather {
                sleep(delay).await;
            }
            to.write_all(bytes).await?;
        }
    }

    fn loses(&mut self) -> bool {
        if let Weather::Blackhole(which, way) = *self.weather.borrow() {
            self.lost |= which.hits(*self.subscribes.borrow()) && way.covers(self.way);
        }
        self.lost
    }
}
