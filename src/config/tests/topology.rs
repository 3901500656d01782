//! Sentinels and Clusters, and what contradicts them.

use super::*;
use crate::config::{Sentinel, Topology};

#[test]
fn sentinels_are_asked_for_the_master_by_name() {
    let start = Start::new().file("sentinel.key", "s\n").toml(
        "[redis]\nsentinels = [\"a\", \"b:1\", \"[::1]:2\"]\nsentinel_master = \"m\"\n\
         sentinel_username = \"u\"\nsentinel_password_file = \"sentinel.key\"\n\
         password = \"p\"\ndatabase = 3",
    );
    assert_eq!(start.row("redis.host").0, None);
    let redis = start.redis();
    assert_eq!(redis.password.expect("a password").expose(), "p");
    let Topology::Sentinel(Sentinel {
        sentinels,
        master,
        database,
        username,
        password,
    }) = redis.topology
    else {
        panic!("{}", redis.topology);
    };
    assert_eq!(
        sentinels,
        ["redis://a:26379", "redis://b:1", "redis://[::1]:2"]
    );
    assert_eq!((master.as_str(), database), ("m", 3));
    assert_eq!(username.as_deref(), Some("u"));
    assert_eq!(password.expect("a password").expose(), "s");
}

#[test]
fn a_cluster_is_found_by_some_of_its_nodes() {
    let start = Start::new().env("SOCKD_REDIS__CLUSTER", "rediss://a, rediss://b:1");
    let Topology::Cluster { nodes } = start.redis().topology else {
        panic!("no Cluster");
    };
    assert_eq!(nodes, ["rediss://a:6379", "rediss://b:1"]);
}

#[test]
fn contradictions_are_problems_with_a_remedy() {
    let problems = |redis: &str, rest: &str| {
        Start::new()
            .toml(&format!("[redis]\n{redis}\n{rest}"))
            .problems()
    };
    for (redis, rest, problem) in [
        (
            "url = \"redis://r\"\ncluster = [\"a\"]",
            "",
            "sockd.toml:3:1: redis.cluster: redis.url is given too, at sockd.toml:2; keep one",
        ),
        (
            "sentinels = [\"a\"]",
            "",
            "sockd.toml:2:1: redis.sentinels: redis.sentinel_master is missing; set it to the name \
             in the Sentinels' `sentinel monitor`",
        ),
        (
            "sentinel_master = \"m\"\npassword = \"p\"",
            "",
            "sockd.toml:2:1: redis.sentinel_master: of no use without redis.sentinels; set them, \
             or leave this out",
        ),
        (
            "cluster = [\"a\"]\ndatabase = 1",
            "",
            "sockd.toml:3:1: redis.database: a Cluster has only database 0; leave it out",
        ),
        (
            "cluster = [\"a\", \"rediss://b\"]",
            "",
            "sockd.toml:2:1: redis.cluster: some are rediss:// and some are not; begin all of them \
             with rediss://, or none",
        ),
        (
            "cluster = [\"redis://:p@a\"]",
            "",
            "sockd.toml:2:1: redis.cluster: what is given is not a list of hosts with ports; write \
             for example [\"10.0.0.1:6379\"], and passwords elsewhere",
        ),
        (
            "cluster = [\"a\"]\nchannel_prefix = \"{x}\"",
            "",
            "sockd.toml:3:1: redis.channel_prefix: in a Cluster it would put all channels into one \
             slot; remove the brace",
        ),
        (
            "cluster = [\"a\"]",
            "[sessions]\nkey_prefix = \"a}\"",
            "sockd.toml:4:1: sessions.key_prefix: in a Cluster braces enclose what chooses the slot; \
             remove them",
        ),
        (
            "cluster = [\"a\"]",
            "[ids]\nuser = \"any\"\nany_charset = \"a-z{}\"",
            "sockd.toml:5:1: ids.any_charset: in a Cluster braces enclose what chooses the slot; \
             allow none in ids",
        ),
    ] {
        assert_eq!(problems(redis, rest), problem);
    }
    let tagged = Start::new()
        .toml("[redis]\ncluster = [\"a\"]\n[sessions]\nkey_prefix = \"{app}:session:\"");
    assert!(tagged.redis().topology.is_cluster());
}
