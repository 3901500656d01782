//! The master that the Sentinels name
//! (<https://redis.io/docs/latest/develop/reference/sentinel-clients/>).

use std::collections::HashMap;

use ::redis::AsyncConnectionConfig;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::{ConnectError, client};
use crate::config;

/// The URL of the master that most Sentinels name, returned as soon as a majority agrees: a Sentinel that is
/// cut off may still name an old master.
///
/// # Errors
/// No Sentinel can be reached, or none knows the master.
pub(super) async fn master(
    config: &config::Redis,
    place: &config::Sentinel,
) -> Result<String, ConnectError> {
    let answers = place.sentinels.iter().map(|url| ask(config, place, url));
    let mut answers: FuturesUnordered<_> = answers.collect();
    let mut votes: HashMap<String, usize> = HashMap::new();
    let mut silence = None;
    let mut is_unknown = false;
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(Some(master)) => {
                let count = votes.entry(master.clone()).or_default();
                *count += 1;
                if *count > place.sentinels.len() / 2 {
                    return Ok(master);
                }
            }
            Ok(None) => is_unknown = true,
            Err(error) => silence = Some(error),
        }
    }
    match votes.into_iter().max_by_key(|(_, count)| *count) {
        Some((master, _)) => Ok(master),
        None => {
            Err(silence
                .filter(|_| !is_unknown)
                .unwrap_or_else(|| ConnectError::UnknownMaster {
                    sentinels: place.sentinels.join(","),
                    master: place.master.clone(),
                }))
        }
    }
}

async fn ask(
    config: &config::Redis,
    place: &config::Sentinel,
    url: &str,
) -> Result<Option<String>, ConnectError> {
    let (username, password) = (place.username.as_deref(), place.password.as_ref());
    let client = client(config, url, username, password)?;
    let options = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(config.connect_timeout))
        .set_response_timeout(Some(config.command_timeout));
    let asked = async {
        let mut sentinel = client
            .get_multiplexed_async_connection_with_config(&options)
            .await?;
        ::redis::cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(&place.master)
            .query_async::<Option<(String, u16)>>(&mut sentinel)
            .await
    };
    let address = match asked.await {
        Ok(address) => address,
        Err(error) => return Err(ConnectError::explained(url, config, &error).await),
    };
    Ok(address.map(|(host, port)| {
        let scheme = url.split_once("://").map_or("redis", |(scheme, _)| scheme);
        let address = super::host_and_port(&host, port);
        format!("{scheme}://{address}/{}", place.database)
    }))
}
