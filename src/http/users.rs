//! The internal routes of one user: `/internal/users/ID/…`, or `/internal/user/…?id=ID`.

use std::{borrow::Cow, convert::Infallible, ops::Range, time::Instant};

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use http::{HeaderName, header};
use percent_encoding::percent_decode_str;
use tokio::sync::mpsc;
use tracing::Instrument;

use super::{Context, error::Error, query::Query};
use crate::{
    id::UserId,
    telemetry::{AUDIT, Act, Done, audit},
    wire::{ErrorCode, SessionRemovedAnswer, UserAnswer},
};

const PREFIX: &str = "/internal/users/";
/// The same with the id in the query, which can carry any: libraries and proxies take the users `.` and
/// `..` out of a path however they are encoded, and may change `/`, `;` and `%`.
const BY_QUERY: &str = "/internal/user";
/// Chunks of a trace that wait for its caller, besides the lines that wait to become chunks.
const CHUNKS: usize = 2;
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Where the id is in a path, which is in lower case.
pub(super) fn id_in(path: &str) -> Option<Range<usize>> {
    let rest = path.strip_prefix(PREFIX)?;
    let length = rest.find('/').unwrap_or(rest.len());
    Some(PREFIX.len()..PREFIX.len() + length)
}

/// The id of the user that the route is about, and what follows it; `None` for other routes.
pub(super) fn parse<'a>(path: &'a str, query: &Query<'a>) -> Option<(Id<'a>, &'a str)> {
    if let Some(id) = id_in(path) {
        let decoded = percent_decode_str(&path[id.clone()]).decode_utf8();
        return Some((Id(decoded.ok()), &path[id.end..]));
    }
    let what = path.strip_prefix(BY_QUERY)?;
    let is_whole = what.is_empty() || what.starts_with('/');
    is_whole.then(|| (Id(query.get("id").cloned()), what))
}

/// The id as it was meant; `None` if there is none, or it is not UTF-8.
pub(super) struct Id<'a>(Option<Cow<'a, str>>);

impl Id<'_> {
    fn user(&self, context: &Context) -> Result<UserId, ErrorCode> {
        let user = self.0.as_deref();
        let user = user.and_then(|id| context.ids.parse_user(id).ok());
        user.ok_or(ErrorCode::InvalidUserId)
    }
}

/// `GET /internal/users/ID`
pub(super) async fn inspect(context: &Context, id: Id<'_>) -> Result<Json<UserAnswer>, Error> {
    let user = id.user(context)?;
    Ok(Json(context.node.inspect(&user).await))
}

/// `GET /internal/users/ID/trace`: what happens to the user, line by line, until the caller hangs up.
pub(super) fn trace(context: &Context, id: Id<'_>, query: &Query<'_>) -> Result<Response, Error> {
    let user = id.user(context)?;
    let payloads = query.is_on("payloads");
    let trace = context.node.begin_trace(&user, payloads)?;
    tracing::info!(target: AUDIT, act = "trace", %user, payloads, "a trace begins");
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let node = context.node.clone();
    let started = Instant::now();
    context.lifecycle.spawn(
        async move {
            node.run_trace(trace, sender).await;
            let duration_ms = started.elapsed().as_millis() as u64;
            tracing::info!(target: AUDIT, act = "trace", %user, duration_ms, "a trace has ended");
        }
        .in_current_span(),
    );
    let lines = stream::unfold(receiver, async |mut receiver| {
        let chunk = receiver.recv().await?;
        Some((Ok::<_, Infallible>(chunk), receiver))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store"),
        // Otherwise nginx buffers the lines.
        (X_ACCEL_BUFFERING, "no"),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}

/// `DELETE /internal/users/ID/session`
pub(super) async fn remove_session(
    context: &Context,
    id: Id<'_>,
) -> Result<Json<SessionRemovedAnswer>, Error> {
    let user = id.user(context)?;
    let removed = context.node.remove_session(&user).await;
    let done = removed.as_ref().map(|removed| Done::Removed(*removed));
    audit(Act::RemoveSession, &user, done);
    Ok(Json(SessionRemovedAnswer {
        ok: true,
        removed: removed?,
    }))
}
