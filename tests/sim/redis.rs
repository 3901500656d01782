//! A model of Redis: what sockd uses of it, with the ways in which it refuses and forgets.
//!
//! It speaks RESP3 and runs the real scripts. Time is passed in, and messages to subscribers come out
//! beside the reply, so that the network decides when anyone learns of anything.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mlua::{Function, Lua, MultiValue, Table, Value as LuaValue};
use tokio::time::Instant;

pub(super) type ConnectionId = usize;
pub(super) type Command = Vec<Vec<u8>>;

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
    Stored(String, String),
    Published(String, String),
}

#[derive(Debug, Clone)]
pub(super) enum Reply {
    Ok,
    Error(String),
    Integer(i64),
    Text(Vec<u8>),
    Null,
    List(Vec<Reply>),
    Map(Vec<(&'static str, Reply)>),
}

/// Who runs a command: a script has to be told apart, because Redis judges it as it begins.
#[derive(Debug, Clone, Copy)]
struct Script {
    was_full: bool,
    has_written: bool,
}

impl Redis {
    /// Runs a command; `None` if all its replies are pushes.
    pub(super) fn run(
        &mut self,
        from: ConnectionId,
        command: &Command,
        now: Instant,
    ) -> Option<Reply> {
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
            b"EVALSHA" => Some(self.evaluate(command, now)),
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

    /// A replica takes over that has not got the last writes.
    pub(super) fn fail_over(&mut self, lag: Duration, now: Instant) {
        self.restart(true, now);
        self.data.clear();
        let last = now.checked_sub(lag).unwrap_or(now);
        self.writes.retain(|(at, ..)| *at <= last);
        for (_, key, entry) in &self.writes {
            match entry {
                Some(entry) => self.data.insert(key.clone(), entry.clone()),
                None => self.data.remove(key),
            };
        }
    }

    /// The text under a key.
    pub(super) fn text(&self, key: &str, now: Instant) -> Option<String> {
        let value = &self.entry(key.as_bytes(), now)?.value;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    fn entry(&self, key: &[u8], now: Instant) -> Option<&Entry> {
        let entry = self.data.get(key)?;
        let lives = entry.expires.is_none_or(|expires| expires > now);
        lives.then_some(entry)
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
        let is_write = matches!(name.as_str(), "SET" | "EXPIRE" | "DEL");
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
                self.deeds
                    .push(Deed::Published(lossy(channel), lossy(message)));
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
        self.write(key, Some(entry), now);
        self.deeds.push(Deed::Stored(lossy(key), lossy(value)));
        Reply::Ok
    }

    fn evaluate(&mut self, command: &Command, now: Instant) -> Reply {
        let hash = lossy(&command[1]);
        let Some(code) = self.scripts.get(&hash).cloned() else {
            return Reply::error("NOSCRIPT No matching script. Please use EVAL.");
        };
        let keys: usize = lossy(&command[2]).parse().unwrap_or_default();
        let (keys, arguments) = command[3..].split_at(keys);
        ENGINE.with_borrow_mut(|engine| engine.run(&hash, &code, keys, arguments, self, now))
    }
}

thread_local! {
    static ENGINE: RefCell<Engine> = RefCell::new(Engine {
        lua: Lua::new(),
        compiled: BTreeMap::new(),
    });
}

/// Lua, with the scripts that were loaded.
struct Engine {
    lua: Lua,
    compiled: BTreeMap<String, Function>,
}

impl Engine {
    fn run(
        &mut self,
        hash: &str,
        code: &str,
        keys: &[Vec<u8>],
        arguments: &[Vec<u8>],
        redis: &mut Redis,
        now: Instant,
    ) -> Reply {
        let lua = &self.lua;
        let function = self.compiled.entry(hash.to_owned()).or_insert_with(|| {
            let compiled = lua.load(code).into_function();
            compiled.expect("the script can be compiled")
        });
        let script = Some(Script {
            was_full: redis.is_full,
            has_written: false,
        });
        let running = RefCell::new((redis, script));
        let call = |arguments: MultiValue| -> Reply {
            let (redis, script) = &mut *running.borrow_mut();
            let text = |value: &LuaValue| match value {
                LuaValue::String(text) => text.as_bytes().to_vec(),
                LuaValue::Number(number) => number.to_string().into_bytes(),
                other => panic!("a command of a script holds {other:?}"),
            };
            redis.execute(&arguments.iter().map(text).collect(), now, script)
        };
        let result: mlua::Result<LuaValue> = lua.scope(|scope| {
            let list = |items: &[Vec<u8>]| {
                lua.create_sequence_from(items.iter().map(|item| lua.create_string(item).unwrap()))
            };
            let globals = lua.globals();
            globals.set("KEYS", list(keys)?)?;
            globals.set("ARGV", list(arguments)?)?;
            let library = lua.create_table()?;
            // An error of `redis.call` ends the script, and is what the caller gets.
            let raise =
                scope.create_function(|_, arguments: MultiValue| match call(arguments) {
                    Reply::Error(text) => Err(mlua::Error::RuntimeError(text)),
                    reply => reply.to_lua(lua),
                })?;
            library.set("call", raise)?;
            let give =
                scope.create_function(|_, arguments: MultiValue| call(arguments).to_lua(lua))?;
            library.set("pcall", give)?;
            globals.set("redis", library)?;
            function.call(())
        });
        match result {
            Ok(value) => Reply::from_lua(&value),
            Err(error) => {
                let mut cause = &error;
                while let mlua::Error::CallbackError { cause: inner, .. } = cause {
                    cause = inner;
                }
                match cause {
                    mlua::Error::RuntimeError(text) => Reply::error(text),
                    other => panic!("a script has failed: {other}"),
                }
            }
        }
    }
}

impl Reply {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.as_bytes().to_vec())
    }

    pub(super) fn error(text: &str) -> Self {
        Self::Error(text.to_owned())
    }

    /// As RESP3.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let line = |out: &mut Vec<u8>, kind: char, text: &str| {
            out.extend_from_slice(format!("{kind}{text}\r\n").as_bytes());
        };
        match self {
            Self::Ok => line(out, '+', "OK"),
            Self::Error(text) => line(out, '-', text),
            Self::Integer(number) => line(out, ':', &number.to_string()),
            Self::Text(text) => {
                line(out, '$', &text.len().to_string());
                out.extend_from_slice(text);
                out.extend_from_slice(b"\r\n");
            }
            Self::Null => line(out, '_', ""),
            Self::List(items) => {
                line(out, '*', &items.len().to_string());
                items.iter().for_each(|item| item.encode(out));
            }
            Self::Map(entries) => {
                line(out, '%', &entries.len().to_string());
                for (key, value) in entries {
                    Self::text(key).encode(out);
                    value.encode(out);
                }
            }
        }
    }

    fn to_lua(&self, lua: &Lua) -> mlua::Result<LuaValue> {
        let table = |key: &str, text: &str| {
            let table = lua.create_table()?;
            table.set(key, text)?;
            Ok(LuaValue::Table(table))
        };
        match self {
            Self::Ok => table("ok", "OK"),
            Self::Error(text) => table("err", text),
            Self::Integer(number) => Ok(LuaValue::Number(*number as f64)),
            Self::Text(text) => Ok(LuaValue::String(lua.create_string(text)?)),
            Self::Null => Ok(LuaValue::Boolean(false)),
            Self::List(_) | Self::Map(_) => panic!("no script asks for a list"),
        }
    }

    fn from_lua(value: &LuaValue) -> Self {
        match value {
            LuaValue::Nil | LuaValue::Boolean(false) => Self::Null,
            LuaValue::Boolean(true) => Self::Integer(1),
            LuaValue::Integer(number) => Self::Integer(*number),
            LuaValue::Number(number) => Self::Integer(*number as i64),
            LuaValue::String(text) => Self::Text(text.as_bytes().to_vec()),
            LuaValue::Table(table) => Self::from_table(table),
            other => panic!("a script returns {other:?}"),
        }
    }

    fn from_table(table: &Table) -> Self {
        if let Ok(text) = table.get::<String>("err") {
            return Self::Error(text);
        }
        if table.contains_key("ok").unwrap_or(false) {
            return Self::Ok;
        }
        let items = table.sequence_values::<LuaValue>();
        Self::List(items.flatten().map(|item| Self::from_lua(&item)).collect())
    }
}

/// Takes the complete commands from the start of the bytes.
pub(super) fn take_commands(bytes: &mut Vec<u8>) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut taken = 0;
    while let Some((command, length)) = parse(&bytes[taken..]) {
        commands.push(command);
        taken += length;
    }
    bytes.drain(..taken);
    commands
}

/// The first command, and how many bytes it is long.
fn parse(bytes: &[u8]) -> Option<(Command, usize)> {
    let mut at = 0;
    let number = |kind: u8, at: &mut usize| -> Option<usize> {
        let end = bytes[*at..].windows(2).position(|two| two == b"\r\n")? + *at;
        assert_eq!(bytes[*at], kind, "not a command");
        let number = std::str::from_utf8(&bytes[*at + 1..end]).ok()?.parse().ok();
        *at = end + 2;
        number
    };
    let count = number(b'*', &mut at)?;
    let mut command = Vec::with_capacity(count);
    for _ in 0..count {
        let length = number(b'$', &mut at)?;
        command.push(bytes.get(at..at + length)?.to_vec());
        at += length + 2;
    }
    (at <= bytes.len()).then_some((command, at))
}

fn seconds(text: &[u8]) -> Duration {
    let seconds = lossy(text).parse().expect("a number of seconds");
    Duration::from_secs(seconds)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
