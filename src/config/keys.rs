//! The one table of settings: every key, what it may hold, its default and why it is that.

use std::time::Duration;

use super::{
    kind::{Kind, duration, number, size},
    setting::{Fallback, Setting, setting},
};
use crate::id;

use Fallback::{Is, Unset, WithRedis};
use Kind::{
    Boolean, Charset, Claim, Events, Host, List, LogFilter, Nodes, OneOf, Origins, Path, Prefix,
    RedisUrl, Secret, SecretFile, SecretFiles, Secrets, Text,
};

const PORT: Kind = number(0, u16::MAX as u64);
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
/// A time limit; a day is longer than anything that waits here should.
const LIMIT: Kind = duration(Duration::from_millis(1), DAY);
const ID_FORMATS: Kind = OneOf(&["objectid", "uuid", "integer", "any"]);

/// Every setting, by section in the order of the example file.
pub(super) static SETTINGS: &[Setting] = &[
    // The listener, and how the process ends.
    setting(
        "server.host",
        Host,
        Is("::"),
        "Address or host name to listen on; `::` takes IPv4 and IPv6 alike.",
    ),
    setting(
        "server.port",
        PORT,
        Is("3000"),
        "3000 is where clients and backends look already; 0 lets the system choose.",
    )
    .legacy(&["PORT"]),
    setting(
        "server.backlog",
        number(1, 65_535),
        Is("4096"),
        "5,000 clients were back in 0.42 s with 4096 and in 1.99 s with 128; net.core.somaxconn caps it.",
    ),
    setting(
        "server.header_timeout",
        LIMIT,
        Is("10s"),
        "Time for a request's head from its first byte: a few packets even on a phone.",
    ),
    setting(
        "server.keep_alive",
        LIMIT,
        Is("75s"),
        "How long a connection may be idle between requests; more than the 60 s of proxies, so that they close first.",
    ),
    setting(
        "server.body_timeout",
        LIMIT,
        Is("10s"),
        "Time for a request's body: 1 MiB passes within it at 1 Mbit/s.",
    ),
    setting(
        "server.max_header_size",
        size(8 << 10, 1 << 20),
        Is("16KiB"),
        "Longest head of a request; 16 KiB is what Node.js allows, so nothing is refused that passed there.",
    ),
    setting(
        "server.tcp_keepalive",
        duration(SECOND, DAY),
        Is("60s"),
        "When TCP probes a silent connection; the sockets' own ping finds most dead ones sooner.",
    ),
    setting(
        "server.tcp_user_timeout",
        LIMIT,
        Is("30s"),
        "How long sent bytes may stay unacknowledged; less than the 45 s in which the ping gives up.",
    ),
    setting(
        "server.drain_window",
        duration(Duration::ZERO, DAY),
        Is("5s"),
        "A drain closes connections spread over this, so that clients do not all return at once.",
    ),
    setting(
        "server.shutdown_timeout",
        LIMIT,
        Is("10s"),
        "The process ends this long after the signal, whatever is left; `docker stop` waits 10 s.",
    ),
    // The Engine.IO and Socket.IO protocol.
    setting(
        "socketio.ping_interval",
        LIMIT,
        Is("25s"),
        "Socket.IO's own default, told in the handshake; under the 60 s of silence that proxies allow.",
    ),
    setting(
        "socketio.ping_timeout",
        LIMIT,
        Is("20s"),
        "Socket.IO's own default: a client that answers no ping for this long is gone.",
    ),
    setting(
        "socketio.connect_timeout",
        LIMIT,
        Is("15s"),
        "Time to join before the connection is closed: it costs memory, but slow clients need 10 s.",
    ),
    setting(
        "socketio.upgrade_timeout",
        LIMIT,
        Is("10s"),
        "Socket.IO's own default for a change from polling to WebSocket.",
    ),
    setting(
        "socketio.max_payload",
        size(1, 1 << 30),
        Is("1000000B"),
        "Longest message of a client; Socket.IO's own default of 1e6 bytes, told in the handshake.",
    ),
    // Who may read answers in a browser.
    setting(
        "cors.origin",
        Origins,
        Is("*"),
        "`*`, one origin, or several; tokens and not cookies guard the sockets, so any may try.",
    )
    .legacy(&["CORS_ORIGIN"]),
    // How tokens are verified.
    setting(
        "auth.secret",
        Secret,
        Unset("\"...\""),
        "Required: HMAC secret of 32 bytes or more (openssl rand -hex 32), or PEM public key.",
    )
    .legacy(&["JWT_SECRET"]),
    setting(
        "auth.secret_file",
        SecretFile,
        Unset("\"jwt.key\""),
        "The same, read from a file; one newline at its end is not part of the secret.",
    )
    .legacy(&["JWT_SECRET_FILE"]),
    setting(
        "auth.previous_secrets",
        Secrets,
        Unset("[\"...\"]"),
        "Secrets that still verify tokens while they are being replaced.",
    ),
    setting(
        "auth.previous_secret_files",
        SecretFiles,
        Unset("[\"jwt.old.key\"]"),
        "The same, each read from a file.",
    ),
    setting(
        "auth.algorithms",
        List,
        Is("HS256"),
        "Only these verify; one alone, as every further one is a further way in. Names are case-sensitive.",
    )
    .legacy(&["JWT_ALGORITHMS"]),
    setting(
        "auth.user_claim",
        Claim,
        Is("user_id"),
        "The claim that names the user.",
    ),
    setting(
        "auth.session_claim",
        Claim,
        Is("session_id"),
        "The claim that names the login session.",
    ),
    setting(
        "auth.issuer",
        Text,
        Unset("\"https://auth.example.com\""),
        "If given, a token's `iss` must be this; unset, as tokens need none.",
    ),
    setting(
        "auth.audience",
        Text,
        Unset("\"sockd\""),
        "If given, a token's `aud` must be or contain this; unset, as tokens need none.",
    ),
    setting(
        "auth.on_expiry",
        OneOf(&["disconnect", "keep"]),
        Is("disconnect"),
        "What happens to a socket whose token runs out; a token that is over should open nothing.",
    ),
    // What identifiers look like.
    setting(
        "ids.user",
        ID_FORMATS,
        Is("objectid"),
        "objectid, uuid, integer or any; MongoDB's, as the first backends use it.",
    ),
    setting(
        "ids.session",
        ID_FORMATS,
        Is("uuid"),
        "objectid, uuid, integer or any; sessions are made by a UUID function nearly everywhere.",
    ),
    setting(
        "ids.any_max_length",
        number(1, id::MAX_LENGTH as u64),
        Is("128"),
        "Longest id of the format `any`, in characters: room for namespaced ids, and keys stay small.",
    ),
    setting(
        "ids.any_charset",
        Charset,
        Is("a-zA-Z0-9_.:@-"),
        "Characters of the format `any`: those of UUIDs, e-mail addresses and namespaced ids.",
    ),
    // What a backend may push.
    setting(
        "events.supported",
        Events,
        Is("profile:update,account:update,auth:logout"),
        "Names, and `prefix:*` for all that begin so; another event is refused as a mistake.",
    ),
    // Who may call the internal routes.
    setting(
        "internal.secret",
        Secret,
        Unset("\"...\""),
        "Required: what backends send as the bearer of the internal routes (openssl rand -hex 32).",
    )
    .legacy(&["INTERNAL_SECRET", "AUTH_TOKEN", "SECRET_KEY"]),
    setting(
        "internal.secret_file",
        SecretFile,
        Unset("\"internal.key\""),
        "The same, read from a file; one newline at its end is not part of the secret.",
    )
    .legacy(&["INTERNAL_SECRET_FILE", "AUTH_TOKEN_FILE", "SECRET_KEY_FILE"]),
    setting(
        "internal.previous_secrets",
        Secrets,
        Unset("[\"...\"]"),
        "Secrets that backends may still send while they are being replaced.",
    ),
    setting(
        "internal.previous_secret_files",
        SecretFiles,
        Unset("[\"internal.old.key\"]"),
        "The same, each read from a file.",
    ),
    setting(
        "internal.max_body",
        size(1, 1 << 30),
        Is("1MiB"),
        "Longest body of an internal request; events are news, not downloads.",
    ),
    setting(
        "internal.concurrency",
        number(1, 65_535),
        Is("1024"),
        "Internal requests that run at once, others wait: room for a burst while Redis hangs, and 1 GiB of bodies at most.",
    ),
    // Who may read `/metrics`.
    setting(
        "metrics.secret",
        Secret,
        Unset("\"...\""),
        "Bearer token for scrapers: reads /metrics and the reason of /readyz only. internal.secret works too.",
    ),
    setting(
        "metrics.secret_file",
        SecretFile,
        Unset("\"metrics.key\""),
        "The same, read from a file; one newline at its end is not part of the secret.",
    ),
    setting(
        "metrics.public",
        Boolean,
        Is("false"),
        "Whether /metrics needs no secret; false, as it shares the port with the clients.",
    ),
    // Where a user's active session is remembered.
    setting(
        "sessions.key_prefix",
        Prefix,
        Is("socket:active_session:"),
        "The Redis key before the user id; backends and older servers read the same keys.",
    ),
    setting(
        "sessions.ttl",
        duration(SECOND, Duration::from_secs(3650 * 86_400)),
        Is("7d"),
        "How long a session outlives its last socket; 604,800 s as in the keys that are there already.",
    ),
    setting(
        "sessions.sweep_interval",
        LIMIT,
        Is("10s"),
        "How often local users are compared with Redis: a missed logout is made up for within 15 s.",
    ),
    // The room of a user.
    setting(
        "rooms.prefix",
        Prefix,
        Is("user:"),
        "The room's name before the user id; channels on Redis are named after it.",
    ),
    // How to reach Redis.
    setting(
        "redis.url",
        RedisUrl,
        Unset("\"redis://127.0.0.1:6379/0\""),
        "redis://, rediss:// or redis+unix://; with nothing that says where Redis is, sessions stay in memory.",
    )
    .legacy(&["REDIS_URL"]),
    setting(
        "redis.host",
        Host,
        WithRedis("127.0.0.1"),
        "Instead of a url; the machine itself, as one Redis beside one sockd is the smallest set-up.",
    )
    .legacy(&["REDIS_HOST"]),
    setting(
        "redis.port",
        number(1, u16::MAX as u64),
        WithRedis("6379"),
        "Instead of a url; Redis's own default.",
    )
    .legacy(&["REDIS_PORT"]),
    setting(
        "redis.sentinels",
        Nodes { port: 26_379 },
        Unset("[\"10.0.0.1:26379\", \"10.0.0.2:26379\", \"10.0.0.3:26379\"]"),
        "Instead of a url: Sentinels that know the master; rediss://host:port for TLS, to Redis too.",
    ),
    setting(
        "redis.sentinel_master",
        Text,
        Unset("\"mymaster\""),
        "The name under which the Sentinels watch the master; it is looked up again for each connection.",
    ),
    setting(
        "redis.sentinel_username",
        Text,
        Unset("\"sockd\""),
        "The ACL user at the Sentinels; unset, as theirs is `default` too.",
    ),
    setting(
        "redis.sentinel_password",
        Secret,
        Unset("\"...\""),
        "The Sentinels' own password; unset, as they often have none while Redis does.",
    ),
    setting(
        "redis.sentinel_password_file",
        SecretFile,
        Unset("\"sentinel.key\""),
        "The same, read from a file; one newline at its end is not part of the password.",
    ),
    setting(
        "redis.cluster",
        Nodes { port: 6379 },
        Unset("[\"10.0.0.1:6379\", \"10.0.0.2:6379\", \"10.0.0.3:6379\"]"),
        "Instead of a url: some nodes of a Cluster (Redis 7), the others are found; rediss:// for TLS.",
    ),
    setting(
        "redis.database",
        number(0, i32::MAX as u64),
        WithRedis("0"),
        "The database's number; Redis's own default.",
    ),
    setting(
        "redis.username",
        Text,
        Unset("\"sockd\""),
        "The ACL user; unset, as Redis's own `default` user needs no name.",
    ),
    setting(
        "redis.password",
        Secret,
        Unset("\"...\""),
        "The password, unless it stands in the url.",
    )
    .legacy(&["REDIS_PASS"]),
    setting(
        "redis.password_file",
        SecretFile,
        Unset("\"redis.key\""),
        "The same, read from a file; one newline at its end is not part of the password.",
    )
    .legacy(&["REDIS_PASS_FILE"]),
    setting(
        "redis.tls_ca_file",
        Path,
        Unset("\"ca.pem\""),
        "Authorities (PEM) to trust with rediss://; unset, the system's are trusted.",
    ),
    setting(
        "redis.tls_cert_file",
        Path,
        Unset("\"client.pem\""),
        "Certificate (PEM) that is shown to Redis; unset, as most servers ask for none.",
    ),
    setting(
        "redis.tls_key_file",
        Path,
        Unset("\"client.key\""),
        "Key (PEM) of that certificate.",
    ),
    setting(
        "redis.channel_prefix",
        Prefix,
        Is("sockd:"),
        "Before all channels, so that two installations can share one Redis.",
    ),
    setting(
        "redis.connect_timeout",
        LIMIT,
        Is("2s"),
        "With the command's timeout, keeps an answer within 3 s while Redis is away.",
    ),
    setting(
        "redis.command_timeout",
        LIMIT,
        Is("1s"),
        "Redis answers in under 1 ms; a second is trouble, and callers are told within 3 s.",
    ),
    // What one client may cost.
    setting(
        "limits.outbound_buffer",
        size(64 << 10, 1 << 30),
        Is("16MiB"),
        "Bytes that may wait for one client: 16 great events, and under the 40 MB that one may cost.",
    ),
    setting(
        "limits.write_stall",
        LIMIT,
        Is("15s"),
        "A client that reads nothing for this long is closed; a phone that changes networks is back by then.",
    ),
    setting(
        "limits.inbound_burst",
        size(1 << 10, 1 << 30),
        Is("8MiB"),
        "Bytes that one client may send at once: eight of the longest messages.",
    ),
    setting(
        "limits.inbound_rate",
        size(1 << 10, 1 << 30),
        Is("1MiB"),
        "Bytes a second that one client may send in the long run; events of clients are ignored anyway.",
    ),
    setting(
        "limits.handshake_attempts",
        number(1, 1_000_000),
        Is("10"),
        "CONNECTs on one connection, whatever their answers: room for a new token, none for guessing.",
    ),
    // What is logged, and how.
    setting(
        "log.level",
        LogFilter,
        Is("info"),
        "error, warn, info, debug, trace, or a filter `info,sockd=debug`; info logs no single event.",
    ),
    setting(
        "log.format",
        OneOf(&["text", "json"]),
        Is("text"),
        "text for people, json for collectors.",
    ),
];
