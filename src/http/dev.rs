//! The page of `sockd serve --dev`, and the routes that its buttons call. Without `--dev` there is none.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    response::{Html, IntoResponse},
    routing::{get, post},
};
use http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Context, error::Error};
use crate::{
    id::{SessionId, UserId},
    wire::{EmitAnswer, ErrorCode, Event, LogoutAnswer, Members},
};

const PAGE: &str = include_str!("dev.html");

/// The user that the page shows.
#[derive(Debug, Clone, Serialize)]
pub struct Dev {
    pub user: UserId,
    pub session: SessionId,
    pub token: String,
    /// How a terminal calls this program.
    pub program: String,
    /// The line that gives a terminal the secret and the address of this run. The page replaces
    /// `{origin}` with its own address, since the port is not known before it is bound.
    pub setup: String,
}

pub(super) fn routes(router: Router<Arc<Context>>) -> Router<Arc<Context>> {
    router
        .route("/", get(page))
        .route("/dev/emit", post(emit))
        .route("/dev/force-logout", post(force_logout))
        .route("/dev/log-in", post(log_in))
}

async fn page(State(context): State<Arc<Context>>) -> impl IntoResponse {
    let dev = serde_json::to_string(&context.dev).unwrap_or_default();
    // Nothing in a script element may look like its closing tag.
    let page = PAGE.replace("__SOCKD_DEV__", &dev.replace('<', "\\u003c"));
    ([(header::CACHE_CONTROL, "no-store")], Html(page))
}

async fn emit(
    State(context): State<Arc<Context>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<EmitAnswer>, Error> {
    let dev = of_this_page(&context, &headers)?;
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::PayloadTooLarge,
        _ => ErrorCode::InvalidJson,
    })?;
    let body = String::from_utf8_lossy(&body);
    let members = Members::parse(&body).map_err(|_| ErrorCode::InvalidJson)?;
    let (name, _) = members
        .text("event")
        .and_then(|name| context.current.load().events.parse(&name))
        .ok_or(ErrorCode::InvalidEvent)?;
    let payload = members.get("payload").unwrap_or(RawValue::NULL);
    let event = Event::new(name, payload.get());
    let reach = context
        .node
        .emit(&dev.user, &event)
        .await
        .map_err(|_| ErrorCode::BusUnavailable)?;
    Ok(Json(EmitAnswer {
        ok: true,
        online: reach.nodes.map(|nodes| nodes > 0),
        nodes: reach.nodes,
    }))
}

/// The user logs in elsewhere.
async fn force_logout(
    State(context): State<Arc<Context>>,
    headers: HeaderMap,
) -> Result<Json<LogoutAnswer>, Error> {
    let elsewhere = uuid::Uuid::new_v4().to_string();
    let elsewhere = SessionId::try_from(elsewhere).map_err(|_| ErrorCode::InternalError)?;
    let dev = of_this_page(&context, &headers)?;
    make_active(&context, &dev.user, &elsewhere).await
}

/// The user logs in on this page again.
async fn log_in(
    State(context): State<Arc<Context>>,
    headers: HeaderMap,
) -> Result<Json<LogoutAnswer>, Error> {
    let dev = of_this_page(&context, &headers)?;
    make_active(&context, &dev.user, &dev.session).await
}

async fn make_active(
    context: &Context,
    user: &UserId,
    session: &SessionId,
) -> Result<Json<LogoutAnswer>, Error> {
    let done = context.node.force_logout(user, session).await?;
    Ok(Json(LogoutAnswer {
        ok: true,
        disconnected: done.disconnected,
        nodes: Some(done.nodes),
    }))
}

/// Pages of other sites that the developer has open must not call these routes.
fn of_this_page<'a>(context: &'a Context, headers: &HeaderMap) -> Result<&'a Dev, ErrorCode> {
    let foreign = headers
        .get("sec-fetch-site")
        .is_some_and(|site| site != "same-origin");
    context
        .dev
        .as_ref()
        .filter(|_| !foreign)
        .ok_or(ErrorCode::Forbidden)
}
