//! The internal routes, which backends call with a bearer secret.

use std::{borrow::Cow, sync::Arc, time::Instant};

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header, request::Parts};
use serde_json::{json, value::RawValue};
use tokio::{sync::oneshot, time};

use super::{
    Context, drain, error::Error, prefer::preference, query::Query, request_id, status, users,
};
use crate::{
    id::{IdFormat, InvalidId, SessionId, UserId},
    metrics::{FORCE_LOGOUTS, KICKS},
    node::{LoggedOut, LogoutError},
    reload::ReloadError,
    session::SessionStore,
    stream::body::{ReadError, Unread, read_to_end},
    telemetry::{Act, Done, audit},
    wire::{
        EmitAnswer, ErrorBody, ErrorCode, Event, LogoutAnswer, LogoutReason, Members,
        ReloadProblems, SessionRow, SessionsAnswer,
    },
};

/// The most sessions in one answer.
const PAGE: usize = 1_000;

/// Whether the path is one for backends and operators only.
pub(super) fn is_route(path: &str) -> bool {
    path == "/internal" || path.starts_with("/internal/")
}

/// Whether a line of the log will mention the request, unless it fails.
pub(super) fn is_logged<B>(request: &Request<B>) -> bool {
    request.uri().path() != "/internal/emit" || tracing::enabled!(tracing::Level::DEBUG)
}

/// Handles a request of an authenticated caller.
pub(super) async fn answer(context: Arc<Context>, request: Request<Unread>) -> Response {
    let started = Instant::now();
    let (
        Parts {
            method,
            uri,
            headers,
            ..
        },
        body,
    ) = request.into_parts();
    let mut response = match (method.as_str(), uri.path()) {
        ("POST", "/internal/emit") => emit(&context, started, &headers, body)
            .await
            .into_response(),
        // Rare requests are boxed, so that they do not enlarge the future of each emit.
        ("POST", "/internal/force-logout") => Box::pin(force_logout(&context, &headers, body))
            .await
            .into_response(),
        ("POST", "/internal/kick") => Box::pin(kick(&context, &headers, body))
            .await
            .into_response(),
        ("POST", "/internal/drain") => Box::pin(drain::drain(&context, &headers, body))
            .await
            .into_response(),
        ("POST", "/internal/reload") => reload(&context, &headers).await.into_response(),
        ("GET" | "HEAD", "/internal/sessions") => {
            sessions(&context, &query_of(&uri)).into_response()
        }
        ("GET" | "HEAD", "/internal/status") => {
            Box::pin(status::answer(&context, query_of(&uri).is_on("all")))
                .await
                .into_response()
        }
        ("GET" | "HEAD", path) => match users::parse(path, &query_of(&uri)) {
            Some((id, "")) => Box::pin(users::inspect(&context, id)).await.into_response(),
            Some((id, "/trace")) if method != Method::HEAD => {
                users::trace(&context, id, &query_of(&uri)).into_response()
            }
            _ => Error::from(ErrorCode::NotFound).into_response(),
        },
        ("DELETE", path) => match users::parse(path, &query_of(&uri)) {
            Some((id, "/session")) => Box::pin(users::remove_session(&context, id))
                .await
                .into_response(),
            _ => Error::from(ErrorCode::NotFound).into_response(),
        },
        _ => Error::from(ErrorCode::NotFound).into_response(),
    };
    request_id::tell(&headers, response.headers_mut());
    let status = response.status().as_u16();
    tracing::debug!(route = uri.path(), status, elapsed = ?started.elapsed(), "answered");
    response
}

fn query_of(uri: &Uri) -> Query<'_> {
    Query::parse(uri.query().unwrap_or_default())
}

/// `POST /internal/emit`
async fn emit(
    context: &Context,
    started: Instant,
    headers: &HeaderMap,
    body: Unread,
) -> Result<Response, Error> {
    let current = context.current.get();
    let (user, event, position) = {
        let body = read(context, headers, body).await?;
        let body = text_of(&body);
        let members = Members::parse(&body).map_err(|_| ErrorCode::InvalidJson)?;
        let user = user_of(context, &members)?;
        let name = members.text("event");
        let name = name.and_then(|text| current.events.parse(&text));
        let (name, position) = name.ok_or(ErrorCode::InvalidEvent)?;
        let payload = members.get("payload").unwrap_or(RawValue::NULL);
        // The body ends here, so that a large one and its copy do not both wait for Redis.
        (user, Event::new(name, payload.get()), position)
    };
    current.emits[position].inc();
    match context.node.emit(&user, &event).await {
        Ok(reach) => {
            context.complete.observe(started.elapsed().as_secs_f64());
            let nodes = reach.nodes.filter(|_| prefers_representation(headers));
            Ok(match nodes {
                Some(nodes) => Json(EmitAnswer {
                    ok: true,
                    online: Some(nodes > 0),
                    nodes: Some(nodes),
                })
                .into_response(),
                None => emitted(),
            })
        }
        Err(_) => {
            context.partial.observe(started.elapsed().as_secs_f64());
            Err(ErrorCode::BusUnavailable.into())
        }
    }
}

/// The response to nearly every emit, serialized once: an [`EmitAnswer`] with only `ok`.
fn emitted() -> Response {
    let mut response = Response::new(r#"{"ok":true}"#.into());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// `POST /internal/force-logout`
async fn force_logout(
    context: &Context,
    headers: &HeaderMap,
    body: Unread,
) -> Result<Json<LogoutAnswer>, Error> {
    let (user, session) = {
        let body = read(context, headers, body).await?;
        let body = text_of(&body);
        let members = Members::parse(&body).map_err(|_| ErrorCode::InvalidJson)?;
        let user = user_of(context, &members)?;
        let session = id(&members, "sessionId", &context.ids.session)
            .and_then(|text| context.ids.parse_session(&text).ok());
        (user, session.ok_or(ErrorCode::InvalidSessionId)?)
    };
    FORCE_LOGOUTS.inc();
    let done = context.node.force_logout(&user, &session).await;
    logged_out(Act::ForceLogout, &user, done, headers)
}

/// `POST /internal/kick`
async fn kick(
    context: &Context,
    headers: &HeaderMap,
    body: Unread,
) -> Result<Json<LogoutAnswer>, Error> {
    let (user, reason, invalidates_session) = {
        let body = read(context, headers, body).await?;
        let body = text_of(&body);
        let members = Members::parse(&body).map_err(|_| ErrorCode::InvalidJson)?;
        let user = user_of(context, &members)?;
        let reason = match given(&members, "reason") {
            None => LogoutReason::KICKED,
            Some(_) => {
                let text = members.text("reason").map(Cow::into_owned);
                let reason = text.and_then(|text| LogoutReason::try_from(text).ok());
                reason.ok_or(ErrorCode::InvalidReason)?
            }
        };
        let invalidates_session = match given(&members, "invalidateSession") {
            None | Some("false") => false,
            Some("true") => true,
            // A caller that means `true` must not get a success.
            Some(_) => return Err(ErrorCode::InvalidInvalidateSession.into()),
        };
        (user, reason, invalidates_session)
    };
    KICKS.inc();
    let act = Act::Kick {
        reason: &reason,
        invalidates_session,
    };
    let fresh = invalidates_session.then(|| fresh_session(context));
    let fresh = fresh
        .transpose()
        .inspect_err(|error| audit(act, &user, Err(error)))
        .map_err(|_| ErrorCode::InternalError)?;
    let node = &context.node;
    let done = node.kick(&user, reason.clone(), fresh).await;
    logged_out(act, &user, done, headers)
}

/// A random session id that no token carries.
fn fresh_session(context: &Context) -> Result<SessionId, InvalidId> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    context.ids.generate_session(bytes)
}

fn logged_out(
    act: Act<'_>,
    user: &UserId,
    done: Result<LoggedOut, LogoutError>,
    headers: &HeaderMap,
) -> Result<Json<LogoutAnswer>, Error> {
    let outcome = done.as_ref();
    let outcome = outcome.map(|done| Done::Disconnected(done.disconnected));
    audit(act, user, outcome);
    let done = done?;
    Ok(Json(LogoutAnswer {
        ok: true,
        disconnected: done.disconnected,
        nodes: prefers_representation(headers).then_some(done.nodes),
    }))
}

/// `POST /internal/reload`: reads the configuration again. Only callers that prefer a representation
/// are told what has changed or what is wrong.
async fn reload(context: &Context, headers: &HeaderMap) -> Result<Response, Error> {
    let (request, answer) = oneshot::channel();
    // The reloader ends only when the process is about to end.
    if context.reloads.send(request).await.is_err() {
        return Err(ErrorCode::Draining.into());
    }
    let answer = answer.await.map_err(|_| ErrorCode::Draining)?;
    let is_asked = prefers_representation(headers);
    match answer {
        Ok(answer) if is_asked => Ok(Json(answer).into_response()),
        Ok(_) => Ok(Json(json!({ "ok": true })).into_response()),
        Err(ReloadError::Draining) => Err(ErrorCode::Draining.into()),
        Err(ReloadError::Mistakes(_)) if !is_asked => Err(ErrorCode::InvalidConfiguration.into()),
        Err(ReloadError::Mistakes(problems)) => {
            let error = ErrorBody::from(ErrorCode::InvalidConfiguration);
            let kept = ReloadProblems { error, problems };
            Ok((StatusCode::UNPROCESSABLE_ENTITY, Json(kept)).into_response())
        }
    }
}

/// `GET /internal/sessions`: the sessions of an instance in memory mode, ordered by user.
fn sessions(context: &Context, query: &Query<'_>) -> Result<Json<SessionsAnswer>, Error> {
    let SessionStore::Memory(sessions) = context.node.sessions() else {
        return Err(ErrorCode::SessionsInRedis.into());
    };
    let user = |key: &str| query.get(key).map(|id| UserId::try_from(&**id)).transpose();
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

/// The bytes of a JSON body; `{}` for none, and for any other content type.
pub(super) async fn read(
    context: &Context,
    headers: &HeaderMap,
    mut body: Unread,
) -> Result<Bytes, ErrorCode> {
    const NONE: Bytes = Bytes::from_static(b"{}");
    if !is_json(headers) {
        return Ok(NONE);
    }
    let encoding = headers
        .get(header::CONTENT_ENCODING)
        .map(|value| value.as_bytes());
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
        return Err(ErrorCode::UnsupportedEncoding);
    }
    let deadline = time::Instant::now() + context.body_timeout;
    let read = read_to_end(&mut body, context.max_body, deadline).await;
    let bytes = read.map_err(|error| match error {
        ReadError::TooLong => ErrorCode::PayloadTooLarge,
        ReadError::TooSlow => ErrorCode::RequestTimeout,
        ReadError::Broken => ErrorCode::InvalidJson,
    })?;
    Ok(if bytes.is_empty() { NONE } else { bytes })
}

/// The text as Node decodes it: a byte order mark is dropped, and a byte that is not UTF-8
/// becomes U+FFFD.
pub(super) fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // Checks several bytes at once, while the lossy conversion checks each.
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
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

fn user_of(context: &Context, members: &Members<'_>) -> Result<UserId, ErrorCode> {
    let text = id(members, "userId", &context.ids.user);
    let user = text.and_then(|text| context.ids.parse_user(&text).ok());
    user.ok_or(ErrorCode::InvalidUserId)
}

/// The JSON of a member that may be left out; `null` counts as left out.
fn given<'a>(members: &Members<'a>, key: &str) -> Option<&'a str> {
    let json = members.get(key)?.get();
    (json != "null").then_some(json)
}

/// Returns a member that is an id: a string, or a number if ids are integers.
fn id<'a>(members: &Members<'a>, key: &str, format: &IdFormat) -> Option<Cow<'a, str>> {
    let of_number = || format.of_number(members.get(key)?.get()).map(Cow::Owned);
    members.text(key).or_else(of_number)
}

/// Whether the caller wants more than the TypeScript server returned (RFC 7240, 4.2).
fn prefers_representation(headers: &HeaderMap) -> bool {
    preference(headers, "return").is_some_and(|form| form.eq_ignore_ascii_case("representation"))
}
