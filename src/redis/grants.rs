//! The ACL rules that sockd needs in Redis.

use ::redis::RedisError;

use super::refusal::{Refusal, said};
use crate::config;

/// The ACL rules that cover all of sockd's own keys and channels, and the user that needs them.
#[derive(Debug, Clone)]
pub struct Grants {
    pub user: String,
    /// `~socket:active_session:*`
    pub keys: String,
    /// `&sockd:*`
    pub channels: String,
    pub(super) in_cluster: bool,
}

impl Grants {
    pub fn new(redis: &config::Redis, key_prefix: &str) -> Self {
        Self {
            user: redis.username.clone().unwrap_or("default".to_owned()),
            keys: format!("~{}*", escape_glob(key_prefix)),
            channels: format!("&{}*", escape_glob(&redis.channel_prefix)),
            in_cluster: redis.topology.is_cluster(),
        }
    }

    /// The command with which an administrator of Redis grants the rules.
    pub fn command(&self, rules: &str) -> String {
        format!("ACL SETUSER {} {rules}", self.user)
    }

    /// The error, and what to do about it.
    pub fn explain(&self, error: &RedisError) -> String {
        match Refusal::of(error) {
            Some(refusal) => {
                let said = said(error);
                format!("{}; {}", said.trim_end_matches('.'), refusal.remedy(self))
            }
            None if error.is_timeout() => "Redis did not answer in time".to_owned(),
            None => said(error),
        }
    }
}

/// Escapes the text so that, as a glob pattern of Redis, it matches only itself.
pub fn escape_glob(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_timeout_is_explained_in_plain_words() {
        let grants = Grants {
            user: "default".to_owned(),
            keys: String::new(),
            channels: String::new(),
            in_cluster: false,
        };
        let silence = io::Error::from(io::ErrorKind::TimedOut);
        let told = grants.explain(&silence.into());
        assert_eq!(told, "Redis did not answer in time");
    }

    #[test]
    fn a_prefix_with_glob_characters_matches_only_itself() {
        assert_eq!(escape_glob(r"a*[b]?\:"), r"a\*\[b\]\?\\:");
        assert_eq!(escape_glob("socket:active:"), "socket:active:");
    }
}
