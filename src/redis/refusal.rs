//! Why Redis refuses, by its error texts, and what an operator can do about it.
//!
//! The texts are those of Redis 6.2 to 7.4 and of Valkey, which name the same refusals in different
//! words; the errors of TLS are those of rustls.

use std::borrow::Cow;

use ::redis::RedisError;

use super::grants::Grants;

/// Why Redis, or the connection to it, refuses; one variant per remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The ACL does not let the user run a command; older versions do not say which.
    Command(Option<String>),
    /// The ACL does not let the user touch the key.
    Keys,
    /// The ACL does not let the user publish or subscribe to the channel.
    Channels,
    /// There is no such user, or it has another password.
    Password,
    /// A password is required and none was given.
    NoPassword,
    ReadOnly,
    Full,
    Unsaved,
    TooFewReplicas,
    Loading,
    MasterDown,
    NoSuchDatabase,
    /// TLS: the certificate is signed by an authority that is not trusted.
    UnknownAuthority,
    /// TLS: the certificate is for another name.
    OtherName,
    /// TLS: a client certificate is required, or a different one.
    ClientCertificate,
    NotTls,
    /// TLS: the certificate is invalid for another reason, such as expiry.
    BadCertificate,
    /// TLS: the other end closed the connection during the handshake.
    HungUpInTls,
    /// The command does not exist or was renamed; errors from scripts do not name it.
    Unknown(Option<String>),
    /// No RESP3, which came with Redis 6: an older Redis, or a proxy in front of it.
    NoResp3,
    /// `maxclients` is reached.
    TooManyClients,
    /// Protected mode: only loopback connections are accepted.
    Protected,
    /// A Cluster node does not serve the slot, or no node does.
    Slots,
    /// Cluster mode is off.
    NoCluster,
    /// It is a Sentinel.
    Sentinel,
    /// Something else listens there, such as an HTTP server.
    NotRedis,
    /// It speaks TLS only.
    TlsOnly,
    /// It closes the connection at HELLO, but not at PING.
    HungUpAtHello,
    /// The other end hung up immediately, as a Redis that speaks only TLS does.
    HungUp,
    /// Nothing listens there.
    Absent,
    /// There is no such host.
    UnknownHost,
    Silent,
}

impl Refusal {
    /// `None` for errors that Redis did not send, such as a lost connection, and for replies that are not
    /// refusals.
    pub fn of(error: &RedisError) -> Option<Self> {
        let is_answer = error.code().is_some() || error.clone().into_server_errors().is_some();
        is_answer.then(|| Self::read(&said(error)))?
    }

    /// Like [`Self::of`], for an error while connecting: then a lost connection means something as well.
    pub fn of_connecting(error: &RedisError) -> Option<Self> {
        Self::read(&said(error))
    }

    fn read(text: &str) -> Option<Self> {
        if let Some((_, rest)) = text.split_once("permissions to run the '") {
            let command = match rest.split('\'').next() {
                // Redis 6.2 does not name the subcommand; sockd uses only one of each.
                Some("script") => Some("script|load"),
                Some("pubsub") => Some("pubsub|numsub"),
                command => command,
            };
            return Some(Self::Command(command.map(str::to_owned)));
        }
        if let Some(command) = unknown_command(text) {
            return Some(match command.to_ascii_uppercase().as_str() {
                "HELLO" => Self::NoResp3,
                _ => Self::Unknown(Some(command.to_owned())),
            });
        }
        // In an error of a script other words precede the refusal, so the whole text is searched.
        const SIGNS: [(&str, Refusal); 42] = [
            ("can't run this command", Refusal::Command(None)),
            ("access one of the keys", Refusal::Keys),
            ("access at least one of the keys", Refusal::Keys),
            ("permissions to access a key", Refusal::Keys),
            ("access one of the channels", Refusal::Channels),
            ("publish to the channel", Refusal::Channels),
            ("permissions to access a channel", Refusal::Channels),
            ("WRONGPASS", Refusal::Password),
            ("NOAUTH", Refusal::NoPassword),
            ("READONLY", Refusal::ReadOnly),
            ("OOM ", Refusal::Full),
            ("MISCONF", Refusal::Unsaved),
            ("NOREPLICAS", Refusal::TooFewReplicas),
            ("LOADING", Refusal::Loading),
            ("MASTERDOWN", Refusal::MasterDown),
            ("DB index is out of range", Refusal::NoSuchDatabase),
            ("UnknownIssuer", Refusal::UnknownAuthority),
            ("not valid for name", Refusal::OtherName),
            (
                "fatal alert: CertificateRequired",
                Refusal::ClientCertificate,
            ),
            ("fatal alert: UnknownCA", Refusal::ClientCertificate),
            ("invalid peer certificate", Refusal::BadCertificate),
            ("InvalidContentType", Refusal::NotTls),
            ("tls handshake eof", Refusal::HungUpInTls),
            ("Unknown Redis command called", Refusal::Unknown(None)),
            ("resp3 cannot be used", Refusal::NoResp3),
            ("NOPROTO", Refusal::NoResp3),
            ("max number of clients", Refusal::TooManyClients),
            ("protected mode", Refusal::Protected),
            ("MOVED ", Refusal::Slots),
            ("CLUSTERDOWN", Refusal::Slots),
            ("CROSSSLOT", Refusal::Slots),
            ("cluster support disabled", Refusal::NoCluster),
            ("Only HELLO messages are accepted", Refusal::Sentinel),
            ("Parse error", Refusal::NotRedis),
            ("unexpected end of file", Refusal::HungUp),
            ("Connection reset", Refusal::HungUp),
            ("broken pipe", Refusal::HungUp),
            ("Broken pipe", Refusal::HungUp),
            ("No such file", Refusal::Absent),
            ("Connection refused", Refusal::Absent),
            ("failed to lookup address", Refusal::UnknownHost),
            ("timed out", Refusal::Silent),
        ];
        let sign = SIGNS.iter().find(|(sign, _)| text.contains(sign));
        sign.map(|(_, refusal)| refusal.clone())
    }

    /// What to do about it; follows the text of the error.
    pub fn remedy(&self, grants: &Grants) -> Cow<'static, str> {
        let grant = |rules: &str| format!("grant it: {}", grants.command(rules)).into();
        match self {
            Self::Command(Some(command)) => grant(&format!("+{command}")),
            Self::Command(None) => grant("+get +set +expire +publish"),
            Self::Keys => grant(&grants.keys),
            Self::Channels => grant(&grants.channels),
            Self::Password => "set redis.username and redis.password (REDIS_PASS) to a user that exists in Redis and is on; without a username it is \"default\"".into(),
            Self::NoPassword => "set redis.password (REDIS_PASS), and redis.username unless it is \"default\"".into(),
            Self::ReadOnly => "it is a replica: point redis.url to its master, which INFO replication names".into(),
            Self::Full => "raise its maxmemory or delete other data in it, and leave maxmemory-policy at noeviction, or sessions may be evicted".into(),
            Self::Unsaved => "it cannot save to its disk: see its log, and free space there or correct the permissions of its folder".into(),
            Self::TooFewReplicas => "it has fewer replicas than min-replicas-to-write asks for: bring them back, or lower it".into(),
            Self::Loading => "wait until it has loaded its data; sockd then goes on by itself".into(),
            Self::MasterDown => "it is a replica that has lost its master: point redis.url to the master, or bring it back".into(),
            Self::NoSuchDatabase => "choose a lower redis.database, or raise databases in redis.conf".into(),
            Self::UnknownAuthority => "set redis.tls_ca_file to the certificate of the authority that signed that of Redis".into(),
            Self::OtherName => "write the host in redis.url as the certificate of Redis names it".into(),
            Self::ClientCertificate => "set redis.tls_cert_file and redis.tls_key_file to a certificate that Redis trusts".into(),
            Self::NotTls => "there is no TLS at that port: write redis:// in redis.url, or the tls-port of Redis".into(),
            Self::BadCertificate => "install a certificate in Redis that is valid now and for this host, and check the clock of this machine".into(),
            Self::HungUpInTls => "check that the port speaks TLS, then maxclients and the log of Redis: over TLS it rejects connections without an error".into(),
            Self::NoResp3 => "sockd needs RESP3 (Redis 6.2 or newer, or Valkey): upgrade Redis, bypass a proxy that speaks only RESP2 (such as twemproxy or Envoy), or remove `rename-command HELLO` from redis.conf".into(),
            Self::Unknown(Some(command)) if command.eq_ignore_ascii_case("sentinel") => "it is not a Sentinel: set redis.sentinels to the Sentinels (port 26379), or use redis.url for this Redis".into(),
            Self::Unknown(command) => {
                let command = command.as_deref().unwrap_or("of its commands").to_ascii_uppercase();
                format!("sockd needs this command: remove `rename-command {command}` from redis.conf, or use a Redis (6.2 or newer) or Valkey that offers it").into()
            }
            Self::TooManyClients => "raise maxclients in redis.conf and the open file limit of Redis, or close connections that CLIENT LIST shows; each sockd needs several".into(),
            Self::Protected => "set a password in Redis (requirepass) and in redis.password (REDIS_PASS); without one it accepts only loopback connections".into(),
            Self::Slots if grants.in_cluster => "see CLUSTER INFO and CLUSTER SLOTS: each slot needs a master that is up".into(),
            Self::Slots => "it is a Cluster node: set redis.cluster to some of the nodes instead of redis.url".into(),
            Self::NoCluster => "it is not a Cluster node: use redis.url instead of redis.cluster".into(),
            Self::Sentinel => "it is a Sentinel: set redis.sentinels and redis.sentinel_master instead of redis.url".into(),
            Self::NotRedis => "check the host and port in redis.url (REDIS_HOST, REDIS_PORT): Redis listens on 6379 by default".into(),
            Self::TlsOnly => "write rediss:// in redis.url".into(),
            Self::HungUpAtHello => "if this persists, a proxy in front of Redis speaks only RESP2 (such as twemproxy): bypass it, because sockd needs RESP3 (Redis 6.2 or newer, or Valkey)".into(),
            Self::HungUp => "if Redis speaks TLS there, write rediss:// in redis.url, else see its log".into(),
            Self::Absent => "start Redis there, or set redis.url (REDIS_HOST, REDIS_PORT) to where it is".into(),
            Self::UnknownHost => "see that the host in redis.url (REDIS_HOST) is spelled as in the DNS".into(),
            Self::Silent => "see that it runs, that no firewall drops what is sent there, and that it speaks TLS if redis.url begins with rediss://".into(),
        }
    }
}

/// Returns the text of an error, as Redis sent it if it came from Redis; always one line.
pub fn said(error: &RedisError) -> String {
    let answers = error.clone().into_server_errors();
    let text = match answers.as_deref().and_then(<[_]>::first) {
        Some((_, answer)) => match answer.details() {
            Some(details) => format!("{} {details}", answer.code()),
            None => answer.code().to_owned(),
        },
        None => error.to_string(),
    };
    // The rest repeats our own arguments.
    let text = text
        .split_once(", with args beginning with")
        .map_or(text.as_str(), |(text, _)| text);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the command in `unknown command 'HELLO'`; proxies vary the words and the case.
fn unknown_command(text: &str) -> Option<&str> {
    const QUOTES: [char; 4] = ['\'', '`', '"', ' '];
    let (_, rest) = text
        .split_once("unknown command")
        .or_else(|| text.split_once("unsupported command"))?;
    let rest = rest.trim_start_matches(QUOTES);
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let command = &rest[..end.unwrap_or(rest.len())];
    (!command.is_empty()).then_some(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_known_in_the_words_of_every_version() {
        let command = |name: &str| Refusal::Command(Some(name.to_owned()));
        let unknown = |name: &str| Refusal::Unknown(Some(name.to_owned()));
        for (text, expected) in [
            (
                "NOPERM this user has no permissions to run the 'expire' command or its subcommand",
                command("expire"),
            ),
            (
                "NOPERM this user has no permissions to run the 'script|load' command",
                command("script|load"),
            ),
            (
                "NOPERM this user has no permissions to run the 'script' command or its subcommand",
                command("script|load"),
            ),
            (
                "NOPERM User s has no permissions to run the 'get' command",
                command("get"),
            ),
            (
                "ERR ACL failure in script: User s has no permissions to run the 'set' command script: on @user_script:1.",
                command("set"),
            ),
            (
                "ERR The user executing the script can't run this command or subcommand script: 1f8f, on @user_script:1.",
                Refusal::Command(None),
            ),
            (
                "NOPERM this user has no permissions to access one of the keys used as arguments",
                Refusal::Keys,
            ),
            ("NOPERM No permissions to access a key", Refusal::Keys),
            (
                "ERR The user executing the script can't access at least one of the keys mentioned in the command arguments",
                Refusal::Keys,
            ),
            (
                "NOPERM this user has no permissions to access one of the channels used as arguments",
                Refusal::Channels,
            ),
            (
                "NOPERM No permissions to access a channel",
                Refusal::Channels,
            ),
            (
                "ERR The user executing the script can't publish to the channel mentioned in the command",
                Refusal::Channels,
            ),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                Refusal::Password,
            ),
            (
                "NOAUTH HELLO must be called with the client already authenticated",
                Refusal::NoPassword,
            ),
            (
                "ERR Error running script (call to f_1f): @user_script:1: @user_script: 1: -READONLY You can't write against a read only replica.",
                Refusal::ReadOnly,
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                Refusal::Full,
            ),
            (
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
                Refusal::Unsaved,
            ),
            (
                "NOREPLICAS Not enough good replicas to write.",
                Refusal::TooFewReplicas,
            ),
            (
                "LOADING Redis is loading the dataset in memory",
                Refusal::Loading,
            ),
            (
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
                Refusal::MasterDown,
            ),
            (
                "ERR unknown command 'HELLO', with args beginning with: '3' ",
                Refusal::NoResp3,
            ),
            (
                "ERR unknown command `HELLO`, with args beginning with: `3`, ",
                Refusal::NoResp3,
            ),
            ("ERR unknown command 'hello'", Refusal::NoResp3),
            ("unsupported command 'hello'", Refusal::NoResp3),
            ("NOPROTO unsupported protocol version", Refusal::NoResp3),
            (
                "ERR unknown command 'EVALSHA', with args beginning with: '0' ",
                unknown("EVALSHA"),
            ),
            ("ERR unknown command `spublish`, with", unknown("spublish")),
            (
                "ERR Unknown Redis command called from script script: 1f8f, on @user_script:1.",
                Refusal::Unknown(None),
            ),
            ("ERR max number of clients reached", Refusal::TooManyClients),
            (
                "DENIED Redis is running in protected mode because protected mode is enabled",
                Refusal::Protected,
            ),
            ("MOVED 12182 127.0.0.1:7001", Refusal::Slots),
            ("CLUSTERDOWN Hash slot not served", Refusal::Slots),
            (
                "ERR This instance has cluster support disabled",
                Refusal::NoCluster,
            ),
            (
                "ERR Only HELLO messages are accepted by Sentinel instances.",
                Refusal::Sentinel,
            ),
            (
                "invalid peer certificate: expired: verification time 1 (UNIX)",
                Refusal::BadCertificate,
            ),
            (
                "invalid peer certificate: UnknownIssuer",
                Refusal::UnknownAuthority,
            ),
        ] {
            assert_eq!(Refusal::read(text), Some(expected), "{text}");
        }
        assert_eq!(Refusal::read("WRONGTYPE Operation against a key"), None);
    }
}
