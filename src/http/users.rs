//! The internal routes of one user, `/internal/users/ID/…`.

use std::ops::Range;

use axum::Json;
use percent_encoding::percent_decode_str;

use super::{Context, error::Error};
use crate::{
    id::UserId,
    telemetry::{Act, Done, audit},
    wire::{ErrorCode, SessionRemovedAnswer, UserAnswer},
};

const PREFIX: &str = "/internal/users/";

/// Where the id stands in a path that is in lower case.
pub(super) fn id_in(path: &str) -> Option<Range<usize>> {
    let rest = path.strip_prefix(PREFIX)?;
    let length = rest.find('/').unwrap_or(rest.len());
    Some(PREFIX.len()..PREFIX.len() + length)
}

/// The id as it was sent, and what follows it.
pub(super) fn parse(path: &str) -> Option<(&str, &str)> {
    let id = id_in(path)?;
    Some((&path[id.clone()], &path[id.end..]))
}

/// `GET /internal/users/ID`
pub(super) async fn inspect(context: &Context, id: &str) -> Result<Json<UserAnswer>, Error> {
    let user = user(context, id)?;
    Ok(Json(context.node.inspect(&user).await))
}

/// `DELETE /internal/users/ID/session`
pub(super) async fn remove_session(
    context: &Context,
    id: &str,
) -> Result<Json<SessionRemovedAnswer>, Error> {
    let user = user(context, id)?;
    let removed = context.node.remove_session(&user).await;
    let done = removed.as_ref().map(|removed| Done::Removed(*removed));
    audit(Act::RemoveSession, &user, done);
    Ok(Json(SessionRemovedAnswer {
        ok: true,
        removed: removed?,
    }))
}

fn user(context: &Context, id: &str) -> Result<UserId, ErrorCode> {
    let id = percent_decode_str(id).decode_utf8().ok();
    let user = id.and_then(|id| context.ids.parse_user(&id).ok());
    user.ok_or(ErrorCode::InvalidUserId)
}
