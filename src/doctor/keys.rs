//! The key set that an issuer publishes: whether it can be read, and what is in it.

use std::time::{Duration, SystemTime};

use super::{Finding, servers};
use crate::{
    auth::jwks::{Jwks, Reading, set},
    config,
    error::chain,
};

const CHECK: &str = "keys";

/// Looks at the set, if there is one, and at the clock of the server that it comes from.
pub(super) async fn examine(auth: &config::Auth) -> Vec<Finding> {
    let Some(config) = &auth.jwks else {
        return Vec::new();
    };
    let jwks = Jwks::new(config.clone());
    let began = SystemTime::now();
    let read = jwks.read().await;
    let took = began.elapsed().unwrap_or_default();
    let Reading { set, date } = match read {
        Ok(reading) => reading,
        Err(error) => return vec![Finding::fail(CHECK, chain(&error), error.remedy())],
    };
    let found = format!(
        "{} from {} in {took:.1?}: {set}",
        set.count(),
        jwks.source()
    );
    let skipped = set.skipped();
    let keys = if !set.has_any_of(&auth.algorithms) {
        let found = format!(
            "{found}; none of them verifies {}",
            auth.algorithms.join(", ")
        );
        let remedy = "add the algorithm of the keys to auth.algorithms (JWT_ALGORITHMS), or leave that out for all of them";
        Finding::fail(CHECK, found, remedy)
    } else if !skipped.is_empty() {
        let found = format!("{found}; not used: {}", set::list(skipped));
        let remedy = "correct or remove the keys that are not used at the issuer, unless they are not meant for tokens";
        Finding::warn(CHECK, found, remedy)
    } else {
        Finding::ok(CHECK, found)
    };
    let clock = date.map(|date| {
        // HTTP cuts its fraction off.
        let there = date + Duration::from_millis(500);
        let here = began + took / 2;
        let skew = there.duration_since(here);
        let skew = skew.unwrap_or_else(|behind| behind.duration());
        servers::judge_clock("keys_clock", skew, "the source of the key set")
    });
    [keys].into_iter().chain(clock).collect()
}
