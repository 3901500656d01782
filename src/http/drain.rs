//! `POST /internal/drain`: moves a share of this node's connections to other nodes.

use std::time::Duration;

use axum::Json;
use http::HeaderMap;
use tokio::sync::oneshot;

use super::{
    Context,
    error::Error,
    internal::{read, text_of},
};
use crate::{
    lifecycle::MoveRequest,
    stream::body::Unread,
    telemetry::AUDIT,
    wire::{DrainAnswer, ErrorCode, LONGEST_SPREAD, Members, Share},
};

/// The time over which connections are closed, unless the caller gives another.
const OVER: Duration = Duration::from_secs(30);

pub(super) async fn drain(
    context: &Context,
    headers: &HeaderMap,
    body: Unread,
) -> Result<Json<DrainAnswer>, Error> {
    let (share, over) = {
        let body = read(context, headers, body).await?;
        let body = text_of(&body);
        parse(&Members::parse(&body).map_err(|_| ErrorCode::InvalidJson)?)?
    };
    let answer = ask(context, share, over).await;
    let told = answer.as_ref().ok();
    tracing::info!(
        target: AUDIT,
        act = "drain",
        %share,
        ?over,
        connections = told.map(|told| told.connections),
        closing = told.map(|told| told.closing),
        error = told.is_none().then_some("the node is shutting down"),
        "audit"
    );
    Ok(Json(answer?))
}

/// The share is required: an empty body, such as one of another content type, must not move all
/// clients.
fn parse(members: &Members<'_>) -> Result<(Share, Duration), ErrorCode> {
    let number = |key| Some(members.get(key)?.get().parse::<f64>());
    let share = number("share").and_then(Result::ok);
    let share = share.and_then(|share| Share::try_from(share).ok());
    let share = share.ok_or(ErrorCode::InvalidShare)?;
    let over = match number("overSeconds") {
        None => OVER,
        Some(seconds) => {
            let over = seconds.ok().map(Duration::try_from_secs_f64);
            let over = over.and_then(Result::ok);
            let over = over.filter(|over| *over <= LONGEST_SPREAD);
            over.ok_or(ErrorCode::InvalidOverSeconds)?
        }
    };
    Ok((share, over))
}

async fn ask(context: &Context, share: Share, over: Duration) -> Result<DrainAnswer, ErrorCode> {
    let (answer, answered) = oneshot::channel();
    let request = MoveRequest {
        share,
        over,
        answer,
    };
    let asked = context.moves.send(request).await;
    asked.map_err(|_| ErrorCode::Draining)?;
    answered.await.map_err(|_| ErrorCode::Draining)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_required_and_the_time_is_not() {
        let parse = |json: &str| parse(&Members::parse(json).unwrap());
        let share = |number: f64| Share::try_from(number).unwrap();
        for (json, expected) in [
            (r#"{"share":0.3}"#, Ok((share(0.3), OVER))),
            (
                r#"{"share":1,"overSeconds":1.5}"#,
                Ok((share(1.0), Duration::from_millis(1_500))),
            ),
            (
                r#"{"share":0,"overSeconds":0}"#,
                Ok((share(0.0), Duration::ZERO)),
            ),
            ("{}", Err(ErrorCode::InvalidShare)),
            (r#"{"share":"1"}"#, Err(ErrorCode::InvalidShare)),
            (r#"{"share":null}"#, Err(ErrorCode::InvalidShare)),
            (r#"{"share":30}"#, Err(ErrorCode::InvalidShare)),
            (r#"{"share":-0.1}"#, Err(ErrorCode::InvalidShare)),
            (r#"{"share":1e999}"#, Err(ErrorCode::InvalidShare)),
            (
                r#"{"share":1,"overSeconds":null}"#,
                Err(ErrorCode::InvalidOverSeconds),
            ),
            (
                r#"{"share":1,"overSeconds":-1}"#,
                Err(ErrorCode::InvalidOverSeconds),
            ),
            (
                r#"{"share":1,"overSeconds":86401}"#,
                Err(ErrorCode::InvalidOverSeconds),
            ),
            (
                r#"{"share":1,"overSeconds":1e400}"#,
                Err(ErrorCode::InvalidOverSeconds),
            ),
        ] {
            assert_eq!(parse(json), expected, "{json}");
        }
    }
}
