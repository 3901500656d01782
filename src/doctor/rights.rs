//! What the ACL of Redis lets sockd do, found out by trying it on a key and channels of our own.

use std::fmt;

use ::redis::{Cmd, RedisError, RedisResult, Value, cmd};

use super::{Finding, Verdict, link::refusal};
use crate::{
    bus::redis::Subscriber,
    redis::{
        Connection,
        grants::Grants,
        names::ChannelNames,
        refusal::{Refusal, said},
    },
};

/// What the ACL forbids, and what is refused for other reasons.
#[derive(Debug, Default)]
pub(super) struct Rights {
    /// Rules of the ACL, such as `+expire`; each once.
    missing: Vec<String>,
    /// Commands that Redis does not know.
    unknown: Vec<String>,
    /// What to do about the first unknown command.
    remedy: Option<String>,
    /// The first error that is not about permissions, such as from a full or read-only Redis.
    refused: Option<RedisError>,
    /// Whether any command got past its own rule to that of the keys, and to that of the channels.
    reached: [bool; 2],
}

/// The names to try everything with; no user or node has them.
#[derive(Debug)]
pub(super) struct Trial {
    key: String,
    /// A user's channel and a node's own; both are published to and subscribed to.
    channels: [String; 2],
    /// The channel of all nodes, which is only subscribed to, so that the nodes receive nothing.
    all: String,
}

/// A key that could not be deleted expires after so many seconds.
const KEY_TTL: u64 = 10;
/// No script has this digest; calling it shows whether scripts may be run.
const NO_SCRIPT: &str = "0000000000000000000000000000000000000000";
/// Redis fails to compile this, so that nothing stays in its cache.
const BROKEN_SCRIPT: &str = "(";

impl Trial {
    pub(super) fn new(names: &ChannelNames, key_prefix: &str) -> Self {
        let id = uuid::Uuid::new_v4();
        // Ids have no control characters, whatever their format.
        let name = format!("\u{1}doctor:{id}");
        Self {
            key: format!("{key_prefix}{name}"),
            channels: [names.user(&name), names.node(&name)],
            all: names.all().to_owned(),
        }
    }

    /// The channel that events of a user would take.
    pub(super) fn channel(&self) -> &str {
        &self.channels[0]
    }

    /// Tries everything that a server does, and removes what it writes.
    pub(super) async fn try_server(
        &self,
        commands: &mut Connection,
        subscriber: &mut Subscriber,
        grants: &Grants,
    ) -> Rights {
        let mut rights = Rights::default();
        let key = &self.key;
        let tries = [
            ("+ping", cmd("PING")),
            ("+get", with("GET", &[key])),
            (
                "+set",
                with("SET", &[key, "null", "EX", &KEY_TTL.to_string()]),
            ),
            ("+expire", with("EXPIRE", &[key, &KEY_TTL.to_string()])),
            ("+evalsha", with("EVALSHA", &[NO_SCRIPT, "1", key])),
            ("+script|load", with("SCRIPT", &["LOAD", BROKEN_SCRIPT])),
        ];
        for (rule, command) in tries {
            let answer = command.query_async::<Value>(commands).await;
            rights.note(rule, answer.map(drop), grants);
        }
        self.clean_up(commands).await;
        let [publish, subscribe, unsubscribe] = if commands.is_cluster() {
            ["+spublish", "+ssubscribe", "+sunsubscribe"]
        } else {
            ["+publish", "+subscribe", "+unsubscribe"]
        };
        for channel in &self.channels {
            let answer = commands.publish(channel, "").await;
            rights.note(publish, answer.map(drop), grants);
        }
        for channel in self.channels.iter().chain([&self.all]) {
            let channel = std::slice::from_ref(channel);
            let heard = refusal(subscriber.subscribe(channel).await);
            rights.note(subscribe, heard, grants);
            let left = refusal(subscriber.unsubscribe(channel).await);
            rights.note(unsubscribe, left, grants);
        }
        let patterns = [&grants.keys, &grants.channels];
        for (pattern, reached) in patterns.into_iter().zip(rights.reached) {
            if !reached {
                // Whether it is granted is not known yet, and granting it twice does no harm.
                rights.add_missing(pattern);
            }
        }
        rights
    }

    /// Tries what only the operator's commands need.
    pub(super) async fn try_operator(
        &self,
        commands: &mut Connection,
        master: &mut Connection,
        grants: &Grants,
    ) -> Rights {
        let mut rights = Rights::default();
        let key = &self.key;
        let scan = with("SCAN", &["0", "MATCH", key, "COUNT", "1"]);
        for (rule, command) in [("+scan", scan), ("+dbsize", cmd("DBSIZE"))] {
            let answer = command.query_async::<Value>(master).await;
            rights.note(rule, answer.map(drop), grants);
        }
        let answer = with("TTL", &[key]).query_async::<Value>(commands).await;
        rights.note("+ttl", answer.map(drop), grants);
        let numsub = if commands.is_cluster() {
            "+pubsub|shardnumsub"
        } else {
            "+pubsub|numsub"
        };
        let channel = [self.channel().to_owned()];
        let answer = commands.subscribers(&channel).await;
        rights.note(numsub, answer.map(drop), grants);
        rights
    }

    /// Deletes the key with one of the commands that a server may use.
    async fn clean_up(&self, commands: &mut Connection) {
        let key = &self.key;
        let ways = [
            with("EXPIRE", &[key, "0"]),
            with("SET", &[key, "null", "XX", "PX", "1"]),
        ];
        for way in ways {
            // If both are refused, there is probably no key, and it would expire soon.
            if way.query_async::<Value>(commands).await.is_ok() {
                return;
            }
        }
    }
}

impl Rights {
    fn note(&mut self, rule: &str, answer: RedisResult<()>, grants: &Grants) {
        let refusal = answer.as_ref().err().and_then(Refusal::of);
        match &refusal {
            Some(Refusal::Command(_)) => return self.add_missing(rule),
            Some(Refusal::Unknown(command)) => {
                // Redis names it without its subcommand.
                let command = command
                    .as_deref()
                    .unwrap_or(&rule[1..])
                    .to_ascii_uppercase();
                let remedy = refusal
                    .as_ref()
                    .map(|refusal| refusal.remedy(grants).into_owned());
                self.remedy = self.remedy.take().or(remedy);
                if !self.unknown.contains(&command) {
                    self.unknown.push(command);
                }
                return;
            }
            _ => {}
        }
        match rule {
            "+get" | "+set" | "+expire" | "+evalsha" => self.reached[0] = true,
            "+publish" | "+spublish" | "+subscribe" | "+ssubscribe" => self.reached[1] = true,
            _ => {}
        }
        match (refusal, answer) {
            (Some(Refusal::Keys), _) => self.add_missing(&grants.keys),
            (Some(Refusal::Channels), _) => self.add_missing(&grants.channels),
            (_, Err(error)) if !is_wanted(&error) => {
                self.refused.get_or_insert(error);
            }
            _ => {}
        }
    }

    fn add_missing(&mut self, rule: &str) {
        if !self.missing.iter().any(|known| known == rule) {
            self.missing.push(rule.to_owned());
        }
    }

    /// What the ACL lets a server do.
    pub(super) fn of_server(&self, grants: &Grants) -> Finding {
        if let Some(finding) = self.of_unknown("rights", Verdict::Fail) {
            return finding;
        }
        if self.missing.is_empty() {
            let found = format!(
                "user {} may do everything that a server does, on {} and {}",
                grants.user, grants.keys, grants.channels
            );
            return Finding::ok("rights", found);
        }
        let rules = self.missing.join(" ");
        let found = format!("user {} lacks {rules}", grants.user);
        Finding::fail("rights", found, grants.command(&rules))
    }

    /// The finding for missing commands; missing permissions are reported once the commands exist.
    fn of_unknown(&self, check: &'static str, verdict: Verdict) -> Option<Finding> {
        let remedy = self.remedy.as_ref()?;
        let found = format!("Redis does not know {}", self.unknown.join(", "));
        Some(Finding::of(verdict, check, found, remedy))
    }

    /// What the ACL lets `sockd sessions ls` do.
    pub(super) fn of_operator(&self, grants: &Grants) -> Finding {
        if let Some(finding) = self.of_unknown("operator", Verdict::Warn) {
            return finding;
        }
        if self.missing.is_empty() {
            return Finding::ok("operator", "`sockd sessions ls` may list the sessions");
        }
        let rules = self.missing.join(" ");
        let found = format!(
            "user {} lacks {rules}, which `sockd sessions ls` needs",
            grants.user
        );
        let remedy = format!("{}; or do without that command", grants.command(&rules));
        Finding::warn("operator", found, remedy)
    }

    /// Whether Redis accepts writes, as far as the ACL let us try.
    pub(super) fn of_writes(&self, grants: &Grants) -> Finding {
        let Some(error) = &self.refused else {
            let is_missing = self.missing.iter().any(|rule| rule == "+set")
                || self.unknown.iter().any(|command| command == "SET");
            return match is_missing {
                false => Finding::ok("writes", "a key was written and deleted again"),
                true => Finding::warn("writes", "could not be tried", "grant the rights first"),
            };
        };
        let refusal = Refusal::of(error);
        let remedy = refusal.map_or_else(
            || "check that it is Redis 6.2 or newer, or Valkey, and its log".into(),
            |refusal| refusal.remedy(grants),
        );
        Finding::fail("writes", said(error), remedy)
    }
}

/// Whether the error shows that a try got as far as it should.
fn is_wanted(error: &RedisError) -> bool {
    error.code() == Some("NOSCRIPT") || said(error).contains("compiling script")
}

fn with(name: &str, arguments: &[impl fmt::Display]) -> Cmd {
    let mut command = cmd(name);
    for argument in arguments {
        command.arg(argument.to_string());
    }
    command
}
