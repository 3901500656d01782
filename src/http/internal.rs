//! The internal routes, which backends call with a bearer secret.

use std::{
    collections::HashMap,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Query, State},
    response::Response,
};
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::{Context, error::Error, prefer::preference};
use crate::{
    id::{IdFormat, UserId},
    secret::Secret,
    session::SessionStore,
    wire::{
        EmitAnswer, ErrorCode, Event, ForceLogoutAnswer, SessionRow, SessionsAnswer, parse_members,
    },
};

/// Headers that browsers add and scripts in them cannot remove (Fetch metadata, client hints).
const BROWSER_HEADERS: [&str; 3] = ["sec-fetch-mode", "sec-fetch-site", "sec-ch-ua"];
/// The most sessions in one answer.
const PAGE: usize = 1_000;

/// Whether the path is one for backends and operators only.
pub(super) fn is_route(path: &str) -> bool {
    path == "/internal" || path.starts_with("/internal/")
}

/// Lets in callers that are no browsers and know the secret; before any body is read.
///
/// # Errors
/// Why the caller is refused.
pub(super) fn check_caller(headers: &HeaderMap, context: &Context) -> Result<(), ErrorCode> {
    let given = |name: &&str| {
        let mut values = headers.get_all(*name).iter();
        values.any(|value| !value.is_empty())
    };
    if BROWSER_HEADERS.iter().any(given) {
        return Err(ErrorCode::Forbidden);
    }
    knows_one_of(&context.internal.secrets, headers)
        .then_some(())
        .ok_or(ErrorCode::Unauthorized)
}

/// Logs how a request was answered, and after how long.
pub(super) async fn log_answer(route: String, answer: impl Future<Output = Response>) -> Response {
    let started = Instant::now();
    let response = answer.await;
    tracing::debug!(route, status = response.status().as_u16(), elapsed = ?started.elapsed(), "answered");
    response
}

/// Whether the caller sends one of these secrets as its bearer token.
pub(super) fn knows_one_of<'a>(
    secrets: impl IntoIterator<Item = &'a Secret>,
    headers: &HeaderMap,
) -> bool {
    let Some(given) = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| bearer(value.as_bytes()))
    else {
        return false;
    };
    // All are compared, so that the time does not tell which one is close.
    secrets
        .into_iter()
        .fold(false, |found, secret| found | secret.matches(given))
}

/// The text behind `Bearer`, its scheme in any case and with any blanks around (RFC 6750).
fn bearer(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let (scheme, secret) = text.split_once([' ', '\t'])?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(secret.trim())
}

/// `POST /internal/emit`
pub(super) async fn emit(
    State(context): State<Arc<Context>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<EmitAnswer>, Error> {
    let body = read(&context, &headers, body).await?;
    let (user, event) = {
        let members = parse_members(&body).map_err(|_| ErrorCode::InvalidJson)?;
        let user = id(&members, "userId", &context.ids.user)
            .and_then(|text| context.ids.parse_user(&text).ok());
        let user = user.ok_or(ErrorCode::InvalidUserId)?;
        let name = text(&members, "event").and_then(|text| context.events.parse(&text));
        let name = name.ok_or(ErrorCode::InvalidEvent)?;
        let payload = members
            .get("payload")
            .map_or(RawValue::NULL, |payload| *payload);
        (user, Event::new(name, payload.get()))
    };
    // A large body and its copy need not both wait for Redis.
    drop(body);
    if let Some(pattern) = context.events.pattern_of(event.name.as_str()) {
        // Event names as labels would create series without bound.
        metrics::counter!("sockd_emits_total", "event" => pattern.to_owned()).increment(1);
    }
    match context.node.emit(&user, &event).await {
        Ok(reach) => {
            let nodes = reach.nodes.filter(|_| prefers_representation(&headers));
            Ok(Json(EmitAnswer {
                ok: true,
                online: nodes.map(|nodes| nodes > 0),
                nodes,
            }))
        }
        Err(_) => Err(ErrorCode::BusUnavailable.into()),
    }
}

/// `POST /internal/force-logout`
pub(super) async fn force_logout(
    State(context): State<Arc<Context>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ForceLogoutAnswer>, Error> {
    let body = read(&context, &headers, body).await?;
    let members = parse_members(&body).map_err(|_| ErrorCode::InvalidJson)?;
    let user = id(&members, "userId", &context.ids.user)
        .and_then(|text| context.ids.parse_user(&text).ok());
    let user = user.ok_or(ErrorCode::InvalidUserId)?;
    let session = id(&members, "sessionId", &context.ids.session)
        .and_then(|text| context.ids.parse_session(&text).ok());
    let session = session.ok_or(ErrorCode::InvalidSessionId)?;
    drop(members);
    metrics::counter!("sockd_force_logouts_total").increment(1);
    let done = context.node.force_logout(&user, &session).await?;
    tracing::info!(%user, %session, disconnected = done.disconnected, "replaced a session");
    Ok(Json(ForceLogoutAnswer {
        ok: true,
        disconnected: done.disconnected,
        nodes: prefers_representation(&headers).then_some(done.nodes),
    }))
}

/// `GET /internal/sessions`: the sessions of an instance in memory mode, ordered by user.
pub(super) async fn sessions(
    State(context): State<Arc<Context>>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<SessionsAnswer>, Error> {
    let SessionStore::Memory(sessions) = context.node.sessions() else {
        return Err(ErrorCode::SessionsInRedis.into());
    };
    let user = |key: &str| {
        query
            .get(key)
            .map(|text| UserId::try_from(text.as_str()))
            .transpose()
    };
    let (only, after) = (user("user"), user("after"));
    let (Ok(only), Ok(after)) = (only, after) else {
        return Err(ErrorCode::InvalidUserId.into());
    };
    let limit = query
        .get("limit")
        .and_then(|text| text.parse().ok())
        .unwrap_or(PAGE)
        .min(PAGE);
    let found = match only {
        Some(user) => sessions.find(&user).into_iter().collect(),
        None => sessions.list(after.as_ref(), limit),
    };
    let rows = found.into_iter().map(|(user, session, left)| SessionRow {
        online: usize::from(context.node.hub().has(&user)),
        user_id: user.into(),
        session_id: Some(session.into()),
        expires_in_seconds: Some(left.as_secs()),
    });
    Ok(Json(SessionsAnswer {
        ok: true,
        sessions: rows.collect(),
    }))
}

/// The text of a JSON body; `{}` for none, and for any other content type.
async fn read(context: &Context, headers: &HeaderMap, body: Body) -> Result<String, ErrorCode> {
    if !is_json(headers) {
        return Ok("{}".to_owned());
    }
    let encoding = headers
        .get(header::CONTENT_ENCODING)
        .map(|value| value.as_bytes());
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
        return Err(ErrorCode::UnsupportedEncoding);
    }
    let bytes = read_bounded(body, context.internal.max_body, context.body_timeout).await?;
    if bytes.is_empty() {
        return Ok("{}".to_owned());
    }
    // As Node decodes it: a mark of the byte order is left out, and a byte that is no UTF-8
    // becomes U+FFFD.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = content_type
        .and_then(|text| text.split(';').next())
        .unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

async fn read_bounded(body: Body, limit: usize, within: Duration) -> Result<Bytes, ErrorCode> {
    match timeout(within, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ErrorCode::PayloadTooLarge),
        Ok(Err(_)) => Err(ErrorCode::InvalidJson),
        Err(_) => Err(ErrorCode::RequestTimeout),
    }
}

type Members<'a> = HashMap<std::borrow::Cow<'a, str>, &'a RawValue>;

/// A member that is a text; any other counts as not given.
fn text(members: &Members<'_>, key: &str) -> Option<String> {
    serde_json::from_str(members.get(key)?.get()).ok()
}

/// Returns a member that is an id: a string, or a number if ids are integers.
fn id(members: &Members<'_>, key: &str, format: &IdFormat) -> Option<String> {
    text(members, key).or_else(|| format.of_number(members.get(key)?.get()))
}

/// Whether the caller wants more than the TypeScript server answered (RFC 7240, 4.2).
fn prefers_representation(headers: &HeaderMap) -> bool {
    preference(headers, "return").is_some_and(|form| form.eq_ignore_ascii_case("representation"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_is_found_behind_any_spelling_of_the_scheme() {
        for value in [
            "Bearer s3cret",
            "bearer   s3cret",
            "BEARER\ts3cret ",
            " Bearer s3cret",
        ] {
            assert_eq!(bearer(value.as_bytes()), Some("s3cret"), "{value:?}");
        }
        for value in ["s3cret", "Bearer", "Basic s3cret", "Bearers3cret", ""] {
            assert_eq!(bearer(value.as_bytes()), None, "{value:?}");
        }
    }
}
