//! The one table of settings: names, kinds, defaults and reasons.
//!
//! To add a setting, add an entry here. In a section with a type (`server as Server`) that is also the
//! field that the process reads; in another, `resolve.rs` takes it from there into [`Config`]. Then
//! write `sockd config example` to `config.example.toml`.
//!
//! An entry is the reason for the default, in one line, followed by
//! `name: Type = KIND, Fallback("default"), also ["VARIABLE"], file of secret;`
//! The last two are optional: variables besides `SOCKD_SECTION__NAME`, and for a file, the secret
//! that it holds. Other settings that say the same in different ways have `decides(subject, way)`.
//!
//! [`Config`]: super::Config

use std::time::Duration;

use clap::ValueEnum;
use ipnet::IpNet;
use url::Url;

use super::{
    ForwardedHeader, LogFormat, OnExpiry,
    kind::Kind,
    kinds::{
        ALGORITHMS, BOOLEAN, CHARSET, EVENTS, HOST, JWKS_URL, LISTEN, LOG_FILTER, MODE, NETWORKS,
        ORIGINS, PATH, PATHS, PREFIX, REDIS_URL, SECRET, SECRETS, TEXT, TEXTS, duration, nodes,
        number, size, word,
    },
    listen::InternalListener,
    redis_url::RedisUrl,
    setting::{FILE, Fallback, Key, Setting},
    settings::Settings,
};
use crate::{
    id::{self, Charset, SupportedEvents},
    secret::Secret,
};

/// In milliseconds.
const SECOND: u64 = 1_000;
const DAY: u64 = 86_400 * SECOND;
/// In bytes.
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// A time limit; nothing here should wait longer than a day.
const LIMIT: Kind<Duration> = duration::<1, DAY>();
/// Clients of a node; more than any can hold.
const COUNT: Kind<usize> = number::<_, 1, 10_000_000>();
/// The subject of all settings that say where Redis is.
pub(super) const WHERE_REDIS_IS: &str = "where Redis is";
/// The subject of the settings that say where the key set is.
const WHERE_KEYS_ARE: &str = "where the key set is";

super::setting::settings! {
    server as Server {
        /// Address or host name to listen on; `::` takes IPv4 and IPv6 alike.
        host: String = HOST, Is("::");
        /// 3000 is where clients and backends look already; 0 lets the system choose.
        port: u16 = number::<_, 0, 65_535>(), Is("3000"), also ["PORT"];
        /// 5,000 clients were back in 0.42 s with 4096 and in 1.99 s with 128; net.core.somaxconn caps it.
        backlog: u32 = number::<_, 1, 65_535>(), Is("4096");
        /// Time for a request's head from its first byte: a few packets even on a phone.
        header_timeout: Duration = LIMIT, Is("10s");
        /// How long a connection may be idle between requests; more than the 60 s of proxies, so that they close first.
        keep_alive: Duration = LIMIT, Is("75s");
        /// Time for a request's body: 1 MiB passes within it at 1 Mbit/s.
        body_timeout: Duration = LIMIT, Is("10s");
        /// Longest head of a request; 16 KiB is what Node.js allows, so nothing is refused that passed there.
        max_header_size: usize = size::<{ 8 * KIB }, MIB>(), Is("16KiB");
        /// When TCP probes a silent connection; the sockets' own ping finds most dead ones sooner.
        tcp_keepalive: Duration = duration::<SECOND, DAY>(), Is("60s");
        /// How long sent bytes may stay unacknowledged; less than the 45 s in which the ping gives up.
        tcp_user_timeout: Duration = LIMIT, Is("30s");
        /// A drain closes connections spread over this, so that clients do not all return at once.
        drain_window: Duration = duration::<0, DAY>(), Is("5s");
        /// A connection is closed in the last fifth of this age, and its client comes back, perhaps on another node; unset, as a balancer spreads new clients well enough.
        max_connection_age: Duration = duration::<SECOND, { 365 * DAY }>(), Unset("\"6h\"");
        /// The process ends this long after the signal, whatever is left; `docker stop` waits 10 s.
        shutdown_timeout: Duration = LIMIT, Is("10s");
        /// Whether each connection begins with the header of the PROXY protocol, version 1 or 2; others are then closed. false, as clients send none.
        proxy_protocol: bool = BOOLEAN, Is("false");
        /// Proxies that are believed when they say where a client is; unset, as else any client could say so.
        trusted_proxies: Vec<IpNet> = NETWORKS, Unset("[\"127.0.0.1\", \"::1\", \"10.0.0.0/8\"]");
        /// Certificate (PEM) of the clients' port, its own first, then its intermediates: turns TLS on. Read again when it changes. Unset, as a proxy mostly ends TLS.
        tls_cert_file: String = PATH, Unset("\"fullchain.pem\"");
        /// Key (PEM) of that certificate.
        tls_key_file: String = PATH, Unset("\"privkey.pem\"");
        /// The header in which trusted proxies say so, x-forwarded-for or forwarded; nginx and HAProxy write the first.
        forwarded_header: ForwardedHeader = word(), Is("x-forwarded-for");
    }
    socketio as SocketIo {
        /// Socket.IO's own default, told in the handshake; under the 60 s of silence that proxies allow.
        ping_interval: Duration = LIMIT, Is("25s");
        /// Socket.IO's own default: a client that answers no ping for this long is gone.
        ping_timeout: Duration = LIMIT, Is("20s");
        /// Time to join before the connection is closed: it costs memory, but slow clients need 10 s.
        connect_timeout: Duration = LIMIT, Is("15s");
        /// Socket.IO's own default for a change from polling to WebSocket.
        upgrade_timeout: Duration = LIMIT, Is("10s");
        /// Longest message of a client; Socket.IO's own default of 1e6 bytes, told in the handshake.
        max_payload: usize = size::<1, GIB>(), Is("1000000B");
    }
    cors {
        /// `*`, one origin, or several; tokens and not cookies guard the sockets, so any may try.
        origin: Vec<String> = ORIGINS, Is("*"), also ["CORS_ORIGIN"];
    }
    auth {
        /// Required without a key set (jwks_url, jwks_file): HMAC secret of 32 bytes or more (openssl rand -hex 32), or PEM public key.
        secret: Secret = SECRET, Unset("\"...\""), also ["JWT_SECRET"];
        /// The same, read from a file; one newline at its end is not part of the secret.
        secret_file: String = PATH, Unset("\"jwt.key\""),
            also ["JWT_SECRET_FILE"], file of secret;
        /// Secrets that still verify tokens while they are being replaced.
        previous_secrets: Vec<Secret> = SECRETS, Unset("[\"...\"]");
        /// The same, each read from a file.
        previous_secret_files: Vec<String> = PATHS, Unset("[\"jwt.old.key\"]"),
            file of previous_secrets;
        /// The issuer's key set (JWKS): https, or http on this machine. Keys rotate without a restart; beside it, auth.secret verifies HS only.
        jwks_url: Url = JWKS_URL, Unset("\"https://auth.example.com/.well-known/jwks.json\""),
            decides(WHERE_KEYS_ARE, "url");
        /// The same, read from a file.
        jwks_file: String = PATH, Unset("\"jwks.json\""), decides(WHERE_KEYS_ARE, "file");
        /// How often the key set is read again: a removed key ends within it, and an unknown `kid` is looked up at once anyway.
        jwks_refresh_interval: Duration = duration::<SECOND, DAY>(), Is("5m");
        /// Authorities (PEM) to trust for jwks_url besides the system's; unset, as public issuers need none.
        jwks_ca_file: String = PATH, Unset("\"ca.pem\"");
        /// Only these verify; one, as each more is another way in. With a key set, by default all that its keys fit, not HS. Names are case-sensitive.
        algorithms: Vec<String> = ALGORITHMS, Is("HS256"), also ["JWT_ALGORITHMS"];
        /// The claim that names the user.
        user_claim: String = TEXT, Is("user_id");
        /// The claim that names the login session.
        session_claim: String = TEXT, Is("session_id");
        /// If given, a token's `iss` must be this, or one of a list; unset, as tokens need none.
        issuer: Vec<String> = TEXTS, Unset("\"https://auth.example.com\"");
        /// If given, a token's `aud` must be or contain this, or one of a list; unset, as tokens need none.
        audience: Vec<String> = TEXTS, Unset("\"sockd\"");
        /// What happens to a socket whose token runs out; a token that is over should open nothing.
        on_expiry: OnExpiry = word(), Is("disconnect");
    }
    ids {
        /// objectid, uuid, integer or any; MongoDB's, as the first backends use it.
        user: IdKind = word(), Is("objectid");
        /// objectid, uuid, integer or any; sessions are made by a UUID function nearly everywhere.
        session: IdKind = word(), Is("uuid");
        /// Longest id of the format `any`, in characters: room for namespaced ids, and keys stay small.
        any_max_length: usize = number::<_, 1, { id::MAX_LENGTH as u64 }>(), Is("128");
        /// Characters of the format `any`: those of UUIDs, e-mail addresses and namespaced ids.
        any_charset: Charset = CHARSET, Is("a-zA-Z0-9_.:@-");
    }
    events {
        /// Names, and `prefix:*` for all that begin so; another event is refused as a mistake.
        supported: SupportedEvents = EVENTS, Is("profile:update,account:update,auth:logout");
    }
    internal {
        /// Required: what backends send as the bearer of the internal routes (openssl rand -hex 32).
        secret: Secret = SECRET, Unset("\"...\""),
            also ["INTERNAL_SECRET", "AUTH_TOKEN", "SECRET_KEY"];
        /// The same, read from a file; one newline at its end is not part of the secret.
        secret_file: String = PATH, Unset("\"internal.key\""),
            also ["INTERNAL_SECRET_FILE", "AUTH_TOKEN_FILE", "SECRET_KEY_FILE"],
            file of secret;
        /// Secrets that backends may still send while they are being replaced.
        previous_secrets: Vec<Secret> = SECRETS, Unset("[\"...\"]");
        /// The same, each read from a file.
        previous_secret_files: Vec<String> = PATHS, Unset("[\"internal.old.key\"]"),
            file of previous_secrets;
        /// Takes the internal routes, health and metrics off the clients' port, to an address or unix:PATH; unset, as one port is the simplest.
        listen: InternalListener = LISTEN, Unset("\"unix:/run/sockd/internal.sock\"");
        /// Who may connect to a unix socket: its owner and its group, as the secrets guard it further.
        socket_mode: u32 = MODE, Is("0660");
        /// The unix socket's group, that of the backend's user; unset, it is the group of sockd itself.
        socket_group: String = TEXT, Unset("\"backend\"");
        /// The same as server.proxy_protocol, for internal.listen; false, as backends send no header; sockd's own commands send one where it is on.
        proxy_protocol: bool = BOOLEAN, Is("false");
        /// Certificate (PEM) of internal.listen, as server.tls_cert_file; unset, as that is mostly this machine or a network that is trusted.
        tls_cert_file: String = PATH, Unset("\"internal.pem\"");
        /// Key (PEM) of that certificate.
        tls_key_file: String = PATH, Unset("\"internal.key\"");
        /// Authorities (PEM) of client certificates: callers of internal.listen without one are refused. Unset, as the secret guards it too.
        tls_client_ca_file: String = PATH, Unset("\"clients-ca.pem\"");
        /// Authorities (PEM) that sockd's own commands trust besides the system's, where they call https.
        command_ca_file: String = PATH, Unset("\"ca.pem\"");
        /// Certificate (PEM) that the commands show; unset, as it is needed only with tls_client_ca_file.
        command_cert_file: String = PATH, Unset("\"command.pem\"");
        /// Key (PEM) of that certificate.
        command_key_file: String = PATH, Unset("\"command.key\"");
        /// Longest body of an internal request; events are news, not downloads.
        max_body: usize = size::<1, GIB>(), Is("1MiB");
        /// Internal requests that run at once, others wait: room for a burst while Redis hangs, and 1 GiB of bodies at most.
        concurrency: usize = number::<_, 1, 65_535>(), Is("1024");
    }
    metrics {
        /// Bearer token for scrapers: reads /metrics and the reason of /readyz only. internal.secret works too.
        secret: Secret = SECRET, Unset("\"...\"");
        /// The same, read from a file; one newline at its end is not part of the secret.
        secret_file: String = PATH, Unset("\"metrics.key\""), file of secret;
        /// Whether /metrics needs no secret; false, as it shares the port with the clients.
        public: bool = BOOLEAN, Is("false");
    }
    sessions as Sessions {
        /// The Redis key before the user id; backends and older servers read the same keys.
        key_prefix: String = PREFIX, Is("socket:active_session:");
        /// How long a session outlives its last socket; 604,800 s as in the keys that are there already.
        ttl: Duration = duration::<SECOND, { 3650 * DAY }>(), Is("7d");
        /// How often local users are compared with Redis: a missed logout is made up for within 15 s.
        sweep_interval: Duration = LIMIT, Is("10s");
    }
    rooms {
        /// The room's name before the user id; channels on Redis are named after it.
        prefix: String = PREFIX, Is("user:");
    }
    redis {
        /// redis://, rediss:// or redis+unix://; with nothing that says where Redis is, sessions stay in memory.
        url: RedisUrl = REDIS_URL, Unset("\"redis://127.0.0.1:6379/0\""),
            also ["REDIS_URL"], decides(WHERE_REDIS_IS, "url");
        /// Instead of a url; the machine itself, as one Redis beside one sockd is the smallest set-up.
        host: String = HOST, WithRedis("127.0.0.1"),
            also ["REDIS_HOST"], decides(WHERE_REDIS_IS, "host");
        /// Instead of a url; Redis's own default.
        port: u16 = number::<_, 1, 65_535>(), WithRedis("6379"),
            also ["REDIS_PORT"], decides(WHERE_REDIS_IS, "host");
        /// Instead of a url: Sentinels that know the master; rediss://host:port for TLS, to Redis too.
        sentinels: Vec<String> = nodes::<26_379>(), Unset("[\"10.0.0.1:26379\", \"10.0.0.2:26379\", \"10.0.0.3:26379\"]"),
            decides(WHERE_REDIS_IS, "sentinels");
        /// The name under which the Sentinels watch the master; it is looked up again for each connection.
        sentinel_master: String = TEXT, Unset("\"mymaster\"");
        /// The ACL user at the Sentinels; unset, as theirs is `default` too.
        sentinel_username: String = TEXT, Unset("\"sockd\"");
        /// The Sentinels' own password; unset, as they often have none while Redis does.
        sentinel_password: Secret = SECRET, Unset("\"...\"");
        /// The same, read from a file; one newline at its end is not part of the password.
        sentinel_password_file: String = PATH, Unset("\"sentinel.key\""),
            file of sentinel_password;
        /// Instead of a url: some nodes of a Cluster (Redis 7), the others are found; rediss:// for TLS.
        cluster: Vec<String> = nodes::<6379>(), Unset("[\"10.0.0.1:6379\", \"10.0.0.2:6379\", \"10.0.0.3:6379\"]"),
            decides(WHERE_REDIS_IS, "cluster");
        /// The database's number; Redis's own default.
        database: u64 = number::<_, 0, { i32::MAX as u64 }>(), WithRedis("0");
        /// The ACL user; unset, as Redis's own `default` user needs no name.
        username: String = TEXT, Unset("\"sockd\"");
        /// The password, unless it stands in the url.
        password: Secret = SECRET, Unset("\"...\""), also ["REDIS_PASS"];
        /// The same, read from a file; one newline at its end is not part of the password.
        password_file: String = PATH, Unset("\"redis.key\""),
            also ["REDIS_PASS_FILE"], file of password;
        /// Authorities (PEM) to trust with rediss://; unset, the system's are trusted.
        tls_ca_file: String = PATH, Unset("\"ca.pem\"");
        /// Certificate (PEM) that is shown to Redis; unset, as most servers ask for none.
        tls_cert_file: String = PATH, Unset("\"client.pem\"");
        /// Key (PEM) of that certificate.
        tls_key_file: String = PATH, Unset("\"client.key\"");
        /// Before all channels, so that two installations can share one Redis.
        channel_prefix: String = PREFIX, Is("sockd:");
        /// With the command's timeout, keeps an answer within 3 s while Redis is away.
        connect_timeout: Duration = LIMIT, Is("2s");
        /// Redis answers in under 1 ms; a second is trouble, and callers are told within 3 s.
        command_timeout: Duration = LIMIT, Is("1s");
    }
    limits as Limits {
        /// Bytes that may wait for one client: 16 great events, and under the 40 MB that one may cost.
        outbound_buffer: usize = size::<{ 64 * KIB }, GIB>(), Is("16MiB");
        /// A client that reads nothing for this long is closed; a phone that changes networks is back by then.
        write_stall: Duration = LIMIT, Is("15s");
        /// Bytes that one client may send at once: eight of the longest messages.
        inbound_burst: usize = size::<KIB, GIB>(), Is("8MiB");
        /// Bytes a second that one client may send in the long run; events of clients are ignored anyway.
        inbound_rate: usize = size::<KIB, GIB>(), Is("1MiB");
        /// Packets a second that one client may send in the long run; stock clients send one per ping.
        inbound_packets: usize = number::<_, 1, 1_000_000>(), Is("1000");
        /// CONNECTs on one connection, whatever their answers: room for a new token, none for guessing.
        handshake_attempts: u32 = number::<_, 1, 1_000_000>(), Is("10");
        /// Sockets that one user may have on a node; unset, as users have any number of tabs.
        sockets_per_user: usize = number::<_, 1, 1_000_000>(), Unset("10");
        /// Connections of clients on a node; unset, as the limit of open files is one already.
        connections: usize = COUNT, Unset("100000");
        /// Connections without a socket, bare TCP ones too: enough for handshake_rate while each takes 2 s to join.
        unjoined_connections: usize = COUNT, Is("50000");
        /// Handshakes under way on a node before new connections are refused; only a slow Redis makes so many.
        handshakes: usize = COUNT, Is("10000");
        /// New connections a second on a node, and as many at once: 100,000 clients that return within 5 s.
        handshake_rate: usize = COUNT, Is("20000");
        /// New connections a second from one address, or one /64 of IPv6; unset, as many users can share one, and behind a proxy all would (see server.trusted_proxies).
        handshake_rate_per_address: usize = COUNT, Unset("5");
        /// As many at once from one address, where handshake_rate_per_address is set: an office that returns after a deploy.
        handshake_burst_per_address: usize = COUNT, Is("100");
    }
    log as Log {
        /// error, warn, info, debug, trace, or a filter `info,sockd=debug`; info logs no single event.
        level: String = LOG_FILTER, Is("info");
        /// text for people, json for collectors.
        format: LogFormat = word(), Is("text");
        /// Whether each socket that ends is logged, with user, transport, address, duration and reason; false, as that is a line for each visit.
        access: bool = BOOLEAN, Is("false");
    }
}

/// The format of an id, without its parameters.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum IdKind {
    #[value(name = "objectid")]
    ObjectId,
    Uuid,
    Integer,
    Any,
}

/// Returns the setting of this path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    SETTINGS.iter().copied().find(|key| key.path == path)
}

/// Returns the setting that names the file of a secret.
pub(super) fn file_of(secret: &Key) -> Option<&'static Key> {
    let mut rivals = SETTINGS.iter().copied().filter(|key| key.is_rival(secret));
    rivals.find(|key| key.way == FILE)
}

/// Returns the path of the setting that was most likely meant.
pub(super) fn nearest_path(unknown: &str) -> Option<&'static str> {
    let leaf = unknown.rsplit('.').next().unwrap_or(unknown);
    let mut keys = SETTINGS.iter();
    nearest(unknown, keys.clone().map(|key| key.path))
        .or_else(|| keys.find(|key| key.name == leaf).map(|key| key.path))
}

/// Returns the known text within a few keystrokes of the unknown one.
pub(super) fn nearest<T: AsRef<str>>(unknown: &str, known: impl Iterator<Item = T>) -> Option<T> {
    let reach = (unknown.chars().count() / 3).clamp(1, 4);
    known
        .map(|name| (strsim::damerau_levenshtein(unknown, name.as_ref()), name))
        .filter(|(distance, _)| *distance <= reach)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
