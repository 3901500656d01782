//! A model of one Redis server: the commands that sockd uses, and the ways in which it refuses and
//! forgets.
//!
//! It speaks RESP3 and runs the real scripts. Time is passed in, and messages to subscribers come out
//! beside the reply, so that the network decides when anyone learns of anything.

mod resp;
mod script;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

pub(crate) use self::resp::{Command, Reply, take_commands};
use self::script::Script;

pub(super) type ConnectionId = usize;

#[derive(Debug, Default)]
pub(super) struct Redis {
    data: BTreeMap<Vec<u8>, Entry>,
    /// Every write of the run, for a replica that lags behind.
    writes: Vec<(Instant, Vec<u8>, Option<Entry>)>,
    scripts: BTreeMap<String, String>,
    subscribers: BTreeMap<Vec<u8>, BTreeSet<ConnectionId>>,
    /// Refuses writes, as a replica does.
    pub(super) is_replica: bool,
    /// Refuses commands that need memory.
    pub(super) is_full: bool,
    /// Refuses to publish, as an ACL can.
    pub(super) is_mute: bool,
    /// What subscribers are about to be sent.
    pub(super) pushes: Vec<(ConnectionId, Vec<u8>)>,
    /// What was stored or published, for the story and the invariants.
    pub(super) deeds: Vec<Deed>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    value: Vec<u8>,
    expires: Option<Instant>,
}

/// What a command has changed or said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deed {
    Stored {
        key: String,
        value: String,
        /// What was there before.
        over: Option<String>,
    },
    Expired {
        key: String,
        value: String,
    },
    Published {
        channel: String,
        message: String,
    },
}

impl Redis {
    /// Runs a command; `None` if all its replies are pushes.
    pub(super) fn run(
        &mut self,
        from: ConnectionId,
        command: &Command,
        now: Instant,
    ) -> Option<Reply> {
        self.expire(now);
        let name = command.first().map(|name| name.to_ascii_uppercase());
        match name.as_deref().unwrap_or_default() {
            b"SUBSCRIBE" => {
                for channel in &command[1..] {
                    self.subscribers
                        .entry(channel.clone())
                        .or_default()
                        .insert(from);
                    self.confirm("subscribe", from, channel);
                }
                None
            }
            b"UNSUBSCRIBE" => {
                for channel in &command[1..] {
                    if let Some(subscribers) = self.subscribers.get_mut(channel) {
                        subscribers.remove(&from);
                    }
                    self.confirm("unsubscribe", from, channel);
                }
                None
            }
            b"HELLO" => Some(Reply::Map(vec![
                ("server", Reply::text("redis")),
                ("version", Reply::text("7.0.0")),
                ("proto", Reply::Integer(3)),
                ("id", Reply::Integer(from as i64)),
                ("mode", Reply::text("standalone")),
                ("role", Reply::text(self.role(["master", "replica"]))),
                ("modules", Reply::List(Vec::new())),
            ])),
            b"ROLE" => Some(Reply::List(vec![Reply::text(
                self.role(["master", "slave"]),
            )])),
            b"CLIENT" => Some(Reply::Ok),
            b"PING" => Some(Reply::text("PONG")),
            b"SCRIPT" => {
                let code = String::from_utf8_lossy(&command[2]).into_owned();
                let hash = redis::Script::new(&code).get_hash().to_owned();
                self.scripts.insert(hash.clone(), code);
                Some(Reply::Text(hash.into_bytes()))
            }
            b"EVALSHA" => Some(script::evaluate(self, command, now)),
            _ => Some(self.execute(command, now, &mut None)),
        }
    }

    fn role(&self, [master, replica]: [&'static str; 2]) -> &'static str {
        if self.is_replica { replica } else { master }
    }

    fn confirm(&mut self, kind: &str, to: ConnectionId, channel: &[u8]) {
        let count = self
            .subscribers
            .values()
            .filter(|subscribers| subscribers.contains(&to))
            .count();
        let mut push = b">3\r\n".to_vec();
        Reply::text(kind).encode(&mut push);
        Reply::Text(channel.to_vec()).encode(&mut push);
        Reply::Integer(count as i64).encode(&mut push);
        self.pushes.push((to, push));
    }

    /// The connection has ended, and with it its subscriptions.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        for subscribers in self.subscribers.values_mut() {
            subscribers.remove(&connection);
        }
    }

    /// What the connection hears.
    pub(super) fn channels_of(&self, connection: ConnectionId) -> Vec<String> {
        let all = self.subscribers.iter();
        let heard = all.filter(|(_, subscribers)| subscribers.contains(&connection));
        heard.map(|(channel, _)| lossy(channel)).collect()
    }

    /// Another program writes or deletes a value without announcing it.
    pub(super) fn put(&mut self, key: &str, value: Option<&str>, now: Instant) {
        self.expire(now);
        let ttl = self
            .data
            .get(key.as_bytes())
            .and_then(|entry| entry.expires);
        if let Some(value) = value {
            self.note_stored(key.as_bytes(), value.as_bytes());
        }
        let entry = value.map(|value| Entry {
            value: value.as_bytes().to_vec(),
            expires: ttl,
        });
        self.write(key.as_bytes(), entry, now);
    }

    /// FLUSHALL by somebody else.
    pub(super) fn flush(&mut self, now: Instant) {
        for key in std::mem::take(&mut self.data).into_keys() {
            self.writes.push((now, key, None));
        }
    }

    /// The process starts again; scripts are not kept.
    pub(super) fn restart(&mut self, keeps_data: bool, now: Instant) {
        self.scripts.clear();
        self.subscribers.clear();
        if !keeps_data {
            self.flush(now);
        }
    }

    /// The replica that takes over: it has not got the last writes.
    pub(super) fn successor(&self, lag: Duration, now: Instant) -> Self {
        let last = now.checked_sub(lag).unwrap_or(now);
        let mut successor = Self::default();
        for (at, key, entry) in self.writes.iter().filter(|(at, ..)| *at <= last) {
            successor.write(key, entry.clone(), *at);
        }
        successor
    }

    /// The text under a key, and how long it is kept.
    pub(super) fn text(&self, key: &str, now: Instant) -> Option<(String, Duration)> {
        let entry = self.entry(key.as_bytes(), now)?;
        let left = entry.expires.map_or(Duration::MAX, |expires| expires - now);
        Some((lossy(&entry.value), left))
    }

    fn entry(&self, key: &[u8], now: Instant) -> Option<&Entry> {
        let entry = self.data.get(key)?;
        let lives = entry.expires.is_none_or(|expires| expires > now);
        lives.then_some(entry)
    }

    fn expire(&mut self, now: Instant) {
        let is_over = |entry: &Entry| entry.expires.is_some_and(|expires| expires <= now);
        let over = self.data.extract_if(.., |_, entry| is_over(entry));
        for (key, entry) in over {
            let (key, value) = (lossy(&key), lossy(&entry.value));
            self.deeds.push(Deed::Expired { key, value });
        }
    }

    fn write(&mut self, key: &[u8], entry: Option<Entry>, now: Instant) {
        self.writes.push((now, key.to_vec(), entry.clone()));
        match entry {
            Some(entry) => self.data.insert(key.to_vec(), entry),
            None => self.data.remove(key),
        };
    }

    fn execute(&mut self, command: &Command, now: Instant, script: &mut Option<Script>) -> Reply {
        let name = String::from_utf8_lossy(&command[0]).to_ascii_uppercase();
        let is_write = matches!(name.as_str(), "SET" | "EXPIRE");
        if is_write {
            if self.is_replica {
                return Reply::error("READONLY You can't write against a read only replica.");
            }
            // As `scriptVerifyOOM` has it: a script that has written may go on.
            let is_full = match script {
                Some(script) => script.was_full && !script.has_written,
                None => self.is_full,
            };
            if is_full && name == "SET" {
                let text = "OOM command not allowed when used memory > 'maxmemory'.";
                return Reply::error(text);
            }
            if let Some(script) = script {
                script.has_written = true;
            }
        }
        match name.as_str() {
            "GET" => match self.entry(&command[1], now) {
                Some(entry) => Reply::Text(entry.value.clone()),
                None => Reply::Null,
            },
            "TTL" => Reply::Integer(match self.entry(&command[1], now) {
                None => -2,
                Some(Entry { expires: None, .. }) => -1,
                Some(Entry {
                    expires: Some(expires),
                    ..
                }) => (*expires - now).as_secs_f64().round() as i64,
            }),
            "SET" => self.set(command, now),
            "EXPIRE" => {
                let Some(mut entry) = self.entry(&command[1], now).cloned() else {
                    return Reply::Integer(0);
                };
                entry.expires = Some(now + seconds(&command[2]));
                self.write(&command[1], Some(entry), now);
                Reply::Integer(1)
            }
            "PUBLISH" if self.is_mute => Reply::error("NOPERM No permissions to access a channel"),
            "PUBLISH" => {
                let [_, channel, message] = command.as_slice() else {
                    return Reply::error("ERR wrong number of arguments for 'publish' command");
                };
                let subscribers = self.subscribers.get(channel).cloned().unwrap_or_default();
                for to in &subscribers {
                    let mut push = b">3\r\n".to_vec();
                    Reply::text("message").encode(&mut push);
                    Reply::Text(channel.clone()).encode(&mut push);
                    Reply::Text(message.clone()).encode(&mut push);
                    self.pushes.push((*to, push));
                }
                let (channel, message) = (lossy(channel), lossy(message));
                self.deeds.push(Deed::Published { channel, message });
                Reply::Integer(subscribers.len() as i64)
            }
            // What sockd sends must be modelled.
            _ => panic!("the model of Redis does not know {name}"),
        }
    }

    fn set(&mut self, command: &Command, now: Instant) -> Reply {
        let [_, key, value, options @ ..] = command.as_slice() else {
            return Reply::error("ERR wrong number of arguments for 'set' command");
        };
        let mut expires = None;
        let mut options = options.iter();
        while let Some(option) = options.next() {
            let exists = self.entry(key, now).is_some();
            match option.to_ascii_uppercase().as_slice() {
                b"EX" => {
                    let ttl = options.next().map(|ttl| seconds(ttl)).unwrap_or_default();
                    expires = Some(now + ttl);
                }
                b"NX" if exists => return Reply::Null,
                b"XX" if !exists => return Reply::Null,
                b"NX" | b"XX" => {}
                _ => return Reply::error("ERR syntax error"),
            }
        }
        let entry = Entry {
            value: value.clone(),
            expires,
        };
        self.note_stored(key, value);
        self.write(key, Some(entry), now);
        Reply::Ok
    }

    fn note_stored(&mut self, key: &[u8], value: &[u8]) {
        let over = self.data.get(key).map(|entry| lossy(&entry.value));
        let (key, value) = (lossy(key), lossy(value));
        self.deeds.push(Deed::Stored { key, value, over });
    }
}

fn seconds(text: &[u8]) -> Duration {
    let seconds = lossy(text).parse().expect("a number of seconds");
    Duration::from_secs(seconds)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
