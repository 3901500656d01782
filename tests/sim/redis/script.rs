//! Scripts, run by Lua as Redis runs them.

use std::{cell::RefCell, collections::BTreeMap};

use mlua::{Function, Lua, MultiValue, Table, Value as LuaValue};
use tokio::time::Instant;

use super::{Command, Redis, Reply, lossy};

/// What a command has to know of the script that runs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Script {
    /// Redis judges a script by its state when the script begins.
    pub(super) was_full: bool,
    pub(super) has_written: bool,
}

/// EVALSHA.
pub(super) fn evaluate(redis: &mut Redis, command: &Command, now: Instant) -> Reply {
    let hash = lossy(&command[1]);
    let Some(code) = redis.scripts.get(&hash).cloned() else {
        return Reply::error("NOSCRIPT No matching script. Please use EVAL.");
    };
    let keys: usize = lossy(&command[2]).parse().unwrap_or_default();
    let (keys, arguments) = command[3..].split_at(keys);
    ENGINE.with_borrow_mut(|engine| engine.run(&hash, &code, keys, arguments, redis, now))
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
